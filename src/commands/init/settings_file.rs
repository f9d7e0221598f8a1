//! The text of `deployctl.toml`, with an explanation of each line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::artifacts::{self, Source, origin};
use super::layouts::{self, Layout, StageFound};
use super::rewrite::BucketPlace;
use super::survey::{Backend, Survey};
use crate::documents::init::{Advice, Inventory};
use crate::terraform::source::{Module, Step, steps};

/// The variables that deployctl sets for every layer.
const GIVEN: [&str; 6] = ["project", "stage", "region", "release_version", "state_bucket", "state_prefix"];

/// What the text is made from, beside what was found.
pub(crate) struct Input<'a> {
    pub(crate) survey: &'a Survey,
    pub(crate) layout: &'a Layout,
    pub(crate) bucket: &'a BucketPlace,
    pub(crate) contract_layer: &'a str,
    /// A route that exists.
    pub(crate) probe: Option<String>,
    /// Whether stages have to be imported.
    pub(crate) imports: bool,
}

/// The lines of the file.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }
}

pub(crate) fn text(
    input: &Input<'_>,
    found: &Inventory,
    (sources, arm64): (&BTreeMap<String, Source>, &BTreeSet<String>),
    advice: &mut Vec<Advice>,
) -> String {
    let mut lines = Lines::default();
    let has_local = !input.is_bound_to_stages();
    lines.add(
        "# The settings of deployctl. Created by `deployctl init` from the project's source; change them \
         as you like.",
    );
    lines.add("");
    lines.add("# Part of the names of buckets, and the TF_VAR_project of every layer.");
    lines.add(format!("project = {}", quoted(&project(input.survey))));
    lines.add("# The stage of commands without --stage.");
    let first = input.layout.stages.first().map_or("local", |stage| stage.name.as_str());
    lines.add(format!("default_stage = {}", quoted(if has_local { "local" } else { first })));
    if input.layout.own {
        lines.add("# The states stay where the project keeps them.");
        lines.add("backend = \"own\"");
    }
    if let Some(name) = &input.bucket.name {
        lines.add("# The bucket of the zips and the ledger, which keeps versions of its objects.");
        lines.add(format!("artifact_bucket = {}", quoted(name)));
    }
    lines.add("");
    stages(&mut lines, input, found, advice);
    lines.add(
        "# Terraform's root modules. Layers that do not depend on each other are applied at the same time.",
    );
    for layer in &found.layers {
        lines.add(format!("[layers.{}]", layer.name));
        let path = layer.path.to_string_lossy();
        lines.add(format!("path = {}", quoted(if path.is_empty() { "." } else { &path })));
        if let Some(file) = input.layout.var_files.get(&layer.name) {
            lines.add(format!("var_files = [{}]", quoted(file)));
        }
        if !layer.depends_on.is_empty() {
            let names: Vec<String> = layer.depends_on.iter().map(|name| quoted(name)).collect();
            lines.add("# Applied before it; it reads their outputs.");
            lines.add(format!("depends_on = [{}]", names.join(", ")));
        }
        lines.add("");
    }
    terraform(&mut lines, input);
    write_artifacts(&mut lines, sources, arm64);
    lines.add(
        "# The request that checks a new release. Any status below 500 passes, unless a header names the \
         release:",
    );
    lines.add("# release_header = \"x-release\"");
    lines.add("[probe]");
    lines.add(format!("path = {}", quoted(input.probe.as_deref().unwrap_or("/"))));
    lines.0
}

impl Input<'_> {
    /// Whether files belong to each stage, so that a stage needs files of its own.
    fn is_bound_to_stages(&self) -> bool {
        let has_folders = self.survey.layers.iter().any(|layer| !layer.environments.is_empty());
        self.layout.own && (has_folders || !self.layout.var_files.is_empty())
    }
}

