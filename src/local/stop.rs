//! Stops the server of a local stage, and deletes what it held.

use std::path::Path;
use std::time::Duration;

use super::error::LocalError;
use super::server::{self, GRACE};
use super::state::State;
use crate::platform::process_identity::remaining_processes;

/// Stops the server, which stores its content first, with its Lambdas and its Redis.
pub(super) async fn stop(folder: &Path, state: State) -> Result<(), LocalError> {
    if let Some(process) = &state.ministack {
        process.stop(GRACE).await;
        for remaining in remaining_processes(process.pid, folder) {
            remaining.stop(Duration::from_secs(3)).await;
        }
    }
    state.stopped().write(folder)?;
    // The unpacked code of the Lambdas.
    remove(&folder.join("tmp"))
}

/// Deletes the content of a stopped stage. Returns whether there was any.
pub(super) fn delete_content(folder: &Path) -> Result<bool, LocalError> {
    let data = server::data(folder);
    let held_something = data.join("snapshot").exists();
    remove(&data)?;
    State::forget(folder)?;
    Ok(held_something)
}

fn remove(folder: &Path) -> Result<(), LocalError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io(folder, e)),
        _ => Ok(()),
    }
}
