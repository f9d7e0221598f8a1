//! Progress on stderr, in the form that suits who reads it: a living last line on a terminal, plain lines in a CI
//! log, a line for each step in a pipe, JSON lines for a machine.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::time::Instant;

use serde_json::{Value, json};

use super::human::{BAD, DIM, GOOD, MILD};
use crate::cli::ProgressMode;
use crate::event::Event;
use crate::terraform::messages::{Message, Operation, Phase, Progress as Work};
use crate::terraform::progress::Tracker;

/// Shows events.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    /// The steps under way, in the order of their beginning.
    running: Vec<(String, Instant)>,
    /// How far the applies are, by layer.
    layers: BTreeMap<String, Tracker>,
    /// Whether the last line on the terminal is the living one.
    drawn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Terminal,
    Plain,
    Steps,
    Json,
    Quiet,
}

impl Progress {
    /// Progress in the form that was asked for, or that suits stderr.
    pub fn new(mode: ProgressMode) -> Self {
        let form = match mode {
            ProgressMode::Json => Form::Json,
            ProgressMode::Quiet => Form::Quiet,
            ProgressMode::Plain => Form::Plain,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Form::Terminal,
            // Set by GitHub, GitLab and the others: a person reads the log later, and wants to know how far it came.
            ProgressMode::Auto if std::env::var_os("CI").is_some() => Form::Plain,
            ProgressMode::Auto => Form::Steps,
        };
        Self { form, running: Vec::new(), layers: BTreeMap::new(), drawn: false }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event<'_>) {
        let text = match self.form {
            Form::Quiet => return,
            Form::Json => format!("{}\n", as_json(event)),
            Form::Steps => self.line(event, false).map(|line| format!("{line}\n")).unwrap_or_default(),
            Form::Plain => self.line(event, true).map(|line| format!("{line}\n")).unwrap_or_default(),
            Form::Terminal => self.on_terminal(event),
        };
        // A terminal that has gone away must not stop a release.
        let _gone = anstream::stderr().write_all(text.as_bytes());
    }

    fn on_terminal(&mut self, event: &Event<'_>) -> String {
        self.note(event);
        let mut text = String::new();
        // Erased and drawn again in one write, so that nothing flickers.
        if self.drawn {
            text.push_str("\r\x1b[2K");
        }
        if let Some(line) = self.line(event, true) {
            text.push_str(&line);
            text.push('\n');
        }
        let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
        let last: String = self.under_way(Instant::now()).chars().take(width.saturating_sub(1)).collect();
        self.drawn = !last.is_empty();
        text.push_str(&last);
        text
    }

    /// Keeps account of what is under way.
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::StepStarted { step } => self.running.push(((*step).to_owned(), Instant::now())),
            Event::StepFinished { step, .. } => self.running.retain(|(name, _)| name != step),
            Event::Terraform { layer, message } => {
                self.layers.entry((*layer).to_owned()).or_default().hear(message, Instant::now());
            }
            _ => {}
        }
    }

    /// The living line: what is under way, since when, and how far Terraform is.
    fn under_way(&self, now: Instant) -> String {
        let steps: Vec<String> = self
            .running
            .iter()
            .map(|(name, since)| {
                let seconds = now.saturating_duration_since(*since).as_secs();
                let layer = name.strip_prefix("terraform apply ").and_then(|layer| self.layers.get(layer));
                match layer {
                    Some(tracker) => format!("{name} {}", tracker.line(now)),
                    None if seconds == 0 => name.clone(),
                    None => format!("{name} {seconds}s"),
                }
            })
            .collect();
        if steps.is_empty() { String::new() } else { format!("  … {}", steps.join(" · ")) }
    }

    /// The lasting line of an event, if it deserves one.
    fn line(&self, event: &Event<'_>, details: bool) -> Option<String> {
        Some(match event {
            Event::StepFinished { step, seconds, ok: true } => {
                format!("{GOOD}  ✓{GOOD:#} {step} {DIM}{seconds:.1} s{DIM:#}")
            }
            Event::StepFinished { step, seconds, ok: false } => {
                format!("{BAD}  ✗{BAD:#} {step} {DIM}{seconds:.1} s{DIM:#}")
            }
            Event::Note(text) => format!("  {text}"),
            Event::Warning(text) => format!("{MILD}  ! {text}{MILD:#}"),
            Event::ProgramLine { program, line } if details => format!("{DIM}    {program}: {line}{DIM:#}"),
            Event::Terraform { layer, message } => {
                let text = terraform(message, details)?;
                format!("{DIM}    {layer}: {text}{DIM:#}")
            }
            Event::StepStarted { .. } | Event::ProgramLine { .. } => return None,
        })
    }
}

