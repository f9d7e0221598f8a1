//! A stage over some time: what was released, how releases differ, what was changed past deployctl, and what nothing
//! refers to any more.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/bucket.rs"]
mod bucket;
#[path = "support/made.rs"]
mod made;
#[path = "support/program.rs"]
mod program;
#[path = "support/sdk.rs"]
mod sdk;
#[path = "support/small.rs"]
mod small;
#[path = "support/typed.rs"]
mod typed;

use std::collections::BTreeSet;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use serde_json::{Value, json};

use aws_sdk_s3 as s3;

use bare::Bare;
use program::Ended;
use typed::typed;

#[tokio::test]
async fn the_upkeep_of_a_stage() {
    let site = Site::new().await;
    site.bare.has_functions(2).await;
    for version in ["1.0.0", "1.0.1", "1.1.0"] {
        site.release(version).await;
    }
    site.times_out_after(5000).await;
    site.release("1.2.0").await;

    the_ledger(&site).await;
    two_side_by_side(&site).await;
    changed_past_deployctl(&site).await;
    a_holder_that_is_dead(&site).await;
    pruned(&site).await;
    a_version_deleted_past_deployctl(&site).await;
}

struct Site {
    bare: Bare,
    gateway: gateway::Client,
    s3: s3::Client,
}

impl Site {
    async fn new() -> Self {
        let bare = Bare::new().await;
        let config = sdk::config(&bare::endpoint(&bare.small), "000000000000");
        let s3 = s3::config::Builder::from(&config).force_path_style(true).build();
        Self { gateway: gateway::Client::new(&config), s3: s3::Client::from_conf(s3), bare }
    }

    async fn release(&self, version: &str) {
        self.bare.build(version);
        self.bare.small.run(&["release", "--version", version]).await.exit(0);
    }

    /// Answers the question for the stage's name.
    async fn typed(&self, args: &str, keys: &str) -> Ended {
        let question = if args == "unlock" { "Type its name: " } else { "Type the stage's name (local): " };
        typed(&self.bare.small.program, self.bare.small.path(), args, question, keys).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        self.bare.small.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }

    /// Changes the API: a deployment must tell.
    async fn times_out_after(&self, millis: u32) {
        let resources = self.gateway.get_resources().rest_api_id(&self.bare.api).send().await.unwrap();
        let root = resources.items()[0].id().unwrap();
        let patch = gateway::types::PatchOperation::builder()
            .op(gateway::types::Op::Replace)
            .path("/timeoutInMillis")
            .value(millis.to_string())
            .build();
        let update = self.gateway.update_integration().rest_api_id(&self.bare.api).resource_id(root);
        update.http_method("GET").patch_operations(patch).send().await.unwrap();
    }

    /// Gives a function other code, by hand.
    async fn sends_code(&self, name: &str, bytes: &str) {
        let entry = deployctl::artifact::archive::Entry {
            name: "bootstrap",
            bytes: bytes.as_bytes(),
            executable: true,
        };
        let zip = deployctl::artifact::archive::zip("hand", &[entry]).unwrap();
        let update = self.bare.lambda.update_function_code().function_name(name);
        update.zip_file(lambda::primitives::Blob::new(zip.bytes)).send().await.unwrap();
    }

    async fn numbers(&self, name: &str) -> BTreeSet<String> {
        let found = self.bare.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
        found.versions().iter().map(|version| version.version().unwrap().to_owned()).collect()
    }

    async fn deployments(&self) -> BTreeSet<String> {
        let found = self.gateway.get_deployments().rest_api_id(&self.bare.api).send().await.unwrap();
        found.items().iter().map(|deployment| deployment.id().unwrap().to_owned()).collect()
    }

    async fn zips(&self) -> Vec<String> {
        let found =
            self.s3.list_object_versions().bucket("small-artifacts").prefix("hello/").send().await.unwrap();
        assert_eq!(found.delete_markers().len(), 0, "deleted for good, or not at all");
        found.versions().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }
}

