//! What can go wrong with Terraform, typed.
//!
//! Terraform's own failures are read from the `-json` diagnostics: their summaries are few and stable, their
//! details are for people. What is not recognised keeps its diagnostics, and is never guessed at. A
//! [`Failure`] knows the layer and the stage, so that its hint is a command line that can be pasted.

use std::path::PathBuf;

use semver::Version;

use super::messages::Diagnostic;
use crate::platform::process::ProcessError;

/// A failure of Terraform, or of deployctl on its way there.
#[derive(Debug)]
pub struct Failure {
    /// Why it failed, as a type to match on.
    pub reason: Box<Reason>,
    /// The layer it happened in, where there is one.
    pub layer: Option<String>,
    /// The stage it happened on, where there is one.
    pub stage: Option<String>,
    /// The errors that Terraform reported.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why Terraform, or the driver, failed.
#[derive(Debug)]
pub enum Reason {
    /// There is no such program.
    NotFound(PathBuf),
    /// The program is not Terraform or OpenTofu, or does not say which.
    NotTerraform(PathBuf),
    /// The program is older than the driver works with.
    TooOld {
        /// The version of the program.
        found: Version,
        /// The first version that will do.
        minimum: Version,
    },
    /// An option that this version does not have.
    OptionTooNew {
        /// The option or command.
        option: &'static str,
        /// Which versions have it.
        since: String,
        /// The version of the program.
        found: Version,
    },
    /// The layer's folder is missing, or has no `.tf` or `.tofu` file.
    BadFolder(PathBuf),
    /// A layer depends on one that does not exist.
    UnknownLayer(String),
    /// Two layers have the same name, or one that cannot be the name of a folder.
    BadLayerName(String),
    /// Layers that depend on each other in a circle.
    LayerCycle(Vec<String>),
    /// A backend setting is a secret, and would be visible to every user of the machine.
    SecretInBackend(String),
    /// Another process holds the state's lock.
    StateLocked(LockInfo),
    /// The state changed between plan and apply.
    StalePlan,
    /// Variables without a value.
    MissingVariables(Vec<String>),
    /// `init` has to be run first.
    NotInitialised,
    /// The backend's settings are not those of the last `init`.
    BackendChanged,
    /// A provider or a module could not be installed.
    NotInstallable,
    /// The registry cannot be reached, and no mirror was found.
    RegistryUnreachable,
    /// The lock file does not have what the configuration needs.
    LockFileOutdated,
    /// The state's storage cannot be reached or read.
    BackendUnreachable,
    /// No valid credentials, or not allowed.
    Authentication,
    /// A quota is exhausted, or calls were throttled.
    Throttled,
    /// A version constraint that this Terraform, or a provider, does not meet.
    VersionConstraint,
    /// Resources that depend on each other in a circle.
    ResourceCycle,
    /// The disk is full.
    DiskFull,
    /// Terraform said that it wrote a plan, but the file is not whole.
    PlanNotWritten,
    /// JSON that cannot be read, or of a format that this version does not know.
    Format {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// deployctl was interrupted. `killed`: Terraform did not stop by itself and may have left a lock.
    Interrupted {
        /// Whether it had to be killed.
        killed: bool,
    },
    /// A file of deployctl's own could not be read or written.
    Io {
        /// What it was needed for, as it fits into "cannot …".
        purpose: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Anything else that Terraform reported, or a program that could not be run.
    Failed(Option<ProcessError>),
}

/// Who holds a state's lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockInfo {
    /// What `force-unlock` wants to hear.
    pub id: String,
    /// The user and the machine that hold the lock.
    pub who: String,
    /// When the lock was taken, as Terraform prints it.
    pub created: String,
    /// What is being done.
    pub operation: String,
}

impl Failure {
    /// A failure for `reason`, not yet placed.
    pub fn new(reason: Reason) -> Self {
        Self { reason: Box::new(reason), layer: None, stage: None, diagnostics: Vec::new() }
    }

    /// Says where it happened, unless that is known already.
    #[must_use]
    pub fn at(mut self, layer: &str, stage: &str) -> Self {
        self.layer.get_or_insert_with(|| layer.to_owned());
        self.stage.get_or_insert_with(|| stage.to_owned());
        self
    }

    /// JSON that cannot be read. What it says is not repeated: it may hold secrets.
    pub(crate) fn json(what: &'static str, error: &serde_json::Error) -> Self {
        let problem = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "something is not of the expected type",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        };
        let problem = format!("{problem} (line {}, column {})", error.line(), error.column());
        Self::new(Reason::Format { what, problem })
    }

    /// A file of our own could not be read or written.
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
