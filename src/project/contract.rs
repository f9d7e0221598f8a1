//! The contract between Terraform and deployctl: the output, or the table in `deployctl.toml`, that lists what
//! is released.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::settings::{ContractTable, FILE, OutputName, Unresolved};
use crate::release::model::{FunctionKey, MAX_FUNCTIONS, variable_problem};
use crate::release::plan::Target;
use crate::release::record::{FunctionRecord, Release};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contract {
    /// The bucket of the zips and the ledger.
    pub(crate) artifact_bucket: String,
    pub(crate) rest_api_id: String,
    pub(crate) stage_name: String,
    /// The URL of the stage on AWS.
    pub(crate) invoke_url: String,
    /// The released functions, by stage variable.
    pub(crate) functions: BTreeMap<FunctionKey, Target>,
    /// The project's own stage variables, which are part of a release.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Contract {
    /// Reads the contract from the layer's outputs; `found` is the output's value.
    ///
    /// # Errors
    /// `contract.missing` or `contract.invalid`, with layer, output, found and expected type.
    pub(crate) fn read(output: &OutputName, found: Option<&Value>, available: &[String]) -> Result<Self> {
        let value = found.ok_or_else(|| missing(output, available))?;
        Self::parse(value).map_err(|problems| {
            let source = format!("output {:?} of layer {:?}", output.output, output.layer);
            invalid(&source, &problems).hint(HINT)
        })
    }

    /// Reads the contract from the `[contract]` table. `outputs` are those of its layer; `artifact_bucket` and
    /// `url` are the bucket of the stage and the URL of an API and its stage.
    ///
    /// # Errors
    /// `contract.missing` with the outputs that do not exist, or `contract.invalid`.
    pub(crate) fn from_table(
        table: &ContractTable,
        layer: &str,
        outputs: &BTreeMap<&str, &Value>,
        artifact_bucket: &str,
        url: impl FnOnce(&str, &str) -> String,
    ) -> Result<Self> {
        let source = format!("[contract] of {FILE}");
        let mut value = table.value(outputs).map_err(|unresolved| match unresolved {
            Unresolved::Missing(names) => {
                let existing: Vec<&str> = outputs.keys().copied().collect();
                missing_outputs(layer, &names.join(", "), &existing.join(", ")).hint(TABLE_HINT)
            }
            Unresolved::Invalid(problems) => invalid(&source, &problems).hint(TABLE_HINT),
        })?;
        value.insert("artifact_bucket".to_owned(), artifact_bucket.into());
        if !value.contains_key("invoke_url") {
            let text = |value: &Map<String, Value>, field: &str| value[field].as_str().map(str::to_owned);
            let url =
                text(&value, "rest_api_id").zip(text(&value, "stage_name")).map(|(id, name)| url(&id, &name));
            value.insert("invoke_url".to_owned(), url.into());
        }
        Self::parse(&value.into()).map_err(|problems| invalid(&source, &problems).hint(TABLE_HINT))
    }

    fn parse(value: &Value) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut text = |field: &str| match value.get(field) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            other => {
                problems.push(format!("{field}: expected a string, found {}", kind(other)));
                String::new()
            }
        };
        let artifact_bucket = text("artifact_bucket");
        let rest_api_id = text("rest_api_id");
        let stage_name = text("stage_name");
        let invoke_url = text("invoke_url");
        let mut functions = BTreeMap::new();
        match value.get("functions") {
            Some(Value::Object(found)) => {
                for (key, target) in found {
                    match (key.parse::<FunctionKey>(), serde_json::from_value::<Target>(target.clone())) {
                        (Ok(key), Ok(target)) => {
                            functions.insert(key, target);
                        }
                        (Err(problem), _) => problems.push(format!("functions.{key}: {problem}")),
                        (_, Err(problem)) => problems.push(format!(
                            "functions.{key}: expected {{ name, artifact }}, found {}: {problem}",
                            kind(Some(target))
                        )),
                    }
                }
                if found.is_empty() || found.len() > MAX_FUNCTIONS {
                    problems.push(format!("functions: expected 1 to {MAX_FUNCTIONS}, found {}", found.len()));
                }
            }
            other => problems.push(format!("functions: expected an object, found {}", kind(other))),
        }
        let variables = variables(value.get("variables"), &functions, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { artifact_bucket, rest_api_id, stage_name, invoke_url, functions, variables })
    }
}

