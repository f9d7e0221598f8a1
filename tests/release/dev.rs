//! `deployctl dev`, with a program that needs no other crate and an API of Terraform: what is saved is served, and what is
//! broken is not.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::http;
use crate::support::minimal_project::{MinimalProject, SETTINGS};
use crate::support::program::follows_its_schema;
use crate::support::progress;
use crate::support::signed::Signed;

const PROGRAM: &str = r#"
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

const WORD: &str = "first";

fn main() {
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    loop {
        let mut runtime = TcpStream::connect(&host).unwrap();
        let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        runtime.write_all(next.as_bytes()).unwrap();
        let mut id = String::new();
        let mut reader = BufReader::new(runtime);
        for line in reader.by_ref().lines().map_while(Result::ok) {
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("lambda-runtime-aws-request-id") {
                    id = value.trim().to_owned();
                }
            }
        }
        eprintln!("it says {WORD}");
        let body = format!("{{\"statusCode\":200,\"body\":\"{WORD}\"}}");
        let mut answer = TcpStream::connect(&host).unwrap();
        let text = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        answer.write_all(text.as_bytes()).unwrap();
        let mut rest = Vec::new();
        answer.read_to_end(&mut rest).unwrap();
    }
}
"#;

/// Routes to the function.
const ROUTES: &str = r#"
provider "aws" {
  region = "us-east-1"
}

resource "aws_api_gateway_resource" "this" {
  for_each    = toset(["hello"])
  rest_api_id = "API"
  parent_id   = "ROOT"
  path_part   = each.key
}

