//! Compares the recorded requests of deployctl, and the members that its fingerprint and digest are computed from, with
//! AWS's service model of a pinned botocore. A newer botocore in `model/requirements.txt` shows what AWS has added.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::recorder::Request;
use super::repository;
use crate::support::http::header;
use crate::support::progress;

/// Operations whose answers can have several pages, and how they are read.
const LISTS: [(&str, &str); 13] = [
    // At most ten authorizers to an API; `doctor` reads one page of 500.
    ("apigateway:GetAuthorizers", "all pages"),
    ("apigateway:GetDeployments", "all pages"),
    ("apigateway:GetGatewayResponses", "all pages"),
    ("apigateway:GetModels", "all pages"),
    ("apigateway:GetRequestValidators", "all pages"),
    ("apigateway:GetResources", "all pages"),
    ("apigateway:GetRestApis", "all pages"),
    ("lambda:ListAliases", "all pages"),
    ("lambda:ListVersionsByFunction", "all pages"),
    ("s3:ListObjectVersions", "all pages"),
    ("s3:ListObjectsV2", "all pages"),
    // If there is a second page, each function is read by ListVersionsByFunction instead.
    ("lambda:ListFunctions", "one page"),
    ("logs:FilterLogEvents", "all pages"),
];

/// The judgement of some requests and of a table of members.
#[derive(Debug, Deserialize)]
struct Judgement {
    version: String,
    problems: Vec<Problem>,
    requests: usize,
    operations: BTreeSet<String>,
    lists: BTreeSet<String>,
    members: usize,
}

#[derive(Debug, Deserialize)]
struct Problem {
    /// The number of the request; `None` for a member of the table.
    request: Option<usize>,
    text: String,
}

