//! The text of results and errors.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::theme::{ATTENTION, DIM, FAILURE, PALETTE, STRONG, SUCCESS, ago, duration};
use crate::artifact::Sha256;
use crate::documents::LogLine;
use crate::documents::result::{
    CanaryStatus, Document, Freshness, Function, InfrastructureState, MovedStage, Outcome, Since,
};
use crate::error::Error;
use crate::release::diff::Diff;

/// The result of a command with a [`Document`], with its duration if given.
pub(crate) fn result(document: &Document, took: Option<Duration>) -> String {
    if let Some(moved) = &document.moved {
        return moved_by_id(document, moved);
    }
    let mut text = String::new();
    let version = document.version.as_deref().unwrap_or("none");
    let headline = headline(document, version);
    let stage = document.stage.as_deref().unwrap_or("unknown");
    let took = took.map(|took| format!(" {DIM}in {}{DIM:#}", duration(took))).unwrap_or_default();
    let _ = writeln!(text, "{STRONG}{stage}{STRONG:#}: {headline}{took}");
    if let Some(since) = document.dev_since {
        let at = since.strftime("%Y-%m-%d %H:%M:%SZ");
        let _ = writeln!(
            text,
            "  {:<14} {at}, {}; the next release ends it",
            "dev since",
            ago(since, Timestamp::now())
        );
    }
    if let Some(since) = &document.since {
        text.push_str(&since_line(since, Timestamp::now()));
    }
    let shows_previous = matches!(document.outcome, Outcome::Released | Outcome::Redeployed);
    if let Some(previous) =
        document.previous.as_deref().filter(|previous| shows_previous && *previous != version)
    {
        let _ = writeln!(text, "  {:<14} {previous}", "before");
    }
    for (key, function) in &document.functions {
        let code = function.code_sha256.parse::<Sha256>().map(|sha256| sha256.short()).unwrap_or_default();
        let before = document.before.get(key).filter(|before| **before != function.version);
        let before = before.map(|before| format!("{before} → ")).unwrap_or_default();
        let Function { name, version, .. } = function;
        let _ = writeln!(text, "  {key:<14} {name} version {before}{version} {DIM}{code}{DIM:#}");
    }
    if document.infrastructure == Some(InfrastructureState::NotPlanned) {
        let _ = writeln!(text, "  {:<14} not planned", "infrastructure");
    }
    if let Some(api) = &document.api {
        let state = match api.state {
            Freshness::Fresh => format!("{SUCCESS}fresh{SUCCESS:#}"),
            Freshness::Stale => {
                format!(
                    "{ATTENTION}stale{ATTENTION:#}: the API has changed since; `deployctl redeploy` \
                     deploys it"
                )
            }
            Freshness::Unknown if api.reasons.is_empty() => {
                format!("{ATTENTION}unknown{ATTENTION:#}: deployctl did not make this deployment")
            }
            Freshness::Unknown => format!("{ATTENTION}unknown{ATTENTION:#}"),
        };
        let _ = writeln!(text, "  api            {} deployment {} {state}", api.id, api.deployment_id);
        for change in api.changes.iter().chain(&api.reasons) {
            let _ = writeln!(text, "                 {change}");
        }
    }
    if let Some(diff) = &document.diff {
        text.push_str(&differences(diff));
    }
    for drift in document.drift.iter().flatten() {
        let _ = writeln!(text, "  {ATTENTION}!{ATTENTION:#} {drift}");
    }
    for call in document.unversioned.iter().flatten() {
        let _ = writeln!(text, "  {ATTENTION}!{ATTENTION:#} {call}: a release does not move this call");
    }
    if let Some(canary) = &document.canary {
        text.push_str(&canary_lines(canary, Timestamp::now()));
    }
    if let Some(previews) = document.previews.as_ref().filter(|previews| !previews.is_empty()) {
        let _ = writeln!(text, "  previews       {}", previews.join(", "));
    }
    if let Some(held) = &document.held {
        let _ = writeln!(text, "  {ATTENTION}lease{ATTENTION:#}          {held}");
    }
    if let Some(url) = &document.url {
        let _ = writeln!(text, "  {url}");
    }
    text
}

fn headline(document: &Document, version: &str) -> String {
    match document.outcome {
        Outcome::Released => format!("released {version}"),
        Outcome::Redeployed => format!("redeployed the API of {version}"),
        Outcome::Canary => format!("canary of {version} in progress"),
        Outcome::RolledBack => format!("rolled back {}", moved(document)),
        Outcome::Unchanged if document.command == "status" => format!("serves {version}"),
        Outcome::Unchanged if is_fresh(document) => format!("nothing to do: {version} is live and fresh"),
        Outcome::Unchanged => format!("nothing to do: {version} is live"),
        Outcome::SwitchedBack | Outcome::Stuck | Outcome::Failed => "failed".to_owned(),
    }
}

