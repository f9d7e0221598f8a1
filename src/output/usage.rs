//! The error of a command line that cannot be parsed.

use std::io::Write as _;

use super::ci::Ci;
use super::github;
use super::stdout::write_json;
use crate::documents::result as document;
use crate::error::{ErrorId, Kind};
use crate::platform::variables;

/// Says what is wrong with a command line, or the help that it asks for, as clap words it; returns the exit code.
/// Whoever wants JSON gets a document of this failure, too.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        let _gone = error.print();
        return 0;
    }
    // It repeats what was typed, which in a CI job may come from anybody.
    let text = error.render().ansi().to_string();
    let on_github = Ci::of(|name| std::env::var(name).ok()) == Some(Ci::GitHub);
    let text = if on_github { github::inert(&text) } else { text };
    let _gone = anstream::stderr().write_all(text.as_bytes());
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if wants_json(&args, std::env::var(variables::OUTPUT).ok().as_deref()) {
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
        write_json(&failure, on_github);
    }
    Kind::Usage.exit_code()
}

/// Whether a command line that cannot be parsed asks for JSON.
fn wants_json(args: &[String], env: Option<&str>) -> bool {
    let mut asked = env.map(str::to_owned);
    for (arg, next) in args.iter().zip(args.iter().skip(1).map(Some).chain([None])) {
        match arg.as_str() {
            "--" => break,
            "--output" | "-o" => asked = next.cloned(),
            _ => {
                let value = arg.strip_prefix("--output=").or_else(|| arg.strip_prefix("-o"));
                asked = value.map(|value| value.trim_start_matches('=').to_owned()).or(asked);
            }
        }
    }
    asked.as_deref() == Some("json")
}

#[cfg(test)]
mod tests {
    use super::wants_json;

    #[test]
    fn json_is_asked_for_in_any_form() {
        let wants = |text: &str, env| {
            wants_json(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), env)
        };
        for yes in ["status --output json", "--output=json x", "-o json", "-ojson", "-o=json"] {
            assert!(wants(yes, None), "{yes}");
        }
        assert!(wants("status", Some("json")));
        for no in ["status", "-o human", "terraform app -- --output json"] {
            assert!(!wants(no, None), "{no}");
        }
        assert!(!wants("status -o human", Some("json")), "the argument wins");
    }
}
