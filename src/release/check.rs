//! The project's own checks of a release: the new versions are invoked before the switch, the stage is asked over
//! HTTP after it. What is expected is a part of what must come: more may come with it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{FunctionKey, Version};

/// How a release is recognised from outside, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The path to GET, below the stage's URL.
    pub(crate) path: String,
    /// The response header that names the release which answered. Without one, any answer below 500 counts.
    pub(crate) release_header: Option<String>,
    /// How long the new release may take to answer, in seconds.
    pub(crate) timeout_seconds: u64,
}

/// Stands for the release's version in everything that a check sends or expects.
const VERSION: &str = "{version}";

/// All checks of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Checks {
    /// Before the switch, in their order.
    pub(crate) invocations: Vec<Invocation>,
    /// After it, in their order.
    pub(crate) requests: Vec<Request>,
}

/// An invocation of a new version, before anybody else meets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invocation {
    /// What the check is called.
    pub(crate) name: String,
    pub(crate) function: FunctionKey,
    /// What it is invoked with.
    pub(crate) payload: Value,
    /// What its result must contain.
    pub(crate) expect: Value,
}

/// A request to the stage, once it serves the new release.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// What the check is called.
    pub(crate) name: String,
    pub(crate) ask: HttpRequest,
    /// The status that must come.
    pub(crate) status: u16,
    /// Headers that must come, with just these values.
    pub(crate) expect_headers: BTreeMap<String, String>,
    /// What the JSON body must contain; `None` where any body will do.
    pub(crate) expect: Option<Value>,
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    /// The path below the stage's URL.
    pub(crate) path: String,
    /// Headers; an empty value leaves out one that would be sent otherwise.
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
    /// The headers, their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }
}

/// What became of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invoked {
    /// Lambda's word for it, where the function failed, such as `Unhandled`.
    pub(crate) error: Option<String>,
    /// What the function returned.
    pub(crate) result: Value,
}

impl Invocation {
    /// What the function is invoked with, for `version`.
    pub(crate) fn payload(&self, version: &Version) -> Value {
        filled(&self.payload, version)
    }

    /// Whether the function did what was expected of it.
    pub(crate) fn judge(&self, invoked: &Invoked, version: &Version) -> Result<(), String> {
        match &invoked.error {
            Some(error) => Err(format!("the function failed ({error}): {}", shortened(&invoked.result))),
            None => contains("the result", &invoked.result, &filled(&self.expect, version)),
        }
    }
}

impl Request {
    /// What is asked, for `version`.
    pub(crate) fn http_request(&self, version: &Version) -> HttpRequest {
        let fill = |text: &String| text.replace(VERSION, version.as_str());
        HttpRequest {
            method: self.ask.method.clone(),
            path: fill(&self.ask.path),
            headers: self.ask.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            body: self.ask.body.as_ref().map(|body| filled(body, version)),
        }
    }

    /// Whether the answer is what was expected.
    pub(crate) fn judge(&self, answer: &Answer, version: &Version) -> Result<(), String> {
        if answer.status != self.status {
            let body = String::from_utf8_lossy(&answer.body);
            return Err(format!(
                "status {} where {} was expected: {}",
                answer.status,
                self.status,
                cut(&body)
            ));
        }
        for (name, value) in &self.expect_headers {
            let expected = value.replace(VERSION, version.as_str());
            let found = answer.header(name);
            if found != Some(&expected) {
                let found = found.unwrap_or("nothing");
                return Err(format!("header {name} is {found} where {expected} was expected"));
            }
        }
        let Some(expected) = &self.expect else { return Ok(()) };
        let found: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("the body is not JSON: {}", cut(&String::from_utf8_lossy(&answer.body))))?;
        contains("the body", &found, &filled(expected, version))
    }
}

/// Whether `found` has everything that `expected` has: objects field by field, all else as it is.
fn contains(place: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (field, expected) in expected {
                let place = format!("{place}.{field}");
                contains(&place, found.get(field).unwrap_or(&Value::Null), expected)?;
            }
            Ok(())
        }
        _ if found == expected => Ok(()),
        // A whole number is one whether it is written 200 or 200.0.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
        _ => Err(format!("{place} is {} where {expected} was expected", shortened(found))),
    }
}

fn filled(value: &Value, version: &Version) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(VERSION, version.as_str())),
        Value::Array(items) => items.iter().map(|item| filled(item, version)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), filled(value, version))).collect()
        }
        other => other.clone(),
    }
}

fn shortened(value: &Value) -> String {
    cut(&value.to_string())
}

/// An answer may be megabytes, and an error message is one line.
fn cut(text: &str) -> String {
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
        let found = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": null});
        for good in [json!({}), json!({"a": 1.0}), json!({"b": {"c": [1, 2]}}), json!({"missing": null})] {
            assert_eq!(contains("the body", &found, &good), Ok(()), "{good}");
        }
        for (bad, why) in [
            (json!({"a": 2}), "the body.a is 1 where 2 was expected"),
            (json!({"b": {"c": [1]}}), "the body.b.c is [1,2] where [1] was expected"),
            (json!({"b": {"z": true}}), "the body.b.z is null where true was expected"),
            (json!([]), r#"the body is {"a":1,"b":{"c":[1,2],"d":"x"},"e":null} where [] was expected"#),
        ] {
            assert_eq!(contains("the body", &found, &bad), Err(why.to_owned()));
        }
    }

    #[test]
    fn an_invocation_that_failed_is_never_what_was_expected() {
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
            ask: HttpRequest::get("/users?v={version}"),
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
        assert_eq!(cut(&"ü".repeat(301)), format!("{}…", "ü".repeat(300)));
        assert_eq!(cut("short"), "short");
    }
}
