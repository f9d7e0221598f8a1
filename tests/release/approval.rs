//! Consent to what Terraform destroys: on a terminal, by address, and by the digest of a plan.

use serde_json::{Value, json};

use super::pipeline::two_stage_project::TwoStageProject;
use crate::support::pty::type_keys;

/// The project with a log group, whose name cannot be changed: another name replaces it.
fn log_group(site: &TwoStageProject, app: &str, name: &str) {
    // With its hashes, a provider is found where the registry cannot be reached.
    let lock_file = include_str!("../../terraform/app/.terraform.lock.hcl");
    site.project.write("terraform/app/.terraform.lock.hcl", lock_file);
    let group = format!("resource \"aws_cloudwatch_log_group\" \"audit\" {{\n  name = \"{name}\"\n}}\n");
    site.project.write(
        "terraform/app/main.tf",
        format!("{app}\nprovider \"aws\" {{\n  region = \"us-east-1\"\n}}\n\n{group}"),
    );
}

async fn plan(site: &TwoStageProject) -> (String, Value) {
    let plan = site.project.run(&["plan", "--output", "json"]).await.exit(0).json();
    (plan["digest"].as_str().unwrap().to_owned(), plan["to_confirm"].clone())
}

#[tokio::test]
async fn a_replacement_needs_consent_and_the_digest_of_its_plan_is_one() {
    let site = TwoStageProject::new().await;
    let app = std::fs::read_to_string(site.project.path().join("terraform/app/main.tf")).unwrap();
    log_group(&site, &app, "one");
    let (first, nothing) = plan(&site).await;
    assert_eq!(nothing, json!([]));
    site.project.run(&["release", "--version", "1.0.0", "--approved-plan", &first]).await.exit(0);

    log_group(&site, &app, "two");
    let (second, listed) = plan(&site).await;
    assert_eq!(listed, json!(["aws_cloudwatch_log_group.audit"]));
    let address = "replace aws_cloudwatch_log_group.audit (layer app)";
    let release = ["release", "--version", "1.1.0"];
    let refused = site.project.run(&release).await.exit(20);
    refused.says(&["terraform.unconfirmed", address, "--allow-destroy", "nothing was changed"]);
    site.project.run(&[&release[..], &["--approved-plan", "yes"]].concat()).await.exit(2);
    // Other bytes are another plan.
    site.project.build("1.1.0");
    let other = site.project.run(&[&release[..], &["--approved-plan", &second]].concat()).await.exit(10);
    other.says(&["approved_plan.changed", &second, "nothing was changed"]);
    let args = "release --version 1.1.0";
    let typed = type_keys(&site.project.program, site.project.path(), args, "(local): ", "local\n").await;
    assert!(typed.exit(0).stdout.contains(address), "nothing had been applied before");

    log_group(&site, &app, "three");
    let (third, _) = plan(&site).await;
    site.project.run(&["release", "--version", "1.2.0", "--approved-plan", &third]).await.exit(0);
}
