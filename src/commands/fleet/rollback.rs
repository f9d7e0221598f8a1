//! `deployctl fleet rollback`: each member of a run goes back to what it served before, those that need others
//! first.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::{
    FleetArgs, NOT_ATOMIC, RunArgs, coordination, coordination_of, member_context, refused, serving,
    serving_of,
};
use crate::aws::s3::Bucket;
use crate::commands::context::{Context, LeaseArgs};
use crate::delivery::pipeline::known_bucket;
use crate::documents::Body as _;
use crate::documents::fleet::{FleetRollbackBody, MemberState, RollbackOutcome, RolledBackMember, Serving};
use crate::engine::held::HeldStage;
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
    for (name, planned) in run.members.iter().filter(|(name, _)| !named.is_empty() && !named.contains(name)) {
        let Some(needed) = planned.needs.iter().find(|needed| named.contains(needed)) else { continue };
        let result = coordination.result(&run.run, name).await?;
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
    let result = &stored.result;
    let overrides = Overrides { wait: args.lease.wait, ..Overrides::default() };
    let inner = member_context(context, fleet, fleet.member(&result.member)?, overrides);
    let (session, known) = inner.session_and(known_bucket).await?;
    let (Some(bucket), Some(contract)) = known else {
        return Ok((RollbackOutcome::Unchanged, "it has no release".to_owned()));
    };
    let coordination = coordination_of(&session, fleet);
    let back = MemberResult { state: MemberState::RolledBack, at: Timestamp::now(), ..result.clone() };
    let live = context.until_interrupted(serving(&session, &bucket, &contract)).await?;
    if live.as_ref().is_some_and(|live| result.was_served_by(live)) {
        coordination.write(back, Some(&stored)).await?;
        return Ok((RollbackOutcome::Unchanged, "it serves what it served before the run".to_owned()));
    }
    if !live.as_ref().is_some_and(|live| result.has_released(live)) {
        return Ok((RollbackOutcome::LeftAlone, other_release(live.as_ref())));
    }
    let Some(before) = &result.before else {
        let reason = "it had no release before the run, so there is none to go back to".to_owned();
        return Ok((RollbackOutcome::LeftAlone, reason));
    };
    let aws_stage = session.aws_stage(&contract)?;
    let stage_context = session.stage_context()?;
    let is_from = |record: &_| result.has_released(&serving_of(record));
    let restored =
        HeldStage::restore(&stage_context, bucket.clone(), &aws_stage, (&is_from, before.record)).await?;
    if restored.is_none() {
        let live = context.until_interrupted(serving(&session, &bucket, &contract)).await?;
        return Ok((RollbackOutcome::LeftAlone, other_release(live.as_ref())));
    }
    coordination.write(back, Some(&stored)).await?;
    Ok((RollbackOutcome::RolledBack, format!("it serves {} again", before.version)))
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
