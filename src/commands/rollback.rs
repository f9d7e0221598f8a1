//! `deployctl rollback`: moves the stage back to an earlier release in one call, without Terraform or a build.

use futures::try_join;

use super::canary;
use super::completion;
use super::context::{Context, version};
use crate::commands::context::LeaseArgs;
use crate::documents::result::{Api, Freshness, Outcome};
use crate::engine::canary::to_end;
use crate::engine::held::HeldStage;
use crate::engine::ledger::Ledger;
use crate::engine::missing::RollbackOptions;
use crate::engine::observe;
use crate::engine::operations::{RolledBack, look};
use crate::engine::ports::{StagePort, Store};
use crate::error::Result;
use crate::output::Document;
use crate::project::known_stage::KnownStage;
use crate::project::session::unless_interrupted;
use crate::release::diff::Diff;
use crate::release::record::Record;
use crate::release::state::StageState;

/// Switch back to the previous release, or to an earlier one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  deployctl rollback --stage prd\n  deployctl rollback --stage prd 1.4.1")]
pub(crate) struct Args {
    /// The version to switch to; by default the newest earlier release that differs from the live one
    #[arg(value_name = "VERSION", conflicts_with = "to", add = completion::versions())]
    pub(super) version: Option<String>,
    /// The same as VERSION
    #[arg(long, value_name = "V", add = completion::versions())]
    pub(super) to: Option<String>,
    /// Switch at once, also to functions that Lambda made inactive and that fail until they are active again
    #[arg(long)]
    pub(super) no_wait: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let to = args.version.as_deref().or(args.to.as_deref()).map(version).transpose()?;
    let (session, (contract, seen)) = context
        .session_and(async |session| {
            let stage = &session.settings.stage.name;
            let early = async |known: &KnownStage| {
                let bucket = session.aws.bucket(&known.artifact_bucket);
                look(&bucket, stage, &session.aws_stage_at(known)?).await
            };
            unless_interrupted(&session.cancel, session.contract_and(early)).await
        })
        .await?;
    let aws_stage = session.aws_stage(&contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let options = RollbackOptions { to: to.as_ref(), no_wait: args.no_wait };
    let context = session.stage_context()?;
    let seen = match seen {
        Some(seen) => seen,
        None => {
            let read = look(&bucket, &context.stage, &aws_stage);
            unless_interrupted(&session.cancel, session.events.step("read current state", read)).await?
        }
    };
    // To go back from a canary is to end it, also if another command was doing so when it was killed.
    let canary = to_end(&seen.0, &seen.1).filter(|_| to.is_none()).cloned();
    if let Some(canary) = canary {
        return canary::abort("rollback", &session, &contract, (canary, seen)).await;
    }
    let RolledBack { record, target } =
        HeldStage::rollback(&context, bucket.clone(), &aws_stage, options, Some(seen)).await?;
    let was_live = record.number == target.number;
    let outcome = if was_live { Outcome::Unchanged } else { Outcome::RolledBack };
    let stage = &session.settings.stage.name;
    let mut document = Document::moved("rollback", outcome, stage.as_str(), &session.url(&contract), &record);
    let ledger = Ledger::new(bucket, stage.clone());
    let before = record.before.record.filter(|_| !was_live);
    let compare = async { try_join!(api(&aws_stage, &ledger, &record), diff(&ledger, before, &target)) };
    // The release is live, so a failure from here on is not one of the command.
    let compared = tokio::select! {
        compared = session.events.step("compare API", compare) => compared.map_err(|error| error.to_string()),
        () = session.cancel.cancelled() => Err("interrupted".to_owned()),
    };
    match compared {
        Ok((api, diff)) => (document.api, document.diff) = (Some(api), diff),
        Err(why) => {
            let why = format!("the API was not compared with the live release: {why}");
            session.events.warn(why.clone());
            document.api =
                document.api.map(|api| Api { state: Freshness::Unknown, reasons: vec![why], ..api });
        }
    }
    let calls = observe::unversioned_calls(&aws_stage, &ledger, &record.release);
    // The stage is moved already, so a definition that cannot be read is no error.
    document.unversioned = unless_interrupted(&session.cancel, calls).await.ok().flatten();
    Ok(document)
}

/// Whether the stage serves the API as it is defined now.
async fn api<S: Store>(port: &impl StagePort, ledger: &Ledger<S>, record: &Record) -> Result<Api> {
    let stage = StageState { pointer: record.pointer.clone(), canary: None, cached: false };
    let live = observe::definition(port).await?;
    let freshness = observe::freshness(port, ledger, &stage, Some(record), &live).await?;
    Ok(super::status::api(&record.release.api.id, &stage.pointer.deployment_id, freshness))
}

/// How the release of `target` differs from the one that was live before.
async fn diff<S: Store>(ledger: &Ledger<S>, before: Option<u64>, target: &Record) -> Result<Option<Diff>> {
    let Some(before) = before else { return Ok(None) };
    let before = ledger.record(before).await?;
    let (from, to) = (before.release.api.fingerprint, target.release.api.fingerprint);
    if from == to {
        return Ok(Some(Diff::of(&before, target, [None, None])));
    }
    let (from, to) = try_join!(ledger.definition(&from), ledger.definition(&to))?;
    Ok(Some(Diff::of(&before, target, [from.as_ref(), to.as_ref()])))
}
