//! AWS's refusals, word for word, of the calls that a release makes. docs/aws-facts.md says where the texts come
//! from.

use aws_sdk_s3 as s3;
use serde_json::{Value, json};

use super::{Api, STAGE};
use crate::support::sdk;
use crate::support::signed::{Signed, WireAnswer};

/// One refusal: what it is of, the request, and AWS's status, code and message.
type Row<'a> = (&'a str, (&'a str, String, Value), (u16, &'a str, String));

const METHOD_SETTINGS: &str = "Must be one of: [/deploymentId, /description, /cacheClusterEnabled, /cacheClusterSize, \
/clientCertificateId, /accessLogSettings, /accessLogSettings/destinationArn, /accessLogSettings/format, \
/{resourcePath}/{httpMethod}/metrics/enabled, /{resourcePath}/{httpMethod}/logging/dataTrace, \
/{resourcePath}/{httpMethod}/logging/loglevel, /{resourcePath}/{httpMethod}/throttling/burstLimit\
/{resourcePath}/{httpMethod}/throttling/rateLimit/{resourcePath}/{httpMethod}/caching/ttlInSeconds, \
/{resourcePath}/{httpMethod}/caching/enabled, /{resourcePath}/{httpMethod}/caching/dataEncrypted, \
/{resourcePath}/{httpMethod}/caching/requireAuthorizationForCacheControl, \
/{resourcePath}/{httpMethod}/caching/unauthorizedCacheControlHeaderStrategy, /*/*/metrics/enabled, \
/*/*/logging/dataTrace, /*/*/logging/loglevel, /*/*/throttling/burstLimit /*/*/throttling/rateLimit \
/*/*/caching/ttlInSeconds, /*/*/caching/enabled, /*/*/caching/dataEncrypted, \
/*/*/caching/requireAuthorizationForCacheControl, /*/*/caching/unauthorizedCacheControlHeaderStrategy, \
/variables/{variable_name}, /tracingEnabled]";
const VALUES: &str = "Please use values with alphanumeric characters and the symbols ' ', -', '.', '_', ':', '/', \
                      '?', '&', '=', and ','.";
const REVISION: &str = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias \
                        API to retrieve the latest Revision Id";
const TOO_LARGE: &str = "Update size too large. Try updating stage in multiple UpdateStage operations";
const AGAIN: &str = "Unable to complete operation due to concurrent modification. Please try again later.";

/// An API with a stage that serves the first of two deployments, and its stage's path.
async fn stage_with_two_deployments(endpoint: &str) -> (Api, String, [String; 2]) {
    let api = Api::create(endpoint, "refusals").await.unwrap();
    let route = api.resource("a").await.unwrap();
    api.mock(&route, "A").await.unwrap();
    let deployments = [api.deploy().await.unwrap(), api.deploy().await.unwrap()];
    api.stage(&deployments[0], &[("f", "1")]).await.unwrap();
    let path = format!("/restapis/{}/stages/{STAGE}", api.id);
    (api, path, deployments)
}

fn patch(operations: &[(&str, &str, &str)]) -> Value {
    let operation =
        |(op, path, value): &(&str, &str, &str)| json!({ "op": op, "path": path, "value": value });
    json!({ "patchOperations": operations.iter().map(operation).collect::<Vec<_>>() })
}

/// A patch with so many variables.
fn patch_of(count: usize) -> Value {
    let paths: Vec<String> = (0..count).map(|number| format!("/variables/v{number}")).collect();
    patch(&paths.iter().map(|path| ("replace", path.as_str(), "1")).collect::<Vec<_>>())
}

async fn gateway(aws: &Signed, method: &str, path: &str, body: &Value) -> WireAnswer {
    aws.send("apigateway", method, path, body).await
}

async fn check(aws: &Signed, service: &str, rows: Vec<Row<'_>>) {
    for (what, (method, path, request), (status, code, message)) in rows {
        let answer = aws.send(service, method, &path, &request).await;
        assert_eq!((answer.status, answer.error.as_deref()), (status, Some(code)), "{what}: {answer:?}");
        let body = match (service, code) {
            ("lambda", "ResourceNotFoundException") => json!({ "Type": "User", "Message": message }),
            ("lambda", _) => json!({ "Type": "User", "message": message }),
            _ => json!({ "message": message }),
        };
        assert_eq!(answer.body, body, "{what}");
    }
}

