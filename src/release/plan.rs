//! The plan of a release, computed from values alone.

use std::collections::BTreeMap;
use std::fmt;

use super::calls::{Calls, Location};
use super::check::Invocation;
use super::definition::Definition;
use super::diff::Change;
use super::model::{FunctionKey, FunctionName, FunctionVersion, RELEASE_VARIABLE, UNRELEASED, Version};
use super::patch::{MAX_OPERATIONS, Size};
use super::record::{ArtifactRecord, FunctionRecord, Outcome, Record};
use crate::release::state::{ArchitectureChange, Code, FunctionState, StageState};

/// The release that is to be live.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) version: Version,
    /// The zips, by name.
    pub(crate) artifacts: BTreeMap<String, ArtifactRecord>,
    /// The functions, by stage variable.
    pub(crate) functions: BTreeMap<FunctionKey, Target>,
    /// The project's own stage variables.
    pub(crate) variables: BTreeMap<String, String>,
}

/// A function of the contract.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Target {
    pub(crate) name: FunctionName,
    /// The artifact it runs.
    pub(crate) artifact: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) functions: BTreeMap<FunctionKey, FunctionState>,
    pub(crate) stage: StageState,
    pub(crate) definition: Definition,
    pub(crate) location: Location,
    /// The record of the live release.
    pub(crate) current: Option<Record>,
}

/// The steps of a release before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) version: Version,
    /// A step for each function.
    pub(crate) functions: BTreeMap<FunctionKey, Step>,
    /// The calls of the API. A release is refused while some are unversioned.
    pub(crate) calls: Calls,
    /// The project's own stage variables that the switch changes.
    pub(crate) variables: BTreeMap<String, Change<String>>,
}

/// The step of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) target: Target,
    pub(crate) work: Work,
}

/// Why a function that already has its code gets a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyPublish {
    /// The live release does not have the function, or has another function for its stage variable.
    New,
    CodeSent,
    ConfigurationChanged,
}

impl fmt::Display for WhyPublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "it is new",
            Self::CodeSent => "$LATEST already has its new code",
            Self::ConfigurationChanged => "its configuration changed",
        })
    }
}

/// The change of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Update {
        code: Code,
        /// The function must still be at this revision.
        revision: String,
    },
    /// The function has the code, and no published version has this code and configuration.
    Publish(WhyPublish),
    /// The live version has this code and configuration.
    Keep(FunctionVersion),
}

/// Why a release cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a canary is in progress on the stage (deployment {0})")]
    Canary(String),
    #[error("the switch would have {0}, and one call of API Gateway takes {MAX_OPERATIONS}")]
    TooLarge(Size),
    #[error("the contract names no function")]
    NoFunctions,
    #[error("function {key} runs artifact {artifact:?}, which is not in deployctl.toml")]
    UnknownArtifact { key: FunctionKey, artifact: String },
    #[error("check {check:?} invokes function {key}, which is not in the contract")]
    UnknownFunction { check: String, key: FunctionKey },
}

/// Checks what needs no read of AWS.
///
/// # Errors
/// The first reason to refuse the release.
pub(crate) fn check(desired: &Desired) -> Result<(), Refusal> {
    if desired.functions.is_empty() {
        return Err(Refusal::NoFunctions);
    }
    check_size(Size::of(&BTreeMap::new(), variables(desired)))?;
    for (key, target) in &desired.functions {
        if !desired.artifacts.contains_key(&target.artifact) {
            return Err(Refusal::UnknownArtifact { key: key.clone(), artifact: target.artifact.clone() });
        }
    }
    Ok(())
}

/// Checks that one call can make the switch.
///
/// # Errors
/// [`Refusal::TooLarge`] with the size.
pub(crate) fn check_size(size: Size) -> Result<(), Refusal> {
    if size.operations() > MAX_OPERATIONS { Err(Refusal::TooLarge(size)) } else { Ok(()) }
}

/// The stage variables of a release.
fn variables(desired: &Desired) -> impl Iterator<Item = &str> {
    let own = desired.variables.keys().map(String::as_str);
    desired.functions.keys().map(FunctionKey::as_str).chain(own).chain([RELEASE_VARIABLE])
}

/// The size of the switch to `desired`. Variables that belong to no release stay, and are sent too.
fn size(desired: &Desired, observed: &Observed) -> Size {
    let from = &observed.stage.pointer.variables;
    let former = observed.current.as_ref().map(|record| &record.release);
    let is_former =
        |name: &str| former.is_some_and(|release| release.variable_names().any(|own| own == name));
    let kept = from.keys().map(String::as_str).filter(|name| !is_former(name));
    Size::of(from, kept.chain(variables(desired)))
}

