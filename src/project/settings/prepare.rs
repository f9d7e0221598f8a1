//! `[[prepare]]`: functions that a release invokes once for its version and their code.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::release::model::FunctionKey;
use crate::release::once::Preparation;

/// Lambda's longest timeout.
const LONGEST: u64 = 900;

/// A function that is invoked once for a version and its code, before the checks and the switch. `{version}` stands for
/// the version in the payload.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PrepareFile {
    /// The key of the function, whose new version is invoked.
    invoke: FunctionKey,
    /// What it is called; the function's key by default.
    name: Option<String>,
    /// What it is invoked with; deployctl adds `deployctl` with the stage, the version and the idempotency key.
    #[serde(default)]
    payload: Map<String, Value>,
    /// How long it may take; the timeout of the function by default.
    #[schemars(range(min = 1, max = 900))]
    timeout_seconds: Option<u64>,
}

impl PrepareFile {
    pub(super) fn function(&self) -> &FunctionKey {
        &self.invoke
    }

    pub(super) fn resolve(self) -> Preparation {
        let Self { invoke, name, payload, timeout_seconds } = self;
        let timeout = Duration::from_secs(timeout_seconds.unwrap_or(LONGEST));
        Preparation { name: name.unwrap_or_else(|| invoke.to_string()), function: invoke, payload, timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_is_required() {
        let resolve = |text: &str| toml::from_str::<PrepareFile>(text).map(PrepareFile::resolve);
        let short = resolve("invoke = \"migrate\"").unwrap();
        assert_eq!((short.name.as_str(), short.timeout.as_secs()), ("migrate", 900));
        let text = "invoke = \"migrate\"\nname = \"tables\"\npayload = { to = 7 }\ntimeout_seconds = 60";
        let long = resolve(text).unwrap();
        assert_eq!((long.name.as_str(), long.timeout.as_secs()), ("tables", 60));
        assert_eq!(long.payload["to"], 7);
        assert!(resolve("invoke = \"migrate\"\npayload = [1]").is_err() && resolve("name = \"x\"").is_err());
    }
}
