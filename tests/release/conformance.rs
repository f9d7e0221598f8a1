//! `deployctl conformance` on a local stage, through a proxy that interrupts it, refuses calls, and ages the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::pipeline::calls::{ACCOUNT, REGION, needs};
use super::pipeline::model::allowed_operations;
use super::pipeline::policy::Policies;
use super::pipeline::recorder::Request;
use crate::support::minimal_project::MinimalProject;
use crate::support::program::CommandOutput;
use crate::support::seeded_stage::SeededStage;
use crate::support::stage_file::StageFile;
use crate::support::{http, markdown, sdk};

/// The checks that do not pass on the local stage: what it does not imitate. All others must pass. A local stage that
/// behaves more like AWS needs a shorter list.
const NOT_PASSED: [(&str, &str); 1] = [("version-inactive", "not_tried")];

/// The refusal that the proxy injects, which no local stage makes by itself.
const REFUSED: &str = r#"{"message":"Cache cluster is not enabled"}"#;

/// What the proxy does to requests whose first line has this text.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// It is passed on, and deployctl gets a signal before the answer.
    Signal(Signal),
    /// It is answered with this status and body.
    Answer(u16, &'static str),
    /// In the answer, everything was created in 2001.
    Age,
}

#[derive(Debug, Clone)]
struct Proxy {
    rules: Arc<Mutex<Vec<(&'static str, Act)>>>,
    client: Arc<Mutex<Option<u32>>>,
    seen: Arc<Mutex<Vec<Request>>>,
    upstream: u16,
}

impl Proxy {
    async fn start(upstream: u16) -> (Self, u16) {
        let proxy = Self { rules: Arc::default(), client: Arc::default(), seen: Arc::default(), upstream };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = proxy.clone();
        drop(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = own.clone();
                drop(tokio::spawn(async move { proxy.serve(client).await.ok() }));
            }
        }));
        (proxy, port)
    }

    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = http::read_request(&mut client).await? else { return Ok(()) };
        let request = Request { head: head.clone(), body: String::from_utf8_lossy(&body).into_owned() };
        self.seen.lock().unwrap().push(request);
        let line = head.lines().next().unwrap_or_default().to_owned();
        let rules = self.rules.lock().unwrap().clone();
        let act = rules.iter().find(|(text, _)| line.contains(text)).map(|(_, act)| *act);
        if let Some(Act::Answer(status, text)) = act {
            let answer = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nx-amzn-errortype: BadRequestException\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        let mut answer = http::forward(self.upstream, &head, &body).await?;
        match act {
            Some(Act::Signal(signal)) => {
                let pid = self.client.lock().unwrap().expect("a process to tell");
                // Of several requests, only the first meets a process that has not ended.
                kill(Pid::from_raw(pid.cast_signed()), signal).ok();
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            Some(Act::Age) => age(&mut answer),
            _ => {}
        }
        client.write_all(&answer).await
    }

    /// Runs the command under these rules.
    async fn run(&self, project: &MinimalProject, rules: &[(&'static str, Act)]) -> CommandOutput {
        *self.rules.lock().unwrap() = rules.to_vec();
        self.seen.lock().unwrap().clear();
        let child = project.program.command(&["conformance", "--yes", "--output", "json"]).spawn().unwrap();
        *self.client.lock().unwrap() = child.id();
        CommandOutput::of(child.wait_with_output().await.unwrap())
    }
}

/// Replaces all but the first digit of every `createdDate`, so that the answer keeps its length.
fn age(answer: &mut [u8]) {
    let name = b"\"createdDate\":";
    let places: Vec<usize> = (0..answer.len())
        .filter(|start| answer[*start..].starts_with(name))
        .map(|at| at + name.len())
        .collect();
    for place in places {
        let digits = answer[place..].iter().position(u8::is_ascii_digit).unwrap() + place;
        for byte in answer[digits + 1..].iter_mut().take_while(|byte| byte.is_ascii_digit()) {
            *byte = b'0';
        }
    }
}

/// The local stage, read without deployctl.
struct Account {
    gateway: gateway::Client,
    lambda: lambda::Client,
    s3: s3::Client,
}

impl Account {
    fn at(folder: &Path) -> Self {
        let config = sdk::config(&StageFile::of(folder).endpoint(), "000000000000");
        Self {
            gateway: gateway::Client::new(&config),
            lambda: lambda::Client::new(&config),
            s3: s3::Client::new(&config),
        }
    }

    /// Everything there is: APIs, functions, and all versions of all objects of the artifact bucket.
    async fn everything(&self) -> Vec<String> {
        let apis = self.gateway.get_rest_apis().send().await.unwrap();
        let functions = self.lambda.list_functions().send().await.unwrap();
        let objects = self.s3.list_object_versions().bucket("small-artifacts").send().await.unwrap();
        let mut all: Vec<String> =
            apis.items().iter().filter_map(|api| api.name().map(str::to_owned)).collect();
        all.extend(functions.functions().iter().filter_map(|one| one.function_name().map(str::to_owned)));
        all.extend(objects.versions().iter().filter_map(|object| object.key().map(str::to_owned)));
        all.extend(objects.delete_markers().iter().filter_map(|object| object.key().map(str::to_owned)));
        all.sort();
        all
    }
}

#[tokio::test]
async fn assumptions_are_checked_in_a_sandbox_that_is_always_deleted() {
    let project = MinimalProject::new();
    project.run(&["conformance"]).await.exit(2).says(&["conformance.role", "--role ARN"]);
    let _stage = SeededStage::on(&project).await;
    let account = Account::at(project.path());
    let before = account.everything().await;

    // Without a confirmation, nothing is created; what it would be, and what it would cost, is said.
    let unconfirmed = project.run(&["conformance"]).await.exit(2);
    unconfirmed.says(&["deployctl-conformance-", "at no cost", "conformance.unconfirmed"]);
    assert_eq!(account.everything().await, before);

    let file = StageFile::of(project.path());
    let (proxy, port) = Proxy::start(file.port()).await;
    file.point_at(port);

    // Interrupted while the function is created, while a version is published, and while requests are sent.
    for (request, signal) in [
        ("POST /2015-03-31/functions ", Signal::SIGINT),
        ("/code ", Signal::SIGTERM),
        ("GET /_aws/", Signal::SIGINT),
    ] {
        let output = proxy.run(&project, &[(request, Act::Signal(signal))]).await.exit(130);
        assert_eq!(output.json()["error"]["message"], "interrupted; the sandbox is deleted", "{request}");
        assert_eq!(account.everything().await, before, "{request}");
    }

    // A deletion that fails is named, with the commands for it.
    let denied = ("DELETE /2015-03-31/functions/", Act::Answer(403, "{}"));
    let interrupt = ("PUT /2015-03-31/functions/", Act::Signal(Signal::SIGINT));
    let output = proxy.run(&project, &[denied, interrupt]).await.exit(30);
    let error = &output.json()["error"];
    assert_eq!(error["id"], "conformance.left");
    let hint = error["hint"].as_str().unwrap();
    for command in ["aws lambda delete-function --region us-east-1 ", "aws apigateway delete-rest-api "] {
        assert!(hint.contains(command), "{hint}");
    }
    assert_eq!(account.everything().await.len(), before.len() + 2, "API and function are left");

    // A run a day later deletes them. FlushStageCache is refused.
    let flush = ("DELETE /restapis/", Act::Answer(400, REFUSED));
    let flush = ("/cache/data", flush.1);
    let output = proxy.run(&project, &[flush, ("GET /restapis?", Act::Age)]).await.exit(3);
    assert!(output.stderr.contains("left by an earlier run: deployctl-conformance-"), "{}", output.stderr);
    let document = output.json();
    assert_eq!(account.everything().await, before);
    assert_eq!((&document["outcome"], &document["left"]), (&json!("differs"), &json!([])));
    let checks = document["checks"].as_array().unwrap();
    let find = |id: &str| checks.iter().find(|checked| checked["check"] == id).unwrap();
    let differs = find("flush-stage-cache");
    assert_eq!(differs["verdict"], "differs");
    assert_eq!(differs["observed"], "BadRequestException: Cache cluster is not enabled");
    let milliseconds = |id: &str| find(id)["milliseconds"].as_u64().expect("a time");
    assert!(milliseconds("switch-delay") < 60_000 && milliseconds("version-pending") > 0);
    let verdicts = checks.iter().filter(|checked| checked["verdict"] != "passed");
    let found: BTreeMap<&str, &Value> =
        verdicts.map(|checked| (checked["check"].as_str().unwrap(), &checked["verdict"])).collect();
    let mut expected = BTreeMap::from(NOT_PASSED);
    expected.insert("flush-stage-cache", "differs");
    assert_eq!(json!(found), json!(expected), "{checks:#?}");
    file.restore();
    let seen = proxy.seen.lock().unwrap().clone();
    are_allowed(&seen);
    allowed_operations(&seen).await;
}

/// Allowed, and asked for by no call: without it, S3 answers 403 and not 404 for an object that does not exist.
const UNASKED: [&str; 2] = ["Bucket s3:ListBucket", "State s3:ListBucket"];

/// The policy of the how-to allows all of these requests, and nothing else.
fn are_allowed(requests: &[Request]) {
    let page = markdown::all().into_iter().find(|page| page.name.ends_with("how-to/check-aws.md")).unwrap();
    let policy = &page.blocks.iter().find(|block| block.language() == "json").unwrap().text;
    let names = [
        ("STATE_BUCKET", "small-local-tfstate-000000000000"),
        ("BUCKET", "small-artifacts"),
        ("REGION", REGION),
        ("ACCOUNT", ACCOUNT),
    ];
    let policy = names.iter().fold(policy.clone(), |text, (name, value)| text.replace(name, value));
    let policies = Policies::new([&json!(policy)]);
    let refused: BTreeSet<_> = requests.iter().flat_map(needs).filter(|need| !policies.allow(need)).collect();
    assert!(refused.is_empty(), "the policy of the how-to does not allow {refused:#?}");
    assert_eq!(policies.unused(), UNASKED.map(str::to_owned).into(), "allowed, and not needed");
}
