//! What can go wrong with Terraform, typed.
//!
//! Terraform's own failures are read from the `-json` diagnostics: their summaries are few and stable, their
//! details are for people. What is not recognised keeps its diagnostics, and is never guessed at. A
//! [`Failure`] knows the layer and the stage, so that its hint is a command line that can be pasted.

use std::fmt;
use std::path::PathBuf;

use super::messages::Diagnostic;
use super::version::Version;
use crate::error::{Error, Kind};
use crate::process::{self, ProcessError};

/// A failure of Terraform, or of deployctl on its way there.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub reason: Box<Reason>,
    /// The layer it happened in, where there is one.
    pub layer: Option<String>,
    /// The stage it happened on, where there is one.
    pub stage: Option<String>,
    /// The errors that Terraform reported.
    pub diagnostics: Vec<Diagnostic>,
}

/// What went wrong.
#[derive(Debug)]
pub enum Reason {
    /// There is no such program.
    NotFound(PathBuf),
    /// The program is not Terraform or OpenTofu, or does not say which.
    NotTerraform(PathBuf),
    /// The program is older than the driver works with.
    TooOld {
        /// The version found.
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
        /// The version found.
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
    /// Somebody else holds the state's lock.
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
        /// Why not.
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
    /// User and machine.
    pub who: String,
    /// Since when.
    pub created: String,
    /// What is being done.
    pub operation: String,
}

impl LockInfo {
    /// Reads the `Lock Info` of Terraform's message; `None` where there is none.
    fn parse(detail: &str) -> Option<Self> {
        let (_, info) = detail.split_once("Lock Info:")?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        let operation = field("Operation:");
        let operation = operation.strip_prefix("OperationType").map(str::to_lowercase).unwrap_or(operation);
        Some(Self { id: field("ID:"), who: field("Who:"), created: field("Created:"), operation })
    }
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

