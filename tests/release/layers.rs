//! Layers and the ways past a release, with the real program and the real Terraform on a local stage: the first plan,
//! Terraform by hand, outputs, what a plan without changes costs, and destruction in reverse order.

use std::path::Path;

use crate::support::counting_terraform::CountingTerraform;
use crate::support::minimal_project::MinimalProject;
use crate::support::private::open_to_others;
use crate::support::program::CommandOutput;
use crate::support::pty::type_keys;
use crate::support::{fixtures, sdk};
use aws_sdk_s3 as s3;
use serde_json::{Value, json};

/// `app` and `logs` read the outputs of `base`, and nothing of each other.
const READS_BASE: &str = r#"
variable "state_bucket" {}
variable "state_prefix" {}
data "terraform_remote_state" "base" {
  backend = "s3"
  config = {
    bucket = var.state_bucket
    key    = "${var.state_prefix}/base.tfstate"
    region = "us-east-1"
  }
}
resource "terraform_data" "this" {
  input = data.terraform_remote_state.base.outputs.artifact_bucket
  provisioner "local-exec" { command = "sleep 1" }
  provisioner "local-exec" {
    when    = destroy
    command = "sleep 1"
  }
}
"#;

const BASE: &str = r#"
resource "terraform_data" "this" { input = "small-artifacts" }
output "artifact_bucket" { value = terraform_data.this.output }
output "password" {
  value     = "correct horse"
  sensitive = true
}
"#;

struct Layers {
    project: MinimalProject,
    terraform: CountingTerraform,
}

impl Layers {
    fn new() -> Self {
        let mut project = MinimalProject::new();
        project.settings("[artifacts.hello]", "[layers.logs]\ndepends_on = [\"base\"]\n\n[artifacts.hello]");
        project.layer("base", BASE);
        project.layer("app", READS_BASE);
        project.layer(
            "logs",
            &format!("{READS_BASE}output \"bucket\" {{ value = terraform_data.this.output }}\n"),
        );
        let terraform = CountingTerraform::new(project.path(), Path::new("terraform"));
        project.program = project.program.clone().with("DEPLOYCTL_TERRAFORM", &terraform.program);
        Self { project, terraform }
    }

    /// A project whose layers are applied.
    async fn applied() -> Self {
        let layers = Self::new();
        layers.apply("base").await;
        tokio::join!(layers.apply("app"), layers.apply("logs"));
        layers.calls();
        layers
    }

    async fn run(&self, args: &[&str]) -> CommandOutput {
        self.project.run(args).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }

    /// Terraform by hand.
    async fn by_hand(&self, layer: &str, args: &[&str]) -> CommandOutput {
        self.run(&[&["terraform", layer, "--"], args].concat()).await
    }

    async fn apply(&self, layer: &str) {
        self.by_hand(layer, &["apply", "-auto-approve", "-input=false", "-no-color"]).await.exit(0);
    }

    /// A client of the local stage's S3.
    async fn store(&self) -> s3::Client {
        let up = self.json(&["local", "up"]).await;
        let config = sdk::config(up["endpoint"].as_str().unwrap(), "000000000000");
        s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build())
    }

    /// The Terraform processes since this was last asked, in no order.
    fn calls(&self) -> Vec<String> {
        let calls = self.terraform.calls();
        let first_two = |call: &String| call.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
        let mut calls: Vec<String> = calls.iter().map(first_two).collect();
        calls.sort();
        calls
    }
}

