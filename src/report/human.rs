//! What people read: progress lines, results and errors.

use std::fmt::Write as _;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};

use super::document::{Document, Freshness, Outcome};
use crate::error::Error;
use crate::event::Event;
use crate::terraform::messages::{Message, Operation, Phase, Progress as Work};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const MILD: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

/// Progress on stderr: full on a terminal; a line for each finished step elsewhere.
pub struct Progress {
    terminal: bool,
}

impl Progress {
    /// Progress for a terminal, or for a log.
    pub fn new(terminal: bool) -> Self {
        Self { terminal }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event<'_>) {
        let line = match event {
            Event::StepStarted { step } if self.terminal => format!("{DIM}  … {step}{DIM:#}"),
            Event::StepStarted { .. } => return,
            Event::StepFinished { step, seconds, ok: true } => {
                format!("{GOOD}  ✓{GOOD:#} {step} {DIM}{seconds:.1} s{DIM:#}")
            }
            Event::StepFinished { step, seconds, ok: false } => {
                format!("{BAD}  ✗{BAD:#} {step} {DIM}{seconds:.1} s{DIM:#}")
            }
            Event::Note(text) => format!("  {text}"),
            Event::Warning(text) => format!("{MILD}  ! {text}{MILD:#}"),
            Event::ProgramLine { program, line } if self.terminal => {
                format!("{DIM}    {program}: {line}{DIM:#}")
            }
            Event::ProgramLine { .. } => return,
            Event::Terraform { layer, message } => match terraform(message) {
                Some(text) if self.terminal => format!("{DIM}    {layer}: {text}{DIM:#}"),
                _ => return,
            },
        };
        // A terminal that has gone away must not stop a release.
        let _gone = anstream::stderr().write_all(format!("{line}\n").as_bytes());
    }
}

/// The messages of Terraform that say that something is done, takes long, or is wrong; the rest is noise.
fn terraform(message: &Message) -> Option<String> {
    match message {
        Message::Progress(Work { operation: Operation::Apply, phase, address, action, seconds, .. }) => {
            let action = action.as_deref().unwrap_or("change");
            let seconds = seconds.unwrap_or_default();
            match phase {
                Phase::Complete => Some(format!("{address}: {action} done ({seconds:.0} s)")),
                Phase::Errored => Some(format!("{address}: {action} failed")),
                Phase::Progress => Some(format!("{address}: still at it ({seconds:.0} s)")),
                Phase::Start => None,
            }
        }
        Message::Diagnostic(diagnostic) => Some(format!("{}: {}", diagnostic.severity, diagnostic.summary)),
        _ => None,
    }
}

/// The result of a command that has a document.
pub fn result(document: &Document) -> String {
    let mut text = String::new();
    let version = document.version.as_deref().unwrap_or("none");
    let headline = match document.outcome {
        Outcome::Released => format!("released {version}"),
        Outcome::Redeployed => format!("redeployed the API of {version}"),
        Outcome::RolledBack => format!("rolled back to {version}"),
        Outcome::Unchanged if document.command == "status" => format!("serves {version}"),
        Outcome::Unchanged => format!("nothing to do: {version} is live and fresh"),
        Outcome::SwitchedBack | Outcome::Stuck | Outcome::Failed => "failed".to_owned(),
    };
    let _ =
        writeln!(text, "{STRONG}{}{STRONG:#}: {headline}", document.stage.as_deref().unwrap_or("unknown"));
    if let Some(previous) =
        document.previous.as_deref().filter(|previous| document.command != "status" && *previous != version)
    {
        let _ = writeln!(text, "  before     {previous}");
    }
    for (key, function) in &document.functions {
        let code = function.code_sha256.get(..8).unwrap_or_default();
        let _ =
            writeln!(text, "  {key:<14} {} version {} {DIM}{code}{DIM:#}", function.name, function.version);
    }
    if let Some(api) = &document.api {
        let state = match api.state {
            Freshness::Fresh => format!("{GOOD}fresh{GOOD:#}"),
            Freshness::Stale => {
                format!("{MILD}stale{MILD:#}: the API has changed since; `deployctl redeploy` makes it live")
            }
            Freshness::Unknown => format!("{MILD}unknown{MILD:#}: deployctl did not make this deployment"),
        };
        let _ = writeln!(text, "  api            {} deployment {} {state}", api.id, api.deployment_id);
        for change in &api.changes {
            let _ = writeln!(text, "                 {change}");
        }
    }
    for drift in document.drift.iter().flatten() {
        let _ = writeln!(text, "  {MILD}!{MILD:#} {drift}");
    }
    if let Some(held) = &document.held {
        let _ = writeln!(text, "  {MILD}lease{MILD:#}          {held}");
    }
    if let Some(url) = &document.url {
        let _ = writeln!(text, "  {url}");
    }
    text
}

/// An error: what failed, why, what to do next.
pub fn error(error: &Error) -> String {
    let mut text = format!("{BAD}error{BAD:#} [{}]: {}\n", error.id, error.message);
    for cause in error.causes() {
        let _ = writeln!(text, "  because {}", cause.replace('\n', "\n    "));
    }
    if let Some(hint) = &error.hint {
        let _ = writeln!(text, "{STRONG}next{STRONG:#}: {hint}");
    }
    text
}
