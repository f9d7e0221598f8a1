//! Three services in two accounts that need each other: each job is a process that the workflow's own script starts. One is
//! killed at its requests and run again; the fleet is rolled back.

use std::collections::BTreeMap;
use std::process::Stdio;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde_json::{Value, json};

use super::pipeline::github::read;
use crate::support::minimal_project::MinimalProject;
use crate::support::program::{CommandOutput, Program};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{fixtures, progress, sdk};

/// A service: its name, account and region.
#[derive(Debug, Clone, Copy)]
struct Service(&'static str, &'static str, &'static str);

const BASE: Service = Service("base", "111111111111", "us-east-1");
const USERS: Service = Service("users", "222222222222", "eu-central-1");
const ORDERS: Service = Service("orders", "111111111111", "us-east-1");
const ALL: [Service; 3] = [BASE, USERS, ORDERS];

const FLEET: &str = r#"bucket = "shop-fleet"
account = "111111111111"
region = "us-east-1"
stage = "prd"

[members.base]
path = "services/base"

[members.users]
path = "services/users"
needs = ["base"]

[members.orders]
path = "services/orders"
needs = ["users"]
"#;

#[tokio::test]
async fn members_are_released_once_and_go_back() {
    let shop = Shop::new().await;
    let first = shop.commit("services/base/one");
    let waves = shop.plan("").await;
    assert_eq!(waves, [vec!["base"], vec!["users"], vec!["orders"]]);
    shop.build("1.0.0").await;
    let job = Job { run: "r1", since: "", version: "1.0.0", code_only: false };
    shop.job(ORDERS, job).await.exit(10).says(&["fleet.needs", "users has not succeeded"]);
    for service in ALL {
        assert_eq!(shop.job(service, job).await.exit(0).json()["already"], false);
    }
    // A job that runs again does nothing.
    assert_eq!(shop.job(BASE, job).await.exit(0).json()["already"], true);
    assert_eq!(shop.records(BASE).await.len(), 1);
    shop.job(BASE, Job { version: "1.0.1", ..job }).await.exit(2).says(&["fleet.version"]);

    // A change of one service, whose job is killed at some of its requests.
    shop.commit("services/users/two");
    assert_eq!(shop.plan(&first).await, [["users"], ["orders"]]);
    let killed = shop.kill_at_requests(&first, |number| number % 9 == 4).await;
    assert!(killed >= 3, "killed at {killed} requests");

    // All of them, and back: what somebody has released since is left alone, and named.
    shop.build("3.0.0").await;
    let job = Job { run: "r3", since: "", version: "3.0.0", code_only: true };
    for service in ALL {
        shop.job(service, job).await.exit(0);
    }
    shop.build("3.1.0").await;
    shop.deployctl(ORDERS, &["release", "3.1.0", "--code-only"]).await.exit(0);
    shop.settings("profile");
    shop.profiles().run(&["fleet", "rollback", "--run", "r3", "users"]).await.exit(10).says(&["fleet.needs"]);
    let back = shop.profiles().run(&["fleet", "rollback", "--run", "r3", "--output", "json"]).await.exit(3);
    let outcomes: Vec<Value> = back.json()["members"].as_array().unwrap().clone();
    let outcomes: Vec<_> = outcomes.iter().map(|one| json!([one["member"], one["outcome"]])).collect();
    let expected =
        [json!(["orders", "left_alone"]), json!(["users", "rolled_back"]), json!(["base", "rolled_back"])];
    assert_eq!(outcomes, expected);
    back.says(&["orders: left alone: it serves 3.1.0"]);
    assert_eq!(shop.live(BASE).await, "1.0.0");
    assert_eq!(shop.live(ORDERS).await, "3.1.0");
    let users = shop.live(USERS).await;
    assert!(users.starts_with("2.0."), "{users}");

    // Once more, nothing is to be done; and the run, run again, does not undo it.
    let records = shop.records(BASE).await.len();
    shop.profiles().run(&["fleet", "rollback", "--run", "r3"]).await.exit(3);
    assert_eq!(shop.records(BASE).await.len(), records);
    shop.settings("");
    shop.job(BASE, job).await.exit(2).says(&["fleet.rolled_back"]);
    let status =
        shop.profiles().run(&["fleet", "status", "--run", "r3", "--output", "json"]).await.exit(0).json();
    let states: Vec<_> =
        status["members"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["rolled_back", "rolled_back", "succeeded"]);
    assert_eq!(status["atomic"], false);
}

#[tokio::test]
#[ignore = "3 minutes: cargo test --test stages -- --ignored fleet --nocapture"]
async fn a_job_is_killed_at_every_request() {
    let shop = Shop::new().await;
    let first = shop.commit("services/base/one");
    shop.build("1.0.0").await;
    for service in ALL {
        shop.job(service, Job { run: "r1", since: "", version: "1.0.0", code_only: false }).await.exit(0);
    }
    shop.commit("services/users/two");
    let killed = shop.kill_at_requests(&first, |_| true).await;
    progress::print(
        "fleet",
        &format!("a job killed at {killed} requests, and run again: 1 release each time"),
    );
}

/// A job of the workflow.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    run: &'a str,
    since: &'a str,
    version: &'a str,
    /// Without Terraform, so that the requests are deployctl's.
    code_only: bool,
}

