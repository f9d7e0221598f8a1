//! What a web page and another user of the machine can send to a local stage.

use crate::local_stage::lifecycle::LocalStage;
use crate::support::{http, sdk, sigv4};
use aws_sdk_lambda as lambda;

const FUNCTION: &str = r#"{"FunctionName":"mine","Runtime":"provided.al2023","Handler":"bootstrap","Role":"arn:aws:iam::000000000000:role/any","Code":{"ZipFile":""}}"#;
const FUNCTIONS: &str = "/2015-03-31/functions";

/// One request: method, path, headers, body.
type Attack<'a> = (&'static str, String, Vec<(&'a str, String)>, &'static str);

fn signed_with<'a>(stage: &LocalStage, secret: &str, at: i64, body: &str) -> Vec<(&'a str, String)> {
    let host = format!("127.0.0.1:{}", stage.port);
    let what = ("POST", host.as_str(), FUNCTIONS, "");
    sigv4::headers(("000000000000", secret), "lambda", &sigv4::time(at), what, body.as_bytes()).into()
}

/// Every attack, with what it is.
fn attacks(stage: &LocalStage) -> Vec<(&'static str, Attack<'static>)> {
    let create = |headers| ("POST", FUNCTIONS.to_owned(), headers, FUNCTION);
    let header = |name, value: &str| (name, value.to_owned());
    let own = |at| signed_with(stage, &stage.secret, at, FUNCTION);
    let page = || vec![header("Origin", "https://evil.example"), header("Content-Type", "text/plain")];
    let also = |mut headers: Vec<_>, more| {
        headers.push(more);
        headers
    };
    let invoke = "/2015-03-31/functions/mine/invocations".to_owned();
    let presigned = format!(
        "{FUNCTIONS}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=000000000000%2F{}%2Fus-east-1%2Flambda%2F\
         aws4_request&X-Amz-Date={}&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
        &sigv4::time(0)[..8],
        sigv4::time(0),
        "0".repeat(64)
    );
    let mut other = signed_with(stage, &stage.secret, 0, "{}");
    other.push(header("X-Amz-Content-Sha256", &"0".repeat(64)));
    let unsigned = also(own(0), header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"));
    vec![
        ("a page's simple POST", create(page())),
        ("a page's simple POST under a rebound name", create(also(page(), header("Host", "evil.example")))),
        ("a rebound name", create(also(own(0), header("Host", "evil.example")))),
        ("a name that begins like ours", create(vec![header("Host", "127.0.0.1.evil.example")])),
        ("a page that can sign", create(also(own(0), header("Origin", "null")))),
        ("a page's invocation", ("POST", invoke.clone(), page(), "{}")),
        ("a page's query protocol", ("POST", "/".into(), page(), "Action=CreateUser&UserName=mine")),
        ("a preflight", ("OPTIONS", FUNCTIONS.into(), page(), "")),
        ("no signature", create(vec![])),
        ("no signature on an invocation", ("POST", invoke, vec![], "{}")),
        ("no signature, query protocol", ("POST", "/".into(), vec![], "Action=CreateUser&UserName=mine")),
        ("the old secret", create(signed_with(stage, "local", 0, FUNCTION))),
        ("MiniStack's secret", create(signed_with(stage, "test", 0, FUNCTION))),
        ("another secret", create(signed_with(stage, &"0".repeat(64), 0, FUNCTION))),
        ("another body", create(signed_with(stage, &stage.secret, 0, "{}"))),
        ("another body and its hash", create(other)),
        ("a body that is not signed", create(unsigned)),
        ("an old request", create(own(-1000))),
        ("a request from the future", create(own(1000))),
        ("a presigned URL", ("POST", presigned, vec![], FUNCTION)),
        (
            "a key id of version 2",
            ("POST", format!("{FUNCTIONS}?AWSAccessKeyId=000000000000"), own(0), FUNCTION),
        ),
        ("a reset", ("POST", "/_ministack/reset".into(), vec![], "")),
        ("a page's reset", ("POST", "/_ministack/reset".into(), page(), "")),
        ("settings", ("POST", "/_ministack/config".into(), vec![], "{}")),
        ("the stage's own settings", ("PUT", "/_deployctl/settings".into(), vec![], "{}")),
        ("a page's setting", ("PUT", "/_deployctl/settings".into(), page(), "{}")),
        ("a page's look at the health", ("GET", "/_ministack/health".into(), page(), "")),
        ("another name of the health", ("GET", "/health".into(), vec![], "")),
        ("a function by its URL", ("GET", "/_aws/lambda-url/mine/".into(), vec![], "")),
        (
            "an API under a rebound name",
            ("GET", "/_aws/execute-api/a/v1/".into(), vec![header("Host", "evil.example")], ""),
        ),
    ]
}

/// Makes all of them; says how many there were.
pub(crate) async fn are_refused(stage: &LocalStage) -> usize {
    let http = http::client();
    let attacks = attacks(stage);
    let count = attacks.len();
    for (name, (method, path, headers, body)) in attacks {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = http.request(method, format!("{}{path}", stage.endpoint)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{name}: a page may read it");
        let text = answer.text().await.unwrap();
        assert!(matches!(status, 400 | 403), "{name}: {status} {text}");
        assert!(!text.contains("services"), "{name}: {text}");
    }
    // An API's own host leads to nothing but the API.
    let request = http.post(format!("{}{FUNCTIONS}", stage.endpoint)).body(FUNCTION);
    let answer = request.header("Host", "abcdef12.execute-api.localhost").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);

    for account in ["000000000000", "111111111111"] {
        let lambda = lambda::Client::new(&sdk::config(&stage.endpoint, account));
        let functions = lambda.list_functions().send().await.unwrap();
        assert_eq!(functions.functions().len(), 0, "somebody else has made a function in {account}");
    }
    count + 1
}
