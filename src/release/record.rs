//! A record of the ledger: one operation on a stage, with everything needed to repeat or undo it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calls::Callee;
use super::canary::CanaryRecord;
use super::model::{
    AliasName, DeploymentId, FunctionKey, FunctionName, FunctionVersion, Pointer, Qualifier,
    RELEASE_VARIABLE, StageName, Version,
};
use crate::artifact::{Architecture, Sha256};
use crate::event::StepTime;

/// The schema version that this tool writes, and the newest it reads.
pub(crate) const SCHEMA: u32 = 1;

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Record {
    /// The version of this record's schema.
    pub(crate) schema: u32,
    /// The number of the record: 1 for the first, without gaps.
    pub(crate) number: u64,
    /// The operation that was recorded.
    pub(crate) action: Action,
    /// The outcome of the operation.
    pub(crate) outcome: Outcome,
    /// The release that the stage was to serve.
    pub(crate) release: Release,
    /// The deployment and variables of the stage when it serves that release.
    pub(crate) pointer: Pointer,
    /// What the stage served before.
    pub(crate) before: Before,
    /// The time of the operation.
    pub(crate) at: Timestamp,
    /// The identity that ran the command.
    pub(crate) who: Who,
    /// The version of deployctl.
    pub(crate) tool: String,
    /// The steps of the command and their durations.
    pub(crate) steps: Vec<StepTime>,
    /// The infrastructure below the release. Absent in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) infrastructure: Option<InfrastructureRecord>,
    /// The canary by which the stage was moved; absent if it was moved at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<CanaryRecord>,
    /// Whether a later command wrote this record, because the command itself was interrupted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) recovered: bool,
}

impl Record {
    /// Whether both record the same operation, even if their outcomes or steps differ.
    pub(crate) fn is_same_operation(&self, other: &Self) -> bool {
        (self.at, &self.who, &self.release) == (other.at, &other.who, &other.release)
    }

    /// The number of the record whose release was live before, or of the next older one if that is not known.
    pub(crate) fn preceding(&self) -> Option<u64> {
        let number = self.before.record.unwrap_or(self.number.saturating_sub(1));
        (0 < number && number < self.number).then_some(number)
    }

    /// Whether a rollback from `live` can go to this record: its release went live, and callers get something
    /// else from it.
    pub(crate) fn is_rollback_target(&self, live: &Release) -> bool {
        self.outcome == Outcome::Live && !self.restored(live).is_equivalent(live)
    }

    /// The release that a rollback from `live` to this record makes. A record of an older version does not say
    /// which variables of the stage were the project's. Those of `live` then get the values that the stage
    /// had, and those that it did not have are removed. A function is reached as it is in `live`, too.
    pub(crate) fn restored(&self, live: &Release) -> Release {
        let mut release = self.release.clone();
        if let (None, Some(own)) = (&release.variables, &live.variables) {
            let recorded = |name: &String| Some((name.clone(), self.pointer.variables.get(name)?.clone()));
            release.variables = Some(own.keys().filter_map(recorded).collect());
        }
        for (key, function) in &mut release.functions {
            let now = live.functions.get(key).filter(|now| now.name == function.name);
            let Some(FunctionRecord { alias, latest, .. }) = now else { continue };
            function.alias = function.alias.take().or_else(|| alias.clone());
            function.latest |= latest;
        }
        release
    }
}

/// An operation on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// A release of new artifacts.
    Release,
    /// A new deployment of the API with the same function versions.
    Redeploy,
    /// A return to an earlier release.
    Rollback,
    /// A release of the artifacts of another stage.
    Promote,
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The stage serves the release.
    Live,
    /// The release failed its checks, and the switch was undone.
    SwitchedBack,
    /// The switch could not be undone.
    Stuck,
    /// Another command changed the stage before this one had ended.
    Superseded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::SwitchedBack => "switched back",
            Self::Stuck => "stuck",
            Self::Superseded => "superseded",
        })
    }
}

/// The artifacts, function versions and API deployment that go live together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Release {
    /// The version that was released.
    pub(crate) version: Version,
    /// The git commit of the source; null if it was not in a git repository.
    pub(crate) git: Option<Git>,
    /// The stage from which the artifacts were promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) promoted_from: Option<StageName>,
    /// The zips, by the name of the artifact.
    pub(crate) artifacts: BTreeMap<String, ArtifactRecord>,
    /// The function versions, by the function's key.
    pub(crate) functions: BTreeMap<FunctionKey, FunctionRecord>,
    /// The deployment of the API.
    pub(crate) api: ApiRecord,
    /// The project's own stage variables. Records of older versions do not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variables: Option<BTreeMap<String, String>>,
}

impl Release {
    /// Whether callers get the same from both: the same function versions, API and stage variables.
    pub(crate) fn is_equivalent(&self, other: &Self) -> bool {
        self.api.fingerprint == other.api.fingerprint
            && self.versions().eq(other.versions())
            && self.variables.clone().unwrap_or_default() == other.variables.clone().unwrap_or_default()
    }

    /// Whether the switch does not move everything: some functions are called by an alias, or without a version.
    pub(crate) fn has_more_to_move(&self) -> bool {
        self.functions.values().any(|function| function.alias.is_some() || function.latest)
    }

    /// The names of the stage variables that this release sets, without the one for its version.
    pub(crate) fn variable_names(&self) -> impl Iterator<Item = &str> {
        let own = self.variables.iter().flatten().map(|(name, _)| name.as_str());
        self.functions.keys().map(FunctionKey::as_str).chain(own)
    }

    fn versions(&self) -> impl Iterator<Item = (&FunctionKey, &FunctionName, &FunctionVersion)> {
        self.functions.iter().map(|(key, function)| (key, &function.name, &function.version))
    }

