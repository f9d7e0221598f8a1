//! The plan of a release, computed from values alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;

use super::calls::{Callee, Calls, Location};
use super::check::Invocation;
use super::definition::Definition;
use super::diff::Change;
use super::model::{
    AliasName, FunctionKey, FunctionName, FunctionVersion, RELEASE_VARIABLE, UNRELEASED, Version,
};
use super::patch::{MAX_OPERATIONS, Size};
use super::record::{ArtifactRecord, FunctionRecord, Outcome, Record, Release};
use super::runtime;
use crate::artifact::Contents;
use crate::release::state::{AliasState, ArchitectureChange, Code, FunctionState, StageState};

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
    /// What is in the zips, by name, of those that were built here.
    pub(crate) contents: BTreeMap<String, Contents>,
    /// Whether the functions keep the code that they run. Then there are no zips.
    pub(crate) running_code: bool,
    /// Whether the stage is moved in steps, if it has a release.
    pub(crate) by_canary: bool,
}

/// A function of the contract.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Target {
    pub(crate) name: FunctionName,
    /// The artifact it runs.
    pub(crate) artifact: String,
    /// The alias that other services call.
    #[serde(default)]
    pub(crate) alias: Option<AliasName>,
    /// Whether it is called without a version.
    #[serde(default, deserialize_with = "or_false")]
    pub(crate) latest: bool,
    /// The provisioned concurrency of its version.
    #[serde(default)]
    pub(crate) provisioned: Option<NonZeroU16>,
    /// How often it is invoked at once before the switch, where nothing is provisioned.
    #[serde(default)]
    pub(crate) warm: Option<NonZeroU16>,
}

impl<'a> From<&'a Target> for Callee<'a> {
    fn from(target: &'a Target) -> Self {
        Self { name: &target.name, alias: target.alias.as_ref(), latest: target.latest }
    }
}

/// A boolean that Terraform can leave `null`.
fn or_false<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(<Option<bool> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) functions: BTreeMap<FunctionKey, FunctionState>,
    /// The aliases that the contract names.
    pub(crate) aliases: BTreeMap<FunctionKey, AliasState>,
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
    /// Functions that the live deployment calls without a version, and that get other code.
    pub(crate) exposed: BTreeSet<FunctionKey>,
    /// Functions that are called without a version, get other code, and have no earlier zip.
    pub(crate) without_earlier_zip: BTreeSet<FunctionKey>,
    /// Why it is not known whether there are some exposed functions.
    pub(crate) unknown_exposure: Option<String>,
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
    #[error("alias {alias} of {name} sends a part of its requests to a second version")]
    WeightedAlias { name: FunctionName, alias: AliasName },
    #[error("the switch would have {0}, and one call of API Gateway takes {MAX_OPERATIONS}")]
    TooLarge(Size),
    #[error("the contract names no function")]
    NoFunctions,
    #[error("function {key} runs artifact {artifact:?}, which is not in deployctl.toml")]
    UnknownArtifact { key: FunctionKey, artifact: String },
    #[error("function {key} ({name}) cannot start artifact {artifact:?}: {reason}")]
    CannotStart { key: FunctionKey, name: FunctionName, artifact: String, reason: String },
    #[error("check {check:?} invokes function {key}, which is not in the contract")]
    UnknownFunction { check: String, key: FunctionKey },
    #[error("prepare {name:?} invokes function {key}, which is not in the contract")]
    UnknownPreparation { name: String, key: FunctionKey },
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
        if !desired.running_code && !desired.artifacts.contains_key(&target.artifact) {
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
        return Err(Refusal::Canary(canary.deployment_id.clone()));
    }
    let size = size(desired, observed);
    let by_canary = desired.by_canary && observed.current.is_some();
    check_size(if by_canary { size.with_canary() } else { size })?;
    for (key, Target { name, alias, .. }) in &desired.functions {
        let is_weighted = observed.aliases.get(key).is_some_and(|state| state.target.second.is_some());
        if let Some(alias) = alias.as_ref().filter(|_| is_weighted) {
            return Err(Refusal::WeightedAlias { name: name.clone(), alias: alias.clone() });
        }
    }
    let mut functions = BTreeMap::new();
    for (key, target) in &desired.functions {
        let (key_and_target, current) = ((key, target), observed.current.as_ref());
        let work = match (desired.artifacts.get(&target.artifact), observed.functions.get(key)) {
            (Some(zip), Some(state)) => {
                check_start(key_and_target, zip, desired.contents.get(&target.artifact), state)?;
                work(key_and_target, zip, state, current)
            }
            (None, Some(state)) if desired.running_code => publish_or_keep(key_and_target, state, current),
            _ => {
                return Err(Refusal::UnknownArtifact { key: key.clone(), artifact: target.artifact.clone() });
            }
        };
        functions.insert(key.clone(), Step { target: target.clone(), work });
    }
    let calls = Calls::of(&observed.definition, &observed.location, &desired.functions);
    let variables = changed_variables(desired, observed);
    let live = observed.current.as_ref().map(|record| &record.release);
    let has_zip = |key: &FunctionKey| {
        live.is_some_and(|live| {
            let function = live.functions.get(key);
            function.is_some_and(|function| live.artifacts.contains_key(&function.artifact))
        })
    };
    let sent = functions
        .iter()
        .filter(|(_, step): &(_, &Step)| step.target.latest && matches!(step.work, Work::Update { .. }));
    let without_earlier_zip = sent.map(|(key, _)| key).filter(|key| !has_zip(key)).cloned().collect();
    Ok(Plan {
        version: desired.version.clone(),
        functions,
        calls,
        variables,
        exposed: BTreeSet::new(),
        without_earlier_zip,
        unknown_exposure: None,
    })
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

