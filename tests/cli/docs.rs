//! The documents without running them: links lead somewhere, the book has every page, and deployctl takes the command
//! lines that are shown. `tests/local_stage/docs_sessions.rs` runs the sessions.

mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::markdown::{self, Page};
use crate::support::program::Program;

/// Nothing leads nowhere. A chapter links to chapters only: what lies outside is not in the rendered book, and is named by its path.
#[test]
fn links_lead_somewhere() {
    let pages = markdown::all();
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
    let file = markdown::root().join(&name);
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
    let chapters = markdown::chapters();
    let known: BTreeSet<&PathBuf> = chapters.iter().collect();
    assert_eq!(known.len(), chapters.len(), "a chapter stands twice in docs/SUMMARY.md");
    let pages = markdown::all();
    let documents: BTreeSet<&PathBuf> =
        pages.iter().filter(|page| page.is_chapter()).map(|page| &page.name).collect();
    assert_eq!(known, documents, "docs/SUMMARY.md (left) has not what is in docs/ (right)");
}

/// `<name>` outside code is an element without a meaning: a reader does not see it.
#[test]
fn no_text_is_lost_as_html() {
    for page in markdown::all() {
        assert_eq!(page.html, [""; 0], "{}", page.name.display());
    }
}

/// Why a command line may be refused. What is missing may come from the environment, or a sentence only names the command;
/// and a number may be a letter.
const FINE: [&str; 3] = ["required arguments were not provided", "invalid value", "requires a subcommand"];

/// Each is run in an empty folder, where a command that is understood goes on to say that there is no project.
#[tokio::test]
async fn deployctl_takes_every_command_line_that_is_shown() {
    let pages = markdown::all();
    let shown: BTreeMap<Vec<String>, &PathBuf> = pages
        .iter()
        .filter(|page| !page.is_history())
        .flat_map(|page| lines::of_deployctl(page).into_iter().map(|words| (words, &page.name)))
        .collect();
    assert!(shown.len() > 50, "only {} command lines were found", shown.len());
    let mut problems = Vec::new();
    for (words, page) in shown {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let said = Program::new(dir.path()).run(&args).await.stderr;
        if said.contains("try '--help'") && !FINE.iter().any(|reason| said.contains(reason)) {
            let reason = said.lines().next().unwrap_or_default();
            problems.push(format!("{}: {} ({reason})", page.display(), words.join(" ")));
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "command lines");
}

/// The test above would see a command line that is not understood.
#[tokio::test]
async fn invalid_arguments_on_github() {
    let dir = tempfile::tempdir().unwrap();
    for args in [["release", "--versoin", "1"], ["relaese", "--version", "1"]] {
        let said = Program::new(dir.path()).run(&args).await.exit(2).stderr;
        assert!(said.contains("try '--help'") && !FINE.iter().any(|reason| said.contains(reason)), "{said}");
    }
}

/// Not checked for its width: a list of links that mdBook reads.
const ANY_WIDTH: [&str; 1] = ["docs/SUMMARY.md"];

/// Prose is wrapped. Table rows and addresses cannot be, and code blocks show what a program prints or takes.
#[test]
fn prose_is_at_most_100_columns_wide() {
    let pages = markdown::all();
    let mut checked = 0;
    let mut problems = Vec::new();
    for page in pages.iter().filter(|page| !ANY_WIDTH.iter().any(|name| page.name == Path::new(name))) {
        for (number, line) in &page.prose {
            checked += 1;
            let width = unicode_width::UnicodeWidthStr::width(line.as_str());
            if width > 100 && !line.contains("://") {
                problems.push(format!("{}:{number}: {width} columns", page.name.display()));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "wider than 100 columns");
    assert!(checked > 1000, "only {checked} lines were found");
}

/// The picture of the modules is `ls src`, and the table of changes has a file for each of the 25 most common ones.
#[test]
fn the_modules_in_the_architecture_page_are_those_of_src() {
    let page = std::fs::read_to_string(markdown::root().join("docs/architecture.md")).unwrap();
    let section = |heading: &str| {
        let start = page.find(heading).unwrap_or_else(|| panic!("no {heading}"));
        page[start + heading.len()..].split("\n## ").next().unwrap()
    };
    let first_column = |section: &str| -> Vec<String> {
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        rows.map(|row| row.split('|').nth(1).unwrap().to_owned()).collect()
    };
    let named: BTreeSet<String> = first_column(section("## The modules of `src/`"))
        .iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let entries = std::fs::read_dir(markdown::root().join("src")).unwrap().map(|entry| entry.unwrap());
    let found: BTreeSet<String> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() { format!("{name}/") } else { name }
        })
        .collect();
    assert_eq!(named, found, "docs/architecture.md (left), src (right)");
    assert!(found.len() <= 17, "{} entries", found.len());
    let changes = section("## I want to change X: open Y");
    assert!(first_column(changes).len() >= 25);
    for row in changes.lines().filter(|line| line.starts_with("| ")).skip(1) {
        assert!(row.contains("`src/"), "no file: {row}");
    }
}

/// The rows of the architecture's table are in the order of the imports.
#[test]
fn imports_lead_downwards() {
    let page = std::fs::read_to_string(markdown::root().join("docs/architecture.md")).unwrap();
    let (_, table) = page.split_once("## The modules of `src/`").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let order: Vec<String> = rows
        .map(|row| row.split('`').nth(1).unwrap().trim_end_matches('/').trim_end_matches(".rs").to_owned())
        .collect();
    let place = |module: &str| order.iter().position(|known| known == module);
    let mut upward = Vec::new();
    let mut imports = 0;
    let mut look = |module: &str, path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        for target in
            lines.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        {
            let target = target.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let Some(to) = place(target) else { continue };
            imports += 1;
            if place(module).is_some_and(|from| from > to) {
                upward.push(format!("{} uses crate::{target}", path.display()));
            }
        }
    };
    for entry in std::fs::read_dir(markdown::root().join("src")).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let mut folders = vec![entry.path()];
        while let Some(path) = folders.pop() {
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("init/example") {
                folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                look(name.trim_end_matches(".rs"), &path);
            }
        }
    }
    assert!(imports > 300, "only {imports} imports were found");
    assert_eq!(upward, Vec::<String>::new(), "imports that lead upwards");
}

