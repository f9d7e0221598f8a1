//! A canary: a part of the requests gets the new release, in steps, before the switch.
//!
//! API Gateway chooses for each request. A request of the canary gets the new deployment and the new values of
//! all stage variables, and every other request gets nothing of them. Each step is one call that states the
//! whole canary, and the last one is the switch, which also ends it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{FunctionKey, FunctionVersion, Pointer};
use super::monitor::{Compared, MonitorSettings, Reading};
use super::patch::{Operation, patch};
use super::record::Record;
use super::state::{Percent, StageCanary, StageState};

/// The time between two readings of what is monitored.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// A step of a canary: how many requests get the new release, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Step {
    /// The share of the requests, in percent.
    pub(crate) percent: u8,
    /// How long the step takes, in seconds.
    pub(crate) seconds: u64,
}

/// How a stage is moved to a new release.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The steps before the switch; none: the stage is moved at once.
    pub(crate) steps: Vec<Step>,
    /// The time between two readings.
    pub(crate) interval: Duration,
    /// What ends a canary.
    pub(crate) monitor: MonitorSettings,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { steps: Vec::new(), interval: INTERVAL, monitor: MonitorSettings::default() }
    }
}

/// A canary in progress, as the lease stores it. It is written before the call that it describes, so the stage
/// is at this step or at the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Canary {
    /// Unique to the operation.
    pub(crate) id: String,
    /// The command that started it, such as `release 1.4.2`.
    pub(crate) command: String,
    /// The record that the switch makes true.
    pub(crate) record: Record,
    pub(crate) steps: Vec<Step>,
    /// The step of the stage; the number of all steps for the switch.
    pub(crate) step: usize,
    /// When this step began.
    pub(crate) since: Timestamp,
    /// The functions whose alias sends the same share of its requests to the new version.
    pub(crate) weighted: BTreeSet<FunctionKey>,
    /// Whether the live release answered the probe without an error.
    pub(crate) answered_before: bool,
    /// Whether the stage is being moved back.
    #[serde(default)]
    pub(crate) aborting: bool,
}

/// What the ledger says of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CanaryRecord {
    /// The steps before the switch.
    pub(crate) steps: Vec<Step>,
    /// The share of the requests that got the new release at the end, in percent.
    pub(crate) reached: u8,
    /// Why it was ended before the switch; absent if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    /// The alarms and the numbers of both releases, as they were read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
}

impl Canary {
    /// The share of the requests that get the new release, in percent.
    pub(crate) fn percent(&self) -> u8 {
        self.steps.get(self.step).map_or(100, |step| step.percent)
    }

    /// Whether the stage is being switched or moved back, so that the next command completes that.
    pub(crate) fn is_ending(&self) -> bool {
        self.aborting || self.step >= self.steps.len()
    }

    /// How long the current step still takes.
    pub(crate) fn remaining(&self, now: Timestamp) -> Duration {
        let Some(step) = self.steps.get(self.step) else { return Duration::ZERO };
        let elapsed = now.duration_since(self.since).max(SignedDuration::ZERO);
        Duration::from_secs(step.seconds).saturating_sub(elapsed.unsigned_abs())
    }

    /// The canary at its next step; `None` if that is the switch.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Self> {
        let step = self.step + 1;
        (step < self.steps.len()).then(|| Self { step, since: now, ..self.clone() })
    }

    /// The canary at its last step, the switch.
    pub(crate) fn at_switch(&self, now: Timestamp) -> Self {
        let record = Record { canary: Some(self.ended(None, None)), ..self.record.clone() };
        Self { step: self.steps.len(), since: now, record, ..self.clone() }
    }

    /// The canary while the stage is moved back, for this reason.
    pub(crate) fn aborted(&self, reason: String, reading: Option<Reading>) -> Self {
        let record = Record { canary: Some(self.ended(Some(reason), reading)), ..self.record.clone() };
        Self { aborting: true, record, ..self.clone() }
    }

    fn ended(&self, ended: Option<String>, reading: Option<Reading>) -> CanaryRecord {
        CanaryRecord { steps: self.steps.clone(), reached: self.percent(), ended, reading }
    }

    /// The call that makes the current step.
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let Pointer { deployment_id, variables } = &self.record.pointer;
        let mut operations =
            vec![Operation::CanaryPercent(self.percent()), Operation::CanaryDeployment(deployment_id)];
        operations.extend(variables.iter().map(|(name, value)| Operation::CanarySet(name, value)));
        operations
    }

    /// Whether this canary, and not another one, is on the stage.
    pub(crate) fn is_on(&self, stage: &StageState) -> bool {
        let id = self.record.pointer.deployment_id.as_str();
        stage.canary.as_ref().is_some_and(|canary| canary.deployment_id == id)
    }

    /// Whether the stage is at the current step.
    pub(crate) fn is_reached(&self, stage: &StageState) -> bool {
        let expected = StageCanary {
            deployment_id: self.record.pointer.deployment_id.to_string(),
            percent: Percent::whole(self.percent()),
            variables: self.record.pointer.variables.clone(),
        };
        stage.canary.as_ref() == Some(&expected)
    }

    /// The functions of which the canary runs another version than the live release. One with an alias is compared
    /// twice: the API calls its version, and other callers its alias.
    pub(crate) fn compared(&self) -> Vec<Compared> {
        let before = &self.record.before.pointer.variables;
        let functions = self.record.release.functions.iter();
        let changed = functions.filter_map(|(key, function)| {
            let old: FunctionVersion = before.get(key.as_str())?.parse().ok()?;
            (old != function.version).then_some((function, old))
        });
        let compared = changed.flat_map(|(function, old)| {
            let (name, new) = (&function.name, &function.version);
            let ways = std::iter::once(None).chain(function.alias.clone().map(Some));
            let compared = ways.map(move |alias| Compared {
                function: name.clone(),
                alias,
                old: old.clone(),
                new: new.clone(),
            });
            compared.collect::<Vec<_>>()
        });
        compared.collect()
    }
}

