//! The steps of a release that move no traffic and may be repeated: publish versions, deploy the API, run
//! checks.

use std::collections::BTreeMap;

use futures::stream::{FuturesUnordered, TryStreamExt};
use futures::try_join;

use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::unless_interrupted;
use crate::engine::observe::require_versioned;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::FunctionPhase;
use crate::platform::unique_id;
use crate::release::calls::Calls;
use crate::release::check::Invocation;
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::model::{DeploymentId, FunctionKey, FunctionName, FunctionVersion, Version};
use crate::release::plan::{Observed, Plan, Step, Work};
use crate::release::record::FunctionRecord;
use crate::release::state::{Activity, Code, FunctionState, Published, PublishedState};

/// The result of the prepare steps, which is not live yet.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) functions: BTreeMap<FunctionKey, FunctionRecord>,
    pub(crate) snapshot: Snapshot,
}

/// A deployment of the API, and the definition that it froze.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: DeploymentId,
    pub(crate) fingerprint: Sha256,
    pub(crate) definition: Definition,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Publishes the functions and deploys the API concurrently; last of all, the functions whose new code gets
    /// requests at once.
    ///
    /// # Errors
    /// The old release serves. What was prepared stays, gets no requests, and is reused by the next attempt.
    pub(crate) async fn prepare(
        &self,
        port: &impl StagePort,
        plan: &Plan,
        observed: &Observed,
    ) -> Result<Prepared> {
        let named = || plan.functions.iter().map(|(key, step)| (key, &step.target));
        let calls = |definition: &Definition| Calls::of(definition, &observed.location, named());
        let snapshot = self.snapshot(port, &plan.version, observed.definition.clone(), calls);
        let work = async {
            let functions = self.publish_all(port, plan, observed, false);
            let (mut functions, snapshot) = try_join!(functions, snapshot)?;
            functions.extend(self.publish_all(port, plan, observed, true).await?);
            Ok((functions, snapshot))
        };
        let (functions, snapshot) = unless_interrupted(&self.context.cancel, work).await?;
        Ok(Prepared { functions, snapshot })
    }

    /// Publishes the functions that are called without a version, or the others.
    pub(super) async fn publish_all(
        &self,
        port: &impl StagePort,
        plan: &Plan,
        observed: &Observed,
        latest: bool,
    ) -> Result<BTreeMap<FunctionKey, FunctionRecord>> {
        // All at once: `requests` limits the calls, and the waits need no limit.
        plan.functions
            .iter()
            .filter(|(_, step)| step.target.latest == latest)
            .map(|(key, step)| async move {
                let state = observed
                    .functions
                    .get(key)
                    .ok_or_else(|| Error::bug(format!("{key} was not observed")))?;
                let published = self.update_function(port, key, step, state).await?;
                let (config_sha256, aws_config_sha256) =
                    self.configuration(port, step, state, &published.version).await?;
                let record = FunctionRecord {
                    name: step.target.name.clone(),
                    artifact: step.target.artifact.clone(),
                    config_sha256,
                    aws_config_sha256,
                    version: published.version,
                    code_sha256: published.code_sha256,
                    alias: step.target.alias.clone(),
                    latest: step.target.latest,
                    provisioned: step.target.provisioned,
                };
                Ok((key.clone(), record))
            })
            .collect::<FuturesUnordered<_>>()
            .try_collect()
            .await
    }

    /// The digest of a version's configuration, and Lambda's own hash of it where it is known. An update that
    /// changed the architecture changed both.
    async fn configuration(
        &self,
        port: &impl StagePort,
        step: &Step,
        state: &FunctionState,
        version: &FunctionVersion,
    ) -> Result<(Sha256, Option<String>)> {
        let Work::Update { code: Code { architecture: Some(_), .. }, .. } = &step.work else {
            return Ok((state.config_sha256, state.aws_config_sha256.clone()));
        };
        let name = &step.target.name;
        let _permit = self.requests.acquire().await;
        let read = port.version(name, version).await.and_then(|read| {
            read.ok_or_else(|| {
                Failure::rejected("GetFunctionConfiguration", name.as_str(), "the version was deleted")
            })
        });
        let read = read.map_err(|failure| {
            not_switched(&format!("failed to read the new version of function {name}"), failure)
        })?;
        Ok((read.config_sha256, None))
    }

    /// Publishes one function if its plan says so, and reports the progress.
    async fn update_function(
        &self,
        port: &impl StagePort,
        key: &FunctionKey,
        step: &Step,
        state: &FunctionState,
    ) -> Result<Published> {
        let work = match &step.work {
            Work::Keep(_) => return self.publish(port, key, step, state).await,
            Work::Publish(_) => FunctionPhase::Publishing,
            Work::Update { .. } => FunctionPhase::Updating,
        };
        self.context.events.function(key.as_str(), work);
        let published = self.publish(port, key, step, state).await;
        let version = published.as_ref().map(|published| published.version.to_string());
        let end = version.as_ref().map_or(FunctionPhase::Failed, |version| FunctionPhase::Done(version));
        self.context.events.function(key.as_str(), end);
        published
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
            let version = match &step.work {
                Work::Keep(version) => format!("keep version {version}"),
                _ => "publish the new version".to_owned(),
            };
            not_switched(&format!("failed to {version} of function {name}"), failure)
        };
        let published = {
            let _permit = self.requests.acquire().await;
            self.request_version(port, step, state).await.map_err(failed)?
        };
        let activity = published.activity.clone();
        if matches!(step.work, Work::Keep(_)) {
            self.activate_version(port, key, name, &published.version, activity).await.map_err(failed)?;
            return Ok(published);
        }
        if activity != Activity::Active {
            self.context.events.function(key.as_str(), FunctionPhase::Waiting);
        }
        self.wait_until_active(port, name, &published.version, activity).await.map_err(failed)?;
        Ok(published)
    }

    /// Makes the calls that publish a version, or reads the one that is kept. It may not be active yet.
    async fn request_version(
        &self,
        port: &impl StagePort,
        step: &Step,
        state: &FunctionState,
    ) -> std::result::Result<Published, Failure> {
        let name = &step.target.name;
        match &step.work {
            Work::Keep(version) => {
                let read = port.version(name, version).await?;
                let kept = read.filter(|read| read.code_sha256 == state.code_sha256);
                match kept {
                    Some(PublishedState { code_sha256, activity, .. }) => {
                        Ok(Published { version: version.clone(), code_sha256, activity })
                    }
                    // The version that the live release names was deleted.
                    None => self.publish_latest(port, name, state).await,
                }
            }
            Work::Publish(_) => self.publish_latest(port, name, state).await,
            Work::Update { code, revision } => {
                let expected = code.code_sha256();
                self.lease.record_sent_code(name, &expected).await;
                let published = match port.update_code(name, code, revision).await {
                    Err(failure) if failure.may_have_happened() => {
                        // If only the answer was lost, the function has the code, and another revision.
                        let now = port.function(name).await?;
                        if now.code_sha256 != expected {
                            return Err(failure);
                        }
                        port.publish(name, &expected, None).await?
                    }
                    answer => answer?,
                };
                if published.code_sha256 != expected {
                    let message =
                        format!("it has CodeSha256 {}, but {expected} was sent", published.code_sha256);
                    return Err(Failure::rejected("UpdateFunctionCode", name.as_str(), message));
                }
                Ok(published)
            }
        }
    }

    /// Publishes `$LATEST`, if it is still as it was read.
    async fn publish_latest(
        &self,
        port: &impl StagePort,
        name: &FunctionName,
        state: &FunctionState,
    ) -> std::result::Result<Published, Failure> {
        match port.publish(name, &state.code_sha256, Some(&state.revision)).await {
            Err(failure) if failure.may_have_happened() => {
                // Publishing changes the revision: if only the answer was lost, the old one no longer holds.
                let now = port.function(name).await?;
                let same = (&now.code_sha256, now.config_sha256);
                if same != (&state.code_sha256, state.config_sha256) {
                    return Err(failure);
                }
                port.publish(name, &now.code_sha256, Some(&now.revision)).await
            }
            answer => answer,
        }
    }

    /// Deploys the API, whose definition is `definition`, with these `calls`. If it has changed since it was
    /// read, the fingerprint of the snapshot is uncertain, so the API is deployed again.
    ///
    /// # Errors
    /// `api.empty`, `api.moving`, `api.unversioned`, or the error of AWS. The old release serves.
    pub(crate) async fn snapshot(
        &self,
        port: &impl StagePort,
        version: &Version,
        mut definition: Definition,
        calls: impl Fn(&Definition) -> Calls,
    ) -> Result<Snapshot> {
        let failed = |failure| not_switched("failed to deploy the API", failure);
        for _ in 0..3 {
            if !definition.has_routes() {
                return Err(Error::new(
                    Kind::OldReleaseServes,
                    ErrorId::ApiEmpty,
                    "failed to deploy the API: it has no methods",
                )
                .hint("the old release serves; add a method with an integration in Terraform"));
            }
            let fingerprint = definition.fingerprint();
            let description =
                DeploymentDescription { version: version.clone(), fingerprint, nonce: unique_id() };
            let description = description.to_string();
            let deploy = async { self.deploy(port, &description).await.map_err(failed) };
            let (_, id) = try_join!(self.ledger.store_definition(&definition), deploy)?;
            let after = port.definition().await.map_err(failed)?;
            if after.fingerprint() == fingerprint {
                for reason in after.unproven() {
                    self.context.events.warn(format!(
                        "{reason}; deployed, but whether the deployment contains all of the API is unknown"
                    ));
                }
                return Ok(Snapshot { id, fingerprint, definition: after });
            }
            let changes = definition.changes(&after).join("\n  ");
            self.context.events.warn(format!(
                "the API was edited while it was being deployed; deploying again:\n  {changes}"
            ));
            definition = after;
            require_versioned(&calls(&definition), Kind::OldReleaseServes, "the old release serves")?;
        }
        Err(Error::new(
            Kind::OldReleaseServes,
            ErrorId::ApiMoving,
            "failed to deploy the API: it kept changing while it was being deployed",
        )
        .hint("the old release serves; stop the edits of the API, and run the command again"))
    }

    /// CreateDeployment has no idempotency token: after a lost answer, the deployment is found by its
    /// description.
    async fn deploy(
        &self,
        port: &impl StagePort,
        description: &str,
    ) -> std::result::Result<DeploymentId, Failure> {
        match port.create_deployment(description).await {
            Err(failure) if failure.may_have_happened() => {
                let mut deployments = port.deployments().await?.into_iter();
                let created = deployments.find(|deployment| deployment.description == description);
                created.map(|deployment| deployment.id).ok_or(failure)
            }
            answer => answer,
        }
    }

    /// Invokes the new versions, which get no other requests yet.
    ///
    /// # Errors
    /// `check.failed` with the expected and the actual result; the old release serves.
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
                    "check {:?} invokes {}, which is not released",
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
                    Error::new(Kind::OldReleaseServes, ErrorId::CheckFailed, message)
                        .hint("the old release serves, the new one was never live; see the function's log")
                })
            };
            let work = unless_interrupted(&self.context.cancel, invoke);
            self.context.events.step(&format!("check {}", check.name), work).await?;
        }
        Ok(())
    }
}

pub(super) fn not_switched(message: &str, failure: Failure) -> Error {
    let otherwise = match failure.meaning {
        Meaning::Denied => "the caller lacks the permission that the error above names",
        Meaning::Precondition => "another caller changed the resource meanwhile; run the command again",
        _ => "run the command again: it reuses what was prepared",
    };
    let hint = failure.hint("the old release serves", otherwise);
    Error::new(Kind::OldReleaseServes, ErrorId::ReleaseNotSwitched, message).because(failure).hint(hint)
}