impl Contract {
    /// The contract with which a release was made.
    pub(crate) fn of_release(release: &Release, artifact_bucket: &str, invoke_url: String) -> Self {
        let functions = release.functions.iter().map(|(key, function)| {
            let FunctionRecord { name, artifact, alias, latest, provisioned, .. } = function.clone();
            (key.clone(), Target { name, artifact, alias, latest, provisioned, warm: None })
        });
        Self {
            artifact_bucket: artifact_bucket.to_owned(),
            rest_api_id: release.api.id.clone(),
            stage_name: release.api.stage.clone(),
            invoke_url,
            functions: functions.collect(),
            variables: release.variables.clone().unwrap_or_default(),
        }
    }
}

const HINT: &str = "what is live is unchanged; the output must be { artifact_bucket, rest_api_id, stage_name, \
                    invoke_url, functions = { <key> = { name, artifact } } }, and can have \
                    variables = { <name> = <string> }; a function can have alias, latest, provisioned and warm";

const TABLE_HINT: &str = "what is live is unchanged; correct the references, or apply the layer so that it has \
                          these outputs";

fn invalid(source: &str, problems: &[String]) -> Error {
    let message = format!("{source} is not a valid contract:\n  - {}", problems.join("\n  - "));
    Error::new(Kind::Terraform, ErrorId::ContractInvalid, message)
}

/// Reads the project's own stage variables.
fn variables(
    found: Option<&Value>,
    functions: &BTreeMap<FunctionKey, Target>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let found = match found {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(found)) => found,
        other => {
            problems.push(format!("variables: expected an object, found {}", kind(other)));
            return BTreeMap::new();
        }
    };
    let mut variables = BTreeMap::new();
    for (name, value) in found {
        let Value::String(text) = value else {
            let found = kind(Some(value));
            problems.push(format!("variables.{name}: expected a string, found {found}"));
            continue;
        };
        if functions.keys().any(|key| key.as_str() == name) {
            problems.push(format!("variables.{name}: this is the key of a function; choose another name"));
        } else if let Some(problem) = variable_problem(name, text) {
            problems.push(format!("variables.{name}: {problem}"));
        }
        variables.insert(name.clone(), text.clone());
    }
    variables
}

fn missing(output: &OutputName, available: &[String]) -> Error {
    let name = format!("{:?}", output.output);
    missing_outputs(&output.layer, &name, &available.join(", ")).hint(HINT)
}

fn missing_outputs(layer: &str, missing: &str, existing: &str) -> Error {
    let existing = if existing.is_empty() { "no outputs" } else { existing };
    let message = format!("layer {layer:?} has no output {missing}; it has: {existing}");
    Error::new(Kind::Terraform, ErrorId::ContractMissing, message)
}

