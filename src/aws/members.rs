//! Which members of AWS's answers deployctl knows: the table `members.toml`.
//!
//! The SDK drops what it does not know. So that a new member is not ignored silently, the bodies of the
//! answers that a fingerprint or a digest is made from are compared with the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use serde::Deserialize;
use serde_json::Value;

use crate::event::Events;

type Shapes = BTreeMap<String, BTreeMap<String, Member>>;

/// The shapes of each service. A unit test reads it, so the default is never used.
pub(super) static TABLE: LazyLock<BTreeMap<String, Shapes>> =
    LazyLock::new(|| toml::from_str(include_str!("members.toml")).unwrap_or_default());

/// What deployctl does with a member.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Member {
    Read,
    LeftOut,
    OneOf(BTreeSet<String>),
    Shape(String),
    MapOf(String),
}

impl TryFrom<String> for Member {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "read" {
            return Ok(Self::Read);
        }
        let after = |start: &str| text.strip_prefix(start).map(str::to_owned);
        after("left out: ")
            .map(|_| Self::LeftOut)
            .or_else(|| after("shape ").map(Self::Shape))
            .or_else(|| after("map of ").map(Self::MapOf))
            .or_else(|| {
                after("one of")
                    .map(|values| Self::OneOf(values.split_whitespace().map(str::to_owned).collect()))
            })
            .ok_or_else(|| format!("{text:?} is none of the forms that the table begins with"))
    }
}

/// What an answer contains that the table does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Such as `Integration.timeToLive`.
    pub(super) members: BTreeSet<String>,
    /// Such as `Authorizer.type is MTLS`.
    pub(super) values: BTreeSet<String>,
}

impl Unknown {
    /// Compares an answer with the shape that it has by the table.
    pub(super) fn of(service: &str, shape: &str, answer: &Value) -> Self {
        let mut unknown = Self::default();
        if let Some(shapes) = TABLE.get(service) {
            unknown.add(shapes, shape, answer);
        }
        unknown
    }

    fn add(&mut self, shapes: &Shapes, shape: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(shapes, shape, item)),
            Value::Object(fields) => {
                let known = shapes.get(shape);
                for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    match known.and_then(|known| known.get(name)) {
                        None => drop(self.members.insert(format!("{shape}.{name}"))),
                        Some(Member::Read | Member::LeftOut) => {}
                        Some(Member::OneOf(values)) => {
                            self.add_values(&format!("{shape}.{name}"), values, value)
                        }
                        Some(Member::Shape(inner)) => self.add(shapes, inner, value),
                        Some(Member::MapOf(inner)) => {
                            let entries = value.as_object().into_iter().flatten();
                            entries.for_each(|(_, entry)| self.add(shapes, inner, entry));
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn add_values(&mut self, member: &str, known: &BTreeSet<String>, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add_values(member, known, item)),
            Value::String(text) if !known.contains(text) => {
                self.values.insert(format!("{member} is {text}"));
            }
            _ => {}
        }
    }
}

/// Reports unknown members, each once in a command.
#[derive(Debug, Clone)]
pub(super) struct Inspector {
    events: Events,
    reported: Arc<Mutex<BTreeSet<String>>>,
}

impl Inspector {
    pub(super) fn new(events: Events) -> Self {
        Self { events, reported: Arc::default() }
    }

    /// Compares an answer of `operation` with `shape`. Unknown members are warnings; unknown values are
    /// returned.
    pub(super) fn inspect(
        &self,
        operation: &str,
        (service, shape): (&str, &str),
        answer: &Value,
    ) -> BTreeSet<String> {
        let Unknown { members, values } = Unknown::of(service, shape, answer);
        for member in members {
            let place = format!("{operation} answered with {member}");
            let first = self.reported.lock().is_ok_and(|mut reported| reported.insert(place.clone()));
            if first {
                self.events.warn(format!(
                    "{place}, which this version of deployctl does not know: a change of it is not noticed"
                ));
            }
        }
        values
            .into_iter()
            .map(|value| format!("{operation}: {value}, which deployctl does not know"))
            .collect()
    }
}

/// Keeps the body of the answer to one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Body(Arc<Mutex<Value>>);

impl Body {
    /// The body; null if it is not JSON.
    pub(super) fn json(&self) -> Value {
        self.0.lock().map(|body| body.clone()).unwrap_or_default()
    }
}

impl Intercept for Body {
    fn name(&self) -> &'static str {
        "deployctl body"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.response().body().bytes().unwrap_or_default();
        if let Ok(mut body) = self.0.lock() {
            *body = serde_json::from_slice(bytes).unwrap_or_default();
        }
        Ok(())
    }
}

/// A value without what means nothing, whose lists do not depend on their order; `None` if nothing is left.
pub(super) fn meaning(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().filter_map(meaning).collect();
            items.sort_by_key(Value::to_string);
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let fields: serde_json::Map<String, Value> =
                fields.iter().filter_map(|(name, value)| Some((name.clone(), meaning(value)?))).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        scalar => Some(scalar.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_is_complete_in_itself() {
        let table: BTreeMap<String, Shapes> = toml::from_str(include_str!("members.toml")).unwrap();
        for (service, shapes) in &table {
            for (shape, members) in shapes {
                for (name, member) in members {
                    if let Member::Shape(inner) | Member::MapOf(inner) = member {
                        assert!(shapes.contains_key(inner), "{service}.{shape}.{name}: {inner}");
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_members_and_values_are_found_at_any_depth() {
        let answer = json!({ "item": [{
            "id": "r", "path": "/", "new": null,
            "resourceMethods": { "GET": {
                "httpMethod": "GET", "later": 1,
                "methodIntegration": {
                    "type": "QUEUE", "contentHandling": "CONVERT_TO_TEXT",
                    "integrationResponses": { "200": { "statusCode": "200", "size": 1 } },
                },
            } },
        }] });
        let unknown = Unknown::of("apigateway", "Resources", &answer);
        assert_eq!(Vec::from_iter(&unknown.members), ["IntegrationResponse.size", "Method.later"]);
        assert_eq!(Vec::from_iter(&unknown.values), ["Integration.type is QUEUE"]);
    }

    #[test]
    fn meaning_does_not_depend_on_order_and_drops_what_is_empty() {
        let value = json!({ "a": ["y", "x"], "b": {}, "c": [null], "d": { "e": null }, "f": false });
        assert_eq!(meaning(&value), Some(json!({ "a": ["x", "y"], "f": false })));
        assert_eq!(meaning(&json!({ "a": { "b": [] } })), None);
    }
}
