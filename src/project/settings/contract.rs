//! The `[contract]` table: the contract of a project whose Terraform has no output for it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::{Problem, ProblemKind};
use super::validate::among;
use crate::release::model::{AliasName, FunctionKey, FunctionName, StageName};

/// What stands for the name of the stage.
const STAGE: &str = "{stage}";

/// The contract, instead of the Terraform output. `{stage}` in a text is the name of the stage.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractTable {
    /// The id of the REST API.
    rest_api_id: Reference,
    /// The name of the API Gateway stage.
    stage_name: Reference,
    /// The URL of the stage; API Gateway's own by default.
    invoke_url: Option<Reference>,
    /// The project's own stage variables.
    #[serde(default)]
    variables: BTreeMap<String, Reference>,
    /// The functions of a release, by the stage variable that names their version.
    functions: BTreeMap<String, TableFunction>,
}

/// A text, or where to find it in the outputs of the contract's layer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Reference {
    Text(String),
    Output(OutputReference),
}

/// An output of the contract's layer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputReference {
    /// The name of the output.
    output: String,
    /// The key, if the output is a map.
    key: Option<String>,
}

/// A function of a release.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableFunction {
    /// Its name in Lambda.
    name: Reference,
    /// The artifact with its code.
    artifact: String,
    /// The alias that other services call. It is moved right after the switch, and not with the API in one call.
    #[schemars(with = "Option<AliasName>")]
    alias: Option<String>,
    /// Whether it is called without a version. New code is then called before the switch.
    #[serde(default)]
    latest: bool,
    /// The provisioned concurrency of the new version, allocated before the switch.
    provisioned: Option<NonZeroU16>,
    /// How often the new version is invoked at once before the switch, where nothing is provisioned.
    warm: Option<NonZeroU16>,
}

/// The contract could not be put together from the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// Outputs that the layer does not have, with the place that names them.
    Missing(Vec<String>),
    /// Outputs that are something else than expected.
    Invalid(Vec<String>),
}

impl ContractTable {
    /// The table for a stage.
    pub(super) fn for_stage(mut self, stage: &StageName) -> Self {
        let functions = self.functions.values_mut().map(|function| &mut function.name);
        let texts = [&mut self.rest_api_id, &mut self.stage_name].into_iter();
        for reference in texts.chain(&mut self.invoke_url).chain(self.variables.values_mut()).chain(functions)
        {
            if let Reference::Text(text) = reference {
                *text = text.replace(STAGE, stage.as_str());
            }
        }
        self
    }

    /// The problems that need no outputs.
    pub(super) fn problems(&self, artifacts: &BTreeSet<String>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, function) in &self.functions {
            let mut problem = |field: Option<&str>, kind| {
                let path = ["contract", "functions", key.as_str()].into_iter().chain(field);
                problems.push(Problem::new(&path.collect::<Vec<_>>(), kind));
            };
            if let Err(rule) = key.parse::<FunctionKey>() {
                problem(None, ProblemKind::Name(rule.to_string()));
            }
            if let Reference::Text(name) = &function.name
                && let Err(rule) = name.parse::<FunctionName>()
            {
                problem(Some("name"), ProblemKind::Name(rule.to_string()));
            }
            if let Some(Err(rule)) = function.alias.as_ref().map(|alias| alias.parse::<AliasName>()) {
                problem(Some("alias"), ProblemKind::Name(rule.to_string()));
            }
            if !artifacts.contains(&function.artifact) {
                problem(Some("artifact"), ProblemKind::UnknownArtifact(function.artifact.clone()));
            }
        }
        problems
    }

    /// The problem of a check at `place` that invokes a function which is not in the table.
    pub(super) fn unknown_function(&self, place: &str, function: &FunctionKey) -> Option<Problem> {
        let known = self.functions.keys().map(String::as_str);
        let is_known = self.functions.contains_key(function.as_str());
        let kind = || ProblemKind::UnknownFunction(function.to_string(), among(function.as_str(), known));
        (!is_known).then(|| Problem::new(&[place, "invoke"], kind()))
    }

    /// Whether it refers to outputs.
    pub(crate) fn needs_outputs(&self) -> bool {
        self.references().any(|(_, reference)| matches!(reference, Reference::Output(_)))
    }

    /// Every text, with its place in the table.
    fn references(&self) -> impl Iterator<Item = (String, &Reference)> {
        let one = |place: &str, reference| (place.to_owned(), reference);
        let url = self.invoke_url.iter().map(move |reference| one("invoke_url", reference));
        let variables =
            self.variables.iter().map(|(name, reference)| (format!("variables.{name}"), reference));
        let functions =
            self.functions.iter().map(|(key, function)| (format!("functions.{key}.name"), &function.name));
        [one("rest_api_id", &self.rest_api_id), one("stage_name", &self.stage_name)]
            .into_iter()
            .chain(url)
            .chain(variables)
            .chain(functions)
    }

    /// The contract as the Terraform output has it, without the artifact bucket, and without the URL if the
    /// table does not name it.
    ///
    /// # Errors
    /// All references to what is not in `outputs`.
    pub(crate) fn value(&self, outputs: &BTreeMap<&str, &Value>) -> Result<Map<String, Value>, Unresolved> {
        let mut texts: BTreeMap<String, Value> = BTreeMap::new();
        let (mut missing, mut invalid) = (Vec::new(), Vec::new());
        for (place, reference) in self.references() {
            match reference {
                Reference::Text(text) => drop(texts.insert(place, json!(text))),
                Reference::Output(reference) => match reference.find(outputs) {
                    Ok(value) => drop(texts.insert(place, value.clone())),
                    Err(None) => missing.push(format!("{:?} ({place})", reference.output)),
                    Err(Some(problem)) => invalid.push(format!("{place}: {problem}")),
                },
            }
        }
        if !missing.is_empty() {
            return Err(Unresolved::Missing(missing));
        }
        if !invalid.is_empty() {
            return Err(Unresolved::Invalid(invalid));
        }
        let mut take = |place: &str| texts.remove(place).unwrap_or_default();
        let functions = self.functions.iter().map(|(key, function)| {
            let TableFunction { artifact, alias, latest, provisioned, warm, .. } = function;
            let name = take(&format!("functions.{key}.name"));
            let function = json!({
                "name": name, "artifact": artifact, "alias": alias, "latest": latest, "provisioned": provisioned,
                "warm": warm,
            });
            (key.clone(), function)
        });
        let functions: Map<String, Value> = functions.collect();
        let variables: Map<String, Value> =
            self.variables.keys().map(|name| (name.clone(), take(&format!("variables.{name}")))).collect();
        let mut value = Map::new();
        for field in ["rest_api_id", "stage_name", "invoke_url"] {
            if let Some(text) = texts.remove(field) {
                value.insert(field.to_owned(), text);
            }
        }
        value.insert("functions".to_owned(), functions.into());
        value.insert("variables".to_owned(), variables.into());
        Ok(value)
    }
}

