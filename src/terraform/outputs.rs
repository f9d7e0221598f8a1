//! The outputs of a layer.
//!
//! `Debug` and `Serialize` replace sensitive values with [`MASK`], so that they are not printed by accident.
//! [`Output::value`] returns them.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::failure::{Failure, Reason};

/// Replaces a sensitive value in `Debug` and `Serialize`.
pub const MASK: &str = "(sensitive)";

/// The outputs of a layer, by name. As JSON, an object of names and values.
#[derive(Clone, Default, PartialEq)]
pub struct Outputs(BTreeMap<String, Output>);

/// One output of a layer.
#[derive(Clone, PartialEq, Deserialize)]
pub struct Output {
    /// The value as JSON, even if it is sensitive.
    pub value: Value,
    /// Whether Terraform marks the value as sensitive.
    #[serde(default)]
    pub sensitive: bool,
}

impl Output {
    /// The value, or [`MASK`] if it is sensitive.
    pub fn shown(&self) -> Value {
        if self.sensitive { Value::from(MASK) } else { self.value.clone() }
    }
}

#[derive(Deserialize)]
struct State {
    version: u64,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
}

impl Outputs {
    /// Parses the output of `terraform output -json`.
    ///
    /// # Errors
    /// [`Reason::Format`].
    pub fn from_output(json: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(json).map(Self).map_err(|e| Failure::json("outputs", &e))
    }

    /// The output called `name`.
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.0.get(name)
    }

    /// All outputs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Output)> {
        self.0.iter().map(|(name, output)| (name.as_str(), output))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the outputs from a stored state, without running Terraform.
///
/// # Errors
/// [`Reason::Format`] for another state version than 4, and for an encrypted state. `terraform output` may
/// still read it.
pub fn from_state(json: &[u8]) -> Result<Outputs, Failure> {
    let state: State = serde_json::from_slice(json).map_err(|e| Failure::json("the state", &e))?;
    match state.version {
        4 => Ok(Outputs(state.outputs)),
        other => {
            let problem = format!("version {other} is not supported, only 4");
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
    fn the_state_and_the_output_of_terraform_agree() {
        let outputs = Outputs::from_output(OUTPUT).unwrap();
        assert_eq!(outputs, from_state(STATE).unwrap());
        assert_eq!(outputs.get("name").unwrap().value, "x");
        assert_eq!(outputs.get("map").unwrap().value["b"]["c"], "d");
        assert_eq!(outputs.get("nothing"), None);
    }

    #[test]
    fn a_sensitive_value_is_returned_but_not_printed() {
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
    fn the_error_for_an_unsupported_state_does_not_contain_its_values() {
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
