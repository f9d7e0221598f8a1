//! What deployctl is made of, and what it gives away.

use std::process::Command;

use crate::{repository, tools};

/// The advisories are another matter: their list changes by the day, so `cargo deny check advisories` is a job of its own.
#[tokio::test]
async fn the_dependencies_are_allowed() {
    let program = tools().await.program("cargo-deny");
    let deny = Command::new(program)
        .args(["--offline", "--locked", "--color", "never", "check", "bans", "licenses", "sources"])
        .current_dir(repository("."))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&deny.stderr);
    assert!(deny.status.success(), "{text}");
    for warning in ["license-not-encountered", "unmatched-skip", "unnecessary-skip"] {
        assert!(!text.contains(warning), "deny.toml allows what nobody uses: {text}");
    }
}

#[test]
fn a_package_has_what_it_needs_and_nothing_else() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let list = Command::new(cargo)
        .args(["package", "--package", "deployctl", "--list", "--allow-dirty", "--locked", "--offline"])
        .current_dir(repository("."))
        .output()
        .unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let list = String::from_utf8(list.stdout).unwrap();
    let files: Vec<&str> = list.lines().collect();
    for needed in
        ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src/main.rs", "src/local/ministack/launcher.py"]
    {
        assert!(files.contains(&needed), "{needed} is missing: {list}");
    }
    for file in files {
        let foreign = [".github", "tests/", "lambdas/", "terraform/", "target/", ".deployctl"];
        assert!(!foreign.iter().any(|folder| file.starts_with(folder)), "{file}");
    }
}
