//! A released stage without Terraform's resources and without Lambdas that run: functions and an API that are there,
//! and layers that only tell of them. It costs seconds where a real project costs minutes.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use deployctl::artifact::archive::{Entry, zip};
use serde_json::Value;

use super::small::{self, Small};
use super::{bucket, sdk};

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
        bucket::make(&s3).await;
        let api = api(&gateway::Client::new(&config)).await;
        Self { small, lambda: lambda::Client::new(&config), api }
    }

    /// Makes the functions that are missing, and lets the contract have `count`.
    pub async fn has_functions(&self, count: usize) {
        let bytes = small::executable(std::env::consts::ARCH);
        let code = zip("first", &[Entry { name: "bootstrap", bytes: &bytes, executable: true }]).unwrap();
        for number in 0..count {
            let made = self
                .lambda
                .create_function()
                .function_name(format!("small-{number}"))
                .role("arn:aws:iam::000000000000:role/small")
                .runtime(lambda::types::Runtime::Providedal2023)
                .handler("bootstrap")
                .code(lambda::types::FunctionCode::builder().zip_file(code.bytes.clone().into()).build())
                .send()
                .await;
            if let Err(error) = made {
                assert!(error.into_service_error().is_resource_conflict_exception(), "small-{number}");
            }
        }
        let functions: Vec<String> = (0..count)
            .map(|number| format!("f{number} = {{ name = \"small-{number}\", artifact = \"hello\" }}"))
            .collect();
        self.small.layer(
            "app",
            &format!(
                "output \"deployctl\" {{\n value = {{\n artifact_bucket = \"small-artifacts\"\n rest_api_id = \"{}\"\n \
                 stage_name = \"v1\"\n invoke_url = \"unused\"\n functions = {{\n {}\n }}\n }}\n}}\n",
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

/// An API with one route, which answers by itself, and a stage.
async fn api(gateway: &gateway::Client) -> String {
    let api = gateway.create_rest_api().name("small").send().await.unwrap().id.unwrap();
    let resources = gateway.get_resources().rest_api_id(&api).send().await.unwrap();
    let root = resources.items()[0].id().unwrap().to_owned();
    let put = gateway.put_method().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.authorization_type("NONE").send().await.unwrap();
    let put = gateway.put_integration().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.r#type(gateway::types::IntegrationType::Mock)
        .request_templates("application/json", r#"{"statusCode": 200}"#)
        .send()
        .await
        .unwrap();
    let put = gateway.put_method_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    let put = gateway.put_integration_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    gateway.create_deployment().rest_api_id(&api).stage_name("v1").send().await.unwrap();
    api
}
