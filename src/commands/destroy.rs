//! `deployctl destroy`: destroys everything of a stage, last layer first.

use super::confirm;
use super::context::Context;
use crate::commands::context::LeaseArgs;
use crate::delivery::layers::Infrastructure;
use crate::documents::{Body as _, DestroyBody, Destroyed};
use crate::engine::held::HeldStage;
use crate::engine::ledger::PREFIX;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::session::Session;
use crate::project::settings::{Stage, StateBackend};

/// Delete a stage: destroy its layers, the last one first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl destroy --stage dev\n  deployctl destroy --stage local --yes --delete-releases"
)]
pub(crate) struct Args {
    /// Do not ask for confirmation
    #[arg(long)]
    pub(super) yes: bool,
    /// Delete zips and ledger from the artifact bucket, so that the bucket can be destroyed
    #[arg(long)]
    pub(super) delete_releases: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let Args { yes, delete_releases, .. } = *args;
    let session = context.session().await?;
    let Stage { name, account, .. } = &session.settings.stage;
    if !yes {
        let question = format!("this deletes stage {name} in account {account}. Type its name: ");
        let hint = format!("if you are sure, use `deployctl destroy --stage {name} --yes`");
        confirm::by_name(context, &question, name, ErrorId::DestroyUnconfirmed, &hint).await?;
    }
    let driver = session.driver_for_live().await?;
    let infrastructure = Infrastructure::new(&session, driver)?;
    let with_bucket = infrastructure.waves_with_bucket();
    let bucket = session.artifact_bucket().await?;
    let stage_context = session.stage_context()?;
    if let Some(bucket) = &bucket {
        let held = HeldStage::take(&stage_context, bucket.clone(), "destroy".to_owned()).await?;
        held.during(async |_| {
            for wave in infrastructure.waves[with_bucket..].iter().rev() {
                infrastructure.destroy(wave).await?;
            }
            Ok(())
        })
        .await?;
        // Lease and ledger are in the bucket: they are deleted after the layers that they protect.
        if delete_releases {
            let prefixes = prefixes(&session);
            let purge = async {
                bucket.purge(&prefixes).await.map_err(|failure| {
                    Error::new(
                        Kind::Terraform,
                        ErrorId::DestroyReleases,
                        "failed to delete the releases in the bucket",
                    )
                    .because(failure)
                    .hint(
                        "the layers above the bucket are destroyed; run the command again to delete the rest",
                    )
                })
            };
            let deleted = session.events.step("delete releases", context.until_interrupted(purge)).await?;
            session.events.note(format!("deleted {deleted} objects: zips and ledger"));
        }
    }
    for wave in infrastructure.waves[..with_bucket].iter().rev() {
        infrastructure.destroy(wave).await.map_err(|error| {
            if bucket.is_some() && !delete_releases {
                error.hint("if the artifact bucket is not empty, `--delete-releases` deletes zips and ledger")
            } else {
                error
            }
        })?;
    }
    let state = match session.settings.stage.backend {
        StateBackend::Deployctl => session.settings.stage.state_bucket.as_str(),
        StateBackend::Own { .. } => "its backend",
    };
    context.report.show(
        &DestroyBody { stage: name.to_string(), outcome: Destroyed::Destroyed }.document(),
        &format!("stage {name} is destroyed; its Terraform state stays in {state}\n"),
    );
    Ok(())
}

/// The prefixes of deployctl's objects: the ledger, and the part of each artifact's key before the version.
fn prefixes(session: &Session) -> Vec<String> {
    let keys = session.settings.artifacts.iter();
    let zips = keys.filter_map(|artifact| Some(artifact.key.split_once("{version}")?.0.to_owned()));
    zips.chain([format!("{PREFIX}{}/", session.settings.stage.name)]).collect()
}
