//! Functions, API and artifact bucket as they were read: the input of plans, drift checks and prunes.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::artifact::{Architecture, Sha256};
use crate::release::model::{DeploymentId, FunctionVersion, Pointer, Qualifier};
use crate::release::record::ArtifactRecord;

/// One version of an object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub(crate) struct Object {
    /// The S3 key of the object.
    pub(crate) key: String,
    /// The S3 version id; null if the bucket has no versioning.
    pub(crate) s3_version: Option<String>,
    /// The size in bytes.
    pub(crate) bytes: u64,
    /// When it was written, in seconds since 1970.
    #[serde(skip)]
    pub(crate) modified: i64,
}

/// The `$LATEST` of a function, without an update in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionState {
    /// Base64 of the sha256 of the zip.
    pub(crate) code_sha256: String,
    /// A digest of everything that publishing freezes into a version, except the code.
    pub(crate) config_sha256: Sha256,
    /// Lambda's own hash of the configuration, if it returns one.
    pub(crate) aws_config_sha256: Option<String>,
    pub(crate) architecture: Option<Architecture>,
    pub(crate) revision: String,
    /// Lambda's reason if the last update failed: the code must be sent again.
    pub(crate) failed: Option<String>,
    pub(crate) start: Start,
}

/// What a function starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// `None` for a container image.
    pub(crate) runtime: Option<String>,
    pub(crate) handler: Option<String>,
    pub(crate) has_layers: bool,
    /// Whether its code is a container image. AWS does not change that of an existing function.
    pub(crate) is_image: bool,
    /// `None` if Lambda does not say.
    pub(crate) memory_mb: Option<u32>,
}

/// The provisioned concurrency of a version or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provisioned {
    pub(crate) requested: u16,
    pub(crate) allocation: Allocation,
}

/// Whether provisioned concurrency is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allocation {
    Ready,
    InProgress,
    /// With Lambda's reason.
    Failed(String),
}

/// The architecture of a function, and the one of its new code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArchitectureChange {
    pub(crate) from: Architecture,
    pub(crate) to: Architecture,
}

/// Code in the bucket, or a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) key: String,
    /// Its S3 version, where the bucket keeps them.
    pub(crate) s3_version: Option<String>,
    /// The hash that Lambda must report.
    pub(crate) sha256: Sha256,
    /// Whether it is an image, whose URI is the key.
    pub(crate) image: bool,
    /// The change of the function's architecture, if the code is built for another one.
    pub(crate) architecture: Option<ArchitectureChange>,
}

impl Code {
    /// The code of an artifact, for a function with the architecture `now`.
    pub(crate) fn of(artifact: &ArtifactRecord, now: Option<Architecture>) -> Self {
        let change = now.zip(artifact.architecture).filter(|(from, to)| from != to);
        Self {
            key: artifact.key.clone(),
            s3_version: artifact.s3_version.clone(),
            sha256: artifact.sha256,
            image: artifact.image,
            architecture: change.map(|(from, to)| ArchitectureChange { from, to }),
        }
    }

    /// The CodeSha256 that Lambda must report. Of an image, it is the digest as it is written in the URI.
    pub(crate) fn code_sha256(&self) -> String {
        if self.image { self.sha256.hex() } else { self.sha256.base64() }
    }
}

/// An alias of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasState {
    pub(crate) target: AliasTarget,
    pub(crate) revision: String,
}

/// What an alias points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasTarget {
    pub(crate) version: Qualifier,
    /// A second version that gets a part of the requests, in percent.
    pub(crate) second: Option<(Qualifier, u8)>,
}

impl AliasTarget {
    pub(crate) fn only(version: Qualifier) -> Self {
        Self { version, second: None }
    }
}

/// A version that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) version: FunctionVersion,
    /// Base64 of the sha256 of its zip.
    pub(crate) code_sha256: String,
    pub(crate) activity: Activity,
}

/// A published version as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedState {
    /// Base64 of the sha256 of its zip.
    pub(crate) code_sha256: String,
    /// A digest of its configuration.
    pub(crate) config_sha256: Sha256,
    pub(crate) activity: Activity,
    /// What two versions must have in common to share an alias: the role and the dead-letter target.
    pub(crate) shared: (String, Option<String>),
}

/// Whether a published version can be invoked. The texts are Lambda's state and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It can be invoked.
    Active,
    /// Lambda reclaimed its resources while it was idle. The next invocation fails, and creates them again.
    Inactive(String),
    /// It is not active yet.
    Pending(String),
    /// It does not become active by itself.
    Failed(String),
}

/// A stage of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageState {
    pub(crate) pointer: Pointer,
    pub(crate) canary: Option<StageCanary>,
    /// Whether responses are cached.
    pub(crate) cached: bool,
}

/// A canary of a stage: what a part of the requests gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageCanary {
    pub(crate) deployment_id: String,
    pub(crate) percent: Percent,
    /// The stage variables that it overrides.
    pub(crate) variables: BTreeMap<String, String>,
}

/// A share of the requests, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(u32);

impl Percent {
    pub(crate) fn of(percent: f64) -> Self {
        let hundredths = (percent.clamp(0.0, 100.0) * 100.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 10,000")]
        Self(hundredths as u32)
    }

    pub(crate) fn whole(percent: u8) -> Self {
        Self(u32::from(percent) * 100)
    }

    pub(crate) fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.as_f64())
    }
}

/// The caches of a stage, which may hold old answers after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caches {
    /// How many seconds results of authorizers are cached; 0 if none are.
    pub(crate) authorizer_seconds: u64,
    /// Whether responses are cached.
    pub(crate) responses: bool,
}

/// A deployment of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) id: DeploymentId,
    /// A `DeploymentDescription`, if deployctl created it.
    pub(crate) description: String,
    /// When it was created, in seconds since 1970.
    pub(crate) created: i64,
}

/// The deployments and variables of a stage, its canary included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageUse {
    pub(crate) name: String,
    /// A `PreviewDescription`, if it is a preview.
    pub(crate) description: String,
    /// The deployments it serves.
    pub(crate) deployments: Vec<DeploymentId>,
    /// Its variables, and those that its canary overrides.
    pub(crate) variables: Vec<(String, String)>,
}

/// A published version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionState {
    pub(crate) version: FunctionVersion,
    /// The size of its zip.
    pub(crate) bytes: u64,
    /// Whether an alias points to it: then Lambda does not delete it.
    pub(crate) aliased: bool,
}

/// The code of a function: base64 of the sha256 of each zip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) latest: String,
    /// The code of each published version.
    pub(crate) versions: BTreeMap<FunctionVersion, String>,
}