/// Every record tells all that the next person needs.
async fn the_ledger(site: &Site) {
    let run = site.bare.small.program.clone();
    let run = run.with("GITHUB_SERVER_URL", "https://ci.example").with("GITHUB_REPOSITORY", "team/small");
    run.with("GITHUB_RUN_ID", "7").run(&["redeploy"]).await.exit(0);
    let history = site.json(&["history"]).await;
    assert_eq!(
        (&history["command"], &history["stage"], &history["pruned"]),
        (&json!("history"), &json!("local"), &json!([]))
    );
    let records = history["records"].as_array().unwrap();
    assert_eq!(records.len(), 5);
    for (record, number) in records.iter().zip((1..=5).rev()) {
        assert_eq!((&record["number"], &record["outcome"]), (&json!(number), &json!("live")));
        assert_eq!(record["tool"], env!("CARGO_PKG_VERSION"));
        assert_eq!(record["who"]["arn"], "arn:aws:iam::000000000000:root");
        assert!(record["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{record:#}");
        let zip = &record["release"]["artifacts"]["hello"];
        let version = record["release"]["version"].as_str().unwrap();
        assert_eq!(zip["key"], format!("hello/{version}.zip"));
        assert_eq!(zip["sha256"].as_str().map(str::len), Some(64));
        assert!(zip["s3_version"].is_string() && zip["size"].as_u64() > Some(100), "{zip}");
        for function in record["release"]["functions"].as_object().unwrap().values() {
            assert!(function["name"].as_str().unwrap().starts_with("small-"), "{function}");
            assert!(function["version"].is_string() && function["code_sha256"].is_string(), "{function}");
        }
        let api = &record["release"]["api"];
        assert_eq!((&api["id"], &api["stage"]), (&json!(site.bare.api), &json!("v1")));
        assert!(api["deployment_id"].is_string() && api["fingerprint"].is_string(), "{api}");
        assert_eq!(record["before"]["record"], if number == 1 { json!(null) } else { json!(number - 1) });
        let steps: Vec<&str> =
            record["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
        for step in ["intent", "switch", "verify"] {
            assert!(steps.contains(&step), "{steps:?}");
        }
    }
    assert_eq!(records[0]["action"], "redeploy");
    assert_eq!(records[0]["who"]["run_url"], "https://ci.example/team/small/actions/runs/7");
    assert_eq!(records[1]["who"]["run_url"], json!(null));
    let human = site.bare.small.run(&["history"]).await.exit(0).stdout;
    let lines: Vec<&str> = human.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].contains(" redeploy  live ")
            && lines[0].ends_with("by https://ci.example/team/small/actions/runs/7")
    );
    assert!(lines[4].contains(" release   live           1.0.0 "), "{human}");
}

async fn two_side_by_side(site: &Site) {
    let diff = site
        .bare
        .small
        .run(&["diff", "1.1.0", "1.2.0", "--exit-code", "--output", "json"])
        .await
        .exit(3)
        .json();
    assert_eq!(
        (&diff["from"]["version"], &diff["to"]["version"], &diff["differs"]),
        (&json!("1.1.0"), &json!("1.2.0"), &json!(true))
    );
    let functions = diff["functions"].as_object().unwrap();
    assert_eq!(functions.len(), 2);
    for function in functions.values() {
        assert_ne!(function["from"]["version"], function["to"]["version"]);
        assert_ne!(function["from"]["code_sha256"], function["to"]["code_sha256"]);
    }
    assert!(diff["artifacts"]["hello"]["to"]["size"].as_u64() > Some(100), "{diff:#}");
    assert_eq!(diff["api"]["changes"], json!(["GET /: integration timeout 29000 -> 5000"]));

    let human = site.bare.small.run(&["diff", "1.1.0", "1.2.0"]).await.exit(0).stdout;
    for text in [
        "- 1.1.0 (record 3, ",
        "+ 1.2.0 (record 5, ",
        "artifact hello: ",
        "function f0: version 3 -> 4, other code",
        "API GET /: integration timeout 29000 -> 5000",
    ] {
        assert!(human.contains(text), "{text}\n{human}");
    }
    let same = site.bare.small.run(&["diff", "1.2.0", "1.2.0", "--exit-code"]).await.exit(0);
    assert!(same.stdout.ends_with("both run the same\n"), "{}", same.stdout);
    // A prefix of a version is another version.
    site.bare
        .small
        .run(&["diff", "1.2", "1.2.0"])
        .await
        .exit(2)
        .says(&["diff.unknown_version", "version 1.2 was never live"]);
}

