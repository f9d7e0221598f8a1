//! What goes well: what is run, what is left behind, and what comes back.

use std::path::Path;

use deployctl::terraform::{PlanMode, PlanOptions, PlanOutcome, Reason, Subcommand};

use super::project::{CONFIGURATION, Project, pretend};

#[tokio::test]
async fn a_run_without_changes_costs_one_process() {
    let mut project = Project::new(CONFIGURATION).await;
    project.set("name", "x");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    project.apply().await;
    assert_eq!(project.calls(), ["init", "plan", "show", "apply"]);

    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());
    assert!(matches!(project.plan().await.unwrap(), PlanOutcome::NoChanges { .. }));
    assert_eq!(project.calls(), ["plan"]);
    assert_eq!(project.plan_files(), 0);
}

#[tokio::test]
async fn init_runs_again_only_when_one_of_its_inputs_changes() {
    let mut project = Project::ready(CONFIGURATION).await;
    let file = project.layer.dir.join("main.tf");
    let with = |text: &str| std::fs::write(&file, format!("{CONFIGURATION}\n{text}")).unwrap();
    with("# a comment\noutput \"more\" { value = 1 }\n");
    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());
    with("terraform {\n  required_version = \">= 1.5\"\n}\n");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());

    let module = project.layer.dir.join("module");
    std::fs::create_dir(&module).unwrap();
    std::fs::write(module.join("main.tf"), "").unwrap();
    with("module \"m\" {\n  source = \"./module\"\n}\n");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    std::fs::write(module.join("main.tf"), "terraform {\n  required_version = \">= 1.4\"\n}\n").unwrap();
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());

    project.driver.backend.settings.insert("path".into(), "other.tfstate".into());
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
}

#[tokio::test]
async fn a_plan_file_is_private_and_deleted_with_the_plan() {
    use std::os::unix::fs::PermissionsExt;
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let planned = project.planned().await;
    let data_dir = project.driver.data_dir(&project.layer);
    let folders = std::fs::read_dir(&data_dir).unwrap().flatten().map(|entry| entry.path());
    let folder = folders.into_iter().find(|path| path.to_string_lossy().contains("/plan-")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data_dir), mode(&folder), mode(&folder.join("plan"))), (0o700, 0o700, 0o600));
    drop(planned);
    assert!(!folder.exists());
}

#[tokio::test]
async fn changed_outputs_alone_are_changes() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let file = project.layer.dir.join("main.tf");
    std::fs::write(file, format!("{CONFIGURATION}\noutput \"more\" {{ value = 1 }}\n")).unwrap();
    let planned = project.planned().await;
    assert!(planned.plan.changes.is_empty());
    assert_eq!(planned.plan.outputs.keys().collect::<Vec<_>>(), ["more"]);
}

#[tokio::test]
async fn outputs_are_the_same_from_the_program_and_from_the_state() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let outputs = project.driver.outputs(&project.layer).await.unwrap();
    let state = project.driver.run(&project.layer, &Subcommand::StatePull).await.unwrap();
    assert_eq!(outputs, deployctl::terraform::outputs::from_state(state.as_bytes()).unwrap());
    assert_eq!(outputs.get("name").unwrap().value, "x");
    assert_eq!(outputs.get("secret").unwrap().value, "correct horse");
    let heard = project.heard.lock().unwrap().join("\n");
    assert!(!heard.contains("correct horse"), "{heard}");
}

#[tokio::test]
async fn a_configuration_is_validated_without_a_plan() {
    let project = Project::ready(CONFIGURATION).await;
    assert_eq!(project.driver.validate(&project.layer).await.unwrap(), []);
    std::fs::write(project.layer.dir.join("more.tf"), "\noutput \"x\" { value = nothing.here }\n").unwrap();
    let problems = project.driver.validate(&project.layer).await.unwrap();
    assert_eq!(problems.len(), 1);
    let place = problems[0].range.as_ref().unwrap();
    assert_eq!((place.filename.as_str(), place.start.line), ("more.tf", 2));

    pretend(&project, "echo no >&2; exit 1");
    assert!(project.driver.validate(&project.layer).await.unwrap_err().to_string().contains("no"));
    pretend(&project, r#"echo '{"format_version":"2.0"}'"#);
    let failure = project.driver.validate(&project.layer).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::Format { .. }), "{failure:?}");
}

