//! The API is what `openapi.yaml` says: schemathesis makes the requests, valid and not, and judges the answers.

use std::path::Path;

use crate::gateway::Gateway;
use crate::support::{RedisServer, TestResult, python};

/// Pinned; `tests/release.rs` of deployctl runs the same against a released stage.
const SCHEMATHESIS: &str = include_str!("../python/schemathesis.txt");
/// Of each kind of request and operation; with what else schemathesis tries, more than 2,000 in all.
const EXAMPLES: &str = "250";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_2000_requests_are_answered_as_described() -> TestResult {
    let programs = python::programs("schemathesis", SCHEMATHESIS)?;
    let redis = RedisServer::start()?;
    let gateway = Gateway::start(redis.port).await?;
    let folder = tempfile::tempdir()?;
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
    let run = tokio::process::Command::new(programs.join("schemathesis"))
        .arg("run")
        .arg(description)
        .args(["--url", &gateway.url, "--max-examples", EXAMPLES, "--seed", "1", "--workers", "2"])
        // What is no route is answered by API Gateway, and its answer is 403.
        .args(["--exclude-checks", "unsupported_method", "--generation-database", "none", "--no-color"])
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    let (answered, failed) = gateway.counts();
    assert!(answered >= 2000, "only {answered} requests:\n{said}");
    assert_eq!(failed, 0, "{said}");
    Ok(())
}
