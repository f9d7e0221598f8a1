//! The JSON documents of the commands that do not move a stage. The others share [`result`].

pub(crate) mod conformance;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod init;
pub(crate) mod result;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::documents::conformance::ConformanceBody;
use crate::documents::fleet::{FleetPlanBody, FleetRollbackBody, FleetRunBody, FleetStatusBody};
use crate::documents::result::{ErrorDocument, Freshness, SCHEMA};
use crate::release::calls::{OtherCall, UnversionedCall};
use crate::release::diff::Change;
use crate::release::model::{DeploymentId, Pointer, Version};
use crate::release::prune::OldVersion;
use crate::release::record::Record;
use crate::release::state::Object;
use crate::terraform;

/// A document of one command.
pub(crate) trait Body: Serialize + JsonSchema + Sized {
    /// The command, as the document names it.
    const COMMAND: &'static str;

    /// The whole document as JSON.
    fn document(self) -> Value {
        // These types have string keys only, so they cannot fail to be JSON.
        serde_json::to_value(self.whole()).unwrap_or_default()
    }

    /// The whole document.
    fn whole(self) -> Whole<Self> {
        Whole { schema: SCHEMA, command: Self::COMMAND, body: self }
    }
}

/// A document with what every document begins with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Whole<T> {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command that wrote this document.
    pub(crate) command: &'static str,
    #[serde(flatten)]
    // A doc comment would become the description of each document.
    pub(crate) body: T,
}

macro_rules! document {
    ($body:ident, $whole:ident, $command:literal) => {
        impl Body for $body {
            const COMMAND: &'static str = $command;
        }

        #[doc = concat!("The whole document of `deployctl ", $command, "`.")]
        pub(crate) type $whole = Whole<$body>;
    };
}

document!(PlanBody, Plan, "plan");
document!(HistoryBody, History, "history");
document!(DiffBody, Diff, "diff");
document!(PruneBody, Prune, "prune");
document!(PreviewUpBody, PreviewUp, "preview up");
document!(PreviewListBody, PreviewList, "preview list");
document!(PreviewDownBody, PreviewDown, "preview down");
document!(BootstrapBody, Bootstrap, "bootstrap");
document!(BuildBody, Build, "build");
document!(UnlockBody, Unlock, "unlock");
document!(DestroyBody, Destroy, "destroy");
document!(DevBody, Dev, "dev");
document!(LocalUpBody, LocalUp, "local up");
document!(LocalDownBody, LocalDown, "local down");
document!(LocalResetBody, LocalReset, "local reset");
document!(LocalStatusBody, LocalStatus, "local status");
document!(UrlBody, Url, "url");
document!(ValidateBody, Validate, "validate");
document!(ExplainedBody, Explained, "explain");
document!(SchemasBody, Schemas, "schema");
document!(ManBody, Man, "man");
document!(InvokeBody, Invoke, "invoke");
document!(ConformanceBody, ConformanceDocument, "conformance");
document!(FleetPlanBody, FleetPlan, "fleet plan");
document!(FleetRunBody, FleetRun, "fleet run");
document!(FleetStatusBody, FleetStatus, "fleet status");
document!(FleetRollbackBody, FleetRollback, "fleet rollback");

/// The zips that a build created.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuildBody {
    /// The zips, by the name of the artifact.
    pub(crate) artifacts: BTreeMap<String, BuiltZip>,
}

/// One zip that was built.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuiltZip {
    /// The path of the zip file.
    pub(crate) path: std::path::PathBuf,
    /// The SHA-256 of the file, in hex.
    pub(crate) sha256: String,
    /// The size of the file in bytes.
    pub(crate) size: u64,
}

