//! Starts the server of the local stage, and stops it if the start fails.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use super::server::{self, LAUNCHER, MINISTACK, NAME};
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

/// How the stage ended before, if it was started before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// `local down` or `local reset` has stopped it, or it never ran.
    Stopped,
    /// It was killed, or the machine was restarted.
    Died,
}

/// What the launcher says of the content that it starts with.
#[derive(Debug, Default, Deserialize)]
struct Content {
    /// The time of the snapshot.
    snapshot: Option<String>,
    /// Why the snapshot could not be used.
    problem: Option<String>,
}

/// Starts the server, with what it held before. The caller holds the lock, and the server does not run.
pub(crate) async fn start(
    folder: &Path,
    config: &LocalConfig,
    tools: &PythonTools,
    before: Before,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<LocalStage, LocalError> {
    let venv = tools.venv(MINISTACK, events, cancel).await?;
    for part in [folder.join("tmp"), server::data(folder)] {
        private::create_dir_all(&part).map_err(|e| LocalError::io(&part, e))?;
    }
    for (name, text) in LAUNCHER {
        let path = folder.join(name);
        atomic_file::write_private(&path, text.as_bytes()).map_err(|e| LocalError::io(&path, e))?;
    }
    // A stopped stage keeps its port and its secret, so that the URL of an API and the environment of a shell stay valid.
    let last = State::read(folder);
    let port = match (config.port, &last) {
        (None, Some(last)) => local_port(&reserve(last.port).or_else(|_| reserve(0))?)?,
        (port, _) => local_port(&reserve(port.unwrap_or(0))?)?,
    };
    let secret = match last {
        Some(last) if !last.secret.is_empty() => last.secret,
        _ => state::new_secret().map_err(|e| LocalError::io(Path::new("/dev/urandom"), e))?,
    };
    let version_hash = state::version_hash();
    let mut state = State { version_hash, secret, port, ministack: None, ready: false, snapshot: None };
    let snapshot_key = &snapshot_key(tools)?;
    let settings = server::MiniStack { port, secret: &state.secret, region: &config.region, snapshot_key };
    let command = server::ministack(&venv, folder, settings);
    match launch(folder, &command, &mut state, before, events, cancel).await {
        Ok(()) => state.stage(&config.region).ok_or(LocalError::Interrupted),
        Err(error) => {
            stop(folder, state).await?;
            Err(error)
        }
    }
}

/// What signs this user's snapshots. It is not in the project's folder: reading a snapshot runs what is in it, so one
/// that comes with a checkout must not be read.
fn snapshot_key(tools: &PythonTools) -> Result<String, LocalError> {
    let path = tools.cache("local-stage").join("snapshot.key");
    let key = || {
        if !path.exists() {
            path.parent().map_or(Ok(()), private::create_dir_all)?;
            atomic_file::create_private(&path, state::new_secret()?.as_bytes())?;
        }
        std::fs::read_to_string(&path)
    };
    key().map_err(|e| LocalError::io(&path, e))
}

/// Starts the server, and waits until it responds.
async fn launch(
    folder: &Path,
    command: &Command,
    state: &mut State,
    before: Before,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), LocalError> {
    let mut child = command.start_detached(&open_log(folder)?)?;
    let identity = ProcessIdentity::of(child.id().cast_signed());
    let Some(identity) = identity else { return Err(died(folder, &mut child)) };
    state.ministack = Some(identity);
    state.write(folder)?;
    wait(state.port, &mut child, folder, cancel).await?;
    let content = std::fs::read(server::data(folder).join("start.json")).unwrap_or_default();
    let content: Content = serde_json::from_slice(&content).unwrap_or_default();
    say(before, &content, events);
    state.snapshot = content.snapshot;
    state.ready = true;
    state.write(folder)
}

/// Says what the stage starts with, unless it is new.
fn say(before: Before, content: &Content, events: &Events) {
    let ended = "the local stage has ended without `deployctl local down`";
    match (before, content) {
        (_, Content { problem: Some(problem), .. }) => events.warn(format!(
            "the local stage starts empty, because its snapshot cannot be used: {problem}; it is kept as \
             .deployctl/local/data/snapshot.unreadable"
        )),
        (Before::Died, Content { snapshot: Some(at), .. }) => {
            events.warn(format!("{ended}: it starts from its snapshot of {at}, and later changes are lost"));
        }
        (Before::Died, _) => events.warn(format!("{ended}, and has no snapshot: it starts empty")),
        (Before::Stopped, Content { snapshot: Some(at), .. }) => {
            events.note(format!("the local stage starts with what it held at {at}"));
        }
        (Before::Stopped, _) => {}
    }
}

async fn wait(
    port: u16,
    child: &mut Child,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<(), LocalError> {
    let start = Instant::now();
    loop {
        let responds = server::responds(port).await;
        // Checked after the request: another program on this port could have responded.
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(died(folder, child));
        }
        if responds {
            return Ok(());
        }
        if start.elapsed() > TIMEOUT {
            let seconds = TIMEOUT.as_secs();
            return Err(LocalError::Silent { program: NAME, port, seconds, log: server::log(folder) });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = cancel.cancelled() => return Err(LocalError::Interrupted),
        }
    }
}

fn died(folder: &Path, child: &mut Child) -> LocalError {
    let status = match child.try_wait() {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "unknown status".to_owned(),
        Err(error) => error.to_string(),
    };
    LocalError::Died { program: NAME, status, log: server::log(folder) }
}

/// Creates a log. The log of the previous run is kept as `….old`.
fn open_log(folder: &Path) -> Result<File, LocalError> {
    let path = server::log(folder);
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
