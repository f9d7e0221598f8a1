//! Finds folders that are environments of one layer, such as `envs/dev` and `envs/prod`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::survey::{Environment, Layer, sanitized};
use crate::terraform::source::Module;

/// Folders whose paths differ in one name, which is the stage.
#[derive(Debug)]
pub(crate) struct Group {
    /// The path with `{stage}`, relative to the project.
    path: PathBuf,
    /// The folders by stage.
    members: BTreeMap<String, PathBuf>,
}

impl Group {
    pub(crate) fn contains(&self, dir: &Path) -> bool {
        self.members.values().any(|member| member == dir)
    }

    /// The layer of these folders.
    pub(crate) fn layer(self, modules: Vec<Module>) -> Option<Layer> {
        let mut modules: BTreeMap<PathBuf, Module> =
            modules.into_iter().map(|module| (module.dir.clone(), module)).collect();
        let mut stages = self.members.iter();
        let (first, dir) = stages.next()?;
        let name = match self.path.file_name().map(|name| name.to_string_lossy().into_owned()) {
            Some(name) if name != PLACE => sanitized(&name),
            _ => "app".to_owned(),
        };
        let mut layer = Layer::new(name, self.path.clone(), modules.remove(dir)?);
        layer.environments.push(Environment { stage: first.clone(), module: None });
        for (stage, dir) in stages {
            let module = modules.remove(dir);
            layer.environments.push(Environment { stage: stage.clone(), module });
        }
        Some(layer)
    }
}

const PLACE: &str = "{stage}";

/// Groups root modules that are the same code for several environments.
pub(crate) fn find(root: &Path, roots: &[&Module]) -> Vec<Group> {
    let mut by_path: BTreeMap<PathBuf, Vec<(String, &Module)>> = BTreeMap::new();
    for module in roots {
        let path = module.dir.strip_prefix(root).unwrap_or(&module.dir);
        let parts: Vec<String> =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        for (at, stage) in parts.iter().enumerate().filter(|(_, part)| is_stage_name(part)) {
            let mut parts = parts.clone();
            parts[at] = PLACE.to_owned();
            by_path.entry(parts.iter().collect()).or_default().push((stage.clone(), module));
        }
    }
    let mut candidates: Vec<_> = by_path.into_iter().filter(|(_, members)| are_same(members)).collect();
    candidates.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let mut groups: Vec<Group> = Vec::new();
    for (path, members) in candidates {
        if members.iter().any(|(_, module)| groups.iter().any(|group| group.contains(&module.dir))) {
            continue;
        }
        let members = members.into_iter().map(|(stage, module)| (stage, module.dir.clone())).collect();
        groups.push(Group { path, members });
    }
    groups
}

/// Whether several folders contain the same code: they call the same modules and create the same resources,
/// or they are named like environments and share a module.
fn are_same(members: &[(String, &Module)]) -> bool {
    let Some(((_, first), rest)) = members.split_first() else { return false };
    let shapes: Vec<_> = rest.iter().map(|(_, module)| shape(module)).collect();
    let (calls, resources) = shape(first);
    let is_equal = shapes.iter().all(|shape| *shape == (calls.clone(), resources.clone()));
    let share = shapes.iter().all(|(other, _)| !other.is_disjoint(&calls));
    let are_named = members.iter().all(|(name, _)| is_environment(name));
    let is_something = !calls.is_empty() || !resources.is_empty();
    !rest.is_empty()
        && ((is_equal && is_something && !calls.is_empty()) || (are_named && (share || is_equal)))
}

/// The folders of the modules that a module calls, and the addresses of its resources.
fn shape(module: &Module) -> (BTreeSet<PathBuf>, BTreeSet<String>) {
    let calls = module.calls().filter_map(|call| module.local_source(&call)).collect();
    let resources = module.blocks("resource").map(|(_, block)| {
        let labels: Vec<&str> = block.labels.iter().map(hcl_edit::structure::BlockLabel::as_str).collect();
        labels.join(".")
    });
    (calls, resources.collect())
}

/// Whether a name is used for environments.
pub(crate) fn is_environment(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "dev",
        "develop",
        "development",
        "test",
        "testing",
        "qa",
        "uat",
        "int",
        "integration",
        "stage",
        "staging",
        "stg",
        "preprod",
        "pre",
        "prod",
        "production",
        "prd",
        "sandbox",
        "demo",
        "live",
    ];
    name.split(['-', '_', '.']).any(|word| NAMES.contains(&word))
}

/// Whether deployctl accepts the name of a stage.
pub(crate) fn is_stage_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
