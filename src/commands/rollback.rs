//! `deployctl rollback`: moves the stage back to an earlier release in one call, without Terraform or a build.

use super::context::{Context, version};
use crate::commands::context::LeaseArgs;
use crate::documents::result::Outcome;
use crate::engine::held::HeldStage;
use crate::engine::ledger::Ledger;
use crate::engine::missing::RollbackOptions;
use crate::engine::observe;
use crate::error::Result;
use crate::output::Document;

/// Switch back to the previous release, or to an earlier one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl rollback --stage prd\n  deployctl rollback --stage prd --to 1.4.1"
)]
pub(crate) struct Args {
    /// The version to switch to; by default the previous one
    #[arg(long, value_name = "V")]
    pub(super) to: Option<String>,
    /// Switch at once, also to functions that Lambda made inactive and that fail until they are active again
    #[arg(long)]
    pub(super) no_wait: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let to = args.to.as_deref().map(version).transpose()?;
    let (session, contract) = context.session_of_released().await?;
    let aws_stage = session.aws_stage(&contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let options = RollbackOptions { to: to.as_ref(), no_wait: args.no_wait };
    let record = HeldStage::rollback(&session.stage_context()?, bucket.clone(), &aws_stage, options).await?;
    let stage = &session.settings.stage.name;
    let url = session.url(&contract);
    let mut document = Document::moved("rollback", Outcome::RolledBack, stage.as_str(), &url, &record);
    let ledger = Ledger::new(bucket, stage.clone());
    let calls = observe::unversioned_calls(&aws_stage, &ledger, &record.release);
    // The stage is moved already, so a definition that cannot be read is no error.
    document.unversioned = context.until_interrupted(calls).await.ok().flatten();
    Ok(document)
}