    /// Whether a stage that points to `pointer` serves this release. It may have further variables.
    pub(crate) fn is_served_by(&self, pointer: &Pointer) -> bool {
        pointer.serves(&self.pointer(pointer, None))
    }

    /// The pointer of a stage that serves this release. Variables of `from` that belong neither to this
    /// release nor to `former` are kept.
    pub(crate) fn pointer(&self, from: &Pointer, former: Option<&Release>) -> Pointer {
        let mut variables = from.variables.clone();
        for name in former.into_iter().flat_map(Self::variable_names) {
            variables.remove(name);
        }
        variables.extend(self.variables.clone().unwrap_or_default());
        variables.insert(RELEASE_VARIABLE.to_owned(), self.version.to_string());
        for (key, function) in &self.functions {
            variables.insert(key.to_string(), function.version.to_string());
        }
        Pointer { deployment_id: self.api.deployment_id.clone(), variables }
    }
}

/// The git state of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Git {
    /// The hash of the commit.
    pub(crate) commit: String,
    /// Whether files differed from the commit.
    pub(crate) dirty: bool,
}

impl fmt::Display for Git {
    /// The first 12 digits of the commit, and `+` if files differed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.commit.get(..12).unwrap_or(&self.commit))?;
        f.write_str(if self.dirty { "+" } else { "" })
    }
}

/// A zip in the artifact bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ArtifactRecord {
    /// The S3 key of the zip, or the URI of the container image.
    pub(crate) key: String,
    /// The S3 version id; null if the bucket has no versioning.
    pub(crate) s3_version: Option<String>,
    /// The sha256 of its bytes, or the digest of the container image.
    pub(crate) sha256: Sha256,
    /// Its size in bytes; 0 for a container image.
    pub(crate) size: u64,
    /// The architecture that it is built for. Records of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) architecture: Option<Architecture>,
    /// Whether it is a container image, which is not in the bucket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) image: bool,
}

/// A published version of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FunctionRecord {
    /// The name of the Lambda function.
    pub(crate) name: FunctionName,
    /// The name of the artifact with its code.
    pub(crate) artifact: String,
    /// The published version of the function.
    pub(crate) version: FunctionVersion,
    /// Lambda's CodeSha256: base64 of the sha256 of the zip.
    pub(crate) code_sha256: String,
    /// A digest of its configuration.
    pub(crate) config_sha256: Sha256,
    /// Lambda's ConfigSha256 when it was released. Records of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aws_config_sha256: Option<String>,
    /// The alias that is moved to the version right after the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<AliasName>,
    /// Whether the function is called without a version, so that its code is a part of the release.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) latest: bool,
    /// The provisioned concurrency of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provisioned: Option<NonZeroU16>,
}

/// The API's part of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ApiRecord {
    /// The id of the REST API.
    pub(crate) id: String,
    /// The name of the API Gateway stage.
    pub(crate) stage: String,
    /// The id of the deployment.
    pub(crate) deployment_id: DeploymentId,
    /// The fingerprint of the deployed definition.
    pub(crate) fingerprint: Sha256,
    /// How many seconds API Gateway caches the results of the authorizers: the longest time of all, 0
    /// if none are cached. Absent in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authorizer_cache_seconds: Option<u64>,
    /// Why it is not known whether the snapshot is all of the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unproven: Vec<String>,
    /// Whether every call of a function was checked to name its version by the function's stage variable.
    /// Absent in records of older versions, which did not check.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) versioned: bool,
}

impl<'a> From<&'a FunctionRecord> for Callee<'a> {
    fn from(function: &'a FunctionRecord) -> Self {
        Self { name: &function.name, alias: function.alias.as_ref(), latest: function.latest }
    }
}

/// What the stage served before: enough to restore it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Before {
    /// The deployment and variables of the stage.
    pub(crate) pointer: Pointer,
    /// The number of the record of that release; null before the first release, or if it is not known.
    pub(crate) record: Option<u64>,
    /// What the aliases of functions pointed to, by the function's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) aliases: BTreeMap<FunctionKey, Qualifier>,
    /// The zips of the functions that are called without a version, by the function's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) latest: BTreeMap<FunctionKey, ArtifactRecord>,
}

/// The Terraform layers below a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct InfrastructureRecord {
    /// Whether Terraform planned the layers for this operation. `release --code-only` does not.
    pub(crate) planned: bool,
    /// What each layer was last applied from, by its name.
    pub(crate) layers: BTreeMap<String, AppliedLayer>,
}

/// What a layer was applied from: digests of what Terraform read on the machine, and the state after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AppliedLayer {
    /// The sha256 of the configuration and the files that it refers to.
    pub(crate) files: String,
    /// The sha256 of the variables, without the release's version.
    pub(crate) variables: String,
    /// The sha256 of the dependency lock file; null without one.
    pub(crate) lock_file: Option<String>,
    /// The lineage and serial of the state; null if the layer has none.
    pub(crate) state: Option<String>,
}

impl AppliedLayer {
    /// What differs in `now`, such as "its files differ".
    pub(crate) fn differences(&self, now: &Self) -> Vec<&'static str> {
        let parts = [
            (self.files == now.files, "its files differ"),
            (self.variables == now.variables, "its variables differ"),
            (self.lock_file == now.lock_file, "its lock file differs"),
            (self.state == now.state, "its state was written since"),
        ];
        parts.into_iter().filter(|(is_same, _)| !is_same).map(|(_, difference)| difference).collect()
    }
}

/// The identity that ran a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Who {
    /// The ARN of the AWS identity.
    pub(crate) arn: String,
    /// The URL of the CI run, if there was one.
    pub(crate) run_url: Option<String>,
}
