//! What `--verbose` adds: lines of `tracing`, in the same form as the rest of stderr.
//!
//! Only deployctl's own lines are let through. What libraries log may hold headers and bodies, and with them secrets.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;

use super::progress::Progress;

/// Lets log lines go to `progress`, as JSON or for people.
pub(super) fn start(progress: &Arc<Mutex<Progress>>, json: bool) {
    let only_ours = Targets::new().with_target("deployctl", Level::DEBUG);
    let writer = Lines(Arc::clone(progress));
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_target(false).with_writer(writer).boxed()
    } else {
        let layer = fmt::layer().compact().with_timer(fmt::time::uptime()).with_target(false);
        layer.with_ansi(true).with_writer(writer).boxed()
    };
    // There is one already where a test runs several commands in one process.
    let _there = tracing_subscriber::registry().with(layer.with_filter(only_ours)).try_init();
}

/// Where log lines go. `tracing` writes each in one piece.
#[derive(Debug, Clone)]
struct Lines(Arc<Mutex<Progress>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log(&text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
