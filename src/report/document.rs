//! The JSON document of `release`, `redeploy`, `rollback` and `status`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Error;
use crate::event::StepTime;
use crate::release::record::Record;

/// The form of the document.
pub const SCHEMA: u32 = 1;

/// What a command did and what the stage is now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Document {
    /// The form of this document.
    pub schema: u32,
    /// The command.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// The stage; `None` when not even that could be told.
    pub stage: Option<String>,
    /// The release that the command is about; `None` when the stage has none.
    pub version: Option<String>,
    /// Where the stage answers.
    pub url: Option<String>,
    /// The function versions of the release.
    pub functions: BTreeMap<String, Function>,
    /// The versions of its functions that served before, for people.
    #[serde(skip)]
    pub before: BTreeMap<String, String>,
    /// The API.
    pub api: Option<Api>,
    /// The release that served before.
    pub previous: Option<String>,
    /// The steps and their times.
    pub steps: Vec<StepTime>,
    /// Differences between the stage and its record, for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Vec<String>>,
    /// Who holds the stage, for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// What went wrong.
    pub error: Option<ErrorDocument>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
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
pub struct Function {
    /// Its name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Lambda's CodeSha256.
    pub code_sha256: String,
}

/// The API of a stage.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Api {
    /// The REST API.
    pub id: String,
    /// The deployment that is served.
    pub deployment_id: String,
    /// The fingerprint of the definition that it froze; `None` when deployctl did not make it.
    pub fingerprint: Option<String>,
    /// Whether the API has changed since.
    pub state: Freshness,
    /// What has changed.
    pub changes: Vec<String>,
}

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// It does.
    Fresh,
    /// The API has changed since its deployment was made.
    Stale,
    /// deployctl did not make the deployment.
    Unknown,
}

/// An error in the document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// Its stable name.
    pub id: &'static str,
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Document {
    /// An empty document of `command` on `stage`.
    pub fn new(command: &'static str, stage: &str) -> Self {
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
    pub fn moved(command: &'static str, outcome: Outcome, stage: &str, url: &str, record: &Record) -> Self {
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
    pub fn describe(&mut self, record: &Record) {
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
    pub fn fail(&mut self, error: &Error) {
        self.outcome = match error.id {
            "release.switched_back" => Outcome::SwitchedBack,
            "release.stuck" | "release.moved_elsewhere" => Outcome::Stuck,
            _ => Outcome::Failed,
        };
        self.error = Some(ErrorDocument::of(error));
    }
}

impl ErrorDocument {
    /// What a document says of `error`.
    pub fn of(error: &Error) -> Self {
        Self {
            id: error.id,
            message: error.message.clone(),
            causes: error.causes(),
            hint: error.hint.clone(),
        }
    }
}
