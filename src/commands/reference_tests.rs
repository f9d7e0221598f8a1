//! What is generated from the program and committed, for those who read and for other programs: the reference
//! of commands, the list of errors, the schemas. `UPDATE_DOCS=1 cargo test --lib reference` writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::error::ErrorId;

use super::cli::Cli;
use super::explain;
use super::schema::registry as schema;
use clap::{Command, CommandFactory as _};

const WHY: &str = "Generated. Do not edit: `UPDATE_DOCS=1 cargo test --lib reference` generates it again.";

#[test]
fn the_reference_of_commands_equals_the_help() {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut text = format!(
        "# Commands\n\n<!-- {WHY} -->\n\nEvery command takes the options of `deployctl` itself. The result goes to stdout, \
         progress\nto stderr.\n"
    );
    describe(&mut text, &command, "deployctl", 2);
    compare("commands.md", &text);
}

#[test]
fn the_list_of_errors_equals_the_output_of_explain() {
    let all = explain::all().unwrap();
    let mut text = format!(
        "# Exit codes and errors\n\n<!-- {WHY} -->\n\n`deployctl explain <exit code or error>` prints the same. The texts are\nin \
         `src/commands/explain/catalogue.toml`.\n\n## Exit codes\n\n| code | meaning | what is live | what to do |\n|---|---|---|---|\n"
    );
    for code in &all.exit_codes {
        writeln!(text, "| {} | {} | {} | {} |", code.exit_code, code.meaning, code.live, code.next).unwrap();
    }
    text.push_str(
        "\n## Errors\n\nAn error is printed with its id in brackets. With `--output json` the id is in `error.id`.\n",
    );
    for error in &all.errors {
        let codes: Vec<String> = error.exit_codes.iter().map(u8::to_string).collect();
        let item = |name: &str, value: &str| wrapped(&format!("- {name}: {}", plain(value)), "  ");
        writeln!(text, "\n### `{}`\n\n{}\n", error.id, wrapped(&plain(&error.meaning), "")).unwrap();
        writeln!(text, "{}", item("Exit code", &codes.join(", "))).unwrap();
        writeln!(text, "{}", item("What is live", &error.live)).unwrap();
        writeln!(text, "{}", item("What to do", &error.next)).unwrap();
    }
    compare("errors.md", &text);
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let mut wanted = BTreeSet::new();
    for entry in schema::ALL {
        let name = format!("{}.json", entry.name);
        compare(&format!("schemas/{name}"), &entry.text());
        jsonschema::validator_for(&entry.schema()).unwrap();
        assert!(wanted.insert(name), "two schemas {}", entry.name);
    }
    let found = std::fs::read_dir(docs().join("schemas")).unwrap().flatten();
    let found: BTreeSet<String> = found.map(|file| file.file_name().into_string().unwrap()).collect();
    assert_eq!(found, wanted, "a schema of something that is not printed");
}

#[test]
fn every_command_has_a_help_text_and_an_example() {
    fn look(command: &Command, name: &str) {
        assert!(command.get_about().is_some(), "{name} does not say what it does");
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Example") && after.contains("deployctl "), "{name} has no example");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name} does not explain {}", argument.get_id());
        }
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            look(below, &format!("{name} {}", below.get_name()));
        }
    }
    look(&Cli::command(), "deployctl");
}

#[test]
fn every_error_is_explained_and_used() {
    let explained: BTreeSet<String> =
        explain::all().unwrap().errors.into_iter().map(|error| error.id).collect();
    let ids: BTreeSet<String> = ErrorId::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(ids, explained, "the ids (left), and src/commands/explain/catalogue.toml (right)");
    let mut used = BTreeSet::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |text| {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let names = product.split("ErrorId::").skip(1);
        used.extend(names.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()));
    });
    let unused: Vec<_> = ErrorId::ALL.iter().filter(|id| !used.contains(&format!("{id:?}"))).collect();
    assert!(unused.is_empty(), "no error has these ids: {unused:?}");
}

