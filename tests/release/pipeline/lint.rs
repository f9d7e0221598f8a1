//! actionlint (with shellcheck) and zizmor find nothing in the workflows, nor in those that the documents show.

use std::path::Path;
use std::process::{Command, Output};

use super::{repository, tools};

/// Runs a program of the checks, whose siblings it may need, in `dir`.
async fn run(name: &str, args: &[&str], dir: &Path) -> Output {
    let program = tools().await.join(name);
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    Command::new(&program).args(args).current_dir(dir).env("PATH", path).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Both linters, in their strictest form.
async fn clean(dir: &Path) {
    let folder = dir.join(".github/workflows");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path().display().to_string());
    let files: Vec<String> = files.collect();
    assert!(!files.is_empty());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let actionlint = run("actionlint", &[&["-no-color"], files.as_slice()].concat(), dir).await;
    assert!(actionlint.status.success(), "{}", told(&actionlint));
    let zizmor = run("zizmor", &["--offline", "--no-progress", "--persona", "auditor", "."], dir).await;
    assert!(zizmor.status.success(), "{}", told(&zizmor));
}

#[tokio::test]
async fn the_workflows_are_clean() {
    clean(&repository(".")).await;
}

#[tokio::test]
async fn the_workflows_of_the_guide_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".github");
    std::fs::create_dir_all(folder.join("workflows")).unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::copy(repository(".github/zizmor.yml"), folder.join("zizmor.yml")).unwrap();
    let mut count = 0;
    for text in yaml_blocks(&std::fs::read_to_string(repository("docs/github-actions.md")).unwrap()) {
        count += 1;
        let name = text.lines().find_map(|line| line.strip_prefix("name: ")).expect("a workflow with a name");
        std::fs::write(folder.join(format!("workflows/{name}.yml")), text).unwrap();
    }
    assert!(count >= 3, "{count} workflows in the guide");
    clean(dir.path()).await;
}

/// Both would say so: a linter that finds nothing in this finds nothing at all.
#[tokio::test]
async fn the_linters_do_find() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".github/workflows");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    let bad = "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      \
               - run: echo ${{ github.event.pull_request.title }} $unquoted\n";
    std::fs::write(folder.join("bad.yml"), bad).unwrap();
    let actionlint = run("actionlint", &[folder.join("bad.yml").to_str().unwrap()], dir.path()).await;
    assert_eq!(actionlint.status.code(), Some(1), "{}", told(&actionlint));
    assert!(told(&actionlint).contains("SC2086"), "no shellcheck: {}", told(&actionlint));
    let zizmor = run("zizmor", &["--offline", "--no-progress", "."], dir.path()).await;
    for audit in ["dangerous-triggers", "template-injection", "unpinned-uses"] {
        assert!(told(&zizmor).contains(audit), "{audit}: {}", told(&zizmor));
    }
}

/// The workflows that a document shows.
pub(crate) fn yaml_blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}