/// The call that moves the stage and ends its canary.
pub(crate) fn end<'a>(from: &'a Pointer, to: &'a Pointer) -> Vec<Operation<'a>> {
    let mut operations = vec![Operation::RemoveCanary];
    operations.extend(patch(from, to));
    operations
}

/// The call that moves the stage and takes all requests from its canary, which a second call removes.
pub(crate) fn silence<'a>(from: &'a Pointer, to: &'a Pointer) -> Vec<Operation<'a>> {
    let mut operations = vec![Operation::CanaryPercent(0)];
    operations.extend(patch(from, to));
    operations
}

/// The problem of steps that are not in order; `None` if there is none.
pub(crate) fn problem(steps: &[Step]) -> Option<&'static str> {
    let is_share = |step: &Step| (1..=99).contains(&step.percent);
    let rises = |pair: &[Step]| pair[0].percent < pair[1].percent;
    match steps {
        steps if !steps.iter().all(is_share) => {
            Some("a step has 1 to 99 percent; the switch follows the last")
        }
        steps if !steps.windows(2).all(rises) => Some("each step has more percent than the one before"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::patch::{MAX_OPERATIONS, Size};

    fn steps(percents: &[u8]) -> Vec<Step> {
        percents.iter().map(|percent| Step { percent: *percent, seconds: 60 }).collect()
    }

    fn pointer(deployment: &str, variables: usize) -> Pointer {
        let names = (0..variables).map(|number| (format!("f{number:02}"), deployment.to_owned()));
        Pointer { deployment_id: deployment.parse().unwrap(), variables: names.collect() }
    }

    fn lines(operations: &[Operation<'_>]) -> Vec<String> {
        let line = |operation: &Operation<'_>| match operation.value() {
            Some(value) => format!("replace {} {value}", operation.path()),
            None => format!("remove {}", operation.path()),
        };
        operations.iter().map(line).collect()
    }

    #[test]
    fn the_switch_ends_the_canary_first_or_in_two_calls() {
        let (mut from, to) = (pointer("d1", 2), pointer("d2", 1));
        from.variables.insert("gone".into(), "1".into());
        let moved = ["replace /deploymentId d2", "replace /variables/f00 d2", "remove /variables/f01"];
        let moved = [&moved[..], &["remove /variables/gone"]].concat();
        assert_eq!(lines(&end(&from, &to)), [vec!["remove /canarySettings"], moved.clone()].concat());
        let silenced = vec!["replace /canarySettings/percentTraffic 0.0"];
        assert_eq!(lines(&silence(&from, &to)), [silenced, moved].concat());
    }

    #[test]
    fn a_switch_that_ends_a_canary_has_at_most_80_operations() {
        let size = |variables: usize| {
            let (from, to) = (pointer("d1", variables), pointer("d2", variables));
            let size = Size::of(&from.variables, to.variables.keys().map(String::as_str)).with_canary();
            assert_eq!(size.operations(), end(&from, &to).len());
            size
        };
        assert_eq!(size(78).operations(), MAX_OPERATIONS);
        assert_eq!(crate::release::plan::check_size(size(78)), Ok(()));
        let refused = crate::release::plan::check_size(size(79)).unwrap_err().to_string();
        assert!(
            refused.contains("81 patch operations") && refused.contains("the end of the canary"),
            "{refused}"
        );
    }

    #[test]
    fn steps_rise_and_leave_some_requests() {
        for good in [&[][..], &[1], &[10, 50, 99]] {
            assert_eq!(problem(&steps(good)), None, "{good:?}");
        }
        for bad in [&[0][..], &[100], &[10, 10], &[50, 10]] {
            assert!(problem(&steps(bad)).is_some(), "{bad:?}");
        }
    }
}
