//! A project whose API and functions somebody has made without Terraform, on two local stages: cheap to release.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_lambda::client::Waiters as _;
use aws_sdk_s3 as s3;
use serde_json::Value;

use crate::small::{Small, executable};
use crate::{bucket, made, sdk};

/// The stages.
pub const STAGES: [&str; 2] = ["local", "next"];

/// The project, and where its stages are.
#[derive(Debug)]
pub struct Site {
    /// The project.
    pub small: Small,
    /// `.deployctl/local/stage.json`: where deployctl finds the local stage.
    pub stage: Value,
    /// AWS's own clients.
    pub s3: s3::Client,
    lambda: lambda::Client,
}

impl Site {
    /// Starts the local stage and makes what the contract tells of.
    pub async fn new() -> Self {
        let small = Small::new();
        small.settings(
            "[stages.dev]\naccount = \"111111111111\"\nregion = \"us-east-1\"\n",
            "[stages.next]\nlocal = true\n",
        );
        small.run(&["local", "up"]).await.exit(0);
        let file = small.path().join(".deployctl/local/stage.json");
        let stage: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let config = sdk::config(&format!("http://127.0.0.1:{}", stage["port"]), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        for stage in STAGES {
            bucket::make(&s3, &bucket(stage)).await;
        }
        let api = made::api(&gateway::Client::new(&config), &STAGES).await;
        let lambda = lambda::Client::new(&config);
        made::functions(&lambda, STAGES.map(|stage| format!("small-{stage}-hello"))).await;
        small.layer("base", &format!("{STAGE}output \"artifact_bucket\" {{\n value = \"{BUCKET}\"\n}}\n"));
        small.layer("app", &contract(&api));
        // With the rights of a person, once; the local stage would otherwise do so by itself in the first release.
        for stage in STAGES {
            small.run(&["bootstrap", "--stage", stage]).await.exit(0);
        }
        Self { small, stage, s3, lambda }
    }

    /// Lets deployctl, and Terraform with it, find the stage at another port.
    pub fn behind(&self, port: &Value) {
        let mut stage = self.stage.clone();
        stage["port"] = port.clone();
        self.small.write(".deployctl/local/stage.json", stage.to_string());
    }

    /// Another configuration of the function, as Terraform would give it.
    pub async fn configure(&self) {
        let update = self.lambda.update_function_configuration().function_name("small-local-hello");
        update.description("another").send().await.unwrap();
        // As Terraform waits: deployctl would wait by GetFunction, which is among the rights that are Terraform's here.
        let wait = self.lambda.wait_until_function_updated_v2().function_name("small-local-hello");
        wait.wait(std::time::Duration::from_secs(30)).await.unwrap();
    }

    /// Other bytes than before.
    pub fn build(&self, version: &str) {
        let mut bytes = executable(std::env::consts::ARCH);
        bytes.extend_from_slice(version.as_bytes());
        self.small.write("dist/bootstrap", bytes);
    }
}

const STAGE: &str = "variable \"stage\" {\n type = string\n}\n\n";
const BUCKET: &str = "small-${var.stage}-artifacts-000000000000";

/// The bucket of a stage's zips.
pub fn bucket(stage: &str) -> String {
    BUCKET.replace("${var.stage}", stage)
}

fn contract(api: &str) -> String {
    format!(
        "{STAGE}output \"deployctl\" {{\n value = {{\n artifact_bucket = \"{BUCKET}\"\n \
         rest_api_id = \"{api}\"\n stage_name = var.stage\n invoke_url = \"unused\"\n functions = {{\n \
         hello = {{ name = \"small-${{var.stage}}-hello\", artifact = \"hello\" }}\n }}\n }}\n}}\n"
    )
}
