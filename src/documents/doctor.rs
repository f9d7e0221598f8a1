//! The document of `doctor`.

use schemars::JsonSchema;
use serde::Serialize;

use super::result::SCHEMA;
use crate::error::Error;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// It could not be told.
    Unchecked,
    /// A release works, but something may go wrong some day.
    Warning,
    /// A release would fail, or do harm.
    Problem,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// Which check, such as `tools-terraform`.
    pub(crate) check: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it.
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
    /// The form of this document.
    pub(crate) schema: u32,
    /// `doctor`
    pub(crate) command: &'static str,
    /// `healthy`, or `problems`.
    pub(crate) outcome: &'static str,
    /// The stage.
    pub(crate) stage: String,
    /// What was found, check by check.
    pub(crate) findings: Vec<Finding>,
    /// Always null: a command that fails has another document.
    pub(crate) error: Option<()>,
}

impl Diagnosis {
    /// The diagnosis that `findings` make.
    pub(crate) fn new(stage: &str, findings: Vec<Finding>) -> Self {
        let sick = findings.iter().any(|finding| finding.severity == Severity::Problem);
        Self {
            schema: SCHEMA,
            command: "doctor",
            outcome: if sick { "problems" } else { "healthy" },
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
