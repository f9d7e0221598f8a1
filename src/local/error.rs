//! The errors of the local stage.

use std::path::{Path, PathBuf};

use crate::artifact::python_tools::PythonToolsError;
use crate::error::{Error, ErrorId, Kind};
use crate::platform::process::{Failure, ProcessError};

/// A local stage that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// A file of the stage cannot be read or written.
    #[error("failed to use {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// MiniStack could not be installed.
    #[error(transparent)]
    Tools(#[from] PythonToolsError),
    /// A program could not be started, or installing Redis failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// There is no Redis, and it cannot be installed here.
    #[error("the local stage needs redis-server, which is not on PATH")]
    NoRedis,
    /// Another program listens on the configured port.
    #[error("port {port} is taken: {source}")]
    PortTaken {
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The stage already runs elsewhere than the configuration says.
    #[error("the local stage runs on port {running}, not on {configured}")]
    OtherPort { running: u16, configured: u16 },
    /// A server ended while it was waited for.
    #[error("{program} ended at once ({status}){}", tail(log))]
    Died {
        program: &'static str,
        /// Its exit code or signal.
        status: String,
        log: PathBuf,
    },
    /// A server runs, but does not answer.
    #[error("{program} does not answer on port {port} after {seconds} s{}", tail(log))]
    Silent {
        program: &'static str,
        port: u16,
        /// How long it was waited for.
        seconds: u64,
        log: PathBuf,
    },
    /// The user has stopped the start.
    #[error("interrupted while starting the local stage")]
    Interrupted,
}

/// The last lines of a log, as the end of a message.
fn tail(log: &Path) -> String {
    let Ok(bytes) = std::fs::read(log) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(20)..];
    if last.is_empty() {
        return format!("; its log, {}, is empty", log.display());
    }
    format!(
        "; the end of {}:{}",
        log.display(),
        last.iter().map(|line| format!("\n  {line}")).collect::<String>()
    )
}

impl LocalError {
    /// A file of the local stage could not be read or written.
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        let message = error.to_string();
        match error {
            LocalError::Interrupted
            | LocalError::Process(ProcessError { failure: Failure::Interrupted { .. }, .. }) => {
                Self::new(Kind::Interrupted, ErrorId::Interrupted, LocalError::Interrupted.to_string())
                    .hint("nothing was changed, and what was started is stopped again")
            }
            LocalError::Tools(tools) => tools.into(),
            LocalError::Io { .. } => Self::preflight(ErrorId::LocalIo, message),
            LocalError::Process(_) => Self::preflight(ErrorId::LocalProcess, message),
            LocalError::NoRedis => Self::preflight(ErrorId::LocalRedis, message).hint(
                "install it: `apt-get install redis-server` on Debian and Ubuntu, `brew install redis` on macOS",
            ),
            LocalError::PortTaken { .. } => Self::preflight(ErrorId::LocalPort, message)
                .hint("stop what listens there, or leave the port out of deployctl.toml: a free one is found then"),
            LocalError::OtherPort { .. } => Self::usage(ErrorId::LocalOtherPort, message)
                .hint("`deployctl local down` stops it; it starts on the configured port, and empty, next time"),
            LocalError::Died { .. } => Self::preflight(ErrorId::LocalDied, message),
            LocalError::Silent { .. } => {
                Self::preflight(ErrorId::LocalSilent, message).hint("`deployctl local down` stops it and forgets what it holds")
            }
        }
    }
}
