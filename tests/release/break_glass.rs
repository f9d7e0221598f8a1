//! `history --cli`: a stage is moved by the AWS CLI itself, with the commands that deployctl printed.

use std::path::Path;
use std::process::Stdio;

use aws_sdk_apigateway as gateway;
use serde_json::json;

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::program::CommandOutput;
use crate::support::{fixtures, http, python_tools, sdk};

/// What the API answers by itself. A deployment freezes it.
async fn answer(fake: &FakeReleasedStage, text: &str) {
    let gateway = gateway::Client::new(&sdk::config(&fake.project.stage_file().endpoint(), "000000000000"));
    let resources = gateway.get_resources().rest_api_id(&fake.api).send().await.unwrap();
    let root = resources.items()[0].id().unwrap();
    let put = gateway.put_integration_response().rest_api_id(&fake.api).resource_id(root).http_method("GET");
    put.status_code("200").response_templates("application/json", text).send().await.unwrap();
}

/// Runs `script` in a shell whose `aws` is the AWS CLI from PyPI, as `deployctl local env` sets it up.
async fn run(fake: &FakeReleasedStage, programs: &Path, script: &str) -> CommandOutput {
    let env = fake.project.run(&["local", "env"]).await.exit(0).stdout;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-euc", &format!("{env}\n{script}")]).stdin(Stdio::null()).kill_on_drop(true);
    shell.env_clear().env("PATH", path).env("HOME", fake.project.path()).current_dir(fake.project.path());
    CommandOutput::of(shell.output().await.unwrap())
}