/// The table in the source.
fn table() -> Value {
    let text = std::fs::read_to_string(repository("src/aws/members.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// Whether deployctl made it: Terraform and its provider use another SDK.
fn is_ours(request: &Request) -> bool {
    header(&request.head, "user-agent").is_some_and(|agent| agent.starts_with("aws-sdk-rust/"))
}

async fn judge(requests: &[Request], table: &Value) -> Judgement {
    let requirements = include_str!("model/requirements.txt");
    let programs = crate::support::python_tools::install("model", requirements).await;
    let requests: Vec<Value> =
        requests.iter().map(|request| json!({ "head": request.head, "body": request.body })).collect();
    let mut child = tokio::process::Command::new(programs.join("python"))
        .args(["-I", "-c", include_str!("model/judge.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!({ "requests": requests, "table": table }).to_string();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move { stdin.write_all(input.as_bytes()).await.unwrap() };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fails unless the model allows each request of deployctl. Returns their operations.
pub(crate) async fn allowed_operations(requests: &[Request]) -> BTreeSet<String> {
    let ours: Vec<Request> = requests.iter().filter(|request| is_ours(request)).cloned().collect();
    let Judgement { version, problems, requests, operations, lists, members } = judge(&ours, &table()).await;
    let problems: Vec<String> = problems
        .iter()
        .map(|problem| {
            let request = problem.request.map(|number| format!(": {:?}", ours[number]));
            format!("{}{}", problem.text, request.unwrap_or_default())
        })
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(requests > 100, "{requests} requests: was everything recorded?");
    let undecided: Vec<&String> =
        lists.iter().filter(|list| !LISTS.iter().any(|(name, _)| name == list)).collect();
    assert!(undecided.is_empty(), "lists that nobody has decided about: {undecided:?}");
    progress::print(
        "model",
        &format!(
            "botocore {version} allows {requests} requests of {} operations; {} lists, {members} members",
            operations.len(),
            lists.len()
        ),
    );
    operations
}

/// A request that is signed for a service.
fn request(service: &str, line: &str, headers: &str, body: &str) -> Request {
    let signature = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=0/20260101/us-east-1/{service}/aws4_request, Signature=0"
    );
    Request { head: format!("{line} HTTP/1.1\r\n{signature}\r\n{headers}\r\n\r\n"), body: body.to_owned() }
}

const STAGE: &str = "PATCH /restapis/a/stages/v1";
const CODE: &str = "PUT /2015-03-31/functions/f/code";
const PUT: &str = "PUT /bucket/a?x-id=PutObject";

/// Requests: service, first line, other headers, body, and a part of the problem; empty if there is none.
#[rustfmt::skip]
const REQUESTS: [(&str, &str, &str, &str, &str); 19] = [
    ("apigateway", STAGE, "", r#"{"patchOperations":[{"op":"replace","path":"/x","value":"1"}]}"#, ""),
    ("s3", "PUT /bucket/a%20b?x-id=PutObject", "if-none-match: *", "zip", ""),
    ("s3", "PUT /bucket/a?x-id=CopyObject", "x-amz-copy-source: b/c", "", ""),
    ("lambda", CODE, "", r#"{"S3Bucket":"bucket","S3Key":"k","Publish":true}"#, ""),
    ("apigateway", STAGE, "", r#"{"patchOperations":[{"op":"swap"}]}"#,
     "input.patchOperations[0].op: 'swap' is none of add,"),
    ("apigateway", STAGE, "", r#"{"patchOperations":[{"kind":"replace"}]}"#,
     "Unknown parameter in patchOperations[0]: \"kind\""),
    ("apigateway", STAGE, "", r#"{"patchOperations":"all"}"#, "Invalid type for parameter patchOperations"),
    ("apigateway", "GET /restapis/a/stages?limit=1", "", "", "GetStages: unknown query parameter limit"),
    ("apigateway", "GET /restapis/a/lists", "", "", "apigateway has no operation for GET /restapis/a/lists"),
    ("lambda", CODE, "", r#"{"S3Bucket":"a","Publish":true}"#, "Invalid length for parameter S3Bucket"),
    ("lambda", CODE, "", r#"{"S3Bucket":"buck_et/","Publish":true}"#, "'buck_et/' does not match"),
    ("lambda", CODE, "", r#"{"S3Key":"LONG"}"#, "input.S3Key: 1025 is more than 1024"),
    ("lambda", CODE, "", r#"{"Architectures":["riscv"]}"#, "'riscv' is none of x86_64, arm64"),
    ("lambda", "PUT /2015-03-31/functions/a+b/code", "", "{}", "input.FunctionName: 'a+b' does not match"),
    ("s3", PUT, "x-amz-copy-source: b/c", "", "the SDK says that it is PutObject"),
    ("s3", "PUT /bucket/a", "x-amz-meta: 1", "", "unknown header x-amz-meta"),
    ("s3", "POST /bucket?delete", "", "<Delete><Object><Name>k</Name></Object></Delete>",
     "Missing required parameter in Delete.Objects[0]: \"Key\""),
    ("iam", "POST /", "", "Action=GetRole&Version=2010-05-08&Role=r",
     "Missing required parameter in input: \"RoleName\""),
    ("sqs", "POST /", "", "", "the service sqs has no model here"),
];

fn texts(judgement: &Judgement, request: Option<usize>) -> Vec<&str> {
    let problems = judgement.problems.iter().filter(|problem| problem.request == request);
    let mut texts: Vec<&str> = problems.map(|problem| problem.text.as_str()).collect();
    texts.sort_unstable();
    texts
}

/// The judge sees each kind of fault, and says what it is.
#[tokio::test]
async fn what_the_model_does_not_allow_is_refused() {
    let long = "x".repeat(1025);
    let requests: Vec<Request> = REQUESTS
        .iter()
        .map(|(service, line, headers, body, _)| {
            request(service, line, headers, &body.replace("LONG", &long))
        })
        .collect();
    let mut damaged = table();
    damaged["apigateway"]["RestApi"].as_object_mut().unwrap().remove("securityPolicy");
    damaged["apigateway"]["RestApi"]["apiStatus"] = json!("one of AVAILABLE UPDATING PENDING FAILED LOST");
    damaged["apigateway"]["Authorizer"]["type"] = json!("one of TOKEN REQUEST COGNITO_USER_POOLS");
    damaged["lambda"]["FunctionConfiguration"]["Colour"] = json!("read");
    damaged["lambda"]["FunctionConfiguration"]["DurableConfig"] = json!("read");
    let judgement = judge(&requests, &damaged).await;
    for (number, (_, line, _, _, reason)) in REQUESTS.iter().enumerate() {
        let texts = texts(&judgement, Some(number));
        if reason.is_empty() {
            assert!(texts.is_empty(), "{line}: {texts:?}");
        } else {
            assert!(
                texts.iter().any(|text| text.contains(reason)),
                "{line}: {reason:?} is not in {texts:#?}"
            );
        }
    }
    assert_eq!(
        texts(&judgement, None),
        [
            "apigateway.Authorizer.type: the value JWT is new in the model",
            "apigateway.RestApi.apiStatus: the value LOST is in the table",
            "apigateway.RestApi.securityPolicy is new in the model: decide about it",
            "lambda.FunctionConfiguration.Colour is not in the model",
            "lambda.FunctionConfiguration.DurableConfig is 'read', and the model says 'shape DurableConfig'",
        ]
    );
}
