//! `deployctl history`: the ledger, newest first, and how to move the stage to a record without deployctl.

use std::collections::BTreeSet;

use futures::future::join_all;
use futures::join;

use super::completion;
use super::context::Context;
use crate::documents::{Body as _, CliBody, HistoryBody};
use crate::engine::by_hand::{ByHand, by_hand};
use crate::engine::ledger::Ledger;
use crate::engine::ports::Store;
use crate::error::{Error, ErrorId, Result};
use crate::output::history;
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::release::aws_cli::AwsCli;
use crate::release::model::StageName;

/// List what was done to the stage, newest first
///
/// With --cli it prints instead the AWS CLI commands that move the stage to an earlier release, for the day on which
/// deployctl cannot do it. It changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl history --stage prd\n  deployctl history --stage prd --cli\n  deployctl history --stage prd --cli --record 12"
)]
pub(crate) struct Args {
    /// Print the AWS CLI commands that move the stage to the release that `rollback` goes to
    #[arg(long)]
    pub(super) cli: bool,
    /// With --cli: move the stage to the release of this record instead
    #[arg(long, value_name = "NUMBER", requires = "cli")]
    pub(super) record: Option<u64>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let session = context.read_session().await?;
    let contract = session.contract().await?;
    let stage = &session.settings.stage.name;
    let ledger = Ledger::new(session.aws.bucket(&contract.artifact_bucket), stage.clone());
    let (listing, pruned) = join!(ledger.listing(), ledger.pruned());
    let listing = listing?;
    // What can be read is shown: it is of interest above all when something is damaged.
    let mut problems = Vec::new();
    let mut readable = |error: Error| match error.id {
        ErrorId::LedgerDamaged => {
            problems.push(described(&error));
            Ok(())
        }
        _ => Err(error),
    };
    let pruned = pruned.or_else(|error| readable(error).map(|()| BTreeSet::new()))?;
    let mut records = Vec::new();
    for read in join_all(listing.numbers.iter().rev().map(|number| ledger.record(*number))).await {
        match read {
            Ok(record) => records.push(record),
            Err(error) => readable(error)?,
        }
    }
    problems.extend(listing.missing.map(|number| described(&ledger.missing(number))));
    for key in &listing.stray {
        problems.push(format!("{key} is no record; delete it: {}", ledger.removal_of(key)));
    }
    for problem in &problems {
        session.events.warn(problem.clone());
    }
    let cli = match args.cli {
        true => Some(commands(&session, &contract, &ledger, args.record).await?),
        false => None,
    };
    let text = match &cli {
        Some(cli) => script(cli, stage),
        None => history::text(&records, &pruned, jiff::Timestamp::now()),
    };
    let versions = records.iter().map(|record| record.release.version.to_string()).collect();
    let newest = records.first().map(|record| &record.release.functions);
    let functions = newest.into_iter().flatten().map(|(key, _)| key.to_string()).collect();
    completion::remember(context, stage.as_str(), completion::Seen { versions, functions });
    let body = HistoryBody { stage: stage.to_string(), records, pruned, problems, cli };
    context.report.show(&body.document(), &text);
    Ok(())
}

/// An error in one line.
fn described(error: &Error) -> String {
    let parts = [vec![error.message.clone()], error.causes()].concat().join(": ");
    format!("{parts}; {}", error.hint.as_deref().unwrap_or_default())
}

async fn commands<S: Store>(
    session: &Session,
    contract: &Contract,
    ledger: &Ledger<S>,
    record: Option<u64>,
) -> Result<CliBody> {
    let stage = &session.settings.stage;
    let cli = AwsCli {
        api: &contract.rest_api_id,
        stage: &contract.stage_name,
        region: Some(&stage.region),
        profile: stage.profile.as_deref(),
    };
    let by_hand = by_hand(ledger, &session.aws_stage(contract)?, &stage.name, record, cli).await?;
    let ByHand { record, from, commands, warnings } = by_hand;
    for warning in &warnings {
        session.events.warn(warning.clone());
    }
    Ok(CliBody { record: record.number, version: record.release.version, from, commands, warnings })
}

/// A script for a shell.
fn script(cli: &CliBody, stage: &StageName) -> String {
    let from = cli.from.release().map_or_else(|| "no release".to_owned(), |version| version.to_string());
    let CliBody { record, version, commands, .. } = cli;
    format!(
        "# moves stage {stage} from {from} to {version} (record {record}); only while it serves {from}\n{}\n",
        commands.join("\n")
    )
}
