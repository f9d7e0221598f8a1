//! The text of `deployctl.toml`, with an explanation of each line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::artifacts::{self, Source, origin};
use super::survey::{Backend, Survey};
use crate::documents::init::{Advice, Inventory};
use crate::project::settings::OutputName;
use crate::terraform::source::{Module, literal};

/// The variables that deployctl sets for every layer.
const GIVEN: [&str; 6] = ["project", "stage", "region", "release_version", "state_bucket", "state_prefix"];

pub(crate) fn text(
    survey: &Survey,
    found: &Inventory,
    (sources, arm64): (&BTreeMap<String, Source>, &BTreeSet<String>),
    bucket: &OutputName,
    contract_layer: &str,
    advice: &mut Vec<Advice>,
) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(
        "# The settings of deployctl. Created by `deployctl init` from the project's source; change them \
         as you like.",
    );
    line("");
    line("# Part of the names of buckets, and the TF_VAR_project of every layer.");
    line(&format!("project = {}", quoted(&project(survey))));
    line("# The stage of commands without --stage.");
    line("default_stage = \"local\"");
    line("");
    stages(&mut line, survey, found, advice);
    line("# Terraform's root modules. Layers that do not depend on each other are applied at the same time.");
    for layer in &found.layers {
        line(&format!("[layers.{}]", layer.name));
        let path = layer.path.to_string_lossy();
        line(&format!("path = {}", quoted(if path.is_empty() { "." } else { &path })));
        if !layer.depends_on.is_empty() {
            let names: Vec<String> = layer.depends_on.iter().map(|name| quoted(name)).collect();
            line("# Applied before it; it reads their outputs.");
            line(&format!("depends_on = [{}]", names.join(", ")));
        }
        line("");
    }
    terraform(&mut line, bucket, contract_layer);
    write_artifacts(&mut line, sources, arm64);
    line(
        "# The request that checks a new release. Any status below 500 passes, unless a header names the \
         release:",
    );
    line("# release_header = \"x-release\"");
    line("[probe]");
    line("path = \"/\"");
    text
}

/// The local stage, and an example of a stage on AWS.
fn stages(line: &mut impl FnMut(&str), survey: &Survey, found: &Inventory, advice: &mut Vec<Advice>) {
    line("# The local AWS emulator (MiniStack): no account needed.");
    line("[stages.local]");
    line("local = true");
    let region = region(survey);
    if let Some(region) = &region {
        line("# The region of the provider block.");
        line(&format!("region = {}", quoted(region)));
    }
    line("");
    line("# Terraform variables of this stage, as TF_VAR_…");
    line("[stages.local.variables]");
    if found.layers.iter().any(|layer| layer.new) {
        line("# The local stage is deleted with its content.");
        line("artifact_bucket_force_destroy = true");
    }
    for (layer, name) in required(survey) {
        line(&format!("# Layer {layer} has no default for it:"));
        line(&format!("# {name} = \"\""));
        advice.push(
            Advice::new(format!(
                "layer {layer}: variable {name:?} has no default; give it a value for each stage"
            ))
            .write(format!("[stages.local.variables]\n{name} = …")),
        );
    }
    line("");
    line("# A stage on AWS. deployctl refuses the credentials of other accounts.");
    line("# [stages.dev]");
    line("# account = \"111111111111\"");
    line(&format!("# region = {}", quoted(region.as_deref().unwrap_or("eu-west-1"))));
    let bucket_name = survey.layers.iter().find_map(|layer| match &layer.backend {
        Backend::S3 { bucket, .. } => bucket.clone(),
        Backend::Local | Backend::Other(_) => None,
    });
    if let Some(name) = bucket_name {
        line("# The bucket of the Terraform states; by default <project>-<stage>-tfstate-<account>.");
        line(&format!("# state_bucket = {}", quoted(&name)));
    }
    line("");
}

