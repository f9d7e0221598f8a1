//! AWS's answers, and what deployctl makes of each: `answers/table.toml` lists them, a proxy gives them in the place of a
//! local stage, and the real program runs. CONTRIBUTING.md says how to add a row.
//!
//! No row shares anything with the next but the stage: each releases a version of its own, and fails unless the lease is
//! free and without an intent afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::minimal_project::{MinimalProject, SETTINGS};
use crate::support::program::CommandOutput;
use crate::support::progress;
use crate::support::proxy::{Injection, Matched, Proxy};
use crate::support::signed::Signed;
use crate::support::stage_file::StageFile;
use crate::support::{fixtures, sdk};

const TABLE: &str = include_str!("answers/table.toml");

/// The requests of each operation: method, path (`*` is one part of it, `**` the rest), and a header that must be there.
const OPERATIONS: [(&str, &str, &str, &str); 13] = [
    ("CopyObject", "PUT", "/*/**", "x-amz-copy-source:"),
    ("CreateDeployment", "POST", "/restapis/*/deployments", ""),
    ("DeleteDeployment", "DELETE", "/restapis/*/deployments/*", ""),
    ("GetCallerIdentity", "POST", "/", "/sts/aws4_request"),
    ("GetFunctionConfiguration", "GET", "/2015-03-31/functions/*/configuration", ""),
    ("GetObject", "GET", "/*/**", S3),
    ("GetRestApi", "GET", "/restapis/*", ""),
    ("GetStage", "GET", "/restapis/*/stages/*", ""),
    ("HeadObject", "HEAD", "/*/**", S3),
    ("Invoke", "POST", "/2015-03-31/functions/*/invocations", ""),
    ("PutObject", "PUT", "/*/**", S3),
    ("UpdateFunctionCode", "PUT", "/2015-03-31/functions/*/code", ""),
    ("UpdateStage", "PATCH", "/restapis/*/stages/*", ""),
];

/// The scope in the signature of a request to S3.
const S3: &str = "/s3/aws4_request";

/// What a row says instead of an address, if its answer is only known from AWS's service model, or is not one of AWS.
const OTHER_SOURCES: [&str; 2] = ["AWS's service model", "a fault of the network"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    answers: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// What the answer is, in a few words.
    name: String,
    /// Where it was seen: an address, or one of `OTHER_SOURCES`; a remark in parentheses may follow.
    seen: String,
    command: Command,
    /// One of `OPERATIONS`.
    operation: String,
    /// Only requests for objects of the bucket with this text in the key.
    #[serde(default)]
    object: String,
    /// Which of these requests is answered, from 1.
    #[serde(default = "one")]
    call: usize,
    /// How many, from that one on.
    #[serde(default = "all")]
    times: usize,
    answer: Answer,
    /// What further requests are answered with; without it, the local stage answers them.
    then: Option<Answer>,
    expect: Reaction,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// How many bytes the head announces, if they are not those of the body.
    length: Option<usize>,
}

/// What deployctl must do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reaction {
    exit: i32,
    /// The id of the error.
    error: Option<String>,
    /// A piece of the error's causes.
    #[serde(default)]
    cause: String,
    /// A piece of the hint.
    #[serde(default)]
    hint: String,
    /// How many requests like the first one that is answered follow it.
    further: usize,
    /// The least seconds before the first of them.
    #[serde(default)]
    pause: f64,
    live: Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Live {
    Old,
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Release,
    /// A release that invokes its function before the switch.
    CheckedRelease,
    Promote,
    Prune,
    Redeploy,
    Rollback,
}

fn one() -> usize {
    1
}

fn all() -> usize {
    usize::MAX
}

