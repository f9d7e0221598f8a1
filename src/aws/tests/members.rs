//! Which members of AWS's answers a fingerprint and a configuration digest are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::ScriptedAws;
use crate::aws::members::{Member, TABLE};
use crate::engine::ports::StagePort as _;
use crate::event::{Event, Events};
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

/// The typical answers with every member that the table knows. What was added to AWS later has another value
/// than the default.
fn with_every_member() -> BTreeMap<String, Value> {
    let mut answers = api();
    answers.insert(FUNCTION.to_owned(), function());
    add_members_of_the_api(&mut answers);
    add_members_of_the_function(&mut answers);
    answers
}

/// Adds members to an object in the answer of `path`.
fn set(answers: &mut BTreeMap<String, Value>, path: &str, pointer: &str, fields: &Value) {
    let place = answers.get_mut(path).unwrap().pointer_mut(pointer).unwrap();
    place.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
}

fn add_members_of_the_api(answers: &mut BTreeMap<String, Value>) {
    let api = |list: &str| format!("{API}{list}");
    // A resource without methods and a default response are no part of the definition.
    for (list, index) in [("/resources", 0), ("/gatewayresponses", 1)] {
        answers.get_mut(&api(list)).unwrap()["item"].as_array_mut().unwrap().remove(index);
    }
    set(
        answers,
        API,
        "",
        &json!({ "warnings": ["w"], "disableExecuteApiEndpoint": true, "securityPolicy": "SecurityPolicy_TLS13_1_3_2025_09",
                "endpointAccessMode": "STRICT", "apiStatus": "UPDATING", "apiStatusMessage": "m" }),
    );
    set(answers, API, "/endpointConfiguration", &json!({ "vpcEndpointIds": ["vpce-1"] }));
    for list in ["/resources", "/authorizers", "/requestvalidators", "/models", "/gatewayresponses"] {
        set(answers, &api(list), "", &json!({ "position": "" }));
    }
    let get = "/item/0/resourceMethods/GET";
    let response = json!({ "responseParameters": { "method.response.header.A": true } });
    set(
        answers,
        &api("/resources"),
        get,
        &json!({
            "operationName": "getUser", "requestModels": { "application/json": "Empty" }, "authorizationScopes": ["s"],
        }),
    );
    set(answers, &api("/resources"), &format!("{get}/methodResponses/200"), &response);
    set(
        answers,
        &api("/resources"),
        &format!("{get}/methodIntegration"),
        &json!({
            "connectionType": "VPC_LINK", "connectionId": "link", "credentials": "arn:role",
            "requestParameters": { "integration.request.path.id": "method.request.path.id" },
            "requestTemplates": { "application/json": "t" }, "cacheKeyParameters": ["method.request.path.id"],
            "cacheNamespace": "res1", "tlsConfig": { "insecureSkipVerification": true },
            "responseTransferMode": "STREAM", "integrationTarget": "arn:target",
        }),
    );
    set(
        answers,
        &api("/resources"),
        &format!("{get}/methodIntegration/integrationResponses/200"),
        &json!({
            "selectionPattern": "2..", "responseParameters": { "method.response.header.A": "'x'" },
            "contentHandling": "CONVERT_TO_TEXT",
        }),
    );
    set(
        answers,
        &api("/authorizers"),
        "/item/0",
        &json!({
            "providerARNs": ["arn:pool"], "authorizerCredentials": "arn:role", "identityValidationExpression": "x.*",
            "jwtConfiguration": {
                "issuers": [{
                    "issuer": "https://issuer", "audiences": ["a"], "jwksUri": "https://issuer/keys",
                    "additionalClaims": [{ "claimName": "c", "format": "SINGLE_STRING", "required": true, "expectedValues": ["v"] }],
                }],
                "defaultAlgorithms": ["RS256"],
            },
        }),
    );
    set(
        answers,
        &api("/gatewayresponses"),
        "/item/0",
        &json!({ "responseTemplates": { "application/json": "t" } }),
    );
}

