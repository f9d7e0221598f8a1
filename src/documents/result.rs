//! The JSON document of `release`, `redeploy`, `rollback` and `status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::artifact::Sha256;
use crate::error::{Error, ErrorId};
use crate::event::StepTime;
use crate::release::calls::UnversionedCall;
use crate::release::canary::{Canary, Step};
use crate::release::diff::Diff;
use crate::release::monitor::Reading;
use crate::release::record::{Action, Git, Record, Who};

/// The form of the document.
pub(crate) const SCHEMA: u32 = 1;

/// What a command did, and what the stage serves now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Document {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command that wrote this document.
    pub(crate) command: &'static str,
    /// The outcome of the command.
    pub(crate) outcome: Outcome,
    /// The stage in deployctl.toml; null if it is not known.
    pub(crate) stage: Option<String>,
    /// The version of the release; null if the stage has none.
    pub(crate) version: Option<String>,
    /// The URL of the stage.
    pub(crate) url: Option<String>,
    /// The function versions of the release.
    pub(crate) functions: BTreeMap<String, Function>,
    /// The sha256 of each zip of the release, by the name of its artifact.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) artifacts: BTreeMap<String, Sha256>,
    /// The versions of its functions that served before, for people.
    #[serde(skip)]
    pub(crate) before: BTreeMap<String, String>,
    /// The API and its deployment.
    pub(crate) api: Option<Api>,
    /// The version of the release that was live before.
    pub(crate) previous: Option<String>,
    /// How the release that is live now differs from the one before; only in `rollback`, and only if the
    /// ledger has what was live before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diff: Option<Diff>,
    /// Whether Terraform planned the infrastructure; only in `release`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) infrastructure: Option<InfrastructureState>,
    /// The record of what the stage serves: since when, by whom, from which commit; only in `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Since>,
    /// Since when `deployctl dev` serves code of its own; only in `status`, until the next release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dev_since: Option<Timestamp>,
    /// The steps of the command and their durations.
    pub(crate) steps: Vec<StepTime>,
    /// Differences between the stage and its last record; only in `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drift: Option<Vec<String>>,
    /// The calls of the API that a switch does not move; only in `status`, for the API as it is defined, and
    /// in `rollback`, for the API that is live again, if its definition is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unversioned: Option<Vec<UnversionedCall>>,
    /// The holder of the lease, if another command has it; only in `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    /// The names of its previews; only in `status` of a stage that allows previews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previews: Option<Vec<String>>,
    /// The stage that was moved without a project; only in `redeploy --rest-api-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<MovedStage>,
    /// The canary in progress; only if there is one that deployctl started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<CanaryStatus>,
    /// The error, if the command failed.
    pub(crate) error: Option<ErrorDocument>,
}

/// A stage that was moved without a project.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct MovedStage {
    /// The account of the credentials.
    pub(crate) account: String,
    /// The region of the API.
    pub(crate) region: String,
    /// The name of the API Gateway stage.
    pub(crate) stage_name: String,
    /// The id of the deployment that the stage served before.
    pub(crate) from: String,
    /// The command that moves the stage back.
    pub(crate) back: String,
}

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The release is live.
    Released,
    /// There was nothing to change.
    Unchanged,
    /// The stage serves a new deployment of the API.
    Redeployed,
    /// An earlier release is live again.
    RolledBack,
    /// A canary of the release is in progress: it gets a part of the requests.
    Canary,
    /// The new release failed its checks; the earlier release is live.
    SwitchedBack,
    /// The switch could not be undone.
    Stuck,
    /// The command failed before the switch.
    Failed,
}

/// Whether Terraform planned the infrastructure of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InfrastructureState {
    /// Every layer was planned, and applied if it had changes.
    Planned,
    /// Terraform did not run: `--code-only`.
    NotPlanned,
}

/// A canary in progress.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CanaryStatus {
    /// The version of the release that gets a part of the requests.
    pub(crate) version: String,
    /// The share of the requests that it gets now, in percent, as the stage says.
    pub(crate) percent: f64,
    /// When the current step began.
    pub(crate) since: Timestamp,
    /// When the canary began.
    pub(crate) started: Timestamp,
    /// The identity that started it.
    pub(crate) who: Who,
    /// The command that started it.
    pub(crate) command: String,
    /// All its steps; the switch follows the last one.
    pub(crate) steps: Vec<Step>,
    /// The number of the current step, from 1; one more than there are steps for the switch.
    pub(crate) step: usize,
    /// Whether it is being ended.
    pub(crate) ending: bool,
    /// The alarms, and the numbers of both releases since it began; only in `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
}

impl CanaryStatus {
    /// The canary of the lease, which has this share of the stage's requests.
    pub(crate) fn of(canary: &Canary, percent: f64) -> Self {
        let Canary { command, record, steps, step, since, .. } = canary;
        Self {
            version: record.release.version.to_string(),
            percent,
            since: *since,
            started: record.at,
            who: record.who.clone(),
            command: command.clone(),
            steps: steps.clone(),
            step: step + 1,
            ending: canary.is_ending(),
            reading: None,
        }
    }
}