#[tokio::test]
async fn the_results_of_a_layers_tests() {
    let project = Project::ready(CONFIGURATION).await;
    let test = "run \"right\" {\n  command = plan\n  variables { name = \"x\" }\n  assert {\n    \
                condition = terraform_data.one.input == \"x\"\n    error_message = \"no\"\n  }\n}\n";
    std::fs::write(project.layer.dir.join("right.tftest.hcl"), test).unwrap();
    let wrong = test.replace("\"right\"", "\"wrong\"").replace("== \"x\"", "== \"y\"");
    std::fs::write(project.layer.dir.join("wrong.tftest.hcl"), wrong).unwrap();
    let results = project.driver.test(&project.layer, Vec::new()).await.unwrap();
    let of = |run: &str| results.iter().rfind(|result| result.run.as_deref() == Some(run)).unwrap();
    assert_eq!((of("right").status.as_str(), of("wrong").status.as_str()), ("pass", "fail"), "{results:?}");
    let whole = results.iter().find(|result| result.path.is_none()).unwrap();
    assert_eq!(whole.status, "fail");

    let one = vec!["right.tftest.hcl".to_owned()];
    let results = project.driver.test(&project.layer, one).await.unwrap();
    assert!(results.iter().all(|result| result.status != "fail"), "{results:?}");
}

#[tokio::test]
async fn everything_can_be_destroyed_again() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let options = PlanOptions { mode: PlanMode::Destroy, ..PlanOptions::default() };
    let PlanOutcome::Changes(planned) = project.driver.plan(&project.layer, options).await.unwrap() else {
        panic!("nothing to destroy");
    };
    project.driver.apply(&project.layer, planned).await.unwrap();
    assert_eq!(
        project.driver.run(&project.layer, &Subcommand::StateList { addresses: vec![] }).await.unwrap(),
        ""
    );
}

#[tokio::test]
async fn a_selected_workspace_does_not_change_the_workspace_of_a_release() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let raw = |words: &[&str]| Subcommand::Raw(words.iter().map(Into::into).collect());
    project.driver.run(&project.layer, &raw(&["workspace", "new", "other"])).await.unwrap();

    project.driver.workspace = Some("default".into());
    assert!(matches!(project.plan().await.unwrap(), PlanOutcome::NoChanges { .. }));
    let shown = project.driver.run(&project.layer, &raw(&["workspace", "show"])).await.unwrap();
    assert_eq!(shown.trim(), "other", "for a person it stays selected");

    project.driver.workspace = None;
    assert!(matches!(project.plan().await.unwrap(), PlanOutcome::Changes(_)), "the other one is empty");
    let select = Subcommand::WorkspaceSelect { name: "default".into() };
    project.driver.run(&project.layer, &select).await.unwrap();
    assert!(matches!(project.plan().await.unwrap(), PlanOutcome::NoChanges { .. }));
}

/// A value that is in no plan and no state has to be there again for the apply. Before 1.10, Terraform has no such
/// values and says so.
#[tokio::test]
async fn an_ephemeral_variable_reaches_the_plan_and_the_apply_and_is_stored_in_neither() {
    let mut project = Project::new(
        "variable \"token\" {\n  type      = string\n  ephemeral = true\n}\n\
         resource \"terraform_data\" \"this\" {\n  provisioner \"local-exec\" {\n    \
         command = \"test '${var.token}' = hunter2-hunter2\"\n  }\n}\n",
    )
    .await;
    project.set("token", "hunter2-hunter2");
    let initialised = project.driver.init_if_needed(&project.layer).await;
    let version = &project.driver.terraform.version;
    if (version.major, version.minor) < (1, 10) {
        let told = format!("{:?}", initialised.unwrap_err());
        assert!(told.contains("ephemeral"), "{told}");
        return;
    }
    let planned = project.planned().await;
    assert!(!format!("{:?}", planned.plan).contains("hunter2"), "{:?}", planned.plan);
    project.driver.apply(&project.layer, planned).await.unwrap();
    let state = project.driver.run(&project.layer, &Subcommand::StatePull).await.unwrap();
    assert!(state.contains("terraform_data") && !state.contains("hunter2"), "{state}");
}
