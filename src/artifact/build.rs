//! Builds cargo packages for Lambda: one cargo process for all packages of an architecture, linked by Zig
//! against the glibc of the runtime.
//!
//! The hash of an artifact must change only with its source. So paths of the machine are remapped, and
//! `RUSTFLAGS` is removed (a `-C target-cpu=native` would also crash on Lambda). Flags belong in the profile
//! of the workspace.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::elf::{Architecture, Glibc};
use super::error::ArtifactError;
use super::units::Units;
use crate::artifact::python_tools::{PythonTools, Requirements, Venv};
use crate::event::{Event, Events};
use crate::platform::process::{Command, Stream};

pub(crate) const TOOLS: Requirements =
    Requirements { name: "zigbuild", text: include_str!("requirements.txt") };

/// The cargo profile of Lambda binaries.
pub(crate) const PROFILE: &str = "lambda";

/// The cargo profile of a local stage, where a change should be seen soon.
pub(crate) const QUICK_PROFILE: &str = "lambda-dev";

/// Profiles that every workspace has.
const BUILT_IN: [&str; 2] = ["dev", "release"];

/// What cargo gets as `--config` where the project does not define [`QUICK_PROFILE`].
const QUICK_SETTINGS: [&str; 6] = [
    "inherits = \"release\"",
    "opt-level = 0",
    "lto = \"off\"",
    "codegen-units = 16",
    "strip = true",
    "incremental = true",
];

#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    /// The folder of the workspace's `Cargo.toml` and `Cargo.lock`.
    pub(crate) workspace_dir: PathBuf,
    /// The packages, each with a binary of its own name.
    pub(crate) packages: Vec<String>,
    pub(crate) architecture: Architecture,
    /// The glibc of the Lambda runtime.
    pub(crate) glibc: Glibc,
    pub(crate) profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) package: String,
    pub(crate) binary: PathBuf,
}

pub(crate) async fn build(
    request: &BuildRequest,
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Vec<Built>, ArtifactError> {
    if request.workspace_dir.to_str().is_none() {
        return Err(ArtifactError::NotUtf8 { path: request.workspace_dir.clone() });
    }
    let quick = match has_profile(&request.workspace_dir, &request.profile) {
        Err(ArtifactError::NoProfile { .. }) if request.profile == QUICK_PROFILE => &QUICK_SETTINGS[..],
        found => found.map(|()| &[][..])?,
    };
    let sysroot = sysroot_with_target(request, cancel).await?;
    let venv = tools.venv(TOOLS, events, cancel).await?;
    let quick = quick
        .iter()
        .flat_map(|setting| ["--config".to_owned(), format!("profile.{QUICK_PROFILE}.{setting}")]);
    let command = command(request, &venv, tools, &MachinePaths::of(request, sysroot)).args(quick);
    let mut binaries: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut units = Units::default();
    let exit = command
        .run(cancel, |stream, line| {
            if let Some((name, path)) = executable(stream, line) {
                binaries.insert(name, path);
            }
            for line in units.read(stream, line) {
                events.emit(&Event::ProgramLine { program: "cargo", line });
            }
            units.emit(events);
        })
        .await?;
    command.success(exit)?;
    let built = |package: &String| match binaries.remove(package) {
        Some(binary) => Ok(Built { package: package.clone(), binary }),
        None => Err(ArtifactError::NoBinary { package: package.clone() }),
    };
    request.packages.iter().map(built).collect()
}

/// The paths that the compiler would write into a binary.
#[derive(Debug)]
struct MachinePaths {
    home: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
    sysroot: PathBuf,
    workspace: PathBuf,
    target_dir: Option<PathBuf>,
}

impl MachinePaths {
    fn of(request: &BuildRequest, sysroot: PathBuf) -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = var("HOME");
        Self {
            cargo_home: var("CARGO_HOME").or_else(|| Some(home.as_ref()?.join(".cargo"))),
            home,
            sysroot,
            // cargo passes real paths to the compiler.
            workspace: std::fs::canonicalize(&request.workspace_dir)
                .unwrap_or_else(|_| request.workspace_dir.clone()),
            target_dir: var("CARGO_TARGET_DIR"),
        }
    }

    /// The compiler uses the last mapping that matches, so longer paths come later.
    fn rustflags(&self) -> OsString {
        let mappings = [
            (self.home.as_deref(), "/home"),
            (self.cargo_home.as_deref(), "/cargo"),
            (Some(self.sysroot.as_path()), "/rustc"),
            (Some(self.workspace.as_path()), "/workspace"),
            (self.target_dir.as_deref(), "/workspace/target"),
        ];
        let mut flags = OsString::new();
        for (from, to) in mappings {
            // A home of `/` would match every path.
            let Some(from) = from.filter(|path| path.is_absolute() && path.parent().is_some()) else {
                continue;
            };
            if !flags.is_empty() {
                flags.push("\u{1f}");
            }
            flags.push("--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        flags
    }
}

fn command(request: &BuildRequest, venv: &Venv, tools: &PythonTools, paths: &MachinePaths) -> Command {
    let target = format!("{}.{}", request.architecture.target(), request.glibc);
    let mut command = Command::new(venv.program("cargo-zigbuild"), "build the artifacts")
        .args(["zigbuild", "--locked", "--profile", &request.profile, "--target", &target])
        .args(["--message-format", "json-render-diagnostics"])
        .args(request.packages.iter().flat_map(|package| ["-p", package]))
        .args(request.packages.iter().flat_map(|package| ["--bin", package]))
        .dir(&request.workspace_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", paths.rustflags())
        .env_remove("RUSTFLAGS")
        // Only the progress bar contains the number of units.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", "never")
        .env("SOURCE_DATE_EPOCH", "0")
        // All caches are in one folder that the user may delete.
        .env("CARGO_ZIGBUILD_CACHE_DIR", tools.cache("zigbuild"))
        .env("ZIG_GLOBAL_CACHE_DIR", tools.cache("zig"))
        // The virtual environment is not activated: cargo-zigbuild would prefer another Zig on PATH.
        .env("CARGO_ZIGBUILD_PYTHON_PATH", venv.python());
    // Where cargo compiles in steps, the profile says so; the profile of real stages never does.
    command = if request.profile == PROFILE {
        command.env("CARGO_INCREMENTAL", "0")
    } else {
        command.env_remove("CARGO_INCREMENTAL")
    };
    if let Some(zig) = venv.package_file("ziglang/zig") {
        command = command.env("CARGO_ZIGBUILD_ZIG_PATH", zig);
    }
    // `CARGO_PROFILE_LAMBDA_…` would change the binary without a change of the source.
    let prefix = format!("CARGO_PROFILE_{}_", request.profile.to_uppercase().replace('-', "_"));
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) {
            command = command.env_remove(name);
        }
    }
    command
}

/// The binary in a line of cargo's JSON: the name of the target, and the file.
fn executable(stream: Stream, line: &str) -> Option<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Target,
        executable: PathBuf,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    if stream != Stream::Stdout {
        return None;
    }
    let message: Message = serde_json::from_str(line).ok()?;
    let binary =
        message.reason == "compiler-artifact" && message.target.kind.iter().any(|kind| kind == "bin");
    binary.then_some((message.target.name, message.executable))
}

