//! What people install, built and used as they do. Each takes minutes, so it is run by hand and prints what it measured.

#![expect(clippy::print_stdout, reason = "the measurements are for a person")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::repository;
use crate::support::digest::sha256_hex;
use crate::support::example_project::ExampleProject;
use crate::support::program::CommandOutput;
use crate::support::python_tools;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// The limit of the program in any package.
const MAX_BYTES: u64 = 25_000_000;

fn done(command: &mut Command) -> String {
    let start = Instant::now();
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    println!("{:6.1} s  {:?}", start.elapsed().as_secs_f64(), command.get_program());
    text
}

fn size(path: &Path) -> u64 {
    let bytes = std::fs::metadata(path).unwrap().len();
    println!("{bytes:>9} bytes  {}", path.file_name().unwrap().display());
    bytes
}

/// The folder of what cargo builds: that of this test program.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// A virtual environment with the wheel, and the wheel.
async fn installed(dir: &Path) -> (PathBuf, PathBuf) {
    let tools =
        python_tools::install("wheel", include_str!("../../../.ci/packages/wheel/requirements.txt")).await;
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let wheels = dir.join("wheels");
    done(
        Command::new(tools.join("maturin"))
            .args(["build", "--release", "--target", TARGET, "--zig"])
            .args(["--compatibility", "manylinux2014", "musllinux_1_2", "--out"])
            .arg(&wheels)
            .current_dir(repository(".ci/packages/wheel"))
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", target()),
    );
    let wheel = std::fs::read_dir(&wheels).unwrap().next().unwrap().unwrap().path();
    done(Command::new("python3").args(["-I", "-m", "venv"]).arg(dir.join("venv")));
    done(
        Command::new(dir.join("venv/bin/python"))
            .args(["-I", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"])
            .arg(&wheel),
    );
    (dir.join("venv/bin/deployctl"), wheel)
}

#[tokio::test]
#[ignore = "an optimised build and a release of the example: 24 minutes on a busy machine"]
async fn the_wheel_releases_the_example() {
    let dir = tempfile::tempdir().unwrap();
    let (program, wheel) = installed(dir.path()).await;
    let built = target().join(TARGET).join("release/deployctl");
    assert_eq!(
        sha256_hex(&std::fs::read(&program).unwrap()),
        sha256_hex(&std::fs::read(&built).unwrap()),
        "the program of the archive"
    );
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for part in [&format!("deployctl-{version}-py3-none-"), "manylinux2014_x86_64", "musllinux_1_2_x86_64"] {
        assert!(name.contains(part), "{name}");
    }
    assert!(size(&program) < MAX_BYTES && size(&wheel) < MAX_BYTES);
    let archive = dir.path().join("deployctl.tar.gz");
    done(Command::new(repository(".ci/packages/archive")).arg(&program).arg(&archive));
    size(&archive);
    assert_eq!(done(Command::new(&program).arg("--version")), format!("deployctl {version}\n"));
    let libraries = Command::new("ldd").arg(&program).output().unwrap();
    let libraries = String::from_utf8_lossy(&[libraries.stdout, libraries.stderr].concat()).into_owned();
    assert!(libraries.contains("statically linked") || libraries.contains("not a dynamic"), "{libraries}");

    let twine = python_tools::install("twine", include_str!("../../../.ci/packages/wheel/upload.txt")).await;
    let checked =
        done(Command::new(twine.join("python")).args(["-I", "-m", "twine", "check", "--strict"]).arg(&wheel));
    assert!(checked.contains("PASSED"), "{checked}");

    let project = ExampleProject::new();
    let run = |args: &[&str]| {
        let template = project.program.command(args).into_std();
        let mut command = Command::new(&program);
        command.args(args).current_dir(&project.dir).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let start = Instant::now();
        let output = CommandOutput::of(command.output().unwrap());
        println!("{:6.1} s  deployctl {}", start.elapsed().as_secs_f64(), args.join(" "));
        output
    };
    let released = run(&["release", "--version", "1.0.0", "--stage", "local"]).exit(0);
    let url = released.stdout.lines().last().unwrap().trim().to_owned();
    let answer = done(Command::new("curl").args(["--fail", "--silent", &format!("{url}/demo/users")]));
    assert_eq!(answer, "[]");
    let status = run(&["status", "--stage", "local", "--output", "json"]).exit(0).json();
    assert_eq!(status["version"], "1.0.0", "{status:#}");
    run(&["local", "down"]).exit(0);
}

/// As `cargo publish` does it: the package is unpacked, and built from nothing else.
#[test]
#[ignore = "compiles deployctl again: 85 s with built dependencies"]
fn the_crate_builds_from_its_own_files() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    done(
        Command::new(cargo)
            .args(["package", "--locked", "--package", "deployctl", "--allow-dirty"])
            .current_dir(repository("."))
            .env("CARGO_TARGET_DIR", target()),
    );
    let package = target().join(format!("package/deployctl-{}.crate", env!("CARGO_PKG_VERSION")));
    assert!(size(&package) < 10_000_000, "the limit of crates.io");
}

#[test]
#[ignore = "an optimised build: 8 minutes on a busy machine"]
fn cargo_install_installs_it() {
    let root = tempfile::tempdir().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    done(
        Command::new(cargo)
            .args(["install", "--path", ".", "--locked", "--root"])
            .arg(root.path())
            .current_dir(repository("."))
            .env("CARGO_TARGET_DIR", target()),
    );
    let program = root.path().join("bin/deployctl");
    assert!(size(&program) < MAX_BYTES);
    let version = done(Command::new(&program).arg("--version"));
    assert_eq!(version, format!("deployctl {}\n", env!("CARGO_PKG_VERSION")));
}
