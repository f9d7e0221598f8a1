//! `deployctl fleet status`: what became of the members of a run.

use std::fmt::Write as _;

use serde_json::json;

use super::{FleetArgs, NOT_ATOMIC, RunArgs, coordination};
use crate::commands::context::Context;
use crate::documents::Body as _;
use crate::documents::fleet::{FleetMember, FleetStatusBody};
use crate::error::Result;

/// Show what became of each member of a run
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl fleet status --run 20251128.1 --output json")]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let fleet = args.fleet.load()?;
    let coordination = coordination(context, &fleet).await?;
    let run = coordination.run(&args.run.run).await?;
    let names = run.order();
    let results = coordination.results(&run.run, names.iter().copied()).await?;
    let members = names.into_iter().zip(&results).map(|(name, stored)| {
        Ok(run.describe(run.member(name)?, stored.as_ref().map(|stored| &stored.result)))
    });
    let members = members.collect::<Result<Vec<FleetMember>>>()?;
    let mut text = format!("run {}\n", run.run);
    for FleetMember { member, stage, state, version, error, .. } in &members {
        let state = json!(state);
        let state = state.as_str().unwrap_or_default().replace('_', " ");
        let version = version.as_deref().unwrap_or_default();
        let error = error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
        let _ = writeln!(text, "  {member}  stage {stage}  {version}  {state}{error}");
    }
    let _ = writeln!(text, "{NOT_ATOMIC}");
    let body = FleetStatusBody { run: run.run.to_string(), members, atomic: false };
    context.report.show(&body.document(), &text);
    Ok(())
}
