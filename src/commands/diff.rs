//! `deployctl diff`: two releases side by side, by the ledger.

use futures::try_join;

use super::{Context, version};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::release::diff::Diff;
use crate::release::record::Record;
use crate::schema::documents::{Body as _, DiffBody};
use crate::world::Store;

/// Runs it; whether the releases differ.
pub(super) async fn run(context: &Context, from: &str, to: &str) -> Result<bool> {
    context.until_interrupted(compare(context, from, to)).await
}

async fn compare(context: &Context, from: &str, to: &str) -> Result<bool> {
    let session = context.session().await?;
    let stage = &session.settings.stage.name;
    let ledger = Ledger::new(session.aws.bucket(&session.contract().await?.artifact_bucket), stage.clone());
    let last = ledger.numbers().await?.last().copied().unwrap_or(0);
    let (from, to) = try_join!(find(&ledger, from, last), find(&ledger, to, last))?;
    let frozen = |record: &Record| record.release.api.fingerprint;
    let (old, new) = (frozen(&from), frozen(&to));
    let kept = try_join!(ledger.definition(&old), ledger.definition(&new))?;
    let diff = Diff::of(&from, &to, [kept.0.as_ref(), kept.1.as_ref()]);
    let (text, differs) = (diff.to_string(), diff.differs);
    context.report.show(&DiffBody { stage: stage.to_string(), diff }.document(), &text);
    Ok(differs)
}

/// The newest record of a version that was live.
async fn find<S: Store>(ledger: &Ledger<S>, text: &str, last: u64) -> Result<Record> {
    let version = version(text)?;
    ledger.newest_of(&version, last).await?.ok_or_else(|| {
        Error::usage("diff.unknown_version", format!("version {version} was never live on this stage"))
            .hint("`deployctl history` lists the releases")
    })
}
