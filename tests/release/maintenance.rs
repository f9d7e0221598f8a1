//! A stage over some time: what was released, how releases differ, what was changed past deployctl, and what nothing
//! refers to any more.

use std::collections::BTreeSet;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use aws_sdk_s3 as s3;

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::lambda_zip::lambda_zip;
use crate::support::program::CommandOutput;
use crate::support::pty::type_keys;
use crate::support::{http, sdk, snapshot};

/// A stage with two functions, on a local stage of its own.
struct ReleasedStage {
    fake: FakeReleasedStage,
    gateway: gateway::Client,
    s3: s3::Client,
}

impl ReleasedStage {
    /// The stage after these releases, of which no two have the same code.
    async fn after(versions: &[&str]) -> Self {
        let stage = Self::new().await;
        for version in versions {
            stage.release(version).await;
        }
        stage
    }

    /// The stage after four releases; the last one changes the API, too.
    async fn after_four_releases() -> Self {
        let stage = Self::after(&["1.0.0", "1.0.1", "1.1.0"]).await;
        stage.times_out_after(5000).await;
        stage.release("1.2.0").await;
        stage
    }

    async fn new() -> Self {
        let fake = FakeReleasedStage::new().await;
        fake.create_functions(2).await;
        let config = sdk::config(&fake.project.stage_file().endpoint(), "000000000000");
        let s3 = s3::config::Builder::from(&config).force_path_style(true).build();
        Self { gateway: gateway::Client::new(&config), s3: s3::Client::from_conf(s3), fake }
    }

    async fn release(&self, version: &str) {
        self.fake.project.build(version);
        self.fake.project.run(&["release", "--version", version]).await.exit(0);
    }

    /// Answers the question for the stage's name.
    async fn typed(&self, args: &str, keys: &str) -> CommandOutput {
        let question = if args == "unlock" { "Type its name: " } else { "Type the stage's name (local): " };
        type_keys(&self.fake.project.program, self.fake.project.path(), args, question, keys).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        self.fake.project.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }

    /// Changes the API: a deployment must tell.
    async fn times_out_after(&self, millis: u32) {
        let resources = self.gateway.get_resources().rest_api_id(&self.fake.api).send().await.unwrap();
        let root = resources.items()[0].id().unwrap();
        let patch = gateway::types::PatchOperation::builder()
            .op(gateway::types::Op::Replace)
            .path("/timeoutInMillis")
            .value(millis.to_string())
            .build();
        let update = self.gateway.update_integration().rest_api_id(&self.fake.api).resource_id(root);
        update.http_method("GET").patch_operations(patch).send().await.unwrap();
    }

    /// Gives a function other code, by hand.
    async fn sends_code(&self, name: &str, bytes: &str) {
        let zip = lambda_zip(bytes.as_bytes());
        let update = self.fake.lambda.update_function_code().function_name(name);
        update.zip_file(lambda::primitives::Blob::new(zip)).send().await.unwrap();
    }

    async fn numbers(&self, name: &str) -> BTreeSet<String> {
        let found = self.fake.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
        found.versions().iter().map(|version| version.version().unwrap().to_owned()).collect()
    }

