//! Parses the output of `terraform validate -json`.

use serde::Deserialize;

use super::failure::{Failure, Reason};
use super::messages::{Diagnostic, null_is_empty};

pub(super) fn diagnostics(json: &[u8]) -> Result<Vec<Diagnostic>, Failure> {
    #[derive(Deserialize)]
    struct Validation {
        format_version: String,
        #[serde(default, deserialize_with = "null_is_empty")]
        diagnostics: Vec<Diagnostic>,
    }
    const WHAT: &str = "the validation";
    let Validation { format_version, diagnostics } =
        serde_json::from_slice(json).map_err(|error| Failure::json(WHAT, &error))?;
    if format_version.starts_with("1.") {
        return Ok(diagnostics);
    }
    let problem = format!("format {format_version} is not supported, only 1.x");
    Err(Failure::new(Reason::Format { what: WHAT, problem }))
}
