//! The steps of a release that move no traffic, and may be repeated: published versions, a deployment of the API, and the
//! checks of both.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;

use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::unless_interrupted;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::FunctionPhase;
use crate::platform::unique_id;
use crate::release::check::Invocation;
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::model::{DeploymentId, FunctionKey, Version};
use crate::release::plan::{Observed, Plan, Step, Work};
use crate::release::record::FunctionRecord;
use crate::release::state::{FunctionState, Published};

/// Functions under way at once. The account's rate is kept by the pace, not by this.
const MAX_CONCURRENT: usize = 16;

/// What the prepare steps have made: everything of a release that is not live yet.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) functions: BTreeMap<FunctionKey, FunctionRecord>,
    /// The snapshot of the API.
    pub(crate) snapshot: Snapshot,
}

/// A deployment of the API, and what it froze.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: DeploymentId,
    /// The fingerprint of the definition.
    pub(crate) fingerprint: Sha256,
    pub(crate) definition: Definition,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Makes everything of the release that moves no traffic: functions and API snapshot side by side.
    pub(crate) async fn prepare(
        &self,
        port: &impl StagePort,
        plan: &Plan,
        observed: &Observed,
    ) -> Result<Prepared> {
        let functions = stream::iter(&plan.functions)
            .map(|(key, step)| async move {
                let state = observed
                    .functions
                    .get(key)
                    .ok_or_else(|| Error::bug(format!("{key} was not observed")))?;
                let published = self.update_function(port, key, step, state).await?;
                let record = FunctionRecord {
                    name: step.target.name.clone(),
                    artifact: step.target.artifact.clone(),
                    version: published.version,
                    code_sha256: published.code_sha256,
                    config_sha256: state.config_sha256,
                };
                Ok((key.clone(), record))
            })
            .buffer_unordered(MAX_CONCURRENT)
            .try_collect::<BTreeMap<_, _>>();
        let work = async { try_join!(functions, self.snapshot(port, &plan.version)) };
        let (functions, snapshot) = unless_interrupted(&self.context.cancel, work).await?;
        Ok(Prepared { functions, snapshot })
    }

    /// Brings one function to its published version, and tells how far it is.
    async fn update_function(
        &self,
        port: &impl StagePort,
        key: &FunctionKey,
        step: &Step,
        state: &FunctionState,
    ) -> Result<Published> {
        let work = match &step.work {
            Work::Keep(_) => return self.publish(port, key, step, state).await,
            Work::Publish { .. } => FunctionPhase::Publishing,
            Work::Update { .. } => FunctionPhase::Updating,
        };
        self.context.events.function(key.as_str(), work);
        let brought = self.publish(port, key, step, state).await;
        let version = brought.as_ref().map(|published| published.version.to_string());
        let end = version.as_ref().map_or(FunctionPhase::Failed, |version| FunctionPhase::Done(version));
        self.context.events.function(key.as_str(), end);
        brought
    }

    async fn publish(
        &self,
        port: &impl StagePort,
        key: &FunctionKey,
        step: &Step,
        state: &FunctionState,
    ) -> Result<Published> {
        let name = &step.target.name;
        let failed = |failure: Failure| {
            let message = format!("failed to publish the new version of function {name}");
            not_switched(&message, failure)
        };
        let published = match &step.work {
            Work::Keep(version) => {
                let code_sha256 = state.code_sha256.clone();
                return Ok(Published { version: version.clone(), code_sha256 });
            }
            Work::Publish { revision, .. } => {
                match port.publish(name, &state.code_sha256, Some(revision)).await {
                    Err(failure) if failure.may_have_happened() => {
                        // Publishing moves the revision, so after a lost answer a repetition meets another one.
                        let now = port.function(name).await.map_err(failed)?;
                        let same = (&now.code_sha256, now.config_sha256);
                        if same != (&state.code_sha256, state.config_sha256) {
                            return Err(failed(failure));
                        }
                        port.publish(name, &now.code_sha256, Some(&now.revision)).await.map_err(failed)?
                    }
                    answer => answer.map_err(failed)?,
                }
            }
            Work::Update { code, revision } => {
                let wanted = code.sha256.base64();
                self.lease.record_sent_code(name, &wanted).await;
                let published = match port.update_code(name, code, revision).await {
                    Err(failure) if failure.may_have_happened() => {
                        // The answer may have been lost, and a repetition then meets another revision.
                        let now = port.function(name).await.map_err(failed)?;
                        if now.code_sha256 != wanted {
                            return Err(failed(failure));
                        }
                        port.publish(name, &wanted, None).await.map_err(failed)?
                    }
                    answer => answer.map_err(failed)?,
                };
                if published.code_sha256 != wanted {
                    let message =
                        format!("it has CodeSha256 {} where {wanted} was sent", published.code_sha256);
                    return Err(failed(Failure::rejected("UpdateFunctionCode", name.as_str(), message)));
                }
                published
            }
        };
        self.context.events.function(key.as_str(), FunctionPhase::Waiting);
        port.wait_active(name, &published.version).await.map_err(failed)?;
        Ok(published)
    }

    /// Takes a snapshot of the API whose fingerprint is known: an edit while it is taken is noticed, and the
    /// snapshot taken again.
    ///
    /// # Errors
    /// `api.empty`, `api.moving`, or AWS's refusal. The old release serves.
    pub(crate) async fn snapshot(&self, port: &impl StagePort, version: &Version) -> Result<Snapshot> {
        let failed = |failure| not_switched("failed to deploy the API", failure);
        let mut definition = port.definition().await.map_err(failed)?;
        for _ in 0..3 {
            if !definition.has_routes() {
                return Err(Error::new(
                    Kind::OldReleaseServes,
                    ErrorId::ApiEmpty,
                    "the API has no methods, so there is nothing to deploy",
                )
                .hint("what is live is unchanged; add a method with an integration in Terraform"));
            }
            let fingerprint = self.ledger.keep_definition(&definition).await?;
            let note = DeploymentDescription { version: version.clone(), fingerprint, nonce: unique_id() };
            let id = self.deploy(port, &note.to_string()).await.map_err(failed)?;
            let after = port.definition().await.map_err(failed)?;
            if after.fingerprint() == fingerprint {
                return Ok(Snapshot { id, fingerprint, definition });
            }
            let changes = definition.changes(&after).join("\n  ");
            self.context.events.warn(format!(
                "the API was edited while it was being deployed; deploying again:\n  {changes}"
            ));
            definition = after;
        }
        Err(Error::new(
            Kind::OldReleaseServes,
            ErrorId::ApiMoving,
            "the API kept changing while it was being deployed",
        )
        .hint("what is live is unchanged; find out who edits it, and run the command again"))
    }

    /// CreateDeployment has no idempotency token: after a lost answer its own note is looked for.
    async fn deploy(&self, port: &impl StagePort, note: &str) -> std::result::Result<DeploymentId, Failure> {
        match port.create_deployment(note).await {
            Err(failure) if failure.may_have_happened() => {
                let found = port.deployments().await?.into_iter().find(|there| there.description == note);
                found.map(|deployment| deployment.id).ok_or(failure)
            }
            answer => answer,
        }
    }

    /// Invokes the new versions before anybody else does. Nothing that runs is touched.
    ///
    /// # Errors
    /// `check.failed` with what was expected and what came; the old release serves.
    pub(crate) async fn run_checks(
        &self,
        port: &impl StagePort,
        functions: &BTreeMap<FunctionKey, FunctionRecord>,
        version: &Version,
        invocations: &[Invocation],
    ) -> Result<()> {
        for check in invocations {
            let function = functions.get(&check.function).ok_or_else(|| {
                Error::bug(format!(
                    "check {:?} is about {}, which is not released",
                    check.name, check.function
                ))
            })?;
            let invoke = async {
                let invoked =
                    port.invoke(&function.name, &function.version, &check.payload(version)).await.map_err(
                        |failure| not_switched(&format!("failed to run check {:?}", check.name), failure),
                    )?;
                check.judge(&invoked, version).map_err(|why| {
                    let Invocation { name, .. } = check;
                    let FunctionRecord { name: function, version: number, .. } = function;
                    let message = format!("check {name:?} of {function}:{number} failed: {why}");
                    Error::new(Kind::OldReleaseServes, ErrorId::CheckFailed, message).hint(
                        "the old release serves, the new one was never live; the function's log may tell why",
                    )
                })
            };
            let work = unless_interrupted(&self.context.cancel, invoke);
            self.context.events.step(&format!("check {}", check.name), work).await?;
        }
        Ok(())
    }
}

pub(super) fn not_switched(message: &str, failure: Failure) -> Error {
    let hint = match failure.meaning {
        Meaning::Denied => {
            "the old release serves; the caller lacks a permission: AWS's answer above names it"
        }
        Meaning::Precondition => {
            "the old release serves; it was changed by another caller meanwhile, so run the command again"
        }
        _ => "the old release serves; run the command again: what was prepared is used again",
    };
    Error::new(Kind::OldReleaseServes, ErrorId::ReleaseNotSwitched, message).because(failure).hint(hint)
}