fn add_members_of_the_function(answers: &mut BTreeMap<String, Value>) {
    let error = json!({ "ErrorCode": "e", "Message": "m" });
    set(
        answers,
        FUNCTION,
        "",
        &json!({
            "DeadLetterConfig": { "TargetArn": "arn:queue" }, "KMSKeyArn": "arn:key", "MasterArn": "arn:master",
            "Layers": [{ "Arn": "arn:layer", "CodeSize": 1, "SigningProfileVersionArn": "arn:p", "SigningJobArn": "arn:j" }],
            "StateReason": "r", "StateReasonCode": "Idle", "LastUpdateStatusReason": "r", "LastUpdateStatusReasonCode": "InternalError",
            "SigningProfileVersionArn": "arn:p", "SigningJobArn": "arn:j", "PackageType": "Image",
            "ImageConfigResponse": { "ImageConfig": { "EntryPoint": ["/a"], "Command": ["b"], "WorkingDirectory": "/w" }, "Error": error },
            "TenancyConfig": { "TenantIsolationMode": "PER_TENANT" },
            "CapacityProviderConfig": { "LambdaManagedInstancesCapacityProviderConfig": {
                "CapacityProviderArn": "arn:cp", "PerExecutionEnvironmentMaxConcurrency": 1, "ExecutionEnvironmentMemoryGiBPerVCpu": 2.0 } },
            "ConfigSha256": "hash", "DurableConfig": { "KMSKeyArn": "arn:key", "RetentionPeriodInDays": 7, "ExecutionTimeout": 60 },
            "RuntimeConfig": { "RuntimeArn": "arn:runtime", "RuntimeAlias": "live" }, "AcceleratorConfig": { "AcceleratorMemorySize": 24 },
        }),
    );
    set(answers, FUNCTION, "/VpcConfig", &json!({ "Ipv6AllowedForDualStack": true }));
    set(answers, FUNCTION, "/Environment", &json!({ "Error": error }));
    set(answers, FUNCTION, "/RuntimeVersionConfig", &json!({ "Error": error }));
    set(
        answers,
        FUNCTION,
        "/FileSystemConfigs/0",
        &json!({ "S3FilesConfig": { "DirectS3Read": "ENABLED" } }),
    );
}

