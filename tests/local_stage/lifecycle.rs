//! The local stage, for real: MiniStack is started, asked over HTTP, and stopped.
//!
//! `DEPLOYCTL_TEST_ENDPOINT` has the semantics tested against another endpoint. What must fail there (an endpoint
//! that serves the live API) is tested, too: otherwise nobody would know that these tests can see the pitfall.

use super::semantics;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::processes;
use crate::support::program::{CommandOutput, Program};
use crate::support::sdk;
use crate::support::stage_file::StageFile;

/// A project of its own, whose stage ends with the test, however the test ends.
pub(crate) struct Project {
    dir: tempfile::TempDir,
    pub(crate) program: Program,
}

/// A local stage as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalStage {
    pub(crate) endpoint: String,
    pub(crate) secret: String,
    pub(crate) port: u16,
    pub(crate) pid: i32,
}

impl LocalStage {
    fn of(folder: &Path) -> Self {
        let file = StageFile::of(folder);
        Self {
            endpoint: file.endpoint(),
            secret: file.secret().to_owned(),
            port: file.port(),
            pid: file.pid(),
        }
    }
}

impl Project {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Self { program: Program::new(dir.path()), dir };
        project.configure(None);
        project
    }

    /// Writes `deployctl.toml`, with a port if one is wanted.
    pub(crate) fn configure(&self, port: Option<u16>) {
        let port = port.map(|port| format!("port = {port}\n")).unwrap_or_default();
        let settings = format!(
            "project = \"alone\"\n\n[stages.local]\nlocal = true\n{port}\n[layers.app]\npath = \"app\"\n\n\
             [artifacts.hello]\npath = \"hello.zip\"\nkey = \"hello/{{version}}.zip\"\n\n\
             [terraform]\nbucket_layer = \"app\"\ncontract_layer = \"app\"\n"
        );
        std::fs::write(self.dir.path().join("deployctl.toml"), settings).unwrap();
    }

    pub(crate) async fn local(&self, verb: &str) -> CommandOutput {
        self.program.run(&["local", verb, "--output", "json"]).await
    }

    pub(crate) async fn up(&self) -> LocalStage {
        self.up_saying(&[]).await.0
    }

    /// Starts the stage, which must say `texts`. Returns the time of the snapshot that it starts from, too.
    pub(crate) async fn up_saying(&self, texts: &[&str]) -> (LocalStage, Option<String>) {
        let up = self.local("up").await.exit(0).says(texts).json();
        let stage = LocalStage::of(self.dir.path());
        assert_eq!(up["endpoint"], stage.endpoint.as_str());
        (stage, up["snapshot"].as_str().map(str::to_owned))
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the stage, and says whether there was one.
    pub(crate) async fn down(&self) -> bool {
        self.local("down").await.exit(0).json()["stopped"].as_bool().unwrap()
    }

    /// Every process that works inside the project: the servers and all Lambdas.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes::inside(self.dir.path())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        processes::kill_inside(self.dir.path());
    }
}

