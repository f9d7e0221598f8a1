//! Stops the servers of a local stage.

use std::path::Path;
use std::time::Duration;

use super::error::LocalError;
use super::state::State;
use crate::platform::process_identity::remaining_processes;

/// MiniStack first: its Lambdas use the Redis.
pub(super) async fn stop(folder: &Path, state: &State) -> Result<(), LocalError> {
    for (server, process) in state.processes() {
        process.stop(server.grace()).await;
        for remaining in remaining_processes(process.pid, folder) {
            remaining.stop(Duration::from_secs(1)).await;
        }
    }
    State::forget(folder)?;
    // The code of the Lambdas.
    match std::fs::remove_dir_all(folder.join("tmp")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io(&folder.join("tmp"), e)),
        _ => Ok(()),
    }
}