    /// What the errors of a run come to.
    pub(crate) fn from_run(diagnostics: Vec<Diagnostic>, process: Option<ProcessError>) -> Self {
        let last_words = process.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = classify(&diagnostics, &last_words).unwrap_or(Reason::Failed(process));
        Self { diagnostics, ..Self::new(reason) }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        match error.failure {
            process::Failure::NotFound => Self::new(Reason::NotFound(error.command.into())),
            process::Failure::Interrupted { killed } => Self::new(Reason::Interrupted { killed }),
            process::Failure::Io(_) | process::Failure::Exit(_) => Self::from_run(Vec::new(), Some(error)),
        }
    }
}

/// The reason that all errors of a run come down to; `None` where they are nothing special.
fn classify(diagnostics: &[Diagnostic], last_words: &str) -> Option<Reason> {
    let summary = |text: &str| diagnostics.iter().find(|diagnostic| diagnostic.summary.contains(text));
    // Comes together with others, which are not to be trusted before it is cured.
    if summary("Inconsistent dependency lock file").is_some() {
        return Some(Reason::NotInitialised);
    }
    if summary("No value for required variable").is_some() {
        let names = diagnostics.iter().filter_map(|diagnostic| {
            let rest = diagnostic.detail.split_once("variable \"")?.1;
            rest.split_once('"').map(|(name, _)| name.to_owned())
        });
        return Some(Reason::MissingVariables(names.collect()));
    }
    if let Some(locked) = summary("Error acquiring the state lock") {
        // Without lock information it is the backend that failed, not somebody else who holds the lock.
        return Some(LockInfo::parse(&locked.detail).map_or(Reason::BackendUnreachable, Reason::StateLocked));
    }
    let mut text: String = diagnostics
        .iter()
        .map(|diagnostic| format!("{}\n{}\n", diagnostic.summary, diagnostic.detail))
        .collect();
    text.push_str(last_words);
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let reason = if has(&["Saved plan is stale"]) {
        Reason::StalePlan
    } else if has(&["no space left on device"]) {
        Reason::DiskFull
    } else if has(&["Backend configuration changed", "Backend type changed"]) {
        Reason::BackendChanged
    } else if has(UNREACHABLE_REGISTRY) {
        Reason::RegistryUnreachable
    } else if has(&["Provider dependency changes detected", "checksums recorded in the dependency lock file"])
    {
        Reason::LockFileOutdated
    } else if has(NOT_INITIALISED) {
        Reason::NotInitialised
    } else if has(&[
        "Unsupported Terraform Core version",
        "no available releases match the given constraints",
    ]) {
        Reason::VersionConstraint
    } else if has(NOT_INSTALLABLE) {
        Reason::NotInstallable
    } else if diagnostics.iter().any(|diagnostic| diagnostic.summary.starts_with("Cycle")) {
        Reason::ResourceCycle
    } else if has(THROTTLED) {
        Reason::Throttled
    } else if has(AUTHENTICATION) {
        Reason::Authentication
    } else if has(BACKEND_UNREACHABLE) {
        Reason::BackendUnreachable
    } else {
        return None;
    };
    Some(reason)
}

const UNREACHABLE_REGISTRY: &[&str] = &[
    "could not connect to registry",
    "failed to request discovery document",
    "Failed to request discovery document",
    "could not query provider registry",
];
const NOT_INITIALISED: &[&str] = &[
    "Backend initialization required",
    "Module not installed",
    "Required plugins are not installed",
    "run \"terraform init\"",
    "run: terraform init",
];
const NOT_INSTALLABLE: &[&str] = &[
    "Failed to query available provider packages",
    "Failed to install provider",
    "Incompatible provider version",
    "Failed to download module",
    "Error accessing remote module registry",
];
const THROTTLED: &[&str] = &[
    "Throttling",
    "TooManyRequestsException",
    "LimitExceeded",
    "QuotaExceeded",
    "Rate exceeded",
    "RequestLimitExceeded",
];
const AUTHENTICATION: &[&str] = &[
    "No valid credential sources found",
    "ExpiredToken",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "UnauthorizedOperation",
    "Retrieving AWS account details",
];
const BACKEND_UNREACHABLE: &[&str] = &[
    "Error refreshing state",
    "Failed to get existing workspaces",
    "Failed to load state",
    "Error loading state",
    "NoSuchBucket",
    "S3 bucket does not exist",
    "Failed to save state",
];

impl Failure {
    fn kind(&self) -> Kind {
        match *self.reason {
            Reason::Interrupted { .. } => Kind::Interrupted,
            Reason::UnknownLayer(_) | Reason::BadLayerName(_) | Reason::LayerCycle(_) => Kind::Usage,
            Reason::NotFound(_)
            | Reason::NotTerraform(_)
            | Reason::TooOld { .. }
            | Reason::OptionTooNew { .. }
            | Reason::BadFolder(_)
            | Reason::SecretInBackend(_) => Kind::Preflight,
            _ => Kind::Terraform,
        }
    }