async fn changed_past_deployctl(site: &Site) {
    site.bare.small.run(&["status", "--exit-code"]).await.exit(0);
    // A rollback leaves the newest code where it is, and that is nobody's doing.
    site.json(&["rollback", "--to", "1.0.1"]).await;
    assert_eq!(site.json(&["status"]).await["drift"], json!([]));
    site.json(&["rollback", "--to", "1.2.0"]).await;
    site.sends_code("small-1", "by hand").await;
    let status = site.bare.small.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    let drift = status["drift"].as_array().unwrap();
    assert_eq!(drift.len(), 1, "{drift:#?}");
    assert!(
        drift[0].as_str().unwrap().starts_with("the code of small-1 was changed past deployctl: its $LATEST")
    );
    // Nobody is served that code, and the next release brings its own.
    site.release("1.3.0").await;
    site.bare.small.run(&["status", "--exit-code"]).await.exit(0);
}

/// Freed by whoever types its name, and by nobody else.
async fn a_holder_that_is_dead(site: &Site) {
    let held = || async {
        let (bucket, key) = ("small-artifacts", "deployctl/local/lease.json");
        let lease =
            site.s3.get_object().bucket(bucket).key(key).send().await.unwrap().body.collect().await.unwrap();
        let mut lease: Value = serde_json::from_slice(&lease.to_vec()).unwrap();
        let free = lease["holder"].is_null();
        if free {
            lease["holder"] = json!({
                "nonce": "somebody", "command": "release", "since": "2026-01-01T00:00:00Z",
                "process": { "machine": "another", "host": "ci", "pid": 1 }, "expires": "2999-01-01T00:00:00Z", "who": { "arn": "arn:aws:iam::000000000000:user/ann", "run_url": null },
            });
            let body = lease.to_string().into_bytes().into();
            site.s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
        }
        free
    };
    assert!(held().await, "nobody held it");
    let shown = site.typed("unlock", "lokal\n").await.exit(2);
    for text in ["user/ann", "free stage local? Type its name: ", "error [unlock.unconfirmed]: not confirmed"]
    {
        assert!(shown.stdout.contains(text), "{text:?}: {shown:?}");
    }
    let shown = site.typed("unlock", "\u{3}").await.exit(130);
    assert!(shown.stdout.contains("nothing was changed"), "{shown:?}");
    site.bare.small.run(&["unlock"]).await.exit(2).says(&["nobody is there to confirm", "--yes"]);
    assert!(!held().await, "it was freed");
    let shown = site.typed("unlock", "local\n").await.exit(0);
    assert!(shown.stdout.contains("stage local is free now"), "{shown:?}");
    let shown = site.bare.small.run(&["unlock"]).await.exit(0);
    assert!(shown.stdout.contains("stage local was not held"), "{shown:?}");
}

