//! The stored record of a user: a JSON object with the key `auth_user_<name>`
//!
//! ```json
//! {"secret": "$argon2id$…", "allow": [{"methods": ["GET"], "path": "/demo/users"},
//!                                     {"methods": ["*"], "path": "/demo/users/{userId}"}]}
//! ```
//!
//! A rule has methods and one route in the notation of API Gateway. `GET` includes `HEAD`, which has the same response
//! without the body. A path cannot contain the wildcards of IAM policies (`*`, `?`). Only `policy` writes them, for
//! `{parameter}` segments.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The methods of a REST API. `*` in a rule means all of these; `policy` explains why a policy lists them.
pub const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// A user's record.
#[derive(Deserialize, Serialize)]
pub struct Record {
    /// The argon2id hash of the secret.
    pub secret: String,
    /// The routes that the user may call; none if it is empty.
    pub allow: Vec<Rule>,
}

/// Permission for some methods of one route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "StoredRule")]
pub struct Rule {
    methods: Vec<String>,
    path: String,
}

#[derive(Deserialize)]
struct StoredRule {
    methods: Vec<String>,
    path: String,
}

/// An invalid rule.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    /// The method is not a method of a REST API.
    #[error("'{0}' is no HTTP method of a REST API, nor '*'")]
    Method(String),
    /// The rule has no methods.
    #[error("a rule for '{0}' names no method")]
    NoMethod(String),
    /// The path is not a route.
    #[error("'{0}' is no route such as /demo/users/{{userId}}")]
    Path(String),
}

impl Rule {
    /// Validates a rule.
    pub fn new(methods: Vec<String>, path: String) -> Result<Self, RuleError> {
        if methods.is_empty() {
            return Err(RuleError::NoMethod(path));
        }
        if let Some(unknown) =
            methods.iter().find(|method| *method != "*" && !METHODS.contains(&method.as_str()))
        {
            return Err(RuleError::Method(unknown.clone()));
        }
        let is_route =
            path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(is_segment));
        if !is_route {
            return Err(RuleError::Path(path));
        }
        Ok(Self { methods, path })
    }

    /// The methods: all of them for `*`, and `HEAD` in addition to `GET`.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> {
        let any = self.methods.iter().any(|method| method == "*");
        let granted = move |wanted: &str| any || self.methods.iter().any(|method| method == wanted);
        METHODS.into_iter().filter(move |method| granted(method) || *method == "HEAD" && granted("GET"))
    }

    /// The route, with its `{parameters}`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl TryFrom<StoredRule> for Rule {
    type Error = RuleError;

    fn try_from(stored: StoredRule) -> Result<Self, RuleError> {
        Self::new(stored.methods, stored.path)
    }
}

/// Whether this segment of a route is a `{parameter}`.
pub fn is_parameter(segment: &str) -> bool {
    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(is_word)
}

fn is_segment(segment: &str) -> bool {
    is_parameter(segment) || is_word(segment)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(methods: &[&str], path: &str) -> Result<Rule, RuleError> {
        Rule::new(methods.iter().map(|method| (*method).to_owned()).collect(), path.to_owned())
    }

    #[test]
    fn routes_are_rules_and_a_star_is_every_method() -> Result<(), RuleError> {
        for path in ["/", "/demo/users", "/demo/users/{userId}", "/v1.0/{a}/b-c"] {
            assert_eq!(rule(&["GET"], path)?.methods().collect::<Vec<_>>(), ["GET", "HEAD"]);
        }
        assert_eq!(
            rule(&["HEAD"], "/")?.methods().collect::<Vec<_>>(),
            ["HEAD"],
            "but not the other way round"
        );
        assert!(rule(&["*"], "/")?.methods().eq(METHODS));
        Ok(())
    }

    #[test]
    fn wildcards_and_invalid_routes_are_refused() {
        for path in [
            "",
            "demo",
            "/demo/*",
            "/demo/user?",
            "/demo//users",
            "/demo/",
            "/{a",
            "/{}",
            "/{proxy+}",
            "/a b",
            "/ü",
        ] {
            assert_eq!(rule(&["GET"], path), Err(RuleError::Path(path.to_owned())));
        }
        assert_eq!(rule(&["get"], "/"), Err(RuleError::Method("get".to_owned())));
        assert_eq!(rule(&[], "/"), Err(RuleError::NoMethod("/".to_owned())));
    }

    #[test]
    fn a_stored_record_is_checked_as_it_is_read() {
        let read = |allow: &str| {
            serde_json::from_str::<Record>(&format!(r#"{{"secret":"x","allow":{allow}}}"#)).is_ok()
        };
        assert!(read("[]"));
        assert!(read(r#"[{"methods":["GET","*"],"path":"/demo/users","note":"kept by someone"}]"#));
        assert!(!read(r#"[{"methods":["GET"],"path":"/*"}]"#));
        assert!(!read("null"));
    }
}
