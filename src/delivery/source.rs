//! The source of a release's artifacts, and storing them in the stage's bucket.

use std::collections::BTreeMap;

use futures::try_join;

use super::build::{Built, announce_uploaded, build, upload};
use super::promotion::{Promotion, VerifiedArtifact};
use crate::aws::s3::Bucket;
use crate::engine::held::HeldStage;
use crate::engine::observe::unreadable;
use crate::engine::ports::Store as _;
use crate::error::{Error, ErrorId, Result};
use crate::project::session::{Session, unless_interrupted};
use crate::project::settings::{ArtifactBucket, OutputName};
use crate::release::model::{StageName, Version};
use crate::release::record::ArtifactRecord;
use crate::release::record::Git;

/// The source of the artifacts of a release.
#[derive(Debug)]
pub(crate) enum Source {
    /// The project's source.
    Build,
    /// A release of another stage.
    Promote(Box<Promotion>),
}

/// Artifacts that are ready to be stored.
pub(super) enum Artifacts<'a> {
    Built(Built),
    Verified(&'a Promotion, Vec<VerifiedArtifact<'a>>),
}

/// Artifacts in the stage's bucket, and their origin.
pub(super) struct Stored {
    pub(crate) artifacts: BTreeMap<String, ArtifactRecord>,
    pub(crate) git: Option<Git>,
    pub(crate) promoted_from: Option<StageName>,
}

impl Source {
    /// The name of the command that releases from this source.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Build => "release",
            Self::Promote(_) => "promote",
        }
    }

    /// Says before a long build that `version` was uploaded before, and builds or verifies the artifacts.
    pub(super) async fn artifacts_of(
        &self,
        session: &Session,
        held: &HeldStage<'_, Bucket>,
        version: &Version,
    ) -> Result<Artifacts<'_>> {
        let announce = async {
            match self {
                Self::Build => {
                    unless_interrupted(&session.cancel, announce_uploaded(session, held, version)).await
                }
                Self::Promote(_) => Ok(()),
            }
        };
        Ok(try_join!(announce, self.artifacts(session))?.1)
    }

    /// Builds or verifies the artifacts. Changes nothing in AWS.
    pub(super) async fn artifacts(&self, session: &Session) -> Result<Artifacts<'_>> {
        match self {
            Self::Build => Ok(Artifacts::Built(build(session).await?)),
            Self::Promote(promotion) => {
                let verify = unless_interrupted(&session.cancel, promotion.verify(session));
                Ok(Artifacts::Verified(
                    promotion,
                    session.events.step("verify source artifacts", verify).await?,
                ))
            }
        }
    }
}

impl Artifacts<'_> {
    /// Stores the artifacts in the stage's bucket.
    pub(super) async fn store(
        &self,
        session: &Session,
        held: &HeldStage<'_, Bucket>,
        version: &Version,
    ) -> Result<Stored> {
        let bucket = &held.store;
        unless_interrupted(&session.cancel, must_be_versioned(session, bucket)).await?;
        match self {
            Self::Built(built) => {
                let artifacts = upload(session, held, version, built).await?;
                Ok(Stored { artifacts, git: built.git.clone(), promoted_from: None })
            }
            Self::Verified(promotion, verified) => {
                let copy = promotion.copy(session, bucket, version, verified);
                let copy = unless_interrupted(&session.cancel, copy);
                let artifacts = session.events.step("copy artifacts", copy).await?;
                let (git, from) = (promotion.release.git.clone(), promotion.from.clone());
                Ok(Stored { artifacts, git, promoted_from: Some(from) })
            }
        }
    }
}

/// Without versioning, a deleted or overwritten zip or ledger record could not be restored.
async fn must_be_versioned(session: &Session, bucket: &Bucket) -> Result<()> {
    let versioned = bucket.is_versioned().await;
    if versioned.map_err(|failure| unreadable("the versioning of the artifact bucket", failure))? {
        return Ok(());
    }
    let enable = match &session.settings.bucket {
        ArtifactBucket::Named(name) => format!(
            "enable versioning: `aws s3api put-bucket-versioning --bucket {name} --versioning-configuration \
             Status=Enabled`"
        ),
        ArtifactBucket::Output(OutputName { layer, .. }) => format!(
            "enable versioning (aws_s3_bucket_versioning) in layer {layer:?}, apply it with `deployctl terraform \
             {layer} -- apply`"
        ),
    };
    let message = format!("refused to upload: the artifact bucket {} is not versioned", bucket.name());
    Err(Error::preflight(ErrorId::BucketUnversioned, message)
        .hint(format!("nothing was uploaded, and what is live is unchanged; {enable}, and release again")))
}
