//! `deployctl rollback`: back to a release that served before, in one call, without Terraform or building.

use super::{Context, version};
use crate::error::Result;
use crate::report::Document;
use crate::report::document::Outcome;
use crate::stage::Held;

/// Runs it.
pub(super) async fn run(context: &Context, to: Option<&str>) -> Result<Document> {
    let to = to.map(version).transpose()?;
    let session = context.session().await?;
    let contract = session.contract().await?;
    let site = session.site(&contract)?;
    let actor = session.actor();
    let held =
        Held::take(&actor, session.aws.bucket(&contract.artifact_bucket), "rollback".to_owned()).await?;
    let record = held.during(async |held| held.rollback(&site, to.as_ref()).await).await?;
    let stage = session.settings.stage.name.as_str();
    Ok(Document::moved("rollback", Outcome::RolledBack, stage, &session.url(&contract), &record))
}