fn bad_update<'a>(what: &'a str, path: &str, body: Value, message: impl Into<String>) -> Row<'a> {
    (what, ("PATCH", path.to_owned(), body), (400, "BadRequestException", message.into()))
}

/// UpdateStage refuses in AWS's words, and then nothing of the call has taken effect.
pub(crate) async fn of_update_stage(endpoint: &str) {
    let aws = Signed::new(endpoint);
    let (api, path, [first, second]) = stage_with_two_deployments(endpoint).await;
    let before = gateway(&aws, "GET", &path, &Value::Null).await.body;
    let update = |what, operations: &[_], message: &str| bad_update(what, &path, patch(operations), message);
    check(&aws, "apigateway", vec![
        bad_update("81 operations", &path, patch_of(81), TOO_LARGE),
        bad_update("101 operations", &path, patch_of(101), TOO_LARGE),
        update(
            "a half-invalid patch",
            &[("replace", "/variables/f", "2"), ("replace", "/bogus", "x")],
            &format!("Invalid method setting path: /bogus. {METHOD_SETTINGS}"),
        ),
        update(
            "an unknown deployment, last",
            &[("replace", "/variables/f", "2"), ("replace", "/deploymentId", "nosuch")],
            "Deployment id does not exist",
        ),
        update(
            "a canary's share, added",
            &[("add", "/canarySettings/percentTraffic", "10")],
            "Invalid add operation with path: /canarySettings/percentTraffic",
        ),
        update(
            "a canary's deployment, added",
            &[("add", "/canarySettings/deploymentId", &second)],
            "Invalid add operation with path: /canarySettings/deploymentId",
        ),
        update(
            "a canary's variable, added",
            &[("add", "/canarySettings/stageVariableOverrides/f", "2")],
            "Invalid add operation with path: /canarySettings/stageVariableOverrides/f",
        ),
        update(
            "a canary's unknown deployment",
            &[("replace", "/canarySettings/deploymentId", "nosuch")],
            "Deployment id does not exist",
        ),
        update(
            "all of the canary at once",
            &[("replace", "/canarySettings", "x")],
            &format!("Invalid method setting path: /canarySettings. {METHOD_SETTINGS}"),
        ),
        update(
            "a part of the canary, removed",
            &[("remove", "/canarySettings/stageVariableOverrides", "")],
            "Cannot remove method setting canarySettings/stageVariableOverrides because there is no method setting \
             for this method ",
        ),
        bad_update(
            "the promotion of no canary",
            &path,
            json!({ "patchOperations": [
                { "op": "copy", "from": "/canarySettings/deploymentId", "path": "/deploymentId" },
            ] }),
            "Promotion not available. Canary does not exist.",
        ),
        update(
            "a variable's name",
            &[("replace", "/variables/a-b", "1")],
            "Invalid stage variable name: a-b.  Please use names with only word characters.",
        ),
        update(
            "a variable's value",
            &[("replace", "/variables/f", "1.0+x")],
            &format!("Invalid stage variable value: 1.0+x.  {VALUES}"),
        ),
        update(
            "an empty value",
            &[("replace", "/variables/f", "")],
            &format!("Invalid stage variable value: .  {VALUES}"),
        ),
    ])
    .await;
    assert_eq!(gateway(&aws, "GET", &path, &Value::Null).await.body, before);

    let most = gateway(&aws, "PATCH", &path, &patch_of(80)).await;
    assert_eq!(most.body["variables"].as_object().map(serde_json::Map::len), Some(81), "{most:?}");
    a_canary_is_replaced_and_removed(&aws, &api, &path, [&first, &second]).await;
}

