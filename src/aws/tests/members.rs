//! Which members of AWS's answers a fingerprint and a configuration digest are made from.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ScriptedAws;
use crate::engine::ports::StagePort as _;
use crate::release::definition::Definition;
use crate::release::state::FunctionState;

const API: &str = "/restapis/api";
const FUNCTION: &str = "/2015-03-31/functions/f/configuration";

/// The fingerprint of [`api`] in version 0.1.0. Deployments of that version have it.
const FINGERPRINT: &str = "157dcdec27d732a66d74552f000e57018a1ec42cd5331313fa663e3b2bd0ef34";
/// The digest of [`function`] in version 0.1.0.
const DIGEST: &str = "7b0f245ff64b7b4558df42339a9d02283de0f5ea7c978782d7ce34ed5f435a33";

/// The answers about a typical API, by path.
fn api() -> BTreeMap<String, Value> {
    let integration = json!({
        "type": "AWS_PROXY", "httpMethod": "POST", "passthroughBehavior": "WHEN_NO_MATCH",
        "uri": "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:111111111111:function:f:${stageVariables.f}/invocations",
        "timeoutInMillis": 29000, "cacheNamespace": "res1", "cacheKeyParameters": [],
        "contentHandling": "CONVERT_TO_TEXT", "responseTransferMode": "BUFFERED",
        "integrationResponses": { "200": { "statusCode": "200", "responseTemplates": { "application/json": "x" } } },
    });
    let get = json!({
        "httpMethod": "GET", "authorizationType": "CUSTOM", "authorizerId": "auth1", "apiKeyRequired": false,
        "requestValidatorId": "val1", "requestParameters": { "method.request.path.id": true },
        "methodResponses": { "200": { "statusCode": "200", "responseModels": { "application/json": "Empty" } } },
        "methodIntegration": integration,
    });
    let answers = [
        (
            String::new(),
            json!({
                "id": "api", "name": "users", "description": "Users", "createdDate": 1_700_000_000, "version": "1",
                "binaryMediaTypes": ["image/png"], "minimumCompressionSize": 1024, "apiKeySource": "HEADER",
                "endpointConfiguration": { "types": ["REGIONAL"], "ipAddressType": "ipv4" },
                "policy": r#"{\"Statement\":[]}"#, "tags": { "a": "b" }, "disableExecuteApiEndpoint": false,
                "rootResourceId": "root",
            }),
        ),
        (
            "/resources".to_owned(),
            json!({ "item": [
                { "id": "root", "path": "/" },
                { "id": "res1", "parentId": "root", "pathPart": "{id}", "path": "/{id}", "resourceMethods": { "GET": get } },
            ] }),
        ),
        (
            "/authorizers".to_owned(),
            json!({ "item": [{
                "id": "auth1", "name": "token", "type": "TOKEN", "authType": "custom", "authorizerUri": "arn:x",
                "identitySource": "method.request.header.Authorization", "authorizerResultTtlInSeconds": 60,
            }] }),
        ),
        (
            "/requestvalidators".to_owned(),
            json!({ "item": [{ "id": "val1", "name": "all", "validateRequestBody": true, "validateRequestParameters": true }] }),
        ),
        (
            "/models".to_owned(),
            json!({ "item": [{ "id": "m", "name": "Empty", "description": "d", "schema": "{}", "contentType": "application/json" }] }),
        ),
        (
            "/gatewayresponses".to_owned(),
            json!({ "item": [
                { "responseType": "DEFAULT_4XX", "statusCode": "400", "responseParameters": { "a": "b" }, "defaultResponse": false },
                { "responseType": "THROTTLED", "statusCode": "429", "defaultResponse": true },
            ] }),
        ),
    ];
    answers.into_iter().map(|(path, answer)| (format!("{API}{path}"), answer)).collect()
}

/// The answer about a typical function.
fn function() -> Value {
    json!({
        "FunctionName": "f", "FunctionArn": "arn:aws:lambda:eu-west-1:111111111111:function:f", "Runtime": "provided.al2023",
        "Role": "arn:aws:iam::111111111111:role/f", "Handler": "bootstrap", "CodeSize": 100, "Description": "Users",
        "Timeout": 10, "MemorySize": 256, "LastModified": "2026-01-01T00:00:00.000+0000", "CodeSha256": "abc",
        "Version": "$LATEST", "VpcConfig": { "SubnetIds": ["subnet-2", "subnet-1"], "SecurityGroupIds": ["sg-1"], "VpcId": "vpc-1" },
        "Environment": { "Variables": { "A": "1" } }, "TracingConfig": { "Mode": "Active" }, "RevisionId": "r1",
        "State": "Active", "LastUpdateStatus": "Successful", "PackageType": "Zip", "Architectures": ["arm64"],
        "EphemeralStorage": { "Size": 512 }, "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
        "RuntimeVersionConfig": { "RuntimeVersionArn": "arn:aws:lambda:eu-west-1::runtime:1" },
        "LoggingConfig": { "LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "/aws/lambda/f" },
        "FileSystemConfigs": [{ "Arn": "arn:fs", "LocalMountPath": "/mnt/x" }],
    })
}

async fn answering(answers: BTreeMap<String, Value>) -> ScriptedAws {
    ScriptedAws::answering(false, move |line| {
        let target = line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match answers.get(path) {
            Some(answer) => (200, String::new(), answer.to_string()),
            None => (404, String::new(), "{}".to_owned()),
        }
    })
    .await
}

async fn definition(answers: BTreeMap<String, Value>) -> Definition {
    answering(answers).await.aws_stage.definition().await.unwrap()
}

async fn state(answer: Value) -> FunctionState {
    let cloud = answering(BTreeMap::from([(FUNCTION.to_owned(), answer)])).await;
    cloud.aws_stage.function(&"f".parse().unwrap()).await.unwrap()
}

/// A release of an earlier version must not become stale, nor its functions changed, by an update of
/// deployctl.
#[tokio::test]
async fn fingerprint_and_digest_are_those_of_earlier_versions() {
    assert_eq!(definition(api()).await.fingerprint().to_string(), FINGERPRINT);
    assert_eq!(state(function()).await.config_sha256.to_string(), DIGEST);
}
