//! Progress on stderr: live lines on a terminal, sections in the log of a CI job, one line per step in a
//! pipe, or JSON lines.

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use serde_json::{Value, json};

use super::ci::{Ci, Sections};
use super::harmless::clean;
use super::live::{Screen, live_lines, one_line};
use super::options::ProgressMode;
use super::theme::{self, ATTENTION, DIM, FAILURE, SUCCESS};
use super::timeline::{State, Timeline, hash};
use super::{github, harmless};
use crate::event::{Event, FunctionPhase, current_step};
use crate::terraform::messages::{Diagnostic, Message, Operation, Phase, Progress as Work};

/// The shortest time between two frames that only show progress.
const FRAME: Duration = Duration::from_millis(100);

/// After this time without output, a CI log gets a line that shows the running steps.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Progress {
    form: Form,
    ci: Option<Ci>,
    pub(crate) timeline: Timeline,
    screen: Screen,
    drawn: Instant,
    sections: Sections,
    reported_at: Instant,
    annotations: Annotations,
    /// Terraform's errors, by summary, until it is known whether the command's error has them.
    pending: Vec<(String, String)>,
    /// Hashes of Terraform's warnings that were printed: an apply repeats those of its plan.
    warned: HashSet<u64>,
    /// Whether the last line of cargo belongs to a warning or an error.
    in_diagnostic: bool,
}

/// The annotations of a GitHub job.
#[derive(Debug, Default)]
struct Annotations {
    /// Hashes: Terraform reports the same diagnostic in a plan and in its apply.
    written: HashSet<u64>,
    /// How many warnings and errors were written, and how many were not.
    counts: BTreeMap<&'static str, (usize, usize)>,
}

/// The annotations of one kind. GitHub shows ten of a step; one is left for the number of the others, and one
/// for the error of the command.
const MAX_ANNOTATIONS: usize = 8;

impl Annotations {
    /// Whether an annotation is to be written. Otherwise it is counted.
    fn admit(&mut self, kind: &'static str, text: &str) -> bool {
        let (written, omitted) = self.counts.entry(kind).or_default();
        let text = hash(&text);
        if self.written.contains(&text) {
            return false;
        }
        if *written == MAX_ANNOTATIONS {
            *omitted += 1;
            return false;
        }
        *written += 1;
        self.written.insert(text)
    }

    /// Whether another warning is written.
    fn has_room(&self) -> bool {
        self.counts.get("warning").is_none_or(|(written, _)| *written < MAX_ANNOTATIONS)
    }

    /// The annotations that count the omitted ones.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        for (kind, (_, omitted)) in std::mem::take(&mut self.counts) {
            if omitted > 0 {
                let more = format!("{omitted} further messages of this kind are in the log");
                text.push_str(&github::command(kind, &[("title", "deployctl")], &more));
            }
        }
        text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Terminal,
    Sections(Ci),
    Plain,
    Steps,
    Json,
    Quiet,
}

impl Form {
    /// The requested form, or the one that fits stderr.
    pub(crate) fn of(mode: ProgressMode, ci: Option<Ci>) -> Self {
        let is_terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        match (mode, ci) {
            (ProgressMode::Json, _) => Self::Json,
            (ProgressMode::Quiet, _) => Self::Quiet,
            (ProgressMode::Plain, _) => Self::Plain,
            (ProgressMode::Auto, Some(ci)) => Self::Sections(ci),
            (ProgressMode::Auto, None) if is_terminal => Self::Terminal,
            // Other CI systems set `CI`. Their logs need the details.
            (ProgressMode::Auto, None) if std::env::var_os("CI").is_some() => Self::Plain,
            (ProgressMode::Auto, None) => Self::Steps,
        }
    }

    /// Whether [`Progress::tick`] prints something.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Terminal | Self::Sections(_))
    }
}

impl Progress {
    pub(crate) fn new(form: Form, ci: Option<Ci>) -> Self {
        let now = Instant::now();
        Self {
            form,
            ci,
            timeline: Timeline::new(now),
            screen: Screen::default(),
            drawn: now,
            sections: Sections::default(),
            reported_at: now,
            annotations: Annotations::default(),
            pending: Vec::new(),
            warned: HashSet::new(),
            in_diagnostic: false,
        }
    }

