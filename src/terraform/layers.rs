//! Layers: Terraform root modules, and the order in which they are applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::failure::{Failure, Reason};

/// A Terraform root module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Letters, digits, `-` and `_`. Part of the key of the state and of the path of the data folder.
    pub name: String,
    /// The folder with its `.tf` or `.tofu` files.
    pub dir: PathBuf,
    /// Files with values of variables, in this order; absolute, or relative to the folder. A later value replaces an
    /// earlier one.
    pub var_files: Vec<PathBuf>,
    /// The names of the layers that are applied before it.
    pub depends_on: Vec<String>,
}

impl Layer {
    /// Checks the name and the folder.
    ///
    /// # Errors
    /// [`Reason::BadLayerName`], and [`Reason::BadFolder`] for a folder without configuration.
    pub fn check(&self) -> Result<(), Failure> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(is_allowed) {
            return Err(Failure::new(Reason::BadLayerName(self.name.clone())));
        }
        let has_configuration = std::fs::read_dir(&self.dir).is_ok_and(|entries| {
            entries.flatten().any(|entry| is_configuration(&entry.file_name().to_string_lossy()))
        });
        if has_configuration {
            return Ok(());
        }
        Err(Failure { layer: Some(self.name.clone()), ..Failure::new(Reason::BadFolder(self.dir.clone())) })
    }
}

/// Whether Terraform or OpenTofu reads a file of this name.
pub(super) fn is_configuration(file_name: &str) -> bool {
    const ENDINGS: [&str; 4] = [".tf", ".tf.json", ".tofu", ".tofu.json"];
    ENDINGS.iter().any(|ending| file_name.ends_with(ending)) && !file_name.starts_with('.')
}

/// The layers in waves: each wave depends on earlier waves only, so its layers can be applied at once.
/// Destroy them in reverse order.
///
/// # Errors
/// [`Reason::UnknownLayer`], [`Reason::LayerCycle`], [`Reason::BadLayerName`] and [`Reason::BadFolder`].
pub fn waves(layers: &[Layer]) -> Result<Vec<Vec<&Layer>>, Failure> {
    let mut waiting: BTreeMap<&str, &Layer> = BTreeMap::new();
    for layer in layers {
        layer.check()?;
        if waiting.insert(&layer.name, layer).is_some() {
            return Err(Failure::new(Reason::BadLayerName(layer.name.clone())));
        }
    }
    let unknown =
        layers.iter().flat_map(|layer| &layer.depends_on).find(|name| !waiting.contains_key(name.as_str()));
    if let Some(name) = unknown {
        return Err(Failure::new(Reason::UnknownLayer(name.clone())));
    }
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let is_ready =
            |layer: &&&Layer| !layer.depends_on.iter().any(|name| waiting.contains_key(name.as_str()));
        let wave: Vec<&Layer> = waiting.values().filter(is_ready).copied().collect();
        if wave.is_empty() {
            let names = waiting.keys().map(|name| (*name).to_owned()).collect();
            return Err(Failure::new(Reason::LayerCycle(names)));
        }
        for layer in &wave {
            waiting.remove(layer.name.as_str());
        }
        waves.push(wave);
    }
    Ok(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(dependencies: &[(&str, &[&str])]) -> (tempfile::TempDir, Vec<Layer>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("main.tf"), "").unwrap();
        let layer = |(name, depends_on): &(&str, &[&str])| Layer {
            name: (*name).into(),
            dir: dir.path().into(),
            var_files: Vec::new(),
            depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        };
        let layers = dependencies.iter().map(layer).collect();
        (dir, layers)
    }

    fn refused(dependencies: &[(&str, &[&str])]) -> Reason {
        let (_dir, layers) = layers(dependencies);
        *waves(&layers).unwrap_err().reason
    }

    #[test]
    fn a_wave_depends_on_earlier_ones_only() {
        let (_dir, layers) =
            layers(&[("app", &["base"]), ("base", &[]), ("dns", &["app"]), ("logs", &["base"])]);
        let waves = waves(&layers).unwrap();
        let names: Vec<Vec<&str>> =
            waves.iter().map(|wave| wave.iter().map(|l| l.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["base"], vec!["app", "logs"], vec!["dns"]]);
    }

    #[test]
    fn layers_without_an_order_are_refused() {
        assert!(
            matches!(refused(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]), Reason::LayerCycle(names) if names == ["a", "b"])
        );
        assert!(matches!(refused(&[("a", &["a"])]), Reason::LayerCycle(_)));
        assert!(matches!(refused(&[("a", &["missing"])]), Reason::UnknownLayer(name) if name == "missing"));
        assert!(matches!(refused(&[("a", &[]), ("a", &[])]), Reason::BadLayerName(_)));
        assert!(matches!(refused(&[("../a", &[])]), Reason::BadLayerName(_)));
    }

    #[test]
    fn a_folder_without_configuration_is_refused() {
        let (dir, layers) = layers(&[("base", &[])]);
        std::fs::rename(dir.path().join("main.tf"), dir.path().join("main.txt")).unwrap();
        assert!(matches!(*waves(&layers).unwrap_err().reason, Reason::BadFolder(_)));
        std::fs::write(dir.path().join("main.tofu"), "").unwrap();
        assert!(waves(&layers).is_ok());
    }
}
