//! The two ports of the engine, in the terms of a release.
//!
//! [`Store`] is the artifact bucket, [`StagePort`] the functions and the API of one stage. AWS implements
//! both (`aws::s3::Bucket`, `aws::AwsStage`). The tests of the engine implement them in memory, and make
//! every call fail before its effect, fail after it, and take effect twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::artifact::Sha256;
use crate::engine::failure::Failure;
use crate::release::calls::Location;
use crate::release::check::{Answer, HttpRequest, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{AliasName, DeploymentId, FunctionName, FunctionVersion};
use crate::release::monitor::{AlarmState, Compared, FunctionReading};
use crate::release::patch::Operation;
use crate::release::state::{
    AliasState, AliasTarget, Caches, Code, Codes, Deployment, FunctionState, Object, Provisioned, Published,
    PublishedState, StageState, StageUse, VersionState,
};

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) body: Vec<u8>,
    /// The condition of [`Store::replace`].
    pub(crate) etag: String,
    /// The time since it was written, by the store's own clock; `None` where the store does not return it.
    pub(crate) age: Option<Duration>,
}

/// The result of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Written; the object's new ETag.
    Done(String),
    /// The condition did not hold; nothing was written.
    Refused,
}

/// An artifact in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uploaded {
    /// The S3 version of the object, in a versioned bucket.
    pub(crate) s3_version: Option<String>,
    /// Whether the same bytes were stored before.
    pub(crate) existed: bool,
}

/// Why an upload did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("{key} has other bytes (sha256 stored: {stored}, expected: {expected})")]
    OtherBytes {
        key: String,
        /// The ETag of the stored object.
        etag: String,
        /// The sha256, or S3's checksum if that is not a sha256.
        stored: String,
        expected: Sha256,
    },
    #[error("failed to read {0}")]
    File(std::path::PathBuf, #[source] std::io::Error),
    #[error(transparent)]
    Aws(#[from] Failure),
}

pub(crate) trait Store: Sync {
    fn name(&self) -> &str;
    /// Reads an object; `None` if the key is free.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Stored>, Failure>> + Send;
    /// Writes an object if the key is free.
    fn create(&self, key: &str, body: &[u8]) -> impl Future<Output = Result<Written, Failure>> + Send;
    /// Writes an object if the stored one still has `etag`.
    fn replace(
        &self,
        key: &str,
        body: &[u8],
        etag: &str,
    ) -> impl Future<Output = Result<Written, Failure>> + Send;
    /// All keys that begin with `prefix`, sorted.
    fn keys(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
    /// All versions of all objects whose keys begin with `prefix`.
    fn objects(&self, prefix: &str) -> impl Future<Output = Result<Vec<Object>, Failure>> + Send;
    /// Deletes versions of objects permanently. One that does not exist is no failure.
    fn delete(&self, objects: &[Object]) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Uploads an artifact. If the key exists, the same bytes are a success, and others an error, unless the
    /// object has the ETag `replaced`.
    fn upload(
        &self,
        key: &str,
        file: &Path,
        sha256: &Sha256,
        replaced: Option<&str>,
    ) -> impl Future<Output = Result<Uploaded, UploadError>> + Send;
}

/// The result of an HTTP request to the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Answer(Answer),
    Unreachable(String),
}

/// The result of an invocation, and what the function logged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tried {
    pub(crate) invoked: Invoked,
    /// The last lines.
    pub(crate) log: Vec<String>,
}