    pub(crate) fn show(&mut self, event: &Event<'_>) {
        let now = Instant::now();
        self.timeline.record(event, now);
        if let Event::Terraform { message, .. } = event
            && let Some(error) = message.error()
            && matches!(self.form, Form::Steps | Form::Plain | Form::Terminal)
        {
            let line = self.line(event, true).unwrap_or_default();
            self.pending.push((error.summary.clone(), line));
            self.annotate(event);
            return;
        }
        if let Event::Terraform { layer, message, .. } = event
            && let Some(warning) = message.warning()
            && self.form != Form::Json
            && !self.warned.insert(hash(&(layer, warning.to_string())))
        {
            return;
        }
        match self.form {
            Form::Quiet => {}
            Form::Json => self.write_json(&as_json(event).to_string()),
            Form::Steps => self.print_line(self.line(event, false)),
            Form::Plain => self.print_line(self.line(event, true)),
            Form::Terminal => {
                let stays = self.stays(event);
                let line = stays.then(|| self.line(event, true)).flatten();
                let line = line.map(|line| format!("{line}\n")).unwrap_or_default();
                if !line.is_empty() || now.saturating_duration_since(self.drawn) >= FRAME {
                    self.draw(&line, now);
                }
            }
            Form::Sections(ci) => self.in_sections(ci, event),
        }
        self.annotate(event);
    }

