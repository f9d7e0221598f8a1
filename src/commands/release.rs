//! `deployctl release`: the story of a release, from top to bottom.

use std::collections::BTreeMap;

use futures::future::{Either, select, try_join_all};
use futures::try_join;

use super::promote::{Promoted, Proven};
use super::{Context, version};
use crate::artifact::{self, Artifact};
use crate::aws::s3::Bucket;
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::infrastructure::Infrastructure;
use crate::release::model::{StageName, Version};
use crate::release::plan::{Desired, Zip};
use crate::release::record::{ArtifactRecord, Git};
use crate::report::Document;
use crate::report::document::Outcome;
use crate::session::{Session, unless_interrupted};
use crate::stage::{Held, Origin};
use crate::toolbox::Toolbox;
use crate::world::{Store, UploadError};

/// Runs it.
pub(super) async fn run(context: &Context, text: &str) -> Result<Document> {
    // What can be wrong is found before anything is changed.
    let version = version(text)?;
    let session = context.session().await?;
    go(&session, &version, &Bytes::Source).await
}

/// Where the bytes of a release come from.
#[derive(Debug)]
pub(super) enum Bytes {
    /// They are built here.
    Source,
    /// Another stage runs them, or did.
    Promoted(Box<Promoted>),
}

/// Bytes that can be brought to the stage's bucket.
enum Ready<'a> {
    Built(Built),
    Proven(&'a Promoted, Vec<Proven<'a>>),
}

impl Bytes {
    fn command(&self) -> &'static str {
        match self {
            Self::Source => "release",
            Self::Promoted(_) => "promote",
        }
    }

    /// All that can fail before anything is changed.
    async fn ready(&self, session: &Session) -> Result<Ready<'_>> {
        match self {
            Self::Source => Ok(Ready::Built(build(session).await?)),
            Self::Promoted(promoted) => {
                let prove = unless_interrupted(&session.cancel, promoted.prove(session));
                let proven = session.events.step("prove", prove).await?;
                Ok(Ready::Proven(promoted, proven))
            }
        }
    }
}

impl Ready<'_> {
    /// Brings the zips into the stage's bucket.
    async fn store(&self, session: &Session, bucket: &Bucket, version: &Version) -> Result<Stored> {
        unless_interrupted(&session.cancel, must_be_versioned(session, bucket)).await?;
        match self {
            Self::Built(built) => {
                let artifacts = upload(session, bucket, version, built).await?;
                Ok(Stored { artifacts, git: built.git.clone(), promoted_from: None })
            }
            Self::Proven(promoted, proven) => {
                let copy =
                    unless_interrupted(&session.cancel, promoted.copy(session, bucket, version, proven));
                let artifacts = session.events.step("copy", copy).await?;
                let (git, from) = (promoted.release.git.clone(), promoted.from.clone());
                Ok(Stored { artifacts, git, promoted_from: Some(from) })
            }
        }
    }
}

/// Zips in the stage's bucket, and where they come from.
struct Stored {
    artifacts: BTreeMap<String, Zip>,
    git: Option<Git>,
    promoted_from: Option<StageName>,
}

