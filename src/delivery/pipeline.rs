//! The pipeline that `release` and `promote` share.

use std::collections::BTreeMap;

use futures::future::{Either, select};
use futures::{join, try_join};

use super::approval::{self, Consent, Consented, Destruction};
use super::layers::{Infrastructure, Progress};
use super::plan::Applied;
use super::source::{Artifacts, Source, Stored, require_versioned};
use super::stage_variables;
use crate::aws::s3::Bucket;
use crate::engine::held::HeldStage;
use crate::engine::operations::{Origin, Released};
use crate::engine::ports::Store as _;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::project::settings::ArtifactBucket;
use crate::release::model::Version;
use crate::release::once::Repeat;
use crate::release::plan::Desired;
use crate::release::record::{AppliedLayer, ArtifactRecord, InfrastructureRecord};

/// What a release does only if it is asked to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReleaseOptions {
    /// Deploy also if exactly this release is live.
    pub(crate) force: bool,
    /// Send new code to functions that the live deployment calls without a version.
    pub(crate) not_atomic: bool,
    /// What to do about functions of `[[prepare]]` that have run.
    pub(crate) repeat: Repeat,
}

#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) released: Released,
    pub(crate) contract: Contract,
}

/// Releases `version` from `source`: plan the layers, and build and upload the artifacts meanwhile; apply the
/// layers, and then the release itself. `known` is what [`known_bucket`] has read.
/// `options` say what it does although it would not without them.
///
/// # Errors
/// Those of each step. The hint says what is live.
pub(crate) async fn run_release(
    session: &Session,
    (known_bucket, known_contract): (Option<Bucket>, Option<Contract>),
    version: &Version,
    source: &Source,
    consent: &Consent<'_>,
    options: ReleaseOptions,
) -> Result<Delivered> {
    let before = session.layers_now().unwrap_or_default();
    let driver = session.driver_for(Some(version)).await?;
    let infrastructure = Infrastructure::new(session, driver)?.guarding_aliases_of(known_contract.as_ref());
    let command = format!("{} {version}", source.command());
    let stage_context = session.stage_context()?;

    let all = || infrastructure.waves.iter().flatten().copied();
    let Some(bucket) = known_bucket else {
        // The first release: without a bucket there is neither ledger nor lease, and no live release.
        let (mut progress, consented, artifacts) =
            apply_bucket(session, &infrastructure, version, source, consent).await?;
        let bucket = session.artifact_bucket().await?.ok_or_else(|| missing_bucket(session))?;
        let held = HeldStage::take(&stage_context, bucket, command).await?;
        return held
            .during(async |held| {
                require_versioned(session, &held.store).await?;
                let stored = artifacts.store(session, held, version).await?;
                infrastructure.apply(&mut progress, all(), &consented).await?;
                release_applied(session, held, (version, options), stored, &before).await
            })
            .await;
    };
    let held = HeldStage::take(&stage_context, bucket, command).await?;
    held.during(async |held| {
        let artifacts = async {
            let versioned = require_versioned(session, &held.store);
            let (artifacts, ()) = try_join!(source.artifacts_of(session, held, version), versioned)?;
            // Nothing refers to the zips yet, so those of a failed plan can be replaced. Only of an approved
            // plan nothing may be done before it is compared.
            let is_approved = consent.approved.is_some();
            let stored =
                if is_approved { None } else { Some(artifacts.store(session, held, version).await?) };
            Ok((artifacts, stored))
        };
        let (mut progress, (artifacts, stored)) = run_both(infrastructure.plan_early(), artifacts).await?;
        let consented = obtain(consent, session, &infrastructure, (&progress, version, &artifacts)).await?;
        let stored = match stored {
            Some(stored) => stored,
            None => artifacts.store(session, held, version).await?,
        };
        infrastructure.apply(&mut progress, all(), &consented).await?;
        release_applied(session, held, (version, options), stored, &before).await
    })
    .await
}

