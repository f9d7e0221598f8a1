//! `[[checks]]`: what a new release must pass before and after the switch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::{Problem, ProblemKind};
use crate::release::check::{Checks, HttpRequest, Invocation, Request};
use crate::release::model::FunctionKey;

/// A check as it is written: either an invocation before the switch, or a request after it. `{version}` stands for the
/// version in all that is sent or expected.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckFile {
    /// What it is called; the function's key, or the request, by default.
    name: Option<String>,
    /// What the result, or the JSON body, must contain: objects may have more fields.
    expect: Option<Value>,
    /// Before the switch: the key of a function, whose new version is invoked.
    invoke: Option<FunctionKey>,
    /// What it is invoked with; `{}` by default.
    payload: Option<Value>,
    /// A file with the JSON that it is invoked with.
    payload_file: Option<PathBuf>,
    /// After the switch: a method and a path below the stage's URL, such as `GET /users`.
    request: Option<String>,
    /// Headers that are sent with the request.
    headers: Option<BTreeMap<String, String>>,
    /// The body that is sent with the request.
    body: Option<Value>,
    /// The status that must come; 200 by default.
    status: Option<u16>,
    /// Headers that must come.
    expect_headers: Option<BTreeMap<String, String>>,
}

impl CheckFile {
    /// The function that it invokes.
    pub(super) fn invoked(&self) -> Option<&FunctionKey> {
        self.invoke.as_ref()
    }

    /// Adds the check to `checks`, and its problems to `problems`, with `place` as their path.
    pub(super) fn resolve(self, place: &str, root: &Path, checks: &mut Checks, problems: &mut Vec<Problem>) {
        let mut problem = |kind| problems.push(Problem::new(&[place], kind));
        match (&self.invoke, &self.request) {
            (Some(_), None) => {
                if self.headers.is_some()
                    || self.body.is_some()
                    || self.status.is_some()
                    || self.expect_headers.is_some()
                {
                    problem(ProblemKind::RequestKeysInInvocation);
                }
                match self.invocation(root) {
                    Ok(check) => checks.invocations.push(check),
                    Err(kind) => problem(kind),
                }
            }
            (None, Some(_)) => {
                if self.payload.is_some() || self.payload_file.is_some() {
                    problem(ProblemKind::PayloadInRequest);
                }
                match self.http() {
                    Ok(check) => checks.requests.push(check),
                    Err(kind) => problem(kind),
                }
            }
            _ => problem(ProblemKind::NoCheck),
        }
    }

    fn invocation(self, root: &Path) -> Result<Invocation, ProblemKind> {
        let function = self.invoke.ok_or(ProblemKind::NoCheck)?;
        let payload = match (self.payload, self.payload_file) {
            (Some(_), Some(_)) => return Err(ProblemKind::TwoPayloads),
            (Some(payload), None) => payload,
            (None, None) => json!({}),
            (None, Some(file)) => {
                let path = file.display().to_string();
                let text = std::fs::read_to_string(root.join(&file)).map_err(|error| {
                    ProblemKind::PayloadUnreadable { path: path.clone(), reason: error.to_string() }
                })?;
                serde_json::from_str(&text)
                    .map_err(|error| ProblemKind::PayloadNotJson { path, reason: error.to_string() })?
            }
        };
        let name = self.name.unwrap_or_else(|| function.to_string());
        Ok(Invocation { name, function, payload, expect: self.expect.unwrap_or_else(|| json!({})) })
    }

    fn http(self) -> Result<Request, ProblemKind> {
        let text = self.request.unwrap_or_default();
        let (method, path) = text
            .split_once(' ')
            .filter(|(method, path)| {
                !method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase()) && path.starts_with('/')
            })
            .ok_or_else(|| ProblemKind::Request(text.clone()))?;
        let (headers, expect_headers) =
            (self.headers.unwrap_or_default(), self.expect_headers.unwrap_or_default());
        for (name, value) in headers.iter().chain(&expect_headers) {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(ProblemKind::Header(name.clone()));
            }
        }
        let status = self.status.unwrap_or(200);
        if !(100..600).contains(&status) {
            return Err(ProblemKind::Status(status));
        }
        Ok(Request {
            request: HttpRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                headers,
                body: self.body,
            },
            status,
            expect_headers,
            expect: self.expect,
            name: self.name.unwrap_or(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> (Checks, Vec<Problem>) {
        let (mut checks, mut problems) = (Checks::default(), Vec::new());
        let file: CheckFile = toml::from_str(text).unwrap();
        file.resolve("checks[1]", Path::new("/nowhere"), &mut checks, &mut problems);
        (checks, problems)
    }

    #[test]
    fn an_invocation_and_a_request() {
        let (checks, problems) = resolve(
            "invoke = \"users_get\"\npayload = { httpMethod = \"GET\" }\nexpect = { statusCode = 200 }",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(checks.invocations[0].name, "users_get");
        assert_eq!(checks.invocations[0].payload, json!({"httpMethod": "GET"}));

        let (checks, problems) =
            resolve("request = \"GET /users\"\nexpect_headers = { x-release = \"{version}\" }");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((checks.requests[0].name.as_str(), checks.requests[0].status), ("GET /users", 200));
    }

    #[test]
    fn an_invalid_check_is_reported() {
        for (text, problem) in [
            ("name = \"x\"", "give either `invoke`"),
            ("invoke = \"a\"\nrequest = \"GET /\"", "give either `invoke`"),
            ("invoke = \"a\"\nstatus = 200", "belong to a request"),
            ("request = \"GET /\"\npayload = {}", "payload belongs to an invocation"),
            ("invoke = \"a\"\npayload = {}\npayload_file = \"x\"", "either payload or payload_file"),
            ("invoke = \"a\"\npayload_file = \"x.json\"", "failed to read x.json"),
            ("request = \"/users\"", "must be a method and a path"),
            ("request = \"get /users\"", "must be a method and a path"),
            ("request = \"GET users\"", "must be a method and a path"),
            ("request = \"GET /\"\nstatus = 42", "42 is not an HTTP status"),
            ("request = \"GET /\"\nheaders = { \"a b\" = \"c\" }", "not a valid HTTP header"),
        ] {
            let (_, problems) = resolve(text);
            assert!(problems.iter().any(|found| found.to_string().contains(problem)), "{text}: {problems:?}");
            assert!(
                problems.iter().all(|found| found.to_string().starts_with("checks[1]: ")),
                "{problems:?}"
            );
        }
    }
}
