//! Wrappers around Terraform, and states that could not be saved.

use std::os::unix::fs::PermissionsExt as _;

use deployctl::terraform::{PlanMode, PlanOptions, PlanOutcome, Reason, Subcommand};

use super::project::Project;

const ONE: &str = "resource \"terraform_data\" \"one\" {\n  input = 1\n}\n";

/// Replaces the project's Terraform by a shell script with the lines `before` and `after` around it.
fn wrap(project: &mut Project, before: &str, after: &str) {
    let program = project.dir.join("wrapper");
    let terraform = project.driver.terraform.program.display();
    let script = format!("#!/bin/sh\n{before}\n{terraform} \"$@\"\ncode=$?\n{after}\nexit $code\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.driver.terraform.program = program;
}

#[tokio::test]
async fn a_wrapper_that_hides_changes_is_an_error_with_its_path() {
    let mut project = Project::ready(ONE).await;
    wrap(&mut project, "", "[ $code = 2 ] && code=0");
    let failure = project.plan().await.unwrap_err();
    let Reason::ExitCodeChanged { program, messages } = &*failure.reason else { panic!("{failure:?}") };
    assert!(program.ends_with("wrapper"));
    assert_eq!(messages, "report 1 changes of resources and 0 of outputs");
}

#[tokio::test]
async fn a_wrapper_that_hides_changes_of_outputs_is_an_error() {
    let mut project = Project::ready("output \"x\" {\n  value = 1\n}\n").await;
    wrap(&mut project, "", "[ $code = 2 ] && code=0");
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::ExitCodeChanged { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_wrapper_that_hides_an_error_is_an_error() {
    let mut project = Project::ready("output \"x\" {\n  value = var.none\n}\n").await;
    wrap(&mut project, "", "code=0");
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::ExitCodeChanged { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_wrapper_that_hides_a_failed_apply_is_an_error() {
    let failing = "resource \"terraform_data\" \"one\" {\n  provisioner \"local-exec\" {\n    command = \"false\"\n  }\n}\n";
    let mut project = Project::ready(failing).await;
    let planned = project.planned().await;
    wrap(&mut project, "", "code=0");
    let failure = project.driver.apply(&project.layer, planned).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::ExitCodeChanged { .. }), "{failure:?}");
}

#[tokio::test]
async fn lines_of_a_wrapper_around_the_json_are_skipped_and_reported() {
    let mut project = Project::ready(ONE).await;
    wrap(&mut project, "echo \"[command]terraform $*\"", "echo ::debug::done");
    assert_eq!(project.planned().await.plan.changes.len(), 1);
    project.apply().await;
    assert!(project.driver.outputs(&project.layer).await.unwrap().is_empty());
    let heard = project.heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.contains("not Terraform's: [command]terraform show")), "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("not Terraform's: ::debug::done")), "{heard:?}");
}

#[tokio::test]
async fn a_stage_is_destroyed_only_if_its_state_is_empty() {
    let project = Project::ready(ONE).await;
    project.driver.confirm_destroyed(&project.layer).await.unwrap();
    project.apply().await;
    let failure = project.driver.confirm_destroyed(&project.layer).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::NotDestroyed(1)), "{failure:?}");
    let options = PlanOptions { mode: PlanMode::Destroy, ..PlanOptions::default() };
    let PlanOutcome::Changes(planned) = project.driver.plan(&project.layer, options).await.unwrap() else {
        panic!("no changes")
    };
    project.driver.apply(&project.layer, planned).await.unwrap();
    project.driver.confirm_destroyed(&project.layer).await.unwrap();
}

#[tokio::test]
async fn beside_an_unsaved_state_only_a_push_runs() {
    let project = Project::ready(ONE).await;
    project.apply().await;
    let pull = Subcommand::Raw(["state", "pull"].map(Into::into).to_vec());
    let state = project.driver.run(&project.layer, &pull).await.unwrap();
    let file = project.layer.dir.join("errored.tfstate");
    std::fs::write(&file, state).unwrap();
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::StateNotSaved(_)), "{failure:?}");
    let error = deployctl::error::Error::from(failure);
    let push = "deployctl terraform app --stage dev -- state push errored.tfstate";
    assert!(error.hint.unwrap().contains(push));
    let push = Subcommand::Raw(["state", "push", "errored.tfstate"].map(Into::into).to_vec());
    project.driver.run(&project.layer, &push).await.unwrap();
    std::fs::remove_file(file).unwrap();
    project.plan().await.unwrap();
}
