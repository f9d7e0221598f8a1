//! `deployctl unlock`: frees a stage whose holder is dead.

use super::{Context, confirm};
use crate::error::Result;
use crate::lease::{self, Lease, describe};
use crate::schema::documents::{Body as _, UnlockBody};

/// Runs it.
pub(super) async fn run(context: &Context, yes: bool) -> Result<()> {
    let session = context.session().await?;
    let bucket = session.aws.bucket(&session.contract().await?.artifact_bucket);
    let stage = &session.settings.stage.name;
    let holder = Lease::peek(&bucket, stage).await?.slip.and_then(|slip| slip.holder);
    let Some(holder) = holder else {
        say(context, stage.as_str(), false);
        return Ok(());
    };
    if !yes {
        let question = format!("{}\nfree stage {stage}? Type its name: ", describe(&holder));
        let hint = format!("if you are sure, use `deployctl unlock --stage {stage} --yes`");
        confirm::by_name(context, &question, stage, "unlock.unconfirmed", &hint).await?;
    }
    let freed = lease::unlock(&bucket, stage).await?;
    say(context, stage.as_str(), freed);
    Ok(())
}

fn say(context: &Context, stage: &str, freed: bool) {
    let text = if freed { "is free now" } else { "was not held" };
    context
        .report
        .show(&UnlockBody { stage: stage.to_owned(), freed }.document(), &format!("stage {stage} {text}\n"));
}
