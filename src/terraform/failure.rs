//! Typed failures.
//!
//! The reason is read from Terraform's `-json` diagnostics. An unrecognised failure is [`Reason::Failed`] and
//! keeps its diagnostics. A [`Failure`] contains the layer and the stage, so that its hint is a complete
//! command line.

use std::path::{Path, PathBuf};

use semver::Version;

use super::messages::Diagnostic;
use crate::platform::process::ProcessError;

/// A failure of Terraform, or of the driver before or after running it. `Display` is a message of one line.
#[derive(Debug)]
pub struct Failure {
    /// Why it failed, as a type to match on.
    pub reason: Box<Reason>,
    /// The name of the layer, if the failure belongs to one.
    pub layer: Option<String>,
    /// The name of the stage, if the failure belongs to one.
    pub stage: Option<String>,
    /// The folder of the layer: the files of the diagnostics are relative to it.
    pub dir: Option<Box<Path>>,
    /// The AWS profile of the credentials, if one is set.
    pub profile: Option<Box<str>>,
    /// The errors that Terraform reported, in its order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why Terraform, or the driver, failed.
#[derive(Debug)]
pub enum Reason {
    /// The program does not exist.
    NotFound(PathBuf),
    /// The program is neither Terraform nor OpenTofu.
    NotTerraform(PathBuf),
    /// The driver does not support this old version.
    TooOld {
        /// The version of the program.
        found: Version,
        /// The oldest supported version.
        minimum: Version,
    },
    /// The installed version does not support an option.
    OptionTooNew {
        /// The option or command.
        option: &'static str,
        /// The versions that support it.
        since: String,
        /// The version of the program.
        found: Version,
    },
    /// The layer's folder is missing, or has no `.tf` or `.tofu` file.
    BadFolder(PathBuf),
    /// A layer depends on one that does not exist.
    UnknownLayer(String),
    /// Two layers have this name, or it is not a valid layer name.
    BadLayerName(String),
    /// These layers form a dependency cycle.
    LayerCycle(Vec<String>),
    /// This backend setting is a secret. As an argument, every user of the machine could read it.
    SecretInBackend(String),
    /// Another process holds the lock of the state.
    StateLocked(LockInfo),
    /// The state changed between plan and apply.
    StalePlan,
    /// These variables have no value.
    MissingVariables(Vec<String>),
    /// `init` must run first.
    NotInitialised,
    /// The backend settings have changed since the last `init`.
    BackendChanged,
    /// A provider or a module could not be installed.
    NotInstallable,
    /// The registry is unreachable, and there is no mirror that may be used.
    RegistryUnreachable {
        /// Mirrors with the providers. They are not used, because the layer's lock file does not name the
        /// hashes of their packages.
        refused: Vec<PathBuf>,
    },
    /// The lock file lacks a provider, or its checksums for this platform.
    LockFileOutdated,
    /// The backend is unreachable, or the state in it unreadable.
    BackendUnreachable,
    /// A setting of the `backend` block does not work for this stage.
    BackendSetting {
        /// The setting, such as `dynamodb_table`.
        name: &'static str,
        /// Its value; `None` if it is not a literal.
        value: Option<String>,
    },
    /// The credentials are invalid or lack a permission.
    Authentication,
    /// A quota is exhausted, or calls were throttled.
    Throttled,
    /// Terraform, a provider or a module does not meet a version constraint.
    VersionConstraint,
    /// Resources form a dependency cycle.
    ResourceCycle,
    /// The disk is full.
    DiskFull,
    /// Terraform reported success, but the plan file is incomplete.
    PlanNotWritten,
    /// The exit code reports success, but the messages do not: a wrapper around Terraform has changed the exit
    /// code.
    ExitCodeChanged {
        /// The program that was run as Terraform.
        program: PathBuf,
        /// What the messages report.
        messages: String,
    },
    /// Terraform could not save the state to the backend, and wrote it to this file.
    StateNotSaved(PathBuf),
    /// Resources are still in the state after a destroy that reported success.
    NotDestroyed(usize),
    /// Terraform printed invalid JSON, or an unsupported format version.
    Format {
        /// What was read, such as "the plan".
        what: &'static str,
        /// The problem, with line and column. It contains no values.
        problem: String,
    },
    /// The command was interrupted.
    Interrupted {
        /// Whether Terraform was killed, because it did not end in time. It may have left a lock.
        killed: bool,
    },
    /// A file of the driver could not be read or written.
    Io {
        /// The operation; it completes "failed to …".
        purpose: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Any other error of Terraform, or a program that could not be run.
    Failed(Option<ProcessError>),
}

/// The lock of a state. A field that Terraform did not print is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockInfo {
    /// The id for `force-unlock`.
    pub id: String,
    /// The user and the machine that hold the lock.
    pub who: String,
    /// When the lock was taken, as Terraform prints it.
    pub created: String,
    /// The command that holds it, such as `apply`.
    pub operation: String,
}

impl Failure {
    /// A failure without layer, stage and diagnostics.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason: Box::new(reason),
            layer: None,
            stage: None,
            dir: None,
            profile: None,
            diagnostics: Vec::new(),
        }
    }

    /// Sets the layer and the stage, unless they are set already.
    #[must_use]
    pub fn at(mut self, layer: &str, stage: &str) -> Self {
        self.layer.get_or_insert_with(|| layer.to_owned());
        self.stage.get_or_insert_with(|| stage.to_owned());
        self
    }

    /// Sets the folder of the layer, unless it is set already.
    #[must_use]
    pub(crate) fn in_dir(mut self, dir: &Path) -> Self {
        self.dir.get_or_insert_with(|| dir.into());
        self
    }

    /// Invalid JSON. Its content is not repeated, because it may contain secrets.
    pub(crate) fn json(what: &'static str, error: &serde_json::Error) -> Self {
        let problem = match error.classify() {
            serde_json::error::Category::Eof => "it ends unexpectedly",
            serde_json::error::Category::Data => "a value has an unexpected type",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not valid JSON",
        };
        let problem = format!("{problem} (line {}, column {})", error.line(), error.column());
        Self::new(Reason::Format { what, problem })
    }

    pub(crate) fn io(purpose: impl Into<String>, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::new(Reason::DiskFull)
            }
            _ => Self::new(Reason::Io { purpose: purpose.into(), source }),
        }
    }
}

impl std::error::Error for Failure {}
