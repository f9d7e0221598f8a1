//! The events so far, as the data for the live lines of a terminal, the summary of a CI job, and the page of
//! `--timings`. The time is an argument.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::event::{Event, FunctionPhase};
use crate::terraform::messages::{Change, Message, Operation, Phase, Progress, Summary};
use crate::terraform::progress::Tracker;

/// The events since the command started.
#[derive(Debug)]
pub(super) struct Timeline {
    started: Instant,
    /// In the order of their start.
    pub(crate) steps: Vec<Step>,
    /// The work on single resources and functions, in the order of its start.
    pub(crate) works: Vec<Work>,
    /// The planned changes of each layer.
    pub(crate) changes: BTreeMap<String, Changes>,
    /// The applied changes of each layer.
    pub(crate) applied: BTreeMap<String, Summary>,
    /// How the API that goes live differs from the one before it.
    pub(crate) api_changes: Vec<String>,
    pub(crate) warnings: Warnings,
    /// The progress of the build: finished units, all units, the unit that is being compiled.
    pub(crate) units: Option<(usize, usize, String)>,
    /// The progress of the applies, by layer.
    trackers: BTreeMap<String, Tracker>,
}

/// The work that is recorded. Further work only counts in the progress of its layer.
const MAX_WORKS: usize = 20_000;

/// The limits for the planned changes of a layer and for the warnings, in bytes. A summary shows less.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The planned changes of a layer, each once: the stream of an apply repeats them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// In the order of the plan, as far as they are kept.
    pub(crate) list: Vec<Change>,
    /// How many there are.
    pub(crate) count: usize,
    bytes: usize,
    /// The hashes of those that are kept.
    seen: HashSet<u64>,
}

impl Changes {
    fn add(&mut self, change: &Change) {
        if self.bytes > MAX_BYTES {
            self.count += 1;
            return;
        }
        if self.seen.insert(hash(change)) {
            self.count += 1;
            self.bytes += change.address.len() + change.resource_type.len() + size_of::<Change>();
            self.list.push(change.clone());
        }
    }
}

/// A hash, for sets that need not keep what they contain.
pub(super) fn hash(value: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Warnings, as far as they are kept.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    pub(crate) list: Vec<String>,
    pub(crate) omitted: usize,
    bytes: usize,
}

impl Warnings {
    fn add(&mut self, text: &str) {
        if self.bytes + text.len() > MAX_BYTES {
            self.omitted += 1;
        } else {
            self.bytes += text.len() + size_of::<String>();
            self.list.push(text.to_owned());
        }
    }
}

/// Start, end and state of a step or of work. Times count from the start of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(crate) start: Duration,
    pub(crate) end: Option<Duration>,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Done,
    Failed,
    /// Stopped before its end, because something else failed.
    Stopped,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// Work on a resource or on a function.
#[derive(Debug)]
pub(super) struct Work {
    /// The index of its step.
    pub(crate) step: Option<usize>,
    /// The layer of a resource; `None` for a function.
    pub(crate) layer: Option<String>,
    /// The resource's address, or the function's key.
    pub(crate) name: String,
    /// The verb that is shown before the name.
    pub(crate) doing: String,
    pub(crate) span: Span,
}

impl Span {
    /// The duration until its end, or until now.
    pub(crate) fn time(&self, now: Duration) -> Duration {
        self.end.unwrap_or(now).saturating_sub(self.start)
    }

    fn begin(now: Duration) -> Self {
        Self { start: now, end: None, state: State::Running }
    }

    fn end(&mut self, now: Duration, state: State) {
        self.end = Some(now);
        self.state = state;
    }
}

