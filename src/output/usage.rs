//! The error of a command line that cannot be parsed.

use std::io::Write as _;

use super::ci::Ci;
use super::stdout::{unwritten, write_json};
use super::{harmless, human};
use crate::documents::result as document;
use crate::error::{ErrorId, Kind};
use crate::platform::variables;

/// Prints clap's error or help, and returns the exit code. With `--output json`, also prints the document of
/// the failure.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        let Some(error) = unwritten(error.print()) else { return 0 };
        let _closed = anstream::stderr().write_all(human::error(&error).as_bytes());
        return error.kind.exit_code();
    }
    // It repeats the command line, which in a CI job may contain text from outside.
    let text = error.render().ansi().to_string();
    let on_github = Ci::of(|name| std::env::var(name).ok()) == Some(Ci::GitHub);
    let text = if on_github { harmless::github(&text) } else { harmless::terminal(&text) };
    let _closed = anstream::stderr().write_all(text.as_bytes());
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if json_requested(&args, std::env::var(variables::OUTPUT).ok().as_deref()) {
        let message = error.kind().as_str().unwrap_or("the command line is not valid").to_owned();
        let rendered = error.render().to_string();
        let document = document::ErrorDocument {
            id: ErrorId::Usage.as_str(),
            message,
            causes: rendered
                .lines()
                .next()
                .map(|line| line.trim_start_matches("error: ").to_owned())
                .into_iter()
                .collect(),
            hint: Some(
                "nothing was changed; `deployctl help` lists the commands and their options".to_owned(),
            ),
        };
        let failure = crate::documents::Failure::of(None, document);
        let _unwritten = write_json(&failure);
    }
    Kind::Usage.exit_code()
}

/// Whether a command line that cannot be parsed asks for JSON.
fn json_requested(args: &[String], env: Option<&str>) -> bool {
    let mut output = env.map(str::to_owned);
    for (arg, next) in args.iter().zip(args.iter().skip(1).map(Some).chain([None])) {
        match arg.as_str() {
            "--" => break,
            "--output" | "-o" => output = next.cloned(),
            _ => {
                let value = arg.strip_prefix("--output=").or_else(|| arg.strip_prefix("-o"));
                output = value.map(|value| value.trim_start_matches('=').to_owned()).or(output);
            }
        }
    }
    output.as_deref() == Some("json")
}

#[cfg(test)]
mod tests {
    use super::json_requested;

    #[test]
    fn json_output_is_recognized_in_every_spelling() {
        let requested = |text: &str, env| {
            json_requested(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), env)
        };
        for yes in ["status --output json", "--output=json x", "-o json", "-ojson", "-o=json"] {
            assert!(requested(yes, None), "{yes}");
        }
        assert!(requested("status", Some("json")));
        for no in ["status", "-o human", "terraform app -- --output json"] {
            assert!(!requested(no, None), "{no}");
        }
        assert!(!requested("status -o human", Some("json")), "the argument wins");
    }
}
