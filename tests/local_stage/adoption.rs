//! Projects that run already are adopted: clients send requests from before `init` until after a rollback, and none fails.
//!
//! The projects of `tests/fixtures/corpus` are deployed with Terraform alone, as their teams do. Their accounts are the
//! local stage's account here.

mod clients;
mod corpus;
mod local_account;
mod project;

use std::time::Instant;

use crate::support::progress;
use clients::Clients;
use corpus::Case;
use local_account::LocalAccount;
use project::Project;

/// Adopts a project, releases a second time and rolls back.
async fn adopt(case: &Case, account: &LocalAccount) {
    let project = Project::new(case, account).await;
    let start = Instant::now();
    project.deploy_with_terraform().await;
    let before = start.elapsed();
    let clients = Clients::start(&project.url().await, case.requests);

    let start = Instant::now();
    let steps = project.init().await;
    project.plans_without_destroying().await;
    project.release("1.0.0").await;
    let adopted = start.elapsed();
    project.package("two").await;
    project.release("1.1.0").await;
    clients.see("two").await;
    project.roll_back("1.0.0").await;
    clients.see("one").await;

    let requests = clients.stop().await.went_through(&["one", "two", "one"]);
    project.other_stages_plan_without_destroying().await;
    let line = format!(
        "{:<20} deployed in {:>3.0} s, from init to the release {:>3.0} s, {steps} steps by hand, {requests} requests, 0 failed",
        case.name,
        before.as_secs_f64(),
        adopted.as_secs_f64(),
    );
    progress::print("adoption", &line);
}

/// The layouts that most projects have. The others take longer than a test run should.
#[tokio::test]
async fn running_projects_are_adopted_without_a_failed_request() {
    let account = LocalAccount::start().await;
    let [one, environments, nested] =
        ["one-root", "environments", "nested-modules"].map(|name| Case::named(name));
    tokio::join!(adopt(one, &account), adopt(environments, &account), adopt(nested, &account));
}

macro_rules! more_projects {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[tokio::test]
        #[ignore = "takes a minute"]
        async fn $test() {
            adopt(Case::named($name), &LocalAccount::start().await).await;
        }
    )*};
}

more_projects! {
    modules_beside_modules: "modules-beside",
    an_openapi_document: "openapi",
    workspaces: "workspaces",
    a_partial_backend: "partial-backend",
    an_alias: "alias",
    a_stage_made_by_its_deployment: "stage-by-deployment",
    rust_in_a_subfolder: "rust-below",
    several_root_modules: "several-roots",
}

/// For work on the corpus: whether the projects run before they are adopted.
#[tokio::test]
#[ignore = "takes minutes"]
async fn the_projects_run_without_deployctl() {
    let account = LocalAccount::start().await;
    for case in corpus::CORPUS {
        let project = Project::new(case, &account).await;
        project.deploy_with_terraform().await;
        let clients = Clients::start(&project.url().await, case.requests);
        clients.see("one").await;
        progress::print("adoption", case.name);
        clients.stop().await.went_through(&["one"]);
    }
}
