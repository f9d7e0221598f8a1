//! `deployctl redeploy`: a new deployment of the API under the same functions: the cure for a stale stage.

use super::Context;
use crate::error::Result;
use crate::report::Document;
use crate::report::document::Outcome;
use crate::stage::Held;

/// Runs it.
pub(super) async fn run(context: &Context, if_stale: bool) -> Result<Document> {
    let (session, contract) = context.session_of_released().await?;
    let site = session.site(&contract)?;
    let actor = session.actor()?;
    let held =
        Held::take(&actor, session.aws.bucket(&contract.artifact_bucket), "redeploy".to_owned()).await?;
    let (record, changes) = held.during(async |held| held.redeploy(&site, if_stale).await).await?;
    let outcome = if changes.is_some() { Outcome::Redeployed } else { Outcome::Unchanged };
    let stage = session.settings.stage.name.as_str();
    let mut document = Document::moved("redeploy", outcome, stage, &session.url(&contract), &record);
    if let Some(api) = &mut document.api {
        api.changes = changes.unwrap_or_default();
    }
    Ok(document)
}
