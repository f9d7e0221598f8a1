//! The differences of two releases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::definition::Definition;
use super::model::{StageName, Version};
use super::record::{ArtifactRecord, FunctionRecord, Git, Outcome, Record};
use crate::artifact::Sha256;

/// The differences between two releases.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Diff {
    /// The first of the two releases.
    pub(crate) from: Side,
    /// The second of the two releases.
    pub(crate) to: Side,
    /// Whether artifacts, functions, API or variables differ.
    pub(crate) differs: bool,
    /// The zips that differ.
    pub(crate) artifacts: BTreeMap<String, Change<Bytes>>,
    /// The functions that differ.
    pub(crate) functions: BTreeMap<String, Change<Function>>,
    /// The comparison of the API definitions.
    pub(crate) api: Api,
    /// The project's own stage variables that differ.
    pub(crate) variables: BTreeMap<String, Change<String>>,
}

/// One of the two releases.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Side {
    /// The version of the release.
    pub(crate) version: Version,
    /// The number of its record in the ledger; 0 for a preview, which has none.
    pub(crate) record: u64,
    /// The outcome of the operation that the record describes.
    pub(crate) outcome: Outcome,
    /// The time of the record.
    pub(crate) at: jiff::Timestamp,
    /// The git commit of its source.
    pub(crate) git: Option<Git>,
    /// The stage from which its artifacts were promoted.
    pub(crate) promoted_from: Option<StageName>,
}

/// Something that differs; null on a side that does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Change<T> {
    /// The value of the first release.
    pub(crate) from: Option<T>,
    /// The value of the second release.
    pub(crate) to: Option<T>,
}

/// The content of a zip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Bytes {
    /// The sha256 of its bytes.
    pub(crate) sha256: Sha256,
    /// The size in bytes.
    pub(crate) size: u64,
}

/// A function of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Function {
    /// The name of the Lambda function.
    pub(crate) name: String,
    /// The name of the artifact with its code.
    pub(crate) artifact: String,
    /// The published version of the function.
    pub(crate) version: String,
    /// Lambda's CodeSha256: base64 of the SHA-256 of the zip.
    pub(crate) code_sha256: String,
    /// A digest of its configuration.
    pub(crate) config_sha256: Sha256,
    /// The alias that is moved with the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
    /// Whether it is called without a version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) latest: bool,
}

/// The comparison of the API definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Api {
    /// The fingerprints of both definitions.
    pub(crate) fingerprint: Change<Sha256>,
    /// The changes, one line each; null if a definition is no longer stored.
    pub(crate) changes: Option<Vec<String>>,
}

impl Diff {
    /// Compares two records, with the definitions that their deployments froze as far as those are kept.
    pub(crate) fn of(from: &Record, to: &Record, frozen: [Option<&Definition>; 2]) -> Self {
        let artifacts = changed(&from.release.artifacts, &to.release.artifacts, Bytes::of);
        let functions = changed(&from.release.functions, &to.release.functions, Function::of);
        let own = |record: &Record| record.release.variables.clone().unwrap_or_default();
        let variables = changed(&own(from), &own(to), String::clone);
        let fingerprints = (from.release.api.fingerprint, to.release.api.fingerprint);
        let changes = match frozen {
            _ if fingerprints.0 == fingerprints.1 => Some(Vec::new()),
            [Some(old), Some(new)] => Some(old.changes(new)),
            _ => None,
        };
        let fingerprint = Change { from: Some(fingerprints.0), to: Some(fingerprints.1) };
        Self {
            differs: !artifacts.is_empty()
                || !functions.is_empty()
                || !variables.is_empty()
                || fingerprints.0 != fingerprints.1,
            from: Side::of(from),
            to: Side::of(to),
            artifacts,
            functions,
            api: Api { fingerprint, changes },
            variables,
        }
    }
}

