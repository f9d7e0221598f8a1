//! `deployctl plan`: everything a release would do, computed and printed; nothing is changed.

use std::path::PathBuf;

use serde_json::Value;

use super::context::{Context, version};
use crate::delivery::layers::LayerPlan;
use crate::delivery::plan::{DeliveryPlan, plan_release};
use crate::documents::result::Freshness as Word;
use crate::documents::{Body as _, PlanBody, PlannedApi, PlannedLayer, PlannedWork};
use crate::engine::observe::Freshness;
use crate::error::Result;
use crate::output::plan;
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::Overrides;
use crate::release::plan::Work;

/// Print everything a release would do, Terraform included, and change nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl plan --version 1.4.2 --stage dev\n  deployctl plan --exit-code --markdown > comment.md"
)]
pub(crate) struct Args {
    /// The version to plan for; the live one by default
    #[arg(long, value_name = "V")]
    pub(super) version: Option<String>,
    /// Exit with 3 when a release would change something
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Markdown instead of plain text, for a comment on a pull request
    #[arg(long)]
    pub(super) markdown: bool,
    /// Allow the plan to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
    /// Zips that `deployctl build` has left there, released as they are: nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,
}

impl Args {
    /// What these arguments say over the file.
    pub(super) fn overrides(&self, overrides: &mut Overrides) {
        overrides.allow_destroy.clone_from(&self.allow_destroy);
        // As the shell sees it; paths in the settings begin at the project.
        overrides.artifacts = self.artifacts.as_ref().and_then(|folder| std::path::absolute(folder).ok());
    }
}

/// Runs it; tells whether a release would change anything.
pub(super) async fn run(context: &Context, args: &Args) -> Result<bool> {
    let asked = args.version.as_deref().map(version).transpose()?;
    let session = context.session().await?;
    let planned = plan_release(&session, asked).await?;
    let changes = planned.changes();
    let title = format!("plan for {}, version {}", session.settings.stage.name, planned.version);
    let page = plan::markdown(&title, &planned);
    let outputs =
        [("changes", if changes { "true" } else { "false" }), ("version", planned.version.as_str())];
    context.report.leave_page(&page, &outputs);
    let text = if args.markdown { page } else { plan::text(&planned) };
    context.report.show(&document(&session, &planned), &text);
    Ok(changes)
}

fn document(session: &Session, plan: &DeliveryPlan) -> Value {
    let DeliveryPlan { version, layers, release } = plan;
    let release = release.as_ref();
    let layers = layers.iter().map(|(name, plan)| {
        let layer = name.clone();
        match plan {
            LayerPlan::NoChanges => PlannedLayer::NoChanges { layer },
            LayerPlan::Changes(plan) => PlannedLayer::Changes { layer, plan: plan.clone() },
            LayerPlan::NotYet(needed) => PlannedLayer::NotYet { layer, needs: needed.clone() },
        }
    });
    let functions = release.map(|release| {
        let word = |work: &Work| match work {
            Work::Update { .. } => PlannedWork::Update,
            Work::Publish { .. } => PlannedWork::Publish,
            Work::Keep(_) => PlannedWork::Keep,
        };
        release.plan.functions.iter().map(|(key, step)| (key.to_string(), word(&step.work))).collect()
    });
    let api = release.map(|release| {
        let (state, changes) = match &release.freshness {
            Freshness::Fresh(_) => (Word::Fresh, Vec::new()),
            Freshness::Stale(_, changes) => (Word::Stale, changes.clone()),
            Freshness::Unknown => (Word::Unknown, Vec::new()),
        };
        PlannedApi { state, changes }
    });
    PlanBody {
        stage: session.settings.stage.name.to_string(),
        version: version.to_string(),
        changes: plan.changes(),
        layers: layers.collect(),
        functions,
        api,
    }
    .document()
}
