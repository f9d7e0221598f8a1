//! A stage that is released in seconds: two functions and an API that were made without Terraform, and layers that
//! only tell of them.

use std::path::Path;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use deployctl::artifact::archive::{Entry, zip};

use super::small::{self, Small};
use super::{bucket, sdk};

/// The stage and its project.
#[derive(Debug)]
pub struct Tiny {
    /// The project.
    pub small: Small,
    api: String,
}

impl Tiny {
    /// Makes all of it but a release.
    pub async fn new() -> Self {
        let small = Small::new();
        small.settings("[artifacts.hello]", "[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]");
        small.run(&["local", "up"]).await.exit(0);
        let file = small.path().join(".deployctl/local/stage.json");
        let stage: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let config = sdk::config(&format!("http://127.0.0.1:{}", stage["port"]), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        bucket::make(&s3).await;
        functions(&lambda::Client::new(&config)).await;
        let api = api(&gateway::Client::new(&config)).await;
        let tiny = Self { small, api };
        tiny.app("");
        tiny
    }

    /// The project's folder.
    pub fn path(&self) -> &Path {
        self.small.path()
    }

    /// Writes the layer `app` with this before its output.
    pub fn app(&self, more: &str) {
        let contract = format!(
            "output \"deployctl\" {{\n  value = {{\n    artifact_bucket = \"small-artifacts\"\n    rest_api_id = \"{}\"\n    \
             stage_name = \"v1\"\n    invoke_url = \"unused\"\n    functions = {{\n      \
             one = {{ name = \"small-one\", artifact = \"hello\" }}\n      \
             two = {{ name = \"small-two\", artifact = \"hello\" }}\n    }}\n  }}\n}}\n",
            self.api
        );
        self.small.layer("app", &format!("{more}{contract}"));
    }

    /// Makes the code of the next release another than that of all before.
    pub fn code(&self, salt: &str) {
        let mut bytes = small::executable(std::env::consts::ARCH);
        bytes.extend_from_slice(salt.as_bytes());
        self.small.write("dist/bootstrap", bytes);
    }
}

async fn functions(lambda: &lambda::Client) {
    let bytes = small::executable(std::env::consts::ARCH);
    let code = zip("first", &[Entry { name: "bootstrap", bytes: &bytes, executable: true }]).unwrap();
    for name in ["small-one", "small-two"] {
        let create = lambda.create_function().function_name(name).handler("bootstrap");
        create
            .role("arn:aws:iam::000000000000:role/small")
            .runtime(lambda::types::Runtime::Providedal2023)
            .code(lambda::types::FunctionCode::builder().zip_file(code.bytes.clone().into()).build())
            .send()
            .await
            .unwrap();
    }
}

/// An API with one route, which answers by itself, and a stage.
async fn api(gateway: &gateway::Client) -> String {
    use gateway::types::IntegrationType::Mock;
    let api = gateway.create_rest_api().name("small").send().await.unwrap().id.unwrap();
    let resources = gateway.get_resources().rest_api_id(&api).send().await.unwrap();
    let root = resources.items()[0].id().unwrap().to_owned();
    let put = gateway.put_method().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.authorization_type("NONE").send().await.unwrap();
    let put = gateway.put_integration().rest_api_id(&api).resource_id(&root).http_method("GET");
    let template = r#"{"statusCode": 200}"#;
    put.r#type(Mock).request_templates("application/json", template).send().await.unwrap();
    let put = gateway.put_method_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    let put = gateway.put_integration_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    gateway.create_deployment().rest_api_id(&api).stage_name("v1").send().await.unwrap();
    api
}