/// A server that gives these answers by path, which a test can change.
struct Answers {
    cloud: ScriptedAws,
    answers: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Answers {
    async fn new(answers: BTreeMap<String, Value>) -> Self {
        let answers = Arc::new(Mutex::new(answers));
        let given = Arc::clone(&answers);
        let cloud = ScriptedAws::answering(false, move |line| {
            let target = line.split(' ').nth(1).unwrap_or_default();
            let answers = given.lock().unwrap();
            let answer = answers.get(target).or_else(|| answers.get(target.split('?').next()?));
            match answer {
                Some(answer) => (200, String::new(), answer.to_string()),
                None => (404, String::new(), "{}".to_owned()),
            }
        })
        .await;
        Self { cloud, answers }
    }

    async fn definition(&self) -> Definition {
        self.cloud.aws_stage.definition().await.unwrap()
    }

    async fn function(&self) -> FunctionState {
        self.cloud.aws_stage.function(&"f".parse().unwrap()).await.unwrap()
    }

    /// The fingerprint, or the digest, that is made from the answer of `path`.
    async fn hash(&self, path: &str) -> String {
        if path == FUNCTION {
            self.function().await.config_sha256.to_string()
        } else {
            self.definition().await.fingerprint().to_string()
        }
    }
}

async fn definition(answers: BTreeMap<String, Value>) -> Definition {
    Answers::new(answers).await.definition().await
}

async fn state(answer: Value) -> FunctionState {
    Answers::new(BTreeMap::from([(FUNCTION.to_owned(), answer)])).await.function().await
}

/// A release of an earlier version must not become stale, nor its functions changed, by an update of
/// deployctl or by members that AWS has added since.
#[tokio::test]
async fn fingerprint_and_digest_are_those_of_earlier_versions() {
    assert_eq!(definition(api()).await.fingerprint().to_string(), FINGERPRINT);
    assert_eq!(state(function()).await.config_sha256.to_string(), DIGEST);

    let mut answers = api();
    let merge = |value: &mut Value, fields: Value| {
        value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    };
    let settings = answers.get_mut(API).unwrap();
    merge(
        settings,
        json!({ "securityPolicy": "TLS_1_0", "endpointAccessMode": "BASIC", "apiStatus": "AVAILABLE" }),
    );
    let authorizer = &mut answers.get_mut(&format!("{API}/authorizers")).unwrap()["item"][0];
    merge(authorizer, json!({ "jwtConfiguration": { "issuers": [] } }));
    let definition = definition(answers).await;
    assert_eq!(definition.fingerprint().to_string(), FINGERPRINT);
    assert_eq!(definition.unproven(), [""; 0]);

    let mut answer = function();
    merge(
        &mut answer,
        json!({ "ConfigSha256": "hash", "DurableConfig": null, "TenancyConfig": {}, "ImageConfigResponse": {} }),
    );
    merge(&mut answer["VpcConfig"], json!({ "Ipv6AllowedForDualStack": false }));
    merge(&mut answer["FileSystemConfigs"][0], json!({ "S3FilesConfig": { "DirectS3Read": "AUTO" } }));
    let state = state(answer).await;
    assert_eq!(state.config_sha256.to_string(), DIGEST);
    assert_eq!(state.aws_config_sha256.as_deref(), Some("hash"));
}

/// A private API has another default.
#[tokio::test]
async fn the_default_security_policy_depends_on_the_endpoint() {
    for (endpoint, policy, is_default) in [
        ("PRIVATE", "TLS_1_2", true),
        ("PRIVATE", "TLS_1_0", false),
        ("REGIONAL", "TLS_1_2", false),
        ("EDGE", "TLS_1_0", true),
    ] {
        let mut answers = api();
        let settings = answers.get_mut(API).unwrap();
        settings["endpointConfiguration"]["types"] = json!([endpoint]);
        settings["securityPolicy"] = json!(policy);
        let fingerprint = definition(answers).await.fingerprint().to_string();
        assert_eq!(fingerprint == FINGERPRINT, is_default, "{endpoint} {policy}");
    }
}

/// What the table says of a member is true: whatever is read changes the fingerprint or the digest, and
/// nothing else does.
#[tokio::test]
async fn every_member_that_is_read_counts_and_no_other() {
    let original = with_every_member();
    let server = Answers::new(original.clone()).await;
    let mut seen = BTreeSet::new();
    for (path, answer) in &original {
        let (service, shape) = match path.strip_prefix(API) {
            None => ("lambda", "FunctionConfiguration"),
            Some("") => ("apigateway", "RestApi"),
            Some("/resources") => ("apigateway", "Resources"),
            Some("/authorizers") => ("apigateway", "Authorizers"),
            Some("/requestvalidators") => ("apigateway", "RequestValidators"),
            Some("/models") => ("apigateway", "Models"),
            Some(_) => ("apigateway", "GatewayResponses"),
        };
        let before = server.hash(path).await;
        let mut leaves = Vec::new();
        collect((service, shape), answer, "", &mut leaves, &mut seen);
        for (pointer, is_read) in leaves {
            let mut changed = answer.clone();
            mutate(changed.pointer_mut(&pointer).unwrap());
            server.answers.lock().unwrap().insert(path.clone(), changed);
            assert_eq!(server.hash(path).await != before, is_read, "{path} {pointer}");
            server.answers.lock().unwrap().insert(path.clone(), answer.clone());
        }
    }
    let known = TABLE.iter().flat_map(|(service, shapes)| {
        shapes.iter().flat_map(move |(shape, members)| {
            members.keys().map(move |member| format!("{service}.{shape}.{member}"))
        })
    });
    let missing: Vec<String> = known.filter(|member| !seen.contains(member)).collect();
    assert_eq!(missing, [""; 0], "in the table, but not in the answers of this test");
}

/// The pointers of the values in an answer, and whether the table says that they are read.
fn collect(
    (service, shape): (&str, &str),
    value: &Value,
    at: &str,
    leaves: &mut Vec<(String, bool)>,
    seen: &mut BTreeSet<String>,
) {
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            collect((service, shape), item, &format!("{at}/{index}"), leaves, seen);
        }
        return;
    }
    for (name, value) in value.as_object().unwrap() {
        let at = format!("{at}/{name}");
        seen.insert(format!("{service}.{shape}.{name}"));
        match TABLE[service][shape].get(name).unwrap_or_else(|| panic!("{shape}.{name} is not in the table"))
        {
            Member::Shape(inner) => collect((service, inner), value, &at, leaves, seen),
            Member::MapOf(inner) => {
                for (key, value) in value.as_object().unwrap() {
                    collect((service, inner), value, &format!("{at}/{key}"), leaves, seen);
                }
            }
            // It decides whether there is a next page.
            Member::LeftOut if name == "position" => {}
            Member::LeftOut => scalars(value, &at, &mut |at| leaves.push((at, false))),
            Member::Read | Member::OneOf(_) => scalars(value, &at, &mut |at| leaves.push((at, true))),
        }
    }
}

