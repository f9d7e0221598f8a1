//! `deployctl completions` and `deployctl man`: what a shell and `man` know of the command line.

use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::Context;
use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::schema::documents::{Body as _, ManBody};

/// Prints the completions for a shell. They need nothing of a project, and are the same everywhere.
pub(super) fn completions(context: &Context, shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "deployctl", &mut text);
    context.report.raw(&String::from_utf8_lossy(&text));
    Ok(())
}

/// Prints the page of deployctl, or writes all pages to a folder.
pub(super) fn man(context: &Context, dir: Option<&Path>) -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        context.report.raw(&String::from_utf8_lossy(&page(&command)?));
        return Ok(());
    };
    let mut pages = Vec::new();
    collect(&command, "deployctl", &mut pages)?;
    let not_written = |error| {
        Error::preflight("man.not_written", format!("cannot write to {}", dir.display()))
            .because(error)
            .hint("name a folder that can be written with --dir")
    };
    std::fs::create_dir_all(dir).map_err(not_written)?;
    for (name, bytes) in &pages {
        std::fs::write(dir.join(name), bytes).map_err(not_written)?;
    }
    let names: Vec<String> = pages.into_iter().map(|(name, _)| name).collect();
    let text = format!("{} pages in {}\n", names.len(), dir.display());
    context.report.show(&ManBody { dir: dir.display().to_string(), pages: names }.document(), &text);
    Ok(())
}

/// The page of a command and those of the commands below it.
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
        .map_err(|error| Error::bug("a man page cannot be made").because(error))?;
    Ok(bytes)
}
