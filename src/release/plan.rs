//! The plan of a release: computed from values alone, shown, and then carried out.

use std::collections::BTreeMap;
use std::fmt;

use super::check::Invocation;
use super::model::{FunctionKey, FunctionName, FunctionVersion, MAX_FUNCTIONS, Version};
use super::record::{ArtifactRecord, Record};
use crate::artifact::Architecture;
use crate::release::state::{Code, FunctionState, StageState};

/// What is to be live.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) version: Version,
    /// The zips, by name.
    pub(crate) artifacts: BTreeMap<String, Zip>,
    /// The functions, by stage variable.
    pub(crate) functions: BTreeMap<FunctionKey, Target>,
}

/// A zip in the bucket and what it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zip {
    /// Where it lies and what it is.
    pub(crate) record: ArtifactRecord,
    /// What it was built for.
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
    /// The record of what is live, if there is one.
    pub(crate) current: Option<Record>,
}

/// What a release will do before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The version to be live.
    pub(crate) version: Version,
    /// A step for each function.
    pub(crate) functions: BTreeMap<FunctionKey, Step>,
}

/// What happens to one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which function and artifact.
    pub(crate) target: Target,
    pub(crate) work: Work,
}

/// Why a function whose code is there gets another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyPublish {
    /// The live release does not have the function, or has it under another name.
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

/// What is done to a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Update {
        code: Code,
        /// The function must still be at this revision.
        revision: String,
    },
    /// The code is there, and no published version has this code and this configuration.
    Publish {
        /// The function must still be at this revision.
        revision: String,
        why: WhyPublish,
    },
    /// The live version is just this.
    Keep(FunctionVersion),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A canary is in progress.
    #[error("a canary is in progress on the stage (deployment {0})")]
    Canary(String),
    /// More functions than API Gateway has stage variables for.
    #[error("{0} functions are more than the {MAX_FUNCTIONS} that fit into a stage's variables")]
    TooMany(usize),
    #[error("the contract names no function")]
    NoFunctions,
    /// The contract names an artifact that deployctl.toml does not.
    #[error("function {key} runs artifact {artifact:?}, which deployctl.toml does not have")]
    UnknownArtifact { key: FunctionKey, artifact: String },
    /// A check of a function that the contract does not have.
    #[error("check {check:?} invokes function {key}, which the contract does not have")]
    UnknownFunction { check: String, key: FunctionKey },
    /// The artifact would not run there.
    #[error("function {key} is {function}, but artifact {artifact:?} is built for {built}")]
    Architecture { key: FunctionKey, function: Architecture, artifact: String, built: Architecture },
}

/// Checks what can be checked before anything is read from Lambda.
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

/// Checks that what is to be invoked will be released.
pub(crate) fn check_invocations(desired: &Desired, invocations: &[Invocation]) -> Result<(), Refusal> {
    let unknown = invocations.iter().find(|check| !desired.functions.contains_key(&check.function));
    match unknown {
        None => Ok(()),
        Some(check) => {
            Err(Refusal::UnknownFunction { check: check.name.clone(), key: check.function.clone() })
        }
    }
}

/// Decides what a release does.
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
    // A failed update left the old code running behind the new hash: it must be sent again.
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
    /// Whether no function changes. A release still makes a new API deployment.
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
