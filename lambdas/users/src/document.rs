//! Users as JSON text: validation of request bodies and of stored users, and merge patches.
//!
//! Only the level of an object that changes is parsed; every other value stays the same text. Therefore numbers of any
//! length, empty lists and escapes do not change.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::event::MAX_BODY_SIZE;
use crate::failure::Failure;
use crate::user_id::UserId;

/// The maximum nesting depth. JSON parsers have their own limits: serde_json 128, Python 1000.
const MAX_DEPTH: usize = 64;

type Object<'a> = BTreeMap<String, Cow<'a, RawValue>>;

/// A JSON object from a request body.
#[derive(Debug)]
pub struct JsonBody<'a>(Object<'a>);

impl<'a> JsonBody<'a> {
    /// Parses and validates a request body.
    pub fn parse(body: &'a str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::BadRequest(why);
        if depth(body) > MAX_DEPTH {
            return Err(bad(format!("the body is nested more than {MAX_DEPTH} levels deep")));
        }
        // Parses every value once: text that is not Unicode ("\ud800") and numbers out of range are accepted by a parser
        // that skips them, and rejected by the clients that read the stored user later.
        let not_json = |error| bad(format!("the body is not JSON: {error}"));
        if !serde_json::from_str::<Value>(body).map_err(not_json)?.is_object() {
            return Err(bad("the body must be a JSON object".to_owned()));
        }
        object(body).map(Self).map_err(not_json)
    }

    /// The JSON text of a new user with this id. An id from the client is replaced.
    pub fn into_user(mut self, id: &UserId) -> Result<String, Failure> {
        self.0.insert("id".to_owned(), Cow::Owned(to_raw_value(id.as_str()).map_err(Failure::Internal)?));
        check_size(serde_json::to_string(&self.0).map_err(Failure::Internal)?)
    }

    /// The stored user with this patch applied (RFC 7396, JSON merge patch): `null` removes a field, objects are merged, any
    /// other value replaces the old one.
    pub fn patch(&self, id: &UserId, stored: &str) -> Result<String, Failure> {
        self.check_id(id)?;
        let mut user = object(stored).map_err(|_| Failure::Damaged)?;
        merge(&mut user, &self.0).map_err(|_| Failure::Damaged)?;
        check_size(serde_json::to_string(&user).map_err(Failure::Internal)?)
    }

    /// Checks that the patch does not change the id.
    pub fn check_id(&self, id: &UserId) -> Result<(), Failure> {
        match self.0.get("id").map(|value| serde_json::from_str::<String>(value.get())) {
            None => Ok(()),
            Some(Ok(same)) if same == id.as_str() => Ok(()),
            Some(_) => Err(Failure::BadRequest("the id of a user cannot be changed".to_owned())),
        }
    }
}

/// The stored user as text, if it is one JSON object.
pub fn stored_user(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(&text).ok()?;
    text.trim_start().starts_with('{').then_some(text)
}

fn object(text: &str) -> serde_json::Result<Object<'_>> {
    let borrowed: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    Ok(borrowed.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect())
}

/// The recursion is as deep as the patch, whose depth is limited.
fn merge(target: &mut Object<'_>, patch: &Object<'_>) -> serde_json::Result<()> {
    for (name, change) in patch {
        let text = change.get();
        if text == "null" {
            target.remove(name);
        } else if text.starts_with('{') {
            let inner_patch = object(text)?;
            let current = target.get(name).map(|value| value.get()).filter(|value| value.starts_with('{'));
            let mut inner = current.map(object).transpose()?.unwrap_or_default();
            merge(&mut inner, &inner_patch)?;
            let merged = to_raw_value(&inner)?;
            target.insert(name.clone(), Cow::Owned(merged));
        } else {
            target.insert(name.clone(), Cow::Owned(change.clone().into_owned()));
        }
    }
    Ok(())
}

fn check_size(user: String) -> Result<String, Failure> {
    if user.len() > MAX_BODY_SIZE {
        return Err(Failure::TooLarge("the user would be larger than 256 KB".to_owned()));
    }
    Ok(user)
}

/// The nesting depth of a valid JSON text.
fn depth(json: &str) -> usize {
    let (mut current, mut maximum) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                current += 1;
                maximum = maximum.max(current);
            }
            b'}' | b']' if !in_string => current = current.saturating_sub(1),
            _ => {}
        }
    }
    maximum
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