/// Requires the profile in the repository, so that any `cargo build --profile lambda` builds the same.
pub(crate) fn has_profile(workspace: &Path, profile: &str) -> Result<(), ArtifactError> {
    let path = workspace.join("Cargo.toml");
    let manifest = |reason: String| ArtifactError::Manifest { path: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|e| manifest(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| manifest(e.to_string()))?;
    let has = |table: &toml::Table| table.get("profile").and_then(|all| all.get(profile)).is_some();
    // cargo also reads profiles from its configuration.
    let configured = std::fs::read_to_string(workspace.join(".cargo/config.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| has(&table));
    if has(&table) || configured || BUILT_IN.contains(&profile) {
        return Ok(());
    }
    Err(ArtifactError::NoProfile { path, profile: profile.to_owned() })
}

/// The compiler's sysroot. Checks first that it has a standard library for the target: cargo's own error
/// ("can't find crate for `core`") does not say what to install.
pub(crate) async fn sysroot_with_target(
    request: &BuildRequest,
    cancel: &CancellationToken,
) -> Result<PathBuf, ArtifactError> {
    let target = request.architecture.target();
    // A rust-toolchain.toml in the workspace selects the compiler.
    let text = Command::new("rustc", "read the targets of the Rust compiler")
        .args(["--print", "sysroot", "--print", "target-libdir", "--target", target])
        .dir(&request.workspace_dir)
        .output(cancel)
        .await?;
    let mut lines = text.lines().map(PathBuf::from);
    match (lines.next(), lines.next()) {
        (Some(sysroot), Some(libdir)) if libdir.is_dir() => Ok(sysroot),
        _ => Err(ArtifactError::NoTarget { target: target.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_binaries_are_read_from_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w#users@0.1.0",
            "target":{"kind":["bin"],"name":"users"},"fresh":true,"executable":"/w/target/lambda/users"}"#
            .replace('\n', "");
        let users = Some(("users".to_owned(), PathBuf::from("/w/target/lambda/users")));
        assert_eq!(executable(Stream::Stdout, &line), users);
        assert_eq!(executable(Stream::Stderr, &line), None);
        let others = [
            line.replace("[\"bin\"]", "[\"lib\"]").replace("\"/w/target/lambda/users\"", "null"),
            line.replace("[\"bin\"]", "[\"test\"]"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "not JSON".to_owned(),
        ];
        for other in others {
            assert_eq!(executable(Stream::Stdout, &other), None, "{other}");
        }
    }

    #[test]
    fn longer_paths_come_later_and_a_home_of_slash_is_skipped() {
        let paths = MachinePaths {
            home: Some("/".into()),
            cargo_home: Some("/u/.cargo".into()),
            sysroot: "/u/.rustup/x".into(),
            workspace: "/u/w".into(),
            target_dir: None,
        };
        assert_eq!(
            paths.rustflags().to_str().unwrap().split('\u{1f}').collect::<Vec<_>>(),
            [
                "--remap-path-prefix=/u/.cargo=/cargo",
                "--remap-path-prefix=/u/.rustup/x=/rustc",
                "--remap-path-prefix=/u/w=/workspace"
            ]
        );
    }

    #[test]
    fn a_missing_profile_is_an_error_with_the_lines_to_add() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), "[profile.release]\n").unwrap();
        let error = crate::error::Error::from(has_profile(dir.path(), PROFILE).unwrap_err());
        assert_eq!((error.id, error.kind.exit_code()), (crate::error::ErrorId::ArtifactProfile, 10));
        assert!(error.hint.unwrap().contains("[profile.lambda]\ninherits = \"release\""));
        std::fs::write(dir.path().join("Cargo.toml"), "[profile.lambda]\ninherits = \"release\"\n").unwrap();
        has_profile(dir.path(), PROFILE).unwrap();
    }

    #[test]
    fn a_broken_manifest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = has_profile(dir.path(), PROFILE).unwrap_err().to_string();
        assert!(error.contains("Cargo.toml"), "{error}");
        std::fs::write(dir.path().join("Cargo.toml"), "[profile\n").unwrap();
        assert!(matches!(has_profile(dir.path(), PROFILE), Err(ArtifactError::Manifest { .. })));
    }
}