/// Plans the layers of a first release, builds its artifacts, and applies the layers up to the artifact bucket.
/// Nothing is applied before the build has succeeded, except on a local stage, for which nobody pays: there the
/// first layers are applied while cargo compiles.
async fn apply_bucket<'a>(
    session: &Session,
    infrastructure: &Infrastructure<'_>,
    version: &Version,
    source: &'a Source,
    consent: &Consent<'_>,
) -> Result<(Progress, Consented, Artifacts<'a>)> {
    let waves = infrastructure.waves[..infrastructure.waves_with_bucket()].iter();
    let with_bucket = || waves.clone().flatten().copied();
    let build = source.artifacts(session);
    let compiles = matches!(source, Source::Build) && session.settings.compiles();
    if session.local.is_none() || !compiles || consent.approved.is_some() {
        let (mut progress, artifacts) = run_both(infrastructure.plan_early(), build).await?;
        let consented = obtain(consent, session, infrastructure, (&progress, version, &artifacts)).await?;
        infrastructure.apply(&mut progress, with_bucket(), &consented).await?;
        return Ok((progress, consented, artifacts));
    }
    let layers = async {
        let mut progress = infrastructure.plan_early().await?;
        let consented = confirm(consent, infrastructure.all_to_confirm(&progress)).await?;
        infrastructure.apply(&mut progress, with_bucket(), &consented).await?;
        Ok((progress, consented))
    };
    let ((progress, consented), artifacts) = run_beside(layers, build).await?;
    Ok((progress, consented, artifacts))
}

