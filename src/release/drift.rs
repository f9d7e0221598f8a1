//! The differences between a stage and the ledger.

use std::collections::BTreeMap;

use super::model::FunctionName;
use super::record::Record;
use crate::release::state::{Codes, StageState};

/// How the stage itself differs from the ledger.
pub(crate) fn of_stage(stage: &StageState, current: Option<&Record>) -> Vec<String> {
    let mut drift = Vec::new();
    if let Some(canary) = &stage.canary {
        drift.push(format!("a canary is in progress: deployment {canary}"));
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
        let found = stage.pointer.variables.get(name);
        if found != Some(value) {
            let found = found.map_or("nothing", String::as_str);
            drift.push(format!("stage variable {name} is {found}, the ledger says {value}"));
        }
    }
    drift
}

/// What is wrong with the versions that are live.
pub(crate) fn of_versions(current: &Record, codes: &BTreeMap<FunctionName, Codes>) -> Vec<String> {
    let functions = current.release.functions.values();
    let wrong = functions.filter_map(|function| {
        let (name, version) = (&function.name, &function.version);
        let Some(found) = codes.get(name) else { return Some(format!("function {name} is gone")) };
        match found.versions.get(version) {
            None => Some(format!("{name}:{version}, which the live release runs, is gone")),
            Some(code) if *code != function.code_sha256 => {
                Some(format!("{name}:{version} runs other code than recorded: CodeSha256 {code}"))
            }
            Some(_) => None,
        }
    });
    wrong.collect()
}

/// The functions whose `$LATEST` has not the code of the live release, and that code. After a rollback, or a release
/// that failed, that is as it should be: some other release brought it.
pub(crate) fn of_latest(
    current: &Record,
    codes: &BTreeMap<FunctionName, Codes>,
) -> BTreeMap<FunctionName, String> {
    let functions = current.release.functions.values();
    let differ = functions.filter_map(|function| {
        let found = codes.get(&function.name)?;
        (found.latest != function.code_sha256).then(|| (function.name.clone(), found.latest.clone()))
    });
    differ.collect()
}

/// Takes away what `record` explains.
pub(crate) fn explain(latest: &mut BTreeMap<FunctionName, String>, record: &Record) {
    latest.retain(|name, code| {
        let known = record.release.functions.values();
        !known.into_iter().any(|function| function.name == *name && function.code_sha256 == *code)
    });
}

/// What is said of a `$LATEST` that nothing explains.
pub(crate) fn unexplained(name: &FunctionName, code: &str) -> String {
    format!(
        "the code of {name} was changed past deployctl: its $LATEST has CodeSha256 {code}, which no release of the ledger \
         has; the stage does not run it, and the next release replaces it"
    )
}
