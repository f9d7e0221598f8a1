//! Functions, API and artifact bucket as they were read: what a plan, a check for drift and a prune are made from.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::artifact::{Architecture, Sha256};
use crate::release::model::{DeploymentId, FunctionVersion, Pointer};

/// One version of an object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub(crate) struct Object {
    /// Its key.
    pub(crate) key: String,
    /// Its S3 version, where the bucket keeps them.
    pub(crate) s3_version: Option<String>,
    /// Its size.
    pub(crate) bytes: u64,
    /// When it was written, in seconds since 1970.
    #[serde(skip)]
    pub(crate) modified: i64,
}

/// A function as Lambda shows it: its `$LATEST`, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionState {
    /// Base64 of the sha256 of the zip.
    pub(crate) code_sha256: String,
    /// A digest of everything but the code that publishing freezes into a version.
    pub(crate) config_sha256: Sha256,
    /// What it runs on.
    pub(crate) architecture: Option<Architecture>,
    pub(crate) revision: String,
    /// Lambda's reason, where the last update failed: the code must be sent again.
    pub(crate) failed: Option<String>,
}

/// Code in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) key: String,
    /// Its S3 version, where the bucket keeps them.
    pub(crate) s3_version: Option<String>,
    /// What Lambda must find there.
    pub(crate) sha256: Sha256,
}

/// A version that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) version: FunctionVersion,
    /// Base64 of the sha256 of its zip.
    pub(crate) code_sha256: String,
}

/// A stage as API Gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageState {
    pub(crate) pointer: Pointer,
    /// The deployment of a canary in progress.
    pub(crate) canary: Option<String>,
    /// Whether responses are cached.
    pub(crate) cached: bool,
}

/// What a stage remembers of answers, and may go on giving after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caches {
    /// For how many seconds results of authorizers are kept; 0 where there is no authorizer that keeps them.
    pub(crate) authorizer_seconds: u64,
    /// Whether responses are cached.
    pub(crate) responses: bool,
}

/// A deployment as API Gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) id: DeploymentId,
    /// Our note on it, if it is ours.
    pub(crate) description: String,
    /// When it was made, in seconds since 1970.
    pub(crate) created: i64,
}

/// What a stage of the API uses, its canary included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageUse {
    pub(crate) name: String,
    /// The deployments it serves.
    pub(crate) deployments: Vec<DeploymentId>,
    /// Its variables, and those that its canary overrides.
    pub(crate) variables: Vec<(String, String)>,
}

/// A published version of a function, as Lambda keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionState {
    pub(crate) version: FunctionVersion,
    /// The size of its zip.
    pub(crate) bytes: u64,
    /// Whether an alias points to it: Lambda does not delete it then.
    pub(crate) aliased: bool,
}

/// The code of a function: base64 of the sha256 of each zip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) latest: String,
    /// That of each published version.
    pub(crate) versions: BTreeMap<FunctionVersion, String>,
}
