//! A stage without a release by deployctl: functions that run, API, Terraform outputs and ledger are written directly, in
//! seconds.

use std::io::Write as _;
use std::time::Duration;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use lambda::client::Waiters as _;
use serde_json::{Value, json};

use super::lambda_zip::lambda_zip;
use super::minimal_project::MinimalProject;
use super::{fixtures, sdk};

/// The stage.
#[derive(Debug)]
pub(crate) struct SeededStage {
    lambda: lambda::Client,
    gateway: gateway::Client,
    s3: s3::Client,
    api: String,
    deployment: String,
}

impl SeededStage {
    /// Two functions, `greet` and `fail`, as release 1.0.0 on the local stage of `project`.
    pub(crate) async fn on(project: &MinimalProject) -> Self {
        let up = project.run(&["local", "up", "--output", "json"]).await.exit(0).json();
        let config = sdk::config(up["endpoint"].as_str().unwrap(), "000000000000");
        let gateway = gateway::Client::new(&config);
        let api = fixtures::create_api(&gateway, &[]).await;
        let deployment = gateway.create_deployment().rest_api_id(&api).send().await.unwrap();
        let deployment = deployment.id.unwrap();
        let (lambda, s3) = (lambda::Client::new(&config), s3::Client::new(&config));
        let made = Self { lambda, gateway, s3, api, deployment };
        made.function("greet", &greeting("hello")).await;
        made.function("fail", "def handler(event, context):\n    raise ValueError('on purpose')\n").await;
        let variables = [("release", "1.0.0"), ("greet", "1"), ("fail", "1")];
        let stage = made.gateway.create_stage().rest_api_id(&made.api).stage_name("local");
        let stage = variables.iter().fold(stage, |stage, (name, value)| stage.variables(*name, *value));
        stage.deployment_id(&made.deployment).send().await.unwrap();
        made.write_down().await;
        made
    }

    async fn function(&self, name: &str, code: &str) {
        let code = lambda::types::FunctionCode::builder().zip_file(zipped(code).into()).build();
        let create = self.lambda.create_function().function_name(format!("small-{name}")).code(code);
        let create = create.runtime(lambda::types::Runtime::from("python3.11")).handler("code.handler");
        create.role("arn:aws:iam::000000000000:role/any").publish(true).send().await.unwrap();
        self.settle(name, "1").await;
    }

    /// Gives `fail` a program that dies before its first event, as version 2, and serves it.
    pub(crate) async fn break_the_start(&self) {
        let configuration = self.lambda.update_function_configuration().function_name("small-fail");
        let configuration =
            configuration.runtime(lambda::types::Runtime::Providedal2023).handler("bootstrap");
        configuration.send().await.unwrap();
        let wait = self.lambda.wait_until_function_updated_v2().function_name("small-fail");
        wait.wait(Duration::from_secs(30)).await.unwrap();
        let program =
            "#!/bin/sh\necho \"thread 'main' panicked at src/main.rs:3:5: no settings\" >&2\nexit 101\n";
        let update = self.lambda.update_function_code().function_name("small-fail").publish(true);
        update.zip_file(lambda_zip(program.as_bytes()).into()).send().await.unwrap();
        self.settle("fail", "2").await;
        self.point(&[("fail", "2")]).await;
    }

    /// Publishes version 2 of `greet`, which says `word`, and switches the stage to it as release 2.0.0.
    pub(crate) async fn release_another(&self, word: &str) {
        let update = self.lambda.update_function_code().function_name("small-greet").publish(true);
        update.zip_file(zipped(&greeting(word)).into()).send().await.unwrap();
        self.settle("greet", "2").await;
        self.point(&[("release", "2.0.0"), ("greet", "2")]).await;
    }

    /// Sets the release that the stage names.
    pub(crate) async fn serve(&self, version: &str) {
        self.point(&[("release", version)]).await;
    }

    async fn point(&self, variables: &[(&str, &str)]) {
        let mut update = self.gateway.update_stage().rest_api_id(&self.api).stage_name("local");
        for (name, value) in variables {
            let operation = gateway::types::PatchOperation::builder().op(gateway::types::Op::Replace);
            let operation = operation.path(format!("/variables/{name}")).value(*value).build();
            update = update.patch_operations(operation);
        }
        update.send().await.unwrap();
    }

    /// Waits until a version can be called.
    async fn settle(&self, name: &str, version: &str) {
        let wait = self.lambda.wait_until_function_active_v2().function_name(format!("small-{name}"));
        wait.qualifier(version).wait(Duration::from_secs(30)).await.unwrap();
    }

    async fn put(&self, bucket: &str, key: &str, value: Value) {
        let body = s3::primitives::ByteStream::from(value.to_string().into_bytes());
        self.s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
    }

    /// The outputs of both layers, and the ledger's record of release 1.0.0.
    async fn write_down(&self) {
        let states = "small-local-tfstate-000000000000";
        for bucket in [states, "small-artifacts"] {
            fixtures::create_bucket(&self.s3, bucket).await;
        }
        let state = |outputs: Value| json!({ "version": 4, "outputs": outputs, "resources": [] });
        let base = state(json!({ "artifact_bucket": { "value": "small-artifacts", "type": "string" } }));
        self.put(states, "small/local/base.tfstate", base).await;
        let function = |name: &str| json!({ "name": format!("small-{name}"), "artifact": "hello" });
        let contract = json!({
            "artifact_bucket": "small-artifacts", "rest_api_id": self.api, "stage_name": "local",
            "invoke_url": "http://nowhere", "functions": { "greet": function("greet"), "fail": function("fail") },
        });
        let app = state(json!({ "deployctl": { "value": contract, "type": "dynamic" } }));
        self.put(states, "small/local/app.tfstate", app).await;
        self.record(1, "1.0.0", "live", "1").await;
    }

    /// Writes a record of a release with this version of `greet` into the ledger.
    pub(crate) async fn record(&self, number: u64, release: &str, outcome: &str, greet: &str) {
        let zeros = "0".repeat(64);
        let function = |name: &str, version: &str| {
            json!({
                "name": format!("small-{name}"), "artifact": "hello", "version": version, "code_sha256": "",
                "config_sha256": zeros,
            })
        };
        let variables = json!({ "release": release, "greet": greet, "fail": "1" });
        let deployment = &self.deployment;
        let record = json!({
            "schema": 1, "number": number, "action": "release", "outcome": outcome,
            "release": {
                "version": release, "git": null, "artifacts": {},
                "functions": { "greet": function("greet", greet), "fail": function("fail", "1") },
                "api": { "id": self.api, "stage": "local", "deployment_id": deployment, "fingerprint": zeros },
            },
            "pointer": { "deployment_id": deployment, "variables": variables },
            "before": { "pointer": { "deployment_id": deployment, "variables": {} }, "record": null },
            "at": "2026-11-25T12:00:00Z", "who": { "arn": "arn:aws:iam::000000000000:root", "run_url": null },
            "tool": "0.1.0", "steps": [],
        });
        self.put("small-artifacts", &format!("deployctl/local/ledger/{number:08}.json"), record).await;
    }
}

fn greeting(word: &str) -> String {
    format!(
        "def handler(event, context):\n    print('{word}', event.get('name'))\n    return {{'said': '{word}'}}\n"
    )
}

/// A zip of a Python function, whose handler is `code.handler`.
pub(crate) fn zipped(code: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("code.py", zip::write::SimpleFileOptions::default().unix_permissions(0o644)).unwrap();
    zip.write_all(code.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}
