//! Stops the servers of a local stage.

use std::path::Path;
use std::time::Duration;

use super::error::LocalError;
use super::state::State;
use crate::platform::process_identity::left_behind;

/// MiniStack first: its Lambdas use the Redis.
pub(super) async fn stop(folder: &Path, state: &State) -> Result<(), LocalError> {
    for (server, process) in state.processes() {
        process.stop(server.grace()).await;
        for left in left_behind(process.pid, folder) {
            left.stop(Duration::from_secs(1)).await;
        }
    }
    State::forget(folder)?;
    // Code of the Lambdas.
    match std::fs::remove_dir_all(folder.join("tmp")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io(&folder.join("tmp"), e)),
        _ => Ok(()),
    }
}
