//! What the documents say is so: their links lead somewhere, the book has all of them, deployctl takes the command lines
//! that they show, and the sessions that are marked to be run show what they show.
//!
//! `console run` after the fence of a block marks a session, and `file=PATH` a file of its project. Pages follow each other as in
//! `docs/SUMMARY.md`, in one project; stages that name an account are on this machine instead.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod lines;
mod pages;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "what a command said is the shell's business here")]
mod program;
mod sessions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use deployctl::cli::Cli;

use pages::Page;

/// Nothing leads nowhere. A chapter links to chapters only: what lies outside is not in the rendered book, and is named by its path.
#[test]
fn links_lead_somewhere() {
    let pages = pages::all();
    let mut problems = Vec::new();
    let mut checked = 0;
    for page in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            checked += 1;
            if let Some(problem) = problem_of(page, link, &pages) {
                problems.push(format!("{}: ({link}) {problem}", page.name.display()));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "links");
    assert!(checked > 50, "only {checked} links were found");
}

fn problem_of(page: &Page, link: &str, pages: &[Page]) -> Option<String> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let name =
        if path.is_empty() { page.name.clone() } else { normal(&page.name.parent().unwrap().join(path)) };
    let file = pages::root().join(&name);
    if !file.exists() {
        return Some(format!("there is no {}", name.display()));
    }
    if page.is_chapter() && !(name.starts_with("docs") && file.is_file()) {
        return Some("leaves the book: name the path as `code` instead".to_owned());
    }
    let anchor = anchor?;
    let target = pages.iter().find(|page| page.name == name)?;
    let has = target.anchors.contains(anchor);
    (!has).then(|| format!("{} has no such heading; it has {:?}", name.display(), target.anchors))
}

/// `a/b/../c` is `a/c`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            std::path::Component::ParentDir => drop(whole.pop()),
            std::path::Component::CurDir => (),
            part => whole.push(part),
        }
        whole
    })
}

#[test]
fn the_book_has_every_document_once() {
    let chapters = pages::chapters();
    let known: BTreeSet<&PathBuf> = chapters.iter().collect();
    assert_eq!(known.len(), chapters.len(), "a chapter stands twice in docs/SUMMARY.md");
    let pages = pages::all();
    let documents: BTreeSet<&PathBuf> =
        pages.iter().filter(|page| page.is_chapter()).map(|page| &page.name).collect();
    assert_eq!(known, documents, "docs/SUMMARY.md (left) has not what is in docs/ (right)");
}

/// `<name>` outside code is an element without a meaning: a reader does not see it.
#[test]
fn no_text_is_lost_as_html() {
    for page in pages::all() {
        assert_eq!(page.html, [""; 0], "{}", page.name.display());
    }
}

#[test]
fn deployctl_takes_every_command_line_that_is_shown() {
    let mut problems = Vec::new();
    let mut checked = 0;
    for page in pages::all().iter().filter(|page| !page.is_history()) {
        for words in lines::of_deployctl(page) {
            checked += 1;
            let Err(error) = Cli::try_parse_from(&words) else { continue };
            // What is missing may come from the environment, or a sentence only names the command; and a number may be a letter.
            let is_fine = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::MissingRequiredArgument
                    | ErrorKind::ValueValidation
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            if !is_fine {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                problems.push(format!("{}: {} ({reason})", page.name.display(), words.join(" ")));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "command lines");
    assert!(checked > 50, "only {checked} command lines were found");
}

/// The page is written by people; the schema comes from the types.
#[test]
fn every_key_of_the_configuration_is_described() {
    let schema = std::fs::read(pages::root().join("docs/schemas/config.json")).unwrap();
    let mut keys = BTreeSet::new();
    gather_keys(&serde_json::from_slice(&schema).unwrap(), &mut keys);
    let page = Page::read(Path::new("docs/configuration.md"));
    let words = page.spans.iter().flat_map(|span| span.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let described: BTreeSet<&str> = words.collect();
    let missing: Vec<&String> = keys.iter().filter(|key| !described.contains(key.as_str())).collect();
    assert!(missing.is_empty() && keys.len() > 30, "not in docs/configuration.md: {missing:?}");
}

fn gather_keys(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    if let Some(object) = schema.as_object() {
        let properties = object.get("properties").and_then(serde_json::Value::as_object);
        keys.extend(properties.into_iter().flatten().map(|(key, _)| key.clone()));
        object.values().for_each(|below| gather_keys(below, keys));
    }
    schema.as_array().into_iter().flatten().for_each(|below| gather_keys(below, keys));
}

#[tokio::test]
async fn sessions_show_what_happens() {
    sessions::run_all().await;
}
