//! `terraform/github`: who is trusted, by its own tests; and that AWS's stand-in takes all of it.

use std::path::Path;

use super::repository;
use crate::support::program::Program;

/// deployctl brings the state, and the provider from wherever this machine has it.
const SETTINGS: &str = "project = \"users\"\n\n[stages.local]\nlocal = true\n\n[layers.base]\n\n[layers.app]\n\n[layers.github]\n\n[artifacts]\n";

#[tokio::test]
async fn only_environments_of_one_repository_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("deployctl.toml"), SETTINGS).unwrap();
    copy(&repository("terraform/github"), &dir.path().join("terraform/github"));
    for layer in ["base", "app"] {
        std::fs::create_dir_all(dir.path().join("terraform").join(layer)).unwrap();
    }
    let stage = Stage(
        Program::new(dir.path())
            .with("TF_VAR_repository", "example/shop")
            .with("TF_VAR_stages", "{ local = {} }"),
    );
    let terraform = async |args: &[&str]| stage.0.run(&[&["terraform", "github", "--"], args].concat()).await;
    stage.0.run(&["bootstrap"]).await.exit(0);
    terraform(&["fmt", "-check", "-recursive", "-diff"]).await.exit(0);
    let tests = terraform(&["test", "-no-color"]).await.exit(0);
    assert!(tests.stdout.contains("11 passed, 0 failed"), "{}", tests.stdout);
    terraform(&["apply", "-auto-approve", "-input=false", "-no-color"]).await.exit(0);
    let outputs = stage.0.run(&["output", "--layer", "github", "--output", "json"]).await.exit(0).json();
    let role = &outputs["environments"]["local-plan"]["AWS_ROLE_ARN"];
    assert_eq!(role, "arn:aws:iam::000000000000:role/github/users-local-plan", "{outputs:#}");
    let again = terraform(&["plan", "-detailed-exitcode", "-input=false", "-no-color"]).await;
    assert_eq!(again.code, Some(0), "a second plan finds something to change: {}", again.stdout);
}

/// A local stage that ends with the test.
struct Stage(Program);

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.command(&["local", "down", "--stage", "local"]).into_std().status().ok();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != ".terraform" {
            copy(&path, &to.join(name));
        } else if path.is_file() {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
