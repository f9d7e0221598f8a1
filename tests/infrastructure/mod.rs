//! The example's Terraform, without and with a cloud.
//!
//! - `mock_providers`: each layer's own tests (`terraform/*/tests`), by `terraform test` with mocked providers.
//! - `source_rules`: what no plan can show: who owns which attribute, and that the documents name every variable.
//! - `refusals`: what API Gateway answers by itself, and the API's description.
//! - `checkov`: checkov, with every exception explained where it is made.
//! - `domain`: the `dns` layer on a real local stage, by deployctl.

mod checkov;
mod domain;
mod mock_providers;
mod refusals;
mod source_rules;

use std::path::{Path, PathBuf};

use hcl::structure::Body;

/// The layers of the example.
const LAYERS: [&str; 3] = ["base", "app", "dns"];

/// The folder of all layers.
fn terraform() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform")
}

/// A layer's folder.
fn folder(layer: &str) -> PathBuf {
    terraform().join(layer)
}

/// The files in a folder whose names end so, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "{} has no {ending}", folder.display());
    files
}

/// A file as HCL.
fn parsed(file: &Path) -> Body {
    let text = std::fs::read_to_string(file).unwrap();
    hcl::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
