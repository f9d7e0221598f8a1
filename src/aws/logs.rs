//! Reads the CloudWatch Logs of functions, one log group at a time.

use std::collections::VecDeque;

use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use jiff::Timestamp;

use super::Aws;
use crate::engine::failure::{Failure, Meaning};
use crate::release::model::{FunctionName, FunctionVersion};

/// A log event of CloudWatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// CloudWatch's event id, if it returns one.
    pub(crate) id: Option<String>,
    /// When it was written, in milliseconds.
    pub(crate) at: i64,
    /// The log stream: one for each execution environment of a function.
    pub(crate) stream: String,
    pub(crate) message: String,
}

impl Line {
    fn of(event: FilteredLogEvent) -> Self {
        let FilteredLogEvent { event_id, timestamp, log_stream_name, message, .. } = event;
        Self {
            id: event_id,
            at: timestamp.unwrap_or_default(),
            stream: log_stream_name.unwrap_or_default(),
            message: message.unwrap_or_default(),
        }
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.at).unwrap_or_default()
    }

    /// The version in brackets in the stream's name: `2026/11/25/[7]…`, or `2026/11/25/<function>[7]…` in a
    /// group that several functions share.
    pub(crate) fn version(&self) -> Option<&str> {
        let (_, rest) = self.stream.split_once('[')?;
        rest.split_once(']').map(|(version, _)| version)
    }

    /// Whether Lambda itself wrote the line, and it names no failure.
    pub(crate) fn is_of_lambda(&self) -> bool {
        is_of_lambda(&self.message)
    }

    /// The function in the stream's name, if several functions share the log group.
    pub(crate) fn function(&self) -> Option<&str> {
        let (before, _) = self.stream.split_once('[')?;
        before.rsplit('/').next().filter(|name| !name.is_empty())
    }
}

/// A time range of one log group, read page by page.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    aws: &'a Aws,
    group: &'a str,
    from: i64,
    until: Option<i64>,
    /// Only the streams whose names begin so.
    prefix: Option<String>,
    next: Option<String>,
    ended: bool,
    ready: VecDeque<Line>,
}

impl<'a> Reading<'a> {
    /// The events of `group` from `from` to `until`, or to now; in milliseconds.
    pub(crate) fn new(aws: &'a Aws, group: &'a str, from: i64, until: Option<i64>) -> Self {
        Self { aws, group, from, until, prefix: None, next: None, ended: false, ready: VecDeque::new() }
    }

    /// Reads until a line is available or the range has ended. An empty page need not be the last.
    ///
    /// # Errors
    /// Those of CloudWatch. A log group that does not exist counts as empty.
    pub(crate) async fn fill(&mut self) -> Result<(), Failure> {
        while self.ready.is_empty() && !self.ended {
            self.aws.rate_limiter.logs().await;
            let request = self
                .aws
                .logs
                .filter_log_events()
                .log_group_name(self.group)
                .start_time(self.from)
                .set_end_time(self.until)
                .set_log_stream_name_prefix(self.prefix.clone())
                .set_next_token(self.next.take());
            match request.send().await {
                Ok(page) => {
                    self.next.clone_from(&page.next_token);
                    self.ended = self.next.is_none();
                    self.ready.extend(page.events.unwrap_or_default().into_iter().map(Line::of));
                }
                Err(error) => {
                    let failure = Failure::new("FilterLogEvents", self.group, &error);
                    if failure.meaning != Meaning::NotFound {
                        return Err(failure);
                    }
                    self.ended = true;
                }
            }
        }
        Ok(())
    }

    /// The time of the next line, if one is available.
    pub(crate) fn at(&self) -> Option<i64> {
        self.ready.front().map(|line| line.at)
    }

    pub(crate) fn take(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }
}

impl Aws {
    /// The log group of a function.
    ///
    /// # Errors
    /// Those of Lambda.
    pub(crate) async fn log_group(&self, name: &FunctionName) -> Result<String, Failure> {
        self.rate_limiter.lambda().await;
        let configuration =
            self.lambda.get_function_configuration().function_name(name.as_str()).send().await;
        let configuration =
            configuration.map_err(|error| Failure::new("GetFunctionConfiguration", name.as_str(), &error))?;
        let named = configuration.logging_config().and_then(|logging| logging.log_group());
        Ok(named.map_or_else(|| format!("/aws/lambda/{name}"), str::to_owned))
    }
}

/// The most lines of an error.
const MAX_LINES: usize = 10;

/// The most characters of each.
const MAX_CHARS: usize = 300;

/// The lines in which Lambda says that an invocation or a start began or ended, and for a failure how.
const LAMBDA: [&str; 5] = ["START ", "END ", "REPORT ", "INIT_START ", "INIT_REPORT "];

