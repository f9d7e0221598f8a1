//! The progress of an apply, from its messages: the number of planned steps, and of steps that have ended.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::messages::{Change, Message, Operation, Phase};

/// The progress of an apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tracker {
    /// Steps by the hash of the address: the stream of an apply repeats the planned changes.
    planned: BTreeMap<u64, usize>,
    done: usize,
}

impl Tracker {
    pub(crate) fn record(&mut self, message: &Message) {
        match message {
            Message::PlannedChange(change) => {
                let mut hasher = DefaultHasher::new();
                change.address.hash(&mut hasher);
                if self.planned.len() < MAX_PLANNED {
                    self.planned.insert(hasher.finish(), steps(change));
                }
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

    /// The number of planned steps. A replacement counts as two: destroy and create.
    pub(crate) fn planned(&self) -> usize {
        self.planned.values().sum()
    }

    /// The number of steps that have ended, with or without an error.
    pub(crate) const fn done(&self) -> usize {
        self.done
    }
}

/// Further changes are not counted.
const MAX_PLANNED: usize = 200_000;

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
    fn the_steps_of_an_apply_are_counted() {
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/apply.jsonl")), (2, 2));
    }

    #[test]
    fn a_replacement_is_two_steps_and_a_failed_step_has_ended() {
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/sigint.jsonl")), (1, 1));
        assert_eq!(tracked(include_str!("../../tests/fixtures/terraform/replan.jsonl")), (3, 0));
    }
}
