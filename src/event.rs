//! The interface between the engine and the output: the engine reports what happens, the output decides what a
//! person or a machine sees of it. Nothing in the engine prints.
//!
//! Delivery is a plain call: events arrive in order, and a slow terminal slows the engine down instead of
//! filling memory.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::terraform::messages::Message;

#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A step of the command began. Independent steps overlap.
    StepStarted {
        /// The step's name, such as `terraform app`.
        step: &'a str,
    },
    /// A step ended, well or not.
    StepFinished {
        /// The name it started under.
        step: &'a str,
        /// How long it took.
        seconds: f64,
        /// Whether it did what it was to do.
        ok: bool,
    },
    /// A step was given up before its end, because another one beside it failed.
    StepStopped {
        /// The name it started under.
        step: &'a str,
        /// How long it was under way.
        seconds: f64,
    },
    /// Something a reader wants to know while it happens.
    Note(String),
    /// Something that may need attention, though the command goes on.
    Warning(String),
    /// A line that a started program wrote, other than Terraform's JSON.
    ProgramLine {
        /// Which program, in a word.
        program: &'a str,
        /// The line, without its end.
        line: &'a str,
    },
    /// A message of Terraform's `-json` stream.
    Terraform {
        /// The layer it is about.
        layer: &'a str,
        /// The layer's folder: file names in diagnostics are relative to it.
        dir: &'a Path,
        message: &'a Message,
    },
    /// How far a build is.
    Units {
        /// How many units are done.
        done: usize,
        /// How many there are, as far as the compiler has told.
        total: usize,
        /// What is being compiled.
        unit: &'a str,
    },
    /// Work on one function began, goes on, or ended.
    Function {
        function: &'a str,
        /// How far it is.
        phase: FunctionPhase<'a>,
    },
    /// How the API that goes live differs from the one before it.
    ApiChanged {
        /// The routes, models, … in words.
        changes: &'a [String],
    },
}

/// How far the work on a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FunctionPhase<'a> {
    /// New code is sent.
    Updating,
    /// A version is published.
    Publishing,
    /// The version is there, and not yet active.
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

/// The innermost step that is under way here: what is said now belongs to it.
pub(crate) fn current_step() -> Option<Arc<str>> {
    STEP.try_with(Arc::clone).ok()
}

/// Where events go. Cloning is cheap; all clones share the listener and the list of step times.
#[derive(Clone)]
pub(crate) struct Events {
    listener: Arc<Listener>,
    times: Arc<Mutex<Vec<StepTime>>>,
    begun: Instant,
}

impl Events {
    /// Delivers every event to `listener`. The command starts now.
    pub(crate) fn new(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self { listener: Arc::new(listener), times: Arc::default(), begun: Instant::now() }
    }

    pub(crate) fn silent() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        (self.listener)(event);
    }

    /// Says something in a sentence.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.emit(&Event::Note(text.into()));
    }

    /// Says something that may need attention.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning(text.into()));
    }

    /// Says how far the work on a function is.
    pub(crate) fn function(&self, function: &str, phase: FunctionPhase<'_>) {
        self.emit(&Event::Function { function, phase });
    }

    /// Runs `work` as the step `name`: announced, timed and remembered, whether it succeeds, fails, or is given up.
    pub(crate) async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.emit(&Event::StepStarted { step: name });
        let running = Running { events: self, name, start: Instant::now(), ended: false };
        // The SDK's futures are large. On the heap, a step's size does not add up to a stack's.
        let result = STEP.scope(name.into(), Box::pin(work)).await;
        running.end(result.is_ok());
        result
    }

    /// The steps that have ended so far, in the order of their ends.
    pub(crate) fn times(&self) -> Vec<StepTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, name: &str, start: Instant, seconds: f64) {
        let offset = start.saturating_duration_since(self.begun).as_secs_f64();
        let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        let time = StepTime { name: name.to_owned(), start: rounded(offset), seconds: rounded(seconds) };
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
    }
}

/// A step under way. Dropped before its end, it tells that it was given up.
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
        self.events.remember(self.name, self.start, seconds);
        self.events.emit(&Event::StepFinished { step: self.name, seconds, ok });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        self.events.remember(self.name, self.start, seconds);
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
    async fn a_step_that_is_given_up_is_told_and_has_a_time() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&told);
        let events = Events::new(move |event| {
            let step = current_step().map(|step| step.to_string());
            hear.lock().unwrap().push(format!("{event:?} in {step:?}"));
        });
        let endless = events.step("endless", std::future::pending::<Result<()>>());
        let failing = events.step("failing", async {
            events.note("inside");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Err::<(), _>(Error::preflight(ErrorId::AwsRead, "y"))
        });
        futures::future::try_join(endless, failing).await.unwrap_err();
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("Note(\"inside\") in Some(\"failing\")"), "{told}");
        assert!(told.contains("StepStopped { step: \"endless\""), "{told}");
        let times = events.times();
        let names: Vec<&str> = times.iter().map(|time| time.name.as_str()).collect();
        assert_eq!(names, ["failing", "endless"]);
        assert!(times.iter().all(|time| time.start < 0.02 && time.seconds >= 0.02), "{times:?}");
    }
}