resource "aws_api_gateway_method" "this" {
  for_each      = aws_api_gateway_resource.this
  rest_api_id   = "API"
  resource_id   = each.value.id
  http_method   = "GET"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "this" {
  for_each                = aws_api_gateway_method.this
  rest_api_id             = "API"
  resource_id             = each.value.resource_id
  http_method             = each.value.http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  credentials             = "arn:aws:iam::000000000000:role/api"
  uri = join("", [
    "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:",
    "function:small-0:$${stageVariables.f0}/invocations",
  ])
}

"#;

/// A `dev` that runs.
struct Dev {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Dev {
    fn start(project: &MinimalProject) -> Self {
        let mut child = project.program.command(&["dev", "--output", "json"]).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err }
    }

    /// The functions that it serves next, and whether it has deployed the API.
    async fn served(&mut self) -> (Value, bool) {
        let document = self.document("dev", |_| true).await;
        follows_its_schema(&document);
        (document["functions"].clone(), document["deployed"] == true)
    }

    /// The next document of a command that is as wanted.
    async fn document(&mut self, command: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let Self { out, err, .. } = self;
        let mut said = Vec::new();
        let wait = async {
            loop {
                tokio::select! {
                    line = out.next_line() => {
                        let line = line.unwrap().unwrap_or_else(|| panic!("it ended: {said:#?}"));
                        let document: Value = serde_json::from_str(&line).unwrap();
                        if document["command"] == command && is_wanted(&document) {
                            return document;
                        }
                    }
                    Ok(Some(line)) = err.next_line() => said.push(line),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.expect("nothing came")
    }

    /// Reads messages until one contains `text`.
    async fn says(&mut self, text: &str) {
        let wait = async { while !self.err.next_line().await.unwrap().expect("it ended").contains(text) {} };
        tokio::time::timeout(Duration::from_secs(120), wait).await.expect(text);
    }

    async fn interrupt(mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().await.unwrap().code()
    }
}

/// The project with a program that says `first`, and a layer that routes to it.
struct Saying {
    stage: FakeReleasedStage,
    routes: String,
    http: reqwest::Client,
    url: String,
}

impl Saying {
    async fn new() -> Self {
        let stage = FakeReleasedStage::new().await;
        stage.create_functions(1).await;
        let project = &stage.project;
        let package =
            SETTINGS.replace("path = \"dist/bootstrap\"", "package = \"hello\"\nworkspace = \"hello\"");
        project.write("deployctl.toml", &package);
        let manifest =
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
        project.write("hello/Cargo.toml", manifest);
        project
            .write("hello/Cargo.lock", "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n");
        let lock_file = include_str!("../../terraform/app/.terraform.lock.hcl");
        project.write("terraform/app/.terraform.lock.hcl", lock_file);
        let routes = ROUTES.replace("API", &stage.api).replace("ROOT", &stage.root);
        let http = http::client();
        let saying = Self { stage, routes, http, url: String::new() };
        saying.save("\"first\"");
        saying.route("\"hello\"");
        saying
    }

    fn save(&self, word: &str) {
        self.stage.project.write("hello/src/main.rs", PROGRAM.replace("\"first\"", word));
    }

    /// Declares routes.
    fn route(&self, paths: &str) {
        self.stage.declare_functions(1, &self.routes.replace("\"hello\"", paths));
    }

    /// What callers get.
    async fn answer(&self, path: &str) -> String {
        self.http.get(format!("{}/{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    async fn status(&self) -> Value {
        self.stage.project.run(&["status", "--output", "json"]).await.exit(0).json()
    }
}

#[tokio::test]
async fn what_is_saved_is_served() {
    let mut saying = Saying::new().await;
    saying.stage.project.run(&["release", "1.0.0"]).await.exit(0);
    saying.url = saying.status().await["url"].as_str().unwrap().to_owned();
    assert_eq!(saying.answer("hello").await, "first");
    // Whoever waits for a version as on AWS is noticed.
    Signed::new(&saying.stage.project.stage_file().endpoint()).set_times(&[("pending_seconds", 60.0)]).await;

    // Nothing is new, and no layer is planned.
    let mut dev = Dev::start(&saying.stage.project);
    assert_eq!(dev.served().await, (json!([]), false));
    let status = saying.status().await;
    assert!(status["dev_since"].is_string() && status["drift"] == json!([]), "{status}");

    let begun = Instant::now();
    saying.save("\"second\"");
    while saying.answer("hello").await != "second" {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "it waits");
    }
    progress::print("dev", &format!("a changed string is served after {:.2?}", begun.elapsed()));
    assert_eq!(dev.served().await, (json!(["f0"]), false));
    dev.document("logs", |line| line["message"] == "it says second").await;

    // What does not compile changes nothing, and is told.
    saying.save("broken");
    dev.says("cannot find value `broken`").await;
    assert_eq!(saying.answer("hello").await, "second");
    saying.save("\"third\"");
    assert_eq!(dev.served().await, (json!(["f0"]), false));
    assert_eq!(saying.answer("hello").await, "third");

    // So it is with what Terraform does not understand.
    saying.route("\"hello\", again");
    dev.says("Invalid reference").await;
    saying.route("\"hello\", \"again\"");
    assert_eq!(dev.served().await, (json!([]), true));
    assert_eq!(saying.answer("again").await, "third");
    saying.save("\"fourth\"");
    assert_eq!(dev.served().await, (json!(["f0"]), false));
    assert_eq!(saying.answer("again").await, "fourth");
    assert_eq!(dev.interrupt().await, Some(0));
    ends(&saying).await;
}

/// What `dev` served was not recorded. Its end is a release, which waits as on AWS.
async fn ends(saying: &Saying) {
    let project = &saying.stage.project;
    let recorded = async || {
        let history = project.run(&["history", "--output", "json"]).await.exit(0).json();
        let records = history["records"].as_array().unwrap();
        records.iter().map(|record| record["release"]["version"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(recorded().await, ["1.0.0"]);
    assert_eq!(saying.answer("hello").await, "fourth", "it serves when dev has ended");
    Signed::new(&project.stage_file().endpoint()).set_times(&[("pending_seconds", 1.0)]).await;
    saying.save("\"fifth\"");
    project.run(&["release", "1.1.0", "--code-only"]).await.exit(0);
    let status = saying.status().await;
    assert_eq!((&status["version"], &status["dev_since"]), (&json!("1.1.0"), &Value::Null));
    assert_eq!((saying.answer("hello").await.as_str(), recorded().await.len()), ("fifth", 2));
    let refused = project.run(&["dev", "--stage", "dev"]).await.exit(2);
    refused.says(&["error [local.not_local]", "stage dev is not local"]);
}
