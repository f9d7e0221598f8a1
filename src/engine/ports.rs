//! What the engine needs of AWS, as two traits.
//!
//! [`Store`] is the artifact bucket, [`StagePort`] the functions and the API of one stage. AWS implements both
//! (`aws::s3::Bucket`, `aws::AwsStage`); the tests of the engine implement them in memory and make every call
//! fail before it happens, after it happened, and happen twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::artifact::Sha256;
use crate::engine::failure::Failure;
use crate::release::check::{Answer, HttpRequest, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{DeploymentId, FunctionName, FunctionVersion, Pointer};
use crate::release::state::{
    Caches, Code, Codes, Deployment, FunctionState, Object, Published, StageState, StageUse, VersionState,
};

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) body: Vec<u8>,
    /// What [`Store::replace`] wants to see again.
    pub(crate) etag: String,
    /// The time since it was written, by the store's own clock; `None` where the store does not say.
    pub(crate) age: Option<Duration>,
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is done; the object's new ETag.
    Done(String),
    /// The condition did not hold; nothing was written.
    Refused,
}

/// An artifact in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uploaded {
    /// The S3 version of the object, in a versioned bucket.
    pub(crate) s3_version: Option<String>,
    /// Whether the very bytes were there already.
    pub(crate) existed: bool,
}

/// Why an upload did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// Another artifact lies under the key.
    #[error("{key} exists with other bytes (sha256 {found}, and {expected} was expected)")]
    OtherBytes {
        key: String,
        /// What lies there, as far as S3 tells.
        found: String,
        /// What should lie there.
        expected: Sha256,
    },
    /// The file cannot be read.
    #[error("failed to read {0}")]
    File(std::path::PathBuf, #[source] std::io::Error),
    #[error(transparent)]
    Aws(#[from] Failure),
}

pub(crate) trait Store: Sync {
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

/// What was seen of the stage over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Answer(Answer),
    /// It could not be reached.
    Unreachable(String),
}

/// The functions and the API of one stage.
pub(crate) trait StagePort: Sync {
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
    /// Creates a deployment of the API. It has no callers until a stage points to it.
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
    fn send(&self, http_request: &HttpRequest) -> impl Future<Output = ProbeResult> + Send;
    /// Invokes a published version and waits for its result.
    fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> impl Future<Output = Result<Invoked, Failure>> + Send;
}
