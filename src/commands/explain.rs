//! `deployctl explain`: what an exit code or an error means.

use super::Context;
use crate::error::Result;
use crate::explain;
use crate::schema::documents::Body as _;

/// Runs it.
pub(super) fn run(context: &Context, what: Option<&str>) -> Result<()> {
    let found = what.map_or_else(explain::all, explain::find)?;
    let text = explain::as_text(&found, what.is_some());
    context.report.show(&found.document(), &text);
    Ok(())
}
