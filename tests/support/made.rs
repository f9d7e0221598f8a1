//! What somebody has made in the local stage without Terraform: functions, and an API that answers by itself.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use deployctl::artifact::archive::{Entry, zip};

use super::small;

/// Functions with these names, but for those that there are already. None of them can run.
pub async fn functions(lambda: &lambda::Client, names: impl IntoIterator<Item = String>) {
    let bytes = small::executable(std::env::consts::ARCH);
    let code = zip("first", &[Entry { name: "bootstrap", bytes: &bytes, executable: true }]).unwrap();
    for name in names {
        let made = lambda
            .create_function()
            .function_name(&name)
            .role("arn:aws:iam::000000000000:role/small")
            .runtime(lambda::types::Runtime::Providedal2023)
            .handler("bootstrap")
            .code(lambda::types::FunctionCode::builder().zip_file(code.bytes.clone().into()).build())
            .send()
            .await;
        if let Err(error) = made {
            assert!(error.into_service_error().is_resource_conflict_exception(), "{name}");
        }
    }
}

/// An API with one route, which needs no function, and its stages. Returns its id.
pub async fn api(gateway: &gateway::Client, stages: &[&str]) -> String {
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
    for stage in stages {
        gateway.create_deployment().rest_api_id(&api).stage_name(*stage).send().await.unwrap();
    }
    api
}
