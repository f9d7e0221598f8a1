//! `deployctl plan`: everything a release would do, computed and printed; nothing is changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures::try_join;
use serde_json::Value;

use super::release::{Built, build};
use super::{Context, version};
use crate::aws::api_gateway::Site;
use crate::contract::Contract;
use crate::error::{Error, Result};
use crate::infrastructure::{Infrastructure, LayerPlan};
use crate::ledger::Ledger;
use crate::release::model::Version;
use crate::release::plan::{self, Desired, Observed, Plan, Work, Zip};
use crate::release::record::ArtifactRecord;
use crate::report::document::Freshness as Word;
use crate::schema::documents::{Body as _, PlanBody, PlannedApi, PlannedLayer, PlannedWork};
use crate::session::{Session, UNRELEASED};
use crate::stage::{self, Freshness};
use crate::terraform::render;
use crate::world::StageState;

/// What a release would do to the functions and the API.
struct ReleasePlan {
    plan: Plan,
    freshness: Freshness,
}

/// Runs it; tells whether a release would change anything.
pub(super) async fn run(context: &Context, text: Option<&str>, markdown: bool) -> Result<bool> {
    let asked = text.map(version).transpose()?;
    let session = context.session().await?;
    let contract = session.applied_contract().await?;
    let site = contract.as_ref().map(|contract| session.site(contract)).transpose()?;
    let found = match &site {
        Some(site) => Some(context.until_interrupted(stage::stage(site)).await?),
        None => None,
    };
    let live = found.as_ref().and_then(|stage| stage.pointer.release());
    let version = match asked.or(live) {
        Some(version) => version,
        None => UNRELEASED.parse().map_err(|_| Error::bug("the version of nothing is no version"))?,
    };
    let driver = session.driver_for(Some(&version)).await?;
    let infrastructure = Infrastructure::new(&session, driver)?;
    let (layers, built) = try_join!(infrastructure.plan_all(), build(&session))?;
    // Without its infrastructure, a first release has nothing to be compared with.
    let release = match (contract, site, found) {
        (Some(contract), Some(site), Some(found)) => {
            let release = release(&session, &contract, &site, found, &version, &built);
            Some(context.until_interrupted(release).await?)
        }
        _ => None,
    };
    let changes = layers.iter().any(|(_, plan)| !matches!(plan, LayerPlan::NoChanges))
        || release.as_ref().is_none_or(|release| {
            !release.plan.keeps_all() || !matches!(release.freshness, Freshness::Fresh(_))
        });
    let document = document(&session, &version, &layers, release.as_ref(), changes);
    let title = format!("plan for {}, version {version}", session.settings.stage.name);
    let page = as_markdown(&title, &layers, release.as_ref());
    let outputs = [("changes", if changes { "true" } else { "false" }), ("version", version.as_str())];
    context.report.leave_page(&page, &outputs);
    let text = if markdown { page } else { as_text(&layers, release.as_ref()) };
    context.report.show(&document, &text);
    Ok(changes)
}

async fn release(
    session: &Session,
    contract: &Contract,
    site: &Site,
    found: StageState,
    version: &Version,
    built: &Built,
) -> Result<ReleasePlan> {
    let ledger =
        Ledger::new(session.aws.bucket(&contract.artifact_bucket), session.settings.stage.name.clone());
    let artifacts: BTreeMap<String, Zip> = built
        .artifacts
        .iter()
        .zip(&session.settings.artifacts)
        .map(|(artifact, settings)| {
            let key = settings.key(version);
            let record =
                ArtifactRecord { key, s3_version: None, sha256: artifact.sha256, size: artifact.size };
            (artifact.name.clone(), Zip { record, architecture: settings.recipe.architecture })
        })
        .collect();
    let desired = Desired { version: version.clone(), artifacts, functions: contract.functions.clone() };
    plan::check(&desired).map_err(stage::refused)?;
    plan::check_invocations(&desired, &session.settings.checks.invocations).map_err(stage::refused)?;
    let (functions, live, head) =
        try_join!(stage::functions(site, &desired), stage::definition(site), ledger.head())?;
    let freshness = stage::freshness(site, &ledger, &found, head.current.as_ref(), &live).await?;
    let observed = Observed { functions, stage: found, current: head.current };
    let plan = plan::plan(&desired, &observed).map_err(stage::refused)?;
    Ok(ReleasePlan { plan, freshness })
}

fn document(
    session: &Session,
    version: &Version,
    layers: &[(String, LayerPlan)],
    release: Option<&ReleasePlan>,
    changes: bool,
) -> Value {
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
        changes,
        layers: layers.collect(),
        functions,
        api,
    }
    .document()
}

fn not_yet(name: &str, needed: &[String]) -> String {
    format!(
        "layer {name} cannot be planned yet: it reads the outputs of {}, not applied so far\n",
        needed.join(", ")
    )
}

fn as_text(layers: &[(String, LayerPlan)], release: Option<&ReleasePlan>) -> String {
    let mut text = String::new();
    for (name, plan) in layers {
        match plan {
            LayerPlan::NoChanges => {
                let _ = writeln!(text, "layer {name}: no changes");
            }
            LayerPlan::Changes(plan) => {
                let _ = writeln!(text, "layer {name}: {}\n{}", render::numbers(plan), render::summary(plan));
            }
            LayerPlan::NotYet(needed) => text.push_str(&not_yet(name, needed)),
        }
    }
    match release {
        None => text.push_str("release: the first one; every function is published and the API deployed\n"),
        Some(release) => {
            let _ = writeln!(text, "release {}:\n{}", release.plan.version, release.plan);
            if let Freshness::Stale(_, changes) = &release.freshness {
                let _ = writeln!(
                    text,
                    "the API has changed since its deployment was made:\n  {}",
                    changes.join("\n  ")
                );
            }
        }
    }
    text
}

fn as_markdown(title: &str, layers: &[(String, LayerPlan)], release: Option<&ReleasePlan>) -> String {
    let mut text = format!("### deployctl: {title}\n\n");
    for (name, plan) in layers {
        match plan {
            LayerPlan::NoChanges => {
                let _ = writeln!(text, "#### Terraform `{name}`: no changes\n");
            }
            LayerPlan::Changes(plan) => {
                let _ = writeln!(text, "{}", render::markdown(name, plan));
            }
            LayerPlan::NotYet(needed) => {
                let _ = writeln!(text, "{}", not_yet(name, needed));
            }
        }
    }
    let Some(release) = release else {
        text.push_str("#### Release: the first one\n\nEvery function is published and the API deployed.\n");
        return text;
    };
    let _ = writeln!(text, "#### Release\n\n```text\n{}\n```", release.plan);
    if let Freshness::Stale(_, changes) = &release.freshness {
        let _ = writeln!(text, "\nThe API has changed since its deployment was made:\n");
        for change in changes {
            let _ = writeln!(text, "- {change}");
        }
    }
    text
}
