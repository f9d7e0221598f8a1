//! The JSON documents of the commands that do not move a stage. The others share [`result`].

pub(crate) mod doctor;
pub(crate) mod init;
pub(crate) mod result;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::documents::result::{ErrorDocument, Freshness, SCHEMA};
use crate::release::model::{DeploymentId, Version};
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
        let whole = Whole { schema: SCHEMA, command: Self::COMMAND, body: self };
        // These types have string keys only, so they cannot fail to be JSON.
        serde_json::to_value(&whole).unwrap_or_default()
    }
}

/// A document with what every document begins with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Whole<T> {
    /// The form of this document.
    pub(crate) schema: u32,
    /// The command.
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
document!(BootstrapBody, Bootstrap, "bootstrap");
document!(BuildBody, Build, "build");
document!(UnlockBody, Unlock, "unlock");
document!(DestroyBody, Destroy, "destroy");
document!(LocalUpBody, LocalUp, "local up");
document!(LocalDownBody, LocalDown, "local down");
document!(ExplainedBody, Explained, "explain");
document!(SchemasBody, Schemas, "schema");
document!(ManBody, Man, "man");
document!(InvokeBody, Invoke, "invoke");

/// Zips that were made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuildBody {
    /// By the name of the artifact.
    pub(crate) artifacts: BTreeMap<String, BuiltZip>,
}

/// A zip.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuiltZip {
    /// Where it is.
    pub(crate) path: std::path::PathBuf,
    /// Its SHA-256, in hex.
    pub(crate) sha256: String,
    /// Its bytes.
    pub(crate) size: u64,
}

/// What a release would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlanBody {
    /// The stage.
    pub(crate) stage: String,
    /// The version that was planned for; `unreleased` if none is named and none is live.
    pub(crate) version: String,
    /// Whether a release would change anything.
    pub(crate) changes: bool,
    /// Terraform's part, in the order of the layers' names.
    pub(crate) layers: Vec<PlannedLayer>,
    /// What would happen to each function; null before the first release.
    pub(crate) functions: Option<BTreeMap<String, PlannedWork>>,
    /// The API; null before the first release.
    pub(crate) api: Option<PlannedApi>,
}

/// What Terraform would do in a layer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PlannedLayer {
    /// The world is as the layer says.
    NoChanges {
        /// The layer.
        layer: String,
    },
    /// There is something to do.
    Changes {
        /// The layer.
        layer: String,
        /// What.
        plan: terraform::plan::Plan,
    },
    /// It reads the outputs of layers that were never applied.
    NotYet {
        /// The layer.
        layer: String,
        /// Those layers.
        needs: Vec<String>,
    },
}

/// What would happen to a function.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlannedWork {
    /// It gets new code, and a new version.
    Update,
    /// What it is now becomes a version.
    Publish,
    /// Its version stays.
    Keep,
}

/// Whether the stage serves the API as it is defined now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PlannedApi {
    /// Whether it does.
    pub(crate) state: Freshness,
    /// What has changed since its deployment was made.
    pub(crate) changes: Vec<String>,
}

/// The ledger, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryBody {
    /// The stage.
    pub(crate) stage: String,
    /// Its records.
    pub(crate) records: Vec<Record>,
    /// The numbers of those that were pruned and cannot be gone back to.
    pub(crate) pruned: BTreeSet<u64>,
}

/// Two releases side by side.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiffBody {
    /// The stage.
    pub(crate) stage: String,
    #[serde(flatten)]
    // A doc comment would become the description of each document.
    pub(crate) diff: crate::release::diff::Diff,
}

/// What was deleted because nothing refers to it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PruneBody {
    /// Whether there was something to delete.
    pub(crate) outcome: Pruned,
    /// The stage.
    pub(crate) stage: String,
    /// The releases that can still be gone back to, newest first.
    pub(crate) kept: Vec<Version>,
    /// What was deleted.
    pub(crate) deleted: Deleted,
    /// What that gains.
    pub(crate) freed: Freed,
    /// The account's code storage; null where nothing was deleted, or the caller may not see it.
    pub(crate) account: Option<CodeAccount>,
}

/// How `prune` ended.
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
    /// The API deployments.
    pub(crate) deployments: Vec<DeploymentId>,
    /// The function versions.
    pub(crate) versions: Vec<OldVersion>,
    /// Zips and kept definitions.
    pub(crate) objects: Vec<Object>,
}

/// What a prune gains.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Freed {
    /// Bytes of Lambda's storage.
    pub(crate) lambda_bytes: u64,
    /// Bytes of the artifact bucket.
    pub(crate) bucket_bytes: u64,
}

