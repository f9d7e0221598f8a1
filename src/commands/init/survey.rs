//! Finds the folders that are layers, and the order in which they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hcl_edit::expr::{Expression, ObjectKey};
use tokio_util::sync::CancellationToken;

use super::environments;
use super::packages::Packages;
use crate::documents::init::{Advice, LayerFound};
use crate::terraform::source::{self, Found, Module, Step, literal};

#[derive(Debug)]
pub(crate) struct Survey {
    /// The project's folder, canonicalized.
    pub(crate) root: PathBuf,
    /// Each layer after those that it reads.
    pub(crate) layers: Vec<Layer>,
    /// Modules that are not layers.
    pub(crate) others: Vec<Module>,
    pub(super) packages: Packages,
    pub(crate) advice: Vec<Advice>,
}

/// A Terraform root module.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Its folder, relative to the project; with `{stage}` if each environment has a folder.
    pub(crate) path: PathBuf,
    pub(crate) module: Module,
    pub(crate) backend: Backend,
    /// The layers whose state it reads.
    pub(crate) reads: BTreeSet<String>,
    /// The folders of the environments; the first one is `module`. Empty for a layer with one folder.
    pub(crate) environments: Vec<Environment>,
    /// Modules that `terraform init` has downloaded.
    pub(crate) installed: Installed,
}

/// The folder of one environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The name of the folder, which is the name of the stage.
    pub(crate) stage: String,
    /// `None` for the first one, which is the layer's own module.
    pub(crate) module: Option<Module>,
}

/// The folders of downloaded modules, by their path of calls.
#[derive(Debug, Default)]
pub(crate) struct Installed(BTreeMap<String, PathBuf>);

impl Installed {
    /// Reads `.terraform/modules/modules.json`.
    fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join(".terraform/modules/modules.json")).unwrap_or_default();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let modules = manifest["Modules"].as_array().into_iter().flatten();
        Self(
            modules
                .filter_map(|entry| {
                    let folder = dir.join(entry["Dir"].as_str()?).canonicalize().ok()?;
                    Some((entry["Key"].as_str()?.to_owned(), folder))
                })
                .collect(),
        )
    }

    /// The folder of a called module; `key` is its path of calls, such as `route.function`.
    pub(crate) fn source(&self, module: &Module, call: &Found<'_>, key: &str) -> Option<PathBuf> {
        module.local_source(call).or_else(|| self.0.get(key).cloned())
    }
}

/// Where a layer's state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// `key` is `None` if the source does not contain a literal.
    S3 {
        bucket: Option<String>,
        key: Option<String>,
    },
    Local,
    Other(String),
}

