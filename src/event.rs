//! The interface between the engine and the report: the engine says what happens, the report decides what a
//! person or a machine sees of it. Nothing in the engine prints.
//!
//! Delivery is a plain call: events arrive in order, and a slow terminal slows the engine down instead of
//! filling memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::terraform::messages::Message;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
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
        /// The message.
        message: &'a Message,
    },
}

/// How long a step took: part of every result document and of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct StepTime {
    /// The step's name.
    pub name: String,
    /// Seconds from its start to its end.
    pub seconds: f64,
}

type Listener = dyn Fn(&Event<'_>) + Send + Sync;

/// Where events go. Cloning is cheap; all clones share the listener and the list of step times.
#[derive(Clone)]
pub struct Events {
    listener: Arc<Listener>,
    times: Arc<Mutex<Vec<StepTime>>>,
}

impl Events {
    /// Delivers every event to `listener`.
    pub fn new(listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self { listener: Arc::new(listener), times: Arc::default() }
    }

    /// Delivers to nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Says what happened.
    pub fn emit(&self, event: &Event<'_>) {
        (self.listener)(event);
    }

    /// Says something in a sentence.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(&Event::Note(text.into()));
    }

    /// Says something that may need attention.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning(text.into()));
    }

    /// Runs `work` as the step `name`: announced, timed and remembered, whether it succeeds or not.
    pub async fn step<T, E>(&self, name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.emit(&Event::StepStarted { step: name });
        // The SDK's futures are large. On the heap, a step's size does not add up to a stack's.
        let work = Box::pin(work);
        let start = Instant::now();
        let result = work.await;
        let seconds = start.elapsed().as_secs_f64();
        self.times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(StepTime { name: name.to_owned(), seconds: (seconds * 1000.0).round() / 1000.0 });
        self.emit(&Event::StepFinished { step: name, seconds, ok: result.is_ok() });
        result
    }

    /// The steps that have ended so far, in the order of their ends.
    pub fn times(&self) -> Vec<StepTime> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
