//! The API of a released stage is what `openapi.yaml` says: schemathesis makes the requests and judges the answers, through
//! API Gateway, the authorizer and the functions.
//!
//! One of its checks is left out, `unsupported_method`: it wants 405 for a verb that a path does not have. API Gateway answers
//! 403 there, on AWS too, and no function sees the request; that answer is checked here. Nothing else is left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const REQUIREMENTS: &str = include_str!("../../../lambdas/users/tests/python/schemathesis.txt");
const DESCRIPTION: &str = include_str!("../../../lambdas/users/openapi.yaml");
/// With the authorizer on, nobody is served without credentials: schemathesis then tries that, too.
const OPTIONAL: &str = "  - {}\n";

/// Lets schemathesis make some 13 requests for each of `examples`, and says what was answered. `credentials`
/// (`name:secret`) must have every right.
pub(crate) async fn judged(url: &str, credentials: &str, examples: u32) -> String {
    let programs = crate::support::python_tools::install("schemathesis", REQUIREMENTS).await;
    let folder = tempfile::tempdir().unwrap();
    let (description, har) = (folder.path().join("openapi.yaml"), folder.path().join("requests.json"));
    assert_eq!(DESCRIPTION.matches(OPTIONAL).count(), 1);
    std::fs::write(&description, DESCRIPTION.replace(OPTIONAL, "")).unwrap();
    let run = tokio::process::Command::new(programs.join("schemathesis"))
        .arg("run")
        .arg(&description)
        .args(["--url", url, "--auth", credentials, "--max-examples", &examples.to_string(), "--seed", "1"])
        .args(["--exclude-checks", "unsupported_method", "--generation-database", "none", "--no-color"])
        // On a busy machine everything is slow; that is not what is judged here.
        .args(["--suppress-health-check", "all", "--request-timeout", "30"])
        .args(["--report", "har", "--report-har-path"])
        .arg(&har)
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    counted(&har)
}

/// Every request has been answered by a function, or refused by API Gateway as it should.
fn counted(har: &Path) -> String {
    let har: Value = serde_json::from_str(&std::fs::read_to_string(har).unwrap()).unwrap();
    let (mut by_function, mut by_gateway, mut statuses) = (0, 0, BTreeMap::<u64, usize>::new());
    for entry in har["log"]["entries"].as_array().unwrap() {
        let (request, response) = (&entry["request"], &entry["response"]);
        let status = response["status"].as_u64().unwrap();
        assert!((200..500).contains(&status), "{entry:#}");
        *statuses.entry(status).or_default() += 1;
        let mut headers = response["headers"].as_array().unwrap().iter();
        if headers.any(|header| header["name"].as_str().unwrap().eq_ignore_ascii_case("x-release")) {
            by_function += 1;
            assert_ne!(status, 403, "{entry:#}");
            continue;
        }
        by_gateway += 1;
        let method = request["method"].as_str().unwrap();
        let path = request["url"].as_str().unwrap().split('?').next().unwrap();
        let user = !path.ends_with("/users");
        let is_route = match method {
            "GET" | "HEAD" | "DELETE" => true,
            "POST" => !user,
            "PATCH" => user,
            _ => false,
        };
        let (expected, code) = match method {
            // A browser's question, which needs no credentials.
            "OPTIONS" => (204, ""),
            _ if is_route => (401, r#""code":"unauthorized""#),
            _ => (403, r#""code":"no_such_route""#),
        };
        assert_eq!(status, expected, "{entry:#}");
        let body = response["content"]["text"].as_str().unwrap_or_default();
        assert!(method == "HEAD" || body.contains(code), "{entry:#}");
    }
    assert!(statuses[&401] >= 8, "each route was tried without credentials: {statuses:?}");
    let all = by_function + by_gateway;
    assert!(all > 2000, "only {all} requests");
    assert!(by_gateway < 100, "{by_gateway} requests did not reach a function");
    format!(
        "{all} requests, {by_function} answered by functions, {by_gateway} refused by API Gateway; by status {statuses:?}"
    )
}
