//! `deployctl redeploy`: creates a new deployment of the API for the same functions. Use it for a stale stage.

use super::context::Context;
use crate::commands::context::LeaseArgs;
use crate::documents::result::Outcome;
use crate::engine::held::HeldStage;
use crate::error::Result;
use crate::output::Document;

/// Create a new API deployment for the current release; functions and variables stay the same
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl redeploy --if-stale --stage dev")]
pub(crate) struct Args {
    /// Only if the API has changed since it was deployed
    #[arg(long)]
    pub(super) if_stale: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let (session, contract) = context.session_of_released().await?;
    let aws_stage = session.aws_stage(&contract)?;
    let stage_context = session.stage_context()?;
    let held =
        HeldStage::take(&stage_context, session.aws.bucket(&contract.artifact_bucket), "redeploy".to_owned())
            .await?;
    let (record, changes) =
        held.during(async |held| held.redeploy(&aws_stage, &contract.functions, args.if_stale).await).await?;
    let outcome = if changes.is_some() { Outcome::Redeployed } else { Outcome::Unchanged };
    let stage = session.settings.stage.name.as_str();
    let mut document = Document::moved("redeploy", outcome, stage, &session.url(&contract), &record);
    if let Some(api) = &mut document.api {
        api.changes = changes.unwrap_or_default();
    }
    Ok(document)
}
