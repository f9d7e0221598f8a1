//! A canary of a release with the real program, functions that run, and clients that ask all the time.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use aws_sdk_cloudwatch as cloudwatch;
use aws_sdk_lambda as lambda;
use lambda::client::Waiters as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::calls::CallingStage;
use crate::support::caller::Caller;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{progress, sdk, seeded_stage};

const CLIENTS: usize = 4;

const ALARM: &str = "orders-failed";

/// One reading of the numbers, and what else the command does until it has gone back.
const ONE_INTERVAL: f64 = 20.0;

/// The stage of one function, which answers with its version and with the release that the stage names, and which
/// others call by an alias.
struct Canaries {
    stage: CallingStage,
    caller: Caller,
    cloudwatch: cloudwatch::Client,
}

impl Canaries {
    /// The stage with release 1.0.0, and an alarm that nothing has raised.
    async fn new() -> Self {
        let stage = CallingStage::new().await;
        stage.call(":${stageVariables.f0}").await;
        let wait = stage.fake.lambda.wait_until_function_active_v2().function_name("small-0");
        wait.wait(Duration::from_secs(30)).await.unwrap();
        let update = stage.fake.lambda.update_function_configuration().function_name("small-0");
        let update = update.runtime(lambda::types::Runtime::Python311).handler("code.handler");
        update.send().await.unwrap();
        let wait = stage.fake.lambda.wait_until_function_updated_v2().function_name("small-0");
        wait.wait(Duration::from_secs(30)).await.unwrap();
        let alias = stage.fake.lambda.create_alias().function_name("small-0").name("live");
        alias.function_version("$LATEST").send().await.unwrap();
        let layer = stage.fake.project.path().join("terraform/app/main.tf");
        let with_alias = std::fs::read_to_string(&layer).unwrap();
        let with_alias =
            with_alias.replace("artifact = \"hello\" }", "artifact = \"hello\", alias = \"live\" }");
        std::fs::write(&layer, with_alias).unwrap();
        stage.fake.project.settings(
            "[artifacts.hello]\npath = \"dist/bootstrap\"",
            "[delivery]\nmin_requests = 20\nalarms = [\"orders-failed\"]\n\n[artifacts.hello]\npath = \"dist/hello.zip\"",
        );
        build(&stage, "1.0.0", None);
        let released = stage.json(0, &["release", "1.0.0"]).await;
        let config = sdk::config(&stage.fake.project.stage_file().endpoint(), "000000000000");
        let cloudwatch = cloudwatch::Client::new(&config);
        let alarm = cloudwatch.put_metric_alarm().alarm_name(ALARM).namespace("Orders").metric_name("Failed");
        let alarm = alarm.statistic(cloudwatch::types::Statistic::Sum).period(60).evaluation_periods(1);
        let alarm = alarm.comparison_operator(cloudwatch::types::ComparisonOperator::GreaterThanThreshold);
        alarm.threshold(0.0).send().await.unwrap();
        Self { caller: Caller::of(&released), stage, cloudwatch }
    }