/// How much code an account keeps in its region.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CodeAccount {
    /// What it may keep.
    pub(crate) limit_bytes: i64,
    /// What it kept before.
    pub(crate) before_bytes: i64,
    /// What it keeps now. Lambda may take a while to count what was deleted.
    pub(crate) after_bytes: i64,
}

/// The bucket of the Terraform state.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BootstrapBody {
    /// Its name.
    pub(crate) bucket: String,
    /// Whether it was made now; false if it was there.
    pub(crate) made: bool,
}

/// A stage whose lease was to be freed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnlockBody {
    /// The stage.
    pub(crate) stage: String,
    /// Whether somebody held it.
    pub(crate) freed: bool,
}

/// A stage that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DestroyBody {
    /// The stage.
    pub(crate) stage: String,
    /// Always `destroyed`.
    pub(crate) outcome: Destroyed,
}

/// How `destroy` ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destroyed {
    /// All layers are gone.
    Destroyed,
}

/// An embedded AWS that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalUpBody {
    /// Where it answers.
    pub(crate) endpoint: String,
}

/// An embedded AWS that was stopped.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LocalDownBody {
    /// Whether it had run.
    pub(crate) stopped: bool,
}

/// What was asked to be explained.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExplainedBody {
    /// The exit codes that were asked for, or all.
    pub(crate) exit_codes: Vec<ExplainedCode>,
    /// The errors that were asked for, or all.
    pub(crate) errors: Vec<ExplainedError>,
}

/// An exit code.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ExplainedCode {
    /// The code.
    pub(crate) exit_code: u8,
    /// What it means.
    pub(crate) meaning: String,
    /// What is live then.
    pub(crate) live: String,
    /// What to do.
    pub(crate) next: String,
}

/// An error.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ExplainedError {
    /// Its stable name.
    pub(crate) id: String,
    /// The exit codes that it comes with.
    pub(crate) exit_codes: Vec<u8>,
    /// What it means.
    pub(crate) meaning: String,
    /// What is live then.
    pub(crate) live: String,
    /// What to do.
    pub(crate) next: String,
}

/// The schemas that there are.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemasBody {
    /// All of them.
    pub(crate) schemas: Vec<SchemaName>,
}

/// A schema.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemaName {
    /// Its name.
    pub(crate) name: &'static str,
    /// What has this form.
    pub(crate) about: &'static str,
    /// The commands whose documents have it.
    pub(crate) commands: Vec<&'static str>,
}

/// Man pages that were written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ManBody {
    /// The folder.
    pub(crate) dir: String,
    /// The files in it.
    pub(crate) pages: Vec<String>,
}

/// What a function answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InvokeBody {
    /// The stage.
    pub(crate) stage: String,
    /// The function's key.
    pub(crate) function: String,
    /// Its name.
    pub(crate) name: String,
    /// The version that ran.
    pub(crate) version: String,
    /// The release that it belongs to; null if the stage does not name one.
    pub(crate) release: Option<String>,
    /// Lambda's word for the function's own failure, such as `Unhandled`; null if it did not fail.
    pub(crate) function_error: Option<String>,
    /// What it answered.
    pub(crate) result: Value,
    /// The end of what it logged, with `--log-tail`.
    pub(crate) log_tail: Option<String>,
}

/// A line of a function's log: `logs` prints one such document on each line.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogLine {
    /// The form of this document.
    pub(crate) schema: u32,
    /// The command.
    pub(crate) command: &'static str,
    /// The stage.
    pub(crate) stage: String,
    /// When it was written.
    pub(crate) at: jiff::Timestamp,
    /// The function's key.
    pub(crate) function: String,
    /// The version that wrote it, if the log stream's name tells.
    pub(crate) version: Option<String>,
    /// The log stream.
    pub(crate) stream: String,
    /// What was written.
    pub(crate) message: String,
}

/// A command that failed, where it has no other document; also a command line that cannot be parsed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Failure {
    /// The form of this document.
    pub(crate) schema: u32,
    /// The command; null if not even that could be told.
    pub(crate) command: Option<&'static str>,
    /// How it ended.
    pub(crate) outcome: Failed,
    /// What went wrong.
    pub(crate) error: ErrorDocument,
}

/// How a failed command ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failed {
    /// It failed.
    Failed,
}

impl Failure {
    /// The failure of `command`.
    pub(crate) fn of(command: Option<&'static str>, error: ErrorDocument) -> Value {
        let failure = Self { schema: SCHEMA, command, outcome: Failed::Failed, error };
        serde_json::to_value(&failure).unwrap_or_default()
    }
}
