//! How far an apply is, from the messages so far: how many steps there are, and how many have ended.

use std::collections::BTreeMap;

use super::messages::{Change, Message, Operation, Phase};

/// How far an apply is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tracker {
    /// By address: the stream of an apply tells what is planned once more.
    planned: BTreeMap<String, usize>,
    done: usize,
}

impl Tracker {
    pub(crate) fn record(&mut self, message: &Message) {
        match message {
            Message::PlannedChange(change) => {
                self.planned.insert(change.address.clone(), steps(change));
            }
            Message::Progress(progress)
                if progress.operation == Operation::Apply
                    && matches!(progress.phase, Phase::Complete | Phase::Errored) =>
            {
                self.done += 1;
            }
            _ => {}
        }
    }

    /// How many steps there are: a replacement is two, a destruction and a creation.
    pub(crate) fn planned(&self) -> usize {
        self.planned.values().sum()
    }

    /// How many steps have ended, successfully or not.
    pub(crate) const fn done(&self) -> usize {
        self.done
    }
}

fn steps(change: &Change) -> usize {
    match change.action.as_str() {
        "replace" => 2,
        "create" | "update" | "delete" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(stream: &str) -> (usize, usize) {
        let mut tracker = Tracker::default();
        stream.lines().filter_map(Message::parse).for_each(|message| tracker.record(&message));
        (tracker.planned(), tracker.done())
    }

    #[test]
    fn an_apply_is_followed_from_its_messages() {
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/apply.jsonl")), (2, 2));
    }

    #[test]
    fn a_replacement_is_two_steps_and_a_failure_is_an_end() {
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/sigint.jsonl")), (1, 1));
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/replan.jsonl")), (3, 0));
    }
}