    /// Runs a release by a canary, and waits until the lease has it.
    async fn begin(&self, version: &str) -> tokio::process::Child {
        build(&self.stage, version, None);
        let args = ["release", version, "--canary", "50", "--bake", "1h", "--output", "json"];
        let mut command = self.stage.fake.project.program.command(&args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let began = async {
            while !self.stage.fake.project.run(&["canary", "status"]).await.stdout.contains("50 %") {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), began).await.expect("no canary began");
        child
    }

    async fn status(&self) -> Value {
        self.stage.json(0, &["canary", "status"]).await
    }

    /// The share of its requests that the function's alias sends to a second version.
    async fn of_alias(&self) -> Option<f64> {
        let get = self.stage.fake.lambda.get_alias().function_name("small-0").name("live");
        let routing = get.send().await.unwrap().routing_config?;
        routing.additional_version_weights?.into_values().next()
    }

    /// Sends requests from several clients until `stop`, and counts the answers.
    async fn ask(&self, stop: &CancellationToken) -> BTreeMap<String, usize> {
        let client = async || {
            let mut answers = Vec::new();
            while !stop.is_cancelled() {
                let answer = self.caller.send("POST", "/", Some("{}")).await.unwrap();
                answers.push(if answer.status == 200 { answer.body } else { answer.status.to_string() });
            }
            answers
        };
        let all = futures::future::join_all((0..CLIENTS).map(|_| client())).await;
        let mut counted = BTreeMap::new();
        for answer in all.into_iter().flatten() {
            *counted.entry(answer).or_default() += 1;
        }
        counted
    }

    /// Asserts that every request gets the release.
    async fn all_get(&self, version: &str) {
        for _ in 0..20 {
            assert_eq!(self.caller.send("POST", "/", Some("{}")).await.unwrap().body, whole(version));
        }
    }

    async fn goes_back_because_of_its_errors(&self) {
        build(&self.stage, "2.0.0", Some(5));
        let stop = CancellationToken::new();
        let release = async {
            let failed = self.stage.json(30, &["release", "2.0.0", "--canary", "10", "--bake", "5m"]).await;
            stop.cancel();
            failed
        };
        let (failed, mut seen) = tokio::join!(release, self.ask(&stop));
        assert_eq!(failed["error"]["id"], "canary.aborted", "{failed:#}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains("was ended at 10 %: errors of small-0: new "), "{message}");
        let steps = failed["steps"].as_array().unwrap();
        let watched = steps.iter().find(|step| step["name"].as_str().unwrap().starts_with("watch canary"));
        let seconds = watched.unwrap()["seconds"].as_f64().unwrap();
        assert!(seconds < ONE_INTERVAL, "{seconds} s: {failed:#}");

        let mut of = |answer: &str| seen.remove(answer).unwrap_or_default();
        let (old, new, errors) = (of(&whole("1.0.0")), of(&whole("2.0.0")), of("502"));
        assert_eq!(seen, BTreeMap::new(), "mixed or failed");
        assert!(old > 0 && new > 0 && errors > 0, "{old} {new} {errors}");
        let met = new + errors;
        progress::print(
            "canary",
            &format!("{met} of {} requests met the bad release, {errors} failed; {seconds:.1} s", old + met),
        );
        self.all_get("1.0.0").await;
        let history = self.stage.json(0, &["history"]).await;
        assert_eq!(history["records"][0]["outcome"], "switched_back", "{history:#}");
        self.stage.json(10, &["canary", "status"]).await;
    }

    /// A killed command leaves the canary; `canary abort` ends it from elsewhere.
    async fn is_left_by_a_killed_command_and_ended(&self) {
        let mut killed = self.begin("3.0.0").await;
        killed.kill().await.unwrap();
        let status = self.status().await;
        assert_eq!((&status["version"], &status["canary"]["percent"]), (&json!("1.0.0"), &json!(50.0)));
        for command in [&["redeploy"][..], &["release", "3.0.0"], &["prune", "--keep", "1", "--yes"]] {
            let refused = self.stage.json(75, command).await;
            assert_eq!(refused["error"]["id"], "canary.in_progress", "{refused:#}");
        }
        let mut seen = BTreeMap::<String, usize>::new();
        for _ in 0..100 {
            *seen.entry(self.caller.send("POST", "/", None).await.unwrap().body).or_default() += 1;
        }
        assert_eq!(seen, [(whole("1.0.0"), 50), (whole("3.0.0"), 50)].into());
        assert_eq!(self.of_alias().await, Some(0.5));
        let ended = self.stage.json(0, &["canary", "abort"]).await;
        assert_eq!((&ended["outcome"], &ended["version"]), (&json!("rolled_back"), &json!("1.0.0")));
        assert_eq!(self.of_alias().await, None);
        self.all_get("1.0.0").await;
    }

    async fn is_left_on_purpose_and_promoted(&self) {
        build(&self.stage, "4.0.0", None);
        let args = ["release", "4.0.0", "--canary", "50", "--bake", "1h", "--detach"];
        let left = self.stage.json(0, &args).await;
        assert_eq!((&left["outcome"], &left["canary"]["percent"]), (&json!("canary"), &json!(50.0)));
        // A schedule leaves it until the step has taken its time.
        let left = self.stage.json(0, &["canary", "promote", "--if-due"]).await;
        assert_eq!((&left["outcome"], &left["canary"]["percent"]), (&json!("canary"), &json!(50.0)));
        let promoted = self.stage.json(0, &["canary", "promote"]).await;
        assert_eq!((&promoted["outcome"], &promoted["version"]), (&json!("released"), &json!("4.0.0")));
        self.all_get("4.0.0").await;

        build(&self.stage, "4.1.0", None);
        self.stage.json(0, &["release", "4.1.0", "--canary", "50", "--bake", "1s", "--detach"]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let due = self.stage.json(0, &["canary", "promote", "--if-due"]).await;
        assert_eq!((&due["outcome"], &due["version"]), (&json!("released"), &json!("4.1.0")));
        self.all_get("4.1.0").await;
        assert_eq!(self.of_alias().await, None);
    }

    async fn is_ended_by_a_signal(&self) {
        let mut child = self.begin("5.0.0").await;
        kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(130));
        self.all_get("4.1.0").await;
        let outcomes = ["switched_back", "live", "live", "switched_back", "switched_back", "live"];
        self.outcomes_are(outcomes).await;
    }

    /// The clients of the new release get what they ask for, and yet an alarm ends it.
    async fn is_ended_by_an_alarm(&self) {
        let child = self.begin("6.0.0").await;
        let alarm = self.cloudwatch.set_alarm_state().alarm_name(ALARM).state_reason("a test");
        alarm.state_value(cloudwatch::types::StateValue::Alarm).send().await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
        let ended = ended.expect("the canary goes on").unwrap();
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((ended.status.code(), &document["error"]["id"]), (Some(30), &json!("canary.aborted")));
        assert!(document["error"]["message"].as_str().unwrap().contains(ALARM), "{document:#}");
        self.all_get("4.1.0").await;
        let outcomes =
            ["switched_back", "switched_back", "live", "live", "switched_back", "switched_back", "live"];
        self.outcomes_are(outcomes).await;
    }

    /// Kills releases by a canary at each of their requests, before and after it takes effect in turn, and ends what is
    /// left. How many were killed, and how many of those had a canary.
    async fn are_ended_after_each_request(&self) -> (usize, usize) {
        let project = &self.stage.fake.project;
        let stage = project.stage_file();
        let proxy = Proxy::start(stage.port()).await;
        let (mut killed, mut canaries, mut old) = (0, 0, "1.0.0".to_owned());
        for number in 1..300 {
            let new = format!("2.0.{number}");
            build(&self.stage, &new, None);
            let fault = if number % 2 == 0 { Fault::KilledBefore } else { Fault::KilledAfter };
            proxy.arm(number, fault);
            stage.point_at(proxy.port);
            let args = ["release", &new, "--code-only", "--canary", "50", "--bake", "1s"];
            let mut command = project.program.command(&args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            proxy.aim(child.id().unwrap());
            let code = child.wait().await.unwrap().code();
            stage.restore();
            if !proxy.disarm().fired {
                assert_eq!(code, Some(0), "release {new}");
                self.all_get(&new).await;
                return (killed, canaries);
            }
            killed += 1;
            let place = format!("{fault:?} of request {number}");
            let status = project.run(&["canary", "status", "--output", "json"]).await;
            let ended = project.run(&["canary", "abort", "--wait", "2m", "--output", "json"]).await;
            let has_canary = status.code == Some(0);
            assert_eq!(ended.code, Some(if has_canary { 0 } else { 10 }), "{place}: {status:?} {ended:?}");
            canaries += usize::from(has_canary);
            let live = self.caller.send("POST", "/", Some("{}")).await.unwrap().body;
            if has_canary {
                let switched = ended.json()["outcome"] == "released";
                assert_eq!(live, whole(if switched { &new } else { &old }), "{place}: {ended:?}");
                assert_eq!(status.json()["version"], live.split(' ').next().unwrap(), "{place}: {status:?}");
                assert!(!status.stdout.contains("without deployctl"), "{place}: {status:?}");
            }
            if live == whole(&new) {
                old = new; // killed after the switch
            }
            self.all_get(&old).await;
        }
        panic!("a release by a canary makes more than 300 requests");
    }

    /// Asserts the outcomes of all records, the newest first.
    async fn outcomes_are<const N: usize>(&self, expected: [&str; N]) {
        let history = self.stage.json(0, &["history"]).await;
        let outcomes: Vec<_> =
            history["records"].as_array().unwrap().iter().map(|record| &record["outcome"]).collect();
        assert_eq!(outcomes, expected);
    }
}

/// What the function answers when stage and function have the same release.
fn whole(version: &str) -> String {
    format!("{version} {version}")
}

/// Writes the code of a release, which fails for one of so many events.
fn build(stage: &CallingStage, version: &str, fails: Option<usize>) {
    let fails = fails.unwrap_or(0);
    let code = format!(
        "count = 0\n\ndef handler(event, context):\n    global count\n    count += 1\n    \
         if {fails} and count % {fails} == 0:\n        raise ValueError('on purpose')\n    \
         return {{'statusCode': 200, 'body': '{version} ' + event['stageVariables']['release']}}\n"
    );
    stage.fake.project.write("dist/hello.zip", seeded_stage::zipped(&code));
}

#[tokio::test]
async fn a_canary_of_functions_that_run() {
    let canaries = Canaries::new().await;
    canaries.all_get("1.0.0").await;
    canaries.goes_back_because_of_its_errors().await;
    canaries.is_left_by_a_killed_command_and_ended().await;
    canaries.is_left_on_purpose_and_promoted().await;
    canaries.is_ended_by_a_signal().await;
    canaries.is_ended_by_an_alarm().await;
}

#[tokio::test]
#[ignore = "3 minutes: cargo test --test stages -- --ignored canary --nocapture"]
async fn a_killed_canary_of_functions_that_run_can_be_ended() {
    let (killed, canaries) = Canaries::new().await.are_ended_after_each_request().await;
    assert!(canaries > 5, "{canaries} of {killed}");
    progress::print("canary", &format!("killed at {killed} requests, {canaries} with a canary; 0 mixed"));
}
