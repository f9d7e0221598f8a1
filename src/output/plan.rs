//! A plan as text and as Markdown.

use std::fmt::Write as _;

use super::harmless::{markdown as inline, markdown_block, markdown_code};
use crate::delivery::layers::{LayerPlan, PlannedLayer};
use crate::delivery::plan::{DeliveryPlan, ReleasePlan};
use crate::engine::observe::Freshness;
use crate::release::model::UNRELEASED;
use crate::terraform::plan::Plan;
use crate::terraform::render;

const UNVERSIONED: &str = "A release is refused, unless the changes of Terraform correct these calls";

const UNPROVEN: &str = "Whether the stage serves the API as it is defined is unknown";

fn not_yet(name: &str, needed: &[String]) -> String {
    format!(
        "layer {name} cannot be planned: it reads the outputs of {}, not applied yet\n",
        needed.join(", ")
    )
}

/// The name of the planned release: without a version, it is the next one.
fn release_name(plan: &DeliveryPlan) -> String {
    match plan.version.as_str() {
        UNRELEASED => "the next release".to_owned(),
        version => format!("release {version}"),
    }
}

const CONFIRM: &str = "a release asks before it destroys or replaces";

fn to_confirm(plan: &DeliveryPlan) -> String {
    let lines: Vec<String> = plan.to_confirm.iter().map(|one| format!("  {}", one.describe())).collect();
    lines.join("\n")
}

fn nothing_to_do(plan: &DeliveryPlan) -> &'static str {
    if plan.changes() { "" } else { "nothing to do: what is live is what a release would create\n" }
}

/// The plan as text.
pub(crate) fn text(plan: &DeliveryPlan) -> String {
    let DeliveryPlan { layers, release, .. } = plan;
    let mut text = String::new();
    let title = release_name(plan);
    let end = nothing_to_do(plan);
    for PlannedLayer { name, dir, plan, warnings } in layers {
        match plan {
            LayerPlan::NoChanges => {
                let _ = writeln!(text, "layer {name}: no changes");
            }
            LayerPlan::Changes(plan) => {
                let _ = writeln!(text, "layer {name}: {}\n{}", render::numbers(plan), render::summary(plan));
            }
            LayerPlan::NotYet(needed) => text.push_str(&not_yet(name, needed)),
        }
        for warning in warnings {
            let _ = writeln!(text, "  warning: {}", warning.without_source(dir));
        }
    }
    match release {
        None => {
            text.push_str("release: the first one; every function is published and the API is deployed\n")
        }
        Some(release) => {
            let _ = writeln!(text, "{title}:\n{}", release.plan);
            let calls = &release.plan.calls.unversioned;
            if !calls.is_empty() {
                let _ = writeln!(text, "{UNVERSIONED}:");
            }
            for call in calls {
                let _ = writeln!(text, "  {call}; write in Terraform:\n    {}", call.write);
            }
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
    if !plan.to_confirm.is_empty() {
        let _ = writeln!(text, "{CONFIRM}:\n{}", to_confirm(plan));
    }
    text.push_str(end);
    let _ = writeln!(text, "digest of this plan: {}", plan.digest);
    text
}

/// The plan for a comment on a pull request.
pub(crate) fn markdown(title: &str, plan: &DeliveryPlan) -> String {
    let DeliveryPlan { layers, release, .. } = plan;
    let mut text = format!("### deployctl: {}\n\n", inline(title));
    for PlannedLayer { name, dir, plan: layer, warnings } in layers {
        match layer {
            LayerPlan::NoChanges => {
                let _ = writeln!(text, "#### Terraform {}: no changes\n", markdown_code(name));
            }
            LayerPlan::Changes(plan) => {
                let _ = writeln!(text, "{}", markdown_changes(name, plan));
            }
            LayerPlan::NotYet(needed) => {
                let _ = writeln!(text, "{}\n", inline(not_yet(name, needed).trim_end()));
            }
        }
        for warning in warnings {
            let _ = writeln!(text, "Warning:\n\n{}", markdown_block("text", &warning.without_source(dir)));
        }
    }
    match release {
        None => text.push_str(
            "#### Release: the first one\n\nEvery function is published and the API is deployed.\n",
        ),
        Some(release) => markdown_release(&mut text, release),
    }
    if !plan.to_confirm.is_empty() {
        let lines = markdown_block("text", &to_confirm(plan));
        let _ = writeln!(text, "\nA release asks before it destroys or replaces:\n\n{lines}");
    }
    if !plan.changes() {
        let _ = writeln!(text, "\n{}", nothing_to_do(plan));
    }
    let _ = writeln!(text, "\nDigest of this plan: `{}`", plan.digest);
    text
}

/// A heading with the numbers, and the changes folded away below it.
fn markdown_changes(layer: &str, plan: &Plan) -> String {
    let heading = format!("#### Terraform {}: {}\n", markdown_code(layer), render::numbers(plan));
    let summary = render::summary(plan);
    if summary.is_empty() {
        return heading;
    }
    let block = markdown_block("diff", &summary);
    format!("{heading}\n<details><summary>Changes</summary>\n\n{block}\n</details>\n")
}

fn markdown_release(text: &mut String, release: &ReleasePlan) {
    let _ = write!(text, "#### Release\n\n{}", markdown_block("text", &release.plan.to_string()));
    let calls = &release.plan.calls.unversioned;
    if !calls.is_empty() {
        let _ = writeln!(text, "\n{UNVERSIONED}:\n");
    }
    for call in calls {
        let (call, write) = (markdown_code(&call.to_string()), markdown_code(&call.write));
        let _ = writeln!(text, "- {call}; write in Terraform: {write}");
    }
    let (heading, lines) = match &release.freshness {
        Freshness::Stale(_, changes) => ("The API has changed since it was deployed", changes.as_slice()),
        Freshness::Unknown(reasons) => (UNPROVEN, reasons.as_slice()),
        Freshness::Fresh(_) => ("", [].as_slice()),
    };
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{heading}:\n");
        for line in lines {
            let _ = writeln!(text, "- {}", markdown_code(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_the_numbers_in_its_heading_and_no_text_ends_its_block() {
        let plan = include_bytes!("../../tests/fixtures/terraform/show-replan.json");
        let mut plan = Plan::parse(plan).unwrap();
        plan.changes[0].address = "x\n```\n<img>".to_owned();
        let text = markdown_changes("app", &plan);
        let heading = "#### Terraform `app`: 1 to add, 1 to change, 1 to destroy, 1 output changes\n";
        assert!(text.starts_with(heading), "{text}");
        assert!(text.ends_with("```\n\n</details>\n") && text.matches("```").count() == 2, "{text}");
        assert_eq!(markdown_changes("app", &Plan::default()), "#### Terraform `app`: no changes\n");
    }
}
