//! Builds artifacts from the project's source, and uploads them.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;

use super::git;
use super::store_error::store_error;
use crate::artifact::python_tools::PythonTools;
use crate::artifact::{self, Artifact};
use crate::aws::s3::Bucket;
use crate::engine::ports::Store as _;
use crate::error::{Error, Result};
use crate::project::session::{Session, unless_interrupted};
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
    let Session { settings, events, cancel, .. } = session;
    let recipes: Vec<_> = settings.artifacts.iter().map(|artifact| artifact.recipe.clone()).collect();
    let build = async {
        let tools = PythonTools::from_env()?;
        Ok::<_, Error>(artifact::make(&settings.root, &recipes, &tools, events, cancel).await?)
    };
    let both = async { try_join!(build, async { Ok(git::head(session).await) }) };
    let (artifacts, git) = events.step("build", both).await?;
    Ok(Built { artifacts, git })
}

/// Uploads each zip under its key for `version`.
pub(super) async fn upload(
    session: &Session,
    bucket: &Bucket,
    version: &Version,
    built: &Built,
) -> Result<BTreeMap<String, ArtifactRecord>> {
    let uploads =
        built.artifacts.iter().zip(&session.settings.artifacts).map(|(artifact, settings)| async move {
            let key = settings.key(version);
            let uploaded = bucket
                .upload(&key, &artifact.path, &artifact.sha256)
                .await
                .map_err(|error| store_error(version, error))?;
            let record = ArtifactRecord {
                key,
                s3_version: uploaded.s3_version,
                sha256: artifact.sha256,
                size: artifact.size,
                architecture: Some(settings.recipe.architecture),
            };
            Ok::<_, Error>((settings.recipe.name.clone(), record))
        });
    let uploads = unless_interrupted(&session.cancel, try_join_all(uploads));
    let zips = session.events.step("upload", uploads).await?;
    Ok(zips.into_iter().collect())
}