#[tokio::test]
async fn the_printed_commands_move_the_stage() {
    let requirements = include_str!("break_glass/requirements.txt");
    let programs = python_tools::install("awscli", requirements);
    let stage = async {
        let fake = FakeReleasedStage::new().await;
        fake.create_functions(2).await;
        for (version, text) in [("1.0.0", "the old one"), ("1.1.0", "the new one")] {
            answer(&fake, text).await;
            fake.project.build(version);
            fake.project.run(&["release", "--version", version]).await.exit(0);
        }
        fake
    };
    let (programs, fake) = tokio::join!(programs, stage);
    let project = &fake.project;
    let url =
        project.run(&["status", "--output", "json"]).await.exit(0).json()["url"].as_str().unwrap().to_owned();
    let answers = async || http::client().get(&url).send().await.unwrap().text().await.unwrap();
    assert_eq!(answers().await, "the new one");

    let script = project.run(&["history", "--cli"]).await.exit(0).stdout;
    let lines: Vec<&str> = script.lines().collect();
    assert_eq!(lines[0], "# moves stage local from 1.1.0 to 1.0.0 (record 1); only while it serves 1.1.0");
    assert!(lines[1..].iter().all(|line| line.starts_with("aws apigateway ")), "{script}");
    assert_eq!(answers().await, "the new one", "it only prints");
    let moved = run(&fake, &programs, &script).await.exit(0);
    assert!(moved.stdout.contains("\"release\": \"1.0.0\""), "{moved:?}");
    assert_eq!(answers().await, "the old one");

    // deployctl sees that it was not it, and goes on from there.
    let status = project.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    assert_eq!(status["version"], "1.0.0");
    assert!(!status["drift"].as_array().unwrap().is_empty(), "{status:#}");

    let history = ["history", "--cli", "--record", "2", "--output", "json"];
    let history = project.run(&history).await.exit(0).json();
    assert_eq!((&history["cli"]["record"], &history["cli"]["version"]), (&json!(2), &json!("1.1.0")));
    let commands: Vec<&str> = history["cli"]["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command.as_str().unwrap())
        .collect();
    run(&fake, &programs, &commands.join("\n")).await.exit(0);
    assert_eq!(answers().await, "the new one");
    let status = project.run(&["status", "--exit-code", "--output", "json"]).await.exit(0).json();
    assert_eq!((&status["version"], &status["drift"]), (&json!("1.1.0"), &json!([])));
    project.run(&["rollback"]).await.exit(0);
    assert_eq!(answers().await, "the old one");

    let unknown =
        project.run(&["history", "--cli", "--record", "9", "--output", "json"]).await.exit(2).json();
    assert_eq!(unknown["error"]["id"], "release.unknown");
    project.run(&["history", "--record", "1"]).await.exit(2).says(&["--cli"]);
    an_api_without_a_project_is_redeployed(&fake, &programs).await;
}

/// Another API on the same stage, of which deployctl knows nothing; and the API of the project, which is refused.
async fn an_api_without_a_project_is_redeployed(fake: &FakeReleasedStage, programs: &Path) {
    let endpoint = fake.project.stage_file().endpoint();
    let gateway = gateway::Client::new(&sdk::config(&endpoint, "000000000000"));
    let api = &fixtures::create_api(&gateway, &["live"]).await;
    let redeploy = async |api: &str, stage: &str, more: &str| {
        let program = env!("CARGO_BIN_EXE_deployctl");
        let command = format!("cd / && {program} redeploy --rest-api-id {api} --stage-name {stage} {more}");
        run(fake, programs, &command).await
    };
    let url = format!("{endpoint}/_aws/execute-api/{api}/live/");
    let post = async || http::client().post(&url).send().await.unwrap().status().as_u16();
    add_post(&gateway, api).await;
    assert_eq!(post().await, 403, "it is not deployed");

    let moved = redeploy(api, "live", "--output json").await.exit(0);
    let document = moved.json();
    assert!(moved.stderr.contains("account 000000000000, region "), "{}", moved.stderr);
    assert_eq!((&document["outcome"], &document["stage"]), (&json!("redeployed"), &json!(null)));
    assert_eq!(document["api"]["changes"], json!(["POST /: added"]), "{document:#}");
    assert_eq!(post().await, 200);

    // Back to the deployment before, with the options that the command printed.
    let from = document["moved"]["from"].as_str().unwrap();
    let back = document["moved"]["back"].as_str().unwrap();
    assert!(back.ends_with(&format!(" --deployment {from}")), "{back}");
    let back = redeploy(api, "live", &format!("--deployment {from}")).await.exit(0).stdout;
    assert!(back.contains("POST /: removed") && back.starts_with("live: moved from deployment "), "{back}");
    assert_eq!(post().await, 403);
    let again = redeploy(api, "live", &format!("--deployment {from}")).await.exit(0).stdout;
    assert!(again.starts_with(&format!("live: serves deployment {from} already")), "{again}");

    redeploy(api, "live", "--deployment zzzzzz").await.exit(2).says(&["the newest deployments are "]);
    redeploy(api, "missing", "").await.exit(2).says(&["has no stage missing", "get-stages"]);
    redeploy(&fake.api, "v1", "").await.exit(2).says(&["error [redeploy.managed]", "it has release 1.0.0"]);
    redeploy(&fake.api, "v1", "--force").await.exit(0);
    // What was forced is seen as drift, and refused again.
    let status = fake.project.run(&["status", "--exit-code", "--output", "json"]).await.exit(3).json();
    assert!(!status["drift"].as_array().unwrap().is_empty(), "{status:#}");
    assert_eq!(status["since"], json!(null), "{status:#}");
    redeploy(&fake.api, "v1", "").await.exit(2).says(&["error [redeploy.managed]"]);
}

/// Adds a method that answers by itself.
async fn add_post(gateway: &gateway::Client, api: &str) {
    let resources = gateway.get_resources().rest_api_id(api).send().await.unwrap();
    let root = resources.items()[0].id().unwrap();
    let put = gateway.put_method().rest_api_id(api).resource_id(root).http_method("POST");
    put.authorization_type("NONE").send().await.unwrap();
    let put = gateway.put_integration().rest_api_id(api).resource_id(root).http_method("POST");
    let put = put.r#type(gateway::types::IntegrationType::Mock);
    put.request_templates("application/json", r#"{"statusCode": 200}"#).send().await.unwrap();
    let put = gateway.put_method_response().rest_api_id(api).resource_id(root).http_method("POST");
    put.status_code("200").send().await.unwrap();
    let put = gateway.put_integration_response().rest_api_id(api).resource_id(root).http_method("POST");
    put.status_code("200").send().await.unwrap();
}
