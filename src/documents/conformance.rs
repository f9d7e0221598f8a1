//! The document of `conformance`.

use schemars::JsonSchema;
use serde::Serialize;

/// Whether AWS behaves as deployctl assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Conformance {
    /// No check found a difference.
    Conforms,
    /// At least one did.
    Differs,
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// AWS behaves as assumed.
    Passed,
    /// AWS behaves differently.
    Differs,
    /// The check could not be made; `observed` has the reason.
    NotTried,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Its id, as in the list of facts about AWS.
    pub(crate) check: &'static str,
    /// What deployctl assumes.
    pub(crate) assumption: &'static str,
    /// Whether that holds.
    pub(crate) verdict: Verdict,
    /// What AWS did, or why the check was not tried.
    pub(crate) observed: String,
    /// The measured time, of checks that measure one.
    pub(crate) milliseconds: Option<u64>,
}

/// Something of the sandbox that could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Leftover {
    /// What it is, and why it was not deleted.
    pub(crate) what: String,
    /// The command that deletes it.
    pub(crate) command: String,
}

/// What was found out about AWS.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConformanceBody {
    /// Whether all assumptions that were checked hold.
    pub(crate) outcome: Conformance,
    /// The stage whose account and region were used.
    pub(crate) stage: String,
    /// The account.
    pub(crate) account: String,
    /// The region.
    pub(crate) region: String,
    /// The name of everything that was created for the checks.
    pub(crate) sandbox: String,
    /// The checks, in the order in which they were made.
    pub(crate) checks: Vec<Checked>,
    /// What was not deleted afterwards; normally empty.
    pub(crate) left: Vec<Leftover>,
}

impl ConformanceBody {
    /// How many checks ended with `verdict`.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|checked| checked.verdict == verdict).count()
    }
}
