//! Projects that run already are adopted: clients send requests from before `init` until after a rollback, and none fails.
//!
//! The projects of `tests/fixtures/corpus` are deployed with Terraform alone, as their teams do. Their accounts are the
//! local stage's account here.

mod clients;
mod corpus;
mod local_account;
mod project;

use std::path::Path;
use std::time::Instant;

use crate::support::copy_folder;
use crate::support::markdown::Page;
use crate::support::program::Program;
use crate::support::progress;
use clients::Clients;
use corpus::Case;
use local_account::LocalAccount;
use project::Project;

/// Where the documents show sessions of projects, in three blocks each: `init`, the first release, and a later one with a
/// rollback.
const PAGE: &str = "docs/how-to/existing-project.md";

/// Adopts a project, releases a second time and rolls back. Where the documents have sessions for it, they are typed.
async fn adopt(case: &Case, account: &LocalAccount) {
    let page = Page::read(Path::new(PAGE));
    let sessions: Vec<&str> = page
        .blocks
        .iter()
        .filter(|block| block.adopts() == Some(case.name))
        .map(|block| block.text.as_str())
        .collect();
    let project = Project::new(case, account).await;
    project.deploy_with_terraform().await;
    let clients = Clients::start(&project.url().await, case.requests);

    let start = Instant::now();
    let steps = match sessions.first() {
        Some(session) => project.type_init(session).await,
        None => project.init().await,
    };
    project.plans_without_destroying().await;
    match sessions.get(1) {
        Some(session) => project.type_session(session).await,
        None => project.release(&["1.0.0", "--running-code"]).await,
    }
    let adopted = start.elapsed().as_secs_f64();
    if let Some(session) = sessions.get(2) {
        project.type_session(session).await;
    } else {
        project.package("two").await;
        project.release(&["1.1.0"]).await;
        clients.see("two").await;
        project.roll_back("1.0.0").await;
    }
    clients.see("one").await;

    let requests = clients.stop().await.went_through(&["one", "two", "one"]);
    project.other_stages_plan_without_destroying().await;
    assert!(steps <= MOST_STEPS, "{}: {steps} steps are left to do by hand", case.name);
    let name = case.name;
    let line = format!(
        "{name:<20} {adopted:>3.0} s to the first release, {steps} steps by hand, {requests} requests, 0 failed"
    );
    progress::print("adoption", &line);
}

/// What is left to do by hand after the patch.
const MOST_STEPS: usize = 2;

/// The layouts that most projects have. The others take longer than a test run should.
#[tokio::test]
async fn running_projects_are_adopted_without_a_failed_request() {
    let account = LocalAccount::start().await;
    let [one, environments, nested] = ["one-root", "environments", "nested-modules"].map(Case::named);
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

/// Whether the documents show sessions only of projects that a test adopts.
#[test]
fn each_session_has_its_three_blocks() {
    let page = Page::read(Path::new(PAGE));
    let mut names: Vec<&str> = page.blocks.iter().filter_map(|block| block.adopts()).collect();
    names.sort_unstable();
    let expected = ["environments", "nested-modules", "one-root"];
    assert_eq!(names, expected.map(|name| [name; 3]).concat());
}

/// An image cannot run on a local stage, so its project is adopted up to the plan.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_container_image_is_planned() {
    let account = LocalAccount::start().await;
    let project = Project::new(Case::named("image"), &account).await;
    project.deploy_with_terraform().await;
    project.init().await;
    project.plans_without_destroying().await;
}

#[tokio::test]
async fn an_http_api_is_refused_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new(dir.path());
    copy_folder(&project::corpus("http-api"), dir.path());
    let refused = program.run(&["init"]).await.exit(2);
    refused.says(&["error [init.http_api]", "aws_apigatewayv2_api.notes", "nothing was written"]);
    assert!(!dir.path().join("deployctl.toml").exists());
}