async fn a_canary_is_replaced_and_removed(aws: &Signed, api: &Api, path: &str, [first, second]: [&str; 2]) {
    // A new canary has the stage's deployment and no requests, until they are replaced.
    let share = patch(&[("replace", "/canarySettings/percentTraffic", "5.5")]);
    let canary = gateway(aws, "PATCH", path, &share).await;
    let expected = json!({ "deploymentId": first, "percentTraffic": 5.5, "useStageCache": false });
    assert_eq!(canary.body["canarySettings"], expected);
    let replace = patch(&[("replace", "/canarySettings/deploymentId", second)]);
    assert_eq!(gateway(aws, "PATCH", path, &replace).await.body["canarySettings"]["deploymentId"], second);
    let delete = format!("/restapis/{}/deployments/{second}", api.id);
    let message = "Active stages with canary settings pointing to this deployment must be moved or deleted";
    let row = ("a canary's deployment", ("DELETE", delete, Value::Null));
    check(aws, "apigateway", vec![(row.0, row.1, (400, "BadRequestException", message.to_owned()))]).await;
    let removed = gateway(aws, "PATCH", path, &patch(&[("remove", "/canarySettings", "")])).await;
    assert_eq!((removed.status, removed.body.get("canarySettings")), (200, None), "{removed:?}");
}

/// The other calls to API Gateway.
pub(crate) async fn of_the_api(endpoint: &str) {
    let aws = Signed::new(endpoint);
    let (api, _, [first, _]) = stage_with_two_deployments(endpoint).await;
    let bare = Api::create(endpoint, "bare").await.unwrap();
    let half = Api::create(endpoint, "half").await.unwrap();
    half.resource("a").await.unwrap();
    let at = |api: &Api, rest: &str| format!("/restapis/{}{rest}", api.id);
    let not_found = |message: &str| (404, "NotFoundException", message.to_owned());
    let bad = |message: &str| (400, "BadRequestException", message.to_owned());
    let no_api = "Invalid API identifier specified 000000000000:absent";
    let no_stage = "Invalid stage identifier specified";
    let stage = json!({ "stageName": STAGE, "deploymentId": first });
    let canary = json!({ "canarySettings": { "percentTraffic": 5 } });
    check(&aws, "apigateway", vec![
        ("GetRestApi", ("GET", "/restapis/absent".into(), Value::Null), not_found(no_api)),
        ("GetResources", ("GET", "/restapis/absent/resources".into(), Value::Null), not_found(no_api)),
        ("CreateDeployment", ("POST", "/restapis/absent/deployments".into(), json!({})), not_found(no_api)),
        ("GetStage", ("GET", at(&api, "/stages/absent"), Value::Null), not_found(no_stage)),
        ("UpdateStage", ("PATCH", at(&api, "/stages/absent"), patch_of(1)), not_found(no_stage)),
        (
            "FlushStageCache",
            ("DELETE", at(&api, "/stages/absent/cache/data"), Value::Null),
            not_found(no_stage),
        ),
        (
            "FlushStageAuthorizersCache",
            ("DELETE", at(&api, "/stages/absent/cache/authorizers"), Value::Null),
            not_found(no_stage),
        ),
        (
            "an API without methods",
            ("POST", at(&bare, "/deployments"), json!({})),
            bad("The REST API doesn't contain any methods"),
        ),
        (
            "a method without an integration",
            ("POST", at(&half, "/deployments"), json!({})),
            bad("No integration defined for method"),
        ),
        (
            "a canary without a stage",
            ("POST", at(&api, "/deployments"), canary),
            bad("Invalid deployment content specified.Non null and non empty stageName must be provided for \
                 canary deployment. Provided value is null"),
        ),
        (
            "a stage that exists",
            ("POST", at(&api, "/stages"), stage),
            (409, "ConflictException", "Stage already exists".into()),
        ),
        (
            "the stage's deployment",
            ("DELETE", at(&api, &format!("/deployments/{first}")), Value::Null),
            bad("Active stages pointing to this deployment must be moved or deleted"),
        ),
    ])
    .await;
    for cache in ["data", "authorizers"] {
        let flush = at(&api, &format!("/stages/{STAGE}/cache/{cache}"));
        let answer = gateway(&aws, "DELETE", &flush, &Value::Null).await;
        assert_eq!(answer.status, 202, "a stage without caches and authorizers is flushed, too");
    }
}

