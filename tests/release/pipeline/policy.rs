//! What a policy allows, as IAM decides it for statements of the kind that ours are: Allow, with actions, resources and
//! conditions of equality.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::calls::{Need, REGION};

/// The policies of a role.
#[derive(Debug)]
pub(crate) struct Policies {
    statements: Vec<Value>,
    /// The actions of statements that something was allowed by.
    used: RefCell<BTreeSet<(usize, String)>>,
}

impl Policies {
    /// Of documents.
    pub(crate) fn new<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Self {
        let documents =
            documents.into_iter().map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap());
        let statements: Vec<Value> =
            documents.flat_map(|document| document["Statement"].as_array().unwrap().clone()).collect();
        for statement in &statements {
            assert_eq!(statement["Effect"], "Allow", "{statement:#}");
            for key in statement.as_object().unwrap().keys() {
                let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
                assert!(known.contains(&key.as_str()), "{key}: {statement:#}");
            }
        }
        Self { statements, used: RefCell::default() }
    }

    /// Whether something is allowed.
    pub(crate) fn allow(&self, need: &Need) -> bool {
        let mut allowed = false;
        for (number, statement) in self.statements.iter().enumerate() {
            let action = texts(&statement["Action"]).find(|pattern| matches(pattern, &need.action));
            let resource = texts(&statement["Resource"]).any(|pattern| matches(pattern, &need.resource));
            let (Some(action), true, true) = (action, resource, met(&statement["Condition"], need)) else {
                continue;
            };
            self.used.borrow_mut().insert((number, action.to_owned()));
            allowed = true;
        }
        allowed
    }

    /// All actions that are allowed for something.
    pub(crate) fn actions(&self) -> BTreeSet<String> {
        let actions = self.statements.iter().flat_map(|statement| texts(&statement["Action"]));
        actions.map(str::to_owned).collect()
    }

    /// What has allowed nothing so far: statement and action.
    pub(crate) fn unused(&self) -> BTreeSet<String> {
        let used = self.used.borrow();
        let all = self.statements.iter().enumerate().flat_map(|(number, statement)| {
            texts(&statement["Action"])
                .map(move |action| (number, statement["Sid"].as_str().unwrap(), action))
        });
        let unused = all.filter(|(number, _, action)| !used.contains(&(*number, (*action).to_owned())));
        unused.map(|(_, sid, action)| format!("{sid} {action}")).collect()
    }
}

fn met(condition: &Value, need: &Need) -> bool {
    condition.as_object().into_iter().flatten().all(|(operator, keys)| {
        keys.as_object().unwrap().iter().all(|(key, wanted)| {
            let value = need.context.get(key.as_str()).map(String::as_str);
            if operator == "Null" {
                return value.is_none() == (wanted == "true");
            }
            assert_eq!(operator, "StringEquals");
            let value = if key == "aws:RequestedRegion" { Some(REGION) } else { value };
            value.is_some_and(|value| texts(wanted).any(|wanted| wanted == value))
        })
    })
}

fn texts(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(list) => Box::new(list.iter().map(|text| text.as_str().unwrap())),
        other => panic!("neither text nor list: {other}"),
    }
}

/// IAM's patterns: `*` stands for anything, `?` for one character; actions know no case, and ours keep it.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    after.is_empty()
        || rest.char_indices().map(|(at, _)| &rest[at..]).chain([""]).any(|rest| matches(after, rest))
}

#[test]
fn patterns_are_those_of_iam() {
    for (pattern, text, expected) in [
        ("s3:Get*", "s3:GetObject", true),
        ("s3:Get*", "s3:PutObject", false),
        ("a:*:b", "a:x:y:b", true),
        ("a:*:b", "a:x:c", false),
        ("*", "", true),
        ("a*", "a", true),
        ("function:small-*", "function:small", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
