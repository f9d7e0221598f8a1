//! Starts the two servers of the local stage, and stops both if the start fails.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use super::redis;
use super::server::{self, LAUNCHER, MINISTACK, Server};
use super::stage::{LocalConfig, LocalStage};
use super::state::{self, State};
use super::stop::stop;
use crate::artifact::python_tools::PythonTools;
use crate::event::Events;
use crate::platform::atomic_file;
use crate::platform::private;
use crate::platform::process::Command;
use crate::platform::process_identity::ProcessIdentity;

/// The limit for the start of a server. MiniStack needs about a second, and more on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts both servers. The caller holds the lock, and neither server runs.
pub(crate) async fn start(
    folder: &Path,
    config: &LocalConfig,
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<LocalStage, LocalError> {
    let (venv, program) =
        tokio::try_join!(async { Ok(tools.venv(MINISTACK, events, cancel).await?) }, async {
            redis::find_or_install(tools, events, cancel).await
        })?;
    let tmp = folder.join("tmp");
    private::create_dir_all(&tmp).map_err(|e| LocalError::io(&tmp, e))?;
    for (name, text) in LAUNCHER {
        let path = folder.join(name);
        atomic_file::write_private(&path, text.as_bytes()).map_err(|e| LocalError::io(&path, e))?;
    }

    // Both ports are reserved at the same time, so that they differ.
    let (port, redis_port) = {
        let gateway = reserve(config.port.unwrap_or(0))?;
        let cache = reserve(0)?;
        (local_port(&gateway)?, local_port(&cache)?)
    };
    let secret = state::new_secret().map_err(|e| LocalError::io(Path::new("/dev/urandom"), e))?;
    let mut state = State {
        version_hash: state::version_hash(),
        secret,
        port,
        redis_port,
        redis: None,
        ministack: None,
        ready: false,
    };
    let ministack = server::MiniStack { port, redis_port, secret: &state.secret, region: &config.region };
    let commands = [
        (Server::Redis, redis_port, server::redis(&program, folder, redis_port)),
        (Server::MiniStack, port, server::ministack(&venv, folder, ministack)),
    ];
    match launch(folder, commands, &mut state, cancel).await {
        Ok(()) => state.stage(&config.region).ok_or(LocalError::Interrupted),
        Err(error) => {
            stop(folder, &state).await?;
            Err(error)
        }
    }
}

/// Starts both servers, and waits until both respond.
async fn launch(
    folder: &Path,
    commands: [(Server, u16, Command); 2],
    state: &mut State,
    cancel: &CancellationToken,
) -> Result<(), LocalError> {
    let mut started = Vec::with_capacity(commands.len());
    for (server, port, command) in commands {
        let mut child = command.start_detached(&open_log(server, folder)?)?;
        let identity = ProcessIdentity::of(child.id().cast_signed());
        let Some(identity) = identity else { return Err(died(server, folder, &mut child)) };
        match server {
            Server::Redis => state.redis = Some(identity),
            Server::MiniStack => state.ministack = Some(identity),
        }
        state.write(folder)?;
        started.push((server, port, child));
    }
    for (server, port, child) in &mut started {
        wait(*server, *port, child, folder, cancel).await?;
    }
    state.ready = true;
    state.write(folder)
}

async fn wait(
    server: Server,
    port: u16,
    child: &mut Child,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<(), LocalError> {
    let start = Instant::now();
    loop {
        let responds = server.responds(port).await;
        // Checked after the request: another program on this port could have responded.
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(died(server, folder, child));
        }
        if responds {
            return Ok(());
        }
        if start.elapsed() > TIMEOUT {
            let seconds = TIMEOUT.as_secs();
            return Err(LocalError::Silent {
                program: server.name(),
                port,
                seconds,
                log: server.log(folder),
            });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = cancel.cancelled() => return Err(LocalError::Interrupted),
        }
    }
}

fn died(server: Server, folder: &Path, child: &mut Child) -> LocalError {
    let status = match child.try_wait() {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "unknown status".to_owned(),
        Err(error) => error.to_string(),
    };
    LocalError::Died { program: server.name(), status, log: server.log(folder) }
}

/// Creates a log. The log of the previous run is kept as `….old`.
fn open_log(server: Server, folder: &Path) -> Result<File, LocalError> {
    let path = server.log(folder);
    match std::fs::rename(&path, path.with_extension("log.old")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(LocalError::io(&path, e)),
        _ => {}
    }
    private::append(&path).map_err(|e| LocalError::io(&path, e))
}

/// Reserves `port`; 0 reserves any free port.
fn reserve(port: u16) -> Result<TcpListener, LocalError> {
    TcpListener::bind(("127.0.0.1", port)).map_err(|source| LocalError::PortTaken { port, source })
}

fn local_port(listener: &TcpListener) -> Result<u16, LocalError> {
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|source| LocalError::PortTaken { port: 0, source })
}
