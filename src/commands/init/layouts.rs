//! Finds the stages that a project has already: folders, backend files, files of variables and workspaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::environments::{is_environment, is_stage_name};
use super::survey::{Backend, Layer, Survey};
use super::tree::Tree;
use crate::documents::init::Advice;
use crate::terraform::source::{Found, Module};

/// How a project keeps its states and tells its environments apart.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Whether the project's own backends stay.
    pub(crate) own: bool,
    pub(crate) stages: Vec<StageFound>,
    /// Files of variables by layer, with `{stage}`.
    pub(crate) var_files: BTreeMap<String, String>,
    /// Whether names contain `terraform.workspace`.
    pub(crate) has_workspaces: bool,
}

/// A stage of the project.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageFound {
    pub(crate) name: String,
    pub(crate) backend_config: Vec<String>,
    pub(crate) account: Option<String>,
    pub(crate) region: Option<String>,
}

impl Layout {
    pub(crate) fn find(survey: &Survey, advice: &mut Vec<Advice>) -> Self {
        let mut layout = Self { has_workspaces: uses_workspaces(survey), ..Self::default() };
        for layer in &survey.layers {
            for (stage, module) in layer.stages() {
                let found = layout.stage(stage);
                found.account = found.account.take().or_else(|| account(module));
                found.region = found.region.take().or_else(|| region(survey, layer, module));
            }
            layout.read_backend(survey, layer, advice);
            layout.read_variables(survey, layer);
            for workspace in workspaces(&layer.module.dir) {
                layout.stage(&workspace);
            }
            leftovers(layer, advice);
        }
        layout.own |=
            layout.has_workspaces || survey.layers.iter().any(|layer| !layer.environments.is_empty());
        if let Some(own) = own_of_file(&survey.root) {
            layout.own = own;
        }
        if layout.own && layout.stages.is_empty() {
            layout.stage("dev");
        }
        for stage in &mut layout.stages {
            let first = survey.layers.first();
            stage.account = stage.account.take().or_else(|| account(&first?.module));
            stage.region = stage.region.take().or_else(|| region(survey, first?, &first?.module));
        }
        layout.stages.sort_by(|a, b| a.name.cmp(&b.name));
        layout
    }