impl Survey {
    pub(crate) async fn of(root: &Path, cancel: &CancellationToken) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let packages = Packages::find(&root, cancel).await;
        let mut advice = Vec::new();
        let modules = source::find(&root);
        for (path, why) in modules.iter().flat_map(|module| &module.unreadable) {
            let path = path.strip_prefix(&root).unwrap_or(path);
            advice.push(Advice::new(format!("failed to read {}: {why}", path.display())));
        }
        let called: BTreeSet<PathBuf> = modules
            .iter()
            .flat_map(|module| {
                module.calls().filter_map(|call| module.local_source(&call)).collect::<Vec<_>>()
            })
            .collect();
        let candidates = modules.iter().filter(|module| !called.contains(&module.dir) && is_root(module));
        let environments = environments::find(&root, &candidates.collect::<Vec<_>>());
        let is_environment = |dir: &Path| environments.iter().any(|group| group.contains(dir));
        let (roots, others): (Vec<Module>, Vec<Module>) = modules.into_iter().partition(|module| {
            let is_deployed = is_environment(&module.dir) || !is_sample(&root, &module.dir);
            !called.contains(&module.dir) && is_root(module) && is_deployed
        });
        let (roots, others) = if roots.is_empty() {
            // Without provider blocks: providers can be configured by the environment.
            others.into_iter().partition(|module| {
                !called.contains(&module.dir)
                    && module.blocks("resource").next().is_some()
                    && !is_sample(&root, &module.dir)
            })
        } else {
            (roots, others)
        };
        let mut survey = Self { root, layers: Vec::new(), others, packages, advice };
        survey.name(roots, environments);
        survey.follow();
        survey.order();
        survey
    }

    /// Reads the modules outside the project, and those that `terraform init` has downloaded.
    fn follow(&mut self) {
        let mut waiting: Vec<PathBuf> = Vec::new();
        for layer in &self.layers {
            waiting.extend(layer.installed.0.values().cloned());
        }
        let of = |module: &Module| -> Vec<PathBuf> {
            module.calls().filter_map(|call| module.local_source(&call)).collect()
        };
        let layers = self.layers.iter().flat_map(Layer::modules);
        waiting.extend(layers.chain(&self.others).flat_map(of));
        while let Some(dir) = waiting.pop() {
            if self.module(&dir).is_none() {
                let module = Module::read(&dir);
                waiting.extend(of(&module));
                self.others.push(module);
            }
        }
    }

    fn name(&mut self, mut roots: Vec<Module>, groups: Vec<environments::Group>) {
        for group in groups {
            let (members, rest) = roots.into_iter().partition(|module| group.contains(&module.dir));
            roots = rest;
            self.layers.extend(group.layer(members));
        }
        let known = known_names(&self.root);
        for module in roots {
            let path = module.dir.strip_prefix(&self.root).unwrap_or(&module.dir).to_owned();
            if let Some(name) = known.get(&module.dir) {
                self.layers.push(Layer::new(name.clone(), path, module));
                continue;
            }
            let mut names =
                path.components().rev().map(|part| sanitized(&part.as_os_str().to_string_lossy()));
            // The project's folder is the only layer.
            let mut name = names.next().unwrap_or_else(|| "app".to_owned());
            while self.layers.iter().any(|layer| layer.name == name) {
                name = match names.next() {
                    Some(parent) => format!("{parent}-{name}"),
                    None => format!("{name}-2"),
                };
            }
            self.layers.push(Layer::new(name, path, module));
        }
    }

    /// Finds which layers each layer reads, and sorts the layers; those of a cycle come last.
    fn order(&mut self) {
        let mut reads: Vec<BTreeSet<String>> = Vec::new();
        for layer in &self.layers {
            let mut names = BTreeSet::new();
            for data in layer.module.data("terraform_remote_state") {
                match self.remote(layer, &data) {
                    Some(other) => drop(names.insert(other.name.clone())),
                    None => self.advice.push(Advice::new(format!(
                        "layer {}: data.terraform_remote_state.{} reads a state that belongs to none of \
                         the layers; if a layer creates it, name that layer in depends_on",
                        layer.name, data.name
                    ))),
                }
            }
            reads.push(names);
        }
        for (layer, names) in self.layers.iter_mut().zip(reads) {
            layer.reads = names;
        }
        let mut sorted: Vec<Layer> = Vec::new();
        let mut waiting = std::mem::take(&mut self.layers);
        while !waiting.is_empty() {
            let known: BTreeSet<String> = sorted.iter().map(|layer| layer.name.clone()).collect();
            let next = waiting.iter().position(|layer| layer.reads.is_subset(&known)).unwrap_or(0);
            sorted.push(waiting.remove(next));
        }
        self.layers = sorted;
    }

    /// The layer whose state `data` reads.
    pub(crate) fn remote(&self, reader: &Layer, data: &Found<'_>) -> Option<&Layer> {
        let config = data.attribute("config")?;
        let place = ["key", "path"].iter().find_map(|name| object_value(config, name));
        let others = || self.layers.iter().filter(|layer| layer.name != reader.name);
        if let Some(place) = place {
            if let Some(key) = literal(place) {
                let has_key = |layer: &&Layer| matches!(&layer.backend, Backend::S3 { key: Some(its), .. } if its == key);
                if let Some(layer) = others().find(has_key) {
                    return Some(layer);
                }
                // `../base/terraform.tfstate`
                let folder = reader.module.dir.join(key);
                let folder = folder.parent().and_then(|folder| folder.canonicalize().ok());
                if let Some(layer) = others().find(|layer| Some(&layer.module.dir) == folder.as_ref()) {
                    return Some(layer);
                }
            }
            let words: Vec<&str> = data.file.text_of(place).split(['/', '"', '.', '$', '{', '}']).collect();
            if let Some(layer) = others().find(|layer| words.contains(&layer.name.as_str())) {
                return Some(layer);
            }
        }
        others().find(|layer| layer.name == data.name)
    }

    pub(crate) fn module(&self, dir: &Path) -> Option<&Module> {
        let layers = self.layers.iter().flat_map(Layer::modules);
        self.others.iter().chain(layers).find(|module| module.dir == dir)
    }

    /// Folders of the project with resources that are neither a layer nor called.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &Path> {
        let modules = self.others.iter().chain(self.layers.iter().flat_map(Layer::modules));
        let called: BTreeSet<PathBuf> = modules
            .flat_map(|module| {
                module.calls().filter_map(|call| module.local_source(&call)).collect::<Vec<_>>()
            })
            .collect();
        self.others.iter().filter_map(move |module| {
            let path = module.dir.strip_prefix(&self.root).ok()?;
            let is_hidden = path.components().any(|part| part.as_os_str() == ".terraform");
            let has_resources = module.blocks("resource").next().is_some();
            let is_left_out = is_sample(&self.root, &module.dir) || is_hidden || called.contains(&module.dir);
            (has_resources && !is_left_out).then_some(path)
        })
    }

    pub(crate) fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}

