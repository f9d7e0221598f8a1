//! A record of the ledger: one thing that was done to a stage, with all that is needed to do it again or to
//! undo it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{
    DeploymentId, FunctionKey, FunctionName, FunctionVersion, Pointer, RELEASE_VARIABLE, StageName, Version,
};
use crate::artifact::Sha256;
use crate::event::StepTime;

/// The form of the records that this tool writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The form of this record.
    pub schema: u32,
    /// Its place in the ledger: 1 for the first, without gaps.
    pub number: u64,
    /// What was done.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// The release that the stage was moved to, or was to be.
    pub release: Release,
    /// Where the stage points when it serves that release.
    pub pointer: Pointer,
    /// What the stage served before.
    pub before: Before,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it.
    pub who: Who,
    /// The version of deployctl.
    pub tool: String,
    /// How long its steps took.
    pub steps: Vec<StepTime>,
    /// Set when a later command found that this had happened and wrote it down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

impl Record {
    /// Whether both tell of one and the same operation, however much of it each knows.
    pub fn is_same_operation(&self, other: &Self) -> bool {
        (self.at, &self.who, &self.release) == (other.at, &other.who, &other.release)
    }
}

/// What was done to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A release.
    Release,
    /// A new deployment of the API under the same functions.
    Redeploy,
    /// A move to an earlier release.
    Rollback,
    /// A release of the bytes that another stage runs.
    Promote,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The stage serves the release.
    Live,
    /// The stage was moved, did not pass its checks, and was moved back.
    SwitchedBack,
    /// The stage could not be moved back.
    Stuck,
    /// The stage was moved, and another command moved it on before this one had come to its end.
    Superseded,
}

/// One immutable set that goes live as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// The source it was built from, where that was a git repository.
    pub git: Option<Git>,
    /// The stage that ran these bytes before, where they were promoted and not built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<StageName>,
    /// The zips.
    pub artifacts: BTreeMap<String, ArtifactRecord>,
    /// The function versions.
    pub functions: BTreeMap<FunctionKey, FunctionRecord>,
    /// The API deployment.
    pub api: ApiRecord,
}

impl Release {
    /// Where a stage points that serves this release. Variables that are neither this release's nor `former`'s
    /// are not deployctl's, and stay as they are in `from`.
    pub fn pointer(&self, from: &Pointer, former: Option<&Release>) -> Pointer {
        let mut variables = from.variables.clone();
        for key in former.into_iter().flat_map(|release| release.functions.keys()) {
            variables.remove(key.as_str());
        }
        variables.insert(RELEASE_VARIABLE.to_owned(), self.version.to_string());
        for (key, function) in &self.functions {
            variables.insert(key.to_string(), function.version.to_string());
        }
        Pointer { deployment_id: self.api.deployment_id.clone(), variables }
    }
}

/// The state of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Git {
    /// The commit.
    pub commit: String,
    /// Whether the work tree differed from it.
    pub dirty: bool,
}

/// A zip in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRecord {
    /// Its key.
    pub key: String,
    /// Its S3 version.
    pub s3_version: Option<String>,
    /// The sha256 of its bytes.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionRecord {
    /// The function.
    pub name: FunctionName,
    /// The artifact it runs.
    pub artifact: String,
    /// The version.
    pub version: FunctionVersion,
    /// Lambda's CodeSha256: base64 of the sha256 of the zip.
    pub code_sha256: String,
    /// A digest of its configuration.
    pub config_sha256: Sha256,
}

/// The API's part of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiRecord {
    /// The REST API.
    pub id: String,
    /// Its API Gateway stage.
    pub stage: String,
    /// The snapshot.
    pub deployment_id: DeploymentId,
    /// The fingerprint of the definition that it froze.
    pub fingerprint: Sha256,
    /// For how many seconds API Gateway keeps the results of its authorizers: the longest time of all, 0 where none
    /// are kept. Records of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_cache_seconds: Option<u64>,
}

/// What a stage served before: enough to go back to it in one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// Where the stage pointed.
    pub pointer: Pointer,
    /// The record that had put it there; `None` before the first release, or when nobody knows.
    pub record: Option<u64>,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Who {
    /// The AWS identity.
    pub arn: String,
    /// The page of the CI run, where there is one.
    pub run_url: Option<String>,
}