/// The messages of Terraform that last: what was done, and what is wrong.
fn terraform(message: &Message, details: bool) -> Option<String> {
    match message {
        Message::Progress(Work { operation: Operation::Apply, phase, address, action, seconds, .. })
            if details =>
        {
            let action = action.as_deref().unwrap_or("change");
            let seconds = seconds.unwrap_or_default();
            match phase {
                Phase::Complete => Some(format!("{address}: {action} done ({seconds:.0} s)")),
                Phase::Errored => Some(format!("{address}: {action} failed")),
                Phase::Start | Phase::Progress => None,
            }
        }
        Message::Diagnostic(diagnostic) => Some(format!("{}: {}", diagnostic.severity, diagnostic.summary)),
        _ => None,
    }
}

fn as_json(event: &Event<'_>) -> Value {
    match event {
        Event::StepStarted { step } => json!({ "event": "step_started", "step": step }),
        Event::StepFinished { step, seconds, ok } => {
            json!({ "event": "step_finished", "step": step, "seconds": seconds, "ok": ok })
        }
        Event::Note(text) => json!({ "event": "note", "text": text }),
        Event::Warning(text) => json!({ "event": "warning", "text": text }),
        Event::ProgramLine { program, line } => json!({ "event": "line", "program": program, "line": line }),
        Event::Terraform { layer, message } => {
            json!({ "event": "terraform", "layer": layer, "message": message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(form: Form) -> Progress {
        Progress { form, running: Vec::new(), layers: BTreeMap::new(), drawn: false }
    }

    #[test]
    fn the_living_line_tells_what_is_under_way_and_how_far() {
        let mut progress = progress(Form::Terminal);
        progress.note(&Event::StepStarted { step: "terraform apply app" });
        progress.note(&Event::StepStarted { step: "build" });
        for line in include_str!("../../tests/fixtures/terraform/apply.jsonl").lines().take(5) {
            if let Some(message) = Message::parse(line) {
                progress.note(&Event::Terraform { layer: "app", message: &message });
            }
        }
        let line = progress.under_way(Instant::now());
        assert!(line.starts_with("  … terraform apply app "), "{line}");
        assert!(line.contains("/2 ") && line.ends_with(" · build"), "{line}");
        progress.note(&Event::StepFinished { step: "build", seconds: 1.0, ok: true });
        progress.note(&Event::StepFinished { step: "terraform apply app", seconds: 1.0, ok: true });
        assert_eq!(progress.under_way(Instant::now()), "");
    }

    #[test]
    fn a_pipe_gets_steps_and_a_log_gets_details() {
        let event = Event::ProgramLine { program: "cargo", line: "Compiling users" };
        assert_eq!(progress(Form::Steps).line(&event, false), None);
        assert!(progress(Form::Plain).line(&event, true).unwrap().contains("cargo: Compiling users"));
    }

    #[test]
    fn a_machine_gets_every_event_as_one_line() {
        let event = Event::StepFinished { step: "switch", seconds: 0.5, ok: true };
        let line = as_json(&event).to_string();
        assert_eq!(line, r#"{"event":"step_finished","ok":true,"seconds":0.5,"step":"switch"}"#);
    }
}
