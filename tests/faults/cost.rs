//! What a command costs: its requests with seven functions, and its memory with as many as a stage can hold.

use serde_json::{Value, json};

use crate::support::counted_stage::CountedStage;
use crate::support::progress;
use crate::support::proxy::{Fault, ProxyCounts};

/// A request that no command gets to: nothing goes wrong.
const NEVER: usize = usize::MAX;

/// As many as one call can move: with the deployment and the variable that names the release, 80 operations.
const MOST: usize = 78;

#[tokio::test]
async fn requests_and_processes_of_each_command() {
    let site = CountedStage::new().await;
    site.fake.create_functions(7).await;
    site.release("1.0.0").await;
    let (_, told, _) = site.release("1.1.0").await;
    progress::print(
        "cost",
        &format!("release of 7 functions: {} requests, at most {} at once", told.requests, told.at_once),
    );

    let (rollback, told, _) = site.through_the_proxy(&["rollback"]).await;
    assert_eq!(rollback["version"], "1.0.0");
    progress::print(
        "cost",
        &format!("rollback of 7 functions: {} requests, at most {} at once", told.requests, told.at_once),
    );
    assert!(told.requests <= 28, "a rollback of 7 functions takes {} requests", told.requests);
    let told = site.slowly(&["rollback"]).await;
    progress::print(
        "cost",
        &format!(
            "rollback of 7 functions: {} round trips to its switch, {} in all",
            told.rounds_to_switch, told.rounds
        ),
    );
    // Identity, contract, lease and stage; then the lease is taken, and the release is checked; the switch.
    assert!((1..=3).contains(&told.rounds_to_switch), "{told:?}");
    // And forth again.
    site.through_the_proxy(&["rollback"]).await;

    let (status, told, _) = site.through_the_proxy(&["status"]).await;
    assert_eq!((&status["version"], &status["drift"]), (&json!("1.0.0"), &json!([])));
    progress::print(
        "cost",
        &format!("status of 7 functions: {} requests, at most {} at once", told.requests, told.at_once),
    );
    assert!(told.requests <= 10, "the status of 7 functions takes {} requests", told.requests);

    // Code that deployctl knows nothing of: the ledger is read for it.
    let bytes = crate::support::lambda_zip::lambda_zip(b"by hand");
    let update = site.fake.lambda.update_function_code().function_name("small-3");
    update.zip_file(bytes.into()).send().await.unwrap();
    let (status, told, _) = site.through_the_proxy(&["status"]).await;
    assert_eq!(status["drift"].as_array().map(Vec::len), Some(1), "{status:#}");
    progress::print("cost", &format!("status where code was changed by hand: {} requests", told.requests));

    let before = site.versions(7).await;
    let release = ["release", "--version", "1.1.0"];
    for (args, outcome) in [
        (&release[..], "released"),
        (&release[..], "unchanged"),
        (&[&release[..], &["--force"]].concat(), "released"),
    ] {
        let (again, told, _) = site.through_the_proxy(args).await;
        assert_eq!(again["outcome"], outcome);
        progress::print("cost", &format!("the same release again, {outcome}: {} requests", told.requests));
    }
    assert_eq!(site.versions(7).await, before, "nothing has changed, so nothing is published");

    site.releases_code_only().await;

    site.fake.create_functions(MOST).await;
    let (many, told, memory) = site.release("2.0.0").await;
    assert_eq!(many["functions"].as_object().unwrap().len(), MOST);
    progress::print(
        "cost",
        &format!(
            "release of {MOST} functions: {} requests, at most {} at once, {memory} KiB of memory at most",
            told.requests, told.at_once
        ),
    );
    assert!(told.at_once >= 8, "functions are released beside each other");
    assert!(memory < 200 * 1024, "{memory} KiB");
}

impl CountedStage {
    /// Releases other bytes than ever before.
    async fn release(&self, version: &str) -> (Value, ProxyCounts, usize) {
        self.fake.project.build(version);
        self.through_the_proxy(&["release", "--version", version]).await
    }

    /// Runs a command behind the proxy: its document, what the proxy saw, and the most memory it had, in KiB.
    async fn through_the_proxy(&self, args: &[&str]) -> (Value, ProxyCounts, usize) {
        self.proxy.arm(NEVER, Fault::Refused);
        self.measured(args).await
    }

    /// The same where the way to the cloud is long: what the proxy saw.
    async fn slowly(&self, args: &[&str]) -> ProxyCounts {
        self.proxy.slow();
        self.measured(args).await.1
    }

    async fn measured(&self, args: &[&str]) -> (Value, ProxyCounts, usize) {
        let run = self.run(&[args, &["--output", "json"]].concat()).await;
        (run.output.exit(0).json(), run.counts, run.memory)
    }

    /// Releases code without Terraform, as often as the infrastructure allows.
    async fn releases_code_only(&self) {
        let project = &self.fake.project;
        let release = |version: &'static str| ["release", "--version", version, "--code-only"];
        project.build("1.2.0");
        let (document, told, _) = self.through_the_proxy(&release("1.2.0")).await;
        assert_eq!(
            (&document["outcome"], &document["infrastructure"]),
            (&json!("released"), &json!("not_planned"))
        );
        let steps: Vec<&str> =
            document["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
        assert!(!steps.iter().any(|step| step.starts_with("terraform")), "{steps:?}");
        let requests = told.requests;
        project.build("1.3.0");
        let told = self.slowly(&release("1.3.0")).await;
        let line =
            format!("release --code-only of 7 functions: {requests} requests, {} round trips", told.rounds);
        progress::print("cost", &line);
        // 13, and a second look at the versions: they are pending for a second.
        assert!(told.rounds <= 14, "{told:?}");

        // An edit that changes nothing is one that Terraform has not seen.
        let base = project.path().join("terraform/base/main.tf");
        let applied = std::fs::read_to_string(&base).unwrap();
        std::fs::write(&base, format!("{applied}# edited\n")).unwrap();
        project.build("1.4.0");
        let refused = project.run(&release("1.4.0")).await.exit(10);
        refused.says(&["infrastructure.changed", "layer base: its files differ", "nothing was changed"]);
        let ignoring = [&release("1.4.0")[..], &["--ignore-infrastructure"]].concat();
        let without_terraform = project.program.clone().with("DEPLOYCTL_TERRAFORM", "/nowhere/terraform");
        without_terraform.run(&ignoring).await.exit(0).says(&["infrastructure not planned"]);
        let history = project.run(&["history", "--output", "json"]).await.exit(0).json();
        assert_eq!(history["records"][0]["infrastructure"]["planned"], false);
        assert_eq!(history["records"][1]["infrastructure"], history["records"][0]["infrastructure"]);
        // Still refused: the layer was not applied. An apply past deployctl is noticed, too.
        project.run(&release("1.5.0")).await.exit(10);
        std::fs::write(&base, &applied).unwrap();
        project.layer("base", "output \"artifact_bucket\" {\n  value = \"small-artifacts\"\n}\noutput \"more\" {\n  value = 1\n}\n");
        project.run(&["terraform", "base", "--", "apply", "-auto-approve"]).await.exit(0);
        std::fs::write(&base, &applied).unwrap();
        let refused = project.run(&release("1.5.0")).await.exit(10);
        refused.says(&["layer base: its state was written since"]);
    }

    /// How many versions each function has.
    async fn versions(&self, count: usize) -> Vec<usize> {
        let mut versions = Vec::new();
        for number in 0..count {
            let name = format!("small-{number}");
            let found =
                self.fake.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
            versions.push(found.versions().len());
        }
        versions
    }
}
