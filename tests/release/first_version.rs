//! A stage that the first version of deployctl released to. `tests/fixtures/first-version` has its bucket and its API
//! deployments as that version (commit 2bdd95f) wrote them on a local stage. Only ids that AWS generates are
//! replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use lambda::client::Waiters as _;
use serde_json::{Value, json};

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::sdk;

const BUCKET: &str = "small-artifacts";

/// The ids in the fixture.
const API: &str = "12d48850";

struct FirstVersion {
    fake: FakeReleasedStage,
    gateway: gateway::Client,
    s3: s3::Client,
    /// The ids in the fixture, and those of this stage.
    ids: Vec<(String, String)>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/first-version").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

impl FirstVersion {
    /// The stage after releases 0.1.0 and 0.2.0, of which the second has another integration timeout.
    async fn new() -> Self {
        let fake = FakeReleasedStage::new().await;
        fake.create_functions(2).await;
        let config = sdk::config(&fake.project.stage_file().endpoint(), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        let ids = vec![(API.to_owned(), fake.api.clone())];
        let mut stage = Self { gateway: gateway::Client::new(&config), s3, ids, fake };
        let deployments: Vec<Value> = serde_json::from_str(&read("deployments.json")).unwrap();
        let bootstrap =
            stage.gateway.get_stage().rest_api_id(&stage.fake.api).stage_name("v1").send().await.unwrap();
        stage.knows(&deployments[0], bootstrap.deployment_id().unwrap());
        for (number, deployment) in [1, 2].iter().zip(&deployments[1..]) {
            let record: Value =
                serde_json::from_str(&read(&format!("deployctl/local/ledger/{number:08}.json"))).unwrap();
            stage.publish(&record["release"]).await;
            if *number == 2 {
                stage.times_out_after("5000").await;
            }
            let create = stage.gateway.create_deployment().rest_api_id(&stage.fake.api);
            let created =
                create.description(deployment["description"].as_str().unwrap()).send().await.unwrap();
            stage.knows(deployment, created.id().unwrap());
        }
        stage.serve("2", "0.2.0").await;
        for name in ["ledger/00000001.json", "ledger/00000002.json", "lease.json"] {
            stage.put(&format!("deployctl/local/{name}")).await;
        }
        for file in std::fs::read_dir(fixture("deployctl/local/api")).unwrap() {
            stage.put(&format!("deployctl/local/api/{}", file.unwrap().file_name().to_str().unwrap())).await;
        }
        stage
    }

    fn knows(&mut self, old: &Value, new: &str) {
        let old = old.get("id").unwrap_or(old);
        self.ids.push((old.as_str().unwrap().to_owned(), new.to_owned()));
    }

    /// Uploads the zip of a release, and publishes the functions with it.
    async fn publish(&mut self, release: &Value) {
        let zip = &release["artifacts"]["hello"];
        let key = zip["key"].as_str().unwrap();
        let body = s3::primitives::ByteStream::from(std::fs::read(fixture(key)).unwrap());
        let put = self.s3.put_object().bucket(BUCKET).key(key).body(body);
        let put = put.checksum_algorithm(s3::types::ChecksumAlgorithm::Sha256).send().await.unwrap();
        self.knows(&zip["s3_version"], put.version_id().unwrap());
        for function in release["functions"].as_object().unwrap().values() {
            let name = function["name"].as_str().unwrap();
            let wait = self.fake.lambda.wait_until_function_updated_v2().function_name(name);
            wait.wait(Duration::from_secs(30)).await.unwrap();
            let update = self.fake.lambda.update_function_code().function_name(name).publish(true);
            let published = update.s3_bucket(BUCKET).s3_key(key).send().await.unwrap();
            assert_eq!(published.version(), function["version"].as_str());
            assert_eq!(published.code_sha256(), function["code_sha256"].as_str());
        }
    }

    /// The id here of what has the id `old` in the fixture.
    fn id(&self, old: &str) -> &String {
        self.ids.iter().find(|(known, _)| known == old).map(|(_, new)| new).unwrap()
    }

    async fn times_out_after(&self, millis: &str) {
        let resources = self.gateway.get_resources().rest_api_id(&self.fake.api).send().await.unwrap();
        let root = resources.items()[0].id().unwrap();
        let update = self.gateway.update_integration().rest_api_id(&self.fake.api).resource_id(root);
        let update = update.http_method("GET").patch_operations(replace("/timeoutInMillis", millis));
        update.send().await.unwrap();
    }

    /// Moves the stage to the deployment that was created last.
    async fn serve(&self, version: &str, release: &str) {
        let update = self.gateway.update_stage().rest_api_id(&self.fake.api).stage_name("v1");
        let update = update.patch_operations(replace("/deploymentId", &self.ids.last().unwrap().1));
        let variables = [("f0", version), ("f1", version), ("release", release)];
        let update = variables.iter().fold(update, |update, (name, value)| {
            update.patch_operations(replace(&format!("/variables/{name}"), value))
        });
        update.send().await.unwrap();
    }

    /// Writes an object of the fixture.
    async fn put(&self, key: &str) {
        let text = self.ids.iter().fold(read(key), |text, (old, new)| text.replace(old, new));
        self.s3.put_object().bucket(BUCKET).key(key).body(text.into_bytes().into()).send().await.unwrap();
    }

    async fn run(&self, args: &[&str]) -> Value {
        self.fake.project.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }
}

fn replace(path: &str, value: &str) -> gateway::types::PatchOperation {
    let operation = gateway::types::PatchOperation::builder().op(gateway::types::Op::Replace);
    operation.path(path).value(value).build()
}

#[tokio::test]
async fn its_stage_is_released_to_rolled_back_and_pruned() {
    let stage = FirstVersion::new().await;
    stage.fake.project.build("0.3.0");
    let released = stage.run(&["release", "--version", "0.3.0"]).await;
    assert_eq!((&released["outcome"], &released["previous"]), (&json!("released"), &json!("0.2.0")));
    assert_eq!(released["api"]["changes"], json!([]), "{released:#}");
    let status = stage.run(&["status"]).await;
    assert_eq!((&status["version"], &status["drift"]), (&json!("0.3.0"), &json!([])), "{status:#}");
    let history = stage.run(&["history"]).await;
    let befores: Vec<&Value> =
        history["records"].as_array().unwrap().iter().map(|record| &record["before"]["record"]).collect();
    assert_eq!((befores, &history["problems"]), (vec![&json!(2), &json!(1), &json!(null)], &json!([])));
    let diff = stage.run(&["diff", "0.1.0", "0.2.0"]).await;
    assert_eq!(diff["api"]["changes"], json!(["GET /: integration timeout 29000 -> 5000"]));

    // The fingerprints of that version are those of this one: what has not changed is fresh.
    let timeout = json!(["GET /: integration timeout 29000 -> 5000"]);
    for (args, version, function, changes) in [
        (&["rollback"][..], "0.2.0", "2", json!([])),
        (&["rollback", "--to", "0.1.0"], "0.1.0", "1", timeout),
        (&["rollback"], "0.2.0", "2", json!([])),
    ] {
        let moved = stage.run(args).await;
        assert_eq!((&moved["outcome"], &moved["version"]), (&json!("rolled_back"), &json!(version)));
        assert_eq!(moved["functions"]["f0"]["version"], function, "{moved:#}");
        let status = stage.run(&["status"]).await;
        assert_eq!((&status["version"], &status["drift"]), (&json!(version), &json!([])), "{status:#}");
        let state = if changes == json!([]) { "fresh" } else { "stale" };
        assert_eq!((&status["api"]["state"], &status["api"]["changes"]), (&json!(state), &changes));
    }

    // What a prune deletes belongs to 0.1.0, too. A rollback can still go to 0.2.0.
    stage.fake.project.build("0.4.0");
    stage.run(&["release", "--version", "0.4.0"]).await;
    let pruned = stage.run(&["prune", "--keep", "1", "--yes"]).await;
    assert_eq!(
        (&pruned["outcome"], &pruned["kept"]),
        (&json!("pruned"), &json!(["0.4.0", "0.2.0"])),
        "{pruned:#}"
    );
    let deleted = |what: &str, key: &str| -> Vec<String> {
        let deleted = pruned["deleted"][what].as_array().unwrap();
        deleted.iter().map(|entry| entry.get(key).unwrap_or(entry).as_str().unwrap().to_owned()).collect()
    };
    assert!(deleted("deployments", "id").contains(stage.id("d1d6c252")), "{pruned:#}");
    assert!(deleted("versions", "version").contains(&"1".to_owned()), "{pruned:#}");
    assert!(deleted("objects", "key").contains(&"hello/0.1.0.zip".to_owned()), "{pruned:#}");
    assert_eq!(stage.run(&["rollback"]).await["version"], "0.2.0");
}
