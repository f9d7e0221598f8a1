//! `deployctl release`: the story of a release, from top to bottom.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;

use super::{Context, version};
use crate::artifact::{self, Artifact};
use crate::aws::s3::Bucket;
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::infrastructure::{Infrastructure, Planned};
use crate::release::model::Version;
use crate::release::plan::{Desired, Zip};
use crate::release::record::{ArtifactRecord, Git};
use crate::report::Document;
use crate::report::document::Outcome;
use crate::session::Session;
use crate::stage::{Held, Origin, unreadable};
use crate::toolbox::Toolbox;
use crate::world::{Store, UploadError};

/// Runs it.
pub(super) async fn run(context: &Context, text: &str) -> Result<Document> {
    // What can be wrong is found before anything is changed.
    let version = version(text)?;
    let session = context.session().await?;
    let driver = session.driver_for(Some(&version)).await?;
    let infrastructure = Infrastructure::new(&session, driver)?;
    let bucket = known_bucket(&session).await?;
    let command = format!("release {version}");
    let actor = session.actor()?;

    let Some(bucket) = bucket else {
        // The first release: there is no bucket yet, so neither ledger nor lease, and nothing live to protect.
        let (planned, built) = try_join!(infrastructure.plan(&infrastructure.waves[0]), build(&session))?;
        infrastructure.apply(planned).await?;
        let ready = infrastructure.bucket_wave()?;
        for wave in &infrastructure.waves[1..=ready] {
            infrastructure.apply(infrastructure.plan(wave).await?).await?;
        }
        let bucket = session.artifact_bucket().await?.ok_or_else(|| missing_bucket(&session))?;
        let held = Held::take(&actor, bucket, command).await?;
        return held
            .during(async |held| {
                let zips = upload(&session, held, &version, &built).await?;
                finish(&session, &infrastructure, held, &version, zips, ready + 1, Vec::new()).await
            })
            .await;
    };
    let held = Held::take(&actor, bucket, command).await?;
    held.during(async |held| {
        let (planned, zips) = try_join!(infrastructure.plan(&infrastructure.waves[0]), async {
            upload(&session, held, &version, &build(&session).await?).await
        })?;
        finish(&session, &infrastructure, held, &version, zips, 1, planned).await
    })
    .await
}

/// From uploaded zips to a live release: the rest of Terraform, then plan, prepare, switch, verify, record.
async fn finish(
    session: &Session,
    infrastructure: &Infrastructure<'_>,
    held: &Held<'_, Bucket>,
    version: &Version,
    zips: (BTreeMap<String, Zip>, Option<Git>),
    next_wave: usize,
    planned: Vec<Planned<'_>>,
) -> Result<Document> {
    infrastructure.apply(planned).await?;
    for wave in &infrastructure.waves[next_wave..] {
        infrastructure.apply(infrastructure.plan(wave).await?).await?;
    }
    let contract = match session.contract().await {
        // Applied just now, so it is not the release that is missing, but the output.
        Err(error) if error.id == "stage.empty" => Contract::read(&session.settings.contract, None, &[])?,
        other => other?,
    };
    let site = session.site(&contract)?;
    let (artifacts, git) = zips;
    let desired = Desired { version: version.clone(), artifacts, functions: contract.functions.clone() };
    let api = (contract.rest_api_id.as_str(), contract.stage_name.as_str());
    let record = held.release(&site, desired, Origin { git, promoted_from: None, api }).await?;
    let name = session.settings.stage.name.as_str();
    Ok(Document::moved("release", Outcome::Released, name, &session.url(&contract), &record))
}

/// The artifact bucket, if the stage has one. The local stage makes its own bucket for Terraform's state.
async fn known_bucket(session: &Session) -> Result<Option<Bucket>> {
    match session.artifact_bucket().await {
        Err(error) if error.id == "state.missing" && session.local.is_some() => {
            let region = &session.settings.stage.region;
            session
                .state_bucket()
                .ensure_state_bucket(region)
                .await
                .map_err(|failure| unreadable("the bucket of the Terraform state", failure))?;
            Ok(None)
        }
        // A bucket under a wrong name was never released to, and only the layer, once corrected, can tell the
        // right one: it is to be applied, not to be waited for.
        Err(error) if error.id.starts_with("contract.") => Ok(None),
        other => other,
    }
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
    held: &Held<'_, Bucket>,
    version: &Version,
    built: &Built,
) -> Result<(BTreeMap<String, Zip>, Option<Git>)> {
    let uploads =
        built.artifacts.iter().zip(&session.settings.artifacts).map(|(artifact, settings)| async move {
            let key = settings.key.replace("{version}", version.as_str());
            let uploaded = held
                .store
                .upload(&key, &artifact.path, &artifact.sha256)
                .await
                .map_err(|error| not_uploaded(version, error))?;
            let record = ArtifactRecord {
                key,
                s3_version: uploaded.s3_version,
                sha256: artifact.sha256,
                size: artifact.size,
            };
            let recipe = &settings.recipe;
            Ok::<_, Error>((recipe.name.clone(), Zip { record, architecture: recipe.architecture }))
        });
    let zips = session.events.step("upload", try_join_all(uploads)).await?;
    Ok((zips.into_iter().collect(), built.git.clone()))
}

fn not_uploaded(version: &Version, error: UploadError) -> Error {
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
