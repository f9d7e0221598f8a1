//! The lines of `tracing` that `--verbose` adds, in the format of the rest of stderr.
//!
//! Only deployctl's own lines are printed: libraries may log headers and bodies, which can contain secrets.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;

use super::progress::Progress;

/// Sends log lines to `progress`, as JSON or as text.
pub(super) fn start(progress: &Arc<Mutex<Progress>>, json: bool) {
    let only_ours = Targets::new().with_target("deployctl", Level::DEBUG);
    let writer = Lines(Arc::clone(progress));
    let layer = if json {
        fmt::layer().json().flatten_event(true).with_target(false).with_writer(writer).boxed()
    } else {
        let layer = fmt::layer().compact().with_timer(fmt::time::uptime()).with_target(false);
        layer.with_ansi(true).with_writer(writer).boxed()
    };
    // Fails only in a test that runs several commands in one process.
    let _already_set = tracing_subscriber::registry().with(layer.with_filter(only_ours)).try_init();
}

/// `tracing` writes each line with one call.
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