/// Reads an output that must be a string.
pub(crate) fn string_output(
    output: &OutputName,
    found: Option<&Value>,
    available: &[String],
) -> Result<String> {
    match found {
        None => Err(missing(output, available)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        other => Err(Error::new(
            Kind::Terraform,
            ErrorId::ContractInvalid,
            format!(
                "output {:?} of layer {:?}: expected a string, found {}",
                output.output,
                output.layer,
                kind(other)
            ),
        )),
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(text)) if text.is_empty() => "an empty string",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn output() -> OutputName {
        OutputName { layer: "app".into(), output: "deployctl".into() }
    }

    #[test]
    fn a_full_contract_is_read() {
        let value = json!({
            "artifact_bucket": "b", "rest_api_id": "a", "stage_name": "dev", "invoke_url": "https://x/dev",
            "functions": { "users_get": { "name": "users-dev-get", "artifact": "users" } },
        });
        let contract = Contract::read(&output(), Some(&value), &[]).unwrap();
        assert_eq!(contract.functions.len(), 1);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let value = json!({
            "artifact_bucket": 7, "stage_name": "", "invoke_url": "u",
            "functions": { "a-b": { "name": "x", "artifact": "y" }, "ok": "text" },
        });
        let error = Contract::read(&output(), Some(&value), &[]).unwrap_err();
        for part in [
            "output \"deployctl\" of layer \"app\"",
            "artifact_bucket: expected a string, found a number",
            "rest_api_id: expected a string, found nothing",
            "stage_name: expected a string, found an empty string",
            "functions.a-b: function key",
            "functions.ok: expected { name, artifact }, found a string",
        ] {
            assert!(error.message.contains(part), "{part}\n{}", error.message);
        }
    }

    #[test]
    fn a_table_is_a_contract_with_the_bucket_of_the_stage_and_a_url() {
        let text = "rest_api_id = { output = \"id\" }\nstage_name = \"dev\"\n\
                    [functions.one]\nname = \"one\"\nartifact = \"a\"\nalias = \"live\"\n";
        let table: ContractTable = toml::from_str(text).unwrap();
        let read = |id: Option<&Value>| {
            let outputs = id.into_iter().map(|id| ("id", id)).collect();
            Contract::from_table(&table, "app", &outputs, "zips", |id, stage| format!("https://{id}/{stage}"))
        };
        let contract = read(Some(&json!("a1"))).unwrap();
        assert_eq!(
            (contract.artifact_bucket.as_str(), contract.invoke_url.as_str()),
            ("zips", "https://a1/dev")
        );
        let function = &contract.functions[&"one".parse().unwrap()];
        assert_eq!((function.alias.as_ref().unwrap().as_str(), function.latest), ("live", false));
        let error = read(None).unwrap_err();
        assert_eq!(error.id, ErrorId::ContractMissing);
        assert_eq!(error.message, "layer \"app\" has no output \"id\" (rest_api_id); it has: no outputs");
        let error = read(Some(&json!(7))).unwrap_err();
        assert_eq!(error.id, ErrorId::ContractInvalid);
        assert!(
            error.message.contains("rest_api_id: expected a string, found a number"),
            "{}",
            error.message
        );
    }

    #[test]
    fn how_a_function_is_called_may_be_left_out_or_null() {
        let read = |function: Value| {
            let value = json!({
                "artifact_bucket": "b", "rest_api_id": "a", "stage_name": "dev", "invoke_url": "u",
                "functions": { "users_get": function },
            });
            Contract::read(&output(), Some(&value), &[]).map(|contract| {
                let function = &contract.functions[&"users_get".parse().unwrap()];
                (function.alias.as_ref().map(ToString::to_string), function.latest)
            })
        };
        let base = json!({ "name": "x", "artifact": "y" });
        let with = |more: Value| {
            let mut function = base.clone();
            function.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(function)
        };
        assert_eq!(read(base.clone()).unwrap(), (None, false));
        assert_eq!(with(json!({ "alias": null, "latest": null })).unwrap(), (None, false));
        assert_eq!(with(json!({ "alias": "live", "latest": true })).unwrap(), (Some("live".into()), true));
        assert!(with(json!({ "alias": "7" })).is_err() && with(json!({ "latest": "yes" })).is_err());
    }

    #[test]
    fn stage_variables_of_the_project_are_checked() {
        let read = |variables: Value| {
            let value = json!({
                "artifact_bucket": "b", "rest_api_id": "a", "stage_name": "dev", "invoke_url": "u",
                "functions": { "users_get": { "name": "x", "artifact": "y" } }, "variables": variables,
            });
            Contract::read(&output(), Some(&value), &[])
        };
        let contract = read(json!({ "table": "users-dev", "url": "https://x.example/a?b=c&d,e" })).unwrap();
        assert_eq!(contract.variables["table"], "users-dev");
        assert!(read(Value::Null).unwrap().variables.is_empty());
        let long = "9".repeat(513);
        for (variables, problem) in [
            (json!({ "release": "1" }), "variables.release: deployctl sets this variable"),
            (json!({ "users_get": "1" }), "variables.users_get: this is the key of a function"),
            (json!({ "a-b": "1" }), "variables.a-b: the name of a stage variable"),
            (json!({ "a": "" }), "variables.a: the value of a stage variable"),
            (json!({ "a": "two words" }), "variables.a: the value of a stage variable"),
            (json!({ "a": long }), "variables.a: the value of a stage variable"),
            (json!({ "a": 1 }), "variables.a: expected a string, found a number"),
            (json!(["a"]), "variables: expected an object, found a list"),
        ] {
            let error = read(variables).unwrap_err();
            assert_eq!(error.id, ErrorId::ContractInvalid);
            assert!(error.message.contains(problem), "{problem}\n{}", error.message);
        }
    }

    #[test]
    fn the_error_for_a_missing_output_lists_the_existing_ones() {
        let error = Contract::read(&output(), None, &["vpc_id".to_owned()]).unwrap_err();
        assert_eq!(error.message, "layer \"app\" has no output \"deployctl\"; it has: vpc_id");
    }
}
