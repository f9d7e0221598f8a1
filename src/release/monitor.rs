//! Whether a canary is healthy: alarms, and the new versions compared with the old ones in the same window.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::release::model::{AliasName, FunctionName, FunctionVersion};

/// A slower p95 within this many milliseconds is noise, whatever the ratio.
const P95_NOISE_MS: f64 = 20.0;

/// What stops a canary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MonitorSettings {
    /// Names of CloudWatch alarms.
    pub(crate) alarms: Vec<String>,
    pub(crate) unreadable_alarm: UnreadableAlarm,
    /// How much higher the new versions' percentage of errors may be, in percentage points.
    pub(crate) max_error_percent_above: f64,
    /// How many times as long the p95 duration of a new version may be.
    pub(crate) max_p95_ratio: f64,
    /// The requests that a version must have had before it is judged.
    pub(crate) min_requests: u64,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            alarms: Vec::new(),
            unreadable_alarm: UnreadableAlarm::Abort,
            max_error_percent_above: 1.0,
            max_p95_ratio: 1.5,
            min_requests: 50,
        }
    }
}

/// What an alarm that cannot be read does to a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnreadableAlarm {
    #[default]
    Abort,
    Ignore,
}

/// A function whose versions are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) function: FunctionName,
    /// The alias that its callers name; `None` for those that name a version, as the API does.
    pub(crate) alias: Option<AliasName>,
    pub(crate) old: FunctionVersion,
    pub(crate) new: FunctionVersion,
}

/// What was read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Reading {
    /// The state of each alarm, by name.
    pub(crate) alarms: BTreeMap<String, AlarmState>,
    pub(crate) functions: Vec<FunctionReading>,
}

/// The state of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum AlarmState {
    Ok,
    /// An alarm without data points; usual where there are few requests.
    InsufficientData,
    Alarm {
        reason: String,
    },
    /// It does not exist, or reading it failed.
    Unreadable {
        reason: String,
    },
}

/// Both versions of a function in the same window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FunctionReading {
    pub(crate) function: FunctionName,
    /// The alias that the callers named; absent if they named the version, as the API does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<AliasName>,
    pub(crate) old: VersionReading,
    pub(crate) new: VersionReading,
}

/// The metrics of a version of a function, or of all new or all old versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct VersionReading {
    pub(crate) invocations: u64,
    pub(crate) errors: u64,
    /// The 95th percentile of its durations, in milliseconds. `null` without invocations, and where the
    /// numbers of several versions are added up.
    pub(crate) p95_ms: Option<f64>,
}

impl VersionReading {
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
    fn error_percent(&self) -> f64 {
        if self.invocations == 0 { 0.0 } else { self.errors as f64 * 100.0 / self.invocations as f64 }
    }
}

impl fmt::Display for VersionReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invocations, errors, p95_ms } = self;
        write!(f, "{errors} of {invocations} failed ({:.1} %)", self.error_percent())?;
        match p95_ms {
            Some(p95) => write!(f, ", p95 {p95:.0} ms"),
            None => Ok(()),
        }
    }
}

impl Reading {
    /// The numbers of all functions together: the old versions, and the new ones.
    pub(crate) fn total(&self) -> (VersionReading, VersionReading) {
        let sum = |side: fn(&FunctionReading) -> &VersionReading| {
            self.functions.iter().map(side).fold(VersionReading::default(), |sum, one| VersionReading {
                invocations: sum.invocations + one.invocations,
                errors: sum.errors + one.errors,
                p95_ms: None,
            })
        };
        (sum(|function| &function.old), sum(|function| &function.new))
    }
}

