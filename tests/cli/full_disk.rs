//! Writes that do not fit on the disk: each is an error or a warning, and leaves nothing half-written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::minimal_project::MinimalProject;
use crate::support::program::Program;

/// Every file below `folder` with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = std::fs::read(&path).unwrap();
                files.insert(path, content);
            }
        }
    }
    files
}

#[tokio::test]
async fn a_build_keeps_the_zips_of_the_previous_one() {
    let project = MinimalProject::new();
    let build = ["build", "--into", "zips"];
    project.run(&build).await.exit(0);
    let before = files(project.path());
    project.build("2");
    let failed = project.program.run_with_files_of(0, &build).await.exit(10);
    failed.says(&["error [artifact.io]: failed to write", "File too large"]);
    project.build("");
    assert_eq!(files(project.path()), before);
}

#[tokio::test]
async fn an_example_is_written_completely_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new(dir.path());
    for folder in ["new", "existing"] {
        std::fs::create_dir_all(dir.path().join("existing")).unwrap();
        let example = ["init", "--example", folder];
        let failed = program.run_with_files_of(4, &example).await.exit(2);
        failed.says(&["error [init.write]: failed to write", "File too large"]);
        assert_eq!(files(dir.path()), BTreeMap::new());
        program.run(&example).await.exit(0);
        assert!(dir.path().join(folder).join("deployctl.toml").exists());
        std::fs::remove_dir_all(dir.path().join(folder)).unwrap();
    }
}

#[tokio::test]
async fn man_pages_and_settings_are_complete_or_missing() {
    let project = MinimalProject::new();
    let man = ["man", "--dir", "man"];
    let failed = project.program.run_with_files_of(1, &man).await.exit(10);
    failed.says(&["error [man.not_written]: failed to write", "File too large"]);
    assert_eq!(files(&project.path().join("man")), BTreeMap::new());

    let settings = std::fs::read(project.path().join("deployctl.toml")).unwrap();
    let failed = project.program.run_with_files_of(0, &["init", "--force"]).await.exit(2);
    failed.says(&["error [init.write]: failed to write", "File too large"]);
    assert_eq!(std::fs::read(project.path().join("deployctl.toml")).unwrap(), settings);
}

#[tokio::test]
async fn what_ci_reads_is_complete_or_unchanged_and_a_warning() {
    let project = MinimalProject::new();
    let (summary, outputs) = (project.write("summary", "before\n"), project.write("outputs", "before=1\n"));
    let timeline = project.write("timeline.html", "before\n");
    let program = project.program.clone().with("GITHUB_ACTIONS", "true");
    let program = program.with("GITHUB_STEP_SUMMARY", &summary).with("GITHUB_OUTPUT", &outputs);
    // There are no credentials.
    let release = ["release", "--version", "1.0.0", "--stage", "dev", "--timings=timeline.html"];
    for blocks in [0, 1] {
        let failed = program.run_with_files_of(blocks, &release).await.exit(10);
        failed.says(&[
            &format!("failed to write {}: File too large", summary.display()),
            "failed to write the timeline to timeline.html: File too large",
        ]);
        assert_eq!(std::fs::read_to_string(&summary).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&timeline).unwrap(), "before\n");
    }
}