/// Checks that each function to be invoked is released.
///
/// # Errors
/// The first check of a function that the contract does not have.
pub(crate) fn check_invocations(desired: &Desired, invocations: &[Invocation]) -> Result<(), Refusal> {
    let unknown = invocations.iter().find(|check| !desired.functions.contains_key(&check.function));
    match unknown {
        None => Ok(()),
        Some(check) => {
            Err(Refusal::UnknownFunction { check: check.name.clone(), key: check.function.clone() })
        }
    }
}

/// Plans a release.
///
/// # Errors
/// The first reason to refuse the release.
pub(crate) fn plan(desired: &Desired, observed: &Observed) -> Result<Plan, Refusal> {
    check(desired)?;
    if let Some(canary) = &observed.stage.canary {
        return Err(Refusal::Canary(canary.clone()));
    }
    check_size(size(desired, observed))?;
    let mut functions = BTreeMap::new();
    for (key, target) in &desired.functions {
        let (Some(zip), Some(state)) = (desired.artifacts.get(&target.artifact), observed.functions.get(key))
        else {
            return Err(Refusal::UnknownArtifact { key: key.clone(), artifact: target.artifact.clone() });
        };
        let work = work(key, target, zip, state, observed.current.as_ref());
        functions.insert(key.clone(), Step { target: target.clone(), work });
    }
    let calls = Calls::of(&observed.definition, &observed.location, names(&desired.functions));
    let variables = changed_variables(desired, observed);
    Ok(Plan { version: desired.version.clone(), functions, calls, variables })
}

/// The functions of a contract by name.
pub(crate) fn names(
    functions: &BTreeMap<FunctionKey, Target>,
) -> impl Iterator<Item = (&FunctionKey, &FunctionName)> {
    functions.iter().map(|(key, target)| (key, &target.name))
}

/// The project's own variables that the stage does not have as they are desired, and those of the live release
/// that are to be removed.
fn changed_variables(desired: &Desired, observed: &Observed) -> BTreeMap<String, Change<String>> {
    let live = &observed.stage.pointer.variables;
    let former = observed.current.as_ref().and_then(|record| record.release.variables.as_ref());
    let removed = former.into_iter().flatten().map(|(name, _)| name);
    let removed = removed.filter(|name| !variables(desired).any(|kept| kept == name.as_str()));
    let change = |name: &String| {
        let change = Change { from: live.get(name).cloned(), to: desired.variables.get(name).cloned() };
        (change.from != change.to).then(|| (name.clone(), change))
    };
    desired.variables.keys().chain(removed).filter_map(change).collect()
}

fn work(
    key: &FunctionKey,
    target: &Target,
    zip: &ArtifactRecord,
    state: &FunctionState,
    current: Option<&Record>,
) -> Work {
    // Only an update of the code changes the architecture.
    let architecture = state.architecture.zip(zip.architecture).filter(|(from, to)| from != to);
    let architecture = architecture.map(|(from, to)| ArchitectureChange { from, to });
    // After a failed update, Lambda shows the new hash but runs the old code, so it must be sent again.
    let is_other_code = state.code_sha256 != zip.sha256.base64();
    if is_other_code || state.failed.is_some() || architecture.is_some() {
        let code = Code {
            key: zip.key.clone(),
            s3_version: zip.s3_version.clone(),
            sha256: zip.sha256,
            architecture,
        };
        return Work::Update { code, revision: state.revision.clone() };
    }
    let live = current.and_then(|record| record.release.functions.get(key));
    let why = match live.filter(|live| live.name == target.name) {
        None => WhyPublish::New,
        Some(live) if live.code_sha256 != state.code_sha256 => WhyPublish::CodeSent,
        Some(live) if live.config_sha256 != state.config_sha256 || aws_says_changed(live, state) => {
            WhyPublish::ConfigurationChanged
        }
        Some(live) => return Work::Keep(live.version.clone()),
    };
    Work::Publish(why)
}

/// Lambda's own hash can only be a further reason to publish: what it covers is not documented.
fn aws_says_changed(live: &FunctionRecord, state: &FunctionState) -> bool {
    match (&live.aws_config_sha256, &state.aws_config_sha256) {
        (Some(released), Some(now)) => released != now,
        _ => false,
    }
}

impl Plan {
    /// Whether no function changes.
    pub(crate) fn keeps_all(&self) -> bool {
        self.functions.values().all(|step| matches!(step.work, Work::Keep(_)))
    }