/// The result of a redeploy without a project.
fn moved_by_id(document: &Document, stage: &MovedStage) -> String {
    let MovedStage { stage_name, account, region, from, back } = stage;
    let (id, to) = document.api.as_ref().map_or(("", ""), |api| (&api.id, &api.deployment_id));
    let what = match document.outcome {
        Outcome::Redeployed => format!("moved from deployment {from} to {to}"),
        _ => format!("serves deployment {to} already"),
    };
    let mut text = format!("{STRONG}{stage_name}{STRONG:#}: {what}\n");
    let _ = writeln!(text, "  {:<14} {id}, account {account}, {region}", "api");
    let api = document.api.iter();
    let lines: Vec<&String> = api.flat_map(|api| api.changes.iter().chain(&api.reasons)).collect();
    if lines.is_empty() {
        let _ = writeln!(text, "  {:<14} nothing: callers get the same API", "changed");
    }
    for (place, line) in lines.into_iter().enumerate() {
        let _ = writeln!(text, "  {:<14} {line}", if place == 0 { "changed" } else { "" });
    }
    if document.outcome == Outcome::Redeployed {
        let _ = writeln!(text, "  {:<14} {back}", "back");
        let _ = writeln!(
            text,
            "  {:<14} if Terraform sets deployment_id of this stage, its next apply moves the stage too",
            "note"
        );
    }
    text
}

/// Since when the stage serves the release, by whom, and from which commit.
fn since_line(since: &Since, now: Timestamp) -> String {
    let Since { at, who, git, .. } = since;
    let mut text = format!("  {:<14} {}, {}", "since", at.strftime("%Y-%m-%d %H:%M:%SZ"), ago(*at, now));
    let _ = write!(text, ", by {}", who.run_url.as_deref().unwrap_or(&who.arn));
    if let Some(git) = git {
        let _ = write!(text, ", commit {git}");
        if git.dirty {
            let _ = write!(text, " {ATTENTION}(with uncommitted changes){ATTENTION:#}");
        }
    }
    text + "\n"
}

/// The canary in progress: its share, its step, and who started it.
fn canary_lines(canary: &CanaryStatus, now: Timestamp) -> String {
    let CanaryStatus { version, percent, since, who, command, steps, step, ending, reading, .. } = canary;
    let place = match steps.get(step.saturating_sub(1)) {
        _ if *ending => "it is being ended".to_owned(),
        Some(this) => format!("step {step} of {}, for {} s", steps.len(), this.seconds),
        None => "the switch".to_owned(),
    };
    let mut text =
        format!("  {ATTENTION}{:<14}{ATTENTION:#} {version} gets {percent} % of the requests", "canary");
    let _ = writeln!(text, " since {}, {}; {place}", since.strftime("%Y-%m-%d %H:%M:%SZ"), ago(*since, now));
    let by = who.run_url.as_deref().unwrap_or(&who.arn);
    let _ = writeln!(text, "  {:<14} started with `{command}` by {by}", "");
    for line in reading
        .iter()
        .map(ToString::to_string)
        .flat_map(|lines| lines.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let _ = writeln!(text, "  {:<14} {line}", "");
    }
    text
}

fn is_fresh(document: &Document) -> bool {
    document.api.as_ref().is_some_and(|api| api.state == Freshness::Fresh)
}

/// From where to where a rollback moved the stage. Two records can have the same version.
pub(super) fn moved(document: &Document) -> String {
    let version = document.version.as_deref().unwrap_or("none");
    match (&document.diff, document.previous.as_deref()) {
        (Some(Diff { from, to, .. }), Some(previous)) if previous == version => {
            format!("from {previous} (record {}) to {version} (record {})", from.record, to.record)
        }
        (_, Some(previous)) => format!("from {previous} to {version}"),
        (_, None) => format!("to {version}"),
    }
}

/// What a rollback changed for callers. The lines of the functions already show their versions.
fn differences(diff: &Diff) -> String {
    let mut lines = Vec::new();
    if diff.functions.is_empty() {
        lines.push("the function versions are the same".to_owned());
    }
    let removed = diff.functions.iter().filter(|(_, change)| change.to.is_none());
    lines.extend(removed.map(|(key, _)| format!("function {key}: removed")));
    let variables = diff.variables.iter();
    lines.extend(variables.map(|(name, change)| format!("variable {name}: {}", change.show(String::clone))));
    match &diff.api.changes {
        None => lines.push("API: it differs; the definitions to compare are no longer stored".to_owned()),
        Some(changes) if changes.is_empty() => lines.push("the API is the same".to_owned()),
        Some(changes) => lines.extend(changes.iter().map(|change| format!("API {change}"))),
    }
    let labels = std::iter::once("changed").chain(std::iter::repeat(""));
    labels.zip(lines).map(|(label, line)| format!("  {label:<14} {line}\n")).collect()
}

