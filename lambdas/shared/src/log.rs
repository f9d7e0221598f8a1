//! The log: lines of JSON on stderr, without personal data.
//!
//! Callers pass fixed text, numbers, and errors of this project or of the Redis client, which contain no user data. `level`
//! and `timestamp` have the names and the format of Lambda's JSON log format, so that Lambda's log level filter works.

use std::error::Error;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use serde_json::{Map, Value, json};

/// The log level (`LOG_LEVEL`): a line of this level or of a more severe one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// A failure.
    Error,
    /// A problem that was handled.
    Warn,
    /// One line per request.
    #[default]
    Info,
    /// Details for debugging.
    Debug,
}

const LEVELS: [(Level, &str); 4] =
    [(Level::Error, "error"), (Level::Warn, "warn"), (Level::Info, "info"), (Level::Debug, "debug")];

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        LEVELS
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(level, _)| *level)
            .ok_or_else(|| format!("LOG_LEVEL is '{text}', which is none of error, warn, info, debug"))
    }
}

/// The log level of the process.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets the log level of the process.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Fields that every line about one request has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogContext {
    /// Lambda's request id.
    pub request_id: Option<String>,
    /// The X-Ray trace id.
    pub trace_id: Option<String>,
    /// The release in the API Gateway stage variable.
    pub release: Option<String>,
}

impl LogContext {
    /// The context of one invocation, before its event is read. `trace` is the X-Ray header from Lambda.
    pub fn for_invocation(request_id: &str, trace: Option<&str>) -> Self {
        // `Root=1-…;Parent=…;Sampled=1`: the root names the trace.
        let root = trace.and_then(|header| header.split(';').find_map(|part| part.strip_prefix("Root=")));
        let request_id = Some(request_id).filter(|id| !id.is_empty()).map(str::to_owned);
        Self { request_id, trace_id: root.map(str::to_owned), release: None }
    }

    /// Logs a failure. `cause` is logged with its chain of sources.
    pub fn error(&self, message: &str, cause: &dyn Error) {
        self.write(Level::Error, message, json!({ "cause": chain(cause) }));
    }

    /// Logs a message with more fields. `fields` is a JSON object with fixed names.
    pub fn info(&self, message: &str, fields: Value) {
        self.write(Level::Info, message, fields);
    }

    fn write(&self, level: Level, message: &str, fields: Value) {
        if (level as u8) <= LEVEL.load(Ordering::Relaxed) {
            let now = jiff::Timestamp::now();
            write(self.line(now, level, message, fields));
        }
    }

    /// Formats one entry. Its fields are in alphabetical order.
    fn line(&self, now: jiff::Timestamp, level: Level, message: &str, fields: Value) -> String {
        let mut entry = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let name = LEVELS.iter().find(|(known, _)| *known == level).map_or("error", |(_, name)| name);
        entry.insert("timestamp".to_owned(), format!("{now:.3}").into());
        entry.insert("level".to_owned(), name.to_ascii_uppercase().into());
        entry.insert("message".to_owned(), message.into());
        let Self { request_id, trace_id, release } = self;
        for (name, value) in [("request_id", request_id), ("trace_id", trace_id), ("release", release)] {
            if let Some(value) = value {
                entry.insert(name.to_owned(), value.as_str().into());
            }
        }
        Value::Object(entry).to_string()
    }
}

/// Logs a failure outside of a request.
pub fn error(message: &str, cause: &dyn Error) {
    LogContext::default().error(message, cause);
}

/// The elapsed time in milliseconds, with three decimals.
pub fn milliseconds_since(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Logs panics as errors, with their source location only: the panic message may contain user data.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        LogContext::default().write(Level::Error, "panic", json!({ "cause": location }));
    }));
}

fn chain(cause: &dyn Error) -> String {
    let mut causes = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        let text = source.to_string();
        // Many errors include the text of their source.
        if !causes.contains(&text) {
            causes.push_str(": ");
            causes.push_str(&text);
        }
        next = source.source();
    }
    causes
}

/// Write errors are ignored: they must not fail the request. stderr is unbuffered, so the line and its newline are one
/// write.
fn write(mut line: String) {
    line.push('\n');
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_of_json_whatever_the_text() {
        let cause = std::io::Error::other("line\nbreak \"quoted\"");
        let mut log_context = LogContext::for_invocation("r-1", Some("Root=1-5e-9a;Parent=53;Sampled=1"));
        log_context.release = Some("1.4.2".to_owned());
        let fields = json!({ "cause": chain(&cause) });
        let text =
            log_context.line(jiff::Timestamp::UNIX_EPOCH, Level::Error, "storage is unavailable", fields);
        assert_eq!(
            text,
            r#"{"cause":"line\nbreak \"quoted\"","level":"ERROR","message":"storage is unavailable","release":"1.4.2","request_id":"r-1","timestamp":"1970-01-01T00:00:00.000Z","trace_id":"1-5e-9a"}"#
        );
    }

    #[test]
    fn unknown_values_are_omitted() {
        let log_context = LogContext::for_invocation("", Some("Self=1"));
        assert_eq!(log_context, LogContext::default());
        let text = log_context.line(jiff::Timestamp::UNIX_EPOCH, Level::Info, "x", json!({}));
        assert_eq!(text, r#"{"level":"INFO","message":"x","timestamp":"1970-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn a_level_is_one_of_four() {
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert!("verbose".parse::<Level>().is_err_and(|why| why.contains("'verbose'")));
        assert!(Level::Error < Level::Debug);
    }
}
