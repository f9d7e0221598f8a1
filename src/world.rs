//! Where the engine meets the world: two ports in a release's own words.
//!
//! [`Store`] is the artifact bucket, [`World`] the functions and the API of one stage. AWS implements both
//! (`aws::s3::Bucket`, `aws::Site`); the tests of the engine implement them in memory and make every call
//! fail before it happens, after it happened, and happen twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::artifact::{Architecture, Sha256};
use crate::aws::failure::Failure;
use crate::release::check::{Answer, Ask, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{DeploymentId, FunctionName, FunctionVersion, Pointer};

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub body: Vec<u8>,
    /// What [`Store::replace`] wants to see again.
    pub etag: String,
    /// The time since it was written, by the store's own clock; `None` where the store does not say.
    pub age: Option<Duration>,
}

/// One version of an object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its S3 version, where the bucket keeps them.
    pub s3_version: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// When it was written, in seconds since 1970.
    #[serde(skip)]
    pub modified: i64,
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is done; the object's new ETag.
    Done(String),
    /// The condition did not hold; nothing was written.
    Refused,
}

/// An artifact in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The S3 version of the object, in a versioned bucket.
    pub s3_version: Option<String>,
    /// Whether the very bytes were there already.
    pub existed: bool,
}

/// Why an upload did not happen.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Another artifact lies under the key (I5).
    #[error("{key} exists with other bytes (sha256 {found}, and {expected} was expected)")]
    OtherBytes {
        /// The key.
        key: String,
        /// What lies there, as far as S3 tells.
        found: String,
        /// What should lie there.
        expected: Sha256,
    },
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(std::path::PathBuf, #[source] std::io::Error),
    /// AWS says no.
    #[error(transparent)]
    Aws(#[from] Failure),
}

/// The artifact bucket.
pub trait Store: Sync {
    /// The bucket's name.
    fn name(&self) -> &str;
    /// Reads an object; `None` where there is none.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Stored>, Failure>> + Send;
    /// Writes an object unless there is one.
    fn create(&self, key: &str, body: &[u8]) -> impl Future<Output = Result<Written, Failure>> + Send;
    /// Writes an object if it is still the one with `etag`.
    fn replace(
        &self,
        key: &str,
        body: &[u8],
        etag: &str,
    ) -> impl Future<Output = Result<Written, Failure>> + Send;
    /// All keys that begin with `prefix`, in their order.
    fn keys(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
    /// All versions of all objects whose keys begin with `prefix`.
    fn objects(&self, prefix: &str) -> impl Future<Output = Result<Vec<Object>, Failure>> + Send;
    /// Deletes versions of objects for good. One that is gone already is no failure.
    fn delete(&self, objects: &[Object]) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Uploads an artifact under a key of its own: the same bytes are success, others an error.
    fn upload(
        &self,
        key: &str,
        file: &Path,
        sha256: &Sha256,
    ) -> impl Future<Output = Result<Uploaded, UploadError>> + Send;
}

/// A function as Lambda shows it: its `$LATEST`, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionState {
    /// Base64 of the sha256 of the zip.
    pub code_sha256: String,
    /// A digest of everything but the code that publishing freezes into a version.
    pub config_sha256: Sha256,
    /// What it runs on.
    pub architecture: Option<Architecture>,
    /// For optimistic concurrency.
    pub revision: String,
    /// Lambda's reason, where the last update failed: the code must be sent again.
    pub failed: Option<String>,
}

/// Code in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Its key.
    pub key: String,
    /// Its S3 version, where the bucket keeps them.
    pub s3_version: Option<String>,
    /// What Lambda must find there.
    pub sha256: Sha256,
}

/// A version that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Lambda's number.
    pub version: FunctionVersion,
    /// Base64 of the sha256 of its zip.
    pub code_sha256: String,
}

/// A stage as API Gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageState {
    /// What it serves.
    pub pointer: Pointer,
    /// The deployment of a canary in progress.
    pub canary: Option<String>,
    /// Whether responses are cached.
    pub cached: bool,
}

