//! What deployctl is made of, and what it gives away.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::{repository, tools};

/// The advisories are another matter: their list changes by the day, so `cargo deny check advisories` is a job of its own.
#[tokio::test]
async fn the_dependencies_are_allowed() {
    fetch();
    let program = tools().await.join("cargo-deny");
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

/// All dependencies, also those of other platforms, which no build here has fetched: what follows works offline, and a
/// new machine has none of them.
pub(super) fn fetch() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let fetch =
        Command::new(cargo).args(["fetch", "--locked"]).current_dir(repository(".")).output().unwrap();
    assert!(fetch.status.success(), "{}", String::from_utf8_lossy(&fetch.stderr));
}

#[test]
fn a_package_has_what_it_needs_and_nothing_else() {
    fetch();
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

/// `.ci/run` with a cargo that only writes down how it was called, and a stage that answers.
#[tokio::test]
async fn ci_runs_the_commands_of_the_readme_with_empty_caches() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/stage", listener.local_addr().unwrap());
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            assert!(client.read(&mut [0; 4096]).await.unwrap() > 0);
            client
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
                .await
                .ok();
        }
    }));
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let script = format!(
        "#!/bin/sh\necho \"$*; $(ls \"$CARGO_HOME\" \"$DEPLOYCTL_CACHE_DIR\" | grep -c -v -e : -e '^$' -e toml); $CARGO_HOME\" >> '{}'\n\
         if [ \"$1 $4\" = 'run --version' ]; then echo '  {url}'; fi\n",
        calls.display()
    );
    let cargo = folder.path().join("cargo");
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = tokio::process::Command::new(repository(".ci/run")).env("PATH", path).output().await.unwrap();
    assert!(run.status.success(), "{run:?}");
    let calls = std::fs::read_to_string(calls).unwrap();
    let calls: Vec<Vec<&str>> = calls.lines().map(|line| line.split("; ").collect()).collect();
    let said: Vec<&str> = calls.iter().map(|call| call[0]).collect();
    let expected = [
        "fmt --all --check",
        "clippy --all-targets --locked -- --deny warnings",
        "run -- release --version 0.1.0 --stage local",
        "test",
        "run --quiet -- local reset",
    ];
    assert_eq!(said, expected);
    let own = std::env::var_os("CARGO_HOME").unwrap_or_default();
    for call in calls {
        assert_eq!(call[1], "0", "a cargo home or a tool cache with something in it: {call:?}");
        assert_ne!(std::ffi::OsStr::new(call[2]), own);
        assert!(!std::path::Path::new(call[2]).exists(), "it stays behind: {call:?}");
    }
}
