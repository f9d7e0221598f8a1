//! The documents of `deployctl fleet`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which members a change affects.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FleetPlanBody {
    /// The git reference that the source is compared with; null if all members are planned.
    pub(crate) changed_since: Option<String>,
    /// The members to release: those of a wave need only members of earlier ones.
    pub(crate) waves: Vec<Vec<PlannedMember>>,
    /// Always false: each member goes live by itself.
    pub(crate) atomic: bool,
}

/// A member to release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PlannedMember {
    /// The name of the member.
    pub(crate) member: String,
    /// The folder of its project.
    pub(crate) path: String,
    /// The stage in its deployctl.toml.
    pub(crate) stage: String,
    /// The account of the stage.
    pub(crate) account: String,
    /// The region of the stage.
    pub(crate) region: String,
    /// The members of the same run that must have succeeded before.
    pub(crate) needs: Vec<String>,
    /// Why it is released.
    pub(crate) reason: String,
}

/// What became of a member in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberState {
    /// No job of it has begun.
    Waiting,
    /// A job has begun. If it is not running, it was killed and can be run again.
    Running,
    /// Its release is live.
    Succeeded,
    /// Its job has failed.
    Failed,
    /// It serves again what it served before the run.
    RolledBack,
}

/// A release that a stage served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Serving {
    /// The number of its record in the stage's ledger.
    pub(crate) record: u64,
    /// The version of the release.
    pub(crate) version: String,
    /// The id of the API deployment.
    pub(crate) deployment_id: String,
}

/// A member of a run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FleetMember {
    /// The name of the member.
    pub(crate) member: String,
    /// The stage in its deployctl.toml.
    pub(crate) stage: String,
    /// The account of the stage.
    pub(crate) account: String,
    /// The region of the stage.
    pub(crate) region: String,
    /// What became of it.
    pub(crate) state: MemberState,
    /// The version that the run releases; null before its job begins.
    pub(crate) version: Option<String>,
    /// What its stage served before the run.
    pub(crate) before: Option<Serving>,
    /// What the run has released.
    pub(crate) released: Option<Serving>,
    /// The URL of the stage.
    pub(crate) url: Option<String>,
    /// The id of the error of a job that has failed.
    pub(crate) error: Option<String>,
}

/// The release of one member.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FleetRunBody {
    /// The id of the run.
    pub(crate) run: String,
    /// Whether an earlier job of this run had released it, so that nothing was done.
    pub(crate) already: bool,
    /// The member.
    pub(crate) member: FleetMember,
    /// Always false: each member goes live by itself.
    pub(crate) atomic: bool,
}

/// The members of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FleetStatusBody {
    /// The id of the run.
    pub(crate) run: String,
    /// Its members, in the order of their releases.
    pub(crate) members: Vec<FleetMember>,
    /// Always false: each member goes live by itself.
    pub(crate) atomic: bool,
}

/// A rollback of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FleetRollbackBody {
    /// The id of the run.
    pub(crate) run: String,
    /// The members in the order in which they were rolled back.
    pub(crate) members: Vec<RolledBackMember>,
    /// Always false: each member goes back by itself.
    pub(crate) atomic: bool,
}

/// What a rollback did to a member.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RolledBackMember {
    /// The name of the member.
    pub(crate) member: String,
    /// What was done.
    pub(crate) outcome: RollbackOutcome,
    /// Why, in one sentence.
    pub(crate) reason: String,
}

/// What a rollback did to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RollbackOutcome {
    /// It serves again what it served before the run.
    RolledBack,
    /// It serves what it served before the run, and did so before this command.
    Unchanged,
    /// It was left alone, and serves something else than before the run.
    LeftAlone,
}