#[tokio::test]
async fn deployctl_reacts_to_each_answer_of_aws() {
    let start = Instant::now();
    let rows = toml::from_str::<Table>(TABLE).unwrap().answers;
    let site = Site::new().await;
    let seeded = start.elapsed();
    let mut problems = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    for (number, row) in rows.iter().enumerate() {
        let begin = Instant::now();
        let found = site.row(row, number).await;
        slowest = slowest.max((begin.elapsed(), &row.name));
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", row.name)));
    }
    progress::print(
        "answers",
        &format!(
            "{} rows; {:.0} s, of which {:.0} s before the first one; at most {:.1} s for one ({})",
            rows.len(),
            start.elapsed().as_secs_f64(),
            seeded.as_secs_f64(),
            slowest.0.as_secs_f64(),
            slowest.1
        ),
    );
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_row_says_where_its_answer_was_seen() {
    let rows = toml::from_str::<Table>(TABLE).unwrap().answers;
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    for row in &rows {
        let is_source = |text: &&str| row.seen.starts_with(*text);
        assert!(OTHER_SOURCES.iter().chain(&["https://"]).any(is_source), "{}: {}", row.name, row.seen);
        assert!(
            OPERATIONS.iter().any(|(name, ..)| *name == row.operation),
            "{}: {}",
            row.name,
            row.operation
        );
        assert_eq!(
            row.expect.error.is_some(),
            row.expect.exit != 0,
            "{}: only a failure has an id",
            row.name
        );
    }
}

/// Two stages without Terraform, with a bucket, an API and a function each, and a proxy before them.
struct Site {
    project: MinimalProject,
    proxy: Proxy,
    file: StageFile,
    gateway: gateway::Client,
    s3: s3::Client,
    /// The APIs of the stages.
    apis: BTreeMap<&'static str, String>,
}

const STAGES: [&str; 2] = ["local", "next"];

impl Site {
    /// Both stages, with the releases 1.0.0 and 1.1.0 on the first.
    async fn new() -> Self {
        let mut project = MinimalProject::new();
        project.program = project.program.clone().with("DEPLOYCTL_TERRAFORM", no_terraform(&project));
        let settings = SETTINGS.replace("[stages.dev]", "[stages.next]\nlocal = true\n\n[stages.dev]");
        let settings = format!("{settings}\n[probe]\ntimeout_seconds = 20\n");
        project.write("deployctl.toml", &settings);
        project.write("checked.toml", format!("{settings}\n[[checks]]\ninvoke = \"f\"\n"));
        project.run(&["local", "up"]).await.exit(0);
        let file = project.stage_file();
        // The states of functions are tested elsewhere, and each release here waits for one.
        Signed::new(&file.endpoint()).set_times(&[("pending_seconds", 0.3)]).await;
        let config = sdk::config(&file.endpoint(), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        let gateway = gateway::Client::new(&config);
        let names = STAGES.map(|stage| format!("small-{stage}"));
        fixtures::create_functions(&lambda::Client::new(&config), names).await;
        let mut apis = BTreeMap::new();
        for stage in STAGES {
            apis.insert(stage, seed(&s3, &gateway, stage).await);
        }
        let proxy = Proxy::start(file.port()).await;
        let site = Self { project, proxy, file, gateway, s3, apis };
        for version in ["1.0.0", "1.1.0"] {
            site.project.build(version);
            site.project.run(&["release", "--version", version]).await.exit(0);
        }
        site
    }

    /// Runs one row, and returns what is not as the row expects it.
    async fn row(&self, row: &Row, number: usize) -> Vec<String> {
        let stage = if row.command == Command::Promote { "next" } else { "local" };
        let args = self.args(row.command, number).await;
        let before = self.pointer(stage).await;
        self.proxy.inject(row.injection());
        self.file.point_at(self.proxy.port);
        let ended = self.project.program.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let requests = self.proxy.injected();
        self.file.restore();
        let live = if self.pointer(stage).await == before { Live::Old } else { Live::New };
        let mut problems = row.problems(&ended, requests, live);
        let lease = self.lease(stage).await;
        if !(lease["holder"].is_null() && lease["intent"].is_null()) {
            problems.push(format!("the lease is not free: {lease}"));
        }
        if !problems.is_empty() {
            problems.push(format!("{args:?}: {ended:?}"));
        }
        problems
    }

    /// The command line of a row.
    async fn args(&self, command: Command, number: usize) -> Vec<String> {
        let version = format!("2.0.{number}");
        let words = match command {
            Command::Release => vec!["release", "--version", &version],
            Command::CheckedRelease => vec!["release", "--version", &version, "--config", "checked.toml"],
            Command::Promote => {
                let (_, live) = self.pointer("local").await;
                return command_line(&["promote", "--version", &live, "--from", "local", "--to", "next"]);
            }
            Command::Prune => {
                // Leaves a deployment behind that nothing refers to.
                self.project.run(&["redeploy"]).await.exit(0);
                vec!["prune", "--keep", "1", "--yes"]
            }
            Command::Redeploy => vec!["redeploy"],
            Command::Rollback => vec!["rollback"],
        };
        if words[0] == "release" {
            self.project.build(&version);
        }
        command_line(&words)
    }

    /// The deployment of a stage, and the release that it names.
    async fn pointer(&self, stage: &str) -> (String, String) {
        let read = self.gateway.get_stage().rest_api_id(&self.apis[stage]).stage_name("v1");
        let read = read.send().await.unwrap();
        let release = read.variables.and_then(|mut variables| variables.remove("release"));
        (read.deployment_id.unwrap_or_default(), release.unwrap_or_default())
    }

    async fn lease(&self, stage: &str) -> Value {
        let key = format!("deployctl/{stage}/lease.json");
        let read = self.s3.get_object().bucket(format!("small-{stage}-artifacts")).key(key).send().await;
        // A promotion that fails at its first request has made none.
        let Ok(read) = read else { return Value::Null };
        serde_json::from_slice(&read.body.collect().await.unwrap().into_bytes()).unwrap()
    }
}

impl Row {
    /// What is not as it is expected.
    fn problems(&self, ended: &CommandOutput, requests: Vec<Matched>, live: Live) -> Vec<String> {
        let mut requests = requests.into_iter().skip(self.call - 1);
        let Some(answered) = requests.next() else { return vec!["there was no such request".to_owned()] };
        let further: Vec<Matched> = requests.filter(|next| next.line == answered.line).collect();
        let pause = further.first().map_or(0.0, |next| (next.at - answered.at).as_secs_f64());
        let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let error = &document["error"];
        let (causes, hint) = (error["causes"].to_string(), error["hint"].to_string());
        let Reaction { exit, error: id, cause, hint: advice, .. } = &self.expect;
        [
            (ended.code == Some(*exit), format!("exit code {:?}", ended.code)),
            (error["id"].as_str() == id.as_deref(), format!("error {}", error["id"])),
            (causes.contains(cause), format!("causes {causes}")),
            (hint.contains(advice), format!("hint {hint}")),
            (further.len() == self.expect.further, format!("{} further requests", further.len())),
            (pause >= self.expect.pause, format!("the next request came after {pause:.2} s")),
            (live == self.expect.live, format!("{live:?} is live")),
        ]
        .into_iter()
        .filter_map(|(is_expected, problem)| (!is_expected).then_some(problem))
        .collect()
    }

    fn injection(&self) -> Injection {
        let Self { operation, call, times, answer, then, object, .. } = self;
        let known = OPERATIONS.iter().find(|(name, ..)| name == operation);
        let (_, method, path, header) = known.unwrap_or_else(|| panic!("{operation} is not known"));
        Injection {
            method: (*method).to_owned(),
            path: (*path).to_owned(),
            parts: vec![object.clone(), (*header).to_owned()],
            call: *call,
            times: *times,
            answer: answer.bytes(),
            then: then.as_ref().map(Answer::bytes),
        }
    }
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let Self { status, headers, body, length } = self;
        let length = length.unwrap_or(body.len());
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes()
    }
}

fn command_line(words: &[&str]) -> Vec<String> {
    words.iter().chain(&["--output", "json"]).map(|word| (*word).to_owned()).collect()
}

/// Creates the bucket and the API of a stage, and the state of its layers. Returns the API's id.
async fn seed(s3: &s3::Client, gateway: &gateway::Client, stage: &str) -> String {
    let api = fixtures::create_api(gateway, &["v1"]).await;
    let (states, bucket) =
        (format!("small-{stage}-tfstate-000000000000"), format!("small-{stage}-artifacts"));
    for bucket in [&states, &bucket] {
        fixtures::create_bucket(s3, bucket).await;
    }
    let contract = json!({
        "artifact_bucket": bucket, "rest_api_id": api, "stage_name": "v1", "invoke_url": "unused",
        "functions": { "f": { "name": format!("small-{stage}"), "artifact": "hello" } },
    });
    for (layer, output, value) in [("base", "artifact_bucket", json!(bucket)), ("app", "deployctl", contract)]
    {
        let state = json!({
            "version": 4, "outputs": { output: { "value": value, "type": "dynamic" } }, "resources": [],
        });
        let body = s3::primitives::ByteStream::from(state.to_string().into_bytes());
        let put = s3.put_object().bucket(&states).key(format!("small/{stage}/{layer}.tfstate"));
        put.body(body).send().await.unwrap();
    }
    api
}

/// A Terraform that finds nothing to change. The states are written directly.
fn no_terraform(project: &MinimalProject) -> std::path::PathBuf {
    let path = project.write("no-terraform", NO_TERRAFORM);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const NO_TERRAFORM: &str = r#"#!/bin/sh
case "$1" in
version) echo "Terraform v1.11.4" ;;
init) ;;
plan) cat <<'END'
{"@level":"info","@message":"Terraform 1.11.4","type":"version","terraform":"1.11.4","ui":"1.2"}
{"@level":"info","@message":"Plan: 0 to add","type":"change_summary","changes":{"add":0,"change":0,"import":0,"remove":0,"operation":"plan"}}
END
;;
*) echo "not expected: $*" >&2; exit 1 ;;
esac
"#;
