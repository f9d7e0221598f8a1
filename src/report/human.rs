//! What people read at the end: results and errors.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::document::{Document, Freshness, Outcome};
use crate::error::Error;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const MILD: Style = AnsiColor::Yellow.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

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