/// What a release would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlanBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The version that is planned; `unreleased` if none is given.
    pub(crate) version: String,
    /// Whether a release would change anything.
    pub(crate) changes: bool,
    /// The Terraform plans, in the order of the layers' names.
    pub(crate) layers: Vec<PlannedLayer>,
    /// What a release would do to each function; null before the first release.
    pub(crate) functions: Option<BTreeMap<String, PlannedWork>>,
    /// The functions whose architecture would change.
    pub(crate) architectures: BTreeMap<String, PlannedArchitecture>,
    /// The project's own stage variables that would change.
    pub(crate) variables: BTreeMap<String, Change<String>>,
    /// What would not be moved in one call with the rest, one line each.
    pub(crate) not_atomic: Vec<String>,
    /// Whether the API has changed; null before the first release.
    pub(crate) api: Option<PlannedApi>,
    /// The addresses of the resources that a release destroys or replaces only with consent.
    pub(crate) to_confirm: Vec<String>,
    /// The digest of what a release would do, for `release --approved-plan`.
    pub(crate) digest: String,
}

/// What Terraform would do in a layer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PlannedLayer {
    /// The infrastructure matches the layer's configuration.
    NoChanges {
        /// The name of the layer in deployctl.toml.
        layer: String,
        /// What Terraform warned of, failed `check` blocks included.
        warnings: Vec<PlannedWarning>,
    },
    /// An apply would change the infrastructure.
    Changes {
        /// The name of the layer in deployctl.toml.
        layer: String,
        /// The changes that Terraform has planned.
        plan: terraform::plan::Plan,
        /// What Terraform warned of, failed `check` blocks included.
        warnings: Vec<PlannedWarning>,
    },
    /// It cannot be planned yet: it reads outputs of layers that were never applied, or that a release changes.
    NotYet {
        /// The name of the layer in deployctl.toml.
        layer: String,
        /// Those layers.
        needs: Vec<String>,
    },
}

/// A warning of Terraform.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlannedWarning {
    /// The problem in a few words.
    pub(crate) summary: String,
    /// The details; may be empty.
    pub(crate) detail: String,
    /// The address of the resource, if the warning is about one.
    pub(crate) address: Option<String>,
    /// The file, relative to the layer's folder.
    pub(crate) file: Option<String>,
    /// The line in the file, from 1.
    pub(crate) line: Option<u64>,
}

/// What a release would do to a function.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlannedWork {
    /// Its code is updated, and published as a new version.
    Update,
    /// Its current code and configuration are published as a new version.
    Publish,
    /// The live version of the function stays.
    Keep,
}

/// The architecture of a function.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlannedArchitecture {
    /// The present one.
    pub(crate) from: String,
    /// The one of the new code.
    pub(crate) to: String,
}

/// Whether the stage serves the API as it is defined now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlannedApi {
    /// Whether the stage serves the current definition.
    pub(crate) state: Freshness,
    /// The changes since the deployment was created, one line each.
    pub(crate) changes: Vec<String>,
    /// Why the state is unknown; empty where deployctl did not make the deployment.
    pub(crate) reasons: Vec<String>,
    /// The calls that a release refuses, unless the planned changes of Terraform correct them.
    pub(crate) unversioned: Vec<UnversionedCall>,
    /// The calls that do not belong to a release.
    pub(crate) others: Vec<OtherCall>,
}

/// The ledger of a stage, newest record first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The records, newest first.
    pub(crate) records: Vec<Record>,
    /// The numbers of the records whose releases were pruned and cannot be restored.
    pub(crate) pruned: BTreeSet<u64>,
    /// What of the ledger is missing or cannot be read, one message each.
    pub(crate) problems: Vec<String>,
    /// With `--cli`: how to move the stage without deployctl; otherwise null.
    pub(crate) cli: Option<CliBody>,
}

/// How to move a stage to a release without deployctl.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CliBody {
    /// The number of the record that the stage is moved to.
    pub(crate) record: u64,
    /// The version of its release.
    pub(crate) version: Version,
    /// What the stage serves now. The commands are right only while it does.
    pub(crate) from: Pointer,
    /// The commands of the AWS CLI, in the order in which they must run.
    pub(crate) commands: Vec<String>,
    /// What a caller must know before running them.
    pub(crate) warnings: Vec<String>,
}

/// The comparison of two releases.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiffBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    #[serde(flatten)]
    // A doc comment would become the description of each document.
    pub(crate) diff: crate::release::diff::Diff,
}

