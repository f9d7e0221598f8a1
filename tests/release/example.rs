//! The whole story of a project on the local stage, told once: real Terraform, real Lambdas, real HTTP, and the real
//! program. Setting up takes a minute, so the chapters follow each other on one stage.

mod described;
mod guarded;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::pipeline::calls::operation;
use super::pipeline::recorder::Recorder;
use crate::support::caller::Answer;
use crate::support::deployed_stage::DeployedStage;
use crate::support::example_project::ExampleProject;
use crate::support::program::CommandOutput;
use crate::support::progress;
use crate::support::proxy::Proxy;
use crate::support::stage_file::StageFile;
use crate::support::traffic::ReleaseMarks;
use crate::support::{http, traffic};
use guarded::{ALL, ALL_PLAIN, Guarded, ORIGIN, Redis};

const OLD: &str = "application/json";
const NEW: &str = "application/json; charset=utf-8";

/// A route that Terraform adds.
const PING: &str = r#"
resource "aws_api_gateway_resource" "ping" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_resource.demo.id
  path_part   = "ping"
}

resource "aws_api_gateway_method" "ping" {
  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = aws_api_gateway_resource.ping.id
  http_method   = "GET"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "ping" {
  rest_api_id             = aws_api_gateway_rest_api.this.id
  resource_id             = aws_api_gateway_resource.ping.id
  http_method             = aws_api_gateway_method.ping.http_method
  type                    = "MOCK"
  integration_http_method = "POST"
  request_templates       = { "application/json" = jsonencode({ statusCode = 200 }) }
}

resource "aws_api_gateway_method_response" "ping" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = aws_api_gateway_resource.ping.id
  http_method = aws_api_gateway_method.ping.http_method
  status_code = "200"
}

resource "aws_api_gateway_integration_response" "ping" {
  rest_api_id        = aws_api_gateway_rest_api.this.id
  resource_id        = aws_api_gateway_resource.ping.id
  http_method        = aws_api_gateway_integration.ping.http_method
  status_code        = aws_api_gateway_method_response.ping.status_code
  response_templates = { "application/json" = "pong" }
}
"#;

#[tokio::test]
async fn the_story_of_a_project() {
    let project = ExampleProject::new();
    let start = Instant::now();
    let chapter =
        |name: &str| progress::print("release", &format!("{:>5.0} s  {name}", start.elapsed().as_secs_f64()));

    chapter("the first release");
    let first = first_release(&project).await;
    let site = DeployedStage::of(&first).await;
    let story = Story { project, site };
    story.all_routes("1.0.0").await;
    story.status_is_fresh(&first).await;

    chapter("the same version again, on a stage that was stopped");
    let again = story.the_same_again(&first).await;

    chapter("the same version with other bytes");
    story.other_bytes_are_refused(&again).await;

    chapter("a second release under traffic");
    let second = story.a_second_release_under_traffic(&again).await;

    chapter("rollbacks");
    story.rollbacks(&again, &second).await;

    chapter("a preview");
    story.a_preview(&second).await;

    chapter("the pitfall");
    story.the_pitfall().await;

    chapter("one at a time");
    story.a_held_stage_and_its_holder().await;

    chapter("killed and interrupted");
    story.killed_after_the_switch().await;
    story.interrupted_after_the_switch().await;

    chapter("a release that crashes");
    story.a_release_that_crashes().await;

    chapter("a release that does not pass its checks");
    story.a_release_that_fails_is_switched_back().await;

    chapter("a promotion");
    story.a_promotion().await;

    chapter("who may call");
    let guarded = story.the_authorizer_is_switched_on().await;
    story.who_may_call(&guarded).await;

    chapter("as described");
    progress::print(
        "release",
        &format!("         {}", described::judged(&guarded.url, ALL_PLAIN, 180).await),
    );

    chapter("the end");
    story.history_has_no_gaps().await;
    story.nothing_is_left().await;
    chapter("done");
}

