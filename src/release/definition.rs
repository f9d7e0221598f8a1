//! The definition of an API in a canonical form, its fingerprint, and the changes between two definitions.
//!
//! A deployment freezes the definition. A stage is *stale* when the current definition has another
//! fingerprint than the frozen one. The fingerprints decide; the full definitions only show what changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::Sha256;

/// How long API Gateway caches an authorizer's result by default.
pub(crate) const AUTHORIZER_TTL_SECONDS: u64 = 300;

/// The member of the part `api` that says that API Gateway has not completed an update of the API. A
/// deployment of that time has a fingerprint of its own, so that it is stale afterwards.
pub(crate) const STATUS: &str = "status";

/// What the names of the authorizers' parts begin with.
pub(crate) const AUTHORIZER: &str = "authorizer ";

/// An API, part by part: a route such as `GET /users`, an authorizer, a model, the API's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Definition {
    parts: BTreeMap<String, Value>,
    /// Why the parts may not be all that a deployment froze.
    #[serde(skip)]
    unproven: Vec<String>,
}

impl Definition {
    /// A definition of these parts, each under its displayed name.
    pub(crate) fn new(parts: BTreeMap<String, Value>) -> Self {
        Self { parts, unproven: Vec::new() }
    }

    /// The parts by their displayed names, such as `GET /users`.
    pub(crate) fn parts(&self) -> &BTreeMap<String, Value> {
        &self.parts
    }

    /// The same, of which these doubts remain.
    pub(crate) fn with_unproven(self, unproven: Vec<String>) -> Self {
        Self { unproven, ..self }
    }

    /// Why equal fingerprints do not prove that the deployed API is this one.
    pub(crate) fn unproven(&self) -> &[String] {
        &self.unproven
    }

    pub(super) fn part(&self, name: &str) -> Option<&Value> {
        self.parts.get(name)
    }

    /// The definition once API Gateway has completed its update.
    pub(crate) fn settled(&self) -> Self {
        let mut parts = self.parts.clone();
        if let Some(Value::Object(settings)) = parts.get_mut("api") {
            settings.remove(STATUS);
        }
        Self::new(parts)
    }

    /// The sha256 of the canonical form. Maps are sorted, so it does not depend on their order.
    pub(crate) fn fingerprint(&self) -> Sha256 {
        let parts = self.parts.iter().map(|(name, part)| (name.clone(), part.clone())).collect();
        canonical_digest(&Value::Object(parts))
    }

    /// Whether the API has a route: API Gateway refuses to deploy an API without one.
    pub(crate) fn has_routes(&self) -> bool {
        self.parts.keys().any(|part| part.contains(" /"))
    }

    /// How many seconds API Gateway caches the results of these authorizers: the longest time of all, and 0
    /// if none are cached.
    pub(crate) fn authorizer_cache_seconds(&self) -> u64 {
        let authorizers = self.parts.iter().filter(|(name, _)| name.starts_with(AUTHORIZER));
        let seconds = authorizers.map(|(_, part)| {
            part.get("result TTL").and_then(Value::as_u64).unwrap_or(AUTHORIZER_TTL_SECONDS)
        });
        seconds.max().unwrap_or(0)
    }

    /// The changes from `self` to `newer`, one line each, such as
    /// `PATCH /demo/users/{userId}: integration timeout 29000 -> 5000`.
    pub(crate) fn changes(&self, newer: &Self) -> Vec<String> {
        let parts: BTreeSet<&String> = self.parts.keys().chain(newer.parts.keys()).collect();
        let mut lines = Vec::new();
        for part in parts {
            match (self.parts.get(part), newer.parts.get(part)) {
                (None, Some(_)) => lines.push(format!("{part}: added")),
                (Some(_), None) => lines.push(format!("{part}: removed")),
                (Some(old), Some(new)) => differences(part, "", old, new, &mut lines),
                (None, None) => {}
            }
        }
        lines
    }
}

/// The sha256 of a JSON value, independent of the order of its fields.
pub(crate) fn canonical_digest(value: &Value) -> Sha256 {
    let mut text = String::new();
    write_canonical(value, &mut text);
    Sha256::of(text.as_bytes())
}

/// serde_json sorts fields only as long as no dependency enables its `preserve_order`.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            text.push('{');
            for (name, value) in sorted {
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn differences(part: &str, at: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for field in fields {
            let at = if at.is_empty() { field.clone() } else { format!("{at} {field}") };
            let absent = Value::Null;
            differences(
                part,
                &at,
                old.get(field).unwrap_or(&absent),
                new.get(field).unwrap_or(&absent),
                lines,
            );
        }
        return;
    }
    lines.push(format!("{part}: {at} {} -> {}", shown(old), shown(new)));
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(parts: &[(&str, Value)]) -> Definition {
        Definition::new(parts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn changes_name_the_route_and_the_values() {
        let old = definition(&[
            ("PATCH /users/{id}", json!({"integration": {"timeout": 29000, "type": "AWS_PROXY"}})),
            ("GET /old", json!({})),
        ]);
        let new = definition(&[
            (
                "PATCH /users/{id}",
                json!({"authorization": "CUSTOM", "integration": {"timeout": 5000, "type": "AWS_PROXY"}}),
            ),
            ("GET /new", json!({})),
        ]);
        assert_eq!(
            old.changes(&new),
            [
                "GET /new: added",
                "GET /old: removed",
                "PATCH /users/{id}: authorization none -> CUSTOM",
                "PATCH /users/{id}: integration timeout 29000 -> 5000",
            ]
        );
        assert!(old.changes(&old).is_empty());
    }

    #[test]
    fn the_fingerprint_depends_on_content_and_not_on_order() {
        let one: Definition = serde_json::from_str(r#"{"a": {"x": 1, "y": 2}, "b": 3}"#).unwrap();
        let two: Definition = serde_json::from_str(r#"{"b": 3, "a": {"y": 2, "x": 1}}"#).unwrap();
        let three: Definition = serde_json::from_str(r#"{"b": 3, "a": {"y": 2, "x": 9}}"#).unwrap();
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_ne!(one.fingerprint(), three.fingerprint());
    }

    #[test]
    fn an_api_without_methods_has_no_routes() {
        assert!(!definition(&[("api", json!({})), ("model Empty", json!({}))]).has_routes());
        assert!(definition(&[("GET /", json!({}))]).has_routes());
    }
}
