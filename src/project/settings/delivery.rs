//! `[delivery]`: the steps by which a new release gets the requests.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};
use crate::release::canary::{Delivery, Step, problem};
use crate::release::monitor::{MonitorSettings, UnreadableAlarm};

/// How a new release gets the requests of a stage that has one.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryFile {
    /// The steps before the switch; by default there are none, and all requests get the new release at once.
    #[serde(default)]
    steps: Vec<StepFile>,
    /// Names of CloudWatch alarms that end a canary when they are in ALARM; none by default.
    #[serde(default)]
    #[schemars(inner(length(min = 1, max = 255)))]
    alarms: Vec<String>,
    /// What an alarm that cannot be read does: `abort`, the default, or `ignore`.
    #[serde(default)]
    unreadable_alarm: UnreadableAlarm,
    /// By how many percentage points the new versions may fail more often than the old ones; 1 by default.
    #[schemars(range(min = 0, max = 100))]
    max_error_percent_above: Option<f64>,
    /// How many times as long as that of the old version the p95 duration of a new one may be; 1.5 by default.
    #[schemars(range(min = 1))]
    max_p95_ratio: Option<f64>,
    /// The requests that a version must have had before it is judged; 50 by default.
    #[schemars(range(min = 1))]
    min_requests: Option<u64>,
}

/// A step of a canary.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepFile {
    /// The share of the requests that get the new release, in percent.
    #[schemars(range(min = 1, max = 99))]
    percent: u8,
    /// How long they do, before the next step.
    #[schemars(range(min = 1, max = 10080))]
    minutes: u32,
}

/// The canary of the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CanaryOverride {
    /// As deployctl.toml says.
    #[default]
    Settings,
    Never,
    /// One step: its percentage, and how long it takes.
    Once(u8, Duration),
}

impl DeliveryFile {
    /// The delivery of a command; `place` is where the file has it.
    pub(super) fn resolve(
        &self,
        canary: CanaryOverride,
        place: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Delivery {
        let steps = self.steps.iter();
        let steps = steps.map(|step| Step { percent: step.percent, seconds: u64::from(step.minutes) * 60 });
        let steps: Vec<Step> = steps.collect();
        if let Some(reason) = problem(&steps) {
            let path: Vec<&str> = place.iter().copied().chain(["steps"]).collect();
            problems.push(Problem::new(&path, ProblemKind::DeliverySteps(reason)));
        }
        let steps = match canary {
            CanaryOverride::Settings => steps,
            CanaryOverride::Never => Vec::new(),
            CanaryOverride::Once(percent, bake) => vec![Step { percent, seconds: bake.as_secs() }],
        };
        let monitor = self.monitor(place, problems);
        Delivery { steps, monitor, ..Delivery::default() }
    }

    fn monitor(&self, place: &[&str], problems: &mut Vec<Problem>) -> MonitorSettings {
        let default = MonitorSettings::default();
        let settings = MonitorSettings {
            alarms: self.alarms.clone(),
            unreadable_alarm: self.unreadable_alarm,
            max_error_percent_above: self.max_error_percent_above.unwrap_or(default.max_error_percent_above),
            max_p95_ratio: self.max_p95_ratio.unwrap_or(default.max_p95_ratio),
            min_requests: self.min_requests.unwrap_or(default.min_requests),
        };
        for (key, holds, reason) in [
            (
                "alarms",
                settings.alarms.iter().all(|name| (1..=255).contains(&name.chars().count())),
                "a CloudWatch alarm's name has 1 to 255 characters",
            ),
            (
                "max_error_percent_above",
                (0.0..=100.0).contains(&settings.max_error_percent_above),
                "must be a number from 0 to 100",
            ),
            (
                "max_p95_ratio",
                settings.max_p95_ratio >= 1.0 && settings.max_p95_ratio.is_finite(),
                "must be 1 or more",
            ),
            ("min_requests", settings.min_requests >= 1, "must be 1 or more"),
        ] {
            if !holds {
                let path: Vec<&str> = place.iter().copied().chain([key]).collect();
                problems.push(Problem::new(&path, ProblemKind::DeliverySetting(reason)));
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_replaces_the_steps() {
        let file = "steps = [{ percent = 10, minutes = 5 }, { percent = 50, minutes = 10 }]";
        let file: DeliveryFile = toml::from_str(file).unwrap();
        let resolved = |canary| {
            let mut problems = Vec::new();
            let delivery = file.resolve(canary, &["delivery"], &mut problems);
            assert_eq!(problems, []);
            delivery.steps.into_iter().map(|step| (step.percent, step.seconds)).collect::<Vec<_>>()
        };
        assert_eq!(resolved(CanaryOverride::Settings), [(10, 300), (50, 600)]);
        assert_eq!(resolved(CanaryOverride::Never), []);
        assert_eq!(resolved(CanaryOverride::Once(20, Duration::from_secs(90))), [(20, 90)]);
    }

    #[test]
    fn steps_that_do_not_rise_are_a_problem_of_the_file() {
        let file: DeliveryFile =
            toml::from_str("steps = [{ percent = 50, minutes = 5 }, { percent = 10, minutes = 5 }]").unwrap();
        let mut problems = Vec::new();
        drop(file.resolve(CanaryOverride::Settings, &["stages", "prod", "delivery"], &mut problems));
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.path, ["stages", "prod", "delivery", "steps"]);
    }

    #[test]
    fn what_is_monitored_has_defaults_and_limits() {
        let resolve = |text: &str| {
            let file: DeliveryFile = toml::from_str(text).unwrap();
            let mut problems = Vec::new();
            let delivery = file.resolve(CanaryOverride::Settings, &["delivery"], &mut problems);
            (delivery.monitor, problems.into_iter().map(|problem| problem.path.join(".")).collect::<Vec<_>>())
        };
        assert_eq!(resolve(""), (MonitorSettings::default(), Vec::new()));
        let (monitor, problems) = resolve(
            "alarms = [\"a\"]\nunreadable_alarm = \"ignore\"\nmax_error_percent_above = 0\nmin_requests = 9",
        );
        assert_eq!(problems, [""; 0]);
        let expected = MonitorSettings {
            alarms: vec!["a".into()],
            unreadable_alarm: UnreadableAlarm::Ignore,
            max_error_percent_above: 0.0,
            min_requests: 9,
            ..MonitorSettings::default()
        };
        assert_eq!(monitor, expected);
        let (_, problems) =
            resolve("alarms = [\"\"]\nmax_error_percent_above = nan\nmax_p95_ratio = 0.5\nmin_requests = 0");
        let keys = ["alarms", "max_error_percent_above", "max_p95_ratio", "min_requests"];
        assert_eq!(problems, keys.map(|key| format!("delivery.{key}")));
    }
}
