//! `deployctl fleet rollback`: each member of a run goes back to what it served before, those that need others
//! first.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::{
    FleetArgs, NOT_ATOMIC, RunArgs, coordination, coordination_of, member_context, refused, serving,
    serving_at, serving_of,
};
use crate::aws::s3::Bucket;
use crate::commands::canary;
use crate::commands::context::{Context, LeaseArgs};
use crate::delivery::pipeline::known_bucket;
use crate::documents::Body as _;
use crate::documents::fleet::{FleetRollbackBody, MemberState, RollbackOutcome, RolledBackMember, Serving};
use crate::engine::canary::to_end;
use crate::engine::held::HeldStage;
use crate::engine::operations::look;
use crate::error::{EXIT_CHANGES, Result};
use crate::fleet::file::Fleet;
use crate::fleet::run::{Coordination, MemberResult, Run, StoredResult};
use crate::project::settings::Overrides;

/// Switch the members of a run back to what they served before it, in reverse order
///
/// A member that serves something else than the run has released is left alone. Exit code 3 if there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl fleet rollback --run 20251128.1")]
pub(crate) struct Args {
    /// Only these members; by default all of the run
    #[arg(value_name = "MEMBER")]
    members: Vec<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<u8> {
    let fleet = args.fleet.load()?;
    let coordination = coordination(context, &fleet).await?;
    let run = context.until_interrupted(coordination.run(&args.run.run)).await?;
    for name in &args.members {
        run.member(name)?;
    }
    context.until_interrupted(dependents_are_back(&coordination, &run, &args.members)).await?;
    let is_named = |name: &str| args.members.is_empty() || args.members.iter().any(|named| named == name);
    let mut members = Vec::new();
    for name in run.order().into_iter().rev().filter(|name| is_named(name)) {
        let found = context.until_interrupted(coordination.result(&run.run, name)).await?;
        let (outcome, reason) = match found {
            None => (RollbackOutcome::Unchanged, "no job of it has begun".to_owned()),
            Some(stored) if stored.result.state == MemberState::RolledBack => {
                (RollbackOutcome::Unchanged, "it was rolled back before".to_owned())
            }
            // What is left of the run needs this member, so an error ends the command here.
            Some(stored) => Box::pin(roll_back(context, &fleet, args, stored)).await?,
        };
        context.events.note(format!("{name}: {reason}"));
        members.push(RolledBackMember { member: name.to_owned(), outcome, reason });
    }
    let is_left = members.iter().any(|member| member.outcome == RollbackOutcome::LeftAlone);
    let text = describe(&run, &members);
    let body = FleetRollbackBody { run: run.run.to_string(), members, atomic: false };
    context.report.show(&body.document(), &text);
    Ok(if is_left { EXIT_CHANGES } else { 0 })
}

/// Refuses to roll back named members that members need which are not named, and still serve the run's release.
async fn dependents_are_back(coordination: &Coordination<Bucket>, run: &Run, named: &[String]) -> Result<()> {
    let is_other = |name: &String| !named.is_empty() && !named.contains(name);
    let dependents = run.members.iter().filter(|(name, _)| is_other(name)).filter_map(|(name, planned)| {
        Some((name.as_str(), planned.needs.iter().find(|needed| named.contains(needed))?))
    });
    let dependents: Vec<_> = dependents.collect();
    let results = coordination.results(&run.run, dependents.iter().map(|(name, _)| *name)).await?;
    for ((name, needed), result) in dependents.into_iter().zip(results) {
        if result.is_some_and(|stored| stored.result.state != MemberState::RolledBack) {
            let message =
                format!("refused: {name} needs {needed}, and run {} of it was not rolled back", run.run);
            return Err(refused(message, "nothing was changed; roll that member back first, or name it too"));
        }
    }
    Ok(())
}

async fn roll_back(
    context: &Context,
    fleet: &Fleet,
    args: &Args,
    stored: StoredResult,
) -> Result<(RollbackOutcome, String)> {
    let overrides = Overrides { wait: args.lease.wait, ..Overrides::default() };
    let inner = member_context(context, fleet, fleet.member(&stored.result.member)?, overrides);
    let rolled_back = Box::pin(roll_back_member(&inner, fleet, stored)).await;
    inner.notify().await;
    rolled_back
}

async fn roll_back_member(
    inner: &Context,
    fleet: &Fleet,
    stored: StoredResult,
) -> Result<(RollbackOutcome, String)> {
    let result = &stored.result;
    let (session, known) = inner.session_and(known_bucket).await?;
    let (Some(bucket), Some(contract)) = known else {
        return Ok((RollbackOutcome::Unchanged, "it has no release".to_owned()));
    };
    let aws_stage = session.aws_stage(&contract)?;
    let stage_context = session.stage_context()?;
    let look = async || inner.until_interrupted(look(&bucket, &stage_context.stage, &aws_stage)).await;
    let mut seen = look().await?;
    // Nothing of a canary is in the ledger, but a part of the requests gets it.
    let canary = to_end(&seen.0, &seen.1).filter(|canary| canary.record.release.version == result.version);
    let had_canary = canary.is_some();
    if let Some(canary) = canary.cloned() {
        canary::abort("rollback", &session, &contract, (canary, seen)).await?;
        seen = look().await?;
    }
    // A job that holds the stage may be about to switch it. The rollback waits for its lease.
    let is_held = seen.0.must_be_free(&stage_context.stage).is_err();
    let coordination = coordination_of(&session, fleet);
    let live = inner.until_interrupted(serving_at(&session, &bucket, seen)).await?;
    if !is_held && live.as_ref().is_some_and(|live| result.was_served_by(live)) {
        store(&coordination, &stored).await?;
        return Ok(if had_canary {
            (
                RollbackOutcome::RolledBack,
                "its canary was ended, and it serves what it served before".to_owned(),
            )
        } else {
            (RollbackOutcome::Unchanged, SERVES_BEFORE.to_owned())
        });
    }
    if !is_held && !live.as_ref().is_some_and(|live| result.has_released(live)) {
        return Ok((RollbackOutcome::LeftAlone, other_release(live.as_ref())));
    }
    let Some(before) = &result.before else {
        let reason = "it had no release before the run, so there is none to go back to".to_owned();
        return Ok((RollbackOutcome::LeftAlone, reason));
    };
    let is_from = |record: &_| result.has_released(&serving_of(record));
    let restored =
        HeldStage::restore(&stage_context, bucket.clone(), &aws_stage, (&is_from, before.record)).await?;
    if restored.is_some() {
        store(&coordination, &stored).await?;
        return Ok((RollbackOutcome::RolledBack, format!("it serves {} again", before.version)));
    }
    let live = inner.until_interrupted(serving(&session, &bucket, &contract)).await?;
    if live.as_ref().is_some_and(|live| result.was_served_by(live)) {
        store(&coordination, &stored).await?;
        return Ok((RollbackOutcome::Unchanged, SERVES_BEFORE.to_owned()));
    }
    Ok((RollbackOutcome::LeftAlone, other_release(live.as_ref())))
}

const SERVES_BEFORE: &str = "it serves what it served before the run";

/// Stores that the member is back.
async fn store(coordination: &Coordination<Bucket>, stored: &StoredResult) -> Result<()> {
    let back = MemberResult { state: MemberState::RolledBack, at: Timestamp::now(), ..stored.result.clone() };
    let member = back.member.clone();
    coordination.write(back, Some(stored)).await.map(drop).map_err(|error| {
        error.hint(format!(
            "{member} serves what it served before the run, but the run does not know it; run the command again"
        ))
    })
}

fn other_release(live: Option<&Serving>) -> String {
    match live {
        Some(Serving { version, record, .. }) => {
            format!("left alone: it serves {version} (record {record}), which the run has not released")
        }
        None => "left alone: what it serves is not in its ledger".to_owned(),
    }
}

fn describe(run: &Run, members: &[RolledBackMember]) -> String {
    let mut text = format!("rollback of run {}\n", run.run);
    for RolledBackMember { member, outcome, reason } in members {
        let outcome = json!(outcome);
        let outcome = outcome.as_str().unwrap_or_default().replace('_', " ");
        let _ = writeln!(text, "  {member}  {outcome}: {reason}");
    }
    let _ = writeln!(text, "{NOT_ATOMIC}");
    text
}