/// The screen of `status --watch`: the result or an error, and the time.
pub(crate) fn watch_view(document: &Document) -> String {
    let now = jiff::Zoned::now().strftime("%H:%M:%S");
    let body = match &document.error {
        None => result(document, None),
        Some(error) => {
            let mut text = format!("{FAILURE}error{FAILURE:#} [{}]: {}\n", error.id, error.message);
            for cause in &error.causes {
                let _ = writeln!(text, "  because {cause}");
            }
            text
        }
    };
    format!("{body}{DIM}{now}, stop with Ctrl-C{DIM:#}\n")
}

/// The status on one line, for a log.
pub(crate) fn one_line(document: &Document) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let stage = document.stage.as_deref().unwrap_or("unknown");
    if let Some(error) = &document.error {
        return format!("{now} {stage}: error [{}]: {}\n", error.id, error.message);
    }
    let mut text = format!("{now} {stage}: serves {}", document.version.as_deref().unwrap_or("none"));
    if let Some(api) = &document.api {
        let state = match api.state {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
            Freshness::Unknown => "unknown",
        };
        let _ = write!(text, ", deployment {} {state}", api.deployment_id);
    }
    if let Some(CanaryStatus { version, percent, .. }) = &document.canary {
        let _ = write!(text, "; canary {version} {percent} %");
    }
    for drift in document.drift.iter().flatten().chain(&document.held) {
        let _ = write!(text, "; {drift}");
    }
    for call in document.unversioned.iter().flatten() {
        let _ = write!(text, "; {call}");
    }
    text.push('\n');
    text
}

/// A line of a function's log. Control characters are escaped, because they could move the cursor.
pub(crate) fn log_line(line: &LogLine, place: usize, width: usize) -> String {
    let colour = PALETTE[place % PALETTE.len()].on_default();
    let at = line.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let version = line.version.as_deref().unwrap_or("?");
    let mut text =
        format!("{DIM}{at}{DIM:#} {colour}{:<width$}{colour:#} {DIM}[{version}]{DIM:#} ", line.function);
    for c in line.message.chars() {
        match c {
            '\n' => text.push_str("\n    "),
            '\t' => text.push('\t'),
            c if c.is_control() => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text.push('\n');
    text
}

pub(crate) fn error(error: &Error) -> String {
    let mut text = format!("{FAILURE}error{FAILURE:#} [{}]: {}\n", error.id, error.message);
    for cause in error.causes() {
        let _ = writeln!(text, "  because {}", cause.replace('\n', "\n    "));
    }
    if let Some(hint) = &error.hint {
        let _ = writeln!(text, "{STRONG}next{STRONG:#}: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_shows_its_duration_and_the_replaced_versions() {
        let mut document = Document::new("release", "dev");
        document.outcome = crate::documents::result::Outcome::Released;
        (document.version, document.previous) = (Some("1.4.2".into()), Some("1.4.1".into()));
        for (key, before, version) in
            [("kept", Some("3"), "3"), ("moved", Some("6"), "7"), ("new", None, "1")]
        {
            let function = Function {
                name: key.into(),
                version: version.into(),
                code_sha256: Sha256::of(b"abc").base64(),
                alias: None,
                latest: false,
            };
            document.functions.insert(key.into(), function);
            document.before.extend(before.map(|before| (key.to_owned(), before.to_owned())));
        }
        let shown = |took| anstream::adapter::strip_str(&result(&document, took)).to_string();
        assert_eq!(
            shown(Some(Duration::from_millis(83_400))),
            "dev: released 1.4.2 in 1 min 23 s\n  before         1.4.1\n  kept           kept version 3 \
             ba7816bf8f01\n  moved          moved version 6 → 7 ba7816bf8f01\n  \
             new            new version 1 ba7816bf8f01\n"
        );
        assert!(shown(None).starts_with("dev: released 1.4.2\n"));
    }

    #[test]
    fn a_function_cannot_move_the_cursor() {
        let line = LogLine {
            schema: 1,
            command: "logs",
            stage: "local".into(),
            at: "2026-11-25T16:00:00Z".parse().unwrap(),
            function: "users_get".into(),
            version: Some("7".into()),
            stream: "s".into(),
            message: "a\u{1b}[2J\nb".into(),
        };
        let text = anstream::adapter::strip_str(&log_line(&line, 7, 10)).to_string();
        assert_eq!(text, "2026-11-25T16:00:00.000Z users_get  [7] a\\u{1b}[2J\n    b\n");
    }
}
