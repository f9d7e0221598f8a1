//! The errors of the local stage.

use std::path::{Path, PathBuf};

use crate::artifact::python_tools::PythonToolsError;
use crate::error::{Error, ErrorId, Kind};
use crate::platform::process::{Failure, ProcessError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The machine cannot run the Lambda functions.
    #[error(
        "failed to start the local stage: it needs Linux on x86_64, and this is {} on {arch}",
        system(os)
    )]
    Unsupported { os: String, arch: String },
    /// A file of the stage is not readable or writable.
    #[error("failed to read or write {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// MiniStack could not be installed.
    #[error(transparent)]
    Tools(#[from] PythonToolsError),
    /// A program could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The machine has no Redis, and Valkey could not be installed in the user's cache.
    #[error("failed to find redis-server on PATH, or to install Valkey in its place")]
    NoRedis(#[source] Option<PythonToolsError>),
    /// Another program listens on the configured port.
    #[error("failed to listen on port {port}: {source}")]
    PortTaken { port: u16, source: std::io::Error },
    /// The stage runs on another port than the configured one.
    #[error("the local stage runs on port {running}, but deployctl.toml sets port {configured}")]
    OtherPort { running: u16, configured: u16 },
    /// A server ended during the start.
    #[error("failed to start {program}: it ended ({status}){}", tail(log))]
    Died { program: &'static str, status: String, log: PathBuf },
    /// A server runs, but does not respond.
    #[error("failed to reach {program} on port {port} within {seconds} s{}", tail(log))]
    Silent { program: &'static str, port: u16, seconds: u64, log: PathBuf },
    #[error("interrupted while starting the local stage")]
    Interrupted,
}

/// The name of a system as its vendor writes it.
fn system(os: &str) -> &str {
    match os {
        "linux" => "Linux",
        "macos" => "macOS",
        other => other,
    }
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
                    .hint("what is live is unchanged, and the started servers were stopped")
            }
            LocalError::Unsupported { .. } => Self::preflight(ErrorId::LocalUnsupported, message).hint(
                "nothing was started; name a stage on AWS with `--stage`, or run deployctl in a virtual machine \
                 with Linux on x86_64",
            ),
            LocalError::Tools(tools) => tools.into(),
            LocalError::Io { .. } => Self::preflight(ErrorId::LocalIo, message),
            LocalError::Process(_) => Self::preflight(ErrorId::LocalProcess, message),
            LocalError::NoRedis(cause) => {
                let error = Self::preflight(ErrorId::LocalRedis, message)
                    .hint("no Redis was started; install it, on Debian and Ubuntu: `apt-get install redis-server`");
                match cause {
                    Some(cause) => error.because(cause),
                    None => error,
                }
            }
            LocalError::PortTaken { .. } => Self::preflight(ErrorId::LocalPort, message)
                .hint("stop the program that uses the port, or remove `port` from deployctl.toml to use a free one"),
            LocalError::OtherPort { .. } => Self::usage(ErrorId::LocalOtherPort, message)
                .hint("nothing was changed; `deployctl local down` stops it and keeps what it holds, and it starts on the configured port"),
            LocalError::Died { .. } => Self::preflight(ErrorId::LocalDied, message),
            LocalError::Silent { .. } => {
                Self::preflight(ErrorId::LocalSilent, message).hint("`deployctl local down` stops the local stage; it starts again from its last snapshot")
            }
        }
    }
}
