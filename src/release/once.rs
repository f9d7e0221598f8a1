//! `[[prepare]]`: functions that a release invokes once for its version and their code, before its checks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::check::fill_version;
use super::definition::canonical_digest;
use super::model::{FunctionKey, FunctionName, FunctionVersion, StageName, Version};
use super::record::{FunctionRecord, Who};

/// The schema version of [`Run`] that this tool writes.
const SCHEMA: u32 = 1;

/// The field of the payload with what deployctl adds.
const FIELD: &str = "deployctl";

/// One entry of `[[prepare]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preparation {
    pub(crate) name: String,
    pub(crate) function: FunctionKey,
    pub(crate) payload: Map<String, Value>,
    /// The function's own timeout may be shorter.
    pub(crate) timeout: Duration,
}

/// What a release does about runs that there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Repeat {
    /// Run what has not run for this version and code
    #[default]
    Once,
    /// Run it also if it has run, or if how it ended is not known
    Again,
    /// Run nothing
    Skip,
}

/// What is known of the runs for one version and its code: an object in the artifact bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) schema: u32,
    pub(crate) name: String,
    /// The release.
    pub(crate) release: Version,
    pub(crate) function: FunctionName,
    /// The version of the function.
    pub(crate) version: FunctionVersion,
    pub(crate) code_sha256: String,
    /// Sent in the payload. The same until the function has succeeded.
    pub(crate) idempotency_key: String,
    /// 1, and one more for each run after one that succeeded.
    pub(crate) number: u32,
    pub(crate) state: RunState,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) who: Who,
    /// Why it failed.
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    /// Its end was not recorded: it may still run, and may have done anything of its work.
    Started,
    Succeeded,
    Failed,
}

impl Preparation {
    /// Identifies the runs for a version and its code, in hexadecimal. Another payload is other work.
    pub(crate) fn id(&self, release: &Version, function: &FunctionRecord) -> String {
        let parts = json!([release, function.name, function.code_sha256, self.payload]);
        canonical_digest(&parts).hex()
    }

    /// What the function is invoked with.
    pub(crate) fn payload(&self, stage: &StageName, run: &Run) -> Value {
        let mut payload = self.payload.clone();
        let added = json!({
            "stage": stage, "version": run.release, "idempotency_key": run.idempotency_key,
        });
        for value in payload.values_mut() {
            *value = fill_version(value, &run.release);
        }
        payload.insert(FIELD.to_owned(), added);
        payload.into()
    }
}

impl Run {
    /// The next run after `before`, which starts now.
    pub(crate) fn next(
        (name, id): (&str, &str),
        release: &Version,
        function: &FunctionRecord,
        before: Option<&Self>,
        (started, who): (Timestamp, &Who),
    ) -> Self {
        let number = match before {
            None => 1,
            Some(before) => before.number + u32::from(before.state == RunState::Succeeded),
        };
        let FunctionRecord { name: function, version, code_sha256, .. } = function.clone();
        Self {
            schema: SCHEMA,
            name: name.to_owned(),
            release: release.clone(),
            function,
            version,
            code_sha256,
            idempotency_key: format!("{id}-{number}"),
            number,
            state: RunState::Started,
            started,
            ended: None,
            who: who.clone(),
            reason: None,
        }
    }

    /// The same run after its end; `reason` is why it failed.
    pub(crate) fn ended(&self, at: Timestamp, reason: Option<String>) -> Self {
        let state = if reason.is_none() { RunState::Succeeded } else { RunState::Failed };
        Self { state, ended: Some(at), reason, ..self.clone() }
    }

    /// What is known of a run whose end was not recorded.
    pub(crate) fn unfinished(&self) -> String {
        let Self { name, release, function, version, started, who, idempotency_key, .. } = self;
        format!(
            "prepare {name:?} of release {release} was started at {started} by {}, and how it ended is not known \
             ({function}:{version}, idempotency key {idempotency_key})",
            who.arn
        )
    }
}