    /// Updates the shown times. Called every 100 ms; in a CI log, prints only after [`SILENCE`].
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        match self.form {
            Form::Terminal => self.draw("", now),
            Form::Sections(_) if now.saturating_duration_since(self.reported_at) >= SILENCE => {
                let line = one_line(&self.timeline, self.timeline.time(now));
                if !line.is_empty() {
                    self.print_line(Some(format!("  … {line}")));
                }
                self.reported_at = now;
            }
            _ => {}
        }
    }

    pub(crate) fn log(&mut self, line: &str) {
        match self.form {
            Form::Terminal => self.draw(line, Instant::now()),
            Form::Json => self.write_json(line.trim_end()),
            _ => {
                let line = match self.form {
                    Form::Sections(_) => {
                        let line = self.strip_for_ci(line.trim_end().to_owned());
                        self.sections.keep(current_step().as_deref(), line)
                    }
                    _ => Some(line.trim_end().to_owned()),
                };
                self.print_line(line);
            }
        }
    }

    /// Stops the running steps and removes the live lines.
    pub(crate) fn finish(&mut self) {
        let now = Instant::now();
        self.timeline.close(now);
        if self.form == Form::Terminal {
            self.draw("", now);
        }
        for (_, line) in std::mem::take(&mut self.pending) {
            self.print_line(Some(line));
        }
        let rest = self.annotations.rest();
        self.command(&rest);
    }

    /// Writes an error, as `text` or as JSON.
    pub(crate) fn fail(&mut self, text: &str, value: &Value) {
        self.pending.retain(|(summary, _)| !text.contains(summary.as_str()));
        self.finish();
        match self.form {
            Form::Json => self.write_json(&value.to_string()),
            _ => self.print_line(Some(text.trim_end().to_owned())),
        }
    }

    /// Writes a workflow command, if GitHub's runner reads stderr.
    pub(crate) fn command(&mut self, text: &str) {
        if self.ci == Some(Ci::GitHub) && self.form != Form::Json {
            self.write(text);
        }
    }

    /// Writes commands that mask a secret, if GitHub's runner reads stderr. Also between lines of JSON: a mask
    /// that is missing would show the secret.
    pub(crate) fn mask(&mut self, text: &str) {
        if self.ci == Some(Ci::GitHub) {
            self.write(text);
        }
    }

    fn draw(&mut self, printed: &str, now: Instant) {
        let printed = harmless::terminal(printed);
        let size = terminal_size::terminal_size_of(std::io::stderr())
            .map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
        let lines = live_lines(&self.timeline, self.timeline.time(now), size);
        let colours = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        let printed = if colours { printed } else { anstream::adapter::strip_str(&printed).to_string() };
        let frame = self.screen.frame(&printed, lines, size.0);
        self.drawn = now;
        if !frame.is_empty() {
            // Without anstream, which would remove the movements of the cursor together with colours. A
            // closed terminal must not stop a release.
            let mut stderr = std::io::stderr().lock();
            let _closed = stderr.write_all(frame.as_bytes()).and_then(|()| stderr.flush());
        }
    }

    /// Writes a line of text in which CI commands have no effect.
    fn print_line(&mut self, line: Option<String>) {
        let Some(line) = line else { return };
        let line = format!("{line}\n");
        match self.ci {
            Some(Ci::GitHub) => self.write(&harmless::github(&line)),
            _ => self.write(&harmless::terminal(&line)),
        }
    }

    fn write_json(&mut self, line: &str) {
        self.write(&format!("{}\n", harmless::json(line)));
    }

    fn write(&mut self, text: &str) {
        self.reported_at = Instant::now();
        // A closed pipe must not stop a release.
        let _closed = anstream::stderr().write_all(text.as_bytes());
    }

    /// Prints the lines of a step at its end. Notes, warnings and lines without a step are printed at once.
    fn in_sections(&mut self, ci: Ci, event: &Event<'_>) {
        let Some(line) = self.line(event, true) else {
            if let Event::StepStarted { step } = event {
                self.sections.open(step);
            }
            return;
        };
        match event {
            Event::StepFinished { step, seconds, ok } => {
                let text = self.sections.close(ci, step, &line, *seconds, *ok);
                self.section(ci, &text);
            }
            Event::StepStopped { step, seconds } => {
                let text = self.sections.close(ci, step, &line, *seconds, true);
                self.section(ci, &text);
            }
            // Printed as an annotation instead.
            Event::Warning(_) if ci == Ci::GitHub && self.annotations.has_room() => {}
            Event::ProgramLine { .. } | Event::Terraform { .. } | Event::Function { .. } => {
                let line = self.strip_for_ci(line);
                let line = self.sections.keep(current_step().as_deref(), line);
                self.print_line(line);
            }
            _ => self.print_line(Some(line)),
        }
    }

    fn section(&mut self, ci: Ci, text: &str) {
        match ci {
            Ci::GitHub => self.write(text),
            // anstream would remove the markers, which are escape sequences.
            Ci::GitLab => {
                self.reported_at = Instant::now();
                let mut stderr = std::io::stderr().lock();
                let _closed = stderr.write_all(text.as_bytes());
            }
        }
    }

    /// Removes colours from a line that is later written without anstream.
    fn strip_for_ci(&self, line: String) -> String {
        let coloured = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        if coloured || self.ci != Some(Ci::GitLab) {
            return line;
        }
        anstream::adapter::strip_str(&line).to_string()
    }

    /// Writes Terraform's diagnostics and warnings as annotations.
    fn annotate(&mut self, event: &Event<'_>) {
        if self.ci != Some(Ci::GitHub) || matches!(self.form, Form::Json | Form::Quiet) {
            return;
        }
        let (kind, text) = match event {
            Event::Warning(text) => ("warning", github::command("warning", &[("title", "deployctl")], text)),
            Event::Terraform { layer, dir, message: Message::Diagnostic(diagnostic) } => {
                (severity(diagnostic), annotation(layer, dir, diagnostic))
            }
            _ => return,
        };
        if self.annotations.admit(kind, &text) {
            self.write(&text);
        }
    }

    /// Whether the line of an event stays on a terminal. The live area shows the rest while it happens, and
    /// the result shows the changes of the API again.
    fn stays(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::ProgramLine { program: "cargo", line } => {
                self.in_diagnostic = match line {
                    line if is_status_of_cargo(line) => false,
                    line => self.in_diagnostic || line.starts_with("warning") || line.starts_with("error"),
                };
                self.in_diagnostic
            }
            Event::ProgramLine { program, .. } => *program == "terraform",
            Event::Terraform { message: Message::Progress(work), .. } => work.phase == Phase::Errored,
            Event::Function { phase, .. } => *phase == FunctionPhase::Failed,
            Event::ApiChanged { .. } => false,
            _ => true,
        }
    }

    /// The printed line of an event, if it has one.
    fn line(&self, event: &Event<'_>, details: bool) -> Option<String> {
        Some(match event {
            Event::StepFinished { step, seconds, ok: true } => {
                format!("{SUCCESS}  ✓{SUCCESS:#} {} {DIM}{}{DIM:#}", clean(step), theme::seconds(*seconds))
            }
            Event::StepFinished { step, seconds, ok: false } => {
                format!("{FAILURE}  ✗{FAILURE:#} {} {DIM}{}{DIM:#}", clean(step), theme::seconds(*seconds))
            }
            Event::StepStopped { step, seconds } => {
                format!(
                    "{ATTENTION}  -{ATTENTION:#} {} {DIM}stopped after {}{DIM:#}",
                    clean(step),
                    theme::seconds(*seconds)
                )
            }
            Event::Note(text) => format!("  {}", clean(text)),
            Event::Warning(text) => format!("{ATTENTION}  ! {}{ATTENTION:#}", clean(text)),
            Event::ProgramLine { program, line } if details => {
                let line = clean(line);
                if line.trim().is_empty() {
                    return None;
                }
                format!("{DIM}    {program}: {line}{DIM:#}")
            }
            Event::Terraform { layer, dir, message } => {
                let text = terraform(message, dir, details)?;
                format!("{DIM}    {layer}: {}{DIM:#}", clean(&text))
            }
            Event::Function { function, phase } if details => {
                let text = match phase {
                    FunctionPhase::Done(version) => {
                        format!("version {version} ({})", theme::duration(self.time_of(function)))
                    }
                    FunctionPhase::Failed => "failed".to_owned(),
                    _ => return None,
                };
                format!("{DIM}    {function}: {}{DIM:#}", clean(&text))
            }
            Event::ApiChanged { changes } => {
                let lines: Vec<String> =
                    changes.iter().map(|change| format!("  API: {}", clean(change))).collect();
                lines.join("\n")
            }
            Event::StepStarted { .. }
            | Event::ProgramLine { .. }
            | Event::Units { .. }
            | Event::Function { .. } => return None,
        })
        .filter(|line| !line.is_empty())
    }

    fn time_of(&self, function: &str) -> Duration {
        let mut works = self.timeline.works.iter().rev();
        let work = works.find(|work| work.name == function && work.span.state == State::Done);
        work.map_or(Duration::ZERO, |work| work.span.time(Duration::ZERO))
    }
}