/// The Python of the stage's own environment.
fn python_of(stage: &LocalStage) -> PathBuf {
    let line = std::fs::read(format!("/proc/{}/cmdline", stage.pid)).unwrap();
    let program = line.split(|byte| *byte == 0).next().unwrap();
    PathBuf::from(String::from_utf8(program.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stage_serves_its_deployment_with_its_variables() {
    let project = Project::new();
    let endpoint = match std::env::var("DEPLOYCTL_TEST_ENDPOINT") {
        Ok(endpoint) => endpoint,
        Err(_) => project.up().await.endpoint,
    };
    semantics::deployments_are_snapshots(&endpoint).await.unwrap();
    semantics::variables_choose_versions(&endpoint).await.unwrap();
    semantics::canaries::share_requests(&endpoint, 300).await;
    project.down().await;
}

#[tokio::test]
#[ignore = "3 minutes: cargo test --test stages -- --ignored ten_thousand"]
async fn of_ten_thousand_requests_exactly_a_tenth_gets_the_canary() {
    let project = Project::new();
    semantics::canaries::share_requests(&project.up().await.endpoint, 10_000).await;
    project.down().await;
}

#[tokio::test]
async fn aws_refuses_and_so_does_the_stage() {
    let project = Project::new();
    let endpoint = project.up().await.endpoint;
    semantics::states::versions_are_pending_first(&endpoint).await;
    semantics::states::an_inactive_version_is_woken(&endpoint).await;
    semantics::refusals::of_lambda(&endpoint, "states").await;
    semantics::refusals::of_the_api(&endpoint).await;
    semantics::refusals::of_update_stage(&endpoint).await;
    semantics::refusals::of_changes_at_the_same_time(&endpoint).await;
    semantics::refusals::of_copies(&endpoint).await;
    semantics::logs::are_read_page_by_page(&endpoint).await;
    project.down().await;
}

#[tokio::test]
async fn pages_and_other_users_are_refused() {
    let project = Project::new();
    let stage = project.up().await;
    let attacks = semantics::attacks::are_refused(&stage).await;
    // And its owner is not.
    semantics::a_lambda_at_work(&stage.endpoint).await.unwrap();
    project.down().await;
    assert_eq!(attacks, 31);
}

#[tokio::test]
async fn a_session_is_signed_with_its_own_secret() {
    use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};

    let project = Project::new();
    let stage = project.up().await;
    let config = sdk::config(&stage.endpoint, "111111111111");
    let role = "arn:aws:iam::111111111111:role/any";
    let assume = aws_sdk_sts::Client::new(&config).assume_role().role_arn(role).role_session_name("s");
    let session = assume.send().await.unwrap().credentials.unwrap();
    let token = Some(session.session_token().to_owned());
    let who = |secret: &str| {
        let credentials = Credentials::new(session.access_key_id(), secret, token.clone(), None, "test");
        let provider = SharedCredentialsProvider::new(credentials);
        let config = config.to_builder().credentials_provider(provider).build();
        async move { aws_sdk_sts::Client::new(&config).get_caller_identity().send().await }
    };
    assert_eq!(who(session.secret_access_key()).await.unwrap().account(), Some("111111111111"));
    let refused = who(&stage.secret).await.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("SignatureDoesNotMatch"));
    project.down().await;
}

#[tokio::test]
async fn these_tests_see_an_endpoint_that_serves_the_live_api() {
    let project = Project::new();
    let stage = project.up().await;
    let plain = project.dir.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(plain.join("log")).unwrap();
    // MiniStack as it comes, without the launcher.
    let mut child = std::process::Command::new(python_of(&stage))
        .args(["-I", "-m", "ministack"])
        .current_dir(&plain)
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("IOT_MTLS_ENABLED", "0")
        .env("TMPDIR", &plain)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    wait_for(port).await;
    let endpoint = format!("http://127.0.0.1:{port}");
    let snapshots = semantics::deployments_are_snapshots(&endpoint).await;
    let variables = semantics::variables_choose_versions(&endpoint).await;
    child.kill().unwrap();
    child.wait().unwrap();
    project.down().await;
    assert_eq!(snapshots.unwrap_err(), "changed, not deployed: expected 200 A, got 200 B");
    assert!(variables.unwrap_err().starts_with("the first release"));
}

async fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "nothing answers on {port}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn it_starts_once_is_found_again_and_leaves_nothing_running() {
    let project = Project::new();
    // Two commands at the same moment.
    let (one, two) = tokio::join!(project.up(), project.up());
    assert_eq!(one, two);
    let start = Instant::now();
    assert_eq!(project.up().await, one);
    let again = start.elapsed();
    assert!(again < Duration::from_secs(1), "finding it again took {again:?}");

    semantics::a_lambda_at_work(&one.endpoint).await.unwrap();
    let running = project.processes();
    assert!(running.contains(&one.pid), "{running:?}");
    assert!(running.len() > 2, "no Lambda is at work: {running:?}");
    assert_eq!(foreign_listeners(&running), Vec::<String>::new());

    assert!(project.down().await);
    assert_eq!(project.processes(), Vec::<i32>::new());
    for pid in running {
        assert!(processes::has_ended(pid), "process {pid} is left");
    }
    let folder = project.dir.path().join(".deployctl/local");
    assert!(folder.join("ministack.log").exists());
    assert!(!folder.join("tmp").exists());
    assert!(!project.down().await, "a second `down` finds nothing to do");
}

/// Sockets on which the processes listen for others than this machine.
fn foreign_listeners(pids: &[i32]) -> Vec<String> {
    let sockets: Vec<String> = pids
        .iter()
        .flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten())
        .filter_map(|fd| {
            std::fs::read_link(fd.path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned)
        })
        .map(|inode| inode.trim_end_matches(']').to_owned())
        .collect();
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Field 3 is the state (0A: listening), 9 the inode, 1 the address, which is 127.0.0.1 backwards.
        .filter(|fields| fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]))
        .map(|fields| fields[1].to_owned())
        .filter(|address| !address.starts_with("0100007F:"))
        .collect()
}

#[tokio::test]
async fn a_taken_port_and_a_changed_one_are_named() {
    let project = Project::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    project.configure(Some(port));
    project.local("up").await.exit(10).says(&["error [local.port]", &port.to_string()]);
    assert_eq!(project.processes(), Vec::<i32>::new());
    drop(taken);
    assert_eq!(project.up().await.port, port);
    project.configure(Some(1));
    project.local("up").await.exit(2).says(&["error [local.other_port]", &port.to_string()]);
    project.configure(Some(port));
    project.down().await;
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing() {
    use tokio::io::AsyncBufReadExt as _;

    let project = Project::new();
    // So that the start itself is cancelled, not the installation.
    project.up().await;
    project.down().await;
    let mut child = project.program.command(&["local", "up", "--progress", "json"]).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the stage is started");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["step"] == "start the local stage" {
            break;
        }
    }
    let pid = nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert_eq!(project.processes(), Vec::<i32>::new());
    project.local("env").await.exit(2).says(&["error [local.down]"]);
}
