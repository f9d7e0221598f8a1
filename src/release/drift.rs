//! How a stage differs from its ledger.

use std::collections::BTreeMap;

use super::canary::Canary;
use super::model::{FunctionKey, FunctionName};
use super::plan::Target;
use super::record::Record;
use crate::release::state::{AliasState, Codes, StageState};

/// The differences of the stage itself.
pub(crate) fn of_stage(stage: &StageState, current: Option<&Record>, canary: Option<&Canary>) -> Vec<String> {
    let mut drift = Vec::new();
    if let Some(other) = stage.canary.as_ref().filter(|_| canary.is_none_or(|canary| !canary.is_on(stage))) {
        drift.push(format!(
            "a canary that deployctl does not know is in progress: deployment {}, {} of the requests",
            other.deployment_id, other.percent
        ));
    }
    let Some(record) = current else { return drift };
    let expected = &record.pointer;
    if stage.pointer.deployment_id != expected.deployment_id {
        drift.push(format!(
            "the stage was moved without deployctl: it serves deployment {}, the ledger says {}",
            stage.pointer.deployment_id, expected.deployment_id
        ));
    }
    for (name, value) in &expected.variables {
        let live = stage.pointer.variables.get(name);
        if live != Some(value) {
            let live = live.map_or("not set", String::as_str);
            drift.push(format!("stage variable {name} is {live}, the ledger says {value}"));
        }
    }
    drift
}

/// The differences of the functions that are called by an alias or without a version.
pub(crate) fn of_reach(
    functions: &BTreeMap<FunctionKey, Target>,
    current: Option<&Record>,
    aliases: &BTreeMap<FunctionKey, Option<AliasState>>,
    codes: &BTreeMap<FunctionName, Codes>,
    canary: Option<&Canary>,
) -> Vec<String> {
    let mut drift = Vec::new();
    for (key, Target { name, alias, latest, .. }) in functions {
        let Some(live) = current.and_then(|record| record.release.functions.get(key)) else { continue };
        if let (Some(alias), Some(state)) = (alias, aliases.get(key)) {
            let version = &live.version;
            match state {
                None => drift.push(format!("alias {alias} of {name} no longer exists")),
                Some(state)
                    if state.target.second.is_some()
                        && canary.is_none_or(|canary| !canary.weighted.contains(key)) =>
                {
                    drift.push(format!(
                        "alias {alias} of {name} sends a part of its requests to a second version"
                    ));
                }
                Some(state) if state.target.version.as_str() != version.as_str() => drift.push(format!(
                    "alias {alias} of {name} points to {}, the live release has version {version}",
                    state.target.version
                )),
                Some(_) => {}
            }
        }
        let code = codes.get(name).filter(|_| *latest).map(|codes| &codes.latest);
        if code.is_some_and(|code| *code != live.code_sha256) {
            drift.push(format!(
                "{name}, which is called without a version, runs other code than the live release"
            ));
        }
    }
    drift
}

/// The differences of the live function versions.
pub(crate) fn of_versions(current: &Record, codes: &BTreeMap<FunctionName, Codes>) -> Vec<String> {
    let functions = current.release.functions.values();
    let differences = functions.filter_map(|function| {
        let (name, version) = (&function.name, &function.version);
        let Some(function_codes) = codes.get(name) else {
            return Some(format!("function {name} no longer exists"));
        };
        match function_codes.versions.get(version) {
            None => Some(format!("{name}:{version}, which the live release runs, no longer exists")),
            Some(code) if *code != function.code_sha256 => {
                Some(format!("{name}:{version} runs other code than recorded: CodeSha256 {code}"))
            }
            Some(_) => None,
        }
    });
    differences.collect()
}

/// The functions whose `$LATEST` has other code than the live release, and that code. After a rollback or a
/// failed release this is expected: another release sent the code.
pub(crate) fn of_latest(
    current: &Record,
    codes: &BTreeMap<FunctionName, Codes>,
) -> BTreeMap<FunctionName, String> {
    let functions = current.release.functions.values();
    let differ = functions.filter_map(|function| {
        let code = codes.get(&function.name)?;
        (code.latest != function.code_sha256).then(|| (function.name.clone(), code.latest.clone()))
    });
    differ.collect()
}

/// Removes the functions whose code `record` has.
pub(crate) fn explain(latest: &mut BTreeMap<FunctionName, String>, record: &Record) {
    latest.retain(|name, code| {
        let functions = record.release.functions.values();
        !functions.into_iter().any(|function| function.name == *name && function.code_sha256 == *code)
    });
}

/// The message about a `$LATEST` whose code no record has.
pub(crate) fn unexplained(name: &FunctionName, code: &str) -> String {
    format!(
        "the code of {name} was changed without deployctl: its $LATEST has CodeSha256 {code}, which is in no \
         ledger record; the stage does not run it, and the next release replaces it"
    )
}
