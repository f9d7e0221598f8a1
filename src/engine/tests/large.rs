//! Stages that one call of API Gateway cannot move as a whole.

use super::*;
use crate::release::patch::MAX_OPERATIONS;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f{number:02}")).collect()
}

async fn release(cloud: &Cloud, version: &str, count: usize) -> Result<Record> {
    let mut desired = desired(version);
    let target = |key: &str| Target {
        name: key.parse().unwrap(),
        artifact: "users".into(),
        alias: None,
        latest: false,
        provisioned: None,
        warm: None,
    };
    desired.functions = names(count).iter().map(|key| (key.parse().unwrap(), target(key))).collect();
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), format!("release {version}")).await?;
    Box::pin(held.during(async |held| Ok(held.release(cloud, desired, origin()).await?.record))).await
}

fn cloud_of(count: usize) -> Cloud {
    Cloud::new(&names(count).iter().map(String::as_str).collect::<Vec<_>>())
}

/// Releases 1 and 2 of 70 functions on a stage that got 20 variables of others since.
async fn two_large_releases() -> Cloud {
    let cloud = cloud_of(70);
    release(&cloud, "1", 70).await.unwrap();
    release(&cloud, "2", 70).await.unwrap();
    let others = (0..20).map(|number| (format!("other{number}"), "theirs".to_owned()));
    cloud.state.lock().unwrap().pointer.variables.extend(others);
    cloud.arm(&[]);
    cloud
}

/// Asserts that the stage serves this release as a whole, and still has the variables of others.
fn assert_serves(cloud: &Cloud, release: &str, variables: usize) {
    let state = cloud.state.lock().unwrap();
    assert_eq!(state.pointer.variables["release"], release);
    assert_eq!(state.pointer.variables.len(), variables);
    for name in names(70) {
        let runs = state.functions[&name].version(&state.pointer.variables[&name]).unwrap();
        assert_eq!(runs, code(release).base64(), "{name}");
    }
}

#[tokio::test]
async fn a_switch_of_80_operations_is_made_and_one_of_81_is_refused_before_anything_is_published() {
    // The deployment, the release, a variable of others, and the functions.
    let cloud = cloud_of(78);
    release(&cloud, "1", 77).await.unwrap();
    assert_eq!(cloud.state.lock().unwrap().operations, [MAX_OPERATIONS]);
    cloud.arm(&[]);
    let error = release(&cloud, "2", 78).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ReleaseTooLarge));
    assert_eq!(
        error.causes(),
        ["the switch would have 81 patch operations (the deployment, 80 stage variables to set, 0 to \
          remove), and one call of API Gateway takes 80"]
    );
    let calls = cloud.calls();
    for write in ["UpdateFunctionCode", "PublishVersion", "CreateDeployment", "UpdateStage"] {
        assert!(!calls.contains(&write), "{calls:?}");
    }
    // Functions that are removed count as well.
    cloud.state.lock().unwrap().pointer.variables.insert("another".into(), "theirs".into());
    let error = release(&cloud, "2", 60).await.unwrap_err();
    assert!(error.causes()[0].contains("81 patch operations (the deployment, 63 stage variables to set, 17"));
}

#[tokio::test]
async fn more_functions_than_one_call_moves_are_refused_before_anything_is_read() {
    let cloud = cloud_of(79);
    cloud.arm(&[]);
    let error = release(&cloud, "1", 79).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseTooLarge);
    assert!(!cloud.calls().contains(&"GetFunctionConfiguration"), "{:?}", cloud.calls());
}

#[tokio::test]
async fn a_redeploy_of_a_large_stage_is_refused_before_a_deployment_is_created() {
    let cloud = two_large_releases().await;
    let error = run(&cloud, &actor(), Operation::Redeploy).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseTooLarge);
    assert!(!cloud.calls().contains(&"CreateDeployment"), "{:?}", cloud.calls());
    assert_serves(&cloud, "2", 92);
}

#[tokio::test]
async fn a_rollback_of_a_large_stage_sends_what_differs_from_the_stage_under_the_lease() {
    for to in [None, Some("1")] {
        let cloud = two_large_releases().await;
        run(&cloud, &actor(), Operation::Rollback(to)).await.unwrap();
        assert_serves(&cloud, "1", 92);
        assert_eq!(cloud.state.lock().unwrap().operations, [72]);
        let calls = cloud.calls();
        let lease = calls.iter().position(|call| *call == "PutObject").unwrap();
        let switch = calls.iter().position(|call| *call == "UpdateStage").unwrap();
        assert!(calls[lease..switch].contains(&"GetStage"), "{calls:?}");
        assert!(is_recorded(&cloud).await);
    }
}

#[tokio::test]
async fn a_rollback_of_a_large_stage_that_fails_is_undone() {
    let cloud = two_large_releases().await;
    cloud.state.lock().unwrap().status.insert("1".into(), 500);
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseSwitchedBack);
    assert_eq!(cloud.state.lock().unwrap().operations, [72, 72]);
    assert_serves(&cloud, "2", 92);
}

#[tokio::test]
async fn a_fault_at_any_call_leaves_one_whole_release_of_a_large_stage() {
    let start = two_large_releases().await;
    let undisturbed = start.copy();
    run(&undisturbed, &actor(), Operation::Rollback(None)).await.unwrap();
    let calls = undisturbed.calls();
    let later = calls.iter().position(|call| *call == "UpdateStage").unwrap() - 2;
    for (at, call) in calls.iter().enumerate().skip(later) {
        for fault in FAULTS {
            let cloud = start.copy();
            cloud.arm(&[(at, fault)]);
            let result = run_unless_killed(&cloud, Operation::Rollback(None)).await;
            let release = cloud.state.lock().unwrap().pointer.variables["release"].clone();
            assert_serves(&cloud, &release, 92);
            let moved = release == "1";
            assert!(!moved || is_recorded(&cloud).await, "{fault:?} at {call} ({at}): {result:?}");
        }
    }
}

#[tokio::test]
async fn a_large_stage_that_cannot_be_moved_back_needs_several_calls() {
    let undisturbed = two_large_releases().await;
    undisturbed.state.lock().unwrap().status.insert("1".into(), 500);
    run(&undisturbed, &actor(), Operation::Rollback(None)).await.unwrap_err();
    let calls = undisturbed.calls();
    let back = calls.iter().rposition(|call| *call == "UpdateStage").unwrap();
    let cloud = two_large_releases().await;
    cloud.state.lock().unwrap().status.insert("1".into(), 500);
    cloud.arm(&[(back, Fault::Rejected), (back + 1, Fault::Refused)]);
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseStuck);
    let hint = error.hint.unwrap();
    let sizes: Vec<usize> = hint
        .lines()
        .filter(|line| line.contains("aws apigateway update-stage"))
        .map(|line| line.matches("\"op\":").count())
        .collect();
    assert_eq!(sizes, [80, 13], "{hint}");
}