/// Lambda's refusals of names, revisions and code. `function` has version 1, which is active.
pub(crate) async fn of_lambda(endpoint: &str, function: &str) {
    let aws = Signed::new(endpoint);
    let at = |name: &str, rest: &str| format!("/2015-03-31/functions/{name}/{rest}");
    let missing = |name: &str| {
        let message = format!("Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}");
        (404, "ResourceNotFoundException", message)
    };
    let revision = || (412, "PreconditionFailedException", REVISION.to_owned());
    let code = |what: &str| {
        let message = format!("Error occurred while GetObject. S3 Error Code: {what}");
        (400, "InvalidParameterValueException", message)
    };
    let read = at(function, "configuration");
    let sha = aws.send("lambda", "GET", &read, &Value::Null).await.body["CodeSha256"].clone();
    let sha = sha.as_str().unwrap();
    let s3 = s3::Client::from_conf(
        s3::config::Builder::from(&sdk::config(endpoint, "000000000000")).force_path_style(true).build(),
    );
    s3.create_bucket().bucket("refusals-code").send().await.unwrap();
    let version = format!("{function}:77");
    let stale = |mut body: Value| {
        body["RevisionId"] = "00000000-0000-0000-0000-000000000000".into();
        body
    };
    check(&aws, "lambda", vec![
        ("a function", ("GET", at("absent", "configuration"), Value::Null), missing("absent")),
        ("a version", ("GET", at(&version, "configuration"), Value::Null), missing(&version)),
        ("a version that is called", ("POST", at(&version, "invocations"), json!({})), missing(&version)),
        ("a function's code", ("PUT", at("absent", "code"), json!({ "ZipFile": "" })), missing("absent")),
        ("an old revision", ("PUT", at(function, "code"), stale(json!({ "ZipFile": "" }))), revision()),
        ("an old revision, published", ("POST", at(function, "versions"), stale(json!({}))), revision()),
        (
            "another hash",
            ("POST", at(function, "versions"), json!({ "CodeSha256": "other" })),
            (
                400,
                "InvalidParameterValueException",
                format!(
                    "CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ({sha}). Please try \
                     again with the CodeSHA256 in $LATEST."
                ),
            ),
        ),
        (
            "code in no bucket",
            ("PUT", at(function, "code"), json!({ "S3Bucket": "absent-bucket", "S3Key": "a.zip" })),
            code("NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        ),
        (
            "code that is not there",
            ("PUT", at(function, "code"), json!({ "S3Bucket": "refusals-code", "S3Key": "a.zip" })),
            code("NoSuchKey. S3 Error Message: The specified key does not exist."),
        ),
    ])
    .await;
}

/// Of two changes of one API at the same time, one is refused for now.
pub(crate) async fn of_changes_at_the_same_time(endpoint: &str) {
    let aws = Signed::new(endpoint);
    let (_, path, _) = stage_with_two_deployments(endpoint).await;
    aws.set_times(&[("change_seconds", 0.4)]).await;
    let one = patch(&[("replace", "/variables/f", "2")]);
    let (a, b) = tokio::join!(gateway(&aws, "PATCH", &path, &one), gateway(&aws, "PATCH", &path, &one));
    aws.set_times(&[("change_seconds", 0.05)]).await;
    let (done, refused) = if a.status == 200 { (a, b) } else { (b, a) };
    assert_eq!(done.body["variables"]["f"], "2", "{done:?}");
    assert_eq!((refused.status, refused.error.as_deref()), (409, Some("ConflictException")), "{refused:?}");
    assert_eq!(refused.body, json!({ "message": AGAIN }));
    assert_eq!(gateway(&aws, "PATCH", &path, &one).await.status, 200, "later it is done");
}

/// A copy that must not replace an object does not.
pub(crate) async fn of_copies(endpoint: &str) {
    let config = sdk::config(endpoint, "000000000000");
    let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
    s3.create_bucket().bucket("refusals-copies").send().await.unwrap();
    for key in ["from", "to"] {
        let body = s3::primitives::ByteStream::from_static(key.as_bytes());
        s3.put_object().bucket("refusals-copies").key(key).body(body).send().await.unwrap();
    }
    let copy = |key: &'static str| {
        let copy = s3.copy_object().bucket("refusals-copies").key(key).copy_source("refusals-copies/from");
        copy.if_none_match("*").send()
    };
    let refused = copy("to").await.unwrap_err();
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(412));
    assert_eq!(refused.into_service_error().meta().code(), Some("PreconditionFailed"));
    copy("new").await.unwrap();
    for (key, bytes) in [("to", "to"), ("new", "from")] {
        let object = s3.get_object().bucket("refusals-copies").key(key).send().await.unwrap();
        assert_eq!(object.body.collect().await.unwrap().into_bytes(), bytes.as_bytes(), "{key}");
    }
}
