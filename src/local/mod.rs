//! The local AWS emulator: MiniStack with AWS's stage semantics on 127.0.0.1, with a Redis if something needs one.
//!
//! The server continues to run between commands: [`up`] starts it, or finds it within milliseconds; [`down`] stops
//! it with all Lambdas. `.deployctl/local/stage.json` contains the identity of the process. Other processes are
//! never signalled.
//!
//! All data is in the server's memory, including the Terraform state, which is in the emulated S3. The server writes
//! it to one file, as a whole, after each change and at its end, and starts with it. [`reset`] deletes it.

mod error;
mod redis;
mod server;
mod stage;
mod start;
mod state;
mod stop;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub(crate) use self::error::LocalError;
pub(crate) use self::redis::{VALKEY, find_or_install as find_redis, on_path as redis_on_path};
pub(crate) use self::stage::{ACCOUNT, LocalConfig, LocalStage};
use self::start::Before;
use self::state::State;
use self::stop::{delete_content, stop};
use crate::artifact::python_tools::PythonTools;
use crate::event::Events;
use crate::platform::{file_lock, private};

/// How long a server that runs may be silent.
const SILENCE: Duration = Duration::from_secs(4);

/// Refuses a machine that cannot run a local stage, which starts the Lambda functions as its own processes. `os`
/// and `arch` are named as in [`std::env::consts`].
pub(crate) fn require_supported(os: &str, arch: &str) -> Result<(), LocalError> {
    if (os, arch) == ("linux", "x86_64") {
        return Ok(());
    }
    Err(LocalError::Unsupported { os: os.to_owned(), arch: arch.to_owned() })
}

/// Returns the running local stage of the project, and starts it if it does not run. Two commands at the same
/// time start it once.
pub(crate) async fn up(
    project_dir: &Path,
    config: &LocalConfig,
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<LocalStage, LocalError> {
    require_supported(std::env::consts::OS, std::env::consts::ARCH)?;
    let folder = folder(project_dir)?;
    if let Some(stage) = running(&folder, config, events).await? {
        return Ok(stage);
    }
    let _lock = tokio::select! {
        lock = lock(&folder, events) => lock?,
        () = cancel.cancelled() => return Err(LocalError::Interrupted),
    };
    if let Some(stage) = running(&folder, config, events).await? {
        return Ok(stage);
    }
    let mut before = Before::Stopped;
    if let Some(state) = State::read(&folder) {
        if state.has_died() {
            before = Before::Died;
        }
        stop(&folder, state).await?;
    }
    events.step("start the local stage", start::start(&folder, config, tools, before, events, cancel)).await
}

/// The local stage of the project if it runs. Changes nothing.
pub(crate) async fn find(
    project_dir: &Path,
    config: &LocalConfig,
    events: &Events,
) -> Result<Option<LocalStage>, LocalError> {
    match folder_of(project_dir).canonicalize() {
        Ok(folder) => running(&folder, config, events).await,
        Err(_) => Ok(None),
    }
}

/// Whether the local stage was started, and has ended without being stopped.
pub(crate) fn has_died(project_dir: &Path) -> bool {
    State::read(&folder_of(project_dir)).is_some_and(|state| state.has_died())
}

/// The Python packages of the local stage.
pub(crate) const PACKAGES: crate::artifact::python_tools::Requirements = server::MINISTACK;

/// Stops the local stage of the project with all its Lambdas, and keeps what it holds. Returns whether it ran.
pub(crate) async fn down(project_dir: &Path, events: &Events) -> Result<bool, LocalError> {
    let Ok(folder) = folder_of(project_dir).canonicalize() else { return Ok(false) };
    let _lock = lock(&folder, events).await?;
    stop_running(&folder, events).await
}

/// Stops the local stage and deletes what it holds, but not its logs. Returns whether it ran, and whether it held
/// something.
pub(crate) async fn reset(project_dir: &Path, events: &Events) -> Result<(bool, bool), LocalError> {
    let Ok(folder) = folder_of(project_dir).canonicalize() else { return Ok((false, false)) };
    let _lock = lock(&folder, events).await?;
    let stopped = stop_running(&folder, events).await?;
    Ok((stopped, delete_content(&folder)?))
}

/// Stops the stage if it was started. The caller holds the lock.
async fn stop_running(folder: &Path, events: &Events) -> Result<bool, LocalError> {
    match State::read(folder).filter(|state| state.ministack.is_some()) {
        Some(state) => {
            events.step("stop the local stage", stop(folder, state)).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// The stage, if its server runs. A server that does not respond is given time: a new one would lose the changes
/// since its last snapshot.
async fn running(
    folder: &Path,
    config: &LocalConfig,
    events: &Events,
) -> Result<Option<LocalStage>, LocalError> {
    let Some(state) = State::read(folder).filter(State::is_alive) else { return Ok(None) };
    if let Some(configured) = config.port.filter(|port| *port != state.port) {
        return Err(LocalError::OtherPort { running: state.port, configured });
    }
    let port = state.port;
    let start = Instant::now();
    while !server::responds(port).await {
        // A process that was killed a moment ago may still be there.
        if !state.is_alive() {
            return Ok(None);
        }
        if start.elapsed() > SILENCE {
            let seconds = SILENCE.as_secs();
            return Err(LocalError::Silent {
                program: server::NAME,
                port,
                seconds,
                log: server::log(folder),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if state.version_hash != state::version_hash() {
        events.warn(
            "another version of deployctl started the local stage; restart it with `deployctl local down` and \
             `deployctl local up`",
        );
    }
    Ok(state.stage(&config.region))
}

fn folder_of(project_dir: &Path) -> PathBuf {
    project_dir.join(".deployctl/local")
}

/// The real path of the stage's folder, which identifies processes. The folder contains the stage's secret
/// and the code of its Lambdas, so other users must not read it.
fn folder(project_dir: &Path) -> Result<PathBuf, LocalError> {
    let folder = folder_of(project_dir);
    private::create_dir_all(&folder)
        .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)))
        .and_then(|()| folder.canonicalize())
        .map_err(|e| LocalError::io(&folder, e))
}

async fn lock(folder: &Path, events: &Events) -> Result<std::fs::File, LocalError> {
    let path = folder.join("lock");
    let waiting =
        || events.note("waiting for another deployctl process that starts or stops the local stage");
    file_lock::exclusive(&path, waiting).await.map_err(|e| LocalError::io(&path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorId, Kind};

    #[test]
    fn the_local_stage_is_for_linux_on_x86_64() {
        assert!(require_supported("linux", "x86_64").is_ok());
        for (os, arch, name) in [
            ("macos", "aarch64", "macOS on aarch64"),
            ("macos", "x86_64", "macOS on x86_64"),
            ("linux", "aarch64", "Linux on aarch64"),
            ("freebsd", "x86_64", "freebsd on x86_64"),
        ] {
            let error = Error::from(require_supported(os, arch).unwrap_err());
            assert_eq!((error.kind, error.id), (Kind::Preflight, ErrorId::LocalUnsupported));
            let text = error.to_string();
            assert!(text.contains("needs Linux on x86_64") && text.contains(name), "{text}");
        }
    }
}
