//! The document of `doctor`.

use schemars::JsonSchema;
use serde::Serialize;

use super::result::SCHEMA;
use crate::error::Error;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The check has passed.
    Ok,
    /// The check could not be run.
    Unchecked,
    /// A release works now, but may fail later.
    Warning,
    /// A release would fail or cause damage.
    Problem,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The id of the check, such as `tools-terraform`.
    pub(crate) check: &'static str,
    /// The severity of the finding.
    pub(crate) severity: Severity,
    /// What the check has found.
    pub(crate) message: String,
    /// What the user should do about it.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(check: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { check, severity, message: message.into(), remedy: None }
    }

    pub(crate) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, message)
    }

    pub(crate) fn unchecked(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Severity::Unchecked, message)
    }

    pub(crate) fn warning(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Severity::Warning, message).remedy(remedy)
    }

    pub(crate) fn problem(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Severity::Problem, message).remedy(remedy)
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What an error means as a finding.
    pub(crate) fn of(check: &'static str, severity: Severity, error: &Error) -> Self {
        let mut message = error.message.clone();
        for cause in error.causes() {
            message.push_str(": ");
            message.push_str(&cause);
        }
        Self { check, severity, message, remedy: error.hint.clone() }
    }
}

/// The JSON document of `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Diagnosis {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command, always `doctor`.
    pub(crate) command: &'static str,
    /// `healthy` or, if a finding is a problem, `problems`.
    pub(crate) outcome: &'static str,
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The results of the checks, in the order in which they ran.
    pub(crate) findings: Vec<Finding>,
    /// Always null: a failed command prints another document.
    pub(crate) error: Option<()>,
}

impl Diagnosis {
    /// The diagnosis that `findings` make.
    pub(crate) fn new(stage: &str, findings: Vec<Finding>) -> Self {
        let has_problems = findings.iter().any(|finding| finding.severity == Severity::Problem);
        Self {
            schema: SCHEMA,
            command: "doctor",
            outcome: if has_problems { "problems" } else { "healthy" },
            stage: stage.to_owned(),
            findings,
            error: None,
        }
    }

    /// Whether there is a problem.
    pub(crate) fn has_problems(&self) -> bool {
        self.outcome == "problems"
    }
}