/// The same of a function whose log format is JSON.
const LAMBDA_JSON: &str = "\"type\":\"platform.";

/// Whether Lambda itself wrote the line, and it names no failure.
fn is_of_lambda(line: &str) -> bool {
    let line = line.trim_start();
    let is_json = line.starts_with('{') && line.contains(LAMBDA_JSON);
    if is_json {
        return !line.contains("\"status\":\"") || line.contains("\"status\":\"success\"");
    }
    let has_prefix = |prefix: &&str| {
        line.strip_prefix(*prefix).is_some_and(|rest| {
            rest.starts_with("RequestId: ")
                || rest.starts_with("Runtime Version: ")
                || rest.starts_with("Init Duration: ")
        })
    };
    LAMBDA.iter().any(has_prefix) && !line.contains("Status: ")
}

/// The last lines of a log, without Lambda's own that name no failure.
pub(super) fn last_lines<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let is_said = |line: &&str| !line.trim_start().is_empty() && !is_of_lambda(line);
    let mut last = VecDeque::new();
    for line in lines.filter(is_said) {
        last.push_back(line.trim_end().chars().take(MAX_CHARS).collect());
        if last.len() > MAX_LINES {
            last.pop_front();
        }
    }
    last.into()
}

impl Aws {
    /// The last lines that a version has logged since `from`, in milliseconds.
    ///
    /// The log of a busy function has thousands of lines of other versions, so the streams that the version
    /// began on that day are read first. A stream is named after the day on which it began.
    ///
    /// # Errors
    /// Those of Lambda and CloudWatch.
    pub(crate) async fn log_of_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        from: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        let group = self.log_group(name).await?;
        let prefix = format!("{}/[{version}]", from.strftime("%Y/%m/%d"));
        let every = Reading::new(self, &group, from.as_millisecond(), None);
        let of_the_day =
            Reading { prefix: Some(prefix), ..Reading::new(self, &group, from.as_millisecond(), None) };
        let last = last_of_version(of_the_day, name, version).await?;
        if last.is_empty() { last_of_version(every, name, version).await } else { Ok(last) }
    }
}

async fn last_of_version(
    mut reading: Reading<'_>,
    name: &FunctionName,
    version: &FunctionVersion,
) -> Result<Vec<String>, Failure> {
    let mut last = Vec::new();
    loop {
        reading.fill().await?;
        let Some(line) = reading.take() else { return Ok(last) };
        let is_of_function = line.function().is_none_or(|function| function == name.as_str());
        if is_of_function && line.version() == Some(version.as_str()) {
            let message = line.message.lines();
            last = last_lines(last.iter().map(String::as_str).chain(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: &str) -> Line {
        Line { id: None, at: 0, stream: stream.to_owned(), message: String::new() }
    }

    #[test]
    fn a_stream_names_its_version_and_in_a_shared_group_its_function() {
        let own = line("2026/11/25/[7]0af3");
        assert_eq!((own.version(), own.function()), (Some("7"), None));
        let shared = line("2026/11/25/users-dev-get[$LATEST]0af3");
        assert_eq!((shared.version(), shared.function()), (Some("$LATEST"), Some("users-dev-get")));
        assert_eq!(line("made by hand").version(), None);
    }

    #[test]
    fn of_a_long_log_the_last_lines_are_shown() {
        let log = "START RequestId: 1\n\npanicked\nEND RequestId: 1\nREPORT RequestId: 1\tDuration: 2 ms\n\
                   REPORT RequestId: 1\tStatus: error\n";
        assert_eq!(last_lines(log.lines()), ["panicked", "REPORT RequestId: 1\tStatus: error"]);
        for (line, is_of_lambda) in [
            ("START RequestId: 8f Version: 7\n", true),
            ("INIT_START Runtime Version: provided:al2023.v1\tRuntime Version ARN: arn\n", true),
            ("START of the day", false),
            (r#"{"time":"t","type":"platform.report","record":{"status":"success"}}"#, true),
            (r#"{"time":"t","type":"platform.report","record":{"status":"timeout"}}"#, false),
            (r#"{"level":"INFO","message":"START"}"#, false),
        ] {
            assert_eq!(super::is_of_lambda(line), is_of_lambda, "{line}");
        }
        let long = "ü".repeat(MAX_CHARS + 1);
        let lines: Vec<String> = (0..=MAX_LINES).map(|number| format!("{number}{long}")).collect();
        let last = last_lines(lines.iter().map(String::as_str));
        assert_eq!((last.len(), last[0].chars().count()), (MAX_LINES, MAX_CHARS));
        assert!(last[0].starts_with("1ü"), "{last:?}");
    }
}
