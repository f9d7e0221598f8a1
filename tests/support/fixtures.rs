//! AWS resources that are made without Terraform: buckets, functions, and an API that answers by itself.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3::types::{BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration};

use super::lambda_zip::lambda_zip;
use super::minimal_project;

/// Creates the functions of these names that do not exist. None of them can run.
pub(crate) async fn create_functions(lambda: &lambda::Client, names: impl IntoIterator<Item = String>) {
    let bytes = minimal_project::executable(std::env::consts::ARCH);
    let code = lambda_zip(&bytes);
    for name in names {
        let made = lambda
            .create_function()
            .function_name(&name)
            .role("arn:aws:iam::000000000000:role/small")
            .runtime(lambda::types::Runtime::Providedal2023)
            .handler("bootstrap")
            .code(lambda::types::FunctionCode::builder().zip_file(code.clone().into()).build())
            .send()
            .await;
        if let Err(error) = made {
            assert!(error.into_service_error().is_resource_conflict_exception(), "{name}");
        }
    }
}

/// Creates an API with one route that needs no function, and its stages. Returns its id.
pub(crate) async fn create_api(gateway: &gateway::Client, stages: &[&str]) -> String {
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

/// Creates a versioned bucket in the client's region.
pub(crate) async fn create_bucket(s3: &aws_sdk_s3::Client, name: &str) {
    let region = s3.config().region().unwrap().as_ref();
    // us-east-1 is the default and must not be named.
    let place = (region != "us-east-1")
        .then(|| CreateBucketConfiguration::builder().location_constraint(region.into()).build());
    s3.create_bucket().bucket(name).set_create_bucket_configuration(place).send().await.unwrap();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = s3.put_bucket_versioning().bucket(name).versioning_configuration(enabled);
    put.send().await.unwrap();
}