/// Obtains consent to what the layers would do. Nothing is changed yet.
///
/// # Errors
/// `approved_plan.changed` with exit code 10, or the error of the question.
async fn obtain(
    consent: &Consent<'_>,
    session: &Session,
    infrastructure: &Infrastructure<'_>,
    (progress, version, artifacts): (&Progress, &Version, &Artifacts<'_>),
) -> Result<Consented> {
    let listed = infrastructure.all_to_confirm(progress);
    if let (Some(approved), Artifacts::Built(built)) = (consent.approved, artifacts) {
        let release = Applied::read(session).await?.plan(session, version, built).await?;
        let actions = progress.actions();
        let planned = approval::digest(&actions, built, release.as_ref());
        if planned != approved {
            return Err(approval::not_approved(approved, planned));
        }
        return Ok(Consented::to_plan(listed, actions));
    }
    confirm(consent, listed).await
}

/// Asks whether the layers may destroy or replace what is `listed`.
async fn confirm(consent: &Consent<'_>, listed: Vec<Destruction>) -> Result<Consented> {
    if !listed.is_empty() {
        (consent.ask)(listed.clone()).await?;
    }
    Ok(Consented::to_destructions(listed))
}

/// Releases artifacts that are in the bucket, after the layers were applied: plan, prepare, check, switch,
/// verify, record. `before` are the layers as they were when the release began.
async fn release_applied(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    (version, options): (&Version, ReleaseOptions),
    stored: Stored,
    before: &BTreeMap<String, AppliedLayer>,
) -> Result<Delivered> {
    let others = session.read_other_states(session.settings.contract_layer());
    let (contract, ()) = try_join!(session.contract_of_release(), others)?;
    session.require_one_bucket(&contract, held.store.name())?;
    stage_variables::must_be_in_contract(&session.settings, &contract)?;
    session.remember(&contract);
    let layers = session.layers_applied(before);
    held.record_layers(layers.clone()).await;
    let infrastructure = InfrastructureRecord { planned: true, layers };
    let upload = std::future::ready(Ok(stored.artifacts.clone()));
    release(session, held, &contract, (version, options), stored, infrastructure, upload).await
}

/// Releases `stored`; `upload` uploads its artifacts, and returns their records with the versions of the objects.
pub(super) async fn release(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    contract: &Contract,
    (version, options): (&Version, ReleaseOptions),
    stored: Stored,
    infrastructure: InfrastructureRecord,
    upload: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
) -> Result<Delivered> {
    let Stored { artifacts, contents, running_code, git, promoted_from } = stored;
    let (functions, variables) = (contract.functions.clone(), contract.variables.clone());
    let version = version.clone();
    let by_canary = session.has_canary();
    let desired = Desired { version, artifacts, functions, variables, contents, running_code, by_canary };
    let api = (contract.rest_api_id.as_str(), contract.stage_name.as_str());
    let ReleaseOptions { force, not_atomic, repeat } = options;
    let infrastructure = Some(infrastructure);
    let origin = Origin { git, promoted_from, api, force, not_atomic, repeat, infrastructure };
    let aws_stage = session.aws_stage(contract)?;
    let release = held.release_stored(&aws_stage, desired, origin, upload);
    // It depends on no release, only on the bucket.
    let (released, ()) = join!(release, session.write_promotion_source(&contract.artifact_bucket));
    Ok(Delivered { released: released?, contract: contract.clone() })
}

/// Runs both, and ends with the first error. After an interrupt it waits for the other one, which is
/// interrupted as well: otherwise Terraform would leave its state locked.
async fn run_both<A, B>(
    a: impl Future<Output = Result<A>>,
    b: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let interrupted = |error: &Error| error.kind == Kind::Interrupted;
    match select(Box::pin(a), Box::pin(b)).await {
        Either::Left((a, b)) => match a {
            Err(error) if interrupted(&error) => {
                let _result = b.await;
                Err(error)
            }
            a => Ok((a?, b.await?)),
        },
        Either::Right((b, a)) => match b {
            Err(error) if interrupted(&error) => {
                let _result = a.await;
                Err(error)
            }
            b => {
                let b = b?;
                Ok((a.await?, b))
            }
        },
    }
}

/// Runs both, and ends with the first error, but waits for `layers`: Terraform must not be stopped while it applies.
async fn run_beside<A, B>(
    layers: impl Future<Output = Result<A>>,
    build: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    match select(Box::pin(layers), Box::pin(build)).await {
        Either::Left((Ok(layers), build)) => Ok((layers, build.await?)),
        Either::Left((Err(error), build)) => {
            if error.kind == Kind::Interrupted {
                let _result = build.await;
            }
            Err(error)
        }
        Either::Right((build, layers)) => {
            let layers = layers.await;
            let build = build?;
            Ok((layers?, build))
        }
    }
}

/// The artifact bucket, if the stage has one, and the contract of the last apply.
///
/// # Errors
/// Those of reading the outputs of the layers.
pub(crate) async fn known_bucket(session: &Session) -> Result<(Option<Bucket>, Option<Contract>)> {
    let (bucket, contract) = futures::join!(session.artifact_bucket(), session.applied_contract());
    match (bucket, contract) {
        // An invalid contract was never released with. Applying the corrected layer repairs it, so this must
        // not fail here.
        (Err(error), _) if error.id.is_contract() => Ok((None, None)),
        (Ok(Some(bucket)), Ok(Some(contract))) => {
            session.require_one_bucket(&contract, bucket.name())?;
            Ok((Some(bucket), Some(contract)))
        }
        (bucket, contract) => Ok((bucket?, contract.ok().flatten())),
    }
}

fn missing_bucket(session: &Session) -> Error {
    let ArtifactBucket::Output(output) = &session.settings.bucket else {
        return Error::bug("an artifact bucket with a name has none");
    };
    Error::new(
        Kind::Terraform,
        ErrorId::ContractMissing,
        format!("failed to read the outputs of layer {:?}: it was applied and has none", output.layer),
    )
    .hint(format!(
        "what is live is unchanged; add an output {:?} with the name of the artifact bucket",
        output.output
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn layers_that_are_being_applied_end_before_a_failed_build_is_reported() {
        let applied = Cell::new(false);
        let layers = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            applied.set(true);
            Ok(())
        };
        let build = async { Err::<(), _>(Error::bug("of the build")) };
        let error = run_beside(layers, build).await.unwrap_err();
        assert!(error.to_string().contains("of the build"), "{error}");
        assert!(applied.get());
    }

    #[tokio::test]
    async fn a_build_is_given_up_when_a_layer_fails() {
        let layers = async { Err::<(), _>(Error::bug("of a layer")) };
        let error = run_beside(layers, std::future::pending::<Result<()>>()).await.unwrap_err();
        assert!(error.to_string().contains("of a layer"), "{error}");
    }
}