/// Checks that a function can start an artifact.
fn check_start(
    (key, target): (&FunctionKey, &Target),
    artifact: &ArtifactRecord,
    contents: Option<&Contents>,
    state: &FunctionState,
) -> Result<(), Refusal> {
    let reason = match (artifact.image, state.start.is_image) {
        (true, false) => Some("it is a container image, and the function runs zips".to_owned()),
        (false, true) => Some("it is a zip, and the function runs container images".to_owned()),
        _ => contents.and_then(|contents| runtime::problem(contents, &state.start)),
    };
    let Some(reason) = reason else { return Ok(()) };
    let Target { name, artifact, .. } = target.clone();
    Err(Refusal::CannotStart { key: key.clone(), name, artifact, reason })
}

fn work(
    (key, target): (&FunctionKey, &Target),
    zip: &ArtifactRecord,
    state: &FunctionState,
    current: Option<&Record>,
) -> Work {
    // Only an update of the code changes the architecture.
    let code = Code::of(zip, state.architecture);
    // After a failed update, Lambda shows the new hash but runs the old code, so it must be sent again.
    let is_other_code = state.code_sha256 != code.code_sha256();
    if is_other_code || state.failed.is_some() || code.architecture.is_some() {
        return Work::Update { code, revision: state.revision.clone() };
    }
    publish_or_keep((key, target), state, current)
}

