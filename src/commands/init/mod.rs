//! `deployctl init`: examines a project, writes `deployctl.toml`, and prints the other changes as a patch.
//!
//! ```text
//! folder ─► survey: layers, functions, API, packages ─► rewrite: edits ─┬─► patch (git apply)
//!                                                                       ├─► deployctl.toml
//!                                                                       └─► advice: what to do by hand
//! ```
//!
//! It reads only the source, and runs neither Terraform nor calls to AWS. What the source does not show is
//! not guessed: an advice says what to write. [`example`] writes a whole project into an empty folder
//! instead.

mod api;
mod artifacts;
mod contract;
mod edits;
mod environments;
pub(crate) mod example;
mod functions;
mod layouts;
mod openapi;
mod packages;
mod probe;
mod rewrite;
mod settings_file;
mod stage;
mod states;
mod survey;
mod tree;
mod uris;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use self::rewrite::Proposal;
use self::settings_file::summary;
use self::survey::Survey;
use crate::commands::context::Context;
use crate::documents::init::{Document, SettingsFile};
use crate::error::{Error, ErrorId, Result};
use crate::platform::atomic_file;
use crate::project::settings::{FILE, Overrides, Settings};

/// Set deployctl up in a Terraform project: write deployctl.toml and print a patch of all other changes
///
/// Writes only deployctl.toml, and only if it does not exist. The patch goes to stdout; what was found and
/// what to do by hand go to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl init                     show what would change\n  deployctl init | git apply         change it\n  deployctl init --example users     write an example project"
)]
pub(crate) struct Args {
    /// Write an example project, the users API, into DIR, which must be empty
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with_all = ["patch", "force"])]
    pub(super) example: Option<PathBuf>,
    /// Write the patch to FILE instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Option<PathBuf>,
    /// Replace an existing deployctl.toml
    #[arg(long)]
    pub(super) force: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    if let Some(folder) = &args.example {
        return write_example(context, folder);
    }
    let (patch, force) = (args.patch.as_deref(), args.force);
    let root = current_dir()?;
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
    print_proposal(context, &proposal, &path, written, patch);
    let document = Document {
        settings: Some(SettingsFile { path: &path, text: &proposal.settings, written }),
        found: Some(&proposal.found),
        patch: Some(&proposal.patch),
        patch_root: Some(&proposal.patch_root),
        by_hand: &proposal.by_hand,
        ..Document::empty(if written { "written" } else { "kept" })
    };
    let document = serde_json::to_value(&document).map_err(|error| Error::bug(error.to_string()))?;
    // On stdout, so that it can be piped into `git apply`.
    context.report.value(&document, if patch.is_some() { "" } else { &proposal.patch })?;
    Ok(())
}

fn print_proposal(context: &Context, proposal: &Proposal, path: &Path, written: bool, patch: Option<&Path>) {
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
        false => format!("{} exists and was kept (--force replaces it)", path.display()),
    });
    let root = proposal.patch_root.display();
    events.note(match (proposal.patch.is_empty(), patch) {
        (true, _) => "the project's files need no change".to_owned(),
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

/// Checks that the other commands can read the proposed `deployctl.toml`.
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
    atomic_file::write(path, text.as_bytes()).map_err(|error| {
        Error::usage(ErrorId::InitWrite, format!("failed to write {}", path.display())).because(error)
    })
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(|source| {
        Error::usage(ErrorId::ConfigMissing, "failed to find the current folder").because(source)
    })
}

/// Examines the project in `root` and proposes how deployctl can release it.
///
/// # Errors
/// `init.no_terraform` if there is no Terraform code.
pub(crate) async fn propose(root: &Path, cancel: &CancellationToken) -> Result<Proposal> {
    let survey = Survey::of(root, cancel).await;
    if survey.layers.is_empty() {
        return Err(Error::usage(
            ErrorId::InitNoTerraform,
            format!("there is no Terraform code in {}", root.display()),
        )
        .hint(
            "nothing was written; run it in the project's folder, or write an example project with \
                   `deployctl init --example DIR`",
        ));
    }
    let patch_root = repository(root);
    rewrite::rewrite(&survey, patch_root)
}

/// The folder that the paths of a patch are relative to: the repository, as `git apply` expects, or the
/// project.
fn repository(root: &Path) -> PathBuf {
    root.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(root).to_owned()
}

pub(crate) fn settings_path(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests;
