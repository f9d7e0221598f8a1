//! `deployctl unlock`: releases the lease of a command that died, and replaces a damaged one.

use super::confirm;
use super::context::Context;
use crate::documents::{Body as _, UnlockBody};
use crate::engine::lease::{self, Lease, describe};
use crate::error::{ErrorId, Result};

/// Release the lock of a command that died, or replace a damaged one
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl unlock --stage dev")]
pub(crate) struct Args {
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(super) yes: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let session = context.session().await?;
    let bucket = session.aws.bucket(&session.contract().await?.artifact_bucket);
    let stage = &session.settings.stage.name;
    let holder = match Lease::peek(&bucket, stage).await {
        Ok(snapshot) => {
            snapshot.document.and_then(|document| document.holder).map(|holder| describe(&holder))
        }
        Err(error) if error.id == ErrorId::LeaseDamaged => {
            let causes = error.causes().join(": ");
            Some(format!(
                "the lease is damaged ({causes}): what it says about an interrupted command is lost"
            ))
        }
        Err(error) => return Err(error),
    };
    let Some(holder) = holder else {
        show(context, stage.as_str(), false);
        return Ok(());
    };
    if !args.yes {
        let question = format!("{holder}\nrelease the lock of stage {stage}? Type its name: ");
        let hint = format!("if you are sure, use `deployctl unlock --stage {stage} --yes`");
        confirm::by_name(context, &question, stage, ErrorId::UnlockUnconfirmed, &hint).await?;
    }
    let freed = lease::unlock(&bucket, stage).await?;
    show(context, stage.as_str(), freed);
    Ok(())
}

fn show(context: &Context, stage: &str, freed: bool) {
    let text = if freed { "is free now" } else { "was not held" };
    context
        .report
        .show(&UnlockBody { stage: stage.to_owned(), freed }.document(), &format!("stage {stage} {text}\n"));
}
