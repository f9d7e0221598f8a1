//! Finds the cargo packages that are Lambda functions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::artifact::build::PROFILE;
use crate::documents::init::{Advice, Package};
use crate::platform::process::Command;

#[derive(Debug, Default)]
pub(crate) struct Packages {
    pub(crate) lambdas: Vec<Package>,
    pub(crate) advice: Vec<Advice>,
    /// The manifests of workspaces without a profile for Lambda, and their texts.
    pub(crate) without_profile: Vec<(PathBuf, String)>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetaPackage>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct MetaPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A package that depends on one of these is a Lambda function.
const RUNTIMES: [&str; 3] = ["lambda_runtime", "lambda_http", "lambda-extension"];

impl Packages {
    /// Reads the packages of the workspaces in `root` and below it with `cargo metadata`.
    pub(crate) async fn find(root: &Path, cancel: &CancellationToken) -> Self {
        let mut packages = Self::default();
        let mut workspaces = BTreeSet::new();
        for folder in cargo_folders(root) {
            match metadata(&folder, cancel).await {
                Ok(metadata) if workspaces.insert(metadata.workspace_root.clone()) => {
                    packages.add(root, metadata);
                }
                Ok(_) => {}
                Err(why) => packages.advice.push(
                    Advice::new(format!("failed to list the cargo packages in {}: {why}", folder.display()))
                        .write("[artifacts.NAME]\npackage = \"NAME\"\nkey = \"NAME/NAME-{version}.zip\""),
                ),
            }
        }
        packages
    }

    fn add(&mut self, root: &Path, metadata: Metadata) {
        let mut has_lambdas = false;
        for package in metadata.packages {
            let has_runtime = package
                .dependencies
                .iter()
                .any(|dependency| dependency.kind.is_none() && RUNTIMES.contains(&dependency.name.as_str()));
            let mut binaries =
                package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bin"));
            let bootstrap = binaries.clone().find(|target| target.name.ends_with("bootstrap"));
            if !has_runtime && bootstrap.is_none() {
                continue;
            }
            if !binaries.any(|target| target.name == package.name) {
                let found = bootstrap.map_or("none", |target| target.name.as_str()).to_owned();
                self.advice.push(
                    Advice::new(format!(
                        "package {} has no binary of its own name (it has {found}): deployctl builds the \
                         binary called {} and puts it into the zip as `bootstrap`",
                        package.name, package.name
                    ))
                    .write(format!(
                        "# {}\n[[bin]]\nname = \"{}\"\npath = \"src/main.rs\"",
                        package.manifest_path.display(),
                        package.name
                    )),
                );
            }
            let folder = package.manifest_path.parent().unwrap_or(root);
            let path = folder.strip_prefix(root).unwrap_or(folder).to_owned();
            let workspace = &metadata.workspace_root;
            let workspace = workspace.strip_prefix(root).unwrap_or(workspace).to_owned();
            self.lambdas.push(Package { name: package.name, path, workspace });
            has_lambdas = true;
        }
        self.lambdas.sort_by(|a, b| a.name.cmp(&b.name));
        if !has_lambdas {
            return;
        }
        let manifest = metadata.workspace_root.join("Cargo.toml");
        if let Ok(text) = std::fs::read_to_string(&manifest)
            && !has_profile(&text)
        {
            self.without_profile.push((manifest, text));
        }
        if !metadata.workspace_root.join("Cargo.lock").is_file() {
            self.advice.push(
                Advice::new("Cargo.lock is missing, and artifacts are built from locked dependencies")
                    .write("cargo generate-lockfile && git add Cargo.lock"),
            );
        }
    }
}

async fn metadata(folder: &Path, cancel: &CancellationToken) -> Result<Metadata, String> {
    let output = Command::new("cargo", "ask cargo for the packages")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .dir(folder)
        .output(cancel)
        .await;
    let text = output.map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The project's folder if it has a manifest; otherwise the first folders below it that have one.
fn cargo_folders(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        if folder.join("Cargo.toml").is_file() {
            found.push(folder);
            continue;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_skipped =
                name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules" | "vendor");
            if depth < 3 && !is_skipped && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    found
}

fn has_profile(manifest: &str) -> bool {
    let table = manifest.parse::<toml::Table>().ok();
    table.is_some_and(|table| table.get("profile").and_then(|all| all.get(PROFILE)).is_some())
}

/// The profile that Lambda binaries are built with.
pub(crate) const PROFILE_LINES: &str = "\
# Lambda binaries: small, for a short cold start.
[profile.lambda]
inherits = \"release\"
opt-level = \"s\"
lto = \"fat\"
codegen-units = 1
strip = true
";
