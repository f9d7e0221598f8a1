//! A released stage without Terraform's resources and without Lambdas that run: functions and an API that are there,
//! and layers that only tell of them. It costs seconds where a real project costs minutes.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde_json::Value;

use super::small::{self, Small};
use super::{bucket, made, sdk};

/// A project whose layers tell of functions and of an API that were made without Terraform.
#[derive(Debug)]
pub struct Bare {
    /// The project.
    pub small: Small,
    /// Functions, asked past deployctl.
    pub lambda: lambda::Client,
    /// The API.
    pub api: String,
}

impl Bare {
    /// A site on a local stage of its own.
    pub async fn new() -> Self {
        let small = Small::new();
        small.settings("[artifacts.hello]", "[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]");
        small.run(&["local", "up"]).await.exit(0);
        let config = sdk::config(&endpoint(&small), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        bucket::make(&s3, "small-artifacts").await;
        let api = made::api(&gateway::Client::new(&config), &["v1"]).await;
        Self { small, lambda: lambda::Client::new(&config), api }
    }

    /// Makes the functions that are missing, and lets the contract have `count`.
    pub async fn has_functions(&self, count: usize) {
        made::functions(&self.lambda, (0..count).map(|number| format!("small-{number}"))).await;
        self.tells(count, "");
    }

    /// Lets the layer `app` tell of `count` functions, after this Terraform.
    pub fn tells(&self, count: usize, terraform: &str) {
        let functions: Vec<String> = (0..count)
            .map(|number| format!("f{number} = {{ name = \"small-{number}\", artifact = \"hello\" }}"))
            .collect();
        self.small.layer(
            "app",
            &format!(
                "{terraform}output \"deployctl\" {{\n value = {{\n artifact_bucket = \"small-artifacts\"\n \
                 rest_api_id = \"{}\"\n stage_name = \"v1\"\n invoke_url = \"unused\"\n functions = {{\n {}\n \
                 }}\n }}\n}}\n",
                self.api,
                functions.join("\n ")
            ),
        );
    }

    /// Builds other bytes than ever before.
    pub fn build(&self, version: &str) {
        let mut bytes = small::executable(std::env::consts::ARCH);
        bytes.extend_from_slice(version.as_bytes());
        self.small.write("dist/bootstrap", bytes);
    }
}

/// Where the local stage of `small` answers.
pub fn endpoint(small: &Small) -> String {
    let file = small.path().join(".deployctl/local/stage.json");
    let stage: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    format!("http://127.0.0.1:{}", stage["port"])
}
