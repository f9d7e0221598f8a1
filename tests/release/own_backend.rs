//! A project whose Terraform states stay where they are, with the real Terraform on a local stage: a root module for each
//! stage, a workspace, and an artifact bucket that no layer makes.

use std::os::unix::fs::PermissionsExt as _;

use aws_sdk_s3 as s3;
use serde_json::json;

use crate::support::counting_terraform::CountingTerraform;
use crate::support::minimal_project::MinimalProject;
use crate::support::sdk;
use crate::support::seeded_stage::SeededStage;

const SETTINGS: &str = r#"project = "small"
default_stage = "local"
backend = "own"
artifact_bucket = "small-artifacts"

[stages.local]
local = true
workspace = "dev"
backend_config = ["backend/dev.hcl"]

[layers.app]
path = "envs/{stage}"
var_files = ["{stage}.tfvars"]

[artifacts.hello]
path = "dist/bootstrap"
key = "hello/{version}.zip"
"#;

const MODULE: &str = r#"
variable "stage" {}
variable "size" {}
resource "terraform_data" "this" { input = "${var.stage}-${var.size}-${terraform.workspace}" }
output "name" { value = terraform_data.this.output }
"#;

struct Adopted {
    project: MinimalProject,
    terraform: CountingTerraform,
}

impl Adopted {
    /// The module with this backend block.
    fn module(&self, backend: &str) {
        self.project.write("envs/local/main.tf", format!("terraform {{\n  {backend}\n}}\n{MODULE}"));
    }

    async fn fails(&self, args: &[&str], id: &str, texts: &[&str]) {
        let refused = self.project.run(&[args, &["--output", "json"]].concat()).await;
        let error = &refused.json()["error"];
        assert_eq!(error["id"], id, "{refused:?}");
        for text in texts {
            assert!(error.to_string().contains(text), "{text:?} is not in {error:#}");
        }
    }
}

#[tokio::test]
async fn a_project_is_adopted_where_its_states_are() {
    let mut project = MinimalProject::new();
    let _stage = SeededStage::on(&project).await;
    let up = project.run(&["local", "up", "--output", "json"]).await.exit(0).json();
    let config = sdk::config(up["endpoint"].as_str().unwrap(), "000000000000");
    let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
    let terraform = CountingTerraform::new(project.path(), std::path::Path::new("terraform"));
    project.program = project.program.clone().with("DEPLOYCTL_TERRAFORM", &terraform.program);
    project.write("deployctl.toml", SETTINGS);
    project.write("backend/dev.hcl", "");
    project.write("local.tfvars", "size = 3\n");
    let adopted = Adopted { project, terraform };
    let (project, run) = (&adopted.project, |args| adopted.project.run(args));

    // Only Terraform can read this state, so status and rollback use the live record.
    adopted.module("backend \"local\" {}");
    let status = run(&["status", "--output", "json"]).await.exit(0).json();
    assert_eq!(
        (&status["version"], &status["functions"]["greet"]["version"]),
        (&json!("1.0.0"), &json!("1"))
    );
    run(&["rollback"]).await.says(&["rollback.no_target"]);
    // So does a release of only code, which has nothing to compare the layer with.
    let code_only = ["release", "--version", "1.1.0", "--code-only"];
    adopted.fails(&code_only, "infrastructure.changed", &["layer app"]).await;
    let ignoring = [&code_only[..], &["--ignore-infrastructure"]].concat();
    let ignoring = run(&ignoring).await;
    assert!(ignoring.stderr.contains("infrastructure not planned"), "{ignoring:?}");
    assert_eq!(adopted.terraform.calls(), [""; 0], "no Terraform process");
    assert_eq!(run(&["output", "--output", "json"]).await.exit(0).json(), json!({ "app": {} }));

    // A partial backend in S3: its file and the workspace say where the state is.
    std::fs::remove_dir_all(project.path().join(".deployctl/terraform")).unwrap();
    adopted.module("backend \"s3\" {\n    key = \"users.tfstate\"\n    workspace_key_prefix = \"ws\"\n  }");
    project.write("backend/dev.hcl", "bucket = \"small-own\"\nregion = \"us-east-1\"\nuse_lockfile = true\n");
    run(&["terraform", "app", "--", "apply", "-auto-approve", "-no-color"]).await.exit(0);
    let state = s3.get_object().bucket("small-own").key("ws/dev/users.tfstate").send().await;
    assert!(state.is_ok(), "{state:?}");
    adopted.terraform.calls();
    let outputs = run(&["output", "--output", "json"]).await.exit(0).json();
    assert_eq!(outputs, json!({ "app": { "name": "local-3-dev" } }));
    assert_eq!(adopted.terraform.calls(), [""; 0], "no Terraform process");

    // A state of before deployctl has no contract: nothing has been released.
    adopted.fails(&["status"], "stage.empty", &[]).await;
    run(&["plan"]).await.exit(0);

    // A value for another stage is an error that names both places.
    project.write("envs/local/terraform.tfvars", "\nstage = \"prd\"\n");
    let places = ["envs/local/terraform.tfvars:2 sets stage", "stage local of deployctl.toml"];
    adopted.fails(&["plan"], "terraform.variable_conflict", &places).await;
    run(&["terraform", "app", "--", "plan", "-no-color"]).await.exit(2);
    std::fs::remove_file(project.path().join("envs/local/terraform.tfvars")).unwrap();

    // The state of another workspace is empty, and the API exists: no second one is planned.
    project.write("deployctl.toml", SETTINGS.replace("workspace = \"dev\"", "workspace = \"other\""));
    let planned = json!({
        "format_version": "1.2",
        "resource_changes": [{
            "address": "aws_api_gateway_rest_api.this", "type": "aws_api_gateway_rest_api", "mode": "managed",
            "change": { "actions": ["create"], "before": null, "after": { "name": "small" } },
        }],
    });
    let show = project.write("plan.json", planned.to_string());
    let program = project.write(
        "shows-an-api",
        format!("#!/bin/sh\n[ \"$1\" = show ] && exec cat '{}'\nexec terraform \"$@\"\n", show.display()),
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let planning = project.program.clone().with("DEPLOYCTL_TERRAFORM", &program);
    let refused = planning.run(&["plan", "--output", "json"]).await.exit(20).json();
    assert_eq!(refused["error"]["id"], "terraform.state_empty", "{refused:#}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("REST API small"), "{refused:#}");

    // A setting that the stage has nothing for is named.
    project.write("deployctl.toml", SETTINGS);
    adopted.module("backend \"s3\" {\n    key = \"users.tfstate\"\n    dynamodb_table = \"acme-locks\"\n  }");
    std::fs::remove_dir_all(project.path().join(".deployctl/terraform")).unwrap();
    let named = ["dynamodb_table = \\\"acme-locks\\\"", "use_lockfile"];
    adopted.fails(&["release", "--version", "1.1.0"], "terraform.backend_setting", &named).await;
}
