//! Checks what deployctl assumes about AWS, in a sandbox API, function and objects of its own.
//!
//! [`Sandbox`] creates and deletes them. The checks are in [`check`], and what they do in the other files.

mod check;
mod gateway;
mod lambda;
mod objects;
mod sandbox;
mod traffic;

pub(crate) use self::check::Check;
pub(crate) use self::sandbox::{Plan, Sandbox, delete, leftovers};
pub(crate) use self::traffic::MAX_REQUESTS;

use crate::documents::conformance::{Checked, Verdict};
use crate::engine::failure::Failure;
use crate::event::Events;

/// What a check has observed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Observation {
    verdict: Verdict,
    observed: String,
    milliseconds: Option<u64>,
}

impl Observation {
    /// Passed if `holds`.
    fn of(holds: bool, observed: impl Into<String>) -> Self {
        let verdict = if holds { Verdict::Passed } else { Verdict::Differs };
        Self { verdict, observed: observed.into(), milliseconds: None }
    }

    fn not_tried(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotTried, observed: reason.into(), milliseconds: None }
    }

    fn after(self, milliseconds: u64) -> Self {
        Self { milliseconds: Some(milliseconds), ..self }
    }

    fn checked(self, check: Check) -> Checked {
        let Self { verdict, observed, milliseconds } = self;
        Checked { check: check.id(), assumption: check.assumption(), verdict, observed, milliseconds }
    }
}

/// Why the work in the sandbox ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Interrupted,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Makes all checks, one after the other. A check whose calls fail is not tried, and does not stop the others.
///
/// # Errors
/// [`Stop::Interrupted`].
pub(crate) async fn run(sandbox: &mut Sandbox, events: &Events) -> Result<Vec<Checked>, Stop> {
    let mut results = Vec::new();
    for &check in Check::ALL {
        let work = async {
            match observe(check, sandbox).await {
                // The progress shows a step that fails.
                Ok(observation) if observation.verdict == Verdict::Differs => Err(Ok(observation)),
                Ok(observation) => Ok(observation),
                Err(Stop::Failed(failure)) => Ok(Observation::not_tried(failure.to_string())),
                Err(interrupted) => Err(Err(interrupted)),
            }
        };
        let observation = match events.step(check.id(), work).await {
            Ok(observation) => observation,
            Err(differs_or_interrupted) => differs_or_interrupted?,
        };
        results.push(observation.checked(check));
    }
    Ok(results)
}

async fn observe(check: Check, sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    match check {
        Check::CodeSha256 => Ok(lambda::code_sha256(sandbox)),
        Check::VersionPending => lambda::version_pending(sandbox).await,
        Check::VersionInactive => Ok(Observation::not_tried(
            "AWS makes a version Inactive after weeks without an invocation; this cannot be forced",
        )),
        Check::PublishUnchanged => lambda::publish_unchanged(sandbox).await,
        Check::UpdateCodeUnchanged => lambda::update_code_unchanged(sandbox).await,
        Check::PublishConfiguration => lambda::publish_configuration(sandbox).await,
        Check::DeleteAliased => lambda::delete_aliased(sandbox).await,
        Check::DeleteVersion => lambda::delete_version(sandbox).await,
        Check::RevisionMismatch => lambda::revision_mismatch(sandbox).await,
        Check::PublishOtherCode => lambda::publish_other_code(sandbox).await,
        Check::DryRun => lambda::dry_run(sandbox).await,
        Check::UpdateInProgress => lambda::update_in_progress(sandbox).await,
        Check::StageVariableVersion => traffic::stage_variable_version(sandbox).await,
        Check::StageVariableAbsent => traffic::stage_variable_absent(sandbox).await,
        Check::ApiChange => traffic::api_change(sandbox).await,
        Check::Deployment => traffic::deployment(sandbox).await,
        Check::SwitchDelay => traffic::switch(sandbox).await,
        Check::InvokePending | Check::SwitchAtomic | Check::SwitchThreeAnswers => {
            Ok(sandbox.take_observed(check))
        }
        Check::DeploymentInUse => gateway::deployment_in_use(sandbox).await,
        Check::CanaryAdd => gateway::canary_add(sandbox).await,
        Check::CanaryReplace => gateway::canary_replace(sandbox).await,
        Check::CanaryShare => traffic::canary_share(sandbox).await,
        Check::CanaryRemove => gateway::canary_remove(sandbox).await,
        Check::FlushStageCache => gateway::flush_stage_cache(sandbox).await,
        Check::FlushAuthorizersCache => gateway::flush_authorizers_cache(sandbox).await,
        Check::UpdateStageInvalid => gateway::update_stage_invalid(sandbox).await,
        Check::VariableCharacters => gateway::variable_characters(sandbox).await,
        Check::UpdateStage60 => gateway::update_stage(sandbox, 60, true).await,
        Check::UpdateStage80 => gateway::update_stage(sandbox, 80, true).await,
        Check::UpdateStage81 => gateway::update_stage(sandbox, 81, false).await,
        Check::UpdateStage101 => gateway::update_stage(sandbox, 101, false).await,
        Check::StageVariables101 => gateway::stage_variables_101(sandbox).await,
        Check::PutIfNoneMatch => objects::put_if_none_match(sandbox).await,
        Check::PutIfMatch => objects::put_if_match(sandbox).await,
        Check::CopyIfNoneMatch => objects::copy_if_none_match(sandbox).await,
        Check::ObjectChecksum => objects::checksum(sandbox).await,
        Check::ReadAfterWrite => objects::read_after_write(sandbox).await,
    }
}
