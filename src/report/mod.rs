//! The only room that prints: progress to stderr, the result to stdout.

pub mod document;
mod human;
mod look;
mod progress;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use crate::cli::{Output, ProgressMode};
use crate::error::{Error, Kind};
use crate::event::Events;
use crate::schema::documents::LogLine;

pub use document::Document;
pub use look::Look;

/// Writes what a command says.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    output: Output,
    progress: ProgressMode,
}

impl Report {
    /// A report in the form the user asked for.
    pub fn new(output: Output, progress: ProgressMode) -> Self {
        Self { output, progress }
    }

    /// The events whose listener is this report.
    pub fn events(self) -> Events {
        let progress = Mutex::new(progress::Progress::new(self.progress));
        Events::new(move |event| {
            progress.lock().unwrap_or_else(PoisonError::into_inner).show(event);
        })
    }

    /// Writes the result of a command that has a document, and returns the exit code.
    pub fn finish(self, document: &Document, error: Option<&Error>) -> u8 {
        match self.output {
            Output::Json => self.json(document),
            Output::Human if error.is_none() => write_out(&human::result(document)),
            Output::Human => {}
        }
        error.map_or(0, |error| self.fail(error))
    }

    /// Writes any other JSON document, or its text for people.
    pub fn show(self, value: &serde_json::Value, text: &str) {
        match self.output {
            Output::Json => self.json(value),
            Output::Human => write_out(text),
        }
    }

    /// Writes a line of a function's log; false when nobody reads it any more. `place` chooses the colour of the
    /// function's name, which is as wide as `width`.
    pub fn log_line(&self, line: &LogLine, place: usize, width: usize) -> bool {
        let text = match self.output {
            Output::Json => format!("{}\n", serde_json::json!(line)),
            Output::Human => human::log_line(line, place, width),
        };
        anstream::stdout().write_all(text.as_bytes()).is_ok()
    }

    /// Shows what `status --watch` sees now: in the place of what it showed before on a terminal, on a new line
    /// otherwise. False when nobody reads it any more.
    pub fn look(&self, look: &mut Look, document: &Document) -> bool {
        let text = match self.output {
            Output::Json => format!("{}\n", serde_json::json!(document)),
            Output::Human if std::io::stdout().is_terminal() => look.redrawn(&human::look(document)),
            Output::Human => human::one_line(document),
        };
        let mut stdout = anstream::stdout();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// Whether what is shown again and again is redrawn, so that every look is worth showing.
    pub fn redraws(&self) -> bool {
        self.output == Output::Human && std::io::stdout().is_terminal()
    }

    /// Writes text as it is, in either form: for output that another program reads, such as shell exports.
    pub fn raw(self, text: &str) {
        write_out(text);
    }

    /// Says what failed, why, and what to do next; returns the exit code.
    pub fn fail(self, error: &Error) -> u8 {
        let text = human::error(error);
        // A terminal that has gone away must not keep the exit code from being told.
        let _gone = anstream::stderr().write_all(text.as_bytes());
        error.kind.exit_code()
    }

    /// Asks on the terminal and returns the answer; `None` when nobody is there to ask.
    pub fn ask(self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut stderr = anstream::stderr();
        stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).ok()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    fn json(self, value: &impl serde::Serialize) {
        let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
        text.push('\n');
        write_out(&text);
    }
}

/// Says what is wrong with a command line, or the help that it asks for, as clap words it; returns the exit code.
/// Whoever wants JSON gets a document of this failure, too.
pub fn usage(error: &clap::Error) -> u8 {
    let _gone = error.print();
    if !error.use_stderr() {
        return 0;
    }
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if wants_json(&args, std::env::var("DEPLOYCTL_OUTPUT").ok().as_deref()) {
        let message = error.kind().as_str().unwrap_or("the command line is not valid").to_owned();
        let rendered = error.render().to_string();
        let document = document::ErrorDocument {
            id: "usage",
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
        let failure = crate::schema::documents::Failure::of(None, document);
        Report::new(Output::Json, ProgressMode::Quiet).json(&failure);
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

fn write_out(text: &str) {
    let _gone = anstream::stdout().write_all(text.as_bytes());
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
