//! `deployctl completions` and `deployctl man`: shell completions and man pages.

use std::path::PathBuf;

use clap::Command;
use clap_complete::env::Shells;

use super::context::Context;
use crate::documents::{Body as _, ManBody};
use crate::error::{Error, ErrorId, Result};
use crate::platform::atomic_file;

/// Print completions for a shell: commands, options, stages, layers, functions and versions
///
/// The shell asks deployctl at each completion. It knows the functions and versions that `release`, `status`,
/// `history` or another command has seen in this project.
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

/// Prints the script that makes the shell ask deployctl for completions.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let shells = Shells::builtins();
    let name = args.shell.to_string();
    let shell = shells.completer(&name).ok_or_else(|| Error::bug(format!("no completions for {name}")))?;
    let mut text = Vec::new();
    shell
        .write_registration("COMPLETE", "deployctl", "deployctl", "deployctl", &mut text)
        .map_err(|error| Error::bug("failed to write the completions").because(error))?;
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