fn scalars(value: &Value, at: &str, see: &mut impl FnMut(String)) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| scalars(item, &format!("{at}/{index}"), see));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| scalars(value, &format!("{at}/{}", escaped(key)), see));
        }
        _ => see(at.to_owned()),
    }
}

fn mutate(value: &mut Value) {
    *value = match &*value {
        Value::Bool(flag) => json!(!*flag),
        Value::Number(number) if number.is_f64() => json!(number.as_f64().unwrap() + 1.0),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        other => json!(format!("{}x", other.as_str().unwrap())),
    };
}

/// An unknown member is a warning, once; an unknown value leaves the freshness unknown.
#[tokio::test]
async fn what_is_not_known_is_not_ignored() {
    let mut answers = api();
    answers.insert(FUNCTION.to_owned(), function());
    answers.get_mut(API).unwrap()["timeToLive"] = json!(1);
    answers.get_mut(FUNCTION).unwrap()["VpcConfig"]["Mesh"] = json!("m");
    answers.get_mut(FUNCTION).unwrap()["Runtime"] = json!("cobol1");
    let authorizers = format!("{API}/authorizers");
    answers.get_mut(&authorizers).unwrap()["item"][0]["type"] = json!("MTLS");
    let mut server = Answers::new(answers).await;
    let warnings = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&warnings);
    let events = Events::new(move |event| {
        if let Event::Warning(text) = event {
            heard.lock().unwrap().push(text.clone());
        }
    });
    server.cloud.aws_stage.aws = server.cloud.aws.clone().warning(events);
    for _ in 0..2 {
        let definition = server.definition().await;
        assert_eq!(
            definition.unproven(),
            ["GetAuthorizers: Authorizer.type is MTLS, which deployctl does not know"]
        );
        server.function().await;
    }
    assert_eq!(
        *warnings.lock().unwrap(),
        [
            "GetRestApi answered with RestApi.timeToLive",
            "GetFunctionConfiguration answered with VpcConfigResponse.Mesh"
        ]
        .map(|place| format!(
            "{place}, which this version of deployctl does not know: a change of it is not noticed"
        ))
    );
}

#[tokio::test]
async fn an_update_of_the_api_that_is_not_complete_is_a_doubt() {
    for status in ["UPDATING", "PENDING", "FAILED"] {
        let mut answers = api();
        answers.get_mut(API).unwrap()["apiStatus"] = json!(status);
        answers.get_mut(API).unwrap()["apiStatusMessage"] = json!("soon");
        let definition = definition(answers).await;
        assert_eq!(
            definition.unproven(),
            [format!("API Gateway has not completed an update of the API: {status}: soon")]
        );
        assert_ne!(definition.fingerprint().to_string(), FINGERPRINT);
        assert_eq!(definition.settled().fingerprint().to_string(), FINGERPRINT);
    }
}

/// API Gateway may send fewer items than were asked for.
#[tokio::test]
async fn every_list_of_the_definition_is_read_to_its_end() {
    let whole = definition(api()).await;
    let mut answers = api();
    for list in ["resources", "authorizers", "requestvalidators", "models", "gatewayresponses"] {
        let path = format!("{API}/{list}");
        let embed = if list == "resources" { "&embed=methods" } else { "" };
        let all = answers[&path].clone();
        let first = json!({ "position": "next", "item": [] });
        answers.insert(path.clone(), first);
        for query in [
            format!("?limit=500&position=next{embed}"),
            format!("?position=next&limit=500{embed}"),
            format!("?position=next{embed}&limit=500"),
        ] {
            answers.insert(format!("{path}{query}"), all.clone());
        }
    }
    assert_eq!(definition(answers).await, whole);
}