    /// The failure's stable name, and what to do about it.
    fn advice(&self) -> (&'static str, Option<String>) {
        let layer = self.layer.as_deref().unwrap_or("<layer>");
        let stage = self.stage.as_deref().unwrap_or("<stage>");
        let by_hand = |args: &str| format!("deployctl terraform {layer} --stage {stage} -- {args}");
        let (id, hint) = match &*self.reason {
            Reason::NotFound(_) => ("terraform.not_found", "install Terraform or OpenTofu, or name it with DEPLOYCTL_TERRAFORM".into()),
            Reason::NotTerraform(_) => ("terraform.not_terraform", "DEPLOYCTL_TERRAFORM must name a terraform or tofu program".into()),
            Reason::TooOld { minimum, .. } => ("terraform.too_old", format!("install version {minimum} or later")),
            Reason::OptionTooNew { since, .. } => ("terraform.option_too_new", format!("use {since} or later, or leave it out")),
            Reason::BadFolder(_) => ("terraform.bad_folder", "correct the layer's path in deployctl.toml".into()),
            Reason::UnknownLayer(_) => ("terraform.unknown_layer", "correct depends_on in deployctl.toml, or the layer's name".into()),
            Reason::BadLayerName(_) => ("terraform.bad_layer_name", "use letters, digits, '-' and '_', each name once".into()),
            Reason::LayerCycle(_) => ("terraform.layer_cycle", "remove one depends_on of the circle in deployctl.toml".into()),
            Reason::SecretInBackend(_) => ("terraform.secret_in_backend", "pass credentials in the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, …)".into()),
            Reason::StateLocked(lock) => (
                "terraform.state_locked",
                format!("wait for it to end; if it has died: {}", by_hand(&format!("force-unlock {}", lock.id))),
            ),
            Reason::StalePlan => ("terraform.stale_plan", "run the command again: it makes a new plan".into()),
            Reason::MissingVariables(names) => (
                "terraform.missing_variable",
                format!("set {} in deployctl.toml, or TF_VAR_{} in the environment", names.join(", "), names.first().map_or("<name>", |name| name)),
            ),
            Reason::NotInitialised => ("terraform.not_initialised", by_hand("init")),
            Reason::BackendChanged => (
                "terraform.backend_changed",
                format!("to move the state: {}; to start from the state that is there: {}", by_hand("init -migrate-state"), by_hand("init -reconfigure")),
            ),
            Reason::NotInstallable => ("terraform.not_installable", "check the sources and versions in required_providers and module blocks".into()),
            Reason::RegistryUnreachable => (
                "terraform.registry_unreachable",
                "check network and proxy, or set DEPLOYCTL_PROVIDER_MIRROR to a folder that `terraform providers mirror` has filled".into(),
            ),
            Reason::LockFileOutdated => (
                "terraform.lock_file_outdated",
                format!("{} and commit .terraform.lock.hcl", by_hand("providers lock -platform=linux_amd64")),
            ),
            Reason::BackendUnreachable => ("terraform.backend_unreachable", "check the bucket's name, region and credentials; `deployctl bootstrap` makes the bucket".into()),
            Reason::Authentication => ("terraform.authentication", "check the credentials, and what they are allowed to do".into()),
            Reason::Throttled => ("terraform.throttled", "run it again later, or ask AWS for a higher quota".into()),
            Reason::VersionConstraint => ("terraform.version_constraint", "install a version that meets the constraint, or change required_version".into()),
            Reason::ResourceCycle => ("terraform.resource_cycle", "break the circle between the resources named above".into()),
            Reason::DiskFull => ("terraform.disk_full", "free some space and run it again; nothing was applied".into()),
            Reason::PlanNotWritten => {
                ("terraform.plan_not_written", "free some space and run it again; nothing was applied".into())
            }
            Reason::Format { .. } => ("terraform.format", "this version of Terraform is perhaps too new for this deployctl".into()),
            Reason::Interrupted { killed: true } => (
                "interrupted",
                format!("a lock may be left: the next run tells its id, and {} removes it", by_hand("force-unlock <id>")),
            ),
            Reason::Interrupted { killed: false } => return ("interrupted", None),
            Reason::Io { .. } => return ("terraform.io", None),
            Reason::Failed(_) => return ("terraform.failed", None),
        };
        (id, Some(hint))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = &self.layer {
            write!(f, "terraform {layer}: ")?;
        }
        match &*self.reason {
            Reason::NotFound(program) => write!(f, "{} was not found", program.display()),
            Reason::NotTerraform(program) => {
                write!(f, "{} is neither Terraform nor OpenTofu", program.display())
            }
            Reason::TooOld { found, .. } => write!(f, "version {found} is too old"),
            Reason::OptionTooNew { option, found, .. } => write!(f, "version {found} does not have {option}"),
            Reason::BadFolder(dir) => write!(f, "{} has no .tf or .tofu files", dir.display()),
            Reason::UnknownLayer(name) => write!(f, "there is no layer {name:?}"),
            Reason::BadLayerName(name) => write!(f, "{name:?} cannot be the name of a layer"),
            Reason::LayerCycle(names) => {
                write!(f, "the layers {} depend on each other in a circle", names.join(", "))
            }
            Reason::SecretInBackend(name) => write!(f, "the backend setting {name} is a secret"),
            Reason::StateLocked(LockInfo { who, created, operation, .. }) => {
                write!(f, "the state is locked by {who} since {created} ({operation})")
            }
            Reason::StalePlan => f.write_str("the state changed after the plan was made"),
            Reason::MissingVariables(names) => write!(f, "no value for {}", names.join(", ")),
            Reason::NotInitialised => f.write_str("the layer is not initialised"),
            Reason::BackendChanged => f.write_str("the backend's settings have changed"),
            Reason::NotInstallable => f.write_str("a provider or a module cannot be installed"),
            Reason::RegistryUnreachable => f.write_str("the provider registry cannot be reached"),
            Reason::LockFileOutdated => f.write_str(".terraform.lock.hcl does not cover what is needed here"),
            Reason::BackendUnreachable => f.write_str("the state cannot be reached"),
            Reason::Authentication => f.write_str("AWS does not accept the credentials"),
            Reason::Throttled => f.write_str("AWS throttled the calls, or a quota is exhausted"),
            Reason::VersionConstraint => f.write_str("a version constraint is not met"),
            Reason::ResourceCycle => f.write_str("resources depend on each other in a circle"),
            Reason::DiskFull => f.write_str("the disk is full"),
            Reason::PlanNotWritten => f.write_str("the plan file is not whole: the disk is perhaps full"),
            Reason::Format { what, problem } => write!(f, "cannot read {what}: {problem}"),
            Reason::Interrupted { killed: false } => f.write_str("interrupted"),
            Reason::Interrupted { killed: true } => {
                f.write_str("interrupted, and killed because it did not stop in time")
            }
            Reason::Io { purpose, source } => write!(f, "cannot {purpose}: {source}"),
            Reason::Failed(process) => match (self.diagnostics.first(), process) {
                (Some(first), _) => f.write_str(&first.summary),
                (None, Some(process)) => write!(f, "{process}"),
                (None, None) => f.write_str("failed without saying why"),
            },
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (id, hint) = failure.advice();
        let mut error = Self::new(failure.kind(), id, failure.to_string());
        error.hint = hint;
        if failure.diagnostics.is_empty() {
            return error;
        }
        error.because(failure.diagnostics.iter().map(told).collect::<Vec<_>>().join("\n"))
    }
}

/// A diagnostic as people read it: summary, place, detail.
fn told(diagnostic: &Diagnostic) -> String {
    let Diagnostic { summary, detail, address, range, .. } = diagnostic;
    let mut text = summary.clone();
    if let Some(range) = range {
        text.push_str(&format!(" ({}:{})", range.filename, range.start.line));
    }
    if let Some(address) = address {
        text.push_str(&format!(" in {address}"));
    }
    if !detail.is_empty() {
        text.push_str(&format!(": {}", detail.trim()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::messages::Message;

    fn recorded(name: &str) -> Failure {
        let path = format!("{}/tests/fixtures/terraform/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let errors = text.lines().filter_map(|line| Message::parse(line)?.error().cloned());
        Failure::from_run(errors.collect(), None).at("app", "dev")
    }

    #[test]
    fn a_locked_state_tells_who_holds_it_and_how_to_unlock_it() {
        let failure = recorded("locked");
        let Reason::StateLocked(lock) = &*failure.reason else { panic!("{failure:?}") };
        assert_eq!((lock.who.as_str(), lock.operation.as_str()), ("root@vm", "apply"));
        let error = Error::from(failure);
        assert_eq!((error.id, error.kind.exit_code()), ("terraform.state_locked", 20));
        let unlock =
            "deployctl terraform app --stage dev -- force-unlock c2236b1e-bd85-ed27-ae6f-9573b33618e5";
        assert!(error.hint.unwrap().ends_with(unlock));
    }

    #[test]
    fn recorded_failures_are_recognised() {
        assert!(
            matches!(&*recorded("missing").reason, Reason::MissingVariables(names) if names == &["name"])
        );
        assert!(matches!(*recorded("stale").reason, Reason::StalePlan));
        assert!(matches!(*recorded("no-registry").reason, Reason::RegistryUnreachable));
        assert!(matches!(*recorded("not-initialised").reason, Reason::NotInitialised));
        assert!(matches!(*recorded("sigint").reason, Reason::Failed(_)));
    }

    #[test]
    fn what_is_not_recognised_keeps_its_diagnostics() {
        let error = Error::from(recorded("sigint"));
        assert_eq!(error.to_string(), "terraform app: local-exec provisioner error");
        assert!(error.causes()[0].contains("(main.tf:2) in terraform_data.slow: Error running command"));
    }
}
