//! GitHub's workflow commands: lines on stdout or stderr that the runner executes, and files that it reads.
//!
//! `harmless` sees to it that no other text is a command.

use std::path::Path;

use super::harmless::github_data;
use crate::platform::paths;

pub(super) fn command(name: &str, properties: &[(&str, &str)], text: &str) -> String {
    let properties: Vec<String> =
        properties.iter().map(|(key, value)| format!("{key}={}", property(value))).collect();
    let space = if properties.is_empty() { "" } else { " " };
    format!("::{name}{space}{}::{}\n", properties.join(","), github_data(text))
}

/// An error annotation at a line of a file.
pub(super) fn at(place: &crate::error::Place, id: &str) -> String {
    let repository = std::env::var_os("GITHUB_WORKSPACE").unwrap_or_default();
    let file = repository_path(repository.as_ref(), Path::new(""), &place.file.to_string_lossy());
    let properties =
        [("title", &*format!("deployctl {id}")), ("file", &file), ("line", &place.line.to_string())];
    command("error", &properties, &place.text)
}

/// Lines that can be collapsed. `body` must be harmless.
pub(super) fn group(headline: &str, body: &str) -> String {
    format!("{}{body}{}", command("group", &[], headline), command("endgroup", &[], ""))
}

/// Masks `secret` in the rest of the log. The runner compares single lines.
pub(super) fn mask(secret: &str) -> String {
    secret
        .split(['\r', '\n'])
        .filter(|line| !line.trim().is_empty())
        .map(|line| command("add-mask", &[], line))
        .collect()
}

fn property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The lines of the file of a step's outputs. The delimiter must be unpredictable: a value that contains it
/// could set another output.
pub(super) fn outputs(values: &[(&str, &str)], delimiter: &str) -> String {
    values
        .iter()
        .map(|(name, value)| format!("{name}<<ghadelimiter_{delimiter}\n{value}\nghadelimiter_{delimiter}\n"))
        .collect()
}

/// The path of a layer's file, relative to the repository. Resolves `..` to modules in other folders.
pub(super) fn repository_path(repository: &Path, layer: &Path, file: &str) -> String {
    let path = paths::normal(&layer.join(file));
    path.strip_prefix(repository).unwrap_or(&path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_escaped_as_the_runner_reads_them() {
        assert_eq!(
            command("error", &[("file", "a,b:c%.tf"), ("line", "3")], "50 % of\r\ntwo: lines, both"),
            "::error file=a%2Cb%3Ac%25.tf,line=3::50 %25 of%0Atwo: lines, both\n"
        );
        assert_eq!(group("a\n::error::b", "body\n"), "::group::a%0A::error::b\nbody\n::endgroup::\n");
        assert_eq!(mask("one\ntwo%\r\n\n"), "::add-mask::one\n::add-mask::two%25\n");
    }

    #[test]
    fn no_value_can_set_another_output() {
        assert_eq!(
            outputs(&[("url", "http://x"), ("version", "1\nEOF\noutcome=released")], "r4nd0m"),
            "url<<ghadelimiter_r4nd0m\nhttp://x\nghadelimiter_r4nd0m\n\
             version<<ghadelimiter_r4nd0m\n1\nEOF\noutcome=released\nghadelimiter_r4nd0m\n"
        );
    }

    #[test]
    fn files_are_named_from_the_repository() {
        let of = |layer: &str, file: &str| repository_path(Path::new("/r"), Path::new(layer), file);
        assert_eq!(of("/r/terraform/app", "main.tf"), "terraform/app/main.tf");
        assert_eq!(of("/r/terraform/app", "../modules/x/./main.tf"), "terraform/modules/x/main.tf");
        assert_eq!(of("/elsewhere", "main.tf"), "/elsewhere/main.tf");
    }
}
