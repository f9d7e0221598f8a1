//! Every command is one that the real Terraform knows, with flags that it knows.

use deployctl::error::Error;
use deployctl::terraform::commands::Init;
use deployctl::terraform::{PlanOptions, Shared, Subcommand};

use super::project::{CONFIGURATION, Project};

fn commands() -> Vec<Subcommand> {
    let address = || "terraform_data.one".to_owned();
    let name = || "other".to_owned();
    vec![
        Subcommand::Version,
        Subcommand::Init(Init { upgrade: true, ..Init::default() }),
        Subcommand::Get { update: true },
        Subcommand::Validate,
        Subcommand::Fmt { check: true, recursive: true },
        Subcommand::Plan {
            options: PlanOptions {
                skip_refresh: true,
                targets: vec![address()],
                replace: vec![address()],
                ..PlanOptions::default()
            },
            out: "p".into(),
        },
        Subcommand::Show { plan: Some("p".into()) },
        Subcommand::Apply { plan: "p".into() },
        Subcommand::Show { plan: None },
        Subcommand::Output { name: None },
        Subcommand::Output { name: Some("name".into()) },
        Subcommand::Taint { address: address() },
        Subcommand::Untaint { address: address() },
        Subcommand::StateList { addresses: vec![address()] },
        Subcommand::StateShow { address: address() },
        Subcommand::StateMv { from: address(), to: "terraform_data.two".into() },
        Subcommand::StatePull,
        Subcommand::StateRm { addresses: vec!["terraform_data.two".into()] },
        Subcommand::Import { address: address(), id: "1".into() },
        Subcommand::StatePush { file: "terraform.tfstate".into() },
        Subcommand::WorkspaceNew { name: name() },
        Subcommand::WorkspaceSelect { name: "default".into() },
        Subcommand::WorkspaceList,
        Subcommand::WorkspaceShow,
        Subcommand::WorkspaceDelete { name: name() },
        Subcommand::ProvidersSchema,
        Subcommand::ProvidersLock { platforms: vec!["linux_arm64".into()] },
        Subcommand::Graph { plan: None },
        Subcommand::Test { filters: Vec::new() },
        Subcommand::Raw(vec!["providers".into()]),
    ]
}

#[tokio::test]
async fn the_real_terraform_takes_every_command() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.driver.shared =
        Shared { lock_timeout: Some(std::time::Duration::from_secs(5)), parallelism: Some(2) };
    for command in commands() {
        let outcome = project.driver.run(&project.layer, &command).await;
        // A plan has changes, which is exit code 2; everything else goes well.
        let is_plan = matches!(command, Subcommand::Plan { .. });
        if let Err(failure) = outcome
            && !is_plan
        {
            panic!("{command:?}: {:?}", Error::from(failure));
        }
    }
    // Only now is there no lock for it to remove: the one complaint must be about that.
    let unlock = Subcommand::ForceUnlock { id: "1".into() };
    let failure = project.driver.run(&project.layer, &unlock).await.unwrap_err().to_string();
    assert!(failure.contains("Failed to unlock state") || failure.contains("lock"), "{failure}");
    assert!(!failure.contains("flag provided"), "{failure}");
}
