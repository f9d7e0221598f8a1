//! The result, on stdout.

use std::io::Write as _;

use super::github;

pub(super) fn write_json(value: &impl serde::Serialize, on_github: bool) {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    if on_github { write_out(&github::inert_json(&text)) } else { write_out(&text) }
}

/// A closed pipe is no error: the command has already done its work.
pub(super) fn write_out(text: &str) {
    let _closed = anstream::stdout().write_all(text.as_bytes());
}