    fn stage(&mut self, name: &str) -> &mut StageFound {
        let at = self.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            self.stages.push(StageFound { name: name.to_owned(), ..StageFound::default() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }

    /// Where the state of a layer is: in its source, in the files of its backend, or in what `terraform init`
    /// has written.
    fn read_backend(&mut self, survey: &Survey, layer: &Layer, advice: &mut Vec<Advice>) {
        let files = backend_files(survey, layer);
        let is_partial = match &layer.backend {
            Backend::S3 { bucket: Some(_), key: Some(_) } => {
                self.own = true;
                return;
            }
            Backend::Other(_) => {
                self.own = true;
                !files.is_empty()
            }
            Backend::S3 { .. } => true,
            Backend::Local => {
                let dir = &layer.module.dir;
                self.own |=
                    dir.join("terraform.tfstate").exists() || dir.join("terraform.tfstate.d").exists();
                return;
            }
        };
        if !is_partial {
            return;
        }
        let only = files.len() == 1;
        for (stage, path) in &files {
            let Some(stage) = stage.as_deref().or(only.then_some("dev")) else {
                advice.push(Advice::new(format!(
                    "layer {}: {} names a backend; write it into `backend_config` of its stage",
                    layer.name,
                    path.display()
                )));
                continue;
            };
            self.own = true;
            let path = path.to_string_lossy().into_owned();
            self.stage(stage).backend_config.push(path);
        }
        if files.is_empty() {
            let config = initialised(&layer.module.dir);
            if !config.is_empty() {
                self.own = true;
                self.stage("dev").backend_config.extend(config);
            }
        }
    }

    fn read_variables(&mut self, survey: &Survey, layer: &Layer) {
        let known: BTreeSet<String> = self.stages.iter().map(|stage| stage.name.clone()).collect();
        let mut patterns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in files_near(survey, layer) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.ends_with(".tfvars") || name.ends_with(".auto.tfvars") || name.contains("backend") {
                continue;
            }
            let parts: Vec<String> =
                path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            for (at, part) in parts.iter().enumerate() {
                let stem = part.strip_suffix(".tfvars").unwrap_or(part);
                let is_stage = known.contains(stem) || (is_environment(stem) && is_stage_name(stem));
                if is_stage && (at + 1 < parts.len() || part != stem) {
                    let mut pattern = parts.clone();
                    pattern[at] = part.replacen(stem, "{stage}", 1);
                    let pattern: PathBuf = pattern.iter().collect();
                    patterns
                        .entry(pattern.to_string_lossy().into_owned())
                        .or_default()
                        .insert(stem.to_owned());
                }
            }
        }
        // A file in the folder of an environment is read by Terraform itself.
        patterns
            .retain(|pattern, _| layer.environments.is_empty() || !pattern.ends_with("/terraform.tfvars"));
        let most = patterns.into_iter().max_by_key(|(_, stages)| stages.len());
        if let Some((pattern, stages)) = most {
            for stage in &stages {
                self.stage(stage);
            }
            self.own |= self.has_workspaces;
            self.var_files.insert(layer.name.clone(), pattern);
        }
    }
}

fn uses_workspaces(survey: &Survey) -> bool {
    let modules = survey.layers.iter().flat_map(Layer::modules).chain(&survey.others);
    modules.flat_map(|module| &module.files).any(|file| {
        file.text
            .lines()
            .any(|line| line.contains("terraform.workspace") && !line.trim_start().starts_with('#'))
    })
}

/// The workspaces of a local state, and the selected one.
fn workspaces(dir: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(dir.join("terraform.tfstate.d")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.extend(std::fs::read_to_string(dir.join(".terraform/environment")));
    names.retain(|name| is_stage_name(name.trim()) && name.trim() != "default");
    names.iter().map(|name| name.trim().to_owned()).collect()
}

/// Files in the layer's folder, in the project's folder, and up to two folders below; relative to the project.
fn files_near(survey: &Survey, layer: &Layer) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![(survey.root.clone(), 0)];
    waiting.extend(layer.modules().map(|module| (module.dir.clone(), 0)));
    while let Some((dir, depth)) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_skipped =
                name.starts_with('.') || matches!(name.as_str(), "node_modules" | "target" | "vendor");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < 2 && !is_skipped => {
                    waiting.push((entry.path(), depth + 1));
                }
                Ok(kind) if kind.is_file() && !is_skipped => {
                    let path = entry.path();
                    files.extend(path.strip_prefix(&survey.root).ok().map(Path::to_owned));
                }
                _ => {}
            }
        }
    }
    files
}

/// The files for `-backend-config`, with the stage that their name or folder contains.
fn backend_files(survey: &Survey, layer: &Layer) -> Vec<(Option<String>, PathBuf)> {
    let is_backend = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent =
            path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let is_settings = [".hcl", ".tfvars", ".conf", ".config"].iter().any(|ending| name.ends_with(ending));
        name.ends_with(".tfbackend")
            || (is_settings && (name.contains("backend") || parent.starts_with("backend")))
    };
    let found = files_near(survey, layer).into_iter().filter(is_backend);
    found.map(|path| (stage_of(&path), path)).collect()
}

fn stage_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let is_word = |word: &&str| {
        let other =
            ["backend", "s3", "tfbackend", "hcl", "tfvars", "conf", "config", "terraform", "state", ""];
        !other.contains(word)
    };
    let words: Vec<&str> = name.split(['.', '-', '_']).filter(is_word).collect();
    let name = words.join("-");
    let parent = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let parent = parent.filter(|parent| is_environment(parent));
    Some(name).filter(|name| !name.is_empty()).or(parent).filter(|name| is_stage_name(name))
}