struct Shop {
    project: MinimalProject,
    endpoint: String,
}

impl Shop {
    async fn new() -> Self {
        let project = MinimalProject::new();
        project.run(&["local", "up"]).await.exit(0);
        let endpoint = project.stage_file().endpoint();
        let shop = Self { project, endpoint };
        shop.project.write("fleet.toml", FLEET);
        shop.project.write(".gitignore", ".deployctl\n");
        shop.settings("");
        let coordination = shop.s3(BASE);
        fixtures::create_bucket(&coordination, "shop-fleet").await;
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{}:root", USERS.1) },
            "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::shop-fleet", "arn:aws:s3:::shop-fleet/fleet/*"],
        }] });
        coordination
            .put_bucket_policy()
            .bucket("shop-fleet")
            .policy(policy.to_string())
            .send()
            .await
            .unwrap();
        for service in ALL {
            shop.create(service).await;
        }
        shop
    }

    /// Makes what Terraform would.
    async fn create(&self, service: Service) {
        let Service(name, ..) = service;
        let config = self.config(service);
        fixtures::create_bucket(&self.s3(service), &format!("shop-{name}")).await;
        fixtures::create_functions(&lambda::Client::new(&config), [format!("{name}-hello")]).await;
        let api = fixtures::create_api(&gateway::Client::new(&config), &["v1"]).await;
        let Self { endpoint, .. } = self;
        let contract = format!(
            "terraform {{\n backend \"s3\" {{}}\n}}\n\noutput \"deployctl\" {{\n value = {{\n \
             artifact_bucket = \"shop-{name}\"\n rest_api_id = \"{api}\"\n stage_name = \"v1\"\n \
             invoke_url = \"{endpoint}/_aws/execute-api/{api}/v1\"\n \
             functions = {{ hello = {{ name = \"{name}-hello\", artifact = \"hello\" }} }}\n }}\n}}\n"
        );
        self.project.write(&format!("services/{name}/terraform/app/main.tf"), contract);
        self.deployctl(service, &["bootstrap"]).await.exit(0);
    }

    /// Writes each `deployctl.toml`, with a profile for its account or without.
    fn settings(&self, profile: &str) {
        for Service(name, account, region) in ALL {
            let profile =
                if profile.is_empty() { String::new() } else { format!("{profile} = \"{account}\"\n") };
            let text = format!(
                "project = \"{name}\"\nartifact_bucket = \"shop-{name}\"\ndefault_stage = \"prd\"\n\n[stages.prd]\n\
                 account = \"{account}\"\nregion = \"{region}\"\npacing = false\n{profile}\n[layers.app]\n\n\
                 [artifacts.hello]\npath = \"../../dist/bootstrap\"\nkey = \"hello/{{version}}.zip\"\n\n\
                 [probe]\ntimeout_seconds = 20\n"
            );
            self.project.write(&format!("services/{name}/deployctl.toml"), text);
        }
    }

    fn config(&self, Service(_, account, region): Service) -> aws_types::SdkConfig {
        let config = sdk::config(&self.endpoint, account).into_builder();
        config.region(s3::config::Region::new(region)).build()
    }

    fn s3(&self, service: Service) -> s3::Client {
        s3::Client::new(&self.config(service))
    }

    /// deployctl with the credentials of the service's account.
    fn program(&self, Service(_, account, _): Service, endpoint: &str) -> Program {
        let program = self.project.program.clone().with("AWS_ENDPOINT_URL", endpoint);
        let program = program.with("AWS_ACCESS_KEY_ID", account);
        program
            .with("AWS_SECRET_ACCESS_KEY", sdk::secret(&self.endpoint))
            .with("DEPLOYCTL_CALL_TIMEOUT", "10")
    }

    /// deployctl with a profile for each account, of which the first is the default.
    fn profiles(&self) -> Program {
        let secret = sdk::secret(&self.endpoint);
        let profile = |name: &str, account: &str| {
            format!("[{name}]\naws_access_key_id = {account}\naws_secret_access_key = {secret}\n\n")
        };
        let text = [profile("default", BASE.1), profile(BASE.1, BASE.1), profile(USERS.1, USERS.1)].concat();
        let file = self.project.write(".deployctl/profiles", text);
        let program = self.project.program.clone().with("AWS_ENDPOINT_URL", &self.endpoint);
        program.with("AWS_SHARED_CREDENTIALS_FILE", file)
    }

    async fn deployctl(&self, service: Service, args: &[&str]) -> CommandOutput {
        let config = format!("services/{}/deployctl.toml", service.0);
        self.program(service, &self.endpoint).run(&[args, &["--config", &config]].concat()).await
    }

    /// The one zip that all services run.
    async fn build(&self, version: &str) {
        self.project.build(version);
        std::fs::remove_dir_all(self.project.path().join(".deployctl/zips")).ok();
        self.deployctl(BASE, &["build", "--into", ".deployctl/zips"]).await.exit(0);
    }

    /// A commit that changes a file, and its hash.
    fn commit(&self, file: &str) -> String {
        self.project.write(file, "changed");
        let script = "set -e\ngit init --quiet\ngit add --all\n\
                      git -c user.name=a -c user.email=a@example.com commit --quiet --message change\ngit rev-parse HEAD\n";
        let done =
            std::process::Command::new("sh").args(["-c", script]).current_dir(self.project.path()).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// What the script of a step does, started as GitHub starts it.
    fn step(
        &self,
        program: &Program,
        (workflow, job, step): (&str, &str, &str),
        env: &[(&str, &str)],
    ) -> tokio::process::Command {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!(".github/workflows/{workflow}.yml"));
        let document = read(&path);
        let steps = document["jobs"][job]["steps"].as_array().unwrap();
        let found = steps.iter().find(|known| known["name"] == step).unwrap();
        let names: Vec<&String> = found["env"].as_object().unwrap().keys().collect();
        let given: BTreeMap<&str, &str> = env.iter().copied().collect();
        assert!(names.iter().all(|name| given.contains_key(name.as_str())), "the step has {names:?}");
        let mut script = found["run"].as_str().unwrap().to_owned();
        if given.contains_key("CODE_ONLY") {
            script = script.replace("fleet run", "fleet run --code-only");
        }
        let environment = program.command(&[]).into_std();
        let mut command = tokio::process::Command::new("bash");
        command.args(["-eo", "pipefail", "-c", &script]).current_dir(self.project.path()).env_clear();
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let folder = std::path::Path::new(env!("CARGO_BIN_EXE_deployctl")).parent().unwrap();
        let mut path = std::ffi::OsString::from(format!("{}:", folder.display()));
        path.push(std::env::var_os("PATH").unwrap());
        command.env("PATH", path).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The members of each wave, from the outputs of the workflow's job.
    async fn plan(&self, since: &str) -> Vec<Vec<String>> {
        let file = self.project.write(".deployctl/output", "");
        let env = [("CHANGED_SINCE", since), ("GITHUB_OUTPUT", file.to_str().unwrap())];
        let step = self.step(&self.project.program, ("fleet", "plan", "plan"), &env).output().await.unwrap();
        CommandOutput::of(step).exit(0);
        let outputs = std::fs::read_to_string(file).unwrap();
        let matrices = outputs.lines().filter_map(|line| line.strip_prefix("wave_")?.split_once('='));
        let matrices = matrices.map(|(_, matrix)| serde_json::from_str::<Value>(matrix).unwrap());
        let members = |matrix: Value| {
            let jobs = matrix["include"].as_array().unwrap().clone();
            jobs.iter().map(|job| job["member"].as_str().unwrap().to_owned()).collect()
        };
        matrices.map(members).collect()
    }

    fn release(&self, service: Service, job: Job<'_>, endpoint: &str) -> tokio::process::Command {
        let zips = self.project.path().join(".deployctl/zips");
        let mut env = vec![
            ("MEMBER", service.0),
            ("RUN", job.run),
            ("CHANGED_SINCE", job.since),
            ("DEPLOYCTL_VERSION", job.version),
            ("DEPLOYCTL_ARTIFACTS", zips.to_str().unwrap()),
            ("DEPLOYCTL_OUTPUT", "json"),
        ];
        if job.code_only {
            env.push(("CODE_ONLY", "1"));
        }
        self.step(&self.program(service, endpoint), ("fleet-wave", "release", "release"), &env)
    }

    async fn job(&self, service: Service, job: Job<'_>) -> CommandOutput {
        CommandOutput::of(self.release(service, job, &self.endpoint).output().await.unwrap())
    }

    /// Kills the job of `users` at each request that `is_point` names, before and after it takes effect in turn, and
    /// runs it again. How many jobs were killed.
    async fn kill_at_requests(&self, since: &str, is_point: impl Fn(usize) -> bool) -> usize {
        let proxy = Proxy::start(self.project.stage_file().port()).await;
        let through = format!("http://127.0.0.1:{}", proxy.port);
        let mut killed = 0;
        for number in (1..200).filter(|number| is_point(*number)) {
            let (version, run) = (format!("2.0.{number}"), format!("kill-{number}"));
            let job = Job { run: &run, since, version: &version, code_only: true };
            self.build(&version).await;
            let before = self.records(USERS).await.len();
            let fault = if number % 2 == 0 { Fault::KilledBefore } else { Fault::KilledAfter };
            proxy.arm(number, fault);
            let child = self.release(USERS, job, &through).spawn().unwrap();
            proxy.aim(child.id().unwrap());
            let ended = CommandOutput::of(child.wait_with_output().await.unwrap());
            let fired = proxy.disarm().fired;
            assert_eq!(ended.code, if fired { None } else { Some(0) }, "{number}: {ended:?}");
            let again = self.job(USERS, job).await.exit(0).json();
            assert_eq!(again["member"]["state"], "succeeded", "{number}: {again:#}");
            assert_eq!(again["member"]["released"]["version"], version, "{number}");
            assert_eq!(self.live(USERS).await, version);
            // Released once: one record more, of that version, and it goes back to what was live before.
            let records = self.records(USERS).await;
            assert_eq!(records.len(), before + 1, "{fault:?} of request {number}: {records:?}");
            assert_eq!(again["member"]["before"]["record"], before, "{number}");
            if !fired {
                break;
            }
            killed += 1;
        }
        killed
    }

    /// The keys of a service's ledger.
    async fn records(&self, service: Service) -> Vec<String> {
        let s3 = self.s3(service);
        let list = s3.list_objects_v2().bucket(format!("shop-{}", service.0)).prefix("deployctl/prd/ledger/");
        let found = list.send().await.unwrap();
        found.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    /// The version that a service's stage serves.
    async fn live(&self, service: Service) -> String {
        let gateway = gateway::Client::new(&self.config(service));
        let apis = gateway.get_rest_apis().send().await.unwrap();
        let mut versions = Vec::new();
        for api in apis.items() {
            let stage =
                gateway.get_stage().rest_api_id(api.id().unwrap()).stage_name("v1").send().await.unwrap();
            let variables = stage.variables.unwrap_or_default();
            if variables.contains_key("release") && self.is_of(service, api.id().unwrap()) {
                versions.push(variables["release"].clone());
            }
        }
        assert_eq!(versions.len(), 1, "{service:?}: {versions:?}");
        versions.remove(0)
    }

    fn is_of(&self, service: Service, api: &str) -> bool {
        let file = self.project.path().join(format!("services/{}/terraform/app/main.tf", service.0));
        std::fs::read_to_string(file).unwrap().contains(api)
    }
}