/// What a stage remembers of answers, and may go on giving after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caches {
    /// For how many seconds results of authorizers are kept; 0 where there is no authorizer that keeps them.
    pub authorizer_seconds: u64,
    /// Whether responses are cached.
    pub responses: bool,
}

/// A deployment as API Gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Our note on it, if it is ours.
    pub description: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// What a stage of the API uses, its canary included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageUse {
    /// The stage.
    pub name: String,
    /// The deployments it serves.
    pub deployments: Vec<DeploymentId>,
    /// Its variables, and those that its canary overrides.
    pub variables: Vec<(String, String)>,
}

/// A published version of a function, as Lambda keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionState {
    /// Lambda's number.
    pub version: FunctionVersion,
    /// The size of its zip.
    pub bytes: u64,
    /// Whether an alias points to it: Lambda does not delete it then.
    pub aliased: bool,
}

/// The code of a function: base64 of the sha256 of each zip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codes {
    /// That of `$LATEST`.
    pub latest: String,
    /// That of each published version.
    pub versions: BTreeMap<FunctionVersion, String>,
}

/// What was seen of the stage over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It answered.
    Answer(Answer),
    /// It could not be reached.
    Nothing(String),
}

/// The functions and the API of one stage.
pub trait World: Sync {
    /// Reads a function's `$LATEST`, waiting until no update is under way.
    fn function(&self, name: &FunctionName) -> impl Future<Output = Result<FunctionState, Failure>> + Send;
    /// Reads what a published version runs: base64 of the sha256 of its zip; `None` where it is gone.
    fn version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send;
    /// Gives a function new code and publishes it, if the function is still at `revision`.
    fn update_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> impl Future<Output = Result<Published, Failure>> + Send;
    /// Publishes what `$LATEST` is, if it still runs `code_sha256` and, where one is given, is at `revision`.
    fn publish(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> impl Future<Output = Result<Published, Failure>> + Send;
    /// Waits until a version can be invoked; a failed one is an error at once.
    fn wait_active(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Reads the live definition of the API.
    fn definition(&self) -> impl Future<Output = Result<Definition, Failure>> + Send;
    /// Takes a snapshot of the API. It serves nobody until a stage points to it.
    fn create_deployment(
        &self,
        description: &str,
    ) -> impl Future<Output = Result<DeploymentId, Failure>> + Send;
    /// All deployments of the API.
    fn deployments(&self) -> impl Future<Output = Result<Vec<Deployment>, Failure>> + Send;
    /// Reads one deployment; `None` where it is gone.
    fn deployment(
        &self,
        id: &DeploymentId,
    ) -> impl Future<Output = Result<Option<Deployment>, Failure>> + Send;
    /// Reads the stage.
    fn stage(&self) -> impl Future<Output = Result<StageState, Failure>> + Send;
    /// What the stages of the API use, this one among them.
    fn stages(&self) -> impl Future<Output = Result<Vec<StageUse>, Failure>> + Send;
    /// The published versions of a function; `None` where it is gone.
    fn versions(
        &self,
        name: &FunctionName,
    ) -> impl Future<Output = Result<Option<Vec<VersionState>>, Failure>> + Send;
    /// What code the functions have, as far as they are there.
    fn codes(
        &self,
        names: &[FunctionName],
    ) -> impl Future<Output = Result<BTreeMap<FunctionName, Codes>, Failure>> + Send;
    /// Deletes a published version. One that is gone already is no failure.
    fn delete_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Deletes a deployment that no stage serves. One that is gone already is no failure.
    fn delete_deployment(&self, id: &DeploymentId) -> impl Future<Output = Result<(), Failure>> + Send;
    /// The switch: one call that moves the stage from one pointer to another. It is tried once: before another try,
    /// the caller makes sure that it still holds the stage.
    fn switch(&self, from: &Pointer, to: &Pointer) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Forgets what authorizers and the stage's own cache remember, whichever of them there is.
    fn flush_caches(&self, caches: Caches) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Asks the stage over HTTP.
    fn ask(&self, ask: &Ask) -> impl Future<Output = Seen> + Send;
    /// Invokes a published version and waits for its result.
    fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> impl Future<Output = Result<Invoked, Failure>> + Send;
}
