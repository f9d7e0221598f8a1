//! The project's own checks of a release: invocations of the new versions before the switch, and HTTP
//! requests to the stage after it. An answer may contain more than what is expected.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{FunctionKey, Version};

/// How a release is recognised over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The path to GET, below the stage's URL.
    pub(crate) path: String,
    /// The response header with the version of the release. Without it, any status below 500 is accepted.
    pub(crate) release_header: Option<String>,
    /// The time limit for the new release to answer, in seconds.
    pub(crate) timeout_seconds: u64,
}

/// The placeholder of the release's version in what a check sends and expects.
const VERSION: &str = "{version}";

/// All checks of a project.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checks {
    /// Whether new versions that serve a GET are invoked before the switch.
    pub(crate) default_check: bool,
    /// Run before the switch, in this order.
    pub(crate) invocations: Vec<Invocation>,
    /// Run after the switch, in this order.
    pub(crate) requests: Vec<Request>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { default_check: true, invocations: Vec::new(), requests: Vec::new() }
    }
}

/// An invocation of a new version before the switch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invocation {
    pub(crate) name: String,
    pub(crate) function: FunctionKey,
    pub(crate) payload: Value,
    /// What its result must contain.
    pub(crate) expect: Value,
}

/// A request to the stage after the switch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) request: HttpRequest,
    /// The expected status.
    pub(crate) status: u16,
    /// The expected headers, with exactly these values.
    pub(crate) expect_headers: BTreeMap<String, String>,
    /// What the JSON body must contain; `None` accepts any body.
    pub(crate) expect: Option<Value>,
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    /// The path below the stage's URL.
    pub(crate) path: String,
    /// An empty value omits a header that would be sent otherwise.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Value>,
}

impl HttpRequest {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET".into(), path: path.to_owned(), headers: BTreeMap::new(), body: None }
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The headers, with names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }
}

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invoked {
    /// Lambda's `FunctionError`, such as `Unhandled`, if the function failed.
    pub(crate) error: Option<String>,
    /// What the function returned.
    pub(crate) result: Value,
}

impl Invoked {
    /// Why the function failed; `None` if it has not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.error.as_ref().map(|error| format!("the function failed ({error}): {}", truncated(&self.result)))
    }
}

impl Invocation {
    /// The payload for `version`.
    pub(crate) fn payload(&self, version: &Version) -> Value {
        fill_version(&self.payload, version)
    }

    /// Compares the result with the expected one.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn judge(&self, invoked: &Invoked, version: &Version) -> Result<(), String> {
        match invoked.failure() {
            Some(failure) => Err(failure),
            None => contains("the result", &invoked.result, &fill_version(&self.expect, version)),
        }
    }
}

impl Request {
    /// The HTTP request for `version`.
    pub(crate) fn http_request(&self, version: &Version) -> HttpRequest {
        let fill = |text: &String| text.replace(VERSION, version.as_str());
        HttpRequest {
            method: self.request.method.clone(),
            path: fill(&self.request.path),
            headers: self.request.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            body: self.request.body.as_ref().map(|body| fill_version(body, version)),
        }
    }

    /// Compares the answer with the expected one.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn judge(&self, answer: &Answer, version: &Version) -> Result<(), String> {
        if answer.status != self.status {
            let body = String::from_utf8_lossy(&answer.body);
            return Err(format!(
                "status {} where {} was expected: {}",
                answer.status,
                self.status,
                truncate(&body)
            ));
        }
        for (name, value) in &self.expect_headers {
            let expected = value.replace(VERSION, version.as_str());
            let actual = answer.header(name);
            if actual != Some(&expected) {
                let actual = actual.unwrap_or("missing");
                return Err(format!("header {name} is {actual} where {expected} was expected"));
            }
        }
        let Some(expected) = &self.expect else { return Ok(()) };
        let actual: Value = serde_json::from_slice(&answer.body).map_err(|_| {
            format!("the body is not JSON: {}", truncate(&String::from_utf8_lossy(&answer.body)))
        })?;
        contains("the body", &actual, &fill_version(expected, version))
    }
}

