//! Maps Terraform's diagnostics to a reason. Summaries are few and stable; details are free text of
//! Terraform, of providers and of AWS. An unrecognised error keeps its text.

use super::failure::{Failure, LockInfo, Reason};
use super::messages::Diagnostic;
use crate::platform::process::{self, ProcessError};

impl Failure {
    pub(crate) fn from_run(diagnostics: Vec<Diagnostic>, process: Option<ProcessError>) -> Self {
        let process_error = process.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = classify(&diagnostics, &process_error).unwrap_or(Reason::Failed(process));
        Self { diagnostics, ..Self::new(reason) }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        match error.failure {
            process::Failure::NotFound => Self::new(Reason::NotFound(error.command.into())),
            process::Failure::Interrupted { killed } => Self::new(Reason::Interrupted { killed }),
            process::Failure::Io(_) | process::Failure::TooLarge(_) | process::Failure::Exit(_) => {
                Self::from_run(Vec::new(), Some(error))
            }
        }
    }
}

impl LockInfo {
    /// Reads the `Lock Info` of Terraform's message, if it has one.
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

/// The reason of a run's errors; `None` if they are not recognised.
fn classify(diagnostics: &[Diagnostic], process_error: &str) -> Option<Reason> {
    let summary = |text: &str| diagnostics.iter().find(|diagnostic| diagnostic.summary.contains(text));
    // The errors beside it are often its consequences.
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
        // Without lock information the backend has failed, and no other process holds the lock.
        return Some(LockInfo::parse(&locked.detail).map_or(Reason::BackendUnreachable, Reason::StateLocked));
    }
    let mut text: String = diagnostics
        .iter()
        .map(|diagnostic| format!("{}\n{}\n", diagnostic.summary, diagnostic.detail))
        .collect();
    text.push_str(process_error);
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let reason = if has(&["Saved plan is stale"]) {
        Reason::StalePlan
    } else if has(&["no space left on device", "disk quota exceeded"]) {
        Reason::DiskFull
    } else if has(&["Backend configuration changed", "Backend type changed"]) {
        Reason::BackendChanged
    } else if has(UNREACHABLE_REGISTRY) {
        Reason::RegistryUnreachable { refused: Vec::new() }
    } else if has(LOCK_FILE_OUTDATED) {
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

const LOCK_FILE_OUTDATED: &[&str] = &[
    "Provider dependency changes detected",
    "checksums recorded in the dependency lock file",
    "checksums previously recorded in the dependency lock file",
];
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
    "CodeStorageExceeded",
    "QuotaExceeded",
    "Rate exceeded",
    "RequestLimitExceeded",
    "SlowDown",
    // S3 responds to HEAD requests without a body, and so without an error code.
    "StatusCode: 429",
    "StatusCode: 503",
];
const AUTHENTICATION: &[&str] = &[
    "No valid credential sources found",
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "UnauthorizedOperation",
    "Retrieving AWS account details",
    "StatusCode: 401",
    "StatusCode: 403",
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
