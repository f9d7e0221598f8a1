//! `deployctl history`: the ledger, newest first.

use std::fmt::Write as _;

use futures::future::try_join_all;

use super::Context;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::schema::documents::{Body as _, HistoryBody};

/// Runs it.
pub(super) async fn run(context: &Context) -> Result<()> {
    let session = context.session().await?;
    let bucket = session.aws.bucket(&session.contract().await?.artifact_bucket);
    let ledger = Ledger::new(bucket, session.settings.stage.name.clone());
    let numbers = ledger.numbers().await?;
    let records = try_join_all(numbers.iter().rev().map(|number| ledger.record(*number))).await?;
    let mut text = String::new();
    for record in &records {
        let by = record.who.run_url.as_deref().unwrap_or(&record.who.arn);
        let commit = record.release.git.as_ref().map_or("", |git| git.commit.get(..8).unwrap_or_default());
        let dirty = record.release.git.as_ref().is_some_and(|git| git.dirty);
        let _ = writeln!(
            text,
            "{:>4}  {}  {:<9} {:<14} {:<16} {commit}{} by {by}",
            record.number,
            record.at,
            format!("{:?}", record.action).to_lowercase(),
            format!("{:?}", record.outcome).to_lowercase(),
            record.release.version,
            if dirty { "+" } else { "" },
        );
    }
    context.report.show(&HistoryBody { records }.document(), &text);
    Ok(())
}