/// The work for a function whose code is not changed.
fn publish_or_keep(
    (key, target): (&FunctionKey, &Target),
    state: &FunctionState,
    current: Option<&Record>,
) -> Work {
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
    /// The functions that get other code and are not in the live release: the live deployment may call them
    /// without a version.
    pub(crate) fn may_be_exposed<'a>(
        &'a self,
        current: Option<&'a Record>,
    ) -> impl Iterator<Item = &'a FunctionKey> {
        let is_released = move |key: &FunctionKey, target: &Target| {
            let released = current.and_then(|record| record.release.functions.get(key));
            released.is_some_and(|function| function.name == target.name)
        };
        self.functions.iter().filter_map(move |(key, Step { target, work })| {
            let is_changed = matches!(work, Work::Update { .. });
            (is_changed && !target.latest && !is_released(key, target)).then_some(key)
        })
    }

    /// Whether no function changes.
    pub(crate) fn keeps_all(&self) -> bool {
        self.functions.values().all(|step| matches!(step.work, Work::Keep(_)))
    }

    /// Whether the functions of `release` have the provisioned concurrency of this plan.
    fn provisions(&self, release: &Release) -> bool {
        self.functions.iter().all(|(key, step)| {
            release.functions.get(key).is_some_and(|function| function.provisioned == step.target.provisioned)
        })
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
            && self.reaches(release, observed)
            && self.provisions(release)
            && release.is_served_by(&observed.stage.pointer);
        is_same.then_some(record)
    }

    /// Whether the functions are reached as in `release`, and its aliases point to its versions.
    fn reaches(&self, release: &Release, observed: &Observed) -> bool {
        self.functions.iter().all(|(key, Step { target, .. })| {
            let live = release.functions.get(key);
            live.is_some_and(|live| (&live.alias, live.latest) == (&target.alias, target.latest))
                && observed.aliases.get(key).is_none_or(|alias| {
                    live.is_some_and(|live| alias.target.version.as_str() == live.version.as_str())
                })
        })
    }

    /// A line for each thing that is not moved by the switch.
    pub(crate) fn not_atomic(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, Step { target, work }) in &self.functions {
            let name = &target.name;
            if self.exposed.contains(key) {
                lines.push(format!(
                    "$LATEST of {key} ({name}), which the live deployment calls, gets its new code before the \
                     switch: a release needs --running-code or --not-atomic"
                ));
            }
            if let Some(alias) = &target.alias {
                lines.push(format!("alias {alias} of {key} ({name}) is moved right after the switch"));
            }
            if target.latest {
                let when = match work {
                    Work::Update { .. } if self.without_earlier_zip.contains(key) => {
                        "gets its new code before the switch, and keeps it if the release fails: it has no earlier zip"
                    }
                    Work::Update { .. } => "gets its new code before the switch",
                    _ => "is called without a version; its code does not change",
                };
                lines.push(format!("$LATEST of {key} ({name}) {when}"));
            }
        }
        lines
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
        for (key, Step { target, .. }) in &self.functions {
            let name = &target.name;
            match (target.provisioned, target.warm) {
                (Some(count), _) => writeln!(f, "  warm    {key} ({name}): provisioned concurrency {count}")?,
                (None, Some(count)) => writeln!(f, "  warm    {key} ({name}): {count} invocations at once")?,
                (None, None) => {}
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
        let not_atomic = self.not_atomic();
        if !not_atomic.is_empty() {
            write!(f, "\n  not atomic:")?;
        }
        not_atomic.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
        if let Some(reason) = &self.unknown_exposure {
            write!(f, "\n  unknown whether the live deployment calls functions without a version: {reason}")?;
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
    use crate::release::state::Start;

    /// The plan of one function that has the code of the release, and the architecture `now`.
    fn plan_for(now: Option<Architecture>, built: Option<Architecture>) -> String {
        let sha256 = Sha256::of(b"zip");
        let record = ArtifactRecord {
            key: "users/1.zip".into(),
            s3_version: None,
            sha256,
            size: 1,
            architecture: built,
            image: false,
        };
        let target = Target {
            name: "users-get".parse().unwrap(),
            artifact: "users".into(),
            alias: None,
            latest: false,
            provisioned: None,
            warm: None,
        };
        let key: FunctionKey = "users_get".parse().unwrap();
        let desired = Desired {
            version: "1".parse().unwrap(),
            artifacts: [("users".to_owned(), record)].into(),
            functions: [(key.clone(), target)].into(),
            variables: BTreeMap::new(),
            contents: BTreeMap::new(),
            running_code: false,
            by_canary: false,
        };
        let state = FunctionState {
            code_sha256: sha256.base64(),
            config_sha256: sha256,
            aws_config_sha256: None,
            architecture: now,
            revision: "r".into(),
            failed: None,
            start: Start::default(),
        };
        let pointer = Pointer { deployment_id: "d1".parse().unwrap(), variables: BTreeMap::new() };
        let observed = Observed {
            functions: [(key, state)].into(),
            aliases: BTreeMap::new(),
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
