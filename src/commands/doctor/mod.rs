//! `deployctl doctor`: finds what would prevent a release.
//!
//! Every check returns findings: ok, a warning, a problem, or not checked and why. The checks run at the same
//! time, and a check that fails does not stop the others. Nothing is changed, and nothing is started.

mod artifacts;
mod buckets;
mod cloud;
mod limits;
mod open;
mod ownership;
pub(crate) mod permissions;
mod tools;
mod unread;

use crate::commands::context::Context;
use crate::documents::doctor::{Diagnosis, Finding};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::output::diagnosis;
use crate::project::settings::Settings;
use tokio_util::sync::CancellationToken;

/// Returns the exit code.
pub(super) async fn run(context: &Context) -> Result<u8> {
    let settings = context.settings()?;
    let diagnosis = examine(&settings, &context.events, &context.cancel).await;
    let document = serde_json::to_value(&diagnosis).map_err(|error| Error::bug(error.to_string()))?;
    context.report.show(&document, &diagnosis::text(&diagnosis));
    Ok(if diagnosis.has_problems() { Kind::Preflight.exit_code() } else { 0 })
}

/// Values in tfvars files that contradict the stage.
fn variables(settings: &Settings) -> Vec<Finding> {
    let found = settings.layers.iter().flat_map(|layer| settings.contradictions(layer));
    found.map(|text| Finding::problem("variables", text, "remove the value from one of the two")).collect()
}

pub(crate) async fn examine(settings: &Settings, events: &Events, cancel: &CancellationToken) -> Diagnosis {
    let (tools, cloud) =
        futures::join!(tools::check(settings, cancel), Box::pin(cloud::check(settings, events, cancel)));
    let mut findings = tools;
    findings.extend(ownership::in_source(settings));
    findings.extend(variables(settings));
    findings.extend(artifacts::built(settings));
    findings.extend(cloud);
    Diagnosis::new(settings.stage.name.as_str(), findings)
}