fn changed<K: Ord + Clone + ToString, V, T: PartialEq>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
    show: impl Fn(&V) -> T,
) -> BTreeMap<String, Change<T>> {
    let keys: BTreeSet<&K> = from.keys().chain(to.keys()).collect();
    let both = keys
        .into_iter()
        .map(|key| (key.to_string(), Change { from: from.get(key).map(&show), to: to.get(key).map(&show) }));
    both.filter(|(_, change)| change.from != change.to).collect()
}

impl Side {
    fn of(record: &Record) -> Self {
        let release = &record.release;
        Self {
            version: release.version.clone(),
            record: record.number,
            outcome: record.outcome,
            at: record.at,
            git: release.git.clone(),
            promoted_from: release.promoted_from.clone(),
        }
    }
}

impl Bytes {
    fn of(artifact: &ArtifactRecord) -> Self {
        Self { sha256: artifact.sha256, size: artifact.size }
    }
}

impl Function {
    fn of(function: &FunctionRecord) -> Self {
        Self {
            name: function.name.to_string(),
            artifact: function.artifact.clone(),
            version: function.version.to_string(),
            code_sha256: function.code_sha256.clone(),
            config_sha256: function.config_sha256,
            alias: function.alias.as_ref().map(ToString::to_string),
            latest: function.latest,
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sign, side) in [('-', &self.from), ('+', &self.to)] {
            write!(f, "{sign} {} (record {}, {}", side.version, side.record, side.at)?;
            if side.outcome != Outcome::Live {
                write!(f, ", {}", side.outcome)?;
            }
            write!(f, ")")?;
            if let Some(git) = &side.git {
                write!(f, " {git}")?;
            }
            if let Some(stage) = &side.promoted_from {
                write!(f, " from {stage}")?;
            }
            writeln!(f)?;
        }
        for (name, change) in &self.artifacts {
            let shown = |bytes: &Bytes| format!("{} ({} bytes)", bytes.sha256.short(), bytes.size);
            writeln!(f, "artifact {name}: {}", change.show(shown))?;
        }
        for (key, change) in &self.functions {
            writeln!(f, "function {key}: {}", function(change))?;
        }
        for (name, change) in &self.variables {
            writeln!(f, "variable {name}: {}", change.show(String::clone))?;
        }
        match &self.api.changes {
            None => writeln!(f, "API: it differs; the definitions to compare are no longer kept")?,
            Some(changes) => changes.iter().try_for_each(|change| writeln!(f, "API {change}"))?,
        }
        if !self.differs {
            writeln!(f, "both run the same")?;
        }
        Ok(())
    }
}

impl<T> Change<T> {
    pub(crate) fn show(&self, shown: impl Fn(&T) -> String) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("{} -> {}", shown(from), shown(to)),
            (None, Some(to)) => format!("added, {}", shown(to)),
            (Some(from), None) => format!("removed, was {}", shown(from)),
            (None, None) => String::new(),
        }
    }
}

/// In what a function differs, in a line.
fn function(change: &Change<Function>) -> String {
    let shown = |function: &Function| format!("{} version {}", function.name, function.version);
    let (Some(from), Some(to)) = (&change.from, &change.to) else { return change.show(shown) };
    let mut parts = Vec::new();
    for (what, from, to) in [
        ("name", &from.name, &to.name),
        ("artifact", &from.artifact, &to.artifact),
        ("version", &from.version, &to.version),
    ] {
        if from != to {
            parts.push(format!("{what} {from} -> {to}"));
        }
    }
    if from.alias != to.alias {
        let shown = |alias: &Option<String>| alias.clone().unwrap_or_else(|| "none".to_owned());
        parts.push(format!("alias {} -> {}", shown(&from.alias), shown(&to.alias)));
    }
    if from.latest != to.latest {
        let called = if to.latest { "called" } else { "no longer called" };
        parts.push(format!("{called} without a version"));
    }
    if from.code_sha256 != to.code_sha256 {
        parts.push("other code".to_owned());
    }
    if from.config_sha256 != to.config_sha256 {
        parts.push("another configuration".to_owned());
    }
    parts.join(", ")
}
