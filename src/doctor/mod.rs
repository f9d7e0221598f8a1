//! What stands in the way of a release, before one is tried: `deployctl doctor`.
//!
//! Every check gives findings: fine, a warning, a problem, or that it could not be made and why. All of them are made,
//! at the same time; one that cannot be made stops no other. Nothing is changed, and nothing is started.

mod artifacts;
mod buckets;
mod cloud;
mod limits;
mod ownership;
pub mod permissions;
mod tools;

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Events;
use crate::settings::Settings;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
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
pub struct Finding {
    /// Which check, such as `tools-terraform`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { check, severity, message: message.into(), remedy: None }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, message)
    }

    fn unchecked(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Severity::Unchecked, message)
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, message).remedy(remedy)
    }

    fn problem(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Severity::Problem, message).remedy(remedy)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What an error means as a finding.
    fn of(check: &'static str, severity: Severity, error: &Error) -> Self {
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
pub struct Diagnosis {
    /// The form of this document.
    pub schema: u32,
    /// `doctor`
    pub command: &'static str,
    /// `healthy`, or `problems`.
    pub outcome: &'static str,
    /// The stage.
    pub stage: String,
    /// What was found, check by check.
    pub findings: Vec<Finding>,
    /// Always null: a command that fails has another document.
    pub error: Option<()>,
}

impl Diagnosis {
    /// The diagnosis that `findings` make.
    pub fn new(stage: &str, findings: Vec<Finding>) -> Self {
        let sick = findings.iter().any(|finding| finding.severity == Severity::Problem);
        Self {
            schema: crate::report::document::SCHEMA,
            command: "doctor",
            outcome: if sick { "problems" } else { "healthy" },
            stage: stage.to_owned(),
            findings,
            error: None,
        }
    }

    /// Whether there is a problem.
    pub fn has_problems(&self) -> bool {
        self.outcome == "problems"
    }
}

/// Makes all checks.
pub async fn examine(settings: &Settings, events: &Events, cancel: &CancellationToken) -> Diagnosis {
    let (tools, cloud) =
        futures::join!(tools::check(settings, cancel), Box::pin(cloud::check(settings, events, cancel)));
    let mut findings = tools;
    findings.extend(ownership::in_source(settings));
    findings.extend(artifacts::built(settings));
    findings.extend(cloud);
    Diagnosis::new(settings.stage.name.as_str(), findings)
}
