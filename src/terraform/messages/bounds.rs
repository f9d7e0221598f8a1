//! The sizes of what is kept of Terraform's messages, whatever a provider prints.

use serde_json::Value;

use super::{Diagnostic, Message};

/// The limit for a name or an address, in bytes.
const NAME: usize = 4 * 1024;

/// The limit for a text for people, in bytes.
const TEXT: usize = 16 * 1024;

/// A larger message of an unknown type is kept without its content.
const UNKNOWN: usize = 64 * 1024;

/// The limits for the diagnostics of one run.
const MAX_DIAGNOSTICS: usize = 100;
const MAX_DIAGNOSTIC_BYTES: usize = 512 * 1024;

impl Message {
    /// As [`Message::parse`], with long texts cut. A line that is too long to be a message is none.
    pub(crate) fn parse_bounded(line: &str) -> Option<Self> {
        let mut message = Self::parse(line)?;
        match &mut message {
            Self::PlannedChange(change) | Self::ResourceDrift(change) => {
                cut(&mut change.address, NAME);
                cut(&mut change.resource_type, NAME);
                cut(&mut change.action, NAME);
                cut_some(&mut change.reason, NAME);
            }
            Self::Progress(progress) => {
                cut(&mut progress.address, NAME);
                cut_some(&mut progress.action, NAME);
                cut_some(&mut progress.id, NAME);
                cut_some(&mut progress.output, TEXT);
            }
            Self::Diagnostic(diagnostic) => bound(diagnostic),
            Self::Log { level, text } => {
                cut(level, NAME);
                cut(text, TEXT);
            }
            Self::Test(result) => {
                cut(&mut result.status, NAME);
                cut_some(&mut result.path, NAME);
                cut_some(&mut result.run, NAME);
            }
            Self::Other { kind, json } => {
                cut(kind, NAME);
                if line.len() > UNKNOWN {
                    *json = Value::Null;
                }
            }
            Self::Version { .. } | Self::ChangeSummary(_) | Self::Outputs { .. } => {}
        }
        Some(message)
    }
}

fn bound(diagnostic: &mut Diagnostic) {
    cut(&mut diagnostic.severity, NAME);
    cut(&mut diagnostic.summary, NAME);
    cut(&mut diagnostic.detail, TEXT);
    cut_some(&mut diagnostic.address, NAME);
    if let Some(range) = &mut diagnostic.range {
        cut(&mut range.filename, NAME);
    }
    if let Some(snippet) = &mut diagnostic.snippet {
        cut_some(&mut snippet.context, NAME);
        cut(&mut snippet.code, NAME);
        snippet.values.truncate(20);
        for value in &mut snippet.values {
            cut(&mut value.traversal, NAME);
            cut(&mut value.statement, NAME);
        }
    }
}

fn cut_some(text: &mut Option<String>, max: usize) {
    if let Some(text) = text {
        cut(text, max);
    }
}

/// Cuts a text to `max` bytes and an ellipsis.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
        text.shrink_to_fit();
    }
}

/// Diagnostics of one run, in bounded memory. Further ones are only counted.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    kept: Vec<Diagnostic>,
    bytes: usize,
    omitted: usize,
}

impl Diagnostics {
    pub(crate) fn add(&mut self, diagnostic: &Diagnostic) {
        let snippet = diagnostic.snippet.as_ref();
        let values = snippet.iter().flat_map(|snippet| &snippet.values);
        let values: usize = values.map(|value| value.traversal.len() + value.statement.len()).sum();
        let bytes = diagnostic.summary.len()
            + diagnostic.detail.len()
            + diagnostic.address.as_ref().map_or(0, String::len)
            + snippet.map_or(0, |snippet| snippet.code.len())
            + values;
        if self.kept.len() == MAX_DIAGNOSTICS || self.bytes + bytes > MAX_DIAGNOSTIC_BYTES {
            self.omitted += 1;
        } else {
            self.bytes += bytes;
            self.kept.push(diagnostic.clone());
        }
    }

    /// The diagnostics; the last one counts the omitted ones, if there are any.
    pub(crate) fn into_vec(mut self) -> Vec<Diagnostic> {
        if let (Some(first), true) = (self.kept.first(), self.omitted > 0) {
            let severity = first.severity.clone();
            let summary = format!("{} more of severity {severity} are left out", self.omitted);
            self.kept.push(Diagnostic { severity, summary, ..Diagnostic::default() });
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_the_message_stays_what_it_is() {
        let long = "é".repeat(1024 * 1024);
        let line = serde_json::json!({
            "type": "diagnostic", "@level": "warn", "@message": "",
            "diagnostic": { "severity": "warning", "summary": long, "detail": long, "snippet": { "code": long } },
        });
        let Some(Message::Diagnostic(diagnostic)) = Message::parse_bounded(&line.to_string()) else {
            panic!()
        };
        assert_eq!(diagnostic.summary.len(), NAME + "…".len());
        assert!(diagnostic.detail.len() <= TEXT + "…".len() && diagnostic.detail.ends_with("é…"));
        let line = serde_json::json!({ "type": "of_the_future", "x": long });
        let kind = "of_the_future".to_owned();
        let expected = Some(Message::Other { kind, json: Value::Null });
        assert_eq!(Message::parse_bounded(&line.to_string()), expected);
    }

    #[test]
    fn a_flood_of_diagnostics_is_counted() {
        let mut diagnostics = Diagnostics::default();
        let one =
            Diagnostic { severity: "warning".into(), summary: "x".repeat(NAME), ..Diagnostic::default() };
        for _ in 0..100_000 {
            diagnostics.add(&one);
        }
        let kept = diagnostics.into_vec();
        assert_eq!(kept.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(kept[MAX_DIAGNOSTICS].summary, "99900 more of severity warning are left out");
    }
}