/// The functions and the API of one stage.
pub(crate) trait StagePort: Sync {
    fn location(&self) -> Location;
    /// Reads a function's `$LATEST`, and waits until no update is in progress.
    fn function(&self, name: &FunctionName) -> impl Future<Output = Result<FunctionState, Failure>> + Send;
    /// Reads a published version; `None` if it does not exist.
    fn version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<Option<PublishedState>, Failure>> + Send;
    /// Updates and publishes a function's code, if the function is still at `revision`.
    fn update_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> impl Future<Output = Result<Published, Failure>> + Send;
    /// Publishes `$LATEST`, if it still has the code `code_sha256` and, where one is given, is at `revision`.
    fn publish(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> impl Future<Output = Result<Published, Failure>> + Send;
    /// Sends code to `$LATEST` without publishing it, if the function is still at `revision`.
    fn set_latest(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Reads an alias; `None` if it does not exist.
    fn alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
    ) -> impl Future<Output = Result<Option<AliasState>, Failure>> + Send;
    /// Points an alias to `target`, if it is still at `revision`. It is made once: before another attempt, the
    /// caller must read the alias.
    fn move_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        target: &AliasTarget,
        revision: &str,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Reads the provisioned concurrency of a version or an alias; `None` if it has none.
    fn provisioned(
        &self,
        name: &FunctionName,
        qualifier: &str,
    ) -> impl Future<Output = Result<Option<Provisioned>, Failure>> + Send;
    /// Gives a version provisioned concurrency. It is allocated later.
    fn provision(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        count: u16,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Deletes the provisioned concurrency of a version. If it has none, that is no failure.
    fn unprovision(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Invokes an inactive version once, so that Lambda activates it. The invocation itself usually fails.
    fn wake(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Reads the live definition of the API.
    fn definition(&self) -> impl Future<Output = Result<Definition, Failure>> + Send;
    /// Reads what the stage serves: the methods and authorizers of its deployment, and what they call.
    fn deployed(&self) -> impl Future<Output = Result<Definition, Failure>> + Send;
    /// Creates a deployment of the API. It gets no requests until a stage points to it.
    fn create_deployment(
        &self,
        description: &str,
    ) -> impl Future<Output = Result<DeploymentId, Failure>> + Send;
    /// All deployments of the API.
    fn deployments(&self) -> impl Future<Output = Result<Vec<Deployment>, Failure>> + Send;
    /// Reads one deployment; `None` if it does not exist.
    fn deployment(
        &self,
        id: &DeploymentId,
    ) -> impl Future<Output = Result<Option<Deployment>, Failure>> + Send;
    fn stage(&self) -> impl Future<Output = Result<StageState, Failure>> + Send;
    /// What each stage of the API uses, this one included.
    fn stages(&self) -> impl Future<Output = Result<Vec<StageUse>, Failure>> + Send;
    /// The published versions of a function; `None` if it does not exist.
    fn versions(
        &self,
        name: &FunctionName,
    ) -> impl Future<Output = Result<Option<Vec<VersionState>>, Failure>> + Send;
    /// The code of those of the functions that exist.
    fn codes(
        &self,
        names: &[FunctionName],
    ) -> impl Future<Output = Result<BTreeMap<FunctionName, Codes>, Failure>> + Send;
    /// Deletes a published version. One that does not exist is no failure.
    fn delete_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Deletes a deployment that no stage serves. One that does not exist is no failure.
    fn delete_deployment(&self, id: &DeploymentId) -> impl Future<Output = Result<(), Failure>> + Send;
    /// One call that moves the stage or changes its canary. It is made once: before another attempt, the caller
    /// must confirm its lease.
    fn update_stage(&self, operations: &[Operation<'_>]) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Flushes the authorizers' cache and the stage's response cache, those of them that exist.
    fn flush_caches(&self, caches: Caches) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Sends an HTTP request to the stage.
    fn send(&self, http_request: &HttpRequest) -> impl Future<Output = ProbeResult> + Send;
    /// Invokes a published version and waits for its result.
    fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> impl Future<Output = Result<Invoked, Failure>> + Send;
    /// The same, but a version that may have run is not invoked again. `limit` is how long it may take; `None`: as
    /// long as API Gateway waits.
    fn invoke_once(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Tried, Failure>> + Send;
    /// The last lines that a version has logged since then. They may arrive some seconds late.
    fn log(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
    /// The states of CloudWatch alarms. One that does not exist is `Unreadable`.
    fn alarms(
        &self,
        names: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, AlarmState>, Failure>> + Send;
    /// The metrics of both versions of each function from `since`, rounded down to a minute, to `until`. They may
    /// arrive minutes late.
    fn metrics(
        &self,
        functions: &[Compared],
        since: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Vec<FunctionReading>, Failure>> + Send;
}