fn sources(folder: &Path, look: &mut dyn FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.ends_with("init/example") {
            // The Lambdas' source, which is no part of the program.
            continue;
        }
        if path.is_dir() {
            sources(&path, look);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test(&path) {
            look(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether a file belongs to the unit tests.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Fails the test unless the committed file is `text`; with `UPDATE_DOCS`, makes it so.
fn compare(name: &str, text: &str) {
    let path = docs().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != text {
        let diff = similar::TextDiff::from_lines(committed.as_str(), text);
        panic!(
            "docs/{name} is not what the program says; UPDATE_DOCS=1 writes it anew\n{}",
            diff.unified_diff().header("committed", "generated")
        );
    }
}

/// A command and all below it.
fn describe(text: &mut String, command: &Command, name: &str, depth: usize) {
    writeln!(text, "\n{} `{name}`\n", "#".repeat(depth)).unwrap();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    let about = about.unwrap_or_default();
    let lines: Vec<String> = about.lines().map(|line| wrapped(line, "")).collect();
    writeln!(text, "{}\n", lines.join("\n")).unwrap();
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "```text\n{}\n```\n", usage.trim_start_matches("Usage: ")).unwrap();
    let own = |argument: &&clap::Arg| {
        let built_in = ["help", "version"].contains(&argument.get_id().as_str())
            && !argument.get_action().takes_values();
        !argument.is_hide_set() && !built_in && (depth == 2 || !argument.is_global_set())
    };
    let arguments: Vec<&clap::Arg> = command.get_arguments().filter(own).collect();
    if !arguments.is_empty() {
        text.push_str("| argument | meaning |\n|---|---|\n");
        for argument in arguments {
            writeln!(text, "| `{}` | {} |", written(argument).replace('|', "\\|"), meaning(argument))
                .unwrap();
        }
        text.push('\n');
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let (examples, rest) = after.split_once("\n\n").unwrap_or((&after, ""));
        let lines = examples.lines().skip(1).map(str::trim_start).collect::<Vec<_>>().join("\n");
        writeln!(text, "```sh\n{lines}\n```").unwrap();
        if !rest.is_empty() {
            writeln!(text, "\nExit codes: [errors.md](errors.md).").unwrap();
        }
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        describe(text, below, &format!("{name} {}", below.get_name()), depth + 1);
    }
}

fn written(argument: &clap::Arg) -> String {
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let values: Vec<String> = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .map(|names| names.iter().map(|name| format!("<{name}>")).collect())
        .unwrap_or_default();
    match argument.get_long() {
        Some(long) => [vec![format!("{short}--{long}")], values].concat().join(" "),
        None => values.join(" "),
    }
}

fn meaning(argument: &clap::Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), help),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !choices.is_empty() {
        write!(text, ". One of {}", choices.join(", ")).unwrap();
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        write!(text, ". By default `{}`", defaults.join(" ")).unwrap();
    }
    if let Some(variable) = argument.get_env() {
        write!(text, ". Environment: `{}`", variable.to_string_lossy()).unwrap();
    }
    plain(&text)
}

/// A paragraph in lines of at most 100 columns, all but the first of them indented. Code is not broken.
fn wrapped(paragraph: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    let mut words = Vec::<String>::new();
    for word in paragraph.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => last.extend([" ", word]),
            _ => words.push(word.to_owned()),
        }
    }
    for word in words {
        let line = lines.last_mut().unwrap();
        let length = line.chars().count() + 1 + word.chars().count();
        if line.trim().is_empty() {
            line.push_str(&word);
        } else if length <= 100 {
            line.extend([" ", &word]);
        } else {
            lines.push(format!("{indent}{word}"));
        }
    }
    lines.join("\n")
}

/// Text as Markdown: a placeholder such as `<name>` outside code would be taken for HTML, and not be seen.
fn plain(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(number, part)| match number % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}
