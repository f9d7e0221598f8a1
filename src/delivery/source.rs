//! The source of a release's artifacts, and storing them in the stage's bucket.

use std::collections::BTreeMap;

use futures::try_join;

use super::build::{Built, announce_uploaded, build, contents, is_uploaded, upload};
use super::git;
use super::promotion::{Promotion, VerifiedArtifact};
use crate::artifact::Contents;
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
    /// The functions as they run.
    Running,
    /// A release of another stage.
    Promote(Box<Promotion>),
}

/// Artifacts that are ready to be stored.
pub(super) enum Artifacts<'a> {
    Built(Built),
    Running(Option<Git>),
    Verified(&'a Promotion, Vec<VerifiedArtifact<'a>>),
}

/// Artifacts in the stage's bucket, and their origin.
pub(super) struct Stored {
    pub(crate) artifacts: BTreeMap<String, ArtifactRecord>,
    /// What is in them, as far as it is known here.
    pub(crate) contents: BTreeMap<String, Contents>,
    /// Whether the functions keep the code that they run.
    pub(crate) running_code: bool,
    pub(crate) git: Option<Git>,
    pub(crate) promoted_from: Option<StageName>,
}

impl Stored {
    /// What was built, with the records of its artifacts.
    pub(super) fn of(built: &Built, artifacts: BTreeMap<String, ArtifactRecord>) -> Self {
        let (contents, git) = (contents(built), built.git.clone());
        Self { artifacts, contents, running_code: false, git, promoted_from: None }
    }
}

impl Source {
    /// The name of the command that releases from this source.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Build | Self::Running => "release",
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
                Self::Build if is_uploaded(session, &held.store, version).await? => {
                    announce_uploaded(session, held, version).await
                }
                Self::Build | Self::Running | Self::Promote(_) => Ok(()),
            }
        };
        Ok(try_join!(announce, self.artifacts(session))?.1)
    }

    /// Builds or verifies the artifacts. Changes nothing in AWS.
    pub(super) async fn artifacts(&self, session: &Session) -> Result<Artifacts<'_>> {
        match self {
            Self::Build => Ok(Artifacts::Built(build(session).await?)),
            Self::Running => Ok(Artifacts::Running(git::head(session).await)),
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
    /// Stores the artifacts in the stage's bucket, after [`require_versioned`].
    pub(super) async fn store(
        &self,
        session: &Session,
        held: &HeldStage<'_, Bucket>,
        version: &Version,
    ) -> Result<Stored> {
        let bucket = &held.store;
        match self {
            Self::Built(built) => Ok(Stored::of(built, upload(session, held, version, built).await?)),
            Self::Running(git) => Ok(Stored {
                artifacts: BTreeMap::new(),
                contents: BTreeMap::new(),
                running_code: true,
                git: git.clone(),
                promoted_from: None,
            }),
            Self::Verified(promotion, verified) => {
                let copy = promotion.copy(session, bucket, version, verified);
                let copy = unless_interrupted(&session.cancel, copy);
                let artifacts = session.events.step("copy artifacts", copy).await?;
                let (git, from) = (promotion.release.git.clone(), promotion.from.clone());
                let contents = BTreeMap::new();
                Ok(Stored { artifacts, contents, running_code: false, git, promoted_from: Some(from) })
            }
        }
    }
}

/// Without versioning, a deleted or overwritten zip or ledger record could not be restored.
///
/// # Errors
/// `bucket.unversioned`; nothing was uploaded.
pub(super) async fn require_versioned(session: &Session, bucket: &Bucket) -> Result<()> {
    let is_versioned = async {
        let versioned = bucket.is_versioned().await;
        versioned.map_err(|failure| unreadable("the versioning of the artifact bucket", failure))
    };
    if unless_interrupted(&session.cancel, is_versioned).await? {
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
