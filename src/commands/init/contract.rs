//! The files that the patch creates: the contract, and a layer for the artifact bucket.

use std::collections::BTreeSet;

use super::functions::{Function, output_with};
use crate::terraform::source::{Module, Repeat};

/// The role that API Gateway calls functions with.
pub(crate) const ROLE: &str = "aws_iam_role.deployctl_invoke.arn";

/// The variables that deployctl sets for every layer, with their descriptions.
const VARIABLES: [(&str, &str); 6] = [
    ("project", "Name of the project."),
    ("stage", "Name of the stage."),
    ("region", "AWS region of the stage."),
    ("release_version", "Version whose artifacts a function is created from."),
    ("state_bucket", "Bucket of the Terraform states."),
    ("state_prefix", "Key prefix of the Terraform states: layer L has the key <state_prefix>/L.tfstate."),
];

/// The first line of every created file.
const HEAD: &str = "# Created by `deployctl init`. Change it as you like.\n";

/// The content of a layer's `deployctl.tf`.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    /// Variables of deployctl that the layer uses.
    pub(crate) variables: BTreeSet<&'static str>,
    /// Whether the layer needs a backend, but has no `terraform` block that could contain it.
    pub(crate) backend: bool,
    pub(crate) blocks: Vec<String>,
}

impl Additions {
    /// The text of the file; empty if the layer needs nothing.
    pub(crate) fn text(&self, layer: &Module) -> String {
        let mut parts = Vec::new();
        if self.backend {
            parts.push(include_str!("templates/backend.tf.in").to_owned());
        }
        let undeclared =
            VARIABLES.iter().filter(|(name, _)| self.variables.contains(name) && !layer.declares(name));
        let declarations: Vec<String> = undeclared.map(|(name, about)| variable(name, about)).collect();
        if !declarations.is_empty() {
            parts.push(format!("# deployctl sets these for every layer.\n\n{}", declarations.join("\n")));
        }
        parts.extend(self.blocks.iter().cloned());
        if parts.is_empty() { String::new() } else { format!("{HEAD}\n{}", parts.join("\n")) }
    }
}

fn variable(name: &str, about: &str) -> String {
    filled(include_str!("templates/variable.tf.in"), &[("NAME", name), ("DESCRIPTION", about)])
}

/// Reads the outputs of the layer with the artifact bucket.
pub(crate) fn read_bucket_layer(name: &str) -> String {
    filled(include_str!("templates/remote_state.tf.in"), &[("CONFIG", &state_config(name))])
}

/// The S3 object of a layer's state.
pub(crate) fn state_config(layer: &str) -> String {
    filled(include_str!("templates/remote_state_config.tf.in").trim_end(), &[("LAYER", layer)])
}

/// The functions, the role that API Gateway calls them with, and the output that deployctl reads.
pub(crate) fn contract(
    functions: &[Function<'_>],
    bucket: &str,
    api: Option<&str>,
    stage: Option<&str>,
    variables: Option<&str>,
) -> Vec<String> {
    let mut blocks = vec![locals(functions), include_str!("templates/role.tf.in").to_owned()];
    if let (Some(api), Some(stage)) = (api, stage) {
        blocks.push(output(bucket, api, stage, variables));
    }
    blocks
}

/// The output that deployctl reads. `variables` is the source of the project's own stage variables.
pub(crate) fn output(bucket: &str, api: &str, stage: &str, variables: Option<&str>) -> String {
    let variables = variables
        .map(|map| format!("\n\n    # Stage variables are part of a release, too.\n    variables = {map}"));
    let variables = variables.unwrap_or_default();
    let values = [("BUCKET", bucket), ("API", api), ("STAGE", stage), ("VARIABLES", &variables)];
    filled(include_str!("templates/contract.tf.in"), &values)
}

/// The functions by stage variable.
fn locals(functions: &[Function<'_>]) -> String {
    let mut once: Vec<(String, String)> = Vec::new();
    let mut parts: Vec<Vec<String>> = Vec::new();
    for function in functions {
        let (address, artifact, name) = (function.address(), &function.artifact, name_attribute(function));
        if function.repeat() == Repeat::Once {
            let value = format!("{{ name = {address}.{name}, artifact = \"{artifact}\" }}");
            once.push((function.key(None), value));
            continue;
        }
        let key = function.key(Some("key"));
        // `"${key}"` is `key`.
        let inner = key.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let key = match inner.filter(|inner| !inner.contains("${")) {
            Some(inner) => inner.to_owned(),
            None => format!("\"{key}\""),
        };
        parts.push(vec![
            "{".to_owned(),
            format!("  for key, function in {address} :"),
            format!("  {key} => {{ name = function.{name}, artifact = \"{artifact}\" }}"),
            "}".to_owned(),
        ]);
    }
    if !once.is_empty() || parts.is_empty() {
        let width = once.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let lines = once.iter().map(|(key, value)| format!("  {key:<width$} = {value}"));
        parts.insert(0, ["{".to_owned()].into_iter().chain(lines).chain(["}".to_owned()]).collect());
    }
    let value = match parts.as_slice() {
        [one] => one.join("\n  "),
        all => {
            let all: Vec<String> = all.iter().map(|part| format!("    {}", part.join("\n    "))).collect();
            format!("merge(\n{}\n  )", all.join(",\n"))
        }
    };
    filled(include_str!("templates/functions.tf.in"), &[("FUNCTIONS", &value)])
}

/// The attribute, or the output of its module, that gives a function's name.
fn name_attribute(function: &Function<'_>) -> String {
    match &function.call {
        None => "function_name".to_owned(),
        Some(_) => output_with(function, "function_name").unwrap_or(NAME_OUTPUT).to_owned(),
    }
}

/// Added to a module without an output for the function's name.
pub(crate) const NAME_OUTPUT: &str = "deployctl_function_name";

/// `None` if the callers of the module can read the function's name.
pub(crate) fn name_output(function: &Function<'_>) -> Option<String> {
    function.call.as_ref()?;
    if output_with(function, "function_name").is_some() {
        return None;
    }
    let values = [("OUTPUT", NAME_OUTPUT), ("FUNCTION", &function.block.address())];
    Some(filled(include_str!("templates/name_output.tf.in"), &values))
}

/// A layer that contains only the artifact bucket.
pub(crate) fn bucket_layer(provider_version: Option<&str>) -> String {
    let version = provider_version.map(|text| format!("\n      version = {text}")).unwrap_or_default();
    let text = filled(BUCKET_LAYER, &[("VERSION", &version)]);
    // The alignment of `terraform fmt`.
    if version.is_empty() { text.replace("source  = ", "source = ") } else { text }
}

const BUCKET_LAYER: &str = include_str!("templates/bucket_layer.tf.in");

/// A template with a value in the place of each `@NAME@`.
pub(crate) fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}