/// The local stage, the stages of the project, or an example of a stage on AWS.
fn stages(lines: &mut Lines, input: &Input<'_>, found: &Inventory, advice: &mut Vec<Advice>) {
    let survey = input.survey;
    let region = region(survey);
    let missing = required(input);
    if !input.is_bound_to_stages() {
        lines.add("# The local AWS emulator (MiniStack): no account needed.");
        lines.add("[stages.local]");
        lines.add("local = true");
        if let Some(region) = &region {
            lines.add("# The region of the provider block.");
            lines.add(format!("region = {}", quoted(region)));
        }
        if input.layout.has_workspaces {
            lines.add("workspace = \"local\"");
        }
        lines.add("");
        lines.add("# Terraform variables of this stage, as TF_VAR_…");
        lines.add("[stages.local.variables]");
        if found.layers.iter().any(|layer| layer.new) {
            lines.add("# The local stage is deleted with its content.");
            lines.add("artifact_bucket_force_destroy = true");
        }
        for (layer, name) in &missing {
            lines.add(format!("# Layer {layer} has no default for it:"));
            lines.add(format!("# {name} = \"\""));
            advice.push(
                Advice::new(format!(
                    "layer {layer}: variable {name:?} has no default; give it a value for each stage"
                ))
                .write(format!("[stages.local.variables]\n{name} = …")),
            );
        }
        lines.add("");
    }
    if input.layout.own {
        let unknown = |stage: &&StageFound| stage.account.is_none() || stage.region.is_none();
        let unknown: Vec<&StageFound> = input.layout.stages.iter().filter(unknown).collect();
        if !unknown.is_empty() {
            let is_region = unknown.iter().any(|stage| stage.region.is_none());
            let what = if is_region { "account and region" } else { "account" };
            let what =
                format!("the source does not show the {what} of every stage; write it into deployctl.toml");
            let places: Vec<String> = unknown
                .iter()
                .map(|stage| {
                    let region = if stage.region.is_none() { "\nregion = \"…\"" } else { "" };
                    format!("[stages.{}]\naccount = \"…\"{region}", stage.name)
                })
                .collect();
            advice.push(Advice::new(what).write(places.join("\n")));
        }
        for stage in &input.layout.stages {
            stage_on_aws(lines, input, stage);
        }
        return;
    }
    lines.add("# A stage on AWS. deployctl refuses the credentials of other accounts.");
    lines.add("# [stages.dev]");
    lines.add("# account = \"111111111111\"");
    lines.add(format!("# region = {}", quoted(region.as_deref().unwrap_or("eu-west-1"))));
    let bucket_name = survey.layers.iter().find_map(|layer| match &layer.backend {
        Backend::S3 { bucket, .. } => bucket.clone(),
        Backend::Local | Backend::Other(_) => None,
    });
    if let Some(name) = bucket_name {
        lines.add("# The bucket of the Terraform states; by default <project>-<stage>-tfstate-<account>.");
        lines.add(format!("# state_bucket = {}", quoted(&name)));
    }
    lines.add("");
}

/// A stage that the project has already.
fn stage_on_aws(lines: &mut Lines, input: &Input<'_>, stage: &StageFound) {
    lines.add(format!("[stages.{}]", stage.name));
    lines.add("# deployctl refuses the credentials of other accounts.");
    lines.add(format!("account = {}", quoted(stage.account.as_deref().unwrap_or("111111111111"))));
    lines.add(format!("region = {}", quoted(stage.region.as_deref().unwrap_or("eu-west-1"))));
    if !stage.backend_config.is_empty() {
        lines.add("# As in `terraform init -backend-config`.");
        let values: Vec<String> = stage.backend_config.iter().map(|value| quoted(value)).collect();
        lines.add(format!("backend_config = [{}]", values.join(", ")));
    }
    if input.layout.has_workspaces {
        lines.add(format!("workspace = {}", quoted(&stage.name)));
    }
    let mut variables = Vec::new();
    if input.imports {
        variables.push("# The stage exists already, and is imported.".to_owned());
        variables.push("adopt_stage = true".to_owned());
    }
    if let (Some(name), Some(region)) = (region_variable(input.survey), &stage.region) {
        variables.push(format!("{name} = {}", quoted(region)));
    }
    if input.layout.var_files.is_empty() {
        for (layer, name) in required(input) {
            variables.push(format!("# {name} = \"\" # layer {layer} has no default for it"));
        }
    }
    if !variables.is_empty() {
        lines.add("");
        lines.add(format!("[stages.{}.variables]", stage.name));
        variables.iter().for_each(|line| lines.add(line));
    }
    lines.add("");
}

/// The variable of the provider's region, if deployctl does not set it.
fn region_variable(survey: &Survey) -> Option<String> {
    survey.layers.iter().find_map(|layer| {
        layer.module.blocks("provider").find_map(|(_, block)| {
            match steps(&block.body.get_attribute("region")?.value)?.as_slice() {
                [Step::Attribute("var"), Step::Attribute(name)] if *name != "region" => {
                    Some((*name).to_owned())
                }
                _ => None,
            }
        })
    })
}

