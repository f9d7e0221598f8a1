//! Checks that Terraform's signals agree: the exit code, the messages, and the state after a destroy. A
//! wrapper around Terraform may change the exit code, or print lines of its own.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::failure::{Failure, Reason};
use super::layers::Layer;
use super::messages::Message;

/// The file to which Terraform writes a state that it cannot save.
pub(super) const UNSAVED_STATE: &str = "errored.tfstate";

/// What the messages of a plan or an apply report.
#[derive(Debug, Default)]
pub(super) struct Signals {
    changes: u64,
    changed_outputs: usize,
    errors: usize,
    has_summary: bool,
}

impl Signals {
    pub(super) fn add(&mut self, message: &Message) {
        match message {
            Message::PlannedChange(change) if change.action != "noop" => self.changes += 1,
            Message::ChangeSummary(summary) => {
                self.has_summary = true;
                let counted = summary.add + summary.change + summary.import + summary.remove;
                self.changes = self.changes.max(counted);
            }
            Message::Outputs { outputs } => {
                let is_changed = |action: &str| !matches!(action, "" | "noop");
                self.changed_outputs += outputs.values().filter(|output| is_changed(&output.action)).count();
            }
            other if other.error().is_some() => self.errors += 1,
            _ => {}
        }
    }

    /// Checks a plan whose exit code reports no changes.
    pub(super) fn confirm_no_changes(&self, program: &Path) -> Result<(), Failure> {
        self.confirm_success(program)?;
        if self.changes == 0 && self.changed_outputs == 0 {
            return Ok(());
        }
        let messages =
            format!("report {} changes of resources and {} of outputs", self.changes, self.changed_outputs);
        Err(changed(program, messages))
    }

    /// Checks a run whose exit code reports success.
    pub(super) fn confirm_success(&self, program: &Path) -> Result<(), Failure> {
        match (self.errors, self.has_summary) {
            (0, true) => Ok(()),
            (0, false) => Err(changed(program, "end before the summary".to_owned())),
            (1, _) => Err(changed(program, "report an error".to_owned())),
            (errors, _) => Err(changed(program, format!("report {errors} errors"))),
        }
    }
}

fn changed(program: &Path, messages: String) -> Failure {
    Failure::new(Reason::ExitCodeChanged { program: program.to_owned(), messages })
}

/// The failure of an apply. If Terraform could not save the state, that is the reason.
pub(super) fn of_apply(layer: &Layer, failure: Failure) -> Failure {
    let file = layer.dir.join(UNSAVED_STATE);
    if !file.exists() {
        return failure;
    }
    Failure { reason: Box::new(Reason::StateNotSaved(file)), ..failure }
}

/// Divides the output of a command into the lines before the JSON document, the document, and the rest.
/// Without a valid document, nothing is cut off, so that its parser reports the problem.
pub(super) fn split_document(text: &str) -> (&str, &str, &str) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with('{') {
            let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
            let is_document = matches!(values.next(), Some(Ok(_)));
            let end = if is_document { start + values.byte_offset() } else { text.len() };
            return (&text[..start], &text[start..end], &text[end..]);
        }
        start += line.len();
    }
    ("", text, "")
}

/// The number of resources in a state as `terraform state pull` prints it. The output is empty if there is no
/// state.
pub(super) fn count_resources(state: &str) -> Result<usize, Failure> {
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        resources: Vec<IgnoredAny>,
    }
    if state.trim().is_empty() {
        return Ok(0);
    }
    let state: State = serde_json::from_str(state).map_err(|error| Failure::json("the state", &error))?;
    Ok(state.resources.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_around_a_document_are_divided_from_it() {
        let text = "[command]terraform show\n{\"a\":\n1}\n::debug::\n";
        assert_eq!(split_document(text), ("[command]terraform show\n", "{\"a\":\n1}", "\n::debug::\n"));
        assert_eq!(split_document("{\"a\": tru"), ("", "{\"a\": tru", ""));
        assert_eq!(split_document("no document\n"), ("", "no document\n", ""));
        assert_eq!(split_document("{broken}\n{}"), ("", "{broken}\n{}", ""));
    }

    #[test]
    fn resources_of_a_state_are_counted() {
        assert_eq!(count_resources("").unwrap(), 0);
        assert_eq!(count_resources(r#"{"version": 4, "resources": [{}, {}]}"#).unwrap(), 2);
        assert!(count_resources("[1").is_err());
    }
}
