//! The log: one line of JSON on stderr per thing that an operator should know, never with personal data.
//!
//! Callers pass fixed words, numbers, and errors of ours or of the Redis client, which carry no user's content. `level`
//! and `timestamp` are named and written as Lambda's own JSON log format has them, so that its level filter works. The
//! authorizer compiles this same file (see its `lib.rs`).

use std::error::Error;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use serde_json::{Map, Value, json};

/// How much is logged (`LOG_LEVEL`): this and all above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be, and was coped with.
    Warn,
    /// One line per request.
    #[default]
    Info,
    /// What helps to find a fault.
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

/// The process' level: there is one environment, and one setting.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets how much is logged from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// What each line about one request repeats, to find it by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Lambda's id of the invocation.
    pub request_id: Option<String>,
    /// X-Ray's id of the trace.
    pub trace_id: Option<String>,
    /// The release that API Gateway served the request with.
    pub release: Option<String>,
}

impl Scope {
    /// The scope of one invocation, before its event is read. `trace` is the header that Lambda passes.
    pub fn of_invocation(request_id: &str, trace: Option<&str>) -> Self {
        // `Root=1-…;Parent=…;Sampled=1`: the root names the trace.
        let root = trace.and_then(|header| header.split(';').find_map(|part| part.strip_prefix("Root=")));
        let request_id = Some(request_id).filter(|id| !id.is_empty()).map(str::to_owned);
        Self { request_id, trace_id: root.map(str::to_owned), release: None }
    }

    /// Something failed: `message` says what, `cause` why (with its chain of sources).
    pub fn error(&self, message: &str, cause: &dyn Error) {
        self.write(Level::Error, message, json!({ "cause": chain(cause) }));
    }

    /// Something that an operator may want to know. `facts` is an object of fixed names.
    pub fn info(&self, message: &str, facts: Value) {
        self.write(Level::Info, message, facts);
    }

    fn write(&self, level: Level, message: &str, facts: Value) {
        if (level as u8) <= LEVEL.load(Ordering::Relaxed) {
            let now = jiff::Timestamp::now();
            write(self.line(now, level, message, facts));
        }
    }

    /// One entry, its names in alphabetic order.
    fn line(&self, now: jiff::Timestamp, level: Level, message: &str, facts: Value) -> String {
        let mut entry = match facts {
            Value::Object(facts) => facts,
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

/// Something failed that belongs to no request.
pub fn error(message: &str, cause: &dyn Error) {
    Scope::default().error(message, cause);
}

/// The time since then, in milliseconds with three decimals.
pub fn milliseconds_since(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// A panic is a defect of ours: it is logged like any error, by its place. Its text might hold a user's content.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        Scope::default().write(Level::Error, "panic", json!({ "cause": place }));
    }));
}

fn chain(cause: &dyn Error) -> String {
    let mut causes = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        let text = source.to_string();
        // Many errors repeat their source in their own text; once is enough.
        if !causes.contains(&text) {
            causes.push_str(": ");
            causes.push_str(&text);
        }
        next = source.source();
    }
    causes
}

/// A log that cannot be written is no reason to fail the request. stderr has no buffer: the line and its end are one write.
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
        let mut scope = Scope::of_invocation("r-1", Some("Root=1-5e-9a;Parent=53;Sampled=1"));
        scope.release = Some("1.4.2".to_owned());
        let facts = json!({ "cause": chain(&cause) });
        let text = scope.line(jiff::Timestamp::UNIX_EPOCH, Level::Error, "storage is unavailable", facts);
        assert_eq!(
            text,
            r#"{"cause":"line\nbreak \"quoted\"","level":"ERROR","message":"storage is unavailable","release":"1.4.2","request_id":"r-1","timestamp":"1970-01-01T00:00:00.000Z","trace_id":"1-5e-9a"}"#
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let scope = Scope::of_invocation("", Some("Self=1"));
        assert_eq!(scope, Scope::default());
        let text = scope.line(jiff::Timestamp::UNIX_EPOCH, Level::Info, "x", json!({}));
        assert_eq!(text, r#"{"level":"INFO","message":"x","timestamp":"1970-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn a_level_is_one_of_four() {
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert!("verbose".parse::<Level>().is_err_and(|why| why.contains("'verbose'")));
        assert!(Level::Error < Level::Debug);
    }
}
