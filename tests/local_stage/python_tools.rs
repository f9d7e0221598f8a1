//! The Python programs that deployctl installs, with the Python of this machine.

use std::path::{Path, PathBuf};

use crate::local_stage::lifecycle::Project;

/// Starts the local stage of a project with the tools in `cache`; how often they were installed for it.
async fn installs(project: &Project, cache: &Path) -> usize {
    let program = project.program.clone().with("DEPLOYCTL_CACHE_DIR", cache);
    let up = program.run(&["local", "up", "--progress", "json"]).await.exit(0);
    let events = up.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let installs =
        events.filter(|event| event["event"] == "step_started" && event["step"] == "install ministack");
    installs.count()
}

/// The folder of the installed programs.
fn programs(cache: &Path) -> PathBuf {
    let folders = std::fs::read_dir(cache.join("venv")).unwrap().map(|entry| entry.unwrap().path());
    let installed: Vec<PathBuf> =
        folders.map(|folder| folder.join("bin")).filter(|bin| bin.exists()).collect();
    assert_eq!(installed.len(), 1, "{installed:?}");
    installed[0].clone()
}

#[tokio::test]
async fn two_at_once_install_once() {
    let cache = tempfile::tempdir().unwrap();
    let (one, two) = (Project::new(), Project::new());
    let (first, second) = tokio::join!(installs(&one, cache.path()), installs(&two, cache.path()));
    assert_eq!(first + second, 1);
    let programs = programs(cache.path());
    let version = ["-I", "-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    let python = std::process::Command::new(programs.join("python")).args(version).status().unwrap();
    assert!(python.success(), "older than Python 3.10");
    assert!(one.down().await && two.down().await);
    // They are used as they are, and installed again once they are not what was installed.
    assert_eq!(installs(&one, cache.path()).await, 0);
    one.down().await;
    let added = programs.join("added");
    std::fs::write(&added, "#!/bin/sh").unwrap();
    assert_eq!(installs(&one, cache.path()).await, 1);
    assert!(!added.exists());
    one.down().await;
}