fn terraform(lines: &mut Lines, input: &Input<'_>) {
    let layer = input.contract_layer;
    let Some(bucket) = &input.bucket.output else {
        if layer != "app" {
            lines.add("# The layer whose output is the contract.");
            lines.add("[terraform]");
            lines.add(format!("contract_layer = {}", quoted(layer)));
            lines.add("");
        }
        return;
    };
    let standard = bucket.layer == "base" && bucket.output == "artifact_bucket" && layer == "app";
    if standard {
        return;
    }
    lines.add("# The layers whose outputs name the artifact bucket and the contract.");
    lines.add("[terraform]");
    lines.add(format!("bucket_layer = {}", quoted(&bucket.layer)));
    lines.add(format!("bucket_output = {}", quoted(&bucket.output)));
    lines.add(format!("contract_layer = {}", quoted(layer)));
    lines.add("");
}

fn write_artifacts(lines: &mut Lines, sources: &BTreeMap<String, Source>, arm64: &BTreeSet<String>) {
    lines.add("# Zips. Functions name theirs in the Terraform output `deployctl`.");
    if sources.is_empty() {
        lines.add("[artifacts]");
        lines.add("");
    }
    for (name, source) in sources {
        let (kind, value) = origin(source);
        lines.add(format!("[artifacts.{name}]"));
        lines.add(match source {
            Source::Package(_) => {
                "# The cargo package, whose binary of the same name becomes the zip's `bootstrap`."
            }
            Source::File(_) => "# A zip that exists when a release begins.",
            Source::Image(_) => "# A container image, by its digest.",
        });
        lines.add(format!("{kind} = {}", quoted(&value)));
        if let Source::Package(package) = source
            && !package.workspace.as_os_str().is_empty()
        {
            lines.add("# The folder of its cargo workspace.");
            lines.add(format!("workspace = {}", quoted(&package.workspace.to_string_lossy())));
        }
        if arm64.contains(name) {
            lines.add("# The architecture of its functions; by default x86_64.");
            lines.add("architecture = \"arm64\"");
        }
        if !matches!(source, Source::Image(_)) {
            lines.add("# Its key in the artifact bucket.");
            lines.add(format!("key = {}", quoted(&artifacts::key(name))));
        }
        lines.add("");
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The folder's name, reduced to characters that are valid in bucket names.
pub(crate) fn project(survey: &Survey) -> String {
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

/// The region of a provider block.
fn region(survey: &Survey) -> Option<String> {
    survey.layers.iter().find_map(|layer| layouts::region(survey, layer, &layer.module))
}

/// Variables without a default that deployctl does not set, and that no file sets.
fn required(input: &Input<'_>) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for layer in &input.survey.layers {
        if input.layout.var_files.contains_key(&layer.name) {
            continue;
        }
        let given = given_by_files(&layer.module);
        for (_, block) in layer.module.blocks("variable") {
            let Some(name) = block.labels.first().map(|label| label.as_str().to_owned()) else { continue };
            let is_given = GIVEN.contains(&name.as_str()) || given.contains(&name);
            if !block.body.has_attribute("default") && !is_given {
                names.push((layer.name.clone(), name));
            }
        }
    }
    names
}

/// The variables that `terraform.tfvars` and `*.auto.tfvars` set.
fn given_by_files(module: &Module) -> BTreeSet<String> {
    let entries = std::fs::read_dir(&module.dir).into_iter().flatten().flatten();
    let is_read = |name: &str| name == "terraform.tfvars" || name.ends_with(".auto.tfvars");
    let files = entries.filter(|entry| is_read(&entry.file_name().to_string_lossy()));
    let bodies = files.filter_map(|entry| {
        crate::terraform::source::parse(&std::fs::read_to_string(entry.path()).ok()?).ok()
    });
    bodies.flat_map(|body| body.attributes().map(|a| a.key.as_str().to_owned()).collect::<Vec<_>>()).collect()
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
    for (what, calls) in [("route", &found.integrations), ("authorizer", &found.authorizers)] {
        for call in calls {
            let target = if call.calls.is_empty() { "no function" } else { &call.calls };
            let _ = writeln!(text, "{what:<9} {} calls {target}", call.address);
        }
    }
    if !found.stages.is_empty() {
        let _ = writeln!(text, "stages    {}", found.stages.join(", "));
    }
    for package in &found.packages {
        let path =
            if package.path.as_os_str().is_empty() { ".".into() } else { package.path.to_string_lossy() };
        let _ = writeln!(text, "package   {} in {path}", package.name);
    }
    text
}
