//! Verifies and copies the artifacts of another stage's release.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::store_error::store_error;
use crate::aws::s3::Bucket;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ledger::Ledger;
use crate::engine::ports::{Store as _, UploadError};
use crate::error::{Error, ErrorId, Result};
use crate::project::session::Session;
use crate::project::settings::Stage;
use crate::release::model::{StageName, Version};
use crate::release::record::{ArtifactRecord, Release};

const RESTORE: &str =
    "nothing was changed; restore the zip from the bucket's versions, or release its source again";

/// A release of another stage.
#[derive(Debug)]
pub(crate) struct Promotion {
    pub(crate) from: StageName,
    /// The release in that stage's ledger.
    pub(crate) release: Release,
    /// The bucket of its zips, read with the credentials of the target stage.
    bucket: Bucket,
}

impl Promotion {
    /// Finds the newest release of `version` that was live on the stage of `source`.
    pub(crate) async fn find(source: &Session, target: &Session, version: &Version) -> Result<Self> {
        let from = source.settings.stage.name.clone();
        let contract = source.contract().await?;
        let ledger = Ledger::new(source.aws.bucket(&contract.artifact_bucket), from.clone());
        let last = ledger.numbers().await?.last().copied().unwrap_or(0);
        let record = ledger.newest_of(version, last).await?.ok_or_else(|| {
            Error::usage(
                ErrorId::PromoteUnknownVersion,
                format!("failed to promote: version {version} was never live on stage {from}"),
            )
            .hint(format!("nothing was changed; `deployctl history --stage {from}` lists its releases"))
        })?;
        let bucket = target.aws.bucket_in(&source.settings.stage.region, &contract.artifact_bucket);
        Ok(Self { from, release: record.release, bucket })
    }

    /// Verifies that the zips that the stage of `session` needs still have the recorded bytes, and returns
    /// their ETags.
    ///
    /// # Errors
    /// `promote.other_bytes`, `promote.gone`, `promote.denied` or `promote.no_artifact`; nothing was changed.
    pub(super) async fn verify(&self, session: &Session) -> Result<Vec<VerifiedArtifact<'_>>> {
        try_join_all(session.settings.artifacts.iter().map(|settings| async {
            let name = &settings.recipe.name;
            let artifact = self.release.artifacts.get(name).ok_or_else(|| {
                let Self { release, from, .. } = self;
                let message = format!(
                    "failed to promote release {} of stage {from}: it has no artifact {name:?}",
                    release.version
                );
                Error::preflight(ErrorId::PromoteNoArtifact, message).hint(
                    "what is live is unchanged; release this project on that stage first, then promote it",
                )
            })?;
            let etag = self.bucket.verify_artifact(artifact).await;
            let etag = etag.map_err(|error| self.verify_error(artifact, &session.settings.stage, error))?;
            Ok(VerifiedArtifact { artifact, etag })
        }))
        .await
    }

    fn verify_error(&self, artifact: &ArtifactRecord, target: &Stage, error: UploadError) -> Error {
        let release = format!("failed to promote release {} of stage {}", self.release.version, self.from);
        let key = &artifact.key;
        let (id, reason, hint) = match &error {
            UploadError::OtherBytes { .. } => {
                (ErrorId::PromoteOtherBytes, "has other bytes than the release", RESTORE.to_owned())
            }
            UploadError::Aws(Failure { meaning: Meaning::Denied, .. }) => (
                ErrorId::PromoteDenied,
                "cannot be read with the credentials for the target stage",
                format!(
                    "nothing was changed; S3 copies with the credentials for {}: allow account {} s3:GetObject \
                     and s3:GetObjectVersion on {}/*, in the policy of that bucket and in that of the role",
                    target.name,
                    target.account,
                    self.bucket.name()
                ),
            ),
            UploadError::Aws(failure) if failure.advice.is_some() => {
                (ErrorId::AwsRead, "cannot be read", failure.hint("nothing was changed", ""))
            }
            _ => (ErrorId::PromoteGone, "does not exist or cannot be read", RESTORE.to_owned()),
        };
        Error::preflight(id, format!("{release}: {key} {reason}")).because(error).hint(hint)
    }

    /// Copies verified zips to the bucket of the stage of `session`.
    pub(super) async fn copy(
        &self,
        session: &Session,
        bucket: &Bucket,
        version: &Version,
        verified: &[VerifiedArtifact<'_>],
    ) -> Result<BTreeMap<String, ArtifactRecord>> {
        let copies = session.settings.artifacts.iter().zip(verified).map(|(settings, verified)| async move {
            let VerifiedArtifact { artifact, etag } = verified;
            let key = settings.key(version);
            let copied = bucket
                .copy(&self.bucket, artifact, etag, &key)
                .await
                .map_err(|error| store_error(version, error, None))?;
            let record = ArtifactRecord { key, s3_version: copied.s3_version, ..(*artifact).clone() };
            Ok::<_, Error>((settings.recipe.name.clone(), record))
        });
        Ok(try_join_all(copies).await?.into_iter().collect())
    }
}

/// A zip that still has the recorded bytes.
#[derive(Debug)]
pub(crate) struct VerifiedArtifact<'a> {
    artifact: &'a ArtifactRecord,
    etag: String,
}