/// A line such as `   Compiling serde v1.0.0`: a verb that ends in column 12.
fn is_status_of_cargo(line: &str) -> bool {
    let Some((verb, rest)) = line.split_at_checked(12) else { return false };
    let verb = verb.trim_start();
    rest.starts_with(' ')
        && verb.starts_with(|first: char| first.is_ascii_uppercase())
        && verb.chars().all(|letter| letter.is_ascii_alphabetic())
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    if diagnostic.severity == "error" { "error" } else { "warning" }
}

/// The annotation of a diagnostic, at its line in the repository.
fn annotation(layer: &str, dir: &std::path::Path, diagnostic: &Diagnostic) -> String {
    let name = severity(diagnostic);
    let title = format!("{layer}: {}", diagnostic.summary);
    let mut properties = vec![("title", title)];
    if let Some(range) = &diagnostic.range {
        let repository = std::env::var_os("GITHUB_WORKSPACE").unwrap_or_default();
        let file = github::repository_path(repository.as_ref(), dir, &range.filename);
        properties.push(("file", file));
        properties.push(("line", range.start.line.to_string()));
        properties.push(("endLine", range.end.line.max(range.start.line).to_string()));
    }
    let properties: Vec<(&str, &str)> =
        properties.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let text = if diagnostic.detail.is_empty() { &diagnostic.summary } else { &diagnostic.detail };
    github::command(name, &properties, text)
}

/// The line of a Terraform message: completed changes and diagnostics have one.
fn terraform(message: &Message, dir: &std::path::Path, details: bool) -> Option<String> {
    match message {
        Message::Progress(Work { operation: Operation::Apply, phase, address, action, seconds, .. })
            if details =>
        {
            let action = action.as_deref().unwrap_or("change");
            let time =
                theme::clock(Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default());
            match phase {
                Phase::Complete => Some(format!("{address}: {action} done ({time})")),
                Phase::Errored => Some(format!("{address}: {action} failed")),
                Phase::Start | Phase::Progress => None,
            }
        }
        // The details of an error are part of the command's error.
        Message::Diagnostic(diagnostic) if diagnostic.severity == "error" => {
            Some(format!("error: {}", diagnostic.summary))
        }
        Message::Diagnostic(diagnostic) => Some(format!("{}: {}", diagnostic.severity, diagnostic.line(dir))),
        _ => None,
    }
}