    async fn deployments(&self) -> BTreeSet<String> {
        let found = self.gateway.get_deployments().rest_api_id(&self.fake.api).send().await.unwrap();
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
#[tokio::test]
async fn the_history_has_every_record() {
    let stage = ReleasedStage::after_four_releases().await;
    let run = stage.fake.project.program.clone();
    let run = run.with("GITHUB_SERVER_URL", "https://ci.example").with("GITHUB_REPOSITORY", "team/small");
    run.with("GITHUB_RUN_ID", "7").run(&["redeploy"]).await.exit(0);
    let history = stage.json(&["history"]).await;
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
        assert_eq!((&api["id"], &api["stage"]), (&json!(stage.fake.api), &json!("v1")));
        assert!(api["deployment_id"].is_string() && api["fingerprint"].is_string(), "{api}");
        assert_eq!(record["before"]["record"], if number == 1 { json!(null) } else { json!(number - 1) });
        let steps: Vec<&str> =
            record["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
        for step in ["record intent", "switch", "verify"] {
            assert!(steps.contains(&step), "{steps:?}");
        }
    }
    assert_eq!(records[0]["action"], "redeploy");
    assert_eq!(records[0]["who"]["run_url"], "https://ci.example/team/small/actions/runs/7");
    assert_eq!(records[1]["who"]["run_url"], json!(null));
    let human = stage.fake.project.run(&["history"]).await.exit(0).stdout;
    snapshot::settings().bind(|| insta::assert_snapshot!("history", human));
    let lines: Vec<&str> = human.lines().collect();
    assert_eq!(lines.len(), 6, "{human}");
    assert!(lines[0].contains(" when ") && lines[5].contains(" ago  release   live     1.0.0 "), "{human}");
    assert!(lines[1].ends_with("  https://ci.example/team/small/actions/runs/7"), "{human}");
}

#[tokio::test]
async fn a_diff_shows_two_releases_side_by_side() {
    let stage = ReleasedStage::after_four_releases().await;
    stage.fake.project.run(&["redeploy"]).await.exit(0);
    let diff = stage
        .fake
        .project
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

    let human = stage.fake.project.run(&["diff", "1.1.0", "1.2.0"]).await.exit(0).stdout;
    snapshot::settings().bind(|| insta::assert_snapshot!("diff", human));
    for text in [
        "- 1.1.0 (record 3, ",
        "+ 1.2.0 (record 5, ",
        "artifact hello: ",
        "function f0: version 3 -> 4, other code",
        "API GET /: integration timeout 29000 -> 5000",
    ] {
        assert!(human.contains(text), "{text}\n{human}");
    }
    let same = stage.fake.project.run(&["diff", "1.2.0", "1.2.0", "--exit-code"]).await.exit(0);
    assert!(same.stdout.ends_with("both run the same\n"), "{}", same.stdout);
    // A prefix of a version is another version.
    stage
        .fake
        .project
        .run(&["diff", "1.2", "1.2.0"])
        .await
        .exit(2)
        .says(&["diff.unknown_version", "the ledger has no release 1.2"]);
}

#[tokio::test]
async fn code_that_is_changed_by_hand_is_drift() {
    let stage = ReleasedStage::after(&["1.0.1", "1.2.0"]).await;
    stage.fake.project.run(&["status", "--exit-code"]).await.exit(0);
    // A rollback leaves the newest code where it is, and that is nobody's doing.
    stage.json(&["rollback", "--to", "1.0.1"]).await;
    assert_eq!(stage.json(&["status"]).await["drift"], json!([]));
    stage.json(&["rollback", "--to", "1.2.0"]).await;
    stage.sends_code("small-1", "by hand").await;
    let status = stage.fake.project.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    let human = stage.fake.project.run(&["status"]).await.exit(0).stdout;
    snapshot::settings().bind(|| insta::assert_snapshot!("status_with_drift", human));
    let drift = status["drift"].as_array().unwrap();
    assert_eq!(drift.len(), 1, "{drift:#?}");
    assert!(
        drift[0]
            .as_str()
            .unwrap()
            .starts_with("the code of small-1 was changed without deployctl: its $LATEST")
    );
    // Nobody is served that code, and the next release brings its own.
    stage.release("1.3.0").await;
    stage.fake.project.run(&["status", "--exit-code"]).await.exit(0);
}

/// Freed by whoever types its name, and by nobody else.
#[tokio::test]
async fn a_lease_whose_holder_died_is_freed_by_whoever_types_the_stage() {
    let stage = ReleasedStage::after(&["1.0.0"]).await;
    let held = || async {
        let (bucket, key) = ("small-artifacts", "deployctl/local/lease.json");
        let lease =
            stage.s3.get_object().bucket(bucket).key(key).send().await.unwrap().body.collect().await.unwrap();
        let mut lease: Value = serde_json::from_slice(&lease.to_vec()).unwrap();
        let free = lease["holder"].is_null();
        if free {
            lease["holder"] = json!({
                "nonce": "somebody", "command": "release", "since": "2026-01-01T00:00:00Z",
                "process": { "machine": "another", "host": "ci", "pid": 1 }, "expires": "2999-01-01T00:00:00Z", "who": { "arn": "arn:aws:iam::000000000000:user/ann", "run_url": null },
            });
            let body = lease.to_string().into_bytes().into();
            stage.s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
        }
        free
    };
    assert!(held().await, "nobody held it");
    let shown = stage.typed("unlock", "lokal\n").await.exit(2);
    for text in [
        "user/ann",
        "release the lock of stage local? Type its name: ",
        "error [unlock.unconfirmed]: refused: this is not the name",
    ] {
        assert!(shown.stdout.contains(text), "{text:?}: {shown:?}");
    }
    let shown = stage.typed("unlock", "\u{3}").await.exit(130);
    assert!(shown.stdout.contains("nothing was changed"), "{shown:?}");
    stage
        .fake
        .project
        .run(&["unlock"])
        .await
        .exit(2)
        .says(&["refused: stdin is not a terminal; confirm with --yes", "--yes"]);
    assert!(!held().await, "it was freed");
    let shown = stage.typed("unlock", "local\n").await.exit(0);
    assert!(shown.stdout.contains("stage local is free now"), "{shown:?}");
    let shown = stage.fake.project.run(&["unlock"]).await.exit(0);
    assert!(shown.stdout.contains("stage local was not held"), "{shown:?}");
}

/// What is damaged says how to repair it, and what is live is still shown.
#[tokio::test]
async fn a_damaged_lease_and_stray_objects() {
    let stage = ReleasedStage::after(&["1.0.0"]).await;
    let project = &stage.fake.project;
    let put = async |key: &str, body: &'static str| {
        let put = stage.s3.put_object().bucket("small-artifacts").key(key);
        put.body(body.as_bytes().to_vec().into()).send().await.unwrap();
    };
    put("deployctl/local/ledger/00000001.json.bak", "{}").await;
    put("deployctl/local/ledger/00000007.json", "{}").await;
    put("deployctl/local/lease.json", "{\"schema\": 1, ").await;
    project.build("1.1.0");
    for args in [&["release", "--version", "1.1.0"][..], &["rollback"], &["redeploy"]] {
        let refused = project.run(&[args, &["--output", "json"]].concat()).await.exit(10).json();
        assert_eq!(refused["error"]["id"], "lease.damaged", "{refused:#}");
        let hint = refused["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("`deployctl unlock --stage local` replaces it"), "{hint}");
    }
    let status = project.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    assert_eq!(status["version"], "1.0.0");
    assert_eq!(
        status["drift"],
        json!(["the lease is damaged; `deployctl unlock --stage local` replaces it"])
    );
    let asked = stage.typed("unlock", "lokal\n").await.exit(2);
    assert!(asked.stdout.contains("the lease is damaged (EOF while parsing"), "{asked:?}");
    assert_eq!(stage.json(&["unlock", "--yes"]).await["freed"], json!(true));
    assert_eq!(stage.json(&["unlock", "--yes"]).await["freed"], json!(false));

    project.run(&["release", "--version", "1.1.0"]).await.exit(0);
    project.run(&["status", "--exit-code"]).await.exit(0);
    let history = stage.json(&["history"]).await;
    assert_eq!(history["records"].as_array().unwrap().len(), 2);
    let problems = history["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    for key in ["00000001.json.bak", "00000007.json"] {
        let removal = format!("`aws s3 rm s3://small-artifacts/deployctl/local/ledger/{key}`");
        assert!(problems.iter().any(|problem| problem.as_str().unwrap().contains(&removal)), "{problems:#?}");
    }
    project.run(&["history"]).await.exit(0).says(&["deployctl/local/ledger/00000007.json is no record"]);
}

/// Callers of the stage see nothing of a preview, and its own commands do not take it for a release.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the measurement is shown with --nocapture")]
async fn a_preview_leaves_its_stage_as_it_was() {
    let stage = ReleasedStage::after(&["1.0.0"]).await;
    let project = &stage.fake.project;
    let up = ["preview", "up", "--name", "pr-1", "--comment", "comment.md"];
    project.build("new code");
    project.run(&up).await.exit(2).says(&["preview.not_enabled", "[stages.local.previews]"]);
    let tables = "[stages.local.previews]\n\n[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]";
    project.settings("[artifacts.hello]", tables);
    let get = || stage.gateway.get_stage().rest_api_id(&stage.fake.api);
    let before = get().stage_name("v1").send().await.unwrap();
    let url = stage.json(&["url"]).await["url"].as_str().unwrap().to_owned();
    let stop = CancellationToken::new();
    let traffic = async {
        let (client, mut answers) = (http::client(), 0);
        while !stop.is_cancelled() {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
            answers += 1;
        }
        answers
    };
    let work = async {
        let start = std::time::Instant::now();
        let first = stage.json(&up).await;
        let seconds = start.elapsed().as_secs_f64();
        project.build("newer code");
        let second = stage.json(&up).await;
        stop.cancel();
        (first, second, seconds)
    };
    let (answers, (first, second, seconds)) = tokio::join!(traffic, work);
    println!("preview up: {seconds:.1} s; answers of the stage meanwhile: {answers}, 0 failed");
    assert_eq!((&first["outcome"], &second["outcome"]), (&json!("created"), &json!("updated")));
    assert_eq!(first["published"], json!(["f0", "f1"]));
    assert_eq!(first["diff"]["from"]["version"], "1.0.0");
    let comment = std::fs::read_to_string(project.path().join("comment.md")).unwrap();
    assert!(comment.contains(second["url"].as_str().unwrap()) && comment.contains("other code"), "{comment}");

    let preview = get().stage_name("preview-pr-1").send().await.unwrap();
    let variables = preview.variables().unwrap();
    assert_eq!(variables["release"], second["version"].as_str().unwrap());
    assert_eq!(variables["f0"], "3", "two versions were published for previews");
    let after = get().stage_name("v1").send().await.unwrap();
    assert_eq!((before.deployment_id(), before.variables()), (after.deployment_id(), after.variables()));
    project.run(&["status", "--exit-code"]).await.exit(0);
    assert_eq!(stage.json(&["status"]).await["previews"], json!(["pr-1"]));
    let list = stage.json(&["preview", "list"]).await;
    assert_eq!((&list["previews"][0]["name"], &list["previews"][0]["url"]), (&json!("pr-1"), &second["url"]));

    stage.release("1.1.0").await;
    let pruned = stage.json(&["prune", "--keep", "1", "--yes"]).await;
    let numbers = stage.numbers("small-0").await;
    assert!(numbers.contains("3"), "the preview's version was deleted: {pruned:#}");
    let down = ["preview", "down", "--name", "pr-1"];
    assert_eq!(stage.json(&down).await["closed"], json!(["pr-1"]));
    assert_eq!(stage.json(&down).await["closed"], json!([]));
    assert!(get().stage_name("preview-pr-1").send().await.is_err());
    let deployment = preview.deployment_id().unwrap();
    assert!(!stage.deployments().await.contains(deployment), "its deployment is left");

    stage.json(&["preview", "up", "--name", "pr-2", "--expires", "1m"]).await;
    assert_eq!(stage.json(&["preview", "prune"]).await["closed"], json!([]));
}

#[tokio::test]
async fn a_prune_deletes_what_no_kept_release_needs() {
    let stage = ReleasedStage::after_four_releases().await;
    stage.fake.project.run(&["redeploy"]).await.exit(0);
    stage.json(&["rollback", "--to", "1.0.1"]).await;
    stage.json(&["rollback", "--to", "1.2.0"]).await;
    stage.release("1.3.0").await;
    let (deployments, zips) = (stage.deployments().await, stage.zips().await);
    let asked = stage.fake.project.run(&["prune", "--keep", "2"]).await.exit(2);
    let asked = asked.says(&[
        "kept: 1.3.0, 1.2.0",
        "to be deleted:",
        "small-0:1, ",
        "hello/1.0.0.zip, ",
        "prune.unconfirmed",
        "--yes",
    ]);
    assert_eq!(asked.stdout, "");
    snapshot::settings().bind(|| insta::assert_snapshot!("prune_asks", asked.stderr));
    assert_eq!((stage.deployments().await, stage.zips().await), (deployments.clone(), zips), "only shown");
    stage.fake.project.run(&["prune", "--keep", "0"]).await.exit(2);
    for (keys, code, text) in [
        ("\u{3}", 130, "nothing was changed"),
        ("yes\n", 2, "error [prune.unconfirmed]: refused: this is not the name"),
    ] {
        let shown = stage.typed("prune --keep 3", keys).await.exit(code);
        assert!(
            shown.stdout.contains("Type the stage's name (local): ") && shown.stdout.contains(text),
            "{shown:?}"
        );
    }
    assert_eq!(stage.deployments().await, deployments, "only asked");
    let typed = stage.typed("prune --keep 5", "local\n").await.exit(0);
    assert!(typed.stdout.contains("local: deleted "), "{typed:?}");
    let deployments = stage.deployments().await;

    let done = stage.json(&["prune", "--keep", "2", "--yes"]).await;
    assert_eq!((&done["outcome"], &done["kept"]), (&json!("pruned"), &json!(["1.3.0", "1.2.0"])));
    assert_eq!(stage.zips().await, ["hello/1.2.0.zip", "hello/1.3.0.zip"]);
    for name in ["small-0", "small-1"] {
        let numbers = stage.numbers(name).await;
        assert!(numbers.contains("$LATEST") && numbers.len() == 3, "{numbers:?}");
    }
    let left = stage.deployments().await;
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

    let again = stage.fake.project.run(&["prune", "--keep", "2"]).await.exit(0);
    assert_eq!(again.stdout, "local: nothing to delete\n  kept       1.3.0, 1.2.0\n");
    stage.fake.project.run(&["status", "--exit-code"]).await.exit(0);
    let refused =
        stage.fake.project.run(&["rollback", "--to", "1.0.1", "--output", "json"]).await.exit(10).json();
    assert_eq!(refused["error"]["id"], "rollback.gone", "{refused:#}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("restorable: 1.2.0;"), "{refused:#}");
    let history = stage.fake.project.run(&["history"]).await.exit(0).stdout;
    assert_eq!(history.lines().filter(|line| line.contains(" pruned ")).count(), 5, "{history}");
    // What was kept can be gone back to, and what was pruned can still be compared, but for its routes.
    assert_eq!(stage.json(&["rollback"]).await["version"], "1.2.0");
    let human = stage.fake.project.run(&["diff", "1.0.0", "1.2.0"]).await.exit(0).stdout;
    assert!(human.contains("the definitions to compare are no longer kept"), "{human}");
}

/// The variables of the contract: with the switch, in the history, and back.
#[tokio::test]
async fn the_stage_variables_of_the_project_belong_to_the_release() {
    let stage = ReleasedStage::new().await;
    let declare = |variables: &str| {
        stage.fake.declare_functions(2, "");
        let main = stage.fake.project.path().join("terraform/app/main.tf");
        let text = std::fs::read_to_string(&main).unwrap();
        let line = format!("invoke_url = \"unused\"\n variables = {{ {variables} }}\n");
        std::fs::write(&main, text.replace("invoke_url = \"unused\"\n", &line)).unwrap();
    };
    let own = async || {
        let get = stage.gateway.get_stage().rest_api_id(&stage.fake.api).stage_name("v1");
        let mut variables = get.send().await.unwrap().variables.unwrap_or_default();
        variables.retain(|name, _| !["release", "f0", "f1"].contains(&name.as_str()));
        json!(variables)
    };
    declare("table = \"one\"");
    stage.release("1.0.0").await;
    assert_eq!(own().await, json!({ "table": "one" }));
    declare("table = \"two\", feature = \"on\"");
    let release = ["release", "--version", "1.0.0"];
    let released = stage.json(&release).await;
    assert_eq!(
        (&released["outcome"], own().await),
        (&json!("released"), json!({ "table": "two", "feature": "on" }))
    );
    assert_eq!(stage.json(&release).await["outcome"], "unchanged");
    assert_eq!(stage.json(&["status"]).await["drift"], json!([]));

    // Two records of one version, with the same functions and the same API.
    let back = stage.json(&["rollback"]).await;
    assert_eq!((&back["outcome"], own().await), (&json!("rolled_back"), json!({ "table": "one" })));
    let (from, to) = (&back["diff"]["from"], &back["diff"]["to"]);
    assert_eq!((&from["record"], &to["record"]), (&json!(2), &json!(1)));
    assert_eq!(back["diff"]["variables"]["table"], json!({ "from": "two", "to": "one" }));
    let human = stage.fake.project.run(&["rollback"]).await.exit(0).stdout;
    for text in [
        "rolled back from 1.0.0 (record 3) to 1.0.0 (record 2)",
        "the function versions are the same",
        "variable table: one -> two",
        "variable feature: added, on",
        "the API is the same",
    ] {
        assert!(human.contains(text), "{text}\n{human}");
    }
    assert_eq!(own().await, json!({ "table": "two", "feature": "on" }));

    // A rollback to another API says that the stage is stale now, as `status` does.
    stage.times_out_after(5000).await;
    stage.release("1.1.0").await;
    let back = stage.json(&["rollback"]).await;
    assert_eq!(back["diff"]["api"]["changes"], json!(["GET /: integration timeout 5000 -> 29000"]));
    assert_eq!(back["api"]["state"], "stale");
    assert_eq!(back["api"]["changes"], json!(["GET /: integration timeout 29000 -> 5000"]));
    assert_eq!(stage.json(&["status"]).await["api"], back["api"]);
    // And to the version that is live, nothing.
    let same = stage.json(&["rollback", "--to", "1.0.0"]).await;
    assert_eq!((&same["outcome"], &same["api"]["state"]), (&json!("unchanged"), &json!("stale")));
}

#[tokio::test]
async fn a_version_that_is_deleted_by_hand_is_drift() {
    let stage = ReleasedStage::after(&["1.2.0", "1.3.0"]).await;
    assert_eq!(stage.json(&["rollback"]).await["version"], "1.2.0");
    let live = stage.json(&["status"]).await["functions"]["f0"]["version"].as_str().unwrap().to_owned();
    stage.fake.lambda.delete_function().function_name("small-0").qualifier(&live).send().await.unwrap();
    stage.fake.lambda.delete_function().function_name("small-1").send().await.unwrap();
    let status = stage.fake.project.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    let gone = format!("small-0:{live}, which the live release runs, no longer exists");
    assert_eq!(status["drift"], json!([gone, "function small-1 no longer exists"]));
    let refused =
        stage.fake.project.run(&["release", "--version", "1.3.0", "--output", "json"]).await.exit(10).json();
    assert_eq!(refused["error"]["id"], "function.missing", "{refused:#}");
    stage.fake.project.run(&["redeploy", "--if-stale"]).await.exit(0);
}

/// A release takes the artifact bucket from the first layer, a rollback from the contract. If they differed,
/// each would hold a lease in a bucket of its own.
#[tokio::test]
async fn two_artifact_buckets_are_refused() {
    let stage = ReleasedStage::after(&["1.0.0"]).await;
    let project = &stage.fake.project;
    project.layer("base", "output \"artifact_bucket\" {\n  value = \"another\"\n}\n");
    project.run(&["terraform", "base", "--", "apply", "-auto-approve"]).await.exit(0);
    project.build("1.1.0");
    for command in [
        &["release", "--version", "1.1.0"][..],
        &["plan"],
        &["rollback"],
        &["redeploy"],
        &["prune", "--keep", "1"],
    ] {
        let refused = project.run(&[command, &["--output", "json"]].concat()).await.exit(20).json();
        assert_eq!(refused["error"]["id"], "contract.invalid", "{command:?}: {refused:#}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("small-artifacts") && message.contains("another"), "{message}");
    }
    assert_eq!(stage.json(&["status"]).await["version"], "1.0.0");
}

/// What a failed release has uploaded can be replaced, until something refers to it.
#[tokio::test]
async fn a_failed_release_does_not_use_up_its_version() {
    let stage = ReleasedStage::after(&["1.0.0"]).await;
    let project = &stage.fake.project;
    let apply = |command: &str| {
        let resource = format!(
            "resource \"terraform_data\" \"step\" {{\n  provisioner \"local-exec\" {{\n    command = \
             \"{command}\"\n  }}\n}}\n"
        );
        project.write("terraform/app/step.tf", resource);
    };
    let release = ["release", "--version", "1.1.0"];
    apply("exit 1");
    project.build("first bytes");
    project.run(&release).await.exit(20).says(&["terraform apply app"]);

    apply("exit 0");
    project.build("second bytes");
    let released = project.run(&release).await.exit(0);
    assert!(released.stderr.contains("replaced hello/1.1.0.zip"), "{}", released.stderr);

    // A record refers to the bytes now, and the warning comes before the upload.
    project.build("third bytes");
    let refused = project.run(&release).await.exit(10);
    let warning = "version 1.1.0 was uploaded before, and record 2 of stage local refers to it";
    assert!(refused.stderr.find(warning) < refused.stderr.find("✗ upload"), "{}", refused.stderr);
    refused.says(&[warning, "artifact.other_bytes"]);
    assert_eq!(stage.json(&["status"]).await["version"], "1.1.0");
}