/// The record of what a stage serves.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Since {
    /// The number of the record.
    pub(crate) record: u64,
    /// The operation that was recorded.
    pub(crate) action: Action,
    /// The time of the operation.
    pub(crate) at: Timestamp,
    /// The identity that ran the command.
    pub(crate) who: Who,
    /// The git commit of the source; null if it was not in a git repository.
    pub(crate) git: Option<Git>,
}

impl Since {
    pub(crate) fn of(record: &Record) -> Self {
        let Record { number, action, at, who, release, .. } = record.clone();
        Self { record: number, action, at, who, git: release.git }
    }
}

/// A function of a release.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Function {
    /// The name of the Lambda function.
    pub(crate) name: String,
    /// The published version of the function.
    pub(crate) version: String,
    /// Lambda's CodeSha256: base64 of the SHA-256 of the zip.
    pub(crate) code_sha256: String,
    /// The alias that is moved with the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
    /// Whether it is called without a version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) latest: bool,
}

/// The API of a stage.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Api {
    /// The id of the REST API.
    pub(crate) id: String,
    /// The id of the deployment that the stage serves.
    pub(crate) deployment_id: String,
    /// The fingerprint of the deployed definition; null if deployctl did not create the deployment.
    pub(crate) fingerprint: Option<String>,
    /// Whether the deployment has the current definition.
    pub(crate) state: Freshness,
    /// The changes of the API since the deployment was created, one line each.
    pub(crate) changes: Vec<String>,
    /// Why the state is unknown; empty where deployctl did not make the deployment.
    pub(crate) reasons: Vec<String>,
}

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freshness {
    /// The stage serves the current definition.
    Fresh,
    /// The API has changed since the deployment was created.
    Stale,
    /// deployctl did not create the deployment, or cannot compare it with the API.
    Unknown,
}

/// The error of a command.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ErrorDocument {
    /// The stable error id, such as `lease.held`; `deployctl explain` explains it.
    pub(crate) id: &'static str,
    /// What the command failed to do.
    pub(crate) message: String,
    /// The causes of the error, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the user should do next.
    pub(crate) hint: Option<String>,
}

impl Document {
    /// An empty document of `command` on `stage`.
    pub(crate) fn new(command: &'static str, stage: &str) -> Self {
        Self {
            schema: SCHEMA,
            command,
            outcome: Outcome::Unchanged,
            stage: Some(stage.to_owned()),
            version: None,
            url: None,
            functions: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            before: BTreeMap::new(),
            api: None,
            previous: None,
            diff: None,
            infrastructure: None,
            since: None,
            dev_since: None,
            steps: Vec::new(),
            drift: None,
            unversioned: None,
            held: None,
            previews: None,
            moved: None,
            canary: None,
            error: None,
        }
    }

    /// The document of a command that moved the stage to `record`.
    pub(crate) fn moved(
        command: &'static str,
        outcome: Outcome,
        stage: &str,
        url: &str,
        record: &Record,
    ) -> Self {
        let mut document = Self::new(command, stage);
        document.outcome = outcome;
        document.url = Some(url.to_owned());
        document.describe(record);
        document.previous = record.before.pointer.release().map(|version| version.to_string());
        if outcome == Outcome::Unchanged {
            return document;
        }
        let variables = &record.before.pointer.variables;
        document.before = document
            .functions
            .keys()
            .filter_map(|key| Some((key.clone(), variables.get(key)?.clone())))
            .collect();
        document
    }

    /// Takes version, functions and API from `record`, whose deployment was fresh when it was made.
    pub(crate) fn describe(&mut self, record: &Record) {
        let release = &record.release;
        self.version = Some(release.version.to_string());
        self.functions = release
            .functions
            .iter()
            .map(|(key, function)| {
                let function = Function {
                    name: function.name.to_string(),
                    version: function.version.to_string(),
                    code_sha256: function.code_sha256.clone(),
                    alias: function.alias.as_ref().map(ToString::to_string),
                    latest: function.latest,
                };
                (key.to_string(), function)
            })
            .collect();
        let artifacts = release.artifacts.iter();
        self.artifacts = artifacts.map(|(name, artifact)| (name.clone(), artifact.sha256)).collect();
        self.api = Some(Api {
            id: release.api.id.clone(),
            deployment_id: release.api.deployment_id.to_string(),
            fingerprint: Some(release.api.fingerprint.to_string()),
            state: if release.api.unproven.is_empty() { Freshness::Fresh } else { Freshness::Unknown },
            changes: Vec::new(),
            reasons: release.api.unproven.clone(),
        });
    }

    /// Adds what went wrong.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.outcome = match error.id {
            ErrorId::ReleaseSwitchedBack | ErrorId::CanaryAborted => Outcome::SwitchedBack,
            ErrorId::ReleaseStuck | ErrorId::ReleaseMovedElsewhere => Outcome::Stuck,
            _ => Outcome::Failed,
        };
        self.error = Some(ErrorDocument::of(error));
    }
}

impl ErrorDocument {
    /// What a document says of `error`.
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            id: error.id.as_str(),
            message: error.message.clone(),
            causes: error.causes(),
            hint: error.hint.clone(),
        }
    }
}
