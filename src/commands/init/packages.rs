//! Finds the cargo packages that are Lambda functions.

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
    /// The workspace's manifest and its text, if it has no profile for Lambda.
    pub(crate) without_profile: Option<(PathBuf, String)>,
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
    /// Reads the packages of the workspace in `root` with `cargo metadata`.
    pub(crate) async fn find(root: &Path, cancel: &CancellationToken) -> Self {
        let mut packages = Self::default();
        let manifest = root.join("Cargo.toml");
        if !manifest.is_file() {
            packages.advise_on_nested_projects(root);
            return packages;
        }
        let output = Command::new("cargo", "ask cargo for the packages")
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .dir(root)
            .output(cancel)
            .await;
        let metadata = output.map_err(|error| error.to_string());
        let metadata = metadata
            .and_then(|text| serde_json::from_str::<Metadata>(&text).map_err(|error| error.to_string()));
        match metadata {
            Ok(metadata) => packages.add(root, metadata),
            Err(why) => packages.advice.push(
                Advice::new(format!("failed to list the project's cargo packages: {why}"))
                    .write("[artifacts.NAME]\npackage = \"NAME\"\nkey = \"NAME/NAME-{version}.zip\""),
            ),
        }
        packages
    }

    fn add(&mut self, root: &Path, metadata: Metadata) {
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
            self.lambdas.push(Package { name: package.name, path });
        }
        self.lambdas.sort_by(|a, b| a.name.cmp(&b.name));
        if self.lambdas.is_empty() {
            return;
        }
        let manifest = metadata.workspace_root.join("Cargo.toml");
        if let Ok(text) = std::fs::read_to_string(&manifest)
            && !has_profile(&text)
        {
            self.without_profile = Some((manifest, text));
        }
        if !metadata.workspace_root.join("Cargo.lock").is_file() {
            self.advice.push(
                Advice::new("Cargo.lock is missing, and artifacts are built from locked dependencies")
                    .write("cargo generate-lockfile && git add Cargo.lock"),
            );
        }
    }

    /// deployctl builds only in the folder of `deployctl.toml`.
    fn advise_on_nested_projects(&mut self, root: &Path) {
        let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in below.filter(|path| path.join("Cargo.toml").is_file()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.advice.push(
                Advice::new(format!(
                    "there is a cargo project in {name}/, but deployctl builds in the folder of \
                     deployctl.toml: create a workspace there, or name existing files with `path`"
                ))
                .write(format!(
                    "# Cargo.toml\n[workspace]\nmembers = [\"{name}\"]\nresolver = \"3\"\n\n{PROFILE_LINES}"
                )),
            );
        }
    }
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