    /// The record of the live release if it is the desired one: the same version, bytes, functions and
    /// configuration. Whether the API is the same, too, must be read.
    pub(crate) fn live<'a>(&self, desired: &Desired, observed: &'a Observed) -> Option<&'a Record> {
        // A release that a later command recorded may not have passed its checks.
        let is_verified = |record: &&Record| record.outcome == Outcome::Live && !record.recovered;
        let record = observed.current.as_ref().filter(is_verified)?;
        let release = &record.release;
        let bytes = |all: &BTreeMap<String, ArtifactRecord>| -> Vec<_> {
            all.iter().map(|(name, artifact)| (name.clone(), artifact.sha256)).collect()
        };
        let artifacts_of_desired = desired.functions.iter().map(|(key, target)| (key, &target.artifact));
        let artifacts_of_live = release.functions.iter().map(|(key, function)| (key, &function.artifact));
        let is_same = self.keeps_all()
            && release.version == desired.version
            && release.variables.clone().unwrap_or_default() == desired.variables
            && bytes(&release.artifacts) == bytes(&desired.artifacts)
            && artifacts_of_live.eq(artifacts_of_desired)
            && release.is_served_by(&observed.stage.pointer);
        is_same.then_some(record)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, step) in &self.functions {
            let name = &step.target.name;
            match &step.work {
                Work::Update { code, .. } => {
                    write!(f, "  update  {key} ({name}): {} sha256 {}", code.key, code.sha256.short())?;
                    if let Some(ArchitectureChange { from, to }) = code.architecture {
                        write!(f, ", architecture {from} -> {to}")?;
                    }
                    writeln!(f)?;
                }
                Work::Publish(why) => writeln!(f, "  publish {key} ({name}): {why}")?,
                Work::Keep(version) => writeln!(f, "  keep    {key} ({name}): version {version}")?,
            }
        }
        for (name, Change { from, to }) in &self.variables {
            match (from, to) {
                (Some(from), Some(to)) => writeln!(f, "  set     {name} = {to} (was {from})")?,
                (_, Some(to)) => writeln!(f, "  set     {name} = {to}")?,
                (_, None) => writeln!(f, "  remove  {name}")?,
            }
        }
        match self.version.as_str() {
            UNRELEASED => f.write_str("  deploy  the API, then switch the stage")?,
            version => write!(f, "  deploy  the API, then switch the stage to {version}")?,
        }
        let others = self.calls.other_lines();
        if !others.is_empty() {
            write!(f, "\n  calls that do not belong to the release:")?;
        }
        others.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Architecture, Sha256};
    use crate::release::model::Pointer;

    /// The plan of one function that has the code of the release, and the architecture `now`.
    fn plan_for(now: Option<Architecture>, built: Option<Architecture>) -> String {
        let sha256 = Sha256::of(b"zip");
        let record = ArtifactRecord {
            key: "users/1.zip".into(),
            s3_version: None,
            sha256,
            size: 1,
            architecture: built,
        };
        let target = Target { name: "users-get".parse().unwrap(), artifact: "users".into() };
        let key: FunctionKey = "users_get".parse().unwrap();
        let desired = Desired {
            version: "1".parse().unwrap(),
            artifacts: [("users".to_owned(), record)].into(),
            functions: [(key.clone(), target)].into(),
            variables: BTreeMap::new(),
        };
        let state = FunctionState {
            code_sha256: sha256.base64(),
            config_sha256: sha256,
            aws_config_sha256: None,
            architecture: now,
            revision: "r".into(),
            failed: None,
        };
        let pointer = Pointer { deployment_id: "d1".parse().unwrap(), variables: BTreeMap::new() };
        let observed = Observed {
            functions: [(key, state)].into(),
            stage: StageState { pointer, canary: None, cached: false },
            definition: Definition::new(BTreeMap::new()),
            location: Location { account: "111111111111".parse().unwrap(), region: "eu-west-1".into() },
            current: None,
        };
        plan(&desired, &observed).unwrap().to_string()
    }

    #[test]
    fn a_changed_architecture_updates_the_function_though_its_code_is_the_same() {
        let (x86, arm) = (Some(Architecture::X86_64), Some(Architecture::Arm64));
        let line = plan_for(x86, arm);
        assert!(line.starts_with("  update  users_get (users-get): users/1.zip sha256 "), "{line}");
        assert!(line.contains(", architecture x86_64 -> arm64\n"), "{line}");
        // Nothing is changed where either is unknown: an emulator, or a zip of an older record.
        for (now, built) in [(x86, x86), (None, arm), (arm, None)] {
            let line = plan_for(now, built);
            assert!(line.starts_with("  publish users_get") && !line.contains("architecture"), "{line}");
        }
    }
}
