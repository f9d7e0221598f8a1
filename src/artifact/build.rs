//! Builds cargo packages for Lambda: one cargo process for all packages of an architecture, linked by Zig against
//! the runtime's glibc whatever the host's, and independent of where and by whom it is built.
//!
//! Independent, because the hash of an artifact must say whether the *source* differs: paths of the machine are
//! mapped away, and `RUSTFLAGS` of the person or the CI job stay out (a `-C target-cpu=native` among them would
//! also crash on Lambda). Flags that a function needs belong into its workspace's profile.

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

#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    /// The folder of the workspace's `Cargo.toml` and `Cargo.lock`.
    pub(crate) workspace_dir: PathBuf,
    /// The packages, each with a binary of its own name.
    pub(crate) packages: Vec<String>,
    /// What they are to run on.
    pub(crate) architecture: Architecture,
    /// The C library that they are to run with.
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
    has_profile(&request.workspace_dir, &request.profile)?;
    let sysroot = sysroot_with_target(request, cancel).await?;
    let venv = tools.venv(TOOLS, events, cancel).await?;
    let command = command(request, &venv, tools, &Machine::of(request, sysroot));
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
            units.tell(events);
        })
        .await?;
    command.success(exit)?;
    let found = |package: &String| match binaries.remove(package) {
        Some(binary) => Ok(Built { package: package.clone(), binary }),
        None => Err(ArtifactError::NoBinary { package: package.clone() }),
    };
    request.packages.iter().map(found).collect()
}

/// Paths of this machine that the compiler would write into a binary.
#[derive(Debug)]
struct Machine {
    home: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
    sysroot: PathBuf,
    workspace: PathBuf,
    target_dir: Option<PathBuf>,
}

impl Machine {
    fn of(request: &BuildRequest, sysroot: PathBuf) -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = var("HOME");
        Self {
            cargo_home: var("CARGO_HOME").or_else(|| Some(home.as_ref()?.join(".cargo"))),
            home,
            sysroot,
            // cargo tells the compiler real paths.
            workspace: std::fs::canonicalize(&request.workspace_dir)
                .unwrap_or_else(|_| request.workspace_dir.clone()),
            target_dir: var("CARGO_TARGET_DIR"),
        }
    }

    /// The compiler takes the last mapping that fits, so the narrower ones come later.
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
            // A home of `/` would map everything.
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

fn command(request: &BuildRequest, venv: &Venv, tools: &PythonTools, machine: &Machine) -> Command {
    let target = format!("{}.{}", request.architecture.target(), request.glibc);
    let mut command = Command::new(venv.program("cargo-zigbuild"), "build the artifacts")
        .args(["zigbuild", "--locked", "--profile", &request.profile, "--target", &target])
        .args(["--message-format", "json-render-diagnostics"])
        .args(request.packages.iter().flat_map(|package| ["-p", package]))
        .args(request.packages.iter().flat_map(|package| ["--bin", package]))
        .dir(&request.workspace_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", machine.rustflags())
        .env_remove("RUSTFLAGS")
        // Only the progress bar tells how many units there are.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", "never")
        .env("SOURCE_DATE_EPOCH", "0")
        .env("CARGO_INCREMENTAL", "0")
        // Caches of the linker wrapper and of Zig: in the one folder that the user may delete.
        .env("CARGO_ZIGBUILD_CACHE_DIR", tools.cache("zigbuild"))
        .env("ZIG_GLOBAL_CACHE_DIR", tools.cache("zig"))
        // The virtual environment is not activated, and another Zig on PATH would win over its Python's.
        .env("CARGO_ZIGBUILD_PYTHON_PATH", venv.python());
    if let Some(zig) = venv.package_file("ziglang/zig") {
        command = command.env("CARGO_ZIGBUILD_ZIG_PATH", zig);
    }
    // `CARGO_PROFILE_LAMBDA_…` would change the binary behind the source's back.
    let prefix = format!("CARGO_PROFILE_{}_", request.profile.to_uppercase().replace('-', "_"));
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) {
            command = command.env_remove(name);
        }
    }
    command
}

/// The binary that a line of cargo's JSON announces: the target's name and the file.
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

/// A profile that is missing is not made up on the command line: what is built is to be wholly in the repository,
/// so that any `cargo build --profile lambda` gives the same.
pub(crate) fn has_profile(workspace: &Path, profile: &str) -> Result<(), ArtifactError> {
    let path = workspace.join("Cargo.toml");
    let manifest = |reason: String| ArtifactError::Manifest { path: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|e| manifest(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| manifest(e.to_string()))?;
    let has = |table: &toml::Table| table.get("profile").and_then(|all| all.get(profile)).is_some();
    // cargo reads profiles from its configuration, too.
    let configured = std::fs::read_to_string(workspace.join(".cargo/config.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| has(&table));
    if has(&table) || configured {
        return Ok(());
    }
    Err(ArtifactError::NoProfile { path, profile: profile.to_owned() })
}

/// The compiler's folder, after making sure that it has a standard library for the target: what cargo says
/// otherwise ("can't find crate for `core`") does not name the remedy.
pub(crate) async fn sysroot_with_target(
    request: &BuildRequest,
    cancel: &CancellationToken,
) -> Result<PathBuf, ArtifactError> {
    let target = request.architecture.target();
    // In the workspace's folder: a rust-toolchain.toml there chooses the compiler.
    let text = Command::new("rustc", "ask the Rust compiler for its targets")
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
    fn cargos_messages_give_binaries_and_nothing_else() {
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
    fn narrower_paths_come_later_and_a_home_of_slash_maps_nothing() {
        let machine = Machine {
            home: Some("/".into()),
            cargo_home: Some("/u/.cargo".into()),
            sysroot: "/u/.rustup/x".into(),
            workspace: "/u/w".into(),
            target_dir: None,
        };
        assert_eq!(
            machine.rustflags().to_str().unwrap().split('\u{1f}').collect::<Vec<_>>(),
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
