//! `deployctl destroy`: everything of a stage, last layer first.

use super::{Context, confirm};
use crate::error::{Error, Kind, Result};
use crate::infrastructure::Infrastructure;
use crate::ledger::PREFIX;
use crate::schema::documents::{Body as _, DestroyBody, Destroyed};
use crate::session::Session;
use crate::settings::Stage;
use crate::stage::Held;

/// Runs it.
pub(super) async fn run(context: &Context, yes: bool, delete_releases: bool) -> Result<()> {
    let session = context.session().await?;
    let Stage { name, account, .. } = &session.settings.stage;
    if !yes {
        let question =
            format!("this destroys everything of stage {name} in account {account}. Type its name: ");
        let hint = format!("if you are sure, use `deployctl destroy --stage {name} --yes`");
        confirm::by_name(context, &question, name, "destroy.unconfirmed", &hint).await?;
    }
    let driver = session.driver_for_live().await?;
    let infrastructure = Infrastructure::new(&session, driver)?;
    let first = infrastructure.bucket_wave()?;
    let bucket = session.artifact_bucket().await?;
    let actor = session.actor()?;
    if let Some(bucket) = &bucket {
        let held = Held::take(&actor, bucket.clone(), "destroy".to_owned()).await?;
        held.during(async |_| {
            for wave in infrastructure.waves[first + 1..].iter().rev() {
                infrastructure.destroy(wave).await?;
            }
            Ok(())
        })
        .await?;
        // Lease and ledger are in the bucket, so they go when nothing is left that they could protect.
        if delete_releases {
            let prefixes = prefixes(&session);
            let purge = async {
                bucket.purge(&prefixes).await.map_err(|failure| {
                    Error::new(
                        Kind::Terraform,
                        "destroy.releases",
                        "the releases in the bucket could not be deleted",
                    )
                    .because(failure)
                    .hint("the layers above the bucket are gone; run the command again")
                })
            };
            let deleted = session.events.step("delete releases", context.until_interrupted(purge)).await?;
            session.events.note(format!("{deleted} objects of releases and ledger deleted"));
        }
    }
    for wave in infrastructure.waves[..=first].iter().rev() {
        infrastructure.destroy(wave).await.map_err(|error| {
            if bucket.is_some() && !delete_releases {
                error.hint("if the artifact bucket is not empty, `--delete-releases` deletes zips and ledger")
            } else {
                error
            }
        })?;
    }
    context.report.show(
        &DestroyBody { stage: name.to_string(), outcome: Destroyed::Destroyed }.document(),
        &format!(
            "stage {name} is destroyed; its Terraform state stays in {}\n",
            session.settings.stage.state_bucket
        ),
    );
    Ok(())
}

/// What is deployctl's own in the bucket: the ledger, and the part of each artifact's key before the version.
fn prefixes(session: &Session) -> Vec<String> {
    let keys = session.settings.artifacts.iter();
    let zips = keys.filter_map(|artifact| Some(artifact.key.split_once("{version}")?.0.to_owned()));
    zips.chain([format!("{PREFIX}{}/", session.settings.stage.name)]).collect()
}