/// One line for each function and each alarm that is not OK.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for FunctionReading { function, alias, old, new } in &self.functions {
            let alias = alias.as_ref().map(|alias| format!(":{alias}")).unwrap_or_default();
            lines.push(format!("{function}{alias}: new {new}; old {old}"));
        }
        for (name, state) in &self.alarms {
            match state {
                AlarmState::Ok => {}
                AlarmState::InsufficientData => lines.push(format!("alarm {name}: insufficient data")),
                AlarmState::Alarm { reason } => lines.push(format!("alarm {name}: {reason}")),
                AlarmState::Unreadable { reason } => {
                    lines.push(format!("alarm {name}: unreadable: {reason}"));
                }
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judgement {
    Healthy,
    /// Nothing is wrong, but no version had enough requests for a comparison.
    TooFewRequests,
    Breach(Vec<Breach>),
}

/// Why a canary is aborted, with the numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Breach {
    /// A CloudWatch alarm is in the state ALARM.
    Alarm { alarm: String, reason: String },
    /// The state of a CloudWatch alarm is not known.
    Unreadable { alarm: String, reason: String },
    /// The new versions fail more often.
    Errors {
        /// The function; none for the whole release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        function: Option<FunctionName>,
        old: VersionReading,
        new: VersionReading,
        /// How much higher the percentage may be.
        limit: f64,
    },
    /// A new version is slower.
    Duration {
        function: FunctionName,
        old: VersionReading,
        new: VersionReading,
        /// How many times as long it may take.
        limit: f64,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm { alarm, reason } => write!(f, "alarm {alarm} is in ALARM: {reason}"),
            Self::Unreadable { alarm, reason } => write!(f, "failed to read alarm {alarm}: {reason}"),
            Self::Errors { function, old, new, limit } => {
                let subject = function.as_ref().map_or("the release", |name| name.as_str());
                write!(f, "errors of {subject}: new {new}; old {old}; limit {limit} percentage points above")
            }
            Self::Duration { function, old, new, limit } => {
                write!(f, "duration of {function}: new {new}; old {old}; limit {limit} times the old p95")
            }
        }
    }
}

/// The breaches as one text.
pub(crate) fn text(breaches: &[Breach]) -> String {
    breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("\n")
}

/// Errors are compared for each function and for the release as a whole; durations for each function, since
/// percentiles cannot be added. Only a version with `min_requests` is judged, but for alarms.
pub(crate) fn judge(settings: &MonitorSettings, reading: &Reading) -> Judgement {
    let mut breaches = Vec::new();
    for (name, state) in &reading.alarms {
        let alarm = name.clone();
        match state {
            AlarmState::Alarm { reason } => breaches.push(Breach::Alarm { alarm, reason: reason.clone() }),
            AlarmState::Unreadable { reason } if settings.unreadable_alarm == UnreadableAlarm::Abort => {
                breaches.push(Breach::Unreadable { alarm, reason: reason.clone() });
            }
            AlarmState::Ok | AlarmState::InsufficientData | AlarmState::Unreadable { .. } => {}
        }
    }
    let total = reading.total();
    let is_judged = total.1.invocations >= settings.min_requests;
    let breach_of_release = is_judged.then(|| errors(settings, None, total)).flatten();
    let before = breaches.len();
    for FunctionReading { function, old, new, .. } in &reading.functions {
        if new.invocations >= settings.min_requests {
            breaches.extend(errors(settings, Some(function), (*old, *new)));
            breaches.extend(duration(settings, function, (*old, *new)));
        }
    }
    if breaches.len() == before {
        // A function's own numbers say more.
        breaches.extend(breach_of_release);
    }
    match breaches.is_empty() {
        false => Judgement::Breach(breaches),
        true if is_judged => Judgement::Healthy,
        true => Judgement::TooFewRequests,
    }
}

fn errors(
    settings: &MonitorSettings,
    function: Option<&FunctionName>,
    (old, new): (VersionReading, VersionReading),
) -> Option<Breach> {
    let limit = settings.max_error_percent_above;
    let is_above = new.error_percent() - old.error_percent() > limit;
    is_above.then(|| Breach::Errors { function: function.cloned(), old, new, limit })
}

