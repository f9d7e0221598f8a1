//! The JSON document of `release`, `redeploy`, `rollback` and `status`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, ErrorId};
use crate::event::StepTime;
use crate::release::record::Record;

/// The form of the document.
pub(crate) const SCHEMA: u32 = 1;

/// What a command did and what the stage is now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Document {
    /// The form of this document.
    pub(crate) schema: u32,
    /// The command.
    pub(crate) command: &'static str,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The stage; `None` when not even that could be told.
    pub(crate) stage: Option<String>,
    /// The release that the command is about; `None` when the stage has none.
    pub(crate) version: Option<String>,
    /// Where the stage answers.
    pub(crate) url: Option<String>,
    /// The function versions of the release.
    pub(crate) functions: BTreeMap<String, Function>,
    /// The versions of its functions that served before, for people.
    #[serde(skip)]
    pub(crate) before: BTreeMap<String, String>,
    /// The API.
    pub(crate) api: Option<Api>,
    /// The release that served before.
    pub(crate) previous: Option<String>,
    /// The steps and their times.
    pub(crate) steps: Vec<StepTime>,
    /// Differences between the stage and its record, for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drift: Option<Vec<String>>,
    /// Who holds the stage, for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    /// What went wrong.
    pub(crate) error: Option<ErrorDocument>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The release is live.
    Released,
    /// Nothing was to be done.
    Unchanged,
    /// The API was deployed anew.
    Redeployed,
    /// An earlier release is live again.
    RolledBack,
    /// The release did not pass its checks; the old one serves.
    SwitchedBack,
    /// The stage could not be moved back.
    Stuck,
    /// It failed before the switch.
    Failed,
}

/// A function of a release.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: String,
    /// Lambda's CodeSha256.
    pub(crate) code_sha256: String,
}

/// The API of a stage.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Api {
    /// The REST API.
    pub(crate) id: String,
    /// The deployment that is served.
    pub(crate) deployment_id: String,
    /// The fingerprint of the definition that it froze; `None` when deployctl did not make it.
    pub(crate) fingerprint: Option<String>,
    /// Whether the API has changed since.
    pub(crate) state: Freshness,
    /// What has changed.
    pub(crate) changes: Vec<String>,
}

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freshness {
    /// It does.
    Fresh,
    /// The API has changed since its deployment was made.
    Stale,
    /// deployctl did not make the deployment.
    Unknown,
}

/// An error in the document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ErrorDocument {
    /// Its stable name.
    pub(crate) id: &'static str,
    /// What failed.
    pub(crate) message: String,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    /// What to do next.
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
            before: BTreeMap::new(),
            api: None,
            previous: None,
            steps: Vec::new(),
            drift: None,
            held: None,
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
        let variables = &record.before.pointer.variables;
        document.before = document
            .functions
            .keys()
            .filter_map(|key| Some((key.clone(), variables.get(key)?.clone())))
            .collect();
        document.previous = record.before.pointer.release().map(|version| version.to_string());
        document
    }

    /// Takes version, functions and API from `record`, whose deployment is fresh by construction.
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
                };
                (key.to_string(), function)
            })
            .collect();
        self.api = Some(Api {
            id: release.api.id.clone(),
            deployment_id: release.api.deployment_id.to_string(),
            fingerprint: Some(release.api.fingerprint.to_string()),
            state: Freshness::Fresh,
            changes: Vec::new(),
        });
    }

    /// Adds what went wrong.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.outcome = match error.id {
            ErrorId::ReleaseSwitchedBack => Outcome::SwitchedBack,
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
