//! A lock on a file, for one process at a time. The kernel releases it when its holder ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::private;

/// Acquires the lock on `path`, creating the file if it is missing. Dropping the returned file releases the
/// lock. If another process holds it, calls `waiting` and waits without blocking the runtime.
pub(crate) async fn exclusive(path: &Path, waiting: impl FnOnce()) -> io::Result<File> {
    let file = private::create(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => waiting(),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.map_err(io::Error::other)?
}
