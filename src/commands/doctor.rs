//! `deployctl doctor`: everything that a release needs, looked at and not touched.

use super::Context;
use crate::doctor;
use crate::error::{Error, Kind, Result};
use crate::report::diagnosis;

/// Runs it and returns the exit code.
pub(super) async fn run(context: &Context) -> Result<u8> {
    let settings = context.settings()?;
    let diagnosis = doctor::examine(&settings, &context.events, &context.cancel).await;
    let document = serde_json::to_value(&diagnosis).map_err(|error| Error::bug(error.to_string()))?;
    context.report.show(&document, &diagnosis::text(&diagnosis));
    Ok(if diagnosis.has_problems() { Kind::Preflight.exit_code() } else { 0 })
}
