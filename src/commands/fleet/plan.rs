//! `deployctl fleet plan`: which members a change affects, and in which order they are released.

use std::fmt::Write as _;

use serde_json::json;

use super::{ChangedArgs, FleetArgs, NOT_ATOMIC};
use crate::commands::context::Context;
use crate::documents::Body as _;
use crate::documents::fleet::{FleetPlanBody, PlannedMember};
use crate::error::{Error, ErrorId, Result};
use crate::fleet::plan::{matrices, plan};

/// Print the members that a change affects and those that need them, in waves; change nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl fleet plan\n  deployctl fleet plan --changed-since origin/main --output json\n  deployctl fleet plan --changed-since \"$BEFORE\" --format github >> \"$GITHUB_OUTPUT\""
)]
pub(crate) struct Args {
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    changed: ChangedArgs,
    /// `github`: outputs of a step, `waves` and one matrix for each wave (`wave_1`, `wave_2`, …)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fail if there are more waves: those that the workflow has jobs for
    #[arg(long, value_name = "N")]
    max_waves: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// As --output says
    Text,
    /// For GitHub Actions
    Github,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let fleet = args.fleet.load()?;
    let changed = args.changed.read(context, &fleet).await?;
    let waves = plan(&fleet, changed.as_ref());
    let matrices = matrices(&waves);
    if let Some(most) = args.max_waves.filter(|most| matrices.len() > *most) {
        let message = format!("the plan has {} waves, and the workflow has jobs for {most}", matrices.len());
        return Err(Error::usage(ErrorId::FleetWaves, message)
            .hint("nothing was changed; add wave jobs to the workflow and raise --max-waves"));
    }
    if args.format == Format::Github {
        let mut text = format!("waves={}\n", matrices.len());
        for (number, matrix) in (1..).zip(&matrices) {
            let _ = writeln!(text, "wave_{number}={matrix}");
        }
        return context.report.value(&json!(matrices), &text);
    }
    let text = describe(&waves, fleet.members.len());
    let changed_since = args.changed.reference().map(str::to_owned);
    context.report.show(&FleetPlanBody { changed_since, waves, atomic: false }.document(), &text);
    Ok(())
}

fn describe(waves: &[Vec<PlannedMember>], all: usize) -> String {
    let planned: usize = waves.iter().map(Vec::len).sum();
    let mut text = format!("{planned} of {all} members, in {} waves\n", waves.len());
    for (number, wave) in (1..).zip(waves) {
        let _ = writeln!(text, "wave {number}");
        for PlannedMember { member, stage, account, region, reason, .. } in wave {
            let _ = writeln!(text, "  {member}  stage {stage} in {account}, {region}: {reason}");
        }
    }
    let _ = writeln!(text, "{NOT_ATOMIC}");
    text
}
