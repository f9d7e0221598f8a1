//! The interface between the engine and the report: the engine emits events, the report prints them.
//!
//! Delivery is a function call: events arrive in order, and a slow terminal slows the engine down instead of
//! filling memory.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::terraform::messages::Message;

#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A step of the command started. Independent steps overlap.
    StepStarted {
        /// Such as `terraform apply app`.
        step: &'a str,
    },
    /// A step succeeded or failed.
    StepFinished {
        step: &'a str,
        seconds: f64,
        /// Whether the step has succeeded.
        ok: bool,
    },
    /// A step was stopped before its end, because a parallel step failed.
    StepStopped { step: &'a str, seconds: f64 },
    /// Information.
    Note(String),
    /// Something that may need attention. The command continues.
    Warning(String),
    /// A line that a started program wrote, other than Terraform's JSON.
    ProgramLine {
        /// The short name of the program.
        program: &'a str,
        /// The line, without the line break.
        line: &'a str,
    },
    /// A message of Terraform's `-json` stream.
    Terraform {
        layer: &'a str,
        /// The layer's folder: file names in diagnostics are relative to it.
        dir: &'a Path,
        message: &'a Message,
    },
    /// The progress of a build.
    Units {
        done: usize,
        /// The number of units that cargo has reported so far.
        total: usize,
        /// The unit that is being compiled.
        unit: &'a str,
    },
    /// Work on one function started, continues, or ended.
    Function { function: &'a str, phase: FunctionPhase<'a> },
    /// How the API that goes live differs from the one before it.
    ApiChanged {
        /// The changed routes, models, … as text.
        changes: &'a [String],
    },
}

/// The state of the work on a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FunctionPhase<'a> {
    /// New code is sent.
    Updating,
    /// A version is published.
    Publishing,
    /// The version exists, but is not active yet.
    Waiting,
    /// The version is active.
    Done(&'a str),
    Failed,
}

/// How long a step took: part of every result document and of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct StepTime {
    /// The step's name.
    pub(crate) name: String,
    /// Seconds from the command's start to the step's.
    #[serde(default)]
    pub(crate) start: f64,
    /// Seconds from its start to its end.
    pub(crate) seconds: f64,
}

type Listener = dyn Fn(&Event<'_>) + Send + Sync;

tokio::task_local! {
    /// The innermost step that the running code belongs to.
    static STEP: Arc<str>;
}

/// The innermost step of the running code; events that are emitted now belong to it.
pub(crate) fn current_step() -> Option<Arc<str>> {
    STEP.try_with(Arc::clone).ok()
}

/// Where events go. Cloning is cheap; all clones share the listener and the list of step times.
#[derive(Clone)]
pub(crate) struct Events {
    listener: Arc<Listener>,
    times: Arc<Mutex<Vec<StepTime>>>,
    started: Instant,
}

impl Events {
    /// Delivers every event to `listener`. The command starts now.
    pub(crate) fn new(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self { listener: Arc::new(listener), times: Arc::default(), started: Instant::now() }
    }

    pub(crate) fn silent() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        (self.listener)(event);
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.emit(&Event::Note(text.into()));
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning(text.into()));
    }

    pub(crate) fn function(&self, function: &str, phase: FunctionPhase<'_>) {
        self.emit(&Event::Function { function, phase });
    }

    /// Runs `work` as the step `name`: emits its start and end and records its time, whether it succeeds,
    /// fails, or is stopped.
    pub(crate) async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.emit(&Event::StepStarted { step: name });
        let running = Running { events: self, name, start: Instant::now(), ended: false };
        // The SDK's futures are large: on the stack, nested steps could overflow it.
        let result = STEP.scope(name.into(), Box::pin(work)).await;
        running.end(result.is_ok());
        result
    }

    /// The ended steps, in the order of their ends.
    pub(crate) fn times(&self) -> Vec<StepTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record_time(&self, name: &str, start: Instant, seconds: f64) {
        let offset = start.saturating_duration_since(self.started).as_secs_f64();
        let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        let time = StepTime { name: name.to_owned(), start: rounded(offset), seconds: rounded(seconds) };
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    }
}

/// A running step. If it is dropped before its end, it emits [`Event::StepStopped`].
struct Running<'a> {
    events: &'a Events,
    name: &'a str,
    start: Instant,
    ended: bool,
}

impl Running<'_> {
    fn end(mut self, ok: bool) {
        self.ended = true;
        let seconds = self.start.elapsed().as_secs_f64();
        self.events.record_time(self.name, self.start, seconds);
        self.events.emit(&Event::StepFinished { step: self.name, seconds, ok });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        self.events.record_time(self.name, self.start, seconds);
        self.events.emit(&Event::StepStopped { step: self.name, seconds });
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorId, Result};

    #[tokio::test]
    async fn a_stopped_step_emits_an_event_and_has_a_time() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&lines);
        let events = Events::new(move |event| {
            let step = current_step().map(|step| step.to_string());
            recorder.lock().unwrap().push(format!("{event:?} in {step:?}"));
        });
        let endless = events.step("endless", std::future::pending::<Result<()>>());
        let failing = events.step("failing", async {
            events.note("inside");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Err::<(), _>(Error::preflight(ErrorId::AwsRead, "y"))
        });
        futures::future::try_join(endless, failing).await.unwrap_err();
        let lines = lines.lock().unwrap().join("\n");
        assert!(lines.contains("Note(\"inside\") in Some(\"failing\")"), "{lines}");
        assert!(lines.contains("StepStopped { step: \"endless\""), "{lines}");
        let times = events.times();
        let names: Vec<&str> = times.iter().map(|time| time.name.as_str()).collect();
        assert_eq!(names, ["failing", "endless"]);
        assert!(times.iter().all(|time| time.start < 0.02 && time.seconds >= 0.02), "{times:?}");
    }
}
