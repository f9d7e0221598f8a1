//! `deployctl rollback`: back to a release that served before, in one call, without Terraform or building.

use super::{Context, version};
use crate::error::Result;
use crate::report::Document;
use crate::report::document::Outcome;
use crate::stage::Held;

/// Runs it.
pub(super) async fn run(context: &Context, to: Option<&str>) -> Result<Document> {
    let to = to.map(version).transpose()?;
    let (session, contract) = context.session_of_released().await?;
    let site = session.site(&contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let record = Held::rollback(&session.actor()?, bucket, &site, to.as_ref()).await?;
    let stage = session.settings.stage.name.as_str();
    Ok(Document::moved("rollback", Outcome::RolledBack, stage, &session.url(&contract), &record))
}