async fn first_release(project: &ExampleProject) -> Value {
    let first = project.json(&["release", "--version", "1.0.0", "--stage", "local"]).await;
    for (field, expected) in [
        ("schema", json!(1)),
        ("command", json!("release")),
        ("outcome", json!("released")),
        ("stage", json!("local")),
        ("version", json!("1.0.0")),
        ("previous", json!(null)),
        ("error", json!(null)),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    let functions = first["functions"].as_object().unwrap();
    let keys: Vec<&str> = functions.keys().map(String::as_str).collect();
    assert_eq!(keys, ["user_delete", "user_get", "user_patch", "users_delete", "users_get", "users_post"]);
    for (key, function) in functions {
        assert_eq!(function["name"], format!("users-local-{}", key.replace('_', "-")));
        assert!(function["version"].as_str().unwrap().parse::<u64>().is_ok(), "{function}");
        assert_eq!(function["code_sha256"], functions["users_get"]["code_sha256"], "one zip for all");
    }
    assert_eq!(first["api"]["state"], "fresh");
    assert_eq!(first["api"]["changes"], json!([]));
    assert_eq!(first["api"]["fingerprint"].as_str().map(str::len), Some(64));
    let steps: Vec<&str> =
        first["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    let place = |name: &str| steps.iter().position(|step| *step == name).expect(name);
    assert!(place("publish versions") < place("switch") && place("switch") < place("verify"), "{steps:?}");
    first
}

/// What a function writes to its log before it ends, at its first event.
const CRASH: &str = "failed to read the configuration: TABLE is missing";

const CRASHING: &str = r#"
use std::io::{Read as _, Write as _};

fn main() {
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut runtime = std::net::TcpStream::connect(host).unwrap();
    runtime.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: runtime\r\n\r\n").unwrap();
    runtime.read(&mut [0; 1]).unwrap();
    eprintln!("CRASH");
    std::process::exit(1);
}
"#;

async fn crashing_program(path: &Path) {
    let source = path.with_extension("rs");
    std::fs::write(&source, CRASHING.replace("CRASH", CRASH)).unwrap();
    // Without the libc of this machine, which may be newer than Lambda's.
    let arguments = ["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"];
    let compile =
        tokio::process::Command::new("rustc").args(arguments).arg(path).arg(source).output().await.unwrap();
    assert!(compile.status.success(), "{}", String::from_utf8_lossy(&compile.stderr));
}

struct Story {
    project: ExampleProject,
    site: DeployedStage,
}

impl Story {
    async fn json(&self, args: &[&str]) -> Value {
        self.project.json(args).await
    }

    async fn run(&self, args: &[&str]) -> CommandOutput {
        self.project.run(args).await
    }

    async fn status(&self) -> Value {
        self.json(&["status"]).await
    }

    /// Fails the test unless deployctl, the stage and a caller agree on `version`.
    async fn serves(&self, version: &str) {
        let status = self.status().await;
        assert_eq!(status["version"], version);
        assert_eq!(status["drift"], json!([]));
        let (deployment, variables) = self.site.pointer().await;
        assert_eq!(status["api"]["deployment_id"], deployment.as_str());
        assert_eq!(variables["release"], version);
        let answer = self.site.ask("GET", "/demo/users", None).await;
        assert_eq!((answer.status, answer.release.as_str()), (200, version));
        let function = status["functions"]["users_get"]["version"].as_str().unwrap();
        assert_eq!((answer.function_version.as_str(), &variables["users_get"][..]), (function, function));
    }

    async fn all_routes(&self, release: &str) {
        let check = |answer: Answer, status: u16| {
            assert_eq!((answer.status, answer.release.as_str()), (status, release), "{answer:?}");
            answer.json()
        };
        let ask = |method, path, body| self.site.ask(method, path, body);
        check(ask("DELETE", "/demo/users", None).await, 200);
        let user = check(ask("POST", "/demo/users", Some(r#"{"name":"Ada"}"#)).await, 201);
        let path = format!("/demo/users/{}", user["id"].as_str().unwrap());
        assert_eq!(user["name"], "Ada");
        assert_eq!(check(ask("GET", "/demo/users", None).await, 200), json!([user]));
        assert_eq!(check(ask("GET", &path, None).await, 200), user);
        let patched = check(ask("PATCH", &path, Some(r#"{"city":"London"}"#)).await, 200);
        assert_eq!(patched, json!({ "id": user["id"], "name": "Ada", "city": "London" }));
        assert_eq!(check(ask("DELETE", &path, None).await, 200), patched);
        for method in ["GET", "DELETE"] {
            assert!(check(ask(method, &path, None).await, 404)["error"].is_string());
        }
        assert!(check(ask("PATCH", &path, Some("{}")).await, 404)["error"].is_string());
        for bad in ["{", "[1]", ""] {
            assert!(check(ask("POST", "/demo/users", Some(bad)).await, 400)["error"].is_string(), "{bad}");
        }
        assert!(check(ask("GET", "/demo/users/a_b", None).await, 404)["error"].is_string());
        check(ask("POST", "/demo/users", Some("{}")).await, 201);
        assert_eq!(check(ask("DELETE", "/demo/users", None).await, 200), json!([]));
        assert_eq!(check(ask("GET", "/demo/users", None).await, 200), json!([]));
    }

    async fn status_is_fresh(&self, release: &Value) {
        let ended = self.run(&["status", "--exit-code", "--output", "json"]).await.exit(0);
        let status = ended.json();
        for field in ["version", "functions", "url"] {
            assert_eq!(status[field], release[field], "{field}");
        }
        assert_eq!(status["api"], release["api"]);
        assert_eq!((&status["drift"], &status["held"]), (&json!([]), &json!(null)));
        let human = self.run(&["status"]).await.exit(0);
        let version = release["version"].as_str().unwrap();
        assert!(human.stdout.starts_with(&format!("local: serves {version}\n")), "{}", human.stdout);
    }

    /// The local stage is stopped before. What it held is there again: Terraform finds nothing to do, and neither does
    /// the release.
    async fn the_same_again(&self, first: &Value) -> Value {
        let published = self.site.published(&first["functions"]).await;
        assert_eq!(self.json(&["local", "down"]).await["stopped"], true);
        self.project.terraform_calls();
        let again = self.json(&["release", "--version", "1.0.0"]).await;
        let calls = self.project.terraform_calls();
        assert_eq!(again["outcome"], "unchanged");
        assert_eq!((&again["functions"], &again["api"]), (&first["functions"], &first["api"]));
        assert_eq!(self.json(&["history"]).await["records"].as_array().map(Vec::len), Some(1));
        assert_eq!(self.site.published(&first["functions"]).await, published, "a version was published");
        assert_eq!(calls.len(), 2, "{calls:#?}");
        for (call, layer) in calls.iter().zip(["base", "app"]) {
            assert!(call.starts_with(&format!("{layer} plan ")), "{calls:#?}");
        }
        self.serves("1.0.0").await;
        again
    }

    /// From here on, the source is the second release's.
    async fn other_bytes_are_refused(&self, live: &Value) {
        let (before, published) = (self.site.pointer().await, self.site.published(&live["functions"]).await);
        let response = "lambdas/users/src/response.rs";
        self.project.edit(
            response,
            &format!("(\"Content-Type\", \"{OLD}\""),
            &format!("(\"Content-Type\", \"{NEW}\""),
        );
        let refused = self.run(&["release", "--version", "1.0.0", "--output", "json"]).await.exit(10);
        let document = refused.json();
        assert_eq!(document["outcome"], "failed");
        assert_eq!(document["error"]["id"], "artifact.other_bytes", "{document:#}");
        assert_eq!(self.site.pointer().await, before);
        assert_eq!(self.site.published(&live["functions"]).await, published);
        assert_eq!(self.site.ask("GET", "/demo/users", None).await.content_type, OLD);
        self.serves("1.0.0").await;
    }

    async fn a_second_release_under_traffic(&self, old: &Value) -> Value {
        let stop = CancellationToken::new();
        let release = async {
            let document = self.json(&["release", "--version", "1.1.0"]).await;
            stop.cancel();
            document
        };
        let (new, seen) = tokio::join!(release, traffic::drive(&self.site.caller, &stop));
        assert_eq!(new["previous"], "1.0.0");
        for (key, function) in new["functions"].as_object().unwrap() {
            assert_ne!(function["version"], old["functions"][key]["version"]);
        }
        let counts =
            traffic::assert_consistent(&seen, &[ReleaseMarks::of(old, OLD), ReleaseMarks::of(&new, NEW)]);
        progress::print("release", &format!("         {counts}"));
        self.serves("1.1.0").await;
        self.all_routes("1.1.0").await;
        self.status_is_fresh(&new).await;
        new
    }

    async fn rollbacks(&self, old: &Value, new: &Value) {
        self.project.terraform_calls();
        let published = self.site.published(&new["functions"]).await;
        let stop = CancellationToken::new();
        let rollback = async {
            let back = self.json(&["rollback"]).await;
            stop.cancel();
            back
        };
        let (back, seen) = tokio::join!(rollback, traffic::drive(&self.site.caller, &stop));
        assert_eq!(
            (&back["outcome"], &back["version"], &back["previous"]),
            (&json!("rolled_back"), &json!("1.0.0"), &json!("1.1.0"))
        );
        assert_eq!((&back["functions"], &back["api"]), (&old["functions"], &old["api"]));
        let diff = &back["diff"];
        assert_eq!((&diff["from"]["version"], &diff["to"]["version"]), (&json!("1.1.0"), &json!("1.0.0")));
        assert_eq!(diff["functions"].as_object().map(serde_json::Map::len), Some(6), "{diff:#}");
        assert_eq!(diff["api"]["changes"], json!([]));
        let counts =
            traffic::assert_consistent(&seen, &[ReleaseMarks::of(new, NEW), ReleaseMarks::of(old, OLD)]);
        progress::print("release", &format!("         {counts}"));
        self.serves("1.0.0").await;

        let forth = self.json(&["rollback"]).await;
        assert_eq!((&forth["version"], &forth["api"]), (&new["version"], &new["api"]));
        self.serves("1.1.0").await;
        assert_eq!(self.json(&["rollback", "--to", "1.0.0"]).await["version"], "1.0.0");
        self.serves("1.0.0").await;
        self.run(&["rollback", "--to", "0.9"]).await.exit(2).says(&["rollback.unknown_version", "0.9"]);
        // A prefix of a version is another version.
        self.run(&["rollback", "--to", "1.1"]).await.exit(2).says(&["rollback.unknown_version"]);
        self.serves("1.0.0").await;
        assert_eq!(self.json(&["rollback"]).await["version"], "1.1.0");
        self.serves("1.1.0").await;
        assert_eq!(self.project.terraform_calls(), Vec::<String>::new(), "a rollback needs no Terraform");
        assert_eq!(self.site.published(&new["functions"]).await, published);
    }

    /// Other code at a URL of its own, which callers of the stage see nothing of.
    async fn a_preview(&self, live: &Value) {
        let response = "lambdas/users/src/response.rs";
        let shown = "application/json; charset=US-ASCII";
        let settings = "[stages.local.variables]";
        self.project.edit("deployctl.toml", settings, &format!("[stages.local.previews]\n\n{settings}"));
        self.project.edit(response, NEW, shown);
        let file = StageFile::of(&self.project.dir);
        let recorder = Recorder::start(file.port()).await;
        file.point_at(recorder.port);

        let stop = CancellationToken::new();
        let preview = async {
            let start = Instant::now();
            let up = self.json(&["preview", "up", "--name", "pr-1"]).await;
            let seconds = start.elapsed().as_secs_f64();
            stop.cancel();
            (up, seconds)
        };
        let ((up, seconds), seen) = tokio::join!(preview, traffic::drive(&self.site.caller, &stop));
        let counts = traffic::assert_consistent(&seen, &[ReleaseMarks::of(live, NEW)]);
        let requests = recorder.take().iter().filter(|request| operation(request).is_some()).count();
        progress::print(
            "release",
            &format!(
                "         preview up {seconds:.1} s, the build included, with {requests} requests; of the stage: {counts}"
            ),
        );
        assert_eq!(up["published"].as_array().map(Vec::len), Some(6), "{up:#}");
        let url = format!("{}/demo/users", up["url"].as_str().unwrap());
        let answer = http::client().get(&url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], shown);
        assert_eq!(answer.headers()["x-release"], up["version"].as_str().unwrap());
        file.restore();
        let list = self.json(&["preview", "list"]).await;
        assert_eq!(list["previews"][0]["name"], "pr-1");
        assert_eq!(self.json(&["preview", "down", "--name", "pr-1"]).await["closed"], json!(["pr-1"]));
        assert!(!http::client().get(&url).send().await.unwrap().status().is_success());
        self.project.edit(response, shown, NEW);
        self.serves("1.1.0").await;
    }

    /// Terraform changes the API past deployctl, and nobody sees it, until it is deployed.
    async fn the_pitfall(&self) {
        let before = self.site.pointer().await;
        let deployment = before.0.as_str();
        std::fs::write(self.project.dir.join("terraform/app/ping.tf"), PING).unwrap();
        self.project.edit(
            "deployctl.toml",
            "artifact_bucket_force_destroy = true",
            "artifact_bucket_force_destroy = true\nintegration_timeout_ms = 15000",
        );
        self.terraform_apply_by_hand().await;
        assert_eq!(self.site.ask("GET", "/demo/ping", None).await.status, 403, "the old API is served");
        assert_eq!(self.site.pointer().await, before, "Terraform left the stage alone");

        let stale = self.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
        assert_eq!(stale["api"]["state"], "stale");
        assert_eq!(stale["drift"], json!([]));
        let changes: Vec<&str> =
            stale["api"]["changes"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let timeouts = changes.iter().filter(|line| line.ends_with("integration timeout 29000 -> 15000"));
        assert_eq!(timeouts.count(), 8, "six functions, and HEAD twice: {changes:#?}");
        assert!(changes.iter().any(|line| line.contains("/demo/ping")), "{changes:#?}");
        self.run(&["status"]).await.exit(0);

        let cured = self.json(&["redeploy", "--if-stale"]).await;
        assert_eq!((&cured["outcome"], &cured["version"]), (&json!("redeployed"), &json!("1.1.0")));
        assert_eq!(cured["api"]["changes"].as_array().unwrap().len(), changes.len());
        assert_ne!(cured["api"]["deployment_id"], deployment);
        assert_eq!(self.site.ask("GET", "/demo/ping", None).await.body, "pong");
        assert_eq!(self.site.pointer().await.1, before.1, "a redeployment leaves the variables alone");
        self.run(&["status", "--exit-code"]).await.exit(0);

        let unchanged = self.json(&["redeploy", "--if-stale"]).await;
        assert_eq!(unchanged["outcome"], "unchanged");
        assert_eq!(unchanged["api"]["deployment_id"], cured["api"]["deployment_id"]);
        self.serves("1.1.0").await;
    }

    async fn terraform_apply_by_hand(&self) {
        let args = ["terraform", "app", "--", "apply", "-auto-approve", "-input=false", "-no-color"];
        let applied = self.run(&args).await.exit(0);
        assert!(applied.stdout.contains("5 added, 8 changed, 0 destroyed"), "{}", applied.stdout);
    }

    async fn a_held_stage_and_its_holder(&self) {
        let free = self.site.lease().await;
        let mut held = free.clone();
        held["holder"] = json!({
            "nonce": "somebody-else",
            "who": { "arn": "arn:aws:iam::000000000000:user/grace", "run_url": "https://ci.example/run/7" },
            "command": "release 9.9.9",
            "process": { "machine": "another", "host": "elsewhere", "pid": 1 },
            "since": "2026-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z",
        });
        self.site.write_lease(&held).await;
        self.project.terraform_calls();
        let before = self.site.pointer().await;
        let named = ["lease.held", "user/grace", "release 9.9.9", "https://ci.example/run/7", "elsewhere"];
        for command in [vec!["release", "--version", "1.1.0"], vec!["rollback"], vec!["redeploy"]] {
            self.run(&command).await.exit(75).says(&named);
        }
        assert_eq!(self.project.terraform_calls(), Vec::<String>::new());
        assert_eq!(self.site.lease().await, held);
        assert!(self.status().await["held"].as_str().unwrap().contains("user/grace"));

        self.run(&["unlock"]).await.exit(2).says(&["unlock.unconfirmed", "--yes"]);
        assert_eq!(self.site.lease().await, held, "not confirmed");
        assert_eq!(self.json(&["unlock", "--yes"]).await["freed"], true);
        assert_eq!(self.json(&["unlock", "--yes"]).await["freed"], false);
        assert_eq!(self.site.pointer().await, before);

        // What its holder says of the time does not matter, only how long ago S3 took its last write.
        held["holder"]["expires"] = json!("2026-01-01T00:01:30Z");
        self.site.write_lease(&held).await;
        self.run(&["redeploy", "--if-stale"]).await.exit(75).says(&named);
        // 100 s later by the clock of S3, its term is over, and it is taken over.
        let stage = StageFile::of(&self.project.dir);
        let later = Proxy::start(stage.port()).await;
        later.shift_date(100);
        stage.point_at(later.port);
        assert_eq!(self.json(&["redeploy", "--if-stale"]).await["outcome"], "unchanged");
        stage.restore();
        assert_eq!(self.site.lease().await["holder"], json!(null));
    }

    /// Starts a rollback that waits, after its switch, for a header that never comes.
    async fn a_rollback_that_hangs(&self) -> tokio::process::Child {
        self.project.edit("deployctl.toml", "\"x-release\"", "\"x-never\"");
        let before = self.site.pointer().await;
        let child = self.project.program.command(&["rollback", "--output", "json"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.site.pointer().await == before {
            assert!(Instant::now() < deadline, "the stage does not move");
        }
        self.project.edit("deployctl.toml", "\"x-never\"", "\"x-release\"");
        child
    }

    async fn killed_after_the_switch(&self) {
        let before = self.json(&["history"]).await["records"].as_array().unwrap().len();
        let mut child = self.a_rollback_that_hangs().await;
        // While it lives, it is the only one.
        let pid = format!("process {}", child.id().unwrap());
        self.run(&["redeploy"]).await.exit(75).says(&["`rollback`", &pid]);
        child.kill().await.unwrap();
        let killed_at = self.site.pointer().await;
        let records = self.json(&["history"]).await["records"].as_array().unwrap().len();
        assert_eq!(records, before, "it was killed before its record");
        self.run(&["status", "--exit-code"]).await.exit(3);

        // Whatever comes next settles it first.
        let next = self.run(&["redeploy", "--if-stale", "--output", "json"]).await.exit(0);
        let next = next.says(&["was interrupted after it had moved the stage"]);
        assert_eq!(self.site.pointer().await.1, killed_at.1);
        let history = self.json(&["history"]).await;
        let recovered: Vec<&Value> = history["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["recovered"] == true)
            .collect();
        assert_eq!(recovered.len(), 1);
        assert_eq!(recovered[0]["number"], before + 1);
        assert_eq!(recovered[0]["pointer"]["deployment_id"], killed_at.0.as_str());
        let version = next.json()["version"].as_str().unwrap().to_owned();
        self.serves(&version).await;
    }

    async fn interrupted_after_the_switch(&self) {
        let before = self.site.pointer().await;
        let child = self.a_rollback_that_hangs().await;
        let pid = nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        let ended = CommandOutput::of(child.wait_with_output().await.unwrap()).exit(130);
        assert_eq!(ended.json()["error"]["id"], "interrupted");
        assert_eq!(self.site.pointer().await, before);
        let history = self.json(&["history"]).await;
        assert_eq!(history["records"][0]["outcome"], "switched_back");
        self.serves(&before.1["release"]).await;
    }

    /// Found before the switch without a failed request; and, where that is turned off, soon after it.
    async fn a_release_that_crashes(&self) {
        let live = self.json(&["rollback", "--to", "1.1.0"]).await;
        let before = self.site.pointer().await;
        let file = self.project.dir.join("deployctl.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        self.project.edit(
            "deployctl.toml",
            "[artifacts.users]\npackage = \"users\"",
            "[artifacts.users]\npath = \"dist/bootstrap\"",
        );
        let dist = self.project.dir.join("dist");
        std::fs::create_dir_all(&dist).unwrap();
        crashing_program(&dist.join("bootstrap")).await;

        let stop = CancellationToken::new();
        let release = async {
            let failed = self.run(&["release", "--version", "1.1.9", "--output", "json"]).await.exit(30);
            stop.cancel();
            failed
        };
        let (failed, seen) = tokio::join!(release, traffic::drive(&self.site.caller, &stop));
        // The project's own check invokes users_get, and its other functions serve no GET.
        let failed = failed.says(&["not tried before the switch: user_delete (serves no GET), "]).json();
        assert_eq!(failed["error"]["id"], "check.failed", "{failed:#}");
        let message = failed["error"]["message"].as_str().unwrap();
        for part in ["users-local-user-get:", ", invoked with GET /demo/users/deployctl: ", CRASH] {
            assert!(message.contains(part), "{failed:#}");
        }
        let counts = traffic::assert_consistent(&seen, &[ReleaseMarks::of(&live, NEW)]);
        progress::print("release", &format!("         found before the switch: {counts}"));
        assert_eq!(self.site.pointer().await, before);

        let now = std::fs::read_to_string(&file).unwrap();
        let (without, _) = now.split_once("[[checks]]").unwrap();
        std::fs::write(&file, format!("default_check = false\n{without}")).unwrap();
        let failed = self.run(&["release", "--version", "1.1.9", "--output", "json"]).await.exit(30).json();
        assert_eq!(failed["outcome"], "switched_back", "{failed:#}");
        let cause = failed["error"]["causes"][0].as_str().unwrap();
        for part in ["callers get errors since the switch", "the log of users-local-users-get:", CRASH] {
            assert!(cause.contains(part), "{failed:#}");
        }
        let end = |name: &str| {
            let step = failed["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap();
            step["start"].as_f64().unwrap() + step["seconds"].as_f64().unwrap()
        };
        progress::print(
            "release",
            &format!("         {:.1} s from the switch to the verdict", end("verify") - end("switch")),
        );
        assert!(failed["error"]["hint"].as_str().unwrap().contains("serves release 1.1.0 again"));
        assert_eq!(self.site.pointer().await, before);
        let history = self.json(&["history"]).await;
        let newest = &history["records"][0];
        assert_eq!(
            (&newest["action"], &newest["outcome"], &newest["release"]["version"]),
            (&json!("release"), &json!("switched_back"), &json!("1.1.9"))
        );
        std::fs::write(&file, settings).unwrap();
        self.serves("1.1.0").await;
        self.all_routes("1.1.0").await;
        self.run(&["status", "--exit-code"]).await.exit(0);
    }

    async fn a_release_that_fails_is_switched_back(&self) {
        self.json(&["rollback", "--to", "1.1.0"]).await;
        let before = self.site.pointer().await;
        // The wrong program: it starts, and answers what is no answer to a request.
        self.project.edit(
            "deployctl.toml",
            "[artifacts.users]\npackage = \"users\"",
            "[artifacts.users]\npath = \"dist/bootstrap\"",
        );
        let dist = self.project.dir.join("dist");
        std::fs::create_dir_all(&dist).unwrap();
        std::fs::copy(self.project.built("authorizer"), dist.join("bootstrap")).unwrap();
        // Seen before the switch, by the project's own check.
        let file = self.project.dir.join("deployctl.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("default_check = false\n{settings}")).unwrap();
        let failed = self.run(&["release", "--version", "1.2.0", "--output", "json"]).await.exit(30);
        let failed = failed.says(&["check \"users_get\" of users-local-users-get:"]).json();
        assert_eq!((&failed["outcome"], &failed["error"]["id"]), (&json!("failed"), &json!("check.failed")));
        assert_eq!(self.site.pointer().await, before);

        // The right program, but not what the project wants to see of it.
        let settings = settings.replace("path = \"dist/bootstrap\"", "package = \"users\"");
        let teapot = format!("{settings}\n[[checks]]\nrequest = \"GET /demo/users\"\nstatus = 418\n");
        std::fs::write(self.project.dir.join("deployctl.toml"), teapot).unwrap();
        let failed = self.run(&["release", "--version", "1.2.1", "--output", "json"]).await.exit(30);
        let failed = failed.says(&["GET /demo/users gave status 200 where 418 was expected"]).json();
        assert_eq!(failed["error"]["id"], "release.switched_back");
        assert_eq!(self.site.pointer().await, before);

        // What failed does not stand in the way of what works.
        std::fs::write(self.project.dir.join("deployctl.toml"), settings).unwrap();
        assert_eq!(self.json(&["release", "--version", "1.2.1"]).await["outcome"], "released");
        self.serves("1.2.1").await;
        self.all_routes("1.2.1").await;
        assert_eq!(self.json(&["rollback"]).await["version"], "1.1.0");
        self.serves("1.1.0").await;
    }

    /// The very bytes of this stage on another, without building; and back again there.
    async fn a_promotion(&self) {
        let stage = "\n[stages.next]\nlocal = true\nvariables = { artifact_bucket_force_destroy = true, authorization = \"none\", redis_transit_encryption = \"off\" }\n";
        let settings = std::fs::read_to_string(self.project.dir.join("deployctl.toml")).unwrap();
        std::fs::write(self.project.dir.join("deployctl.toml"), settings + stage).unwrap();
        let promote = ["promote", "--version", "1.1.0", "--from", "local", "--to", "next"];
        let unknown = self.run(&["promote", "--version", "1.1", "--from", "local", "--to", "next"]).await;
        unknown.exit(2).says(&["promote.unknown_version", "version 1.1 was never live on stage local"]);
        self.run(&["promote", "--version", "1.1.0", "--from", "next", "--to", "next"]).await.exit(2);

        // Nothing can be built, so nothing is.
        let source = self.project.dir.join("lambdas/users/src/main.rs");
        let main = std::fs::read_to_string(&source).unwrap();
        std::fs::write(&source, "this is not Rust").unwrap();
        let live = self.status().await;
        let promoted = self.json(&promote).await;
        assert_eq!((&promoted["outcome"], &promoted["stage"]), (&json!("released"), &json!("next")));
        for (key, function) in promoted["functions"].as_object().unwrap() {
            assert_eq!(function["code_sha256"], live["functions"][key]["code_sha256"], "{key}");
        }
        let site = DeployedStage::of(&promoted).await;
        assert_eq!(site.ask("GET", "/demo/users", None).await.release, "1.1.0");
        let history = self.json(&["history", "--stage", "next"]).await;
        let record = &history["records"][0];
        assert_eq!(
            (&record["action"], &record["release"]["promoted_from"]),
            (&json!("promote"), &json!("local"))
        );
        let here = &self.json(&["history"]).await["records"][0]["release"];
        assert_eq!(record["release"]["git"], here["git"]);

        // Again: everything is there, and is found to be the same.
        let again = self.json(&promote).await;
        assert_eq!(again["functions"], promoted["functions"]);

        // A zip that is not what the ledger says is not promoted.
        self.site.change_zip_hash_in_ledger("1.1.0").await;
        let refused = self.run(&[&promote[..], &["--output", "json"]].concat()).await.exit(10).json();
        assert_eq!(refused["error"]["id"], "promote.other_bytes", "{refused:#}");
        assert_eq!(site.ask("GET", "/demo/users", None).await.release, "1.1.0");
        std::fs::write(&source, main).unwrap();
    }

    /// On the stage that was promoted to, in one release; and its probe comes in with credentials.
    async fn the_authorizer_is_switched_on(&self) -> Guarded {
        let redis = Redis::of(&self.project.dir);
        redis.add_users().await;
        let variables = format!(
            "{{ artifact_bucket_force_destroy = true, authorization = \"lambda\", redis_transit_encryption = \"off\", cors_allow_origin = \"{ORIGIN}\", \
             throttling = {{ rate_limit = 5000, burst_limit = 5000 }} }}"
        );
        let now = "local = true\nvariables = { artifact_bucket_force_destroy = true, authorization = \"none\", redis_transit_encryption = \"off\" }";
        self.project.edit("deployctl.toml", now, &format!("local = true\nvariables = {variables}"));
        let program = self.project.program.clone().with("DEPLOYCTL_PROBE_AUTHORIZATION", ALL);
        let args = ["release", "--version", "1.3.0", "--stage", "next", "--output", "json"];
        let released = program.run(&args).await.exit(0);
        assert!(!released.stderr.contains("requires credentials"), "{}", released.stderr);
        let released = released.json();
        assert_eq!(released["functions"].as_object().unwrap().len(), 7);
        Guarded::at(released["url"].as_str().unwrap(), redis)
    }

    async fn who_may_call(&self, guarded: &Guarded) {
        let strangers = guarded.strangers_are_401().await;
        let calls = guarded.rights_are_kept_on_every_route().await;
        progress::print("release", &format!("         {strangers} calls by strangers, {calls} by users"));
        guarded.what_needs_no_right().await;
        guarded.decisions_are_kept().await;
        // A redeployment has API Gateway forget.
        self.json(&["redeploy", "--stage", "next"]).await;
        guarded.decisions_are_forgotten().await;
    }

    async fn history_has_no_gaps(&self) {
        let history = self.json(&["history"]).await;
        let records = history["records"].as_array().unwrap();
        let numbers: Vec<u64> = records.iter().map(|record| record["number"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).rev().collect();
        assert_eq!(numbers, expected);
        let (deployment, variables) = self.site.pointer().await;
        assert_eq!(records[0]["pointer"], json!({ "deployment_id": deployment, "variables": variables }));
        let human = self.run(&["history"]).await.exit(0).stdout;
        assert_eq!(human.lines().count(), records.len() + 1, "a header, and a line for each record");
        progress::print("release", &format!("         {} records, without gaps", records.len()));
    }

    async fn nothing_is_left(&self) {
        assert!(self.project.processes().len() > 2, "the servers and Lambdas");
        assert_eq!(self.json(&["local", "down"]).await["stopped"], true);
        assert_eq!(self.project.processes(), Vec::<i32>::new());
        assert_eq!(self.json(&["local", "down"]).await["stopped"], false);
    }
}
