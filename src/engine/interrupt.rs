//! How the engine reacts to an interrupt.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorId, Kind, Result};

/// Runs `work`, and cancels it at Ctrl-C.
///
/// # Errors
/// Those of `work`, and `interrupted`.
pub(crate) async fn unless_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(interrupted()),
    }
}

/// How long to wait after Ctrl-C for a call that may change something. GitHub kills a job 7.5 s after the
/// interrupt.
const GRACE: Duration = Duration::from_secs(3);

/// Waits for `work`, and after Ctrl-C only for `GRACE`; `None` if it has not ended by then.
pub(crate) async fn with_grace<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return Some(done),
        () = cancel.cancelled() => {}
    }
    tokio::time::timeout(GRACE, work).await.ok()
}

/// The error of a command that was interrupted before its switch, or that has undone it.
pub(crate) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; the stage serves what it served before")
        .hint("run the command again: it reuses what was prepared")
}