fn as_json(event: &Event<'_>) -> Value {
    match event {
        Event::StepStarted { step } => json!({ "event": "step_started", "step": step }),
        Event::StepFinished { step, seconds, ok } => {
            json!({ "event": "step_finished", "step": step, "seconds": seconds, "ok": ok })
        }
        Event::StepStopped { step, seconds } => {
            json!({ "event": "step_stopped", "step": step, "seconds": seconds })
        }
        Event::Note(text) => json!({ "event": "note", "text": text }),
        Event::Warning(text) => json!({ "event": "warning", "text": text }),
        Event::ProgramLine { program, line } => json!({ "event": "line", "program": program, "line": line }),
        Event::Terraform { layer, message, .. } => {
            json!({ "event": "terraform", "layer": layer, "message": message })
        }
        Event::Units { done, total, unit } => {
            json!({ "event": "units", "done": done, "total": total, "unit": unit })
        }
        Event::Function { function, phase } => {
            let (phase, version) = match phase {
                FunctionPhase::Updating => ("updating", None),
                FunctionPhase::Publishing => ("publishing", None),
                FunctionPhase::Waiting => ("waiting", None),
                FunctionPhase::Done(version) => ("done", Some(version)),
                FunctionPhase::Failed => ("failed", None),
            };
            json!({ "event": "function", "function": function, "phase": phase, "version": version })
        }
        Event::ApiChanged { changes } => json!({ "event": "api_changed", "changes": changes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_steps_and_a_log_gets_details() {
        let progress = Progress::new(Form::Quiet, None);
        let event = Event::ProgramLine { program: "cargo", line: "Compiling users" };
        assert_eq!(progress.line(&event, false), None);
        assert!(progress.line(&event, true).unwrap().contains("cargo: Compiling users"));
    }

    #[test]
    fn on_a_terminal_steps_warnings_and_failures_stay() {
        let mut progress = Progress::new(Form::Quiet, None);
        let mut kept = Vec::new();
        for line in [
            "   Compiling serde v1.0.228",
            "warning: unused variable: `x`",
            " --> src/main.rs:2:9",
            "  |",
            "2 |     let x = 1;",
            "   Compiling users v0.1.0 (/w/lambdas/users)",
            "    Finished `lambda` profile [optimized] target(s) in 3.02s",
        ] {
            kept.extend(progress.stays(&Event::ProgramLine { program: "cargo", line }).then_some(line));
        }
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert!(kept[0].starts_with("warning") && kept[3].starts_with("2 |"), "{kept:?}");
        let python = Event::ProgramLine { program: "python", line: "Collecting ziglang" };
        let published = Event::Function { function: "users_get", phase: FunctionPhase::Done("7") };
        let failed = Event::Function { function: "users_get", phase: FunctionPhase::Failed };
        let step = Event::StepFinished { step: "switch", seconds: 0.5, ok: true };
        for (event, stays) in [(python, false), (published, false), (failed, true), (step, true)] {
            assert_eq!(progress.stays(&event), stays, "{event:?}");
        }
    }

    #[test]
    fn an_error_of_terraform_is_told_once_and_by_the_command_if_it_knows_it() {
        let mut progress = Progress::new(Form::Steps, None);
        for summary in ["Unsupported argument", "Another error"] {
            let error = Diagnostic {
                severity: "error".to_owned(),
                summary: summary.to_owned(),
                ..Diagnostic::default()
            };
            let message = Message::Diagnostic(error);
            let dir = std::path::Path::new("/w/app");
            progress.show(&Event::Terraform { layer: "app", dir, message: &message });
        }
        let pending = |progress: &Progress| {
            progress.pending.iter().map(|(summary, _)| summary.clone()).collect::<Vec<_>>()
        };
        assert_eq!(pending(&progress), ["Unsupported argument", "Another error"]);
        progress.pending.retain(|(summary, _)| !"error: Unsupported argument".contains(summary.as_str()));
        assert_eq!(pending(&progress), ["Another error"]);
        progress.finish();
        assert!(pending(&progress).is_empty());
    }

    #[test]
    fn a_machine_gets_every_event_as_one_line() {
        let event = Event::StepFinished { step: "switch", seconds: 0.5, ok: true };
        let line = as_json(&event).to_string();
        assert_eq!(line, r#"{"event":"step_finished","ok":true,"seconds":0.5,"step":"switch"}"#);
        let event = Event::Function { function: "users_get", phase: FunctionPhase::Done("7") };
        let line = as_json(&event).to_string();
        assert_eq!(line, r#"{"event":"function","function":"users_get","phase":"done","version":"7"}"#);
    }

    #[test]
    fn a_flood_of_annotations_is_counted() {
        let mut annotations = Annotations::default();
        let admitted =
            (0..100_000).filter(|number| annotations.admit("warning", &number.to_string())).count();
        assert_eq!(admitted, MAX_ANNOTATIONS);
        assert!(!annotations.admit("warning", "0") && annotations.admit("error", "an error"));
        assert_eq!(
            annotations.rest(),
            "::warning title=deployctl::99992 further messages of this kind are in the log\n"
        );
        assert_eq!(annotations.rest(), "");
    }

    #[test]
    fn a_diagnostic_is_shown_at_its_place_in_the_repository() {
        let messages = include_str!("../../tests/fixtures/terraform/missing.jsonl");
        let found = messages.lines().filter_map(Message::parse).find_map(|message| match message {
            Message::Diagnostic(diagnostic) if diagnostic.range.is_some() => Some(diagnostic),
            _ => None,
        });
        let text = annotation("app", std::path::Path::new("/r/terraform/app"), &found.unwrap());
        assert!(text.starts_with("::error title=app%3A "), "{text}");
        assert!(text.contains("/terraform/app/") && text.contains(",line="), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
