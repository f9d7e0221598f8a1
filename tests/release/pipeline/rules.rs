//! What every workflow keeps to, and no linter asks for.

use serde_json::Value;

use super::github::{read, workflows};
use super::repository;

#[test]
fn no_role_has_a_permission_that_is_not_listed() {
    for path in workflows() {
        let workflow = read(&path);
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{}", path.display());
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["permissions"].is_object(), "{}: {name} does not say what it may", path.display());
        }
    }
}

#[test]
fn no_secret_is_stored_and_nothing_runs_for_strangers_with_rights() {
    for path in workflows() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("secrets."), "{}", path.display());
        let triggers = read(&path)["on"].to_string();
        for dangerous in ["pull_request_target", "workflow_run", "issue_comment"] {
            assert!(!triggers.contains(dangerous), "{}: {dangerous}", path.display());
        }
    }
}

#[test]
fn scripts_have_no_expressions_and_actions_are_pinned() {
    for path in workflows() {
        let text = std::fs::read_to_string(&path).unwrap();
        each_step(&read(&path), &mut |job, step| {
            let place = format!("{}: {job}: {step}", path.display());
            if let Some(script) = step["run"].as_str() {
                assert!(!script.contains("${{"), "{place}");
            }
            if let Some(action) = step["uses"].as_str().filter(|action| !action.starts_with("./")) {
                let (name, commit) = action.split_once('@').expect(&place);
                let publisher = name.split('/').next().unwrap();
                assert!(
                    ["actions", "hashicorp", "aws-actions"].contains(&publisher),
                    "{place}: another publisher"
                );
                assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{place}");
                assert!(text.contains(&format!("{action} # v")), "{place}: no version beside it");
            }
        });
    }
}

/// Unpacks wheels whose hashes are known, and runs nothing of them.
const UNPACK: &str = "-I -m pip install --require-hashes --no-deps --only-binary :all: -r ";

/// Building runs code of everybody, so it happens where nobody can become anybody.
#[test]
fn who_has_an_identity_compiles_nothing() {
    let mut identities = 0;
    for path in workflows() {
        let workflow = read(&path);
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let writes = job["permissions"].as_object().unwrap().values().any(|value| value == "write");
            if !writes {
                continue;
            }
            // What it calls is a workflow of this folder.
            if job["uses"].as_str().is_some_and(|called| called.starts_with("./.github/workflows/")) {
                continue;
            }
            identities += 1;
            let place = format!("{}: {name}", path.display());
            let steps = job["steps"].as_array().expect(&place);
            for step in steps {
                let script = step["run"].as_str().unwrap_or_default().replace(UNPACK, "");
                for builder in ["cargo", "rustup", "npm", "pip", "deployctl build"] {
                    assert!(!script.contains(builder), "{place} runs {builder}");
                }
                let release =
                    ["deployctl release", "deployctl plan", "deployctl fleet run", "deployctl preview up"]
                        .iter()
                        .any(|verb| script.contains(verb));
                assert!(!release || step["env"]["DEPLOYCTL_ARTIFACTS"].is_string(), "{place} would build");
            }
            if job["permissions"]["id-token"] == "write" {
                assert!(!job["environment"].is_null(), "{place}: an identity without an environment");
            }
        }
    }
    assert!(identities >= 5, "{identities} jobs that may write");
}

#[test]
fn a_release_is_not_cancelled_by_another() {
    for name in ["release", "redeploy", "rollback"] {
        let workflow = read(&super::repository(&format!(".github/workflows/{name}.yml")));
        let concurrency = &workflow["jobs"][name]["concurrency"];
        assert_eq!(concurrency["cancel-in-progress"], false, "{name}");
        assert!(concurrency["group"].as_str().unwrap().contains("inputs.stage"), "{name}");
        assert!(workflow["concurrency"].is_null(), "{name}: a wait for approval would hold the whole group");
    }
    let preview = read(&super::repository(".github/workflows/preview.yml"));
    assert_eq!(preview["concurrency"]["cancel-in-progress"], false);
    assert!(preview["concurrency"]["group"].as_str().unwrap().contains("pull_request.number"));
    let wave = read(&super::repository(".github/workflows/fleet-wave.yml"));
    let concurrency = &wave["jobs"]["release"]["concurrency"];
    assert_eq!(concurrency["cancel-in-progress"], false);
    assert!(concurrency["group"].as_str().unwrap().contains("matrix.member"));
}

fn each_step(workflow: &Value, see: &mut impl FnMut(&str, &Value)) {
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        for step in job["steps"].as_array().into_iter().flatten() {
            see(name, step);
        }
    }
}

/// The jobs that write the release and the wheels have no file of the repository, but for a list of hashes.
#[test]
fn who_publishes_runs_nothing_of_the_repository() {
    let workflow = read(&repository(".github/workflows/publish.yml"));
    let mut writers = 0;
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        if !job["permissions"].as_object().unwrap().values().any(|value| value == "write") {
            continue;
        }
        writers += 1;
        for step in job["steps"].as_array().unwrap() {
            if step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@")) {
                assert_eq!(step["with"]["sparse-checkout"], ".ci/packages/wheel/upload.txt", "{name}");
                assert_eq!(step["with"]["sparse-checkout-cone-mode"], false, "{name}: also files beside it");
            }
        }
    }
    assert_eq!(writers, 2);
}

/// Otherwise a file of the folder that a script works in stands in for a module, such as `pip.py`.
#[test]
fn scripts_start_python_isolated() {
    let mut files = vec![repository(".ci"), repository(".github")];
    let mut starts = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let place = format!("{}: {line}", path.display());
            assert!(!line.contains("bin/pip"), "{place}");
            for start in ["python3 ", "bin/python\" "] {
                if let Some((_, arguments)) = line.split_once(start) {
                    starts += 1;
                    assert!(arguments.starts_with("-I "), "{place}");
                }
            }
        }
    }
    assert!(starts > 5, "{starts}");
}
