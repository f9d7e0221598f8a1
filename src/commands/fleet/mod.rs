//! `deployctl fleet`: plans, releases and rolls back the members of `fleet.toml`.

mod plan;
mod rollback;
mod run;
mod status;

use std::path::PathBuf;

use super::context::Context;
use crate::aws::s3::Bucket;
use crate::delivery::git;
use crate::documents::fleet::Serving;
use crate::engine::lease::LeaseSnapshot;
use crate::engine::ledger::Ledger;
use crate::engine::operations::look;
use crate::error::{Error, ErrorId, Result};
use crate::fleet::file::{Fleet, Member};
use crate::fleet::plan::Changed;
use crate::fleet::run::{Coordination, RunId};
use crate::project::contract::Contract;
use crate::project::coordination::coordination_bucket;
use crate::project::session::Session;
use crate::project::settings::{FILE, Overrides};
use crate::release::record::Record;
use crate::release::state::StageState;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Plan(plan::Args),
    Run(run::Args),
    Status(status::Args),
    Rollback(rollback::Args),
}

impl Verb {
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Plan(_) => "fleet plan",
            Self::Run(_) => "fleet run",
            Self::Status(_) => "fleet status",
            Self::Rollback(_) => "fleet rollback",
        }
    }
}

pub(super) async fn run(context: &Context, verb: &Verb) -> Result<u8> {
    match verb {
        Verb::Plan(args) => plan::run(context, args).await.map(|()| 0),
        Verb::Run(args) => Box::pin(run::run(context, args)).await.map(|()| 0),
        Verb::Status(args) => context.until_interrupted(status::run(context, args)).await.map(|()| 0),
        Verb::Rollback(args) => Box::pin(rollback::run(context, args)).await,
    }
}

/// Printed with every result, because a fleet looks like one thing and is not.
const NOT_ATOMIC: &str = "A run is not atomic: each member goes live, and back, by itself.";

#[derive(Debug, clap::Args)]
struct FleetArgs {
    /// The fleet's file; by default fleet.toml in this folder or the nearest one above
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
}

impl FleetArgs {
    fn load(&self) -> Result<Fleet> {
        Fleet::load(self.fleet.as_deref())
    }
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The id of the run, the same in all its jobs: 1 to 64 letters, digits, '.', '-' and '_'
    #[arg(long, value_name = "ID", value_parser = run_id)]
    run: RunId,
}

fn run_id(text: &str) -> std::result::Result<RunId, String> {
    text.parse::<RunId>().map_err(|problem| problem.to_string().replacen("version", "run", 1))
}

#[derive(Debug, clap::Args)]
struct ChangedArgs {
    /// Only the members that have changed in HEAD since it left this commit, and those that need them; all
    /// members if it is empty
    #[arg(long, value_name = "REF")]
    changed_since: Option<String>,
}

impl ChangedArgs {
    /// A workflow cannot leave an argument out.
    fn reference(&self) -> Option<&str> {
        self.changed_since.as_deref().filter(|reference| !reference.is_empty())
    }

    async fn read(&self, context: &Context, fleet: &Fleet) -> Result<Option<Changed>> {
        let Some(reference) = self.reference() else { return Ok(None) };
        let (prefix, files) = git::changed_since(&fleet.root, reference, &context.cancel).await?;
        Ok(Some(Changed { prefix, files }))
    }
}

/// The command on a member's project and stage.
fn member_context(context: &Context, fleet: &Fleet, member: &Member, overrides: Overrides) -> Context {
    let config = Some(fleet.root.join(&member.path).join(FILE));
    context.on(Overrides { config, stage: Some(member.stage.to_string()), ..overrides })
}

/// The coordination bucket by the caller's own credentials.
async fn coordination(context: &Context, fleet: &Fleet) -> Result<Coordination<Bucket>> {
    let place = (&fleet.account, fleet.region.as_str(), fleet.bucket.as_str());
    let store = coordination_bucket(place, fleet.profile.as_deref(), context.events.clone()).await?;
    Ok(Coordination { store })
}

/// The same by the credentials of a member.
fn coordination_of(session: &Session, fleet: &Fleet) -> Coordination<Bucket> {
    Coordination { store: session.aws.bucket_in(&fleet.region, &fleet.account, &fleet.bucket) }
}

/// What a stage serves by its ledger; `None` before the first release. A release whose command was killed after
/// the switch is found in the lease.
async fn serving(session: &Session, bucket: &Bucket, contract: &Contract) -> Result<Option<Serving>> {
    let seen = look(bucket, &session.settings.stage.name, &session.aws_stage(contract)?).await?;
    serving_at(session, bucket, seen).await
}

/// The same of a lease and a stage that were just read.
async fn serving_at(
    session: &Session,
    bucket: &Bucket,
    (lease, now): (LeaseSnapshot, StageState),
) -> Result<Option<Serving>> {
    let intent = lease.document.and_then(|document| document.intent);
    let record = match intent.filter(|intent| intent.pointer == now.pointer) {
        Some(intent) => Some(intent),
        None => {
            Ledger::new(bucket.clone(), session.settings.stage.name.clone())
                .head_at(&now.pointer)
                .await?
                .current
        }
    };
    let live = record.filter(|record| record.release.is_served_by(&now.pointer));
    Ok(live.as_ref().map(serving_of))
}

fn serving_of(record: &Record) -> Serving {
    Serving {
        record: record.number,
        version: record.release.version.to_string(),
        deployment_id: record.release.api.deployment_id.to_string(),
    }
}

/// The error of a member that others depend on, or that depends on others.
fn refused(message: String, hint: &str) -> Error {
    Error::preflight(ErrorId::FleetNeeds, message).hint(hint)
}
