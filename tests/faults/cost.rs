//! What a command costs: its requests with seven functions, and its memory with as many as a stage can hold.

use std::io::Write as _;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use deployctl::artifact::archive::{Entry, zip};
use serde_json::{Value, json};

use super::program::Ended;
use super::proxy::{Fault, Proxy, Told};
use super::sdk;
use super::small::{self, Small};

/// As many as there are stage variables, but for the one that names the release.
const MOST: usize = 99;

/// A request that no command gets to: nothing goes wrong.
const NEVER: usize = usize::MAX;

#[tokio::test]
async fn what_commands_cost() {
    let site = Site::new().await;
    site.has_functions(7).await;
    site.release("1.0.0").await;
    let (_, told, _) = site.release("1.1.0").await;
    tell(&format!("release of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));

    let (rollback, told, _) = site.through_the_proxy(&["rollback"]).await;
    assert_eq!(rollback["version"], "1.0.0");
    tell(&format!("rollback of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));
    assert!(told.requests <= 20, "a rollback of 7 functions takes {} requests", told.requests);

    let (status, told, _) = site.through_the_proxy(&["status"]).await;
    assert_eq!((&status["version"], &status["drift"]), (&json!("1.0.0"), &json!([])));
    tell(&format!("status of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));
    assert!(told.requests <= 10, "the status of 7 functions takes {} requests", told.requests);

    let before = site.versions(7).await;
    for _ in 0..2 {
        let (again, told, _) = site.through_the_proxy(&["release", "--version", "1.1.0"]).await;
        assert_eq!(again["outcome"], "released");
        tell(&format!("the same release again: {} requests", told.requests));
    }
    assert_eq!(site.versions(7).await, before, "nothing has changed, so nothing is published");

    site.has_functions(MOST).await;
    let (many, told, memory) = site.release("2.0.0").await;
    assert_eq!(many["functions"].as_object().unwrap().len(), MOST);
    tell(&format!(
        "release of {MOST} functions: {} requests, at most {} at once, {memory} KiB of memory at most",
        told.requests, told.at_once
    ));
    assert!(told.at_once >= 8, "functions are released beside each other");
    assert!(memory < 200 * 1024, "{memory} KiB");
}

/// Said at once and not captured: the numbers are to be read.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "cost: {line}").ok();
}

/// A project whose layers tell of functions and of an API that were made without Terraform.
struct Site {
    small: Small,
    proxy: Proxy,
    stage: Value,
    api: String,
    lambda: lambda::Client,
}

impl Site {
    async fn new() -> Self {
        let small = Small::new();
        small.settings("[artifacts.hello]", "[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]");
        small.run(&["local", "up"]).await.exit(0);
        let file = small.path().join(".deployctl/local/stage.json");
        let stage: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let port = stage["port"].as_u64().unwrap().try_into().unwrap();
        let config = sdk::config(&format!("http://127.0.0.1:{port}"), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        s3.create_bucket().bucket("small-artifacts").send().await.unwrap();
        let api = api(&gateway::Client::new(&config)).await;
        Self { small, proxy: Proxy::start(port).await, stage, api, lambda: lambda::Client::new(&config) }
    }

    /// Makes the functions that are missing, and lets the contract have `count`.
    async fn has_functions(&self, count: usize) {
        let bytes = small::executable(std::env::consts::ARCH);
        let code = zip("first", &[Entry { name: "bootstrap", bytes: &bytes, executable: true }]).unwrap();
        for number in 0..count {
            let made = self
                .lambda
                .create_function()
                .function_name(format!("small-{number}"))
                .role("arn:aws:iam::000000000000:role/small")
                .runtime(lambda::types::Runtime::Providedal2023)
                .handler("bootstrap")
                .code(lambda::types::FunctionCode::builder().zip_file(code.bytes.clone().into()).build())
                .send()
                .await;
            if let Err(error) = made {
                assert!(error.into_service_error().is_resource_conflict_exception(), "small-{number}");
            }
        }
        let functions: Vec<String> = (0..count)
            .map(|number| format!("f{number} = {{ name = \"small-{number}\", artifact = \"hello\" }}"))
            .collect();
        self.small.layer(
            "app",
            &format!(
                "output \"deployctl\" {{\n value = {{\n artifact_bucket = \"small-artifacts\"\n rest_api_id = \"{}\"\n \
                 stage_name = \"v1\"\n invoke_url = \"unused\"\n functions = {{\n {}\n }}\n }}\n}}\n",
                self.api,
                functions.join("\n ")
            ),
        );
    }

    /// Releases other bytes than ever before.
    async fn release(&self, version: &str) -> (Value, Told, usize) {
        let mut bytes = small::executable(std::env::consts::ARCH);
        bytes.extend_from_slice(version.as_bytes());
        self.small.write("dist/bootstrap", bytes);
        self.through_the_proxy(&["release", "--version", version]).await
    }

    /// Runs a command behind the proxy: its document, what the proxy saw, and the most memory it had, in KiB.
    async fn through_the_proxy(&self, args: &[&str]) -> (Value, Told, usize) {
        let file = self.small.path().join(".deployctl/local/stage.json");
        let mut stage = self.stage.clone();
        stage["port"] = json!(self.proxy.port);
        std::fs::write(&file, stage.to_string()).unwrap();
        self.proxy.arm(NEVER, Fault::Refused);
        let child = self.small.program.command(&[args, &["--output", "json"]].concat()).spawn().unwrap();
        let pid = child.id().unwrap();
        self.proxy.aim(pid);
        let mut most = 0;
        let watch = async {
            loop {
                most = most.max(memory(pid));
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let output = tokio::select! {
            output = child.wait_with_output() => output.unwrap(),
            () = watch => unreachable!("it watches for ever"),
        };
        std::fs::write(&file, self.stage.to_string()).unwrap();
        (Ended::of(output).exit(0).json(), self.proxy.disarm(), most)
    }

    /// How many versions each function has.
    async fn versions(&self, count: usize) -> Vec<usize> {
        let mut versions = Vec::new();
        for number in 0..count {
            let name = format!("small-{number}");
            let found = self.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
            versions.push(found.versions().len());
        }
        versions
    }
}

/// An API with one route, which answers by itself, and a stage.
async fn api(gateway: &gateway::Client) -> String {
    let api = gateway.create_rest_api().name("small").send().await.unwrap().id.unwrap();
    let resources = gateway.get_resources().rest_api_id(&api).send().await.unwrap();
    let root = resources.items()[0].id().unwrap().to_owned();
    let put = gateway.put_method().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.authorization_type("NONE").send().await.unwrap();
    let put = gateway.put_integration().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.r#type(gateway::types::IntegrationType::Mock)
        .request_templates("application/json", r#"{"statusCode": 200}"#)
        .send()
        .await
        .unwrap();
    let put = gateway.put_method_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    let put = gateway.put_integration_response().rest_api_id(&api).resource_id(&root).http_method("GET");
    put.status_code("200").send().await.unwrap();
    gateway.create_deployment().rest_api_id(&api).stage_name("v1").send().await.unwrap();
    api
}

/// The most memory that a process has had so far, in KiB.
fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