/// The unreferenced versions, deployments and objects that were deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PruneBody {
    /// Whether there was something to delete.
    pub(crate) outcome: Pruned,
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The versions of the releases that can still be restored, newest first.
    pub(crate) kept: Vec<Version>,
    /// The deployments, versions and objects that were deleted.
    pub(crate) deleted: Deleted,
    /// The storage that was freed.
    pub(crate) freed: Freed,
    /// The account's code storage; null if nothing was deleted, or if the caller may not read it.
    pub(crate) account: Option<CodeAccount>,
}

/// The outcome of `prune`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pruned {
    /// Something was deleted.
    Pruned,
    /// There was nothing to delete.
    Unchanged,
}

/// What a prune deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deleted {
    /// The ids of the API deployments.
    pub(crate) deployments: Vec<DeploymentId>,
    /// The versions of each function.
    pub(crate) versions: Vec<OldVersion>,
    /// The zips and stored API definitions.
    pub(crate) objects: Vec<Object>,
}

/// The storage that a prune freed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Freed {
    /// Bytes of Lambda's code storage.
    pub(crate) lambda_bytes: u64,
    /// Bytes of the artifact bucket.
    pub(crate) bucket_bytes: u64,
}

/// Lambda's code storage of the account in the region.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CodeAccount {
    /// The quota in bytes.
    pub(crate) limit_bytes: i64,
    /// The bytes in use before the prune.
    pub(crate) before_bytes: i64,
    /// The bytes in use now. Lambda may count deletions late.
    pub(crate) after_bytes: i64,
}

/// A preview that is up.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PreviewUpBody {
    /// Whether the preview was created or changed.
    pub(crate) outcome: Upped,
    /// The stage in deployctl.toml that it is a preview of.
    pub(crate) stage: String,
    /// The name of the preview.
    pub(crate) name: String,
    /// The URL of the preview.
    pub(crate) url: String,
    /// The version that its functions report.
    pub(crate) version: Version,
    /// When it expires.
    pub(crate) expires: jiff::Timestamp,
    /// The keys of the functions that got a new version. The others run a version that exists.
    pub(crate) published: BTreeSet<String>,
    /// How it differs from what its stage serves.
    pub(crate) diff: crate::release::diff::Diff,
}

/// The outcome of `preview up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Upped {
    /// The preview is new.
    Created,
    /// The preview existed, and serves the new code now.
    Updated,
}

/// The previews of a stage.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PreviewListBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// Its previews, by name.
    pub(crate) previews: Vec<ListedPreview>,
}

/// A preview and its URL.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListedPreview {
    /// The URL of the preview.
    pub(crate) url: String,
    /// Whether the next `preview` command closes it.
    pub(crate) expired: bool,
    #[serde(flatten)]
    // A doc comment would become the description of each document.
    pub(crate) preview: crate::release::preview::Preview,
}

/// The previews that were closed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PreviewDownBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The names of the previews; empty if there was nothing to close.
    pub(crate) closed: Vec<String>,
}

/// The bucket of the Terraform state.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BootstrapBody {
    /// The name of the bucket.
    pub(crate) bucket: String,
    /// Whether it was created now; false if it existed.
    pub(crate) made: bool,
}

/// The result of `unlock`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnlockBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// Whether another command held the lease; false if it was free.
    pub(crate) freed: bool,
}

/// The result of `destroy`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DestroyBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The outcome, always `destroyed`.
    pub(crate) outcome: Destroyed,
}

/// The outcome of `destroy`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destroyed {
    /// All layers are destroyed.
    Destroyed,
}

/// What `dev` serves after a change: one document a line.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DevBody {
    /// The URL of the stage.
    pub(crate) url: String,
    /// The functions that have a new version.
    pub(crate) functions: Vec<String>,
    /// Whether the API was deployed.
    pub(crate) deployed: bool,
    /// How long the update took, with the build.
    pub(crate) seconds: f64,
}

/// The result of `local up`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalUpBody {
    /// The URL of the local AWS emulator.
    pub(crate) endpoint: String,
    /// The time of the snapshot that it was started from; null if it was started empty.
    pub(crate) snapshot: Option<String>,
}

/// Whether the local stage runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalStatusBody {
    /// Whether the local stage runs.
    pub(crate) running: bool,
    /// The URL of the local AWS emulator; null if it does not run.
    pub(crate) endpoint: Option<String>,
}

