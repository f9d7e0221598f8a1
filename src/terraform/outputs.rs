//! The outputs of a layer.
//!
//! Values marked sensitive are secrets: they can be asked for by name, but nothing prints or serialises them
//! by accident, because neither `Debug` nor `Serialize` shows them.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::failure::{Failure, Reason};

/// What is shown instead of a secret.
pub const MASK: &str = "(sensitive)";

/// The outputs of a layer, by name.
#[derive(Clone, Default, PartialEq)]
pub struct Outputs(BTreeMap<String, Output>);

/// One output of a layer.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Output {
    /// Its value, secret or not.
    pub value: Value,
    /// Whether the value is a secret.
    #[serde(default)]
    pub sensitive: bool,
}

impl Output {
    /// The value, or [`MASK`] where it is a secret.
    pub fn shown(&self) -> Value {
        if self.sensitive { Value::from(MASK) } else { self.value.clone() }
    }
}

/// The part of a state that is read.
#[derive(Deserialize)]
struct State {
    version: u64,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
}

impl Outputs {
    /// Reads `terraform output -json`.
    pub fn from_output(json: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(json).map(Self).map_err(|e| Failure::json("outputs", &e))
    }

    /// The output called `name`.
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.0.get(name)
    }

    /// All outputs, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Output)> {
        self.0.iter().map(|(name, output)| (name.as_str(), output))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the outputs out of a state, as Terraform stores it: no process needed. A state of another version is
/// an error, so that the caller can ask Terraform instead.
pub fn from_state(json: &[u8]) -> Result<Outputs, Failure> {
    let state: State = serde_json::from_slice(json).map_err(|e| Failure::json("the state", &e))?;
    match state.version {
        4 => Ok(Outputs(state.outputs)),
        other => {
            let problem = format!("its version is {other}, only 4 is known");
            Err(Failure::new(Reason::Format { what: "the state", problem }))
        }
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shown())
    }
}

impl Serialize for Outputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, output) in &self.0 {
            map.serialize_entry(name, &output.shown())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &[u8] = include_bytes!("../../tests/fixtures/terraform/output.json");
    const STATE: &[u8] = include_bytes!("../../tests/fixtures/terraform/state.json");

    #[test]
    fn the_state_and_the_program_tell_the_same() {
        let outputs = Outputs::from_output(OUTPUT).unwrap();
        assert_eq!(outputs, from_state(STATE).unwrap());
        assert_eq!(outputs.get("name").unwrap().value, "x");
        assert_eq!(outputs.get("map").unwrap().value["b"]["c"], "d");
        assert_eq!(outputs.get("nothing"), None);
    }

    #[test]
    fn a_secret_is_there_but_never_shown() {
        let outputs = from_state(STATE).unwrap();
        assert_eq!(outputs.get("secret").unwrap().value, "hunter2");
        for shown in [
            format!("{outputs:?}"),
            format!("{:#?}", outputs.get("secret")),
            serde_json::to_string(&outputs).unwrap(),
        ] {
            assert!(!shown.contains("hunter2") && shown.contains(MASK), "{shown}");
        }
    }

    #[test]
    fn a_state_that_is_not_understood_is_an_error_without_its_contents() {
        for bad in [
            &br#"{"version":5,"outputs":{"a":"hunter2"}}"#[..],
            br#"{"version":3}"#,
            b"",
            b"{\"version\":4",
            b"\xff",
        ] {
            let error = from_state(bad).unwrap_err().to_string();
            assert!(error.starts_with("failed to read the state"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
