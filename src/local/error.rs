//! Why the local stage cannot be started, stopped or reached.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};
use crate::process::{Failure, ProcessError};
use crate::toolbox::ToolboxError;

/// A local stage that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file of the stage cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// MiniStack could not be installed.
    #[error(transparent)]
    Tools(#[from] ToolboxError),
    /// A program could not be started, or installing Redis failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// There is no Redis, and it cannot be installed here.
    #[error("the local stage needs redis-server, which is not on PATH")]
    NoRedis,
    /// Somebody else listens on the configured port.
    #[error("port {port} is taken: {source}")]
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The stage already runs elsewhere than the configuration says.
    #[error("the local stage runs on port {running}, not on {configured}")]
    OtherPort {
        /// Where it runs.
        running: u16,
        /// Where it should.
        configured: u16,
    },
    /// A server ended while it was waited for.
    #[error("{program} ended at once ({status}){}", tail(log))]
    Died {
        /// Which.
        program: &'static str,
        /// Its exit code or signal.
        status: String,
        /// Its log.
        log: PathBuf,
    },
    /// A server runs, but does not answer.
    #[error("{program} does not answer on port {port} after {seconds} s{}", tail(log))]
    Silent {
        /// Which.
        program: &'static str,
        /// Where it should.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
        /// Its log.
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

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        let message = error.to_string();
        match error {
            LocalError::Interrupted
            | LocalError::Process(ProcessError { failure: Failure::Interrupted { .. }, .. }) => {
                Self::new(Kind::Interrupted, "interrupted", LocalError::Interrupted.to_string())
                    .hint("nothing was changed, and what was started is stopped again")
            }
            LocalError::Tools(tools) => tools.into(),
            LocalError::Io { .. } => Self::preflight("local.io", message),
            LocalError::Process(_) => Self::preflight("local.process", message),
            LocalError::NoRedis => Self::preflight("local.redis", message).hint(
                "install it: `apt-get install redis-server` on Debian and Ubuntu, `brew install redis` on macOS",
            ),
            LocalError::PortTaken { .. } => Self::preflight("local.port", message)
                .hint("stop what listens there, or leave the port out of deployctl.toml: a free one is found then"),
            LocalError::OtherPort { .. } => Self::usage("local.other_port", message)
                .hint("`deployctl local down` stops it; it starts on the configured port, and empty, next time"),
            LocalError::Died { .. } => Self::preflight("local.died", message),
            LocalError::Silent { .. } => {
                Self::preflight("local.silent", message).hint("`deployctl local down` stops it and forgets what it holds")
            }
        }
    }
}
