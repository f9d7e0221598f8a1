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
use crate::release::promotable::{self, ExpectedHashes, Unpromotable};
use crate::release::record::{ArtifactRecord, Release};

const RESTORE: &str =
    "nothing was changed; restore the zip from the bucket's versions, or release its source again";

/// A release of another stage.
#[derive(Debug)]
pub(crate) struct Promotion {
    pub(crate) from: StageName,
    /// The number of its record in that stage's ledger.
    number: u64,
    /// The release in that stage's ledger.
    pub(crate) release: Release,
    /// The bucket of its zips, read with the credentials of the target stage.
    bucket: Bucket,
}

impl Promotion {
    /// Finds the newest release of `version` that was live on the stage of `source`. All its records must agree
    /// on its bytes.
    ///
    /// # Errors
    /// `promote.unknown_version`, `promote.unexpected` or `promote.disagreement`; nothing was changed.
    pub(crate) async fn find(
        source: &Session,
        target: &Session,
        version: &Version,
        expected: &ExpectedHashes,
    ) -> Result<Self> {
        let from = source.settings.stage.name.clone();
        let artifact_bucket = source.artifact_bucket_to_promote_from().await?;
        let ledger = Ledger::new(source.aws.bucket(&artifact_bucket), from.clone());
        let record = promotable::choose(ledger.all_of(version).await?, expected)
            .map_err(|problem| refused(version, &from, problem))?;
        let Stage { region, artifact_bucket_account, .. } = &source.settings.stage;
        let bucket = target.aws.bucket_in(region, artifact_bucket_account, &artifact_bucket);
        Ok(Self { from, number: record.number, release: record.release, bucket })
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
            if artifact.image {
                // Its digest is part of its URI, and Lambda must be able to read it.
                return Ok(VerifiedArtifact { artifact, etag: String::new() });
            }
            let etag = self.bucket.verify_artifact(artifact).await;
            let etag = etag.map_err(|error| self.verify_error(artifact, &session.settings.stage, error))?;
            let Self { from, number, .. } = self;
            session.events.note(format!("{name}: sha256 {} (record {number} of {from})", artifact.sha256));
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
            if artifact.image {
                return Ok((settings.recipe.name.clone(), (*artifact).clone()));
            }
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

fn refused(version: &Version, from: &StageName, problem: Unpromotable) -> Error {
    let failed = format!("failed to promote version {version} of stage {from}");
    match problem {
        Unpromotable::NeverLive => Error::usage(
            ErrorId::PromoteUnknownVersion,
            format!("failed to promote: version {version} was never live on stage {from}"),
        )
        .hint(format!("nothing was changed; `deployctl history --stage {from}` lists its releases")),
        Unpromotable::Unexpected { .. } => Error::preflight(
            ErrorId::PromoteUnexpected,
            format!("{failed}: it has not the expected bytes"),
        )
        .because(problem)
        .hint(
            "nothing was changed; compare the value of --expect-sha256 with the summary of the release \
                     that was approved, and find out who wrote the record",
        ),
        Unpromotable::Disagreement { .. } => Error::preflight(
            ErrorId::PromoteDisagreement,
            format!("{failed}: its records do not agree on its bytes"),
        )
        .because(problem)
        .hint(
            "nothing was changed; find out who wrote the records, and name the bytes to be promoted with \
             --expect-sha256",
        ),
    }
}

/// A zip that still has the recorded bytes.
#[derive(Debug)]
pub(crate) struct VerifiedArtifact<'a> {
    artifact: &'a ArtifactRecord,
    etag: String,
}
