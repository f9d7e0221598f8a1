//! Users as JSON text: what is a user, what is accepted from a client, and how a patch changes one.
//!
//! Only the level of an object that must be looked into is taken apart; every other value stays the text it was. So a
//! number of any length, an empty list or an escape comes out as it went in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::event::LARGEST_BODY;
use crate::failure::Failure;
use crate::user_id::UserId;

/// Deeper nesting than any user needs, and shallow enough for every reader (serde_json stops at 128, Python at 1000).
const DEEPEST: usize = 64;

type Object<'a> = BTreeMap<String, Cow<'a, RawValue>>;

/// A JSON object that a client sent.
#[derive(Debug)]
pub struct Input<'a>(Object<'a>);

impl<'a> Input<'a> {
    /// Checks a request's body.
    pub fn parse(body: &'a str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::BadRequest(why);
        if depth(body) > DEEPEST {
            return Err(bad(format!("the body is nested more than {DEEPEST} levels deep")));
        }
        // Read in full once, so that nothing is stored that a reader would refuse: text that is not Unicode ("\ud800")
        // or a number beyond all bounds is still valid JSON to a parser that skips it.
        let not_json = |error| bad(format!("the body is not JSON: {error}"));
        if !serde_json::from_str::<Value>(body).map_err(not_json)?.is_object() {
            return Err(bad("the body must be a JSON object".to_owned()));
        }
        object(body).map(Self).map_err(not_json)
    }

    /// The new user with this id; an id that the client chose is replaced.
    pub fn into_user(mut self, id: &UserId) -> Result<String, Failure> {
        self.0.insert("id".to_owned(), Cow::Owned(to_raw_value(id.as_str()).map_err(Failure::Internal)?));
        sized(serde_json::to_string(&self.0).map_err(Failure::Internal)?)
    }

    /// The stored user changed by this patch, as RFC 7396 (JSON merge patch) has it: `null` removes, objects are
    /// merged, anything else replaces.
    pub fn patch(&self, id: &UserId, stored: &str) -> Result<String, Failure> {
        self.check_id(id)?;
        let mut user = object(stored).map_err(|_| Failure::Damaged)?;
        merge(&mut user, &self.0).map_err(|_| Failure::Damaged)?;
        sized(serde_json::to_string(&user).map_err(Failure::Internal)?)
    }

    /// A user keeps its id: a patch may repeat it but not change it.
    pub fn check_id(&self, id: &UserId) -> Result<(), Failure> {
        match self.0.get("id").map(|value| serde_json::from_str::<String>(value.get())) {
            None => Ok(()),
            Some(Ok(same)) if same == id.as_str() => Ok(()),
            Some(_) => Err(Failure::BadRequest("the id of a user cannot be changed".to_owned())),
        }
    }
}

/// A stored user as the text to send, if it is one JSON object.
pub fn stored_user(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(&text).ok()?;
    text.trim_start().starts_with('{').then_some(text)
}

fn object(text: &str) -> serde_json::Result<Object<'_>> {
    let borrowed: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    Ok(borrowed.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect())
}

/// Recursion is bounded by the patch's depth, which was checked; the stored user is only followed where the patch leads.
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

fn sized(user: String) -> Result<String, Failure> {
    if user.len() > LARGEST_BODY {
        return Err(Failure::TooLarge("the user would be larger than 256 KB".to_owned()));
    }
    Ok(user)
}

/// How deep the objects and arrays of a valid JSON text are nested.
fn depth(json: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
