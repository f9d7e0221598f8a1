//! The files that the patch makes: the contract with deployctl, and a layer for the artifact bucket.

use std::collections::BTreeSet;

use super::functions::{Function, output_with};
use crate::terraform::source::{Module, Repeat};

/// The role that API Gateway calls functions with.
pub(crate) const ROLE: &str = "aws_iam_role.deployctl_invoke.arn";

/// The variables that deployctl sets for every layer, and what they are for.
const VARIABLES: [(&str, &str); 6] = [
    ("project", "Name of the project."),
    ("stage", "Name of the stage."),
    ("region", "AWS region of the stage."),
    ("release_version", "Version whose artifacts a function is created from."),
    ("state_bucket", "Bucket of the Terraform states."),
    ("state_prefix", "Key prefix of the Terraform states: layer L has the key <state_prefix>/L.tfstate."),
];

/// The first lines of every file that is made.
const HEAD: &str = "# Written by `deployctl init`; it is yours now.\n";

/// What a layer's `deployctl.tf` holds.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    /// Variables of deployctl that the layer uses.
    pub(crate) variables: BTreeSet<&'static str>,
    /// Whether the layer needs a backend, and has no `terraform` block to put it into.
    pub(crate) backend: bool,
    pub(crate) blocks: Vec<String>,
}

impl Additions {
    /// The text of the file; empty where the layer needs nothing.
    pub(crate) fn text(&self, layer: &Module) -> String {
        let mut parts = Vec::new();
        if self.backend {
            parts.push(
                "terraform {\n  # deployctl passes bucket, key and region, so that one code serves every stage.\n  backend \"s3\" {}\n}\n"
                    .to_owned(),
            );
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
    format!("variable \"{name}\" {{\n  description = \"{about}\"\n  type        = string\n}}\n")
}

/// Reads the outputs of the layer that has the artifact bucket.
pub(crate) fn read_bucket_layer(name: &str) -> String {
    format!(
        "# The artifact bucket is made by a layer that is applied before this one.\ndata \"terraform_remote_state\" \
         \"deployctl\" {{\n  backend = \"s3\"\n\n  config = {}\n}}\n",
        state_config(name, "  ")
    )
}

/// Where deployctl keeps a layer's state.
pub(crate) fn state_config(layer: &str, indent: &str) -> String {
    format!(
        "{{\n{indent}  bucket = var.state_bucket\n{indent}  key    = \"${{var.state_prefix}}/{layer}.tfstate\"\n{indent}  \
         region = var.region\n{indent}}}"
    )
}

/// The functions, the role that API Gateway calls them with, and the output that deployctl reads.
pub(crate) fn contract(
    functions: &[Function<'_>],
    bucket: &str,
    api: Option<&str>,
    stage: Option<&str>,
) -> Vec<String> {
    let mut blocks = vec![locals(functions), include_str!("templates/role.tf.in").to_owned()];
    if let (Some(api), Some(stage)) = (api, stage) {
        blocks.push(output(bucket, api, stage));
    }
    blocks
}

/// The output that deployctl reads.
pub(crate) fn output(bucket: &str, api: &str, stage: &str) -> String {
    filled(include_str!("templates/contract.tf.in"), &[("BUCKET", bucket), ("API", api), ("STAGE", stage)])
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
    format!(
        "# What a release is made of. Each key is the stage variable that holds the function's version.\nlocals {{\n  \
         deployctl_functions = {value}\n}}\n"
    )
}

/// The attribute, or the output of its module, that gives a function's name.
fn name_attribute(function: &Function<'_>) -> String {
    match &function.call {
        None => "function_name".to_owned(),
        Some(_) => output_with(function, "function_name").unwrap_or(NAME_OUTPUT).to_owned(),
    }
}

/// The output that is added to a module without one for the name.
pub(crate) const NAME_OUTPUT: &str = "deployctl_function_name";

/// The output for a module whose callers cannot tell the function's name.
pub(crate) fn name_output(function: &Function<'_>) -> Option<String> {
    function.call.as_ref()?;
    if output_with(function, "function_name").is_some() {
        return None;
    }
    Some(format!(
        "output \"{NAME_OUTPUT}\" {{\n  description = \"Name of the function, for deployctl.\"\n  value       = \
         {}.function_name\n}}\n",
        function.block.address()
    ))
}

/// A layer that has nothing but the artifact bucket.
pub(crate) fn bucket_layer(provider_version: Option<&str>) -> String {
    let version = provider_version.map(|text| format!("\n      version = {text}")).unwrap_or_default();
    let text = filled(BUCKET_LAYER, &[("VERSION", &version)]);
    // As `terraform fmt` wants it.
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