impl OutputReference {
    /// The value; `None` if the layer has no such output, and otherwise what is wrong with it.
    fn find<'a>(&self, outputs: &BTreeMap<&str, &'a Value>) -> Result<&'a Value, Option<String>> {
        let Self { output, key } = self;
        let value = *outputs.get(output.as_str()).ok_or(None)?;
        let Some(key) = key else { return Ok(value) };
        let Value::Object(map) = value else {
            return Err(Some(format!("output {output:?} is not a map, so it has no key {key:?}")));
        };
        map.get(key).ok_or_else(|| {
            let keys: Vec<&str> = map.keys().map(String::as_str).collect();
            Some(format!("output {output:?} has no key {key:?}; it has: {}", keys.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        rest_api_id = { output = "api_id" }
        stage_name = "{stage}"
        variables = { table = { output = "names", key = "table" } }
        [functions.users_get]
        name = { output = "names", key = "get" }
        artifact = "users"
        alias = "live"
        [functions.users_post]
        name = "users-{stage}-post"
        artifact = "users"
        latest = true
        provisioned = 5
    "#;

    fn table(text: &str) -> ContractTable {
        toml::from_str::<ContractTable>(text).unwrap().for_stage(&"dev".parse().unwrap())
    }

    #[test]
    fn a_table_becomes_what_the_output_would_be() {
        let (id, names) = (json!("a1b2c3"), json!({ "get": "users-dev-get", "table": "t" }));
        let value = table(TABLE).value(&[("api_id", &id), ("names", &names)].into()).unwrap();
        let expected = json!({
            "rest_api_id": "a1b2c3", "stage_name": "dev", "variables": { "table": "t" },
            "functions": {
                "users_get": { "name": "users-dev-get", "artifact": "users", "alias": "live", "latest": false,
                    "provisioned": null, "warm": null },
                "users_post": { "name": "users-dev-post", "artifact": "users", "alias": null, "latest": true,
                    "provisioned": 5, "warm": null },
            },
        });
        assert_eq!(Value::from(value), expected);
        assert!(table(TABLE).needs_outputs());
    }

    #[test]
    fn everything_that_is_missing_or_wrong_is_named_with_its_place() {
        let (id, text) = (json!("a"), json!("text"));
        let missing = table(TABLE).value(&[("api_id", &id)].into());
        let names =
            ["variables.table", "functions.users_get.name"].map(|place| format!("\"names\" ({place})"));
        assert_eq!(missing, Err(Unresolved::Missing(names.into())));
        let wrong = table(TABLE).value(&[("api_id", &id), ("names", &text)].into());
        let Err(Unresolved::Invalid(problems)) = wrong else { panic!("{wrong:?}") };
        assert_eq!(problems[0], r#"variables.table: output "names" is not a map, so it has no key "table""#);
        let other = json!({ "put": "x" });
        let wrong = table(TABLE).value(&[("api_id", &id), ("names", &other)].into());
        let Err(Unresolved::Invalid(problems)) = wrong else { panic!("{wrong:?}") };
        assert!(problems[1].ends_with(r#"output "names" has no key "get"; it has: put"#), "{problems:?}");
    }

    #[test]
    fn names_and_artifacts_are_checked_without_outputs() {
        let text = TABLE.replace("users_post", "users-post").replace("\"live\"", "\"7\"");
        let problems = table(&text).problems(&["web".to_owned()].into());
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for part in [
            "contract.functions.users-post: function key \"users-post\" is not valid",
            "contract.functions.users_get.alias: alias \"7\" is not valid",
            "contract.functions.users_get.artifact: there is no artifact \"users\" in [artifacts]",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(part)), "{part}\n{lines:#?}");
        }
        assert!(table(TABLE).problems(&["users".to_owned()].into()).is_empty());
        let unknown = |key: &str| table(TABLE).unknown_function("checks[1]", &key.parse().unwrap());
        assert!(unknown("users_get").is_none());
        let problem = unknown("users_gett").unwrap().to_string();
        let expected = "checks[1].invoke: there is no function \"users_gett\" in [contract.functions]";
        assert!(problem.starts_with(expected) && problem.contains("users_get"), "{problem}");
    }
}
