//! `deployctl canary`: shows, continues or ends a canary that a release left in progress.

use clap::Subcommand;

use super::context::{Context, LeaseArgs};
use super::status;
use crate::aws::api_gateway::AwsStage;
use crate::aws::s3::Bucket;
use crate::documents::result::{CanaryStatus, Document, Outcome};
use crate::engine::canary::{CanaryStage, Progress};
use crate::engine::held::StageContext;
use crate::engine::lease::{LeaseSnapshot, no_canary};
use crate::engine::ledger::Ledger;
use crate::engine::operations::look;
use crate::error::{ErrorId, Result};
use crate::project::contract::Contract;
use crate::project::session::{Session, unless_interrupted};
use crate::release::canary::Canary;
use crate::release::record::{Outcome as Recorded, Record};
use crate::release::state::StageState;

/// The commands about a canary. They work on any machine, also if the command that started it has died.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Verb {
    /// Show the canary: its share of the requests, since when, and the numbers of both releases
    #[command(after_help = "Example:\n  deployctl canary status --stage prd")]
    Status,
    /// Switch to the canary's release now, whatever its steps say
    #[command(
        after_help = "Examples:\n  deployctl canary promote --stage prd\n  deployctl canary promote --if-due --stage prd"
    )]
    Promote(PromoteArgs),
    /// Take all requests from the canary; the old release serves them again
    #[command(after_help = "Example:\n  deployctl canary abort --stage prd")]
    Abort(AbortArgs),
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct PromoteArgs {
    /// For a scheduled job: make the next step if the current one has taken its time, and go back if the numbers
    /// are bad
    #[arg(long)]
    pub(super) if_due: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct AbortArgs {
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

impl Verb {
    pub(super) fn lease(&self) -> Option<LeaseArgs> {
        match self {
            Self::Status => None,
            Self::Promote(args) => Some(args.lease),
            Self::Abort(args) => Some(args.lease),
        }
    }
}

/// A canary in progress, and what its commands need.
struct Found {
    session: Session,
    contract: Contract,
    canary: Canary,
    seen: (LeaseSnapshot, StageState),
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<Document> {
    let args = match verb {
        Verb::Status => {
            let mut document = context.until_interrupted(status::run(context)).await?;
            document.command = "canary";
            return match document.canary {
                Some(_) => Ok(document),
                None => Err(no_canary(&context.settings()?.stage.name)),
            };
        }
        Verb::Promote(args) => args,
        Verb::Abort(_) => {
            let Found { session, contract, canary, seen } = find(context).await?;
            return abort("canary", &session, &contract, (canary, seen)).await;
        }
    };
    let found = find(context).await;
    if args.if_due && found.as_ref().is_err_and(|error| error.id == ErrorId::CanaryNone) {
        context.events.note("no canary is in progress");
        return status::run(context).await.map(|document| Document { command: "canary", ..document });
    }
    let Found { session, contract, canary, seen } = found?;
    let (stage_context, aws_stage) = (session.stage_context()?, session.aws_stage(&contract)?);
    let stage = canary_stage(&session, &contract, (&stage_context, &aws_stage));
    let patience = session.settings.wait.unwrap_or_default();
    let progress = if args.if_due {
        stage.proceed(&canary, seen, patience).await?
    } else {
        stage.switch(&canary, Some(seen.0), patience).await?
    };
    Ok(match progress {
        Progress::Live(record) => moved("canary", Outcome::Released, &session, &contract, &record),
        Progress::InProgress(canary) => started("canary", &session, &contract, &canary),
    })
}

/// Ends a canary for a person. `rollback` means the same.
pub(super) async fn abort(
    command: &'static str,
    session: &Session,
    contract: &Contract,
    (canary, seen): (Canary, (LeaseSnapshot, StageState)),
) -> Result<Document> {
    let (stage_context, aws_stage) = (session.stage_context()?, session.aws_stage(contract)?);
    let stage = canary_stage(session, contract, (&stage_context, &aws_stage));
    let patience = session.settings.wait.unwrap_or_default();
    let reason = format!("`deployctl {command}` of {}", stage_context.who.arn);
    let ended = stage.abort(&canary, Some(seen), (reason, None), patience).await?;
    if ended.outcome == Recorded::Live {
        session.events.warn(format!(
            "the canary had ended before: release {} is live; `deployctl rollback` goes back",
            ended.release.version
        ));
        return Ok(moved(command, Outcome::Released, session, contract, &ended));
    }
    let name = &session.settings.stage.name;
    let mut document = Document::new(command, name.as_str());
    document.outcome = Outcome::RolledBack;
    document.url = Some(session.url(contract));
    document.previous = Some(ended.release.version.to_string());
    if ended.outcome != Recorded::SwitchedBack {
        session.events.warn(
            "the canary has ended, and the stage was moved meanwhile; `deployctl status` shows what it serves",
        );
        return Ok(document);
    }
    // The stage serves the old release, so a ledger that cannot be read is no error.
    if let Some(number) = ended.before.record {
        let ledger = Ledger::new(session.aws.bucket(&contract.artifact_bucket), name.clone());
        if let Ok(record) = ledger.record(number).await {
            document.describe(&record);
        }
    }
    document.version = ended.before.pointer.release().map(|version| version.to_string());
    Ok(document)
}

/// The result of a command whose release is live, or gets the requests by a canary: that is watched to its end,
/// unless the command is to `detach`.
pub(super) async fn complete(
    (command, outcome): (&'static str, Outcome),
    session: &Session,
    contract: &Contract,
    (record, canary): (Record, Option<Canary>),
    detach: bool,
) -> Result<Document> {
    let record = match canary {
        None => record,
        Some(canary) if detach => return Ok(started(command, session, contract, &canary)),
        Some(canary) => {
            let (stage_context, aws_stage) = (session.stage_context()?, session.aws_stage(contract)?);
            let stage = canary_stage(session, contract, (&stage_context, &aws_stage));
            Box::pin(stage.follow(canary)).await?
        }
    };
    Ok(moved(command, outcome, session, contract, &record))
}

fn canary_stage<'a>(
    session: &Session,
    contract: &Contract,
    (context, port): (&'a StageContext, &'a AwsStage),
) -> CanaryStage<'a, Bucket, AwsStage> {
    CanaryStage { context, store: session.aws.bucket(&contract.artifact_bucket), port }
}

async fn find(context: &Context) -> Result<Found> {
    let (session, contract) = context.session_of_released().await?;
    let name = &session.settings.stage.name;
    let (bucket, aws_stage) = (session.aws.bucket(&contract.artifact_bucket), session.aws_stage(&contract)?);
    let seen = unless_interrupted(&session.cancel, look(&bucket, name, &aws_stage)).await?;
    let canary = seen.0.canary().cloned().ok_or_else(|| no_canary(name))?;
    Ok(Found { session, contract, canary, seen })
}

fn moved(
    command: &'static str,
    outcome: Outcome,
    session: &Session,
    contract: &Contract,
    record: &Record,
) -> Document {
    Document::moved(command, outcome, session.settings.stage.name.as_str(), &session.url(contract), record)
}

fn started(command: &'static str, session: &Session, contract: &Contract, canary: &Canary) -> Document {
    let mut document = moved(command, Outcome::Canary, session, contract, &canary.record);
    document.canary = Some(CanaryStatus::of(canary, f64::from(canary.percent())));
    document
}
