//! A plan as text and as Markdown.

use std::fmt::Write as _;

use crate::delivery::layers::LayerPlan;
use crate::delivery::plan::DeliveryPlan;
use crate::engine::observe::Freshness;
use crate::terraform::render;

const UNPROVEN: &str = "Whether the stage serves the API as it is defined is unknown";

fn not_yet(name: &str, needed: &[String]) -> String {
    format!(
        "layer {name} cannot be planned: it reads the outputs of {}, not applied yet\n",
        needed.join(", ")
    )
}

/// The plan as text.
pub(crate) fn text(plan: &DeliveryPlan) -> String {
    let DeliveryPlan { layers, release, .. } = plan;
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
        None => {
            text.push_str("release: the first one; every function is published and the API is deployed\n")
        }
        Some(release) => {
            let _ = writeln!(text, "release {}:\n{}", release.plan.version, release.plan);
            match &release.freshness {
                Freshness::Stale(_, changes) => {
                    let changes = changes.join("\n  ");
                    let _ = writeln!(text, "the API has changed since it was deployed:\n  {changes}");
                }
                Freshness::Unknown(reasons) if !reasons.is_empty() => {
                    let _ = writeln!(text, "{UNPROVEN}:\n  {}", reasons.join("\n  "));
                }
                Freshness::Fresh(_) | Freshness::Unknown(_) => {}
            }
        }
    }
    text
}

/// The plan for a comment on a pull request.
pub(crate) fn markdown(title: &str, plan: &DeliveryPlan) -> String {
    let DeliveryPlan { layers, release, .. } = plan;
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
        text.push_str(
            "#### Release: the first one\n\nEvery function is published and the API is deployed.\n",
        );
        return text;
    };
    let _ = writeln!(text, "#### Release\n\n```text\n{}\n```", release.plan);
    let (heading, lines) = match &release.freshness {
        Freshness::Stale(_, changes) => ("The API has changed since it was deployed", changes.as_slice()),
        Freshness::Unknown(reasons) => (UNPROVEN, reasons.as_slice()),
        Freshness::Fresh(_) => ("", [].as_slice()),
    };
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{heading}:\n");
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}