impl Layer {
    pub(crate) fn new(name: String, path: PathBuf, module: Module) -> Self {
        let (backend, installed) = (backend(&module), Installed::read(&module.dir));
        let (reads, environments) = (BTreeSet::new(), Vec::new());
        Self { name, path, module, backend, reads, environments, installed }
    }

    /// Its folders: one, or one for each environment.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &Module> {
        let others = self.environments.iter().filter_map(|environment| environment.module.as_ref());
        std::iter::once(&self.module).chain(others)
    }

    /// The stages that have a folder of their own, and the folders.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.environments.iter().map(|environment| {
            (environment.stage.as_str(), environment.module.as_ref().unwrap_or(&self.module))
        })
    }

    pub(crate) fn found(&self) -> LayerFound {
        LayerFound {
            name: self.name.clone(),
            path: self.path.clone(),
            depends_on: self.reads.iter().cloned().collect(),
            new: false,
        }
    }
}

/// The value of a key of an object.
pub(crate) fn object_value<'a>(object: &'a Expression, name: &str) -> Option<&'a Expression> {
    let Expression::Object(object) = object else { return None };
    let named = |key: &ObjectKey| match key {
        ObjectKey::Ident(key) => key.as_str() == name,
        ObjectKey::Expression(Expression::String(key)) => key.as_str() == name,
        ObjectKey::Expression(Expression::Variable(key)) => key.as_str() == name,
        ObjectKey::Expression(_) => false,
    };
    object.iter().find_map(|(key, value)| named(key).then(|| value.expr()))
}

/// The name of the remote state that `steps` read an output of, and the output.
pub(crate) fn remote_output<'a>(steps: &[Step<'a>]) -> Option<(&'a str, &'a str)> {
    match steps {
        [
            Step::Attribute("data"),
            Step::Attribute("terraform_remote_state"),
            Step::Attribute(data),
            Step::Attribute("outputs"),
            Step::Attribute(output),
            ..,
        ] => Some((data, output)),
        _ => None,
    }
}

fn is_root(module: &Module) -> bool {
    let settings = module.blocks("terraform").flat_map(|(_, block)| block.body.blocks());
    let has_backend =
        settings.map(|block| block.ident.as_str()).any(|name| name == "backend" || name == "cloud");
    has_backend || module.blocks("provider").next().is_some()
}

/// Samples and tests of a module are root modules, but are not deployed.
fn is_sample(root: &Path, dir: &Path) -> bool {
    let below = dir.strip_prefix(root).unwrap_or(dir);
    below.components().any(|part| {
        matches!(&*part.as_os_str().to_string_lossy(), "examples" | "example" | "tests" | "test" | "modules")
    })
}

pub(crate) fn backend(module: &Module) -> Backend {
    let Some(backend) = module.backend() else { return Backend::Local };
    let text = |name: &str| Some(literal(&backend.body.get_attribute(name)?.value)?.to_owned());
    match backend.labels.first().map_or("cloud", |label| label.as_str()) {
        "s3" => Backend::S3 { bucket: text("bucket"), key: text("key") },
        "local" => Backend::Local,
        other => Backend::Other(other.to_owned()),
    }
}

/// The names of layers in an existing `deployctl.toml`.
fn known_names(root: &Path) -> BTreeMap<PathBuf, String> {
    let text = std::fs::read_to_string(root.join(crate::project::settings::FILE)).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return BTreeMap::new() };
    let layers = table.get("layers").and_then(toml::Value::as_table);
    let of = |(name, layer): (&String, &toml::Value)| {
        let path = layer.get("path").and_then(toml::Value::as_str);
        let path = path.map_or_else(|| Path::new("terraform").join(name), PathBuf::from);
        Some((root.join(path).canonicalize().ok()?, name.clone()))
    };
    layers.into_iter().flatten().filter_map(of).collect()
}

/// `name` as a valid name of a layer.
pub(crate) fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}
