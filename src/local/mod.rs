//! The local AWS emulator: MiniStack with AWS's stage semantics, and a Redis, both on 127.0.0.1.
//!
//! It is the one thing that survives between commands: [`up`] starts it, or finds it running within milliseconds;
//! [`down`] stops it and all its Lambdas. `.deployctl/local/stage.json` remembers which processes it consists of;
//! one that is not provably ours is never touched.
//!
//! It is a sandbox and keeps everything in memory: stopped is forgotten, Terraform's state included (which lives in
//! the stage's own S3), so that what is left is always consistent. When a part of it has died, or the machine has
//! been restarted, [`up`] starts an empty one.

mod error;
mod redis_package;
mod server;
mod stage;
mod start;
mod state;
mod stop;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub(crate) use self::error::LocalError;
pub(crate) use self::redis_package::look as look_for_redis;
use self::server::Server;
pub(crate) use self::stage::{ACCOUNT, LocalConfig, LocalStage};
use self::state::State;
use self::stop::stop;
use crate::artifact::python_tools::PythonTools;
use crate::event::Events;
use crate::platform::file_lock;

/// The running local stage of the project, started first where it does not run. Started at the same time by two
/// commands, it starts once.
pub(crate) async fn up(
    project_dir: &Path,
    config: &LocalConfig,
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<LocalStage, LocalError> {
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
    if let Some(state) = State::read(&folder) {
        if state.processes().any(|(_, process)| process.is_alive()) {
            events.warn("a part of the local stage has died: it starts afresh, and empty");
        }
        stop(&folder, &state).await?;
    }
    events.step("start the local stage", start::start(&folder, config, tools, events, cancel)).await
}

/// The local stage of the project if it runs: looks, and changes nothing.
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

/// The parts of the local stage that were started and have died since, by name; `None` where none was started.
pub(crate) fn dead_parts(project_dir: &Path) -> Option<Vec<&'static str>> {
    let state = State::read(&folder_of(project_dir))?;
    Some(
        state
            .processes()
            .filter(|(_, process)| !process.is_alive())
            .map(|(server, _)| server.name())
            .collect(),
    )
}

/// The packages that the local stage runs on.
pub(crate) const PACKAGES: crate::artifact::python_tools::Requirements = server::MINISTACK;

/// Stops the local stage of the project with all its Lambdas and forgets what it held; its logs stay. Says whether
/// there was one.
pub(crate) async fn down(project_dir: &Path, events: &Events) -> Result<bool, LocalError> {
    let Ok(folder) = folder_of(project_dir).canonicalize() else { return Ok(false) };
    let _lock = lock(&folder, events).await?;
    match State::read(&folder) {
        Some(state) => {
            events.step("stop the local stage", stop(&folder, &state)).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// The stage, if all of it runs. One that runs but does not answer at once is waited for: starting another would
/// throw away what it holds.
async fn running(
    folder: &Path,
    config: &LocalConfig,
    events: &Events,
) -> Result<Option<LocalStage>, LocalError> {
    let Some(state) = State::read(folder).filter(State::is_alive) else { return Ok(None) };
    if let Some(configured) = config.port.filter(|port| *port != state.port) {
        return Err(LocalError::OtherPort { running: state.port, configured });
    }
    for (server, port) in [(Server::Redis, state.redis_port), (Server::MiniStack, state.port)] {
        if !server.answers(port).await && !server.answers(port).await {
            let seconds = 4;
            return Err(LocalError::Silent {
                program: server.name(),
                port,
                seconds,
                log: server.log(folder),
            });
        }
    }
    if state.version_hash != state::version_hash() {
        events.warn("the local stage was started by another version of deployctl; `local down` and `local up` renew it");
    }
    Ok(state.stage(&config.region))
}

fn folder_of(project_dir: &Path) -> PathBuf {
    project_dir.join(".deployctl/local")
}

/// The stage's folder by its real path: processes are known by it. It holds the stage's secret, and what its
/// Lambdas run, so no other user may read it.
fn folder(project_dir: &Path) -> Result<PathBuf, LocalError> {
    let folder = folder_of(project_dir);
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)))
        .and_then(|()| folder.canonicalize())
        .map_err(|e| LocalError::io(&folder, e))
}

async fn lock(folder: &Path, events: &Events) -> Result<std::fs::File, LocalError> {
    let path = folder.join("lock");
    let waiting = || events.note("waiting for another deployctl that starts or stops the local stage");
    file_lock::exclusive(&path, waiting).await.map_err(|e| LocalError::io(&path, e))
}
