//! `deployctl init`: sets deployctl up in a project, or writes an example of one.
//!
//! The patch is the result, so that `deployctl init | git apply` works; everything that is said about it goes to stderr.

use std::path::{Path, PathBuf};

use super::Context;
use crate::error::{Error, Result};
use crate::init::document::{Document, SettingsFile};
use crate::init::{self, Proposal};
use crate::settings::{Overrides, Settings};

/// Runs it in the current folder.
pub(super) async fn run(context: &Context, patch: Option<&Path>, force: bool) -> Result<()> {
    let root = here()?;
    let path = context.overrides.config.clone().unwrap_or_else(|| init::settings_path(&root));
    let proposal = init::propose(&root, &context.cancel).await?;
    let written = force || !path.exists();
    if written {
        check(&proposal)?;
        write(&path, &proposal.settings)?;
    }
    if let Some(file) = patch {
        write(file, &proposal.patch)?;
    }
    tell(context, &proposal, &path, written, patch);
    let document = Document {
        settings: Some(SettingsFile { path: &path, text: &proposal.settings, written }),
        found: Some(&proposal.found),
        patch: Some(&proposal.patch),
        patch_root: Some(&proposal.patch_root),
        by_hand: &proposal.by_hand,
        ..Document::empty(if written { "written" } else { "kept" })
    };
    let document = serde_json::to_value(&document).map_err(|error| Error::bug(error.to_string()))?;
    // The patch as it is: nothing of it may be taken for a colour, or be cut.
    context.report.show(&document, if patch.is_some() { "" } else { &proposal.patch });
    Ok(())
}

/// What was found, what to do by hand, and what to do next.
fn tell(context: &Context, proposal: &Proposal, path: &Path, written: bool, patch: Option<&Path>) {
    let events = &context.events;
    for line in proposal.found.summary().lines() {
        events.note(line);
    }
    for advice in &proposal.by_hand {
        let lines = advice.write.iter().flat_map(|write| write.lines()).map(|line| format!("\n      {line}"));
        events.warn(format!("by hand: {}{}", advice.what, lines.collect::<String>()));
    }
    events.note(match written {
        true => format!("{} was written", path.display()),
        false => format!("{} is there and was kept (--force replaces it)", path.display()),
    });
    let root = proposal.patch_root.display();
    events.note(match (proposal.patch.is_empty(), patch) {
        (true, _) => "nothing is to be changed in the project's files".to_owned(),
        (false, None) => format!("the patch is for `deployctl init | git apply`, or `patch -p1` in {root}"),
        (false, Some(file)) => {
            format!("the patch is for `git apply {0}`, or `patch -p1 < {0}` in {root}", file.display())
        }
    });
}

/// Writes the example.
pub(super) fn example(context: &Context, folder: &Path) -> Result<()> {
    let files = init::example::write(folder)?;
    let document = Document { files: &files, ..Document::empty("written") };
    let document = serde_json::to_value(&document).map_err(|error| Error::bug(error.to_string()))?;
    let place = if folder == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", crate::process::quoted(&folder.to_string_lossy()))
    };
    let text = format!(
        "{} files of the users API were written to {}\n  next: {place}deployctl release --version 0.1.0\n",
        files.len(),
        folder.display()
    );
    context.report.show(&document, &text);
    Ok(())
}

/// What is written must be what the other commands can read.
fn check(proposal: &Proposal) -> Result<()> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::usage("init.write", "cannot make a temporary folder").because(error))?;
    let config = init::settings_path(folder.path());
    write(&config, &proposal.settings)?;
    Settings::load(&Overrides { config: Some(config), ..Overrides::default() })
        .map(drop)
        .map_err(|error| Error::bug("deployctl.toml as it would be written cannot be read").because(error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Error::usage("init.write", format!("cannot write {}", path.display())).because(error)
    })
}

fn here() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|source| Error::usage("config.missing", "cannot tell the current folder").because(source))
}
