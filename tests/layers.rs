//! Layers and the ways past a release, with the real program and the real Terraform on a local stage: the first plan,
//! Terraform by hand, outputs, what a plan without changes costs, and destruction in reverse order.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/program.rs"]
mod program;
#[path = "support/sdk.rs"]
mod sdk;
#[path = "support/small.rs"]
mod small;
#[path = "support/typed.rs"]
mod typed;

use std::os::unix::fs::PermissionsExt as _;

use aws_sdk_s3 as s3;
use program::Ended;
use serde_json::{Value, json};
use small::Small;
use typed::typed;

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
    small: Small,
}

impl Layers {
    fn new() -> Self {
        let mut small = Small::new();
        small.settings("[artifacts.hello]", "[layers.logs]\ndepends_on = [\"base\"]\n\n[artifacts.hello]");
        small.layer("base", BASE);
        small.layer("app", READS_BASE);
        small.layer(
            "logs",
            &format!("{READS_BASE}output \"bucket\" {{ value = terraform_data.this.output }}\n"),
        );
        let calls = small.path().join("calls");
        let script = format!(
            "#!/bin/sh\nprintf '%s %s\\n' \"${{PWD##*/}}\" \"$1\" >>'{}'\nexec terraform \"$@\"\n",
            calls.display()
        );
        let counting = small.write("counting-terraform", script);
        std::fs::set_permissions(&counting, std::fs::Permissions::from_mode(0o755)).unwrap();
        small.program = small.program.clone().with("DEPLOYCTL_TERRAFORM", counting);
        Self { small }
    }

    async fn run(&self, args: &[&str]) -> Ended {
        self.small.run(args).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }

    /// Terraform by hand.
    async fn terraform(&self, layer: &str, args: &[&str]) -> Ended {
        self.run(&[&["terraform", layer, "--"], args].concat()).await
    }

    async fn apply(&self, layer: &str) {
        self.terraform(layer, &["apply", "-auto-approve", "-input=false", "-no-color"]).await.exit(0);
    }

    /// A client of the local stage's S3.
    async fn store(&self) -> s3::Client {
        let up = self.json(&["local", "up"]).await;
        let config = sdk::config(up["endpoint"].as_str().unwrap(), "000000000000");
        s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build())
    }

    /// The Terraform processes since this was last asked, in no order.
    fn calls(&self) -> Vec<String> {
        let path = self.small.path().join("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::remove_file(&path).ok();
        let mut calls: Vec<String> = text.lines().map(str::to_owned).collect();
        calls.sort();
        calls
    }
}

#[tokio::test]
async fn from_the_first_plan_to_the_end() {
    let layers = Layers::new();
    first_plan(&layers).await;
    by_hand(&layers).await;
    outputs(&layers).await;
    plan_without_changes(&layers).await;
    destruction(&layers).await;
}

/// What cannot be planned yet is named, and nothing is made up for it.
async fn first_plan(layers: &Layers) {
    let plan = layers.run(&["plan"]).await.exit(0);
    assert!(plan.stdout.contains("base"), "{plan:?}");
    for layer in ["app", "logs"] {
        let line =
            format!("layer {layer} cannot be planned yet: it reads the outputs of base, not applied so far");
        assert!(plan.stdout.contains(&line), "{plan:?}");
    }
    let plan = layers.run(&["plan", "--exit-code", "--output", "json"]).await.exit(3).json();
    let states: Vec<&str> =
        plan["layers"].as_array().unwrap().iter().map(|layer| layer["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["changes", "not_yet", "not_yet"], "{plan:#}");
    assert_eq!(plan["layers"][1]["needs"], json!(["base"]));
    assert_eq!(plan["functions"], Value::Null);
    assert_eq!(
        layers.json(&["output"]).await,
        json!({ "app": {}, "base": {}, "logs": {} }),
        "nothing was applied"
    );
}

/// Terraform's own terminal, output and exit code.
async fn by_hand(layers: &Layers) {
    let plan = layers.terraform("base", &["plan", "-detailed-exitcode", "-no-color"]).await.exit(2);
    assert!(plan.stdout.contains("Plan: 1 to add"), "{plan:?}");
    let unknown = layers.terraform("bass", &["version"]).await.exit(2);
    assert!(unknown.stderr.contains("bass"), "{unknown:?}");
    layers.terraform("base", &["state", "show", "nothing.here"]).await.exit(1);

    // On a terminal it asks, and the answer reaches it.
    let apply = "terraform base -- apply -no-color";
    let ended =
        typed(&layers.small.program, layers.small.path(), apply, "Enter a value:", "yes\n").await.exit(0);
    assert!(ended.stdout.contains("Only 'yes' will be accepted"), "{ended:?}");
    assert!(ended.stdout.contains("Apply complete! Resources: 1 added"), "{ended:?}");

    layers.apply("app").await;
    layers.apply("logs").await;
    let listed = layers.terraform("app", &["state", "list"]).await.exit(0).stdout;
    assert!(listed.contains("terraform_data.this"), "{listed}");
}

/// Read without Terraform; secrets only for who asks for them.
async fn outputs(layers: &Layers) {
    drop(layers.calls());
    let bucket = "small-artifacts";
    let all = layers.json(&["output"]).await;
    assert_eq!(all["base"], json!({ "artifact_bucket": bucket, "password": "(sensitive)" }));
    assert_eq!(all["logs"], json!({ "bucket": bucket }));
    assert_eq!(layers.json(&["output", "--layer", "logs"]).await, json!({ "bucket": bucket }));
    assert_eq!(layers.run(&["output", "artifact_bucket"]).await.exit(0).stdout, format!("{bucket}\n"));
    assert_eq!(layers.run(&["output", "password"]).await.exit(0).stdout, "(sensitive)\n");
    let shown = layers.run(&["output", "--show-sensitive", "password"]).await.exit(0);
    assert_eq!(shown.stdout, "correct horse\n");
    layers.run(&["output", "nothing"]).await.exit(2).says(&["output.unknown"]);
    assert_eq!(layers.calls(), [""; 0], "no Terraform process");
}

/// One process for each layer, and those that need not wait for each other do not.
async fn plan_without_changes(layers: &Layers) {
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
    let (app, logs) = ("terraform plan app", "terraform plan logs");
    assert!(place("step_finished", "terraform plan base") < place("step_started", app));
    assert!(place("step_started", app) < place("step_finished", logs));
    assert!(place("step_started", logs) < place("step_finished", app));
}

/// Last layer first, and not without being sure.
async fn destruction(layers: &Layers) {
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
    let left = layers.terraform("base", &["state", "list"]).await.exit(0).stdout;
    assert!(!left.contains("terraform_data"), "{left}");
    let kept = store.list_objects_v2().bucket("small-artifacts").send().await.unwrap();
    let kept: Vec<&str> = kept.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(kept, ["deployctl/other/lease.json", "mine.txt"]);
}
