//! `deployctl completions` and `deployctl man`: shell completions and man pages.

use std::path::PathBuf;

use clap::Command;

use super::context::Context;
use crate::documents::{Body as _, ManBody};
use crate::error::{Error, ErrorId, Result};
use crate::platform::atomic_file;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl completions bash > ~/.local/share/bash-completion/completions/deployctl\n  deployctl completions fish > ~/.config/fish/completions/deployctl.fish"
)]
pub(crate) struct Args {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

/// Print the man page of deployctl, or write one page for each command
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl man | man -l -\n  deployctl man --dir ~/.local/share/man/man1"
)]
pub(crate) struct ManArgs {
    /// The folder to write the pages to
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// Completions do not depend on a project.
pub(super) fn run(context: &Context, mut command: Command, args: &Args) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "deployctl", &mut text);
    context.report.raw(&String::from_utf8_lossy(&text));
    Ok(())
}

pub(super) fn man(context: &Context, command: Command, args: &ManArgs) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        context.report.raw(&String::from_utf8_lossy(&page(&command)?));
        return Ok(());
    };
    let mut pages = Vec::new();
    collect(&command, "deployctl", &mut pages)?;
    let not_written = |error| {
        Error::preflight(ErrorId::ManNotWritten, format!("failed to write to {}", dir.display()))
            .because(error)
            .hint("name a folder that can be written with --dir")
    };
    std::fs::create_dir_all(dir).map_err(not_written)?;
    for (name, bytes) in &pages {
        atomic_file::write(&dir.join(name), bytes).map_err(not_written)?;
    }
    let names: Vec<String> = pages.into_iter().map(|(name, _)| name).collect();
    let text = format!("{} pages in {}\n", names.len(), dir.display());
    context.report.show(&ManBody { dir: dir.display().to_string(), pages: names }.document(), &text);
    Ok(())
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    pages.push((format!("{name}.1"), page(command)?));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        collect(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut bytes)
        .map_err(|error| Error::bug("failed to render a man page").because(error))?;
    Ok(bytes)
}
