//! `deployctl history`: the ledger, newest first.

use std::fmt::Write as _;

use futures::future::try_join_all;
use futures::try_join;

use super::context::Context;
use crate::documents::{Body as _, HistoryBody};
use crate::engine::ledger::Ledger;
use crate::error::Result;
use crate::release::record::{Action, Outcome, Record};

pub(super) async fn run(context: &Context) -> Result<()> {
    let session = context.read_session().await?;
    let bucket = session.aws.bucket(&session.contract().await?.artifact_bucket);
    let stage = &session.settings.stage.name;
    let ledger = Ledger::new(bucket, stage.clone());
    let (numbers, pruned) = try_join!(ledger.numbers(), ledger.pruned())?;
    let records = try_join_all(numbers.iter().rev().map(|number| ledger.record(*number))).await?;
    let mut text = String::new();
    for record in &records {
        let _ = writeln!(text, "{}", line(record, pruned.contains(&record.number)));
    }
    let body = HistoryBody { stage: stage.to_string(), records, pruned };
    context.report.show(&body.document(), &text);
    Ok(())
}

fn line(record: &Record, pruned: bool) -> String {
    let action = match record.action {
        Action::Release => "release",
        Action::Redeploy => "redeploy",
        Action::Rollback => "rollback",
        Action::Promote => "promote",
    };
    let outcome = match record.outcome {
        Outcome::Live if pruned => "pruned",
        Outcome::Live => "live",
        Outcome::SwitchedBack => "switched back",
        Outcome::Stuck => "stuck",
        Outcome::Superseded => "superseded",
    };
    let release = &record.release;
    let git = release.git.as_ref().map(|git| {
        let commit = git.commit.get(..8).unwrap_or(&git.commit);
        format!(" {commit}{}", if git.dirty { "+" } else { "" })
    });
    let from = release.promoted_from.as_ref().map(|stage| format!(" from {stage}"));
    format!(
        "{:>4}  {}  {action:<9} {outcome:<14} {:<16}{}{} by {}",
        record.number,
        record.at,
        release.version,
        git.unwrap_or_default(),
        from.unwrap_or_default(),
        record.who.run_url.as_deref().unwrap_or(&record.who.arn),
    )
}