/// What works on Linux only is in `local/`, which is for Linux, or in `platform/`, which has it for other systems too.
#[test]
fn the_rest_of_the_program_is_for_any_unix() {
    const LINUX: [&str; 6] = ["/proc/", "os::linux", "target_os", "prctl", "pidfd", "renameat2"];
    let source = markdown::root().join("src");
    let mut folders = vec![source.clone()];
    let (mut files, mut found) = (0, Vec::new());
    while let Some(path) = folders.pop() {
        let skipped =
            ["local", "platform", "commands/init/example"].iter().any(|name| path == source.join(name));
        if path.is_dir() && !skipped {
            folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let calls = LINUX.iter().filter(|call| product.contains(**call));
            found.extend(calls.map(|call| format!("{}: {call}", path.display())));
        }
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(files > 100, "only {files} files");
}

/// A page that names a file of this repository by its path names one that is there. The project of the tutorial has files of
/// its own.
#[test]
fn named_files_exist() {
    let pages = markdown::all();
    let made: BTreeSet<&str> =
        pages.iter().flat_map(|page| &page.blocks).filter_map(markdown::Block::file).collect();
    let folders = ["src/", "tests/", "benches/", "lambdas/", "docs/", ".ci/", ".github/"];
    let mut checked = 0;
    let mut problems = Vec::new();
    for page in pages.iter().filter(|page| !page.is_changelog()) {
        for span in page.spans.iter().filter(|span| folders.iter().any(|folder| span.starts_with(folder))) {
            if span.contains(['*', ' ', '<', '…']) || made.contains(span.as_str()) {
                continue;
            }
            checked += 1;
            let beside = page.name.parent().unwrap().join(span);
            if !markdown::root().join(span).exists() && !markdown::root().join(beside).exists() {
                problems.push(format!("{}: {span}", page.name.display()));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "not in this repository");
    assert!(checked > 50, "only {checked} paths were found");
}

/// The decision lists every crate that the program is made of, and no other.
#[test]
fn the_decision_on_dependencies_lists_them_all() {
    let manifest = std::fs::read_to_string(markdown::root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let used: BTreeSet<String> = manifest["dependencies"].as_table().unwrap().keys().cloned().collect();
    let page = std::fs::read_to_string(markdown::root().join("docs/decisions/0011-dependencies.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, used, "docs/decisions/0011-dependencies.md (left), Cargo.toml (right)");
}

/// `cargo run` and `cargo test` compile each crate with the same features, and so only once.
#[test]
fn tests_add_no_features_to_what_the_program_is_made_of() {
    let crates = |edges: &str| -> BTreeSet<String> {
        let tree = std::process::Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--offline",
                "--prefix",
                "none",
                "--format",
                "{p} {f}",
                "--edges",
                edges,
            ])
            .current_dir(markdown::root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{tree:?}");
        let lines = String::from_utf8(tree.stdout).unwrap();
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let (program, tests) = (crates("normal,build"), crates("normal,build,dev"));
    assert!(program.len() > 100, "{program:?}");
    let other: Vec<&String> = program.difference(&tests).collect();
    assert_eq!(
        other,
        Vec::<&String>::new(),
        "compiled again for the tests; add their features to Cargo.toml"
    );
}

/// The page is written by people; the schema comes from the types.
#[test]
fn every_key_of_the_configuration_is_described() {
    let schema = std::fs::read(markdown::root().join("docs/schemas/config.json")).unwrap();
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

#[test]
fn a_page_is_read() {
    let page = Page::of(
        "# One `two` three?\n\n[a](b.md#c) ![d](e.png)\n\n# One two three\n\n```console run\n$ true\n```\n\n| `f` |\n|---|\n\n<g>",
    );
    assert_eq!(page.links, ["b.md#c", "e.png"]);
    assert_eq!(Vec::from_iter(&page.anchors), ["one-two-three", "one-two-three-1"]);
    assert_eq!((page.blocks[0].language(), page.blocks[0].is_run()), ("console", true));
    assert_eq!(page.blocks[0].text, "$ true\n");
    assert_eq!(page.spans, ["two", "f"]);
    assert_eq!(page.html, ["<g>"]);
    let numbers: Vec<usize> = page.prose.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 10, 13, 14]);
}
