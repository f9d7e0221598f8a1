//! The first five minutes: what `deployctl init` finds in a project, and what it says to change.
//!
//! ```text
//! folder ─► survey: layers, functions, API, packages ─► rewrite: edits ─┬─► patch (git apply)
//!                                                                       ├─► deployctl.toml
//!                                                                       └─► what is left to do by hand
//! ```
//!
//! Only source is read: no Terraform is run, no AWS is asked. What cannot be told from the source is not guessed, but
//! said, with what to write. [`example`] is the other way to begin: a whole project in an empty folder.

mod artifacts;
mod contract;
mod edits;
pub(crate) mod example;
mod functions;
mod packages;
mod rewrite;
mod settings_file;
mod stage;
mod states;
mod survey;
mod uris;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use self::rewrite::Proposal;
use self::settings_file::summary;
use self::survey::Survey;
use crate::commands::context::Context;
use crate::documents::init::{Document, SettingsFile};
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::{FILE, Overrides, Settings};

/// Set deployctl up in a Terraform project: write deployctl.toml, print what to change as a patch
///
/// Nothing but deployctl.toml is written, and that only where there is none. The patch goes to stdout, what was
/// found and what is left to do by hand to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl init                     see what would change\n  deployctl init | git apply         change it\n  deployctl init --example users     a whole project in an empty folder"
)]
pub(crate) struct Args {
    /// Write the users API, a project that can be released at once, into DIR, which must be empty
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with_all = ["patch", "force"])]
    pub(super) example: Option<PathBuf>,
    /// Write the patch to FILE instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Option<PathBuf>,
    /// Replace a deployctl.toml that is there
    #[arg(long)]
    pub(super) force: bool,
}

/// Runs it in the current folder, or writes the example.
pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    if let Some(folder) = &args.example {
        return write_example(context, folder);
    }
    let (patch, force) = (args.patch.as_deref(), args.force);
    let root = here()?;
    let path = context.overrides.config.clone().unwrap_or_else(|| settings_path(&root));
    let proposal = propose(&root, &context.cancel).await?;
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
    for line in summary(&proposal.found).lines() {
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

fn write_example(context: &Context, folder: &Path) -> Result<()> {
    let files = example::write(folder)?;
    let document = Document { files: &files, ..Document::empty("written") };
    let document = serde_json::to_value(&document).map_err(|error| Error::bug(error.to_string()))?;
    let place = if folder == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", crate::platform::process::quoted(&folder.to_string_lossy()))
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
    let folder = tempfile::tempdir().map_err(|error| {
        Error::usage(ErrorId::InitWrite, "failed to create a temporary folder").because(error)
    })?;
    let config = settings_path(folder.path());
    write(&config, &proposal.settings)?;
    Settings::load(&Overrides { config: Some(config), ..Overrides::default() })
        .map(drop)
        .map_err(|error| Error::bug("failed to read deployctl.toml as it would be written").because(error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Error::usage(ErrorId::InitWrite, format!("failed to write {}", path.display())).because(error)
    })
}

fn here() -> Result<PathBuf> {
    std::env::current_dir().map_err(|source| {
        Error::usage(ErrorId::ConfigMissing, "failed to find the current folder").because(source)
    })
}

/// Looks at the project in `root` and says how deployctl could release it.
///
/// # Errors
/// `init.no_terraform` where there is nothing to begin with.
pub(crate) async fn propose(root: &Path, cancel: &CancellationToken) -> Result<Proposal> {
    let survey = Survey::of(root, cancel).await;
    if survey.layers.is_empty() {
        return Err(Error::usage(ErrorId::InitNoTerraform, format!("there is no Terraform code in {}", root.display()))
            .hint("run it in the project's folder; or let `deployctl init --example DIR` write a whole project into an empty one"));
    }
    let patch_root = repository(root);
    Ok(rewrite::rewrite(survey, patch_root))
}

/// The folder that `git apply` takes a patch's paths to be relative to: that of the repository, else the project's.
fn repository(root: &Path) -> PathBuf {
    root.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(root).to_owned()
}

/// Where the settings of a project are written.
pub(crate) fn settings_path(root: &Path) -> PathBuf {
    root.join(FILE)
}
