//! How far an apply is, from the messages heard so far: what is under way, since when, and how much is left.
//! Time is a value, so that nothing here has a clock.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::messages::{Change, Message, Operation, Phase};

/// How far an apply is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracker {
    /// By address: the stream of an apply tells what is planned once more.
    planned: BTreeMap<String, usize>,
    done: usize,
    running: BTreeMap<String, Running>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    action: String,
    since: Instant,
}

impl Tracker {
    /// Takes note of a message that was heard at `now`.
    pub fn hear(&mut self, message: &Message, now: Instant) {
        match message {
            Message::PlannedChange(change) => {
                self.planned.insert(change.address.clone(), steps(change));
            }
            Message::Progress(progress) if progress.operation == Operation::Apply => match progress.phase {
                Phase::Start => {
                    let action = progress.action.clone().unwrap_or_default();
                    self.running.insert(progress.address.clone(), Running { action, since: now });
                }
                Phase::Progress => {}
                Phase::Complete | Phase::Errored => {
                    self.running.remove(&progress.address);
                    self.done += 1;
                }
            },
            _ => {}
        }
    }

    /// How many steps there are: a replacement is two, a destruction and a creation.
    pub fn planned(&self) -> usize {
        self.planned.values().sum()
    }

    /// How many steps have ended, well or not.
    pub const fn done(&self) -> usize {
        self.done
    }

    /// How many steps have not begun.
    pub fn waiting(&self) -> usize {
        self.planned().saturating_sub(self.done + self.running.len())
    }

    /// What is under way at `now`: address, action, and since when; the longest first.
    pub fn running(&self, now: Instant) -> Vec<(&str, &str, Duration)> {
        let mut running: Vec<_> = self
            .running
            .iter()
            .map(|(address, step)| (&**address, &*step.action, now.saturating_duration_since(step.since)))
            .collect();
        running.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
        running
    }

    /// One line for a terminal.
    pub fn line(&self, now: Instant) -> impl fmt::Display {
        let running: Vec<String> = self
            .running(now)
            .into_iter()
            .map(|(address, action, time)| format!("{action} {address} {}s", time.as_secs()))
            .collect();
        format!("{}/{} {}", self.done, self.planned(), running.join(", "))
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

    #[test]
    fn an_apply_is_followed_from_its_messages() {
        let stream = include_str!("../../tests/fixtures/terraform/apply.jsonl");
        let (start, mut tracker, mut lines) = (Instant::now(), Tracker::default(), Vec::new());
        for (second, message) in stream.lines().filter_map(Message::parse).enumerate() {
            let now = start + Duration::from_secs(second as u64);
            tracker.hear(&message, now);
            lines.push(tracker.line(now).to_string());
        }
        lines.dedup();
        assert_eq!(lines.last().unwrap(), "2/2 ");
        assert!(lines.contains(&"1/2 create terraform_data.two 1s".to_owned()), "{lines:#?}");
        assert_eq!((tracker.planned(), tracker.done(), tracker.waiting()), (2, 2, 0));
    }

    #[test]
    fn a_replacement_is_two_steps_and_a_failure_is_an_end() {
        let mut tracker = Tracker::default();
        let stream = include_str!("../../tests/fixtures/terraform/sigint.jsonl");
        stream.lines().filter_map(Message::parse).for_each(|m| tracker.hear(&m, Instant::now()));
        assert_eq!((tracker.planned(), tracker.done()), (1, 1));
        let mut tracker = Tracker::default();
        let stream = include_str!("../../tests/fixtures/terraform/replan.jsonl");
        stream.lines().filter_map(Message::parse).for_each(|m| tracker.hear(&m, Instant::now()));
        assert_eq!((tracker.planned(), tracker.waiting()), (3, 3));
    }
}