fn duration(
    settings: &MonitorSettings,
    function: &FunctionName,
    (old, new): (VersionReading, VersionReading),
) -> Option<Breach> {
    let limit = settings.max_p95_ratio;
    let (old_p95, new_p95) = (old.p95_ms?, new.p95_ms?);
    let is_slower = new_p95 > old_p95 * limit && new_p95 - old_p95 > P95_NOISE_MS;
    let is_judged = old.invocations >= settings.min_requests;
    (is_slower && is_judged).then(|| Breach::Duration { function: function.clone(), old, new, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(invocations: u64, errors: u64, p95_ms: f64) -> VersionReading {
        VersionReading { invocations, errors, p95_ms: Some(p95_ms) }
    }

    fn reading(functions: &[(VersionReading, VersionReading)]) -> Reading {
        let function = |(number, (old, new)): (usize, &(VersionReading, VersionReading))| FunctionReading {
            function: format!("f{number}").parse().unwrap(),
            alias: None,
            old: *old,
            new: *new,
        };
        Reading { functions: functions.iter().enumerate().map(function).collect(), ..Reading::default() }
    }

    fn breaches(reading: &Reading) -> Vec<String> {
        match judge(&MonitorSettings::default(), reading) {
            Judgement::Breach(breaches) => breaches.iter().map(Breach::to_string).collect(),
            judgement => vec![format!("{judgement:?}")],
        }
    }

    #[test]
    fn errors_are_compared_with_those_of_the_old_version() {
        let of = |old, new| breaches(&reading(&[(old, new)]));
        assert_eq!(
            of(version(900, 9, 10.0), version(100, 2, 10.0)),
            ["Healthy"],
            "one point above is allowed"
        );
        assert_eq!(of(version(900, 90, 10.0), version(100, 10, 10.0)), ["Healthy"], "both fail as often");
        assert_eq!(
            of(version(900, 9, 10.0), version(100, 20, 10.0)),
            [
                "errors of f0: new 20 of 100 failed (20.0 %), p95 10 ms; old 9 of 900 failed (1.0 %), p95 10 ms; \
              limit 1 percentage points above"
            ]
        );
        assert_eq!(of(version(900, 0, 10.0), version(49, 49, 10.0)), ["TooFewRequests"]);
        assert_eq!(
            of(VersionReading::default(), version(50, 1, 10.0)).len(),
            1,
            "an old version without requests"
        );
    }

    #[test]
    fn functions_with_few_requests_each_are_judged_together() {
        let each = (version(270, 0, 10.0), version(30, 3, 10.0));
        assert_eq!(
            breaches(&reading(&[each, each])),
            ["errors of the release: new 6 of 60 failed (10.0 %); old 0 of 540 failed (0.0 %); \
              limit 1 percentage points above"]
        );
        let healthy = (version(9000, 0, 10.0), version(1000, 0, 10.0));
        let failing = (version(900, 0, 10.0), version(100, 5, 10.0));
        let found = breaches(&reading(&[healthy, failing]));
        assert!(found.len() == 1 && found[0].starts_with("errors of f1: new 5 of 100"), "{found:?}");
    }

    #[test]
    fn a_slower_version_is_a_breach_beyond_noise() {
        let of = |old, new| breaches(&reading(&[(version(900, 0, old), version(100, 0, new))]));
        assert_eq!(of(100.0, 150.0), ["Healthy"]);
        assert_eq!(
            of(100.0, 151.0),
            [
                "duration of f0: new 0 of 100 failed (0.0 %), p95 151 ms; old 0 of 900 failed (0.0 %), p95 100 ms; \
              limit 1.5 times the old p95"
            ]
        );
        assert_eq!(of(2.0, 8.0), ["Healthy"], "a few milliseconds");
        let few = reading(&[(version(10, 0, 100.0), version(90, 0, 500.0))]);
        assert_eq!(breaches(&few), ["Healthy"], "the old version has too few requests to compare with");
    }

    #[test]
    fn alarms_need_no_requests_and_an_unreadable_one_is_configurable() {
        let reason = || "it does not exist".to_owned();
        let states = [
            ("a", AlarmState::Ok),
            ("b", AlarmState::InsufficientData),
            ("c", AlarmState::Unreadable { reason: reason() }),
        ];
        let mut reading = reading(&[]);
        reading.alarms = states.map(|(name, state)| (name.to_owned(), state)).into();
        assert_eq!(breaches(&reading), ["failed to read alarm c: it does not exist"]);
        let ignoring =
            MonitorSettings { unreadable_alarm: UnreadableAlarm::Ignore, ..MonitorSettings::default() };
        assert_eq!(judge(&ignoring, &reading), Judgement::TooFewRequests);
        reading.alarms.insert("d".into(), AlarmState::Alarm { reason: "6 of 5 minutes".into() });
        let Judgement::Breach(found) = judge(&ignoring, &reading) else { unreachable!() };
        assert_eq!(text(&found), "alarm d is in ALARM: 6 of 5 minutes");
    }

    #[test]
    fn the_numbers_are_read_again_as_they_were_written() {
        let mut all = reading(&[(version(900, 9, 10.5), version(100, 20, 11.0))]);
        all.alarms.insert("a".into(), AlarmState::Alarm { reason: "too many".into() });
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), all);
        assert!(all.to_string().ends_with("p95 10 ms\nalarm a: too many"), "{all}");
        let Judgement::Breach(found) = judge(&MonitorSettings::default(), &all) else { unreachable!() };
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!((&json[0]["kind"], &json[1]["new"]["errors"]), (&"alarm".into(), &20.into()));
        assert_eq!(serde_json::from_value::<Vec<Breach>>(json).unwrap(), found);
    }
}