impl Timeline {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            steps: Vec::new(),
            works: Vec::new(),
            changes: BTreeMap::new(),
            applied: BTreeMap::new(),
            api_changes: Vec::new(),
            warnings: Warnings::default(),
            units: None,
            trackers: BTreeMap::new(),
        }
    }

    /// The time from the start of the command to `now`.
    pub(crate) fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(crate) fn record(&mut self, event: &Event<'_>, now: Instant) {
        let at = self.time(now);
        match event {
            Event::StepStarted { step } => {
                self.steps.push(Step { name: (*step).to_owned(), span: Span::begin(at) });
            }
            Event::StepFinished { step, ok, .. } => {
                self.end_step(step, at, if *ok { State::Done } else { State::Failed });
            }
            Event::StepStopped { step, .. } => self.end_step(step, at, State::Stopped),
            Event::Warning(text) => self.warnings.add(text),
            Event::Terraform { layer, message, .. } => self.record_terraform(layer, message, now),
            Event::Units { done, total, unit } => self.units = Some((*done, *total, (*unit).to_owned())),
            Event::Function { function, phase } => self.record_function(function, *phase, at),
            Event::ApiChanged { changes } => self.api_changes = changes.to_vec(),
            Event::Note(_) | Event::ProgramLine { .. } => {}
        }
    }

    /// Stops what is still running, at the end of the command.
    pub(crate) fn close(&mut self, now: Instant) {
        let at = self.time(now);
        let spans = self.steps.iter_mut().map(|step| &mut step.span);
        for span in spans.chain(self.works.iter_mut().map(|work| &mut work.span)) {
            if span.state == State::Running {
                span.end(at, State::Stopped);
            }
        }
    }

    /// The completed and the planned changes of a layer.
    pub(crate) fn progress(&self, layer: &str) -> Option<(usize, usize)> {
        self.trackers.get(layer).map(|tracker| (tracker.done(), tracker.planned()))
    }

    /// The running steps with their indexes, in the order of their start.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(|(_, step)| step.span.state == State::Running)
    }

    /// The work of the step with this index, in the order of its start.
    pub(crate) fn works_of(&self, place: usize) -> impl Iterator<Item = &Work> {
        self.works.iter().filter(move |work| work.step == Some(place))
    }

    fn end_step(&mut self, name: &str, at: Duration, state: State) {
        let running = |step: &Step| step.name == name && step.span.state == State::Running;
        let Some(place) = self.steps.iter().rposition(running) else { return };
        self.steps[place].span.end(at, state);
        for work in self.works.iter_mut().filter(|work| work.step == Some(place)) {
            if work.span.state == State::Running {
                work.span.end(at, State::Stopped);
            }
        }
    }

    fn record_terraform(&mut self, layer: &str, message: &Message, now: Instant) {
        let at = self.time(now);
        self.trackers.entry(layer.to_owned()).or_default().record(message);
        match message {
            Message::PlannedChange(change) => {
                self.changes.entry(layer.to_owned()).or_default().add(change);
            }
            Message::ChangeSummary(summary) if summary.operation != "plan" => {
                self.applied.insert(layer.to_owned(), summary.clone());
            }
            Message::Progress(progress) if progress.operation == Operation::Apply => {
                self.record_progress(layer, progress, at);
            }
            _ => {}
        }
    }

    fn record_progress(&mut self, layer: &str, progress: &Progress, at: Duration) {
        let state = match progress.phase {
            Phase::Start => {
                let doing = progress.action.clone().unwrap_or_else(|| "change".to_owned());
                let step = self.step_of(|name| {
                    ["apply", "destroy"].iter().any(|verb| name == format!("terraform {verb} {layer}"))
                });
                if self.works.len() >= MAX_WORKS {
                    return;
                }
                let (layer, name) = (Some(layer.to_owned()), progress.address.clone());
                self.works.push(Work { step, layer, name, doing, span: Span::begin(at) });
                return;
            }
            Phase::Progress => return,
            Phase::Complete => State::Done,
            Phase::Errored => State::Failed,
        };
        if let Some(work) = self.running_work(Some(layer), &progress.address) {
            work.span.end(at, state);
        }
    }

    fn record_function(&mut self, function: &str, phase: FunctionPhase<'_>, at: Duration) {
        let doing = match phase {
            FunctionPhase::Updating => "update",
            FunctionPhase::Publishing => "publish",
            FunctionPhase::Waiting => "wait for",
            FunctionPhase::Done(version) => {
                if let Some(work) = self.running_work(None, function) {
                    work.doing = format!("version {version} of");
                    work.span.end(at, State::Done);
                }
                return;
            }
            FunctionPhase::Failed => {
                if let Some(work) = self.running_work(None, function) {
                    work.span.end(at, State::Failed);
                }
                return;
            }
        };
        if let Some(work) = self.running_work(None, function) {
            work.doing = doing.to_owned();
            return;
        }
        let step = self.step_of(|name| ["publish versions", "wait for functions"].contains(&name));
        let (name, doing) = (function.to_owned(), doing.to_owned());
        self.works.push(Work { step, layer: None, name, doing, span: Span::begin(at) });
    }

    fn step_of(&self, is: impl Fn(&str) -> bool) -> Option<usize> {
        self.running().filter(|(_, step)| is(&step.name)).last().map(|(place, _)| place)
    }

    fn running_work(&mut self, layer: Option<&str>, name: &str) -> Option<&mut Work> {
        self.works.iter_mut().rev().find(|work| {
            work.name == name && work.layer.as_deref() == layer && work.span.state == State::Running
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A release: a build and a parallel apply, then functions.
    pub(crate) fn release() -> (Timeline, Instant) {
        let started = Instant::now();
        let mut timeline = Timeline::new(started);
        let second = |second: u64| started + Duration::from_secs(second);
        timeline.record(&Event::StepStarted { step: "build" }, second(0));
        timeline.record(&Event::Units { done: 34, total: 120, unit: "users" }, second(1));
        timeline.record(&Event::StepStarted { step: "terraform apply app" }, second(2));
        let messages = include_str!("../../tests/fixtures/terraform/apply.jsonl");
        for (at, message) in messages.lines().filter_map(Message::parse).enumerate() {
            let dir = std::path::Path::new("terraform/app");
            timeline.record(
                &Event::Terraform { layer: "app", dir, message: &message },
                second(3 + at as u64 / 4),
            );
        }
        timeline.record(
            &Event::StepFinished { step: "terraform apply app", seconds: 10.0, ok: true },
            second(12),
        );
        timeline.record(&Event::StepStarted { step: "publish versions" }, second(13));
        for function in ["users_get", "users_post"] {
            timeline.record(&Event::Function { function, phase: FunctionPhase::Updating }, second(13));
        }
        timeline
            .record(&Event::Function { function: "users_get", phase: FunctionPhase::Done("7") }, second(14));
        timeline
            .record(&Event::Function { function: "users_post", phase: FunctionPhase::Waiting }, second(15));
        (timeline, second(16))
    }

    #[test]
    fn planned_changes_are_merged_in_linear_time_and_bounded_memory() {
        let mut changes = Changes::default();
        let change = |number: usize| Change {
            address: format!("aws_thing.with_a_long_name[{number}]"),
            resource_type: "aws_thing".to_owned(),
            action: "create".to_owned(),
            reason: None,
        };
        // As a plan and its apply report them.
        for number in (0..2_000).chain(0..2_000) {
            changes.add(&change(number));
        }
        assert_eq!((changes.count, changes.list.len()), (2_000, 2_000));
        for number in 2_000..200_000 {
            changes.add(&change(number));
        }
        assert_eq!(changes.count, 200_000);
        assert!(changes.list.len() < 20_000, "{}", changes.list.len());
        let mut warnings = Warnings::default();
        for _ in 0..100_000 {
            warnings.add(&"x".repeat(100));
        }
        assert_eq!(warnings.list.len() + warnings.omitted, 100_000);
        assert!(warnings.omitted > 80_000, "{}", warnings.omitted);
    }

    #[test]
    fn work_is_assigned_to_its_step() {
        let (mut timeline, now) = release();
        let running: Vec<&str> = timeline.running().map(|(_, step)| step.name.as_str()).collect();
        assert_eq!(running, ["build", "publish versions"]);
        let resources: Vec<_> = timeline.works_of(1).map(|work| (&*work.doing, work.span.state)).collect();
        assert_eq!(resources.len(), 2, "{resources:?}");
        assert!(resources.iter().all(|(_, state)| *state == State::Done), "{resources:?}");
        let functions: Vec<_> = timeline.works_of(2).map(|work| (&*work.name, &*work.doing)).collect();
        assert_eq!(functions, [("users_get", "version 7 of"), ("users_post", "wait for")]);
        assert_eq!(
            timeline.works_of(2).last().unwrap().span.time(timeline.time(now)),
            Duration::from_secs(3)
        );
        assert_eq!(timeline.progress("app"), Some((2, 2)));
        timeline.close(now);
        assert_eq!(timeline.running().count(), 0);
        assert_eq!(timeline.steps[0].span.state, State::Stopped);
        assert_eq!(timeline.works.last().unwrap().span.state, State::Stopped);
    }
}
