//! Reads what a canary is judged by: CloudWatch's alarms, and Lambda's metrics by version.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::{
    AlarmType, Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, StateValue,
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use super::Aws;
use crate::engine::failure::Failure;
use crate::release::model::FunctionVersion;
use crate::release::monitor::{AlarmState, Compared, FunctionReading, VersionReading};

/// The most names in one call of DescribeAlarms.
const MAX_NAMES: usize = 100;

/// The most queries in one call of GetMetricData.
const MAX_QUERIES: usize = 500;

/// Lambda's metrics have one data point a minute.
const MINUTE: i64 = 60;

/// The longest period of a data point.
const MAX_PERIOD: i64 = 86_400;

/// What is read of each version, in this order.
const METRICS: [(&str, &str); 3] = [("Invocations", "Sum"), ("Errors", "Sum"), ("Duration", "p95")];

impl Aws {
    /// The states of alarms by name, of those of a metric and of composite ones.
    ///
    /// # Errors
    /// Those of CloudWatch. An alarm that does not exist is `Unreadable`.
    pub(super) async fn alarm_states(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, AlarmState>, Failure> {
        let missing = || AlarmState::Unreadable { reason: "there is no alarm of this name".into() };
        let mut states: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), missing())).collect();
        for names in names.chunks(MAX_NAMES) {
            let answer = self
                .cloudwatch
                .describe_alarms()
                .set_alarm_names(Some(names.to_vec()))
                // Only those of a metric are returned otherwise.
                .alarm_types(AlarmType::MetricAlarm)
                .alarm_types(AlarmType::CompositeAlarm)
                .max_records(100)
                .send()
                .await
                .map_err(|error| Failure::new("DescribeAlarms", names.join(", "), &error))?;
            let metric = answer.metric_alarms().iter();
            let metric = metric.map(|alarm| (alarm.alarm_name(), alarm.state_value(), alarm.state_reason()));
            let composite = answer.composite_alarms().iter();
            let composite =
                composite.map(|alarm| (alarm.alarm_name(), alarm.state_value(), alarm.state_reason()));
            for (name, value, reason) in metric.chain(composite) {
                if let Some(state) = name.and_then(|name| states.get_mut(name)) {
                    *state = alarm_state(value, reason);
                }
            }
        }
        Ok(states)
    }

    /// The metrics of both versions of each function in one window, which begins at the minute of `since`.
    ///
    /// # Errors
    /// Those of CloudWatch.
    pub(super) async fn metrics_of_versions(
        &self,
        functions: &[Compared],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<FunctionReading>, Failure> {
        let from = since.as_second().div_euclid(MINUTE) * MINUTE;
        // The end is exclusive, and the minute that has begun counts.
        let to = (until.as_second().div_euclid(MINUTE) + 1).max(from / MINUTE + 1) * MINUTE;
        let period = (to - from).min(MAX_PERIOD);
        let sides = functions
            .iter()
            .flat_map(|compared| [&compared.old, &compared.new].map(|version| dimensions(compared, version)));
        let queries: Vec<MetricDataQuery> = sides
            .flat_map(|dimensions| METRICS.map(|metric| (metric, dimensions.clone())))
            .enumerate()
            .filter_map(|(number, (metric, dimensions))| query(number, metric, dimensions, period))
            .collect();
        let mut values = BTreeMap::new();
        for queries in queries.chunks(MAX_QUERIES) {
            self.read_metrics(queries, (from, to), &mut values).await?;
        }
        let side = |number: usize| {
            let values = |metric: usize| values.get(&id(number * METRICS.len() + metric));
            let sum = |metric| count(values(metric).map_or(0.0, |values: &Vec<f64>| values.iter().sum()));
            VersionReading {
                invocations: sum(0),
                errors: sum(1),
                // Several only if the window is longer than a period can be.
                p95_ms: values(2).and_then(|values| values.iter().copied().reduce(f64::max)),
            }
        };
        let reading = |(number, compared): (usize, &Compared)| FunctionReading {
            function: compared.function.clone(),
            alias: compared.alias.clone(),
            old: side(2 * number),
            new: side(2 * number + 1),
        };
        Ok(functions.iter().enumerate().map(reading).collect())
    }

    /// Adds the values of the queries to `values`, by id, page by page.
    async fn read_metrics(
        &self,
        queries: &[MetricDataQuery],
        (from, to): (i64, i64),
        values: &mut BTreeMap<String, Vec<f64>>,
    ) -> Result<(), Failure> {
        let mut next: Option<String> = None;
        loop {
            let page = self
                .cloudwatch
                .get_metric_data()
                .set_metric_data_queries(Some(queries.to_vec()))
                .start_time(DateTime::from_secs(from))
                .end_time(DateTime::from_secs(to))
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| Failure::new("GetMetricData", "the functions' versions", &error))?;
            for result in page.metric_data_results() {
                let MetricDataResult { id: Some(id), .. } = result else { continue };
                values.entry(id.clone()).or_default().extend(result.values());
            }
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

fn alarm_state(value: Option<&StateValue>, reason: Option<&str>) -> AlarmState {
    let reason = reason.unwrap_or("no reason given").to_owned();
    match value {
        Some(StateValue::Ok) => AlarmState::Ok,
        Some(StateValue::InsufficientData) => AlarmState::InsufficientData,
        Some(StateValue::Alarm) => AlarmState::Alarm { reason },
        other => {
            let state = other.map_or("none", StateValue::as_str);
            AlarmState::Unreadable { reason: format!("its state is {state:?}") }
        }
    }
}

/// Lambda counts an invocation by what was named: a version, or an alias, there with the version that ran.
fn dimensions(compared: &Compared, version: &FunctionVersion) -> Vec<Dimension> {
    let Compared { function, alias, .. } = compared;
    let dimension = |name: &str, value: String| Dimension::builder().name(name).value(value).build();
    let named = alias.as_ref().map_or(version.as_str(), |alias| alias.as_str());
    let mut dimensions = vec![
        dimension("FunctionName", function.to_string()),
        dimension("Resource", format!("{function}:{named}")),
    ];
    if alias.is_some() {
        dimensions.push(dimension("ExecutedVersion", version.to_string()));
    }
    dimensions
}

/// An id of a query: it must begin with a lower-case letter.
fn id(number: usize) -> String {
    format!("q{number}")
}

fn query(
    number: usize,
    (name, statistic): (&str, &str),
    dimensions: Vec<Dimension>,
    period: i64,
) -> Option<MetricDataQuery> {
    let metric = Metric::builder().namespace("AWS/Lambda").metric_name(name);
    let metric = metric.set_dimensions(Some(dimensions)).build();
    let period = i32::try_from(period).ok()?;
    let statistics = MetricStat::builder().metric(metric).period(period).stat(statistic).build();
    Some(MetricDataQuery::builder().id(id(number)).metric_stat(statistics).build())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of counts")]
fn count(sum: f64) -> u64 {
    sum.round().max(0.0) as u64
}