fn terraform(line: &mut impl FnMut(&str), bucket: &OutputName, contract_layer: &str) {
    let standard = bucket.layer == "base" && bucket.output == "artifact_bucket" && contract_layer == "app";
    if standard {
        return;
    }
    line("# The layers whose outputs name the artifact bucket and the contract.");
    line("[terraform]");
    line(&format!("bucket_layer = {}", quoted(&bucket.layer)));
    line(&format!("bucket_output = {}", quoted(&bucket.output)));
    line(&format!("contract_layer = {}", quoted(contract_layer)));
    line("");
}

fn write_artifacts(
    line: &mut impl FnMut(&str),
    sources: &BTreeMap<String, Source>,
    arm64: &BTreeSet<String>,
) {
    line("# Zips. Functions name theirs in the Terraform output `deployctl`.");
    if sources.is_empty() {
        line("[artifacts]");
        line("");
    }
    for (name, source) in sources {
        let (kind, value) = origin(source);
        line(&format!("[artifacts.{name}]"));
        line(match source {
            Source::Package(_) => {
                "# The cargo package, whose binary of the same name becomes the zip's `bootstrap`."
            }
            Source::File(_) => "# An existing `bootstrap`, or a zip that contains one.",
        });
        line(&format!("{kind} = {}", quoted(&value)));
        if arm64.contains(name) {
            line("# The architecture of its functions; by default x86_64.");
            line("architecture = \"arm64\"");
        }
        line("# Its key in the artifact bucket.");
        line(&format!("key = {}", quoted(&artifacts::key(name))));
        line("");
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The folder's name, reduced to characters that are valid in bucket names.
fn project(survey: &Survey) -> String {
    let name = survey.root.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut clean = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if c != '-' || !(clean.is_empty() || clean.ends_with('-')) {
            clean.push(c);
        }
    }
    let clean: String =
        clean.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').chars().take(20).collect();
    let clean = clean.trim_end_matches('-');
    if clean.is_empty() { "project".to_owned() } else { clean.to_owned() }
}

/// The literal region of a provider block.
fn region(survey: &Survey) -> Option<String> {
    let of = |module: &Module| {
        module.blocks("provider").find_map(|(_, block)| {
            let is_default = block.body.get_attribute("alias").is_none();
            let region = literal(&block.body.get_attribute("region")?.value)?;
            is_default.then(|| region.to_owned())
        })
    };
    survey.layers.iter().find_map(|layer| of(&layer.module))
}

/// Variables without a default that deployctl does not set.
fn required(survey: &Survey) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for layer in &survey.layers {
        for (_, block) in layer.module.blocks("variable") {
            let Some(name) = block.labels.first().map(|label| label.as_str().to_owned()) else { continue };
            if !block.body.has_attribute("default") && !GIVEN.contains(&name.as_str()) {
                names.push((layer.name.clone(), name));
            }
        }
    }
    names
}

pub(crate) fn summary(found: &Inventory) -> String {
    let mut text = String::new();
    for layer in &found.layers {
        let path = if layer.path.as_os_str().is_empty() { ".".into() } else { layer.path.to_string_lossy() };
        let reads = if layer.depends_on.is_empty() {
            String::new()
        } else {
            format!(", after {}", layer.depends_on.join(", "))
        };
        let new = if layer.new { ", created by the patch" } else { "" };
        let _ = writeln!(text, "layer     {} in {path}{reads}{new}", layer.name);
    }
    for function in &found.functions {
        let _ = writeln!(
            text,
            "function  {} as {}, running {}",
            function.address, function.key, function.artifact
        );
    }
    for (what, address) in
        [("API", &found.rest_api), ("stage", &found.stage), ("deployed", &found.deployment)]
    {
        if let Some(address) = address {
            let _ = writeln!(text, "{what:<9} {address}");
        }
    }
    for package in &found.packages {
        let path =
            if package.path.as_os_str().is_empty() { ".".into() } else { package.path.to_string_lossy() };
        let _ = writeln!(text, "package   {} in {path}", package.name);
    }
    text
}
