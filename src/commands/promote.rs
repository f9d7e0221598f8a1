//! `deployctl promote`: the very bytes that one stage runs, released on another without building.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::release::{self, Bytes, not_stored};
use super::{Context, version};
use crate::aws::failure::{Failure, Meaning};
use crate::aws::s3::Bucket;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::release::model::{StageName, Version};
use crate::release::plan::Zip;
use crate::release::record::{ArtifactRecord, Release};
use crate::report::Document;
use crate::session::Session;
use crate::settings::Stage;
use crate::world::{Store as _, UploadError};

/// Runs it.
pub(super) async fn run(context: &Context, text: &str, from: &str) -> Result<Document> {
    let version = version(text)?;
    let source = context.settings_of(from)?;
    let target = context.settings()?;
    if source.stage.name == target.stage.name {
        return Err(Error::usage("promote.same_stage", format!("stage {from} cannot be promoted to itself"))
            .hint("nothing was changed; `deployctl rollback --to <V>` brings an earlier release back"));
    }
    let session = context.session_of(target).await?;
    // Nothing is written there, so whoever may read it may be of another account.
    let source = Session::connect(source, context.events.clone(), context.cancel.clone()).await?;
    let find = Promoted::find(&source, &session, &version);
    let promoted = context.until_interrupted(find).await?;
    release::go(&session, &version, &Bytes::Promoted(Box::new(promoted))).await
}

const RESTORE: &str =
    "nothing was changed; restore the zip from the bucket's versions, or release its source again";

/// A release of another stage.
#[derive(Debug)]
pub(super) struct Promoted {
    /// The stage.
    pub from: StageName,
    /// The release, as that stage's ledger tells it.
    pub release: Release,
    /// Where its zips are, as whoever promotes them may read it.
    bucket: Bucket,
}

impl Promoted {
    /// The newest release of `version` that was live on the stage of `source`, to be copied by `target`.
    async fn find(source: &Session, target: &Session, version: &Version) -> Result<Self> {
        let from = source.settings.stage.name.clone();
        let contract = source.contract().await?;
        let ledger = Ledger::new(source.aws.bucket(&contract.artifact_bucket), from.clone());
        let last = ledger.numbers().await?.last().copied().unwrap_or(0);
        let record = ledger.newest_of(version, last).await?.ok_or_else(|| {
            Error::usage(
                "promote.unknown_version",
                format!("version {version} was never live on stage {from}"),
            )
            .hint(format!("nothing was changed; `deployctl history --stage {from}` lists its releases"))
        })?;
        let bucket = target.aws.bucket_in(&source.settings.stage.region, &contract.artifact_bucket);
        Ok(Self { from, release: record.release, bucket })
    }

    /// Whether the zips that the stage of `session` needs are still what the ledger says: the ETag of each.
    ///
    /// # Errors
    /// `promote.other_bytes`, `promote.gone`, `promote.denied` or `promote.no_artifact`; nothing was changed.
    pub(super) async fn prove(&self, session: &Session) -> Result<Vec<Proven<'_>>> {
        try_join_all(session.settings.artifacts.iter().map(|settings| async {
            let name = &settings.recipe.name;
            let artifact = self.release.artifacts.get(name).ok_or_else(|| {
                let Self { release, from, .. } = self;
                let message = format!("release {} of stage {from} has no artifact {name:?}", release.version);
                Error::preflight("promote.no_artifact", message).hint(
                    "what runs is unchanged; release this project on that stage first, and promote that",
                )
            })?;
            let proof = self.bucket.prove(artifact).await;
            let etag = proof.map_err(|error| self.not_proven(artifact, &session.settings.stage, error))?;
            Ok(Proven { artifact, etag })
        }))
        .await
    }

    fn not_proven(&self, artifact: &ArtifactRecord, target: &Stage, error: UploadError) -> Error {
        let release = format!("release {} of stage {} cannot be promoted", self.release.version, self.from);
        let key = &artifact.key;
        let (id, what, hint) = match &error {
            UploadError::OtherBytes { .. } => {
                ("promote.other_bytes", "is not what was released", RESTORE.to_owned())
            }
            UploadError::Aws(Failure { meaning: Meaning::Denied, .. }) => (
                "promote.denied",
                "cannot be read with the credentials for the target stage",
                format!(
                    "nothing was changed; S3 copies with the credentials for {}: let account {} do s3:GetObject and \
                     s3:GetObjectVersion on {}/* in the policy of that bucket, and its role, too",
                    target.name,
                    target.account,
                    self.bucket.name()
                ),
            ),
            _ => ("promote.gone", "cannot be found or read", RESTORE.to_owned()),
        };
        Error::preflight(id, format!("{release}: {key} {what}")).because(error).hint(hint)
    }

    /// Copies proven zips to where the stage of `session` keeps them.
    pub(super) async fn copy(
        &self,
        session: &Session,
        bucket: &Bucket,
        version: &Version,
        proven: &[Proven<'_>],
    ) -> Result<BTreeMap<String, Zip>> {
        let copies = session.settings.artifacts.iter().zip(proven).map(|(settings, proven)| async move {
            let Proven { artifact, etag } = proven;
            let key = settings.key(version);
            let copied = bucket
                .copy(&self.bucket, artifact, etag, &key)
                .await
                .map_err(|error| not_stored(version, error))?;
            let record = ArtifactRecord { key, s3_version: copied.s3_version, ..(*artifact).clone() };
            let recipe = &settings.recipe;
            Ok::<_, Error>((recipe.name.clone(), Zip { record, architecture: recipe.architecture }))
        });
        Ok(try_join_all(copies).await?.into_iter().collect())
    }
}

/// A zip that is still what was released.
#[derive(Debug)]
pub(super) struct Proven<'a> {
    artifact: &'a ArtifactRecord,
    etag: String,
}