/// Releases `version` of `bytes`: Terraform and the bytes beside each other, then the release itself.
pub(super) async fn go(session: &Session, version: &Version, bytes: &Bytes) -> Result<Document> {
    let driver = session.driver_for(Some(version)).await?;
    let infrastructure = Infrastructure::new(session, driver)?;
    let bucket = known_bucket(session).await?;
    let command = format!("{} {version}", bytes.command());
    let actor = session.actor()?;

    let Some(bucket) = bucket else {
        // The first release: there is no bucket yet, so neither ledger nor lease, and nothing live to protect.
        let (planned, ready) =
            both(infrastructure.plan(&infrastructure.waves[0]), bytes.ready(session)).await?;
        infrastructure.apply(planned).await?;
        let done = infrastructure.bucket_wave()?;
        for wave in &infrastructure.waves[1..=done] {
            infrastructure.apply(infrastructure.plan(wave).await?).await?;
        }
        let bucket = session.artifact_bucket().await?.ok_or_else(|| missing_bucket(session))?;
        let held = Held::take(&actor, bucket, command).await?;
        return held
            .during(async |held| {
                let stored = ready.store(session, &held.store, version).await?;
                infrastructure.bring_up(done + 1, Vec::new()).await?;
                finish(session, held, version, stored, bytes.command()).await
            })
            .await;
    };
    let held = Held::take(&actor, bucket, command).await?;
    held.during(async |held| {
        let stored = async { bytes.ready(session).await?.store(session, &held.store, version).await };
        let (planned, stored) = both(infrastructure.plan(&infrastructure.waves[0]), stored).await?;
        infrastructure.bring_up(1, planned).await?;
        finish(session, held, version, stored, bytes.command()).await
    })
    .await
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

/// From zips in the bucket to a live release: plan, prepare, try out, switch, verify, record.
async fn finish(
    session: &Session,
    held: &Held<'_, Bucket>,
    version: &Version,
    stored: Stored,
    command: &'static str,
) -> Result<Document> {
    let contract = match session.contract().await {
        // Applied just now, so it is not the release that is missing, but the output.
        Err(error) if error.id == "stage.empty" => Contract::read(&session.settings.contract, None, &[])?,
        other => other?,
    };
    let site = session.site(&contract)?;
    let Stored { artifacts, git, promoted_from } = stored;
    let desired = Desired { version: version.clone(), artifacts, functions: contract.functions.clone() };
    let api = (contract.rest_api_id.as_str(), contract.stage_name.as_str());
    let record = held.release(&site, desired, Origin { git, promoted_from, api }).await?;
    let name = session.settings.stage.name.as_str();
    Ok(Document::moved(command, Outcome::Released, name, &session.url(&contract), &record))
}

/// The artifact bucket, if the stage has one.
async fn known_bucket(session: &Session) -> Result<Option<Bucket>> {
    match session.artifact_bucket().await {
        // A bucket under a wrong name was never released to, and only the layer, once corrected, can tell the
        // right one: it is to be applied, not to be waited for.
        Err(error) if error.id.starts_with("contract.") => Ok(None),
        other => other,
    }
}

/// Zips and ledger must be such that a mistake with them can be undone.
async fn must_be_versioned(session: &Session, bucket: &Bucket) -> Result<()> {
    let versioned = bucket.is_versioned().await;
    if versioned
        .map_err(|failure| crate::stage::unreadable("whether the artifact bucket is versioned", failure))?
    {
        return Ok(());
    }
    let layer = &session.settings.bucket.layer;
    let message = format!("the artifact bucket {} keeps no versions of its objects", bucket.name());
    Err(Error::preflight("bucket.unversioned", message).hint(format!(
        "nothing was uploaded, and what runs is unchanged; enable versioning (aws_s3_bucket_versioning) in layer \
         {layer:?}, apply it with `deployctl terraform {layer} -- apply`, and release again"
    )))
}

fn missing_bucket(session: &Session) -> Error {
    let output = &session.settings.bucket;
    Error::new(
        Kind::Terraform,
        "contract.missing",
        format!("layer {:?} was applied, but has no outputs", output.layer),
    )
    .hint(format!("give it an output {:?} with the name of the artifact bucket", output.output))
}

/// What was built, and from which source.
pub(super) struct Built {
    /// The zips, in the order of the settings.
    pub artifacts: Vec<Artifact>,
    git: Option<Git>,
}

/// Builds the zips, and tells which source they come from.
pub(super) async fn build(session: &Session) -> Result<Built> {
    let Session { settings, events, cancel, .. } = session;
    let recipes: Vec<_> = settings.artifacts.iter().map(|artifact| artifact.recipe.clone()).collect();
    let make = async {
        let tools = Toolbox::from_env()?;
        Ok::<_, Error>(artifact::make(&settings.root, &recipes, &tools, events, cancel).await?)
    };
    let both = async { try_join!(make, async { Ok(crate::git::head(session).await) }) };
    let (artifacts, git) = events.step("build", both).await?;
    Ok(Built { artifacts, git })
}

/// Uploads each zip under a key of its own version.
async fn upload(
    session: &Session,
    bucket: &Bucket,
    version: &Version,
    built: &Built,
) -> Result<BTreeMap<String, Zip>> {
    let uploads =
        built.artifacts.iter().zip(&session.settings.artifacts).map(|(artifact, settings)| async move {
            let key = settings.key(version);
            let uploaded = bucket
                .upload(&key, &artifact.path, &artifact.sha256)
                .await
                .map_err(|error| not_stored(version, error))?;
            let record = ArtifactRecord {
                key,
                s3_version: uploaded.s3_version,
                sha256: artifact.sha256,
                size: artifact.size,
            };
            let recipe = &settings.recipe;
            Ok::<_, Error>((recipe.name.clone(), Zip { record, architecture: recipe.architecture }))
        });
    let uploads = unless_interrupted(&session.cancel, try_join_all(uploads));
    let zips = session.events.step("upload", uploads).await?;
    Ok(zips.into_iter().collect())
}

/// The error of an artifact that does not get into the bucket.
pub(super) fn not_stored(version: &Version, error: UploadError) -> Error {
    match error {
        UploadError::OtherBytes { .. } => {
            Error::preflight("artifact.other_bytes", format!("version {version} was uploaded before, with other bytes"))
                .because(error)
                .hint("nothing was changed; a version is released once: choose a new one, or build the same source with the same tools")
        }
        error => Error::preflight("artifact.upload", "an artifact cannot be uploaded")
            .because(error)
            .hint("what runs is unchanged; the caller needs s3:PutObject and s3:GetObject on the artifact bucket"),
    }
}
