//! `deployctl plan`: computes and prints what a release would do, and changes nothing.

use std::path::PathBuf;

use super::context::Context;
use super::version::resolve;
use crate::delivery::layers::{self, LayerPlan};
use crate::delivery::plan::{DeliveryPlan, plan_release};
use crate::documents::result::Freshness as Word;
use crate::documents::{
    Body as _, Plan, PlanBody, PlannedApi, PlannedArchitecture, PlannedLayer, PlannedWarning, PlannedWork,
};
use crate::engine::observe::Freshness;
use crate::error::Result;
use crate::output::plan;
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::Overrides;
use crate::release::calls::Calls;
use crate::release::model::{FunctionKey, UNRELEASED};
use crate::release::plan::{Step, Work};
use crate::release::state::{ArchitectureChange, Code};
use crate::terraform::messages::Diagnostic;

/// Print what a release would do, including Terraform; change nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl plan 1.4.2 --stage dev\n  deployctl plan --exit-code --markdown > comment.md"
)]
pub(crate) struct Args {
    /// The version to plan for, or `auto`; by default the next release, whose version is "unreleased"
    #[arg(value_name = "VERSION", conflicts_with = "version")]
    pub(super) positional: Option<String>,
    /// The same as VERSION
    #[arg(long, value_name = "V")]
    pub(super) version: Option<String>,
    /// Exit with 3 if a release would change something
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Markdown instead of plain text, for a comment on a pull request
    #[arg(long)]
    pub(super) markdown: bool,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
    /// Release the zips that `deployctl build` wrote to this folder; nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,
}

impl Args {
    /// Applies the arguments that override deployctl.toml.
    pub(super) fn overrides(&self, overrides: &mut Overrides) {
        overrides.allow_destroy.clone_from(&self.allow_destroy);
        // Relative to the current folder, while paths in the settings are relative to the project.
        overrides.artifacts = self.artifacts.as_ref().and_then(|folder| std::path::absolute(folder).ok());
    }
}

/// Returns whether a release would change anything.
pub(super) async fn run(context: &Context, args: &Args) -> Result<bool> {
    let asked = match args.positional.as_deref().or(args.version.as_deref()) {
        Some(text) => Some(resolve(context, text).await?),
        None => None,
    };
    let session = context.session().await?;
    let planned = plan_release(&session, asked).await?;
    let changes = planned.changes();
    let title = match planned.version.as_str() {
        UNRELEASED => format!("plan for {}, the next release", session.settings.stage.name),
        version => format!("plan for {}, version {version}", session.settings.stage.name),
    };
    let digest = planned.digest.to_string();
    let page = plan::markdown(&title, &planned);
    let outputs = [
        ("changes", if changes { "true" } else { "false" }),
        ("version", planned.version.as_str()),
        ("digest", &digest),
    ];
    context.report.write_summary(&page, &outputs);
    let text = if args.markdown { page } else { plan::text(&planned) };
    context.report.show(&document(&session, planned), &text);
    Ok(changes)
}

/// Takes the plan instead of a copy, because it can be large.
fn document(session: &Session, plan: DeliveryPlan) -> Plan {
    let changes = plan.changes();
    let DeliveryPlan { version, layers, release, to_confirm, digest } = plan;
    let release = release.as_ref();
    let layers = layers.into_iter().map(|layers::PlannedLayer { name: layer, plan, warnings, .. }| {
        let warnings = warnings.into_iter().map(warning).collect();
        match plan {
            LayerPlan::NoChanges => PlannedLayer::NoChanges { layer, warnings },
            LayerPlan::Changes(plan) => PlannedLayer::Changes { layer, plan, warnings },
            LayerPlan::NotYet(needs) => PlannedLayer::NotYet { layer, needs },
        }
    });
    let functions = release.map(|release| {
        let planned = |work: &Work| match work {
            Work::Update { .. } => PlannedWork::Update,
            Work::Publish(_) => PlannedWork::Publish,
            Work::Keep(_) => PlannedWork::Keep,
        };
        release.plan.functions.iter().map(|(key, step)| (key.to_string(), planned(&step.work))).collect()
    });
    let architecture = |(key, step): (&FunctionKey, &Step)| match &step.work {
        Work::Update { code: Code { architecture: Some(change), .. }, .. } => {
            let ArchitectureChange { from, to } = change;
            Some((key.to_string(), PlannedArchitecture { from: from.to_string(), to: to.to_string() }))
        }
        _ => None,
    };
    let steps = release.iter().flat_map(|release| &release.plan.functions);
    let architectures = steps.filter_map(architecture).collect();
    let api = release.map(|release| {
        let (state, changes, reasons) = match &release.freshness {
            Freshness::Fresh(_) => (Word::Fresh, Vec::new(), Vec::new()),
            Freshness::Stale(_, changes) => (Word::Stale, changes.clone(), Vec::new()),
            Freshness::Unknown(reasons) => (Word::Unknown, Vec::new(), reasons.clone()),
        };
        let Calls { unversioned, others, .. } = release.plan.calls.clone();
        PlannedApi { state, changes, reasons, unversioned, others }
    });
    PlanBody {
        stage: session.settings.stage.name.to_string(),
        version: version.to_string(),
        changes,
        layers: layers.collect(),
        functions,
        architectures,
        variables: release.map(|release| release.plan.variables.clone()).unwrap_or_default(),
        not_atomic: release.map(|release| release.plan.not_atomic()).unwrap_or_default(),
        api,
        to_confirm: to_confirm.iter().map(|one| one.address.clone()).collect(),
        digest: digest.to_string(),
    }
    .whole()
}

pub(super) fn warning(diagnostic: Diagnostic) -> PlannedWarning {
    let Diagnostic { summary, detail, address, range, .. } = diagnostic;
    let line = range.as_ref().map(|range| range.start.line);
    PlannedWarning { summary, detail, address, file: range.map(|range| range.filename), line }
}