/// The backend that `terraform init` was last run with, as values for `-backend-config`.
fn initialised(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join(".terraform/terraform.tfstate")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let config = state["backend"]["config"].as_object().into_iter().flatten();
    let secrets = ["access_key", "secret_key", "token", "password"];
    config
        .filter(|(name, _)| !secrets.contains(&name.as_str()))
        .filter_map(|(name, value)| match value {
            Value::String(text) if !text.is_empty() => Some(format!("{name}={text}")),
            Value::Bool(value) => Some(format!("{name}={value}")),
            _ => None,
        })
        .collect()
}

/// Whether an existing `deployctl.toml` keeps the project's own backends; `None` without a file.
fn own_of_file(root: &Path) -> Option<bool> {
    let text = std::fs::read_to_string(root.join(crate::project::settings::FILE)).ok()?;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("backend").and_then(toml::Value::as_str) == Some("own"))
}

/// The account that the provider allows, or the only one that ARNs name.
fn account(module: &Module) -> Option<String> {
    let mut accounts = BTreeSet::new();
    for file in &module.files {
        for (marker, _) in file.text.match_indices("::").chain(file.text.match_indices("allowed_account_ids"))
        {
            let rest = file.text.get(marker..).unwrap_or_default();
            let digits: String = rest
                .chars()
                .take(40)
                .skip_while(|c| !c.is_ascii_digit())
                .take_while(char::is_ascii_digit)
                .collect();
            if digits.len() == 12 {
                accounts.insert(digits);
            }
        }
    }
    accounts.pop_first().filter(|_| accounts.is_empty())
}

/// The region of the default provider, also through variables.
pub(crate) fn region(survey: &Survey, layer: &Layer, module: &Module) -> Option<String> {
    let tree = Tree::of(survey, module, &layer.installed);
    module.blocks("provider").find_map(|(_, block)| {
        let is_default = block.body.get_attribute("alias").is_none();
        let region = tree.value(0, &block.body.get_attribute("region")?.value)?;
        is_default.then_some(region)
    })
}

/// Names settings of backends and providers that work only on some machines, or that deployctl sets itself.
fn leftovers(layer: &Layer, advice: &mut Vec<Advice>) {
    for module in layer.modules() {
        let backends = module.blocks("terraform").flat_map(|(file, block)| {
            let backends = block.body.get_blocks("backend");
            backends.map(move |backend| {
                (Found { file, block: backend, kind: "backend", name: "" }, "its backend")
            })
        });
        let providers = module
            .blocks("provider")
            .map(|(file, block)| (Found { file, block, kind: "provider", name: "" }, "its provider"));
        for (found, place) in backends.chain(providers) {
            for (name, why) in LEFTOVERS {
                let value = found.attribute(name).map(|value| found.file.text_of(value).to_owned());
                let has_block = found.block.body.get_blocks(name).next().is_some();
                if value.is_none() && !has_block {
                    continue;
                }
                let value = value.map(|value| format!(" = {value}")).unwrap_or_default();
                let advice_line =
                    Advice::new(format!("layer {}: {place} sets {name}{value}: {why}", layer.name));
                if !advice.contains(&advice_line) {
                    advice.push(advice_line);
                }
            }
        }
    }
}

/// What works only in some places, and what follows.
const LEFTOVERS: [(&str, &str); 6] = [
    ("profile", "it wins over the credentials of the stage; remove it, and set `profile` in [stages.NAME]"),
    ("shared_credentials_files", "it wins over the credentials of the stage; remove it"),
    ("access_key", "it wins over the credentials of the stage; remove it, and secret_key"),
    ("role_arn", "it stays; the credentials of the stage must be allowed to assume that role"),
    ("assume_role", "it stays; the credentials of the stage must be allowed to assume that role"),
    ("endpoints", "deployctl sets the endpoints of a local stage; remove them"),
];
