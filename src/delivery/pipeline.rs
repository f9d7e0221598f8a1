//! The steps of a release, which `release` and `promote` share.

use futures::future::{Either, select};

use super::layers::Infrastructure;
use super::source::{Source, Stored};
use crate::aws::s3::Bucket;
use crate::engine::held::HeldStage;
use crate::engine::operations::{Origin, Released};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::release::model::Version;
use crate::release::plan::Desired;

#[derive(Debug)]
pub(crate) struct Delivered {
    /// The release, and how its API differs from the one before.
    pub(crate) released: Released,
    /// Where the stage answers.
    pub(crate) url: String,
}

/// Releases `version` from `source`: Terraform and the artifacts beside each other, then the release itself.
pub(crate) async fn run_release(session: &Session, version: &Version, source: &Source) -> Result<Delivered> {
    let driver = session.driver_for(Some(version)).await?;
    let infrastructure = Infrastructure::new(session, driver)?;
    let command = format!("{} {version}", source.command());
    let stage_context = session.stage_context()?;

    let Some(bucket) = known_bucket(session).await? else {
        // The first release: there is no bucket yet, so neither ledger nor lease, and nothing live to protect.
        let first = infrastructure.plan(&infrastructure.waves[0]);
        let (planned, artifacts) = both(first, source.artifacts(session)).await?;
        infrastructure.apply(planned).await?;
        let done = infrastructure.bucket_wave()?;
        for wave in &infrastructure.waves[1..=done] {
            infrastructure.apply(infrastructure.plan(wave).await?).await?;
        }
        let bucket = session.artifact_bucket().await?.ok_or_else(|| missing_bucket(session))?;
        let held = HeldStage::take(&stage_context, bucket, command).await?;
        return held
            .during(async |held| {
                let stored = artifacts.store(session, &held.store, version).await?;
                infrastructure.apply_remaining(done + 1, Vec::new()).await?;
                release_stored(session, held, version, stored).await
            })
            .await;
    };
    let held = HeldStage::take(&stage_context, bucket, command).await?;
    held.during(async |held| {
        let stored = async { source.artifacts(session).await?.store(session, &held.store, version).await };
        let (planned, stored) = both(infrastructure.plan(&infrastructure.waves[0]), stored).await?;
        infrastructure.apply_remaining(1, planned).await?;
        release_stored(session, held, version, stored).await
    })
    .await
}

/// From artifacts in the bucket to a live release: plan, prepare, check, switch, verify, record.
async fn release_stored(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    version: &Version,
    stored: Stored,
) -> Result<Delivered> {
    // The layer was applied just now: without outputs, it is not the release that is missing, but the output.
    let contract = match session.applied_contract().await? {
        Some(contract) => contract,
        None => Contract::read(&session.settings.contract, None, &[])?,
    };
    let aws_stage = session.aws_stage(&contract)?;
    let Stored { artifacts, git, promoted_from } = stored;
    let desired = Desired { version: version.clone(), artifacts, functions: contract.functions.clone() };
    let api = (contract.rest_api_id.as_str(), contract.stage_name.as_str());
    let released = held.release(&aws_stage, desired, Origin { git, promoted_from, api }).await?;
    Ok(Delivered { released, url: session.url(&contract) })
}

/// Does both, and ends with the first error; but when it is an interrupt, the other one is waited for, which has been
/// told, too: Terraform must not be left with its state locked.
async fn both<A, B>(
    a: impl Future<Output = Result<A>>,
    b: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let interrupted = |error: &Error| error.kind == Kind::Interrupted;
    match select(Box::pin(a), Box::pin(b)).await {
        Either::Left((a, b)) => match a {
            Err(error) if interrupted(&error) => {
                let _ended = b.await;
                Err(error)
            }
            a => Ok((a?, b.await?)),
        },
        Either::Right((b, a)) => match b {
            Err(error) if interrupted(&error) => {
                let _ended = a.await;
                Err(error)
            }
            b => {
                let b = b?;
                Ok((a.await?, b))
            }
        },
    }
}

/// The artifact bucket, if the stage has one.
async fn known_bucket(session: &Session) -> Result<Option<Bucket>> {
    match session.artifact_bucket().await {
        // A bucket under a wrong name was never released to, and only the layer, once corrected, can tell the
        // right one: it is to be applied, not to be waited for.
        Err(error) if error.id.is_contract() => Ok(None),
        other => other,
    }
}

fn missing_bucket(session: &Session) -> Error {
    let output = &session.settings.bucket;
    Error::new(
        Kind::Terraform,
        ErrorId::ContractMissing,
        format!("layer {:?} was applied, but has no outputs", output.layer),
    )
    .hint(format!("give it an output {:?} with the name of the artifact bucket", output.output))
}
