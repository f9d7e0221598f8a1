//! The files that the patch creates: the contract, and a layer for the artifact bucket.

use std::collections::BTreeSet;

use super::functions::{Function, name_output};
use super::tree::Tree;
use super::uris::has_output;
use crate::terraform::source::{Found, Module, Repeat};

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
pub(crate) fn contract(functions: &[Function<'_>], output: Option<String>) -> Vec<String> {
    let mut blocks = vec![locals(functions), include_str!("templates/role.tf.in").to_owned()];
    blocks.extend(output);
    blocks
}

/// Expressions of the layer for the API's id and for an object with the attributes of the stage.
#[derive(Debug, Clone)]
pub(crate) struct ApiPlace {
    pub(crate) api_id: String,
    pub(crate) stage: String,
}

/// The output that deployctl reads. `variables` is the source of the project's own stage variables.
pub(crate) fn output(bucket: &str, place: &ApiPlace, variables: Option<&str>) -> String {
    let variables = variables
        .map(|map| format!("\n\n    # Stage variables are part of a release, too.\n    variables = {map}"));
    let variables = variables.unwrap_or_default();
    let values =
        [("BUCKET", bucket), ("API_ID", &place.api_id), ("STAGE", &place.stage), ("VARIABLES", &variables)];
    filled(include_str!("templates/contract.tf.in"), &values)
}

/// The functions by stage variable.
fn locals(functions: &[Function<'_>]) -> String {
    let mut once: Vec<(String, String)> = Vec::new();
    let mut parts: Vec<Vec<String>> = Vec::new();
    for function in functions {
        let (outer, artifact) = (function.outer(), &function.artifact);
        let (address, name) = (outer.address(), name_attribute(function));
        if function.repeat() == Repeat::Once {
            let alias = alias(function, None);
            let value = format!("{{ name = {address}.{name}, artifact = \"{artifact}\"{alias} }}");
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
        let alias = alias(function, Some("key"));
        // What is repeated inside a module is a map of names.
        let (each, all) = match outer.repeat() {
            Repeat::Once => ("function".to_owned(), format!("{address}.{name}")),
            _ => (format!("function.{name}"), address),
        };
        parts.push(vec![
            "{".to_owned(),
            format!("  for key, function in {all} :"),
            format!("  {key} => {{ name = {each}, artifact = \"{artifact}\"{alias} }}"),
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

/// The function's alias, which a release moves after the switch.
fn alias(function: &Function<'_>, key: Option<&str>) -> String {
    let Some(alias) = function.alias.filter(|_| function.depth() == 0) else { return String::new() };
    match (alias.repeat(), key) {
        (Repeat::Once, None) => format!(", alias = {}.name", alias.address()),
        (Repeat::Once, Some(_)) | (_, None) => String::new(),
        (_, Some(key)) => format!(", alias = {}[{key}].name", alias.address()),
    }
}

/// The attribute of the function, or the output of the outermost module, that gives a function's name.
fn name_attribute(function: &Function<'_>) -> String {
    match (function.depth(), name_output(function)) {
        (0, _) => "function_name".to_owned(),
        (1, Some(name)) => name.to_owned(),
        _ => function.output_name(1),
    }
}

/// The outputs through which the layer gets a function's name: the scope and the text of each.
pub(crate) fn name_outputs(tree: &Tree<'_>, function: &Function<'_>) -> Vec<(usize, String)> {
    let path = tree.path(function.scope);
    let existing = name_output(function);
    let mut outputs = Vec::new();
    for (at, scope) in path.iter().enumerate() {
        let depth = at + 1;
        let name = function.output_name(depth);
        let value = match path.get(depth).and_then(|child| tree.parent(*child)) {
            None if existing.is_some() => continue,
            None => each_of(&function.block, "function_name"),
            Some((_, call)) => {
                let inner = match existing.filter(|_| depth + 1 == path.len()) {
                    Some(name) => name.to_owned(),
                    None => function.output_name(depth + 1),
                };
                each_of(call, &inner)
            }
        };
        if !has_output(tree.module(*scope), &name) {
            outputs.push((*scope, module_output(&name, "Name of the function, for deployctl.", &value)));
        }
    }
    outputs
}

/// An attribute of a block, or of all its instances.
fn each_of(found: &Found<'_>, attribute: &str) -> String {
    let address = found.address();
    match found.repeat() {
        Repeat::Once => format!("{address}.{attribute}"),
        Repeat::Count => format!("{address}[*].{attribute}"),
        Repeat::ForEach => format!("{{ for key, one in {address} : key => one.{attribute} }}"),
    }
}

/// An output that the patch adds to a module.
pub(crate) fn module_output(name: &str, description: &str, value: &str) -> String {
    let values = [("OUTPUT", name), ("DESCRIPTION", description), ("VALUE", value)];
    filled(include_str!("templates/output.tf.in"), &values)
}

/// The variable that the patch adds to a module.
pub(crate) const MODULE_VARIABLE: &str = include_str!("templates/module_variable.tf.in");

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
