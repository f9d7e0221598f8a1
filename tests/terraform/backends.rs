//! Backends of the project's own, workspaces, and values of variables in files.

use deployctl::terraform::{Backend, PlanOptions, PlanOutcome, Subcommand};

use super::project::Project;

const CONFIGURATION: &str = r#"
terraform {
  backend "local" {}
}
variable "name" {}
variable "size" {}
variable "ids" {
  type    = list(string)
  default = []
}
resource "terraform_data" "one" {
  input = "${var.name} ${var.size} ${join(",", var.ids)} ${terraform.workspace}"
}
output "one" { value = terraform_data.one.output }
"#;

#[tokio::test]
async fn states_stay_in_the_projects_backend_and_workspace() {
    let mut project = Project::new(CONFIGURATION).await;
    std::fs::write(project.layer.dir.join("dev.hcl"), "workspace_dir = \"../states\"\n").unwrap();
    project.driver.backend = Backend { config: vec!["dev.hcl".into()], ..Backend::default() };
    project.driver.workspace = Some("dev".to_owned());
    project.set("name", "users");
    project.set("size", "5");
    project.driver.init_if_needed(&project.layer).await.unwrap();
    project.apply().await;
    assert!(project.dir.join("states/dev/terraform.tfstate").is_file());
    let outputs = project.driver.outputs(&project.layer).await.unwrap();
    assert_eq!(outputs.get("one").unwrap().value, "users 5  dev");
    let raw = |args: &[&str]| Subcommand::Raw(args.iter().map(Into::into).collect());
    let listed = project.driver.run(&project.layer, &raw(&["state", "list"])).await.unwrap();
    assert_eq!(listed, "terraform_data.one\n");
    let workspaces = project.driver.run(&project.layer, &raw(&["workspace", "list"])).await.unwrap();
    assert!(workspaces.contains("dev"), "{workspaces}");

    // The file is an input of `init`.
    assert!(!project.driver.needs_init(&project.layer).unwrap());
    std::fs::write(project.layer.dir.join("dev.hcl"), "workspace_dir = \"../others\"\n").unwrap();
    assert!(project.driver.needs_init(&project.layer).unwrap());
}

#[tokio::test]
async fn the_drivers_values_replace_those_of_files() {
    let mut project = Project::ready(&CONFIGURATION.replace("backend \"local\" {}", "")).await;
    let write = |name: &str, text: &str| std::fs::write(project.layer.dir.join(name), text).unwrap();
    write("terraform.tfvars", "name = \"of a file\"\nsize = 1\nids = [\"a\"]\n");
    write("z.auto.tfvars", "name = \"of another\"\n");
    write("dev.tfvars", "size = 2\n");
    project.layer.var_files = vec!["dev.tfvars".into()];
    project.set("name", "of the stage");
    project.set("undeclared", "x");
    project.driver.variables.insert("ids".into(), "[\"b\", \"c\"]".into());
    let PlanOutcome::Changes(planned) =
        project.driver.plan(&project.layer, PlanOptions::default()).await.unwrap()
    else {
        panic!("no changes")
    };
    let input = planned.plan.changes[0].attributes["input"].after.clone().unwrap();
    // A text for a list is an expression, which only an environment variable takes.
    assert_eq!(input, "of the stage 2 a default");
    assert!(planned.warnings.is_empty(), "{:?}", planned.warnings);
    drop(planned);
    project.driver.variables.insert("ids".into(), serde_json::json!(["b", "c"]));
    let planned = project.planned().await;
    let input = planned.plan.changes[0].attributes["input"].after.clone().unwrap();
    assert_eq!(input, "of the stage 2 b,c default");

    // Commands by hand get the same values, and a plan file has them already.
    let run = async |args: &[&str]| {
        let raw = Subcommand::Raw(args.iter().map(Into::into).collect());
        project.driver.run_attached(&project.layer, &raw).await.unwrap().code()
    };
    assert_eq!(run(&["plan", "-out=p"]).await, Some(0));
    assert_eq!(run(&["apply", "p"]).await, Some(0));
    let again = run(&["plan", "-detailed-exitcode", "-no-color"]).await;
    assert_eq!(again, Some(0), "nothing is left to change");
    let outputs = project.driver.outputs(&project.layer).await.unwrap();
    assert_eq!(outputs.get("one").unwrap().value, "of the stage 2 b,c default");
    assert_eq!(project.plan_files(), 1, "only the plan that is still held");
    drop(planned);
}