async fn pruned(site: &Site) {
    let (deployments, zips) = (site.deployments().await, site.zips().await);
    let asked = site.bare.small.run(&["prune", "--keep", "2"]).await.exit(2);
    let asked = asked.says(&[
        "kept: 1.3.0, 1.2.0",
        "to be deleted:",
        "small-0:1, ",
        "hello/1.0.0.zip, ",
        "prune.unconfirmed",
        "--yes",
    ]);
    assert_eq!(asked.stdout, "");
    assert_eq!((site.deployments().await, site.zips().await), (deployments.clone(), zips), "only shown");
    site.bare.small.run(&["prune", "--keep", "0"]).await.exit(2);
    for (keys, code, text) in
        [("\u{3}", 130, "nothing was changed"), ("yes\n", 2, "error [prune.unconfirmed]: not confirmed")]
    {
        let shown = site.typed("prune --keep 3", keys).await.exit(code);
        assert!(
            shown.stdout.contains("Type the stage's name (local): ") && shown.stdout.contains(text),
            "{shown:?}"
        );
    }
    assert_eq!(site.deployments().await, deployments, "only asked");
    let typed = site.typed("prune --keep 5", "local\n").await.exit(0);
    assert!(typed.stdout.contains("local: deleted "), "{typed:?}");
    let deployments = site.deployments().await;

    let done = site.json(&["prune", "--keep", "2", "--yes"]).await;
    assert_eq!((&done["outcome"], &done["kept"]), (&json!("pruned"), &json!(["1.3.0", "1.2.0"])));
    assert_eq!(site.zips().await, ["hello/1.2.0.zip", "hello/1.3.0.zip"]);
    for name in ["small-0", "small-1"] {
        let numbers = site.numbers(name).await;
        assert!(numbers.contains("$LATEST") && numbers.len() == 3, "{numbers:?}");
    }
    let left = site.deployments().await;
    let gone: BTreeSet<String> = deployments.difference(&left).cloned().collect();
    let told = done["deleted"]["deployments"].as_array().unwrap();
    assert_eq!(gone, told.iter().map(|id| id.as_str().unwrap().to_owned()).collect());
    // The first one has no note of deployctl's, as if Terraform had made it.
    assert_eq!(left.len(), 3, "{left:?}");
    let account = &done["account"];
    let bytes = |value: &Value| value.as_i64().unwrap();
    assert_eq!(
        bytes(&account["before_bytes"]) - bytes(&account["after_bytes"]),
        bytes(&done["freed"]["lambda_bytes"])
    );
    assert!(
        bytes(&done["freed"]["lambda_bytes"]) > 0 && bytes(&done["freed"]["bucket_bytes"]) > 0,
        "{done:#}"
    );

    let again = site.bare.small.run(&["prune", "--keep", "2"]).await.exit(0);
    assert_eq!(again.stdout, "local: nothing to delete\n  kept       1.3.0, 1.2.0\n");
    site.bare.small.run(&["status", "--exit-code"]).await.exit(0);
    let refused =
        site.bare.small.run(&["rollback", "--to", "1.0.1", "--output", "json"]).await.exit(10).json();
    assert_eq!(refused["error"]["id"], "rollback.gone", "{refused:#}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("still there: 1.2.0;"), "{refused:#}");
    let history = site.bare.small.run(&["history"]).await.exit(0).stdout;
    assert_eq!(history.lines().filter(|line| line.contains(" pruned ")).count(), 5, "{history}");
    // What was kept can be gone back to, and what was pruned can still be compared, but for its routes.
    assert_eq!(site.json(&["rollback"]).await["version"], "1.2.0");
    let human = site.bare.small.run(&["diff", "1.0.0", "1.2.0"]).await.exit(0).stdout;
    assert!(human.contains("the definitions to compare are no longer kept"), "{human}");
}

async fn a_version_deleted_past_deployctl(site: &Site) {
    let live = site.json(&["status"]).await["functions"]["f0"]["version"].as_str().unwrap().to_owned();
    site.bare.lambda.delete_function().function_name("small-0").qualifier(&live).send().await.unwrap();
    site.bare.lambda.delete_function().function_name("small-1").send().await.unwrap();
    let status = site.bare.small.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    let gone = format!("small-0:{live}, which the live release runs, is gone");
    assert_eq!(status["drift"], json!([gone, "function small-1 is gone"]));
    let refused =
        site.bare.small.run(&["release", "--version", "1.3.0", "--output", "json"]).await.exit(10).json();
    assert_eq!(refused["error"]["id"], "function.missing", "{refused:#}");
    site.bare.small.run(&["redeploy", "--if-stale"]).await.exit(0);
}
