//! What Terraform reports while it runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::messages::Message;

/// A report of a running Terraform.
#[derive(Debug)]
pub enum Activity<'a> {
    /// A message of the `-json` stream.
    Message {
        /// The name of the layer that runs.
        layer: &'a str,
        /// The layer's folder: file names in diagnostics are relative to it.
        dir: &'a Path,
        /// The message, parsed as [`Message`].
        message: &'a Message,
    },
    /// Any other line of Terraform's output, without the line break.
    Line(&'a str),
    /// A decision of the driver, such as a retry of `init`.
    Note(String),
}

type Listener = dyn Fn(&Activity<'_>) + Send + Sync;

/// Receives what Terraform reports, in order and while it runs. Clones share the listener.
#[derive(Clone)]
pub struct Observer(Arc<Listener>);

impl Observer {
    /// Calls `listener` with every report.
    pub fn new(listener: impl Fn(&Activity<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    pub(super) fn notify(&self, activity: &Activity<'_>) {
        (self.0)(activity);
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        self.notify(&Activity::Note(text.into()));
    }
}

/// An observer that ignores everything.
impl Default for Observer {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
