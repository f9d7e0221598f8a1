//! The project's own stage variables belong to the release.

use super::*;
use crate::engine::observe;
use crate::release::drift;
use crate::release::model::Pointer;
use crate::release::patch::MAX_OPERATIONS;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn with(version: &str, variables: Variables<'_>) -> Desired {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Desired { variables: owned.collect(), ..desired(version) }
}

async fn release(cloud: &Cloud, version: &str, variables: Variables<'_>) -> Result<Record> {
    let actor = actor();
    let desired = with(version, variables);
    let held = HeldStage::take(&actor, cloud.clone(), format!("release {version}")).await?;
    Box::pin(held.during(async |held| Ok(held.release(cloud, desired, origin()).await?.record))).await
}

/// Asserts which variables the stage has beside those of deployctl and of others.
fn assert_own(cloud: &Cloud, expected: Variables<'_>) {
    let mut variables = cloud.state.lock().unwrap().pointer.variables.clone();
    assert_eq!(variables.remove("owner").unwrap(), "another team");
    variables.retain(|name, _| name != "release" && !FUNCTIONS.contains(&name.as_str()));
    let found: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(found, expected);
}

const ONE: Variables<'_> = &[("table", "one")];
const TWO: Variables<'_> = &[("feature", "on"), ("table", "two")];

/// A stage that Terraform created with a variable, and two releases that set variables.
async fn two_releases() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    cloud.state.lock().unwrap().pointer.variables.insert("table".into(), "created".into());
    release(&cloud, "1", ONE).await.unwrap();
    assert_own(&cloud, ONE);
    release(&cloud, "2", TWO).await.unwrap();
    cloud.arm(&[]);
    cloud
}

#[tokio::test]
async fn they_are_set_and_removed_with_the_switch_and_rolled_back() {
    let cloud = two_releases().await;
    assert_own(&cloud, TWO);
    for expected in [ONE, TWO, ONE] {
        cloud.arm(&[]);
        run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
        assert_eq!(cloud.state.lock().unwrap().switches, 1);
        assert_own(&cloud, expected);
    }
    run(&cloud, &actor(), Operation::Redeploy).await.unwrap();
    assert_own(&cloud, ONE);
    // The contract has none any more.
    release(&cloud, "3", &[]).await.unwrap();
    assert_own(&cloud, &[]);
}

#[tokio::test]
async fn a_failed_release_restores_them() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    let error = release(&cloud, "3", &[("other", "x")]).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseSwitchedBack);
    assert_own(&cloud, TWO);
}

#[tokio::test]
async fn a_release_that_changes_only_variables_is_made_and_rolled_back() {
    let cloud = two_releases().await;
    let last = release(&cloud, "2", TWO).await.unwrap();
    assert_eq!(last.number, 2, "nothing has changed");
    release(&cloud, "2", ONE).await.unwrap();
    assert_own(&cloud, ONE);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_own(&cloud, TWO);
}

#[tokio::test]
async fn a_change_by_hand_is_drift() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().pointer.variables.insert("table".into(), "by hand".into());
    let stage = observe::stage(&cloud).await.unwrap();
    let head = Ledger::new(cloud.clone(), "dev".parse().unwrap()).head().await.unwrap();
    assert_eq!(
        drift::of_stage(&stage, head.current.as_ref(), None),
        ["stage variable table is by hand, the ledger says two"]
    );
    release(&cloud, "2", TWO).await.unwrap();
    assert_own(&cloud, TWO);
}

/// Records of older versions have the pointer of the stage, and not which variables were the project's.
#[tokio::test]
async fn a_record_without_them_restores_what_the_stage_had() {
    let cloud = two_releases().await;
    let key = "deployctl/dev/ledger/00000001.json";
    {
        let mut state = cloud.state.lock().unwrap();
        let (body, etag) = state.objects[key].clone();
        let mut record: serde_json::Value = serde_json::from_slice(&body).unwrap();
        record["release"].as_object_mut().unwrap().remove("variables").unwrap();
        state.objects.insert(key.to_owned(), (serde_json::to_vec(&record).unwrap(), etag));
        // Without the lease, the ledger itself is read.
        state.objects.remove(LEASE);
        state.pointer.variables.insert("another".into(), "theirs".into());
    }
    let record = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(record.release.variables, Some([("table".to_owned(), "one".to_owned())].into()));
    assert_own(&cloud, &[("another", "theirs"), ("table", "one")]);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_own(&cloud, &[("another", "theirs"), ("feature", "on"), ("table", "two")]);
}

#[tokio::test]
async fn they_count_against_the_limit_of_one_call() {
    // The deployment, the release, three functions and a variable of others.
    let names: Vec<String> = (0..=MAX_OPERATIONS - 6).map(|number| format!("v{number:02}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let cloud = Cloud::new(&FUNCTIONS);
    let error = release(&cloud, "1", &all).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseTooLarge);
    assert!(!cloud.calls().contains(&"CreateDeployment"), "{:?}", cloud.calls());
    release(&cloud, "1", &all[1..]).await.unwrap();
    assert_eq!(cloud.state.lock().unwrap().operations, [MAX_OPERATIONS]);
}

#[tokio::test]
async fn a_plan_shows_the_variables_that_change() {
    let cloud = two_releases().await;
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    let mut desired = with("3", &[("more", "x"), ("table", "three")]);
    let stored = std::future::ready(Ok(desired.artifacts.clone()));
    let resolve = async |head, _: &_| Ok(head);
    let actor = actor();
    let observe =
        observe::observe_and_plan(&cloud, &mut desired, &actor.checks, ledger.head(), resolve, stored);
    let text = observe.await.unwrap().2.to_string();
    for line in ["  remove  feature\n", "  set     more = x\n", "  set     table = three (was two)\n"] {
        assert!(text.contains(line), "{text}");
    }
    let pointer: Pointer = cloud.state.lock().unwrap().pointer.clone();
    assert_eq!(pointer.variables["table"], "two");
}
