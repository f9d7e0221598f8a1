//! The help of `deployctl` itself: the commands in groups. clap has groups for arguments only.

use std::fmt::Write as _;

use clap::Command;

/// Every command, in the order of the help. A test compares them with [`super::cli::Verb`].
pub(super) const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Release",
        &["release", "plan", "build", "preview", "promote", "canary", "rollback", "redeploy", "fleet", "dev"],
    ),
    ("Look", &["status", "url", "history", "diff", "logs", "invoke", "output"]),
    ("Set up and check", &["init", "doctor", "validate", "bootstrap", "conformance", "local"]),
    ("Maintain", &["prune", "terraform", "unlock", "destroy"]),
    ("Learn", &["explain", "schema", "completions", "man", "help"]),
];

/// `command` with a help that lists its subcommands in groups.
pub(super) fn grouped(command: Command) -> Command {
    let styles = command.get_styles().clone();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let width =
        terminal_size::terminal_size().map_or(MAX_WIDTH, |(width, _)| usize::from(width.0).min(MAX_WIDTH));
    let mut list = String::new();
    for (title, names) in GROUPS {
        let _ = writeln!(list, "{header}{title}:{header:#}");
        for name in names {
            let found = command.find_subcommand(name);
            let about = found.and_then(Command::get_about).map(ToString::to_string);
            let about = about.unwrap_or_else(|| "Print this message, or the help of a command".to_owned());
            let aliases = found.map(|found| found.get_visible_aliases().collect::<Vec<_>>());
            let also = aliases.filter(|aliases| !aliases.is_empty());
            let also = also.map(|aliases| format!(" [also: {}]", aliases.join(", "))).unwrap_or_default();
            let about = wrapped(&(about + &also), width.saturating_sub(INDENT));
            let _ = writeln!(list, "  {literal}{name:<12}{literal:#} {about}");
        }
        list.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{header}Options:{header:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

/// The width of the help, as of clap's part of it.
const MAX_WIDTH: usize = 100;

/// The columns before the description of a command.
const INDENT: usize = 15;

/// The words of `text` in lines of `width` columns.
fn wrapped(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > width {
            wrapped.push_str("\n               ");
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.len();
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::super::cli::Cli;
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let once: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(once.len(), listed.len());
        let command = Cli::command();
        let mut known: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        known.insert("help");
        assert_eq!(once, known);
        let help = grouped(Cli::command()).render_help().to_string();
        assert!(help.contains("\nRelease:\n  release      Build, apply Terraform"), "{help}");
        assert!(help.contains("[also:") && help.contains("\nOptions:\n  -s, --stage"), "{help}");
        let listed = help.split("\nOptions:").next().unwrap_or_default();
        assert!(listed.lines().all(|line| line.chars().count() <= MAX_WIDTH), "{help}");
        assert_eq!(wrapped("one two three", 7), "one two\n               three");
    }
}
