//! The update of a stage in `deployctl dev`: what changed is built, and served without a record.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::try_join;
use jiff::Timestamp;

use super::approval::{Consent, Consented};
use super::build::{Built, build_unrecorded, contents, records, upload};
use super::code_only::differences;
use super::layers::Infrastructure;
use super::source::require_versioned;
use super::stage_variables;
use crate::aws::s3::Bucket;
use crate::engine::dev::Served;
use crate::engine::held::HeldStage;
use crate::engine::lease::Lease;
use crate::engine::operations::Origin;
use crate::error::{Error, Result};
use crate::platform::{atomic_file, private};
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::release::model::{DEV, Version};
use crate::release::once::Repeat;
use crate::release::plan::Desired;
use crate::release::record::ArtifactRecord;

/// What is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Code,
    /// The layers, too.
    Infrastructure,
}

/// What has changed since the layers were last applied: [`Scope::Code`] if they are as they were.
///
/// # Errors
/// Those of reading the states.
pub(crate) async fn needed(session: &Session) -> Result<Scope> {
    let Some(contract) = session.applied_contract_to_change().await? else {
        return Ok(Scope::Infrastructure);
    };
    let settings = &session.settings;
    let with_outputs = settings.contract_layer().into_iter().chain(settings.bucket_layer());
    session.read_other_states(with_outputs).await?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let lease = Lease::peek(&bucket, &settings.stage.name).await?.document.unwrap_or_default();
    let is_same = differences(&lease.layers, &session.layers_now()?).is_empty();
    Ok(if is_same { Scope::Code } else { Scope::Infrastructure })
}

/// Builds, and serves what has changed. With [`Scope::Infrastructure`] the layers are planned and applied first; a
/// stage that has never been released is created.
///
/// # Errors
/// Those of the build and of Terraform. The stage serves what it served before.
pub(crate) async fn serve(
    session: &Session,
    scope: Scope,
    consent: &Consent<'_>,
) -> Result<(Served, Contract)> {
    let version: Version = DEV.parse().map_err(|_| Error::bug("the version of dev is invalid"))?;
    if scope == Scope::Infrastructure {
        return with_infrastructure(session, &version, consent).await;
    }
    // The compiler may need long, and the stage is not held meanwhile.
    let (built, contract) = try_join!(build_unrecorded(session), session.contract_to_change())?;
    let context = session.stage_context()?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let held = HeldStage::take(&context, bucket, DEV.to_owned()).await?;
    let served = held.during(async |held| {
        let upload = upload(session, held, &version, &built);
        serve_built(session, held, &version, &built, &contract, upload).await
    });
    Ok((served.await?, contract))
}

async fn with_infrastructure(
    session: &Session,
    version: &Version,
    consent: &Consent<'_>,
) -> Result<(Served, Contract)> {
    let before = session.layers_now().unwrap_or_default();
    let known = session.artifact_bucket().await?;
    let infrastructure = Infrastructure::new(session, session.driver_for(Some(version)).await?)?;
    let context = session.stage_context()?;
    let all = || infrastructure.waves.iter().flatten().copied();
    // Not `try_join!`: a plan that is stopped would leave its state locked.
    let (planned, built) = futures::join!(infrastructure.plan_early(), build_unrecorded(session));
    let (mut progress, built) = (planned?, built?);
    let listed = infrastructure.all_to_confirm(&progress);
    if !listed.is_empty() {
        (consent.ask)(listed.clone()).await?;
    }
    let consented = Consented::to_destructions(listed);
    let bucket = if let Some(bucket) = known {
        bucket
    } else {
        let with_bucket = infrastructure.waves[..infrastructure.waves_with_bucket()].iter().flatten();
        infrastructure.apply(&mut progress, with_bucket.copied(), &consented).await?;
        session
            .artifact_bucket()
            .await?
            .ok_or_else(|| Error::bug("the layers were applied without a bucket"))?
    };
    let held = HeldStage::take(&context, bucket, DEV.to_owned()).await?;
    held.during(async |held| {
        require_versioned(session, &held.store).await?;
        let uploaded = upload(session, held, version, &built).await?;
        infrastructure.apply(&mut progress, all(), &consented).await?;
        let contract = session.contract_of_release().await?;
        session.remember(&contract);
        held.record_layers(session.layers_applied(&before)).await;
        let uploaded = std::future::ready(Ok(uploaded));
        let served = serve_built(session, held, version, &built, &contract, uploaded).await?;
        Ok((served, contract))
    })
    .await
}

async fn serve_built(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    version: &Version,
    built: &Built,
    contract: &Contract,
    upload: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
) -> Result<Served> {
    stage_variables::must_be_in_contract(&session.settings, contract)?;
    let desired = Desired {
        version: version.clone(),
        artifacts: records(session, version, built),
        functions: contract.functions.clone(),
        variables: contract.variables.clone(),
        contents: contents(built),
        running_code: false,
        by_canary: false,
    };
    let api = (contract.rest_api_id.as_str(), contract.stage_name.as_str());
    let origin = Origin {
        git: None,
        promoted_from: None,
        api,
        force: false,
        not_atomic: true,
        repeat: Repeat::Skip,
        infrastructure: None,
    };
    let aws_stage = session.aws_stage(contract)?;
    let served = held.serve(&aws_stage, desired, origin, upload).await?;
    mark(session);
    Ok(served)
}

fn marker(session: &Session) -> PathBuf {
    session.settings.work_dir().join("stages").join(format!("{}.dev", session.settings.stage.name))
}

/// Forgets since when an earlier `dev` served.
pub(crate) fn begin(session: &Session) {
    // Without the file, `status` does not say since when.
    drop(std::fs::remove_file(marker(session)));
}

/// Notes since when `dev` serves the stage.
fn mark(session: &Session) {
    let file = marker(session);
    if !file.exists() {
        drop(private::create_dir_all(&file.with_file_name("")));
        drop(atomic_file::write_private(&file, Timestamp::now().to_string().as_bytes()));
    }
}

/// Since when `dev` serves the stage, which is at [`DEV`]; `None` if that was not noted.
pub(crate) fn since(session: &Session) -> Option<Timestamp> {
    std::fs::read_to_string(marker(session)).ok()?.parse().ok()
}
