//! Builds artifacts from the project's source, and uploads them.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;

use super::git;
use super::store_error::store_error;
use crate::artifact::python_tools::PythonTools;
use crate::artifact::{self, Artifact, Contents};
use crate::aws::s3::Bucket;
use crate::engine::held::HeldStage;
use crate::engine::observe::unreadable;
use crate::engine::ports::{Store as _, UploadError, Uploaded};
use crate::error::{Error, Result};
use crate::project::session::{Session, unless_interrupted};
use crate::release::artifacts::ArtifactSettings;
use crate::release::model::Version;
use crate::release::record::{ArtifactRecord, Git};

/// Built artifacts and their source.
pub(super) struct Built {
    /// The zips, in the order of the settings.
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) git: Option<Git>,
}

/// Builds the zips, and reads the commit of their source.
pub(super) async fn build(session: &Session) -> Result<Built> {
    let events = &session.events;
    let both = async { try_join!(zips(session), async { Ok(git::head(session).await) }) };
    let (artifacts, git) = events.step("build", both).await?;
    if let Some(git) = git.as_ref().filter(|git| git.dirty) {
        events.warn(format!(
            "the work tree has changes that commit {} does not have; the record says so",
            git.commit.get(..12).unwrap_or(&git.commit)
        ));
    }
    Ok(Built { artifacts, git })
}

/// Builds the zips with the profile of the stage.
async fn zips(session: &Session) -> Result<Vec<Artifact>> {
    let Session { settings, events, cancel, .. } = session;
    let recipes: Vec<_> = settings.artifacts.iter().map(|artifact| artifact.recipe.clone()).collect();
    let profile = settings.stage.cargo_profile.as_str();
    let tools = PythonTools::from_env()?;
    Ok(artifact::make(&settings.root, (&recipes, profile), &tools, events, cancel).await?)
}

/// Builds the zips of what no record will name.
pub(super) async fn build_unrecorded(session: &Session) -> Result<Built> {
    Ok(Built { artifacts: session.events.step("build", zips(session)).await?, git: None })
}

/// The key of the first zip of `version`.
fn first_key(session: &Session, version: &Version) -> Option<String> {
    let zips = session.settings.artifacts.iter().filter(|artifact| !artifact.is_image());
    zips.map(|artifact| artifact.key(version)).next()
}

/// Whether a zip of `version` was uploaded before.
///
/// # Errors
/// Those of reading the bucket.
pub(super) async fn is_uploaded(session: &Session, bucket: &Bucket, version: &Version) -> Result<bool> {
    let Some(key) = first_key(session, version) else { return Ok(false) };
    let uploaded =
        async { bucket.has(&key).await.map_err(|failure| unreadable("the artifact bucket", failure)) };
    unless_interrupted(&session.cancel, uploaded).await
}

/// Warns if something refers to the uploaded zip of `version`.
///
/// # Errors
/// Those of reading the bucket.
pub(super) async fn announce_uploaded(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    version: &Version,
) -> Result<()> {
    let Some(key) = first_key(session, version) else { return Ok(()) };
    let reference = unless_interrupted(&session.cancel, held.reference_to(&key)).await?;
    if let Some(reference) = reference {
        session.events.warn(format!(
            "version {version} was uploaded before, and {reference}; only the same bytes are accepted"
        ));
    }
    Ok(())
}

/// The records of the artifacts, by name, before they are uploaded.
pub(super) fn records(
    session: &Session,
    version: &Version,
    built: &Built,
) -> BTreeMap<String, ArtifactRecord> {
    let artifacts = built.artifacts.iter().zip(&session.settings.artifacts);
    artifacts
        .map(|(artifact, settings)| (artifact.name.clone(), record(settings, version, artifact)))
        .collect()
}

/// What is in the artifacts, by name.
pub(super) fn contents(built: &Built) -> BTreeMap<String, Contents> {
    built.artifacts.iter().map(|artifact| (artifact.name.clone(), artifact.contents.clone())).collect()
}

/// Uploads each zip under its key for `version`. Images are in their registry already. Another zip with that key is replaced if nothing refers to
/// it: it belongs to a release that failed before it was prepared.
pub(super) async fn upload(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    version: &Version,
    built: &Built,
) -> Result<BTreeMap<String, ArtifactRecord>> {
    let uploads =
        built.artifacts.iter().zip(&session.settings.artifacts).map(|(artifact, settings)| async move {
            if settings.is_image() {
                return Ok((settings.recipe.name.clone(), record(settings, version, artifact)));
            }
            let key = settings.key(version);
            let uploaded = upload_or_replace(session, held, (version, &key), artifact).await?;
            let record =
                ArtifactRecord { s3_version: uploaded.s3_version, ..record(settings, version, artifact) };
            Ok::<_, Error>((settings.recipe.name.clone(), record))
        });
    let uploads = unless_interrupted(&session.cancel, try_join_all(uploads));
    let zips = session.events.step("upload", uploads).await?;
    Ok(zips.into_iter().collect())
}

/// The record of a built zip, before it is uploaded.
pub(super) fn record(settings: &ArtifactSettings, version: &Version, artifact: &Artifact) -> ArtifactRecord {
    ArtifactRecord {
        key: settings.key(version),
        s3_version: None,
        sha256: artifact.sha256,
        size: artifact.size,
        architecture: Some(settings.recipe.architecture),
        image: settings.is_image(),
    }
}

async fn upload_or_replace(
    session: &Session,
    held: &HeldStage<'_, Bucket>,
    (version, key): (&Version, &str),
    artifact: &Artifact,
) -> Result<Uploaded> {
    let upload = |replaced| held.store.upload(key, &artifact.path, &artifact.sha256, replaced);
    let failed = |error| store_error(version, error, None);
    match upload(None).await {
        Err(UploadError::OtherBytes { key, etag, stored, expected }) => {
            if let Some(reference) = held.reference_to(&key).await? {
                let error = UploadError::OtherBytes { key, etag, stored, expected };
                return Err(store_error(version, error, Some(reference)));
            }
            let uploaded = upload(Some(&etag)).await.map_err(failed)?;
            session
                .events
                .note(format!("replaced {key}: nothing refers to the bytes that were uploaded before"));
            Ok(uploaded)
        }
        answer => answer.map_err(failed),
    }
}
