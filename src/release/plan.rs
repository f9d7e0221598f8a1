//! The plan of a release, computed from values alone.

use std::collections::BTreeMap;
use std::fmt;

use super::check::Invocation;
use super::model::{FunctionKey, FunctionName, FunctionVersion, MAX_FUNCTIONS, Version};
use super::record::{ArtifactRecord, Record};
use crate::artifact::Architecture;
use crate::release::state::{Code, FunctionState, StageState};

/// The release that is to be live.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) version: Version,
    /// The zips, by name.
    pub(crate) artifacts: BTreeMap<String, Zip>,
    /// The functions, by stage variable.
    pub(crate) functions: BTreeMap<FunctionKey, Target>,
}

/// A zip in the bucket and its architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zip {
    pub(crate) record: ArtifactRecord,
    pub(crate) architecture: Architecture,
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
    /// The record of the live release.
    pub(crate) current: Option<Record>,
}

/// The steps of a release before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) version: Version,
    /// A step for each function.
    pub(crate) functions: BTreeMap<FunctionKey, Step>,
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
    Publish {
        /// The function must still be at this revision.
        revision: String,
        why: WhyPublish,
    },
    /// The live version has this code and configuration.
    Keep(FunctionVersion),
}

/// Why a release cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a canary is in progress on the stage (deployment {0})")]
    Canary(String),
    #[error("{0} functions are more than the {MAX_FUNCTIONS} that fit into a stage's variables")]
    TooMany(usize),
    #[error("the contract names no function")]
    NoFunctions,
    #[error("function {key} runs artifact {artifact:?}, which is not in deployctl.toml")]
    UnknownArtifact { key: FunctionKey, artifact: String },
    #[error("check {check:?} invokes function {key}, which is not in the contract")]
    UnknownFunction { check: String, key: FunctionKey },
    #[error("function {key} is {function}, but artifact {artifact:?} is built for {built}")]
    Architecture { key: FunctionKey, function: Architecture, artifact: String, built: Architecture },
}

/// Checks what needs no read of AWS.
///
/// # Errors
/// The first reason to refuse the release.
pub(crate) fn check(desired: &Desired) -> Result<(), Refusal> {
    if desired.functions.is_empty() {
        return Err(Refusal::NoFunctions);
    }
    if desired.functions.len() > MAX_FUNCTIONS {
        return Err(Refusal::TooMany(desired.functions.len()));
    }
    for (key, target) in &desired.functions {
        if !desired.artifacts.contains_key(&target.artifact) {
            return Err(Refusal::UnknownArtifact { key: key.clone(), artifact: target.artifact.clone() });
        }
    }
    Ok(())
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
    let mut functions = BTreeMap::new();
    for (key, target) in &desired.functions {
        let (Some(zip), Some(state)) = (desired.artifacts.get(&target.artifact), observed.functions.get(key))
        else {
            return Err(Refusal::UnknownArtifact { key: key.clone(), artifact: target.artifact.clone() });
        };
        if let Some(function) = state.architecture.filter(|function| *function != zip.architecture) {
            return Err(Refusal::Architecture {
                key: key.clone(),
                function,
                artifact: target.artifact.clone(),
                built: zip.architecture,
            });
        }
        let work = work(key, target, zip, state, observed.current.as_ref());
        functions.insert(key.clone(), Step { target: target.clone(), work });
    }
    Ok(Plan { version: desired.version.clone(), functions })
}

fn work(
    key: &FunctionKey,
    target: &Target,
    zip: &Zip,
    state: &FunctionState,
    current: Option<&Record>,
) -> Work {
    // After a failed update, Lambda shows the new hash but runs the old code, so it must be sent again.
    if state.code_sha256 != zip.record.sha256.base64() || state.failed.is_some() {
        let code = Code {
            key: zip.record.key.clone(),
            s3_version: zip.record.s3_version.clone(),
            sha256: zip.record.sha256,
        };
        return Work::Update { code, revision: state.revision.clone() };
    }
    let live = current.and_then(|record| record.release.functions.get(key));
    let why = match live.filter(|live| live.name == target.name) {
        None => WhyPublish::New,
        Some(live) if live.code_sha256 != state.code_sha256 => WhyPublish::CodeSent,
        Some(live) if live.config_sha256 != state.config_sha256 => WhyPublish::ConfigurationChanged,
        Some(live) => return Work::Keep(live.version.clone()),
    };
    Work::Publish { revision: state.revision.clone(), why }
}

impl Plan {
    /// Whether no function changes. A release still creates a new API deployment.
    pub(crate) fn keeps_all(&self) -> bool {
        self.functions.values().all(|step| matches!(step.work, Work::Keep(_)))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, step) in &self.functions {
            let name = &step.target.name;
            match &step.work {
                Work::Update { code, .. } => {
                    writeln!(f, "  update  {key} ({name}): {} sha256 {}", code.key, code.sha256.short())?;
                }
                Work::Publish { why, .. } => writeln!(f, "  publish {key} ({name}): {why}")?,
                Work::Keep(version) => writeln!(f, "  keep    {key} ({name}): version {version}")?,
            }
        }
        write!(f, "  deploy  the API, then switch the stage to {}", self.version)
    }
}
