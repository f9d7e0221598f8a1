//! How the engine handles an interrupt.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorId, Kind, Result};

/// Does `work`, and gives it up at Ctrl-C.
pub(crate) async fn unless_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(interrupted()),
    }
}

/// How long a call that may change something is waited for after Ctrl-C. GitHub ends a job 7.5 s after it.
const GRACE: Duration = Duration::from_secs(3);

/// Waits for `work`, and after Ctrl-C only a little longer; `None` when it has not ended by then.
pub(crate) async fn with_grace<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return Some(done),
        () = cancel.cancelled() => {}
    }
    tokio::time::timeout(GRACE, work).await.ok()
}

/// The error of a command that was told to stop before its switch, or has undone it.
pub(crate) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; the stage serves what it served before")
        .hint("run the command again: what was prepared is used again")
}
