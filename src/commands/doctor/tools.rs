//! Checks the programs that a release runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::artifact::build::{self, BuildRequest};
use crate::artifact::python_tools::{self, PythonTools};
use crate::artifact::{Architecture, Glibc, Origin};
use crate::documents::doctor::{Finding, Severity};
use crate::error::Error;
use crate::local;
use crate::platform::process::Command;
use crate::platform::variables;
use crate::project::driver::LOCKFILE;
use crate::project::settings::Settings;
use crate::terraform::Terraform;
use crate::terraform::version::{Flavour, Version};

/// Terraform calls `use_lockfile` stable from here on.
const STABLE: Version = Version::new(1, 11, 0);

pub(crate) async fn check(settings: &Settings, cancel: &CancellationToken) -> Vec<Finding> {
    let builds = settings.compiles();
    let needs_python = builds || settings.stage.local.is_some();
    let (terraform, cargo, python) = futures::join!(
        terraform(cancel),
        async { if builds { cargo(settings, cancel).await } else { Vec::new() } },
        async { if needs_python { python(settings, builds, cancel).await } else { Vec::new() } },
    );
    let mut findings = vec![terraform];
    findings.extend(cargo);
    findings.extend(python);
    if settings.stage.local.is_some() {
        if let Err(error) = local::require_supported(std::env::consts::OS, std::env::consts::ARCH) {
            findings.push(Finding::of("tools-local_stage", Severity::Problem, &error.into()));
        }
        findings.push(redis(local::redis_on_path().as_deref()));
    }
    findings
}

async fn terraform(cancel: &CancellationToken) -> Finding {
    const CHECK: &str = "tools-terraform";
    let program =
        std::env::var_os(variables::TERRAFORM).map_or_else(|| PathBuf::from("terraform"), PathBuf::from);
    // The version is cached in a temporary folder, because doctor must not write into the project.
    let Ok(folder) = tempfile::tempdir() else {
        return Finding::unchecked(CHECK, "failed to create a temporary folder");
    };
    let found = Terraform::locate(&program, folder.path(), cancel).await;
    let found = found.and_then(|terraform| terraform.require(LOCKFILE).map(|()| terraform));
    match found {
        Ok(terraform) => {
            let text =
                format!("{} {} ({})", terraform.flavour, terraform.version, terraform.program.display());
            if terraform.flavour == Flavour::Terraform && terraform.version < STABLE {
                return Finding::warning(
                    CHECK,
                    format!("{text}: locking the state in S3 is experimental in this version"),
                    "install Terraform 1.11 or later, or OpenTofu 1.10 or later",
                );
            }
            Finding::ok(CHECK, text)
        }
        Err(failure) => Finding::of(CHECK, Severity::Problem, &Error::from(failure)),
    }
}

async fn cargo(settings: &Settings, cancel: &CancellationToken) -> Vec<Finding> {
    const CHECK: &str = "tools-cargo";
    let ask = Command::new("cargo", "ask for cargo's version").arg("--version").dir(&settings.root);
    let mut findings = match ask.output(cancel).await {
        Ok(text) => vec![Finding::ok(CHECK, text.trim())],
        Err(error) => {
            let remedy = "install Rust (https://rustup.rs), or name finished zips with `path` in [artifacts]: deployctl \
                 builds only Rust";
            return vec![Finding::problem(CHECK, error.to_string(), remedy)];
        }
    };
    let built = settings.artifacts.iter().filter_map(|artifact| match &artifact.recipe.origin {
        Origin::Package { workspace, .. } => {
            let folder = if workspace.as_os_str().is_empty() {
                settings.root.clone()
            } else {
                settings.root.join(workspace)
            };
            Some((folder, artifact.recipe.architecture))
        }
        Origin::Path(_) | Origin::Image(_) => None,
    });
    let built: BTreeSet<(PathBuf, Architecture)> = built.collect();
    for (workspace_dir, architecture) in built.clone() {
        let request = BuildRequest {
            workspace_dir,
            packages: Vec::new(),
            architecture,
            glibc: Glibc::AL2023,
            profile: build::PROFILE.to_owned(),
        };
        findings.push(match build::sysroot_with_target(&request, cancel).await {
            Ok(_) => Finding::ok("tools-rust_target", architecture.target()),
            Err(error) => Finding::of("tools-rust_target", Severity::Problem, &error.into()),
        });
    }
    let workspaces: BTreeSet<PathBuf> = built.into_iter().map(|(workspace, _)| workspace).collect();
    for workspace in workspaces {
        findings.push(match build::has_profile(&workspace, build::PROFILE) {
            Ok(()) => Finding::ok("project-profile", "Cargo.toml has the profile for Lambda binaries"),
            Err(error) => Finding::of("project-profile", Severity::Problem, &error.into()),
        });
        if !workspace.ancestors().any(|folder| folder.join("Cargo.lock").is_file()) {
            findings.push(Finding::problem(
                "project-cargo_lock",
                "Cargo.lock is missing, and artifacts are built from locked dependencies",
                "cargo generate-lockfile",
            ));
        }
    }
    findings
}

async fn python(settings: &Settings, builds: bool, cancel: &CancellationToken) -> Vec<Finding> {
    let toolbox = match PythonTools::from_env() {
        Ok(toolbox) => toolbox,
        Err(error) => return vec![Finding::of("tools-cache", Severity::Problem, &error.into())],
    };
    let mut sets = Vec::new();
    if builds {
        sets.push(build::TOOLS);
    }
    if settings.stage.local.is_some() {
        sets.push(local::PACKAGES);
        if local::redis_on_path().is_none() {
            sets.push(local::VALKEY);
        }
    }
    let mut findings = match python_tools::python(cancel).await {
        Ok((path, version)) => {
            vec![Finding::ok("tools-python", format!("Python {version} ({})", path.display()))]
        }
        // Installed tools do not need another Python.
        Err(error) if sets.iter().all(|set| toolbox.has(*set)) => {
            vec![Finding::of("tools-python", Severity::Warning, &error.into())]
        }
        Err(error) => vec![Finding::of("tools-python", Severity::Problem, &error.into())],
    };
    findings.extend(sets.into_iter().map(|set| {
        let installed =
            if toolbox.has(set) { "is installed" } else { "will be installed from PyPI at its first use" };
        Finding::ok("tools-toolbox", format!("{} {installed}", set.name))
    }));
    findings
}

fn redis(found: Option<&Path>) -> Finding {
    let text = found.map_or_else(
        || "redis-server is not on PATH: a local stage with ElastiCache uses Valkey from PyPI".to_owned(),
        |path| format!("redis-server ({})", path.display()),
    );
    Finding::ok("tools-redis", text)
}
