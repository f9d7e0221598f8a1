//! A stage without a release by deployctl: functions that run, API, Terraform outputs and ledger are written directly, in
//! seconds.

use std::io::Write as _;
use std::time::Duration;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use lambda::client::Waiters as _;
use serde_json::{Value, json};

use super::minimal_project::MinimalProject;
use super::{fixtures, sdk};

/// The stage.
#[derive(Debug)]
pub(crate) struct SeededStage {
    lambda: lambda::Client,
    gateway: gateway::Client,
    api: String,
}

impl SeededStage {
    /// Two functions, `greet` and `fail`, as release 1.0.0 on the local stage of `project`.
    pub(crate) async fn on(project: &MinimalProject) -> Self {
        let up = project.run(&["local", "up", "--output", "json"]).await.exit(0).json();
        let config = sdk::config(up["endpoint"].as_str().unwrap(), "000000000000");
        let gateway = gateway::Client::new(&config);
        let api = fixtures::create_api(&gateway, &[]).await;
        let made = Self { lambda: lambda::Client::new(&config), gateway, api };
        made.function("greet", &greeting("hello")).await;
        made.function("fail", "def handler(event, context):\n    raise ValueError('on purpose')\n").await;
        let deployment = made.gateway.create_deployment().rest_api_id(&made.api).send().await.unwrap();
        let deployment = deployment.id.unwrap();
        let variables = [("release", "1.0.0"), ("greet", "1"), ("fail", "1")];
        let stage = made.gateway.create_stage().rest_api_id(&made.api).stage_name("local");
        let stage = variables.iter().fold(stage, |stage, (name, value)| stage.variables(*name, *value));
        stage.deployment_id(&deployment).send().await.unwrap();
        made.write_down(&s3::Client::new(&config), &deployment).await;
        made
    }

    async fn function(&self, name: &str, code: &str) {
        let code = lambda::types::FunctionCode::builder().zip_file(zipped(code).into()).build();
        let create = self.lambda.create_function().function_name(format!("small-{name}")).code(code);
        let create = create.runtime(lambda::types::Runtime::from("python3.11")).handler("code.handler");
        create.role("arn:aws:iam::000000000000:role/any").publish(true).send().await.unwrap();
        self.settle(name, "1").await;
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

    /// The outputs of both layers, and the ledger's record of release 1.0.0.
    async fn write_down(&self, s3: &s3::Client, deployment: &str) {
        let put = async |bucket: &str, key: &str, value: Value| {
            let body = s3::primitives::ByteStream::from(value.to_string().into_bytes());
            s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
        };
        let states = "small-local-tfstate-000000000000";
        for bucket in [states, "small-artifacts"] {
            s3.create_bucket().bucket(bucket).send().await.unwrap();
        }
        let state = |outputs: Value| json!({ "version": 4, "outputs": outputs, "resources": [] });
        let base = state(json!({ "artifact_bucket": { "value": "small-artifacts", "type": "string" } }));
        put(states, "small/local/base.tfstate", base).await;
        let function = |name: &str| json!({ "name": format!("small-{name}"), "artifact": "hello" });
        let contract = json!({
            "artifact_bucket": "small-artifacts", "rest_api_id": self.api, "stage_name": "local",
            "invoke_url": "http://nowhere", "functions": { "greet": function("greet"), "fail": function("fail") },
        });
        let app = state(json!({ "deployctl": { "value": contract, "type": "dynamic" } }));
        put(states, "small/local/app.tfstate", app).await;

        let zeros = "0".repeat(64);
        let function = |name: &str| {
            json!({
                "name": format!("small-{name}"), "artifact": "hello", "version": "1", "code_sha256": "",
                "config_sha256": zeros,
            })
        };
        let variables = json!({ "release": "1.0.0", "greet": "1", "fail": "1" });
        let record = json!({
            "schema": 1, "number": 1, "action": "release", "outcome": "live",
            "release": {
                "version": "1.0.0", "git": null, "artifacts": {},
                "functions": { "greet": function("greet"), "fail": function("fail") },
                "api": { "id": self.api, "stage": "local", "deployment_id": deployment, "fingerprint": zeros },
            },
            "pointer": { "deployment_id": deployment, "variables": variables },
            "before": { "pointer": { "deployment_id": deployment, "variables": {} }, "record": null },
            "at": "2026-11-25T12:00:00Z", "who": { "arn": "arn:aws:iam::000000000000:root", "run_url": null },
            "tool": "0.1.0", "steps": [],
        });
        put("small-artifacts", "deployctl/local/ledger/00000001.json", record).await;
    }
}

fn greeting(word: &str) -> String {
    format!(
        "def handler(event, context):\n    print('{word}', event.get('name'))\n    return {{'said': '{word}'}}\n"
    )
}

fn zipped(code: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("code.py", zip::write::SimpleFileOptions::default().unix_permissions(0o644)).unwrap();
    zip.write_all(code.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}
