//! `deployctl redeploy`: creates a new deployment of the API for the same functions. Use it for a stale stage.

use super::canary;
use super::context::Context;
use crate::commands::context::{CanaryArgs, LeaseArgs};
use crate::documents::result::Outcome;
use crate::engine::held::HeldStage;
use crate::error::Result;
use crate::output::Document;

/// Create a new API deployment for the current release; functions and variables stay the same
///
/// With --rest-api-id and --stage-name it needs no project, only credentials: it creates a deployment of that API,
/// moves the stage to it, and shows what changed for callers. Nothing is checked or recorded.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl redeploy --if-stale --stage dev\n  deployctl redeploy --rest-api-id a1b2c3 --stage-name dev\n  deployctl redeploy --rest-api-id a1b2c3 --stage-name dev --deployment d4e5f6"
)]
pub(crate) struct Args {
    /// Only if the API has changed since it was deployed
    #[arg(long)]
    pub(super) if_stale: bool,
    /// Without a project: the id of the REST API
    #[arg(long, value_name = "ID", requires = "stage_name", conflicts_with_all = ["if_stale", "stage", "wait"])]
    pub(super) rest_api_id: Option<String>,
    /// Without a project: the name of the stage in API Gateway
    #[arg(long, value_name = "NAME", requires = "rest_api_id")]
    pub(super) stage_name: Option<String>,
    /// Move the stage to this deployment of the API instead of a new one
    #[arg(long, value_name = "ID", requires = "rest_api_id")]
    pub(super) deployment: Option<String>,
    /// Also on a stage that deployctl releases to
    #[arg(long, requires = "rest_api_id")]
    pub(super) force: bool,
    /// The region of the API; by default that of the environment or of the profile
    #[arg(long, requires = "rest_api_id")]
    pub(super) region: Option<String>,
    /// The AWS profile with the credentials; by default those of the environment
    #[arg(long, requires = "rest_api_id")]
    pub(super) profile: Option<String>,
    #[command(flatten)]
    pub(super) canary: CanaryArgs,
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
    let (moved, changes) =
        held.during(async |held| held.redeploy(&aws_stage, &contract.functions, args.if_stale).await).await?;
    let outcome = if changes.is_some() { Outcome::Redeployed } else { Outcome::Unchanged };
    let (record, canary) = moved.into_parts();
    let moved = (record, canary);
    let mut document =
        canary::complete(("redeploy", outcome), &session, &contract, moved, args.canary.detach).await?;
    if let Some(api) = &mut document.api {
        api.changes = changes.unwrap_or_default();
    }
    Ok(document)
}