/// Whether `actual` contains `expected`: objects are compared field by field, all other values for equality.
fn contains(place: &str, actual: &Value, expected: &Value) -> Result<(), String> {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (field, expected) in expected {
                let place = format!("{place}.{field}");
                contains(&place, actual.get(field).unwrap_or(&Value::Null), expected)?;
            }
            Ok(())
        }
        _ if actual == expected => Ok(()),
        // 200 and 200.0 are the same number.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
        _ => Err(format!("{place} is {} where {expected} was expected", truncated(actual))),
    }
}

pub(super) fn fill_version(value: &Value, version: &Version) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(VERSION, version.as_str())),
        Value::Array(items) => items.iter().map(|item| fill_version(item, version)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), fill_version(value, version))).collect()
        }
        other => other.clone(),
    }
}

fn truncated(value: &Value) -> String {
    truncate(&value.to_string())
}

/// Limits an answer of any size to the length of an error message.
fn truncate(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn version() -> Version {
        "1.4.2".parse().unwrap()
    }

    #[test]
    fn more_than_expected_may_come_and_less_is_named() {
        let actual = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": null});
        for good in [json!({}), json!({"a": 1.0}), json!({"b": {"c": [1, 2]}}), json!({"missing": null})] {
            assert_eq!(contains("the body", &actual, &good), Ok(()), "{good}");
        }
        for (bad, why) in [
            (json!({"a": 2}), "the body.a is 1 where 2 was expected"),
            (json!({"b": {"c": [1]}}), "the body.b.c is [1,2] where [1] was expected"),
            (json!({"b": {"z": true}}), "the body.b.z is null where true was expected"),
            (json!([]), r#"the body is {"a":1,"b":{"c":[1,2],"d":"x"},"e":null} where [] was expected"#),
        ] {
            assert_eq!(contains("the body", &actual, &bad), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_failed_invocation_never_passes_a_check() {
        let check = Invocation {
            name: "x".into(),
            function: "users_get".parse().unwrap(),
            payload: json!({"stageVariables": {"release": "{version}"}}),
            expect: json!({}),
        };
        assert_eq!(check.payload(&version()), json!({"stageVariables": {"release": "1.4.2"}}));
        let failed = Invoked { error: Some("Unhandled".into()), result: json!({"errorMessage": "boom"}) };
        let why = check.judge(&failed, &version()).unwrap_err();
        assert_eq!(why, r#"the function failed (Unhandled): {"errorMessage":"boom"}"#);
        assert_eq!(check.judge(&Invoked { error: None, result: json!({"any": 1}) }, &version()), Ok(()));
    }

    #[test]
    fn an_answer_is_judged_by_status_then_headers_then_body() {
        let check = Request {
            name: "x".into(),
            request: HttpRequest::get("/users?v={version}"),
            status: 200,
            expect_headers: [("X-Release".to_owned(), "{version}".to_owned())].into(),
            expect: Some(json!({"release": "{version}"})),
        };
        assert_eq!(check.http_request(&version()).path, "/users?v=1.4.2");
        let answer = |status, release: &str, body: &str| Answer {
            status,
            headers: [("x-release".to_owned(), release.to_owned())].into(),
            body: body.into(),
        };
        assert_eq!(check.judge(&answer(200, "1.4.2", r#"{"release": "1.4.2"}"#), &version()), Ok(()));
        for (answer, why) in [
            (answer(404, "1.4.2", "gone"), "status 404 where 200 was expected: gone"),
            (answer(200, "1.4.1", "{}"), "header X-Release is 1.4.1 where 1.4.2 was expected"),
            (answer(200, "1.4.2", "{}"), r#"the body.release is null where "1.4.2" was expected"#),
            (answer(200, "1.4.2", "<html>"), "the body is not JSON: <html>"),
        ] {
            assert_eq!(check.judge(&answer, &version()), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        assert_eq!(truncate(&"ü".repeat(301)), format!("{}…", "ü".repeat(300)));
        assert_eq!(truncate("short"), "short");
    }
}