/// What cannot be planned yet is named, and nothing is made up for it.
#[tokio::test]
async fn the_first_plan_names_what_cannot_be_planned_yet() {
    let layers = Layers::new();
    let check = "check \"name\" {\n  assert {\n    condition     = length(terraform_data.this.input) > 100\n    \
                 error_message = \"the name is short\"\n  }\n}\n";
    layers.project.layer("base", &format!("{BASE}{check}"));
    let plan = layers.run(&["plan"]).await.exit(0);
    assert!(plan.stdout.contains("base"), "{plan:?}");
    // A failed check has its text and place wherever the plan is read.
    let line = 4 + BASE.lines().count() + 3;
    let warning = format!("Check block assertion failed (terraform/base/main.tf:{line}): the name is short");
    assert!(plan.stdout.contains(&format!("  warning: {warning}\n")), "{plan:?}");
    assert!(plan.stderr.contains(&format!("base: warning: {warning}\n")), "{plan:?}");
    let markdown = layers.run(&["plan", "--markdown"]).await.exit(0).stdout;
    assert!(markdown.contains(&format!("Warning:\n\n```text\n{warning}\n```\n")), "{markdown}");
    for layer in ["app", "logs"] {
        let line = format!("layer {layer} cannot be planned: it reads the outputs of base, not applied yet");
        assert!(plan.stdout.contains(&line), "{plan:?}");
    }
    let plan = layers.run(&["plan", "--exit-code", "--output", "json"]).await.exit(3).json();
    let states: Vec<&str> =
        plan["layers"].as_array().unwrap().iter().map(|layer| layer["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["changes", "not_yet", "not_yet"], "{plan:#}");
    assert_eq!(plan["layers"][1]["needs"], json!(["base"]));
    assert_eq!(plan["functions"], Value::Null);
    assert_eq!(plan["version"], "unreleased");
    let warnings = plan["layers"][0]["warnings"].as_array().unwrap();
    assert_eq!((warnings.len(), &warnings[0]["detail"]), (1, &json!("the name is short")), "{plan:#}");
    assert_eq!((&warnings[0]["file"], &warnings[0]["line"]), (&json!("main.tf"), &json!(line)));
    assert_eq!(
        layers.json(&["output"]).await,
        json!({ "app": {}, "base": {}, "logs": {} }),
        "nothing was applied"
    );
}

/// Terraform's own terminal, output and exit code.
#[tokio::test]
async fn terraform_runs_by_hand() {
    let layers = Layers::new();
    let plan = layers.by_hand("base", &["plan", "-detailed-exitcode", "-no-color"]).await.exit(2);
    assert!(plan.stdout.contains("Plan: 1 to add"), "{plan:?}");
    let unknown = layers.by_hand("bass", &["version"]).await.exit(2);
    assert!(unknown.stderr.contains("bass"), "{unknown:?}");
    layers.by_hand("base", &["state", "show", "nothing.here"]).await.exit(1);

    // On a terminal it asks, and the answer reaches it.
    let apply = "terraform base -- apply -no-color";
    let ended = type_keys(&layers.project.program, layers.project.path(), apply, "Enter a value:", "yes\n")
        .await
        .exit(0);
    assert!(ended.stdout.contains("Only 'yes' will be accepted"), "{ended:?}");
    assert!(ended.stdout.contains("Apply complete! Resources: 1 added"), "{ended:?}");

    // Also what Terraform writes with the umask is for the user alone, and its log, which has secrets.
    let log = layers.project.path().join("terraform.log");
    std::fs::write(&log, "").unwrap();
    let program = layers.project.program.clone().with("DEPLOYCTL_TERRAFORM_LOG", &log);
    let plan = ["terraform", "base", "--", "plan", "-no-color"];
    CommandOutput::of(program.command_with_umask("000", &plan).output().await.unwrap()).exit(0);
    assert!(std::fs::metadata(&log).unwrap().len() > 1000, "the log is nearly empty");
    assert_eq!(open_to_others(&log), [""; 0]);
    assert_eq!(open_to_others(&layers.project.path().join(".deployctl")), [""; 0]);

    layers.apply("app").await;
    let listed = layers.by_hand("app", &["state", "list"]).await.exit(0).stdout;
    assert!(listed.contains("terraform_data.this"), "{listed}");
}

/// Read without Terraform; secrets only for who asks for them.
#[tokio::test]
async fn outputs_are_read_without_terraform() {
    let layers = Layers::applied().await;
    let bucket = "small-artifacts";
    let all = layers.json(&["output"]).await;
    assert_eq!(all["base"], json!({ "artifact_bucket": bucket, "password": "(sensitive)" }));
    assert_eq!(all["logs"], json!({ "bucket": bucket }));
    assert_eq!(layers.json(&["output", "--layer", "logs"]).await, json!({ "bucket": bucket }));
    assert_eq!(layers.run(&["output", "artifact_bucket"]).await.exit(0).stdout, format!("{bucket}\n"));
    let refused = layers.run(&["output", "password"]).await.exit(2).says(&["output.sensitive"]);
    assert_eq!(refused.stdout, "");
    let shown = layers.run(&["output", "--show-sensitive", "password"]).await.exit(0);
    assert_eq!(shown.stdout, "correct horse\n");
    layers.run(&["output", "nothing"]).await.exit(2).says(&["output.unknown"]);
    assert_eq!(layers.calls(), [""; 0], "no Terraform process");
    // Terraform itself prints the value, so it is masked before.
    let on_github = layers.project.program.clone().with("GITHUB_ACTIONS", "true");
    for progress in ["auto", "json"] {
        let args = ["terraform", "base", "--progress", progress, "--", "output", "-raw", "password"];
        let shown = on_github.run(&args).await.exit(0);
        assert_eq!(shown.stdout, "correct horse");
        assert!(shown.stderr.contains("::add-mask::correct horse\n"), "{}", shown.stderr);
    }
}

/// One process for each layer, and those that need not wait for each other do not.
#[tokio::test]
async fn a_plan_without_changes_is_one_process_for_each_layer() {
    let layers = Layers::applied().await;
    let plan = layers.run(&["plan", "--progress", "json", "--output", "json"]).await.exit(0);
    let states = &plan.json()["layers"];
    assert!(states.as_array().unwrap().iter().all(|layer| layer["state"] == "no_changes"), "{states:#}");
    assert_eq!(layers.calls(), ["app plan", "base plan", "logs plan"]);
    let place = |event: &str, step: &str| {
        let is_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["event"] == event && line["step"] == step
        };
        plan.stderr.lines().position(is_it).unwrap_or_else(|| panic!("{event} {step}: {}", plan.stderr))
    };
    // With two cores, two at a time: the outputs of `base` are those of its last apply.
    assert!(place("step_started", "terraform plan app") < place("step_finished", "terraform plan base"));
}

/// A layer that cannot be planned before its dependencies exist is checked before they are created.
#[tokio::test]
async fn an_invalid_layer_stops_the_first_release_before_anything_is_applied() {
    let layers = Layers::new();
    layers.project.layer("app", &format!("{READS_BASE}output \"none\" {{ value = var.missing }}\n"));
    let refused = layers.run(&["release", "--version", "1.0.0"]).await.exit(20);
    refused.says(&["terraform validate app", "undeclared input variable", "main.tf"]);
    let calls = layers.calls();
    assert!(calls.contains(&"app validate".to_owned()), "{calls:?}");
    assert!(!calls.iter().any(|call| call.ends_with("apply")), "{calls:?}");
}

/// A plan is made on the outputs as they are, and again if an apply has changed them. One that fails before that may
/// pass after it.
#[tokio::test]
async fn a_layer_is_planned_again_after_its_dependencies_have_changed() {
    let layers = Layers::applied().await;
    layers.project.build("1.0.0");
    layers.project.layer("base", &format!("{BASE}output \"more\" {{ value = \"more\" }}\n"));
    layers.project.layer(
        "app",
        &format!("{READS_BASE}output \"more\" {{ value = data.terraform_remote_state.base.outputs.more }}\n"),
    );
    let plan = layers.json(&["plan"]).await;
    assert_eq!(plan["layers"][1]["state"], "not_yet", "{plan:#}");
    assert_eq!(plan["layers"][1]["needs"], json!(["base"]));
    layers.calls();
    // The artifact bucket of these layers does not exist, and nothing can be released.
    fixtures::create_bucket(&layers.store().await, "small-artifacts").await;
    layers.run(&["release", "--version", "1.0.0"]).await;
    let calls = layers.calls();
    for (call, count) in [("app plan", 2), ("base plan", 1), ("logs plan", 2), ("base apply", 1)] {
        assert_eq!(calls.iter().filter(|made| *made == call).count(), count, "{call}: {calls:?}");
    }
    assert_eq!(layers.json(&["output", "--layer", "app"]).await["more"], "more");
}

/// Last layer first, and not without being sure.
#[tokio::test]
async fn layers_are_destroyed_in_reverse_order() {
    let layers = Layers::applied().await;
    layers.run(&["destroy"]).await.exit(2).says(&["destroy.unconfirmed", "--yes"]);
    assert_eq!(layers.calls(), [""; 0]);
    // deployctl deletes what is its own in the artifact bucket, and nothing else.
    let store = layers.store().await;
    store.create_bucket().bucket("small-artifacts").send().await.unwrap();
    for key in
        ["hello/1.0.0.zip", "deployctl/local/ledger/00000001.json", "deployctl/other/lease.json", "mine.txt"]
    {
        store.put_object().bucket("small-artifacts").key(key).send().await.unwrap();
    }
    let destroyed = layers
        .run(&["destroy", "--yes", "--delete-releases", "--progress", "json", "--output", "json"])
        .await
        .exit(0);
    assert_eq!(destroyed.json()["outcome"], "destroyed");
    let finished: Vec<String> = destroyed
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "step_finished")
        .filter_map(|event| Some(event["step"].as_str()?.strip_prefix("terraform destroy ")?.to_owned()))
        .collect();
    assert_eq!(finished.len(), 3, "{finished:?}");
    assert_eq!(finished[2], "base", "what others stand on goes last");
    let left = layers.by_hand("base", &["state", "list"]).await.exit(0).stdout;
    assert!(!left.contains("terraform_data"), "{left}");
    let kept = store.list_objects_v2().bucket("small-artifacts").send().await.unwrap();
    let kept: Vec<&str> = kept.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(kept, ["deployctl/other/lease.json", "mine.txt"]);
}
