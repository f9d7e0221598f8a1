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
pub(crate) const SCHEMA: u32 = 1;

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Record {
    /// The form of this record.
    pub(crate) schema: u32,
    /// Its place in the ledger: 1 for the first, without gaps.
    pub(crate) number: u64,
    /// What was done.
    pub(crate) action: Action,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The release that the stage was moved to, or was to be.
    pub(crate) release: Release,
    /// Where the stage points when it serves that release.
    pub(crate) pointer: Pointer,
    /// What the stage served before.
    pub(crate) before: Before,
    /// When it was done.
    pub(crate) at: Timestamp,
    /// Who did it.
    pub(crate) who: Who,
    /// The version of deployctl.
    pub(crate) tool: String,
    /// How long its steps took.
    pub(crate) steps: Vec<StepTime>,
    /// Set when a later command found that this had happened and wrote it down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recovered: bool,
}

impl Record {
    /// Whether both tell of one and the same operation, however much of it each knows.
    pub(crate) fn is_same_operation(&self, other: &Self) -> bool {
        (self.at, &self.who, &self.release) == (other.at, &other.who, &other.release)
    }
}

/// What was done to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
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
pub(crate) enum Outcome {
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
pub(crate) struct Release {
    /// Its version.
    pub(crate) version: Version,
    /// The source it was built from, where that was a git repository.
    pub(crate) git: Option<Git>,
    /// The stage that ran these bytes before, where they were promoted and not built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) promoted_from: Option<StageName>,
    /// The zips.
    pub(crate) artifacts: BTreeMap<String, ArtifactRecord>,
    /// The function versions.
    pub(crate) functions: BTreeMap<FunctionKey, FunctionRecord>,
    /// The API deployment.
    pub(crate) api: ApiRecord,
}

impl Release {
    /// Where a stage points that serves this release. Variables that are neither this release's nor `former`'s
    /// are not deployctl's, and stay as they are in `from`.
    pub(crate) fn pointer(&self, from: &Pointer, former: Option<&Release>) -> Pointer {
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
pub(crate) struct Git {
    /// The commit.
    pub(crate) commit: String,
    /// Whether the work tree differed from it.
    pub(crate) dirty: bool,
}

/// A zip in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ArtifactRecord {
    /// Its key.
    pub(crate) key: String,
    /// Its S3 version.
    pub(crate) s3_version: Option<String>,
    /// The sha256 of its bytes.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FunctionRecord {
    /// The function.
    pub(crate) name: FunctionName,
    /// The artifact it runs.
    pub(crate) artifact: String,
    /// The version.
    pub(crate) version: FunctionVersion,
    /// Lambda's CodeSha256: base64 of the sha256 of the zip.
    pub(crate) code_sha256: String,
    /// A digest of its configuration.
    pub(crate) config_sha256: Sha256,
}

/// The API's part of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ApiRecord {
    /// The REST API.
    pub(crate) id: String,
    /// Its API Gateway stage.
    pub(crate) stage: String,
    /// The snapshot.
    pub(crate) deployment_id: DeploymentId,
    /// The fingerprint of the definition that it froze.
    pub(crate) fingerprint: Sha256,
    /// For how many seconds API Gateway keeps the results of its authorizers: the longest time of all, 0 where none
    /// are kept. Records of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authorizer_cache_seconds: Option<u64>,
}

/// What a stage served before: enough to go back to it in one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Before {
    /// Where the stage pointed.
    pub(crate) pointer: Pointer,
    /// The record that had put it there; `None` before the first release, or when nobody knows.
    pub(crate) record: Option<u64>,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Who {
    /// The AWS identity.
    pub(crate) arn: String,
    /// The page of the CI run, where there is one.
    pub(crate) run_url: Option<String>,
}