/// The URL of a stage.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UrlBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The URL of the stage.
    pub(crate) url: String,
}

/// What `validate` found: errors end the command instead.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValidateBody {
    /// The warnings of Terraform, by layer.
    pub(crate) layers: BTreeMap<String, Vec<PlannedWarning>>,
}

/// The result of `local down`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalDownBody {
    /// Whether a local stage was running and is stopped now.
    pub(crate) stopped: bool,
}

/// The result of `local reset`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalResetBody {
    /// Whether a local stage was running and is stopped now.
    pub(crate) stopped: bool,
    /// Whether it held something, which is deleted now.
    pub(crate) deleted: bool,
}

/// The result of `explain`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExplainedBody {
    /// The requested exit codes, or all.
    pub(crate) exit_codes: Vec<ExplainedCode>,
    /// The requested errors, or all.
    pub(crate) errors: Vec<ExplainedError>,
}

/// An exit code and its explanation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ExplainedCode {
    /// The exit code of the process.
    pub(crate) exit_code: u8,
    /// The meaning of the exit code.
    pub(crate) meaning: String,
    /// What the stage serves afterwards.
    pub(crate) live: String,
    /// What the user should do next.
    pub(crate) next: String,
}

/// An error and its explanation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ExplainedError {
    /// The stable error id, such as `lease.held`.
    pub(crate) id: String,
    /// The exit codes that this error can end with.
    pub(crate) exit_codes: Vec<u8>,
    /// The meaning of the error.
    pub(crate) meaning: String,
    /// What the stage serves afterwards.
    pub(crate) live: String,
    /// What the user should do next.
    pub(crate) next: String,
}

/// The result of `schema` without a name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemasBody {
    /// All schemas that can be printed.
    pub(crate) schemas: Vec<SchemaName>,
}

/// A schema and the commands that use it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemaName {
    /// The name of the schema.
    pub(crate) name: &'static str,
    /// What the schema describes.
    pub(crate) about: &'static str,
    /// The commands whose documents follow this schema.
    pub(crate) commands: Vec<&'static str>,
}

/// The result of `man`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ManBody {
    /// The folder of the man pages.
    pub(crate) dir: String,
    /// The names of the files.
    pub(crate) pages: Vec<String>,
}

/// The result of `invoke`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InvokeBody {
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The key of the function in the contract.
    pub(crate) function: String,
    /// The name of the Lambda function.
    pub(crate) name: String,
    /// The version that was invoked.
    pub(crate) version: String,
    /// The release that the version belongs to; null if the stage does not name one.
    pub(crate) release: Option<String>,
    /// Lambda's FunctionError, such as `Unhandled`; null if the function succeeded.
    pub(crate) function_error: Option<String>,
    /// The response payload of the function.
    pub(crate) result: Value,
    /// The last lines of the log, with `--log-tail`.
    pub(crate) log_tail: Option<String>,
}

/// A line of a function's log: `logs` prints one such document on each line.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogLine {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command that wrote this document.
    pub(crate) command: &'static str,
    /// The stage in deployctl.toml, such as `prod`.
    pub(crate) stage: String,
    /// The time at which it was written.
    pub(crate) at: jiff::Timestamp,
    /// The key of the function in the contract.
    pub(crate) function: String,
    /// The version that wrote it, if the name of the log stream contains it.
    pub(crate) version: Option<String>,
    /// The name of the CloudWatch log stream.
    pub(crate) stream: String,
    /// The text of the line.
    pub(crate) message: String,
}

/// The document of a command that failed and has no other one, or whose arguments are invalid.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Failure {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command; null if the arguments do not name one.
    pub(crate) command: Option<&'static str>,
    /// The outcome, always `failed`.
    pub(crate) outcome: Failed,
    /// The error that ended the command.
    pub(crate) error: ErrorDocument,
}

/// The outcome of a failed command.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failed {
    /// The command has failed.
    Failed,
}

impl Failure {
    /// The failure of `command`.
    pub(crate) fn of(command: Option<&'static str>, error: ErrorDocument) -> Value {
        let failure = Self { schema: SCHEMA, command, outcome: Failed::Failed, error };
        serde_json::to_value(&failure).unwrap_or_default()
    }
}
