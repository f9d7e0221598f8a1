//! An API that calls a function without the version of the release, with the real program on a local stage.

use aws_sdk_apigateway as gateway;
use serde_json::{Value, json};

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::sdk;

const FUNCTION: &str = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:\
                        000000000000:function:small-0";

/// The stage of one function, `small-0`, which `POST /` calls.
pub(super) struct CallingStage {
    pub(super) fake: FakeReleasedStage,
    gateway: gateway::Client,
    root: String,
}

impl CallingStage {
    pub(super) async fn new() -> Self {
        let fake = FakeReleasedStage::new().await;
        fake.create_functions(1).await;
        let config = sdk::config(&fake.project.stage_file().endpoint(), "000000000000");
        let gateway = gateway::Client::new(&config);
        let resources = gateway.get_resources().rest_api_id(&fake.api).send().await.unwrap();
        let root = resources.items()[0].id().unwrap().to_owned();
        let put = gateway.put_method().rest_api_id(&fake.api).resource_id(&root).http_method("POST");
        put.authorization_type("NONE").send().await.unwrap();
        Self { fake, gateway, root }
    }

    /// Makes `POST /` call the function with this qualifier.
    pub(super) async fn call(&self, qualifier: &str) {
        let put = self.gateway.put_integration().rest_api_id(&self.fake.api).resource_id(&self.root);
        let put = put.http_method("POST").integration_http_method("POST");
        let put = put.r#type(gateway::types::IntegrationType::AwsProxy);
        put.uri(format!("{FUNCTION}{qualifier}/invocations")).send().await.unwrap();
    }

    /// The document of a command that ends with `code`.
    pub(super) async fn json(&self, code: i32, args: &[&str]) -> Value {
        self.fake.project.run(&[args, &["--output", "json"]].concat()).await.exit(code).json()
    }

    async fn release(&self, code: i32, version: &str) -> Value {
        self.fake.project.build(version);
        self.json(code, &["release", "--version", version]).await
    }

    /// Creates an alias, and declares it in a `[contract]` table, without the output `deployctl`.
    async fn declare_alias(&self) {
        let FakeReleasedStage { project, lambda, api, .. } = &self.fake;
        let alias = lambda.create_alias().function_name("small-0").name("live");
        alias.function_version("1").send().await.unwrap();
        let outputs = format!("output \"api\" {{\n value = \"{api}\"\n}}\n");
        project
            .layer("app", &format!("{outputs}output \"names\" {{\n value = {{ first = \"small-0\" }}\n}}\n"));
        let table = "[contract]\nrest_api_id = { output = \"api\" }\nstage_name = \"v1\"\n\n\
                     [contract.functions.f0]\nname = { output = \"names\", key = \"first\" }\n\
                     artifact = \"hello\"\nalias = \"live\"\n\n[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]";
        project.settings("[artifacts.hello]", table);
    }

    /// The version that the alias points to.
    async fn alias(&self) -> Value {
        let alias = self.fake.lambda.get_alias().function_name("small-0").name("live").send().await.unwrap();
        alias.function_version().unwrap().into()
    }

    /// The published versions of the function, and the deployments of the API.
    async fn prepared(&self) -> (usize, usize) {
        let versions = self.fake.lambda.list_versions_by_function().function_name("small-0").send().await;
        let deployments = self.gateway.get_deployments().rest_api_id(&self.fake.api).send().await;
        (versions.unwrap().versions().len(), deployments.unwrap().items().len())
    }
}

#[tokio::test]
async fn an_api_that_calls_a_function_without_its_version_is_not_released() {
    let stage = CallingStage::new().await;
    stage.call("").await;
    let before = stage.prepared().await;
    let refused = stage.release(10, "1.0.0").await;
    assert_eq!(refused["error"]["id"], "api.unversioned", "{refused:#}");
    let line = format!("uri = \"{FUNCTION}:$${{stageVariables.f0}}/invocations\"");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("POST / calls $LATEST of small-0") && message.contains(&line), "{message}");
    assert_eq!(stage.prepared().await, before, "something was published");
    // Terraform changes nothing, so the plan knows that the release would be refused.
    assert_eq!(stage.json(10, &["plan"]).await["error"]["id"], "api.unversioned");

    // The stage serves the call of $LATEST, and Terraform corrects the API: the function's new code would get
    // requests before the switch.
    let deploy = stage.gateway.create_deployment().rest_api_id(&stage.fake.api).stage_name("v1");
    deploy.send().await.unwrap();
    stage.call(":${stageVariables.f0}").await;
    let before = stage.prepared().await;
    let refused = stage.release(10, "1.0.0").await;
    assert_eq!(refused["error"]["id"], "release.not_atomic", "{refused:#}");
    assert_eq!(stage.prepared().await, before, "something was published");
    let running = stage.json(0, &["release", "--version", "0.9.0", "--running-code"]).await;
    assert_eq!(
        (&running["outcome"], &running["artifacts"]),
        (&json!("released"), &Value::Null),
        "{running:#}"
    );

    let plan = stage.json(0, &["plan"]).await;
    assert_eq!(plan["not_atomic"], json!([]), "{plan:#}");
    assert_eq!(plan["api"]["others"], json!([{ "caller": "GET /", "calls": "MOCK" }]), "{plan:#}");
    stage.release(0, "1.0.0").await;
    stage.release(0, "2.0.0").await;

    stage.call(":live").await;
    let before = stage.prepared().await;
    assert_eq!(stage.json(10, &["redeploy"]).await["error"]["id"], "api.unversioned");
    assert_eq!(stage.prepared().await, before, "something was deployed");
    let status = stage.json(0, &["status"]).await;
    assert_eq!(
        status["unversioned"],
        json!([{ "caller": "POST /", "calls": "alias live of small-0", "write": line }]),
        "{status:#}"
    );
    // The release that is live again was deployed before the change.
    let rollback = stage.json(0, &["rollback"]).await;
    assert_eq!((&rollback["version"], &rollback["unversioned"]), (&json!("1.0.0"), &json!([])));

    stage.declare_alias().await;
    let released = stage.release(0, "3.0.0").await;
    let function = |document: &Value| document["functions"]["f0"].clone();
    assert_eq!(function(&released)["alias"], "live", "{released:#}");
    assert_eq!(stage.alias().await, function(&released)["version"]);
    let plan = stage.json(0, &["plan"]).await;
    assert_eq!(plan["not_atomic"], json!(["alias live of f0 (small-0) is moved right after the switch"]));
    let back = stage.json(0, &["rollback"]).await;
    assert_eq!(back["version"], "1.0.0");
    assert_eq!(stage.alias().await, function(&back)["version"]);
    assert_ne!(function(&back)["version"], function(&released)["version"]);

    let by_hand = stage.fake.lambda.update_alias().function_name("small-0").name("live");
    by_hand.function_version("1").send().await.unwrap();
    let status = stage.json(0, &["status"]).await;
    let drift = status["drift"].to_string();
    assert!(drift.contains("alias live of small-0 points to 1, the live release has version"), "{status:#}");
    stage.json(0, &["rollback", "--to", "1.0.0"]).await;
    assert_eq!(stage.alias().await, function(&back)["version"]);
}
