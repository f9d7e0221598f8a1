//! Functions that are called by an alias or without a version: moved after the switch, and put back.

use super::*;
use crate::release::state::{AliasState, AliasTarget};

/// `users_post` is called by its alias `live`, and `user_get` without a version.
fn new_cloud() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    {
        let mut state = cloud.state.lock().unwrap();
        let alias =
            AliasState { target: AliasTarget::only("$LATEST".parse().unwrap()), revision: "0".into() };
        state.aliases.insert("users_post:live".into(), alias);
        state.called_latest.insert("user_get".into());
    }
    cloud
}

async fn released(versions: &[&'static str]) -> Cloud {
    let cloud = new_cloud();
    for version in versions {
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    cloud.arm(&[]);
    cloud
}

fn alias(cloud: &Cloud) -> String {
    cloud.state.lock().unwrap().aliases["users_post:live"].target.version.to_string()
}

fn latest(cloud: &Cloud) -> String {
    cloud.state.lock().unwrap().functions["user_get"].latest.clone()
}

/// Asserts that all callers get the release that the stage serves.
fn assert_whole(cloud: &Cloud, place: &str) {
    let release = served(cloud);
    let version = cloud.state.lock().unwrap().pointer.variables["users_post"].clone();
    assert_eq!(alias(cloud), version, "{place}: the alias, and the stage serves {release}");
    assert_eq!(latest(cloud), code(&release).base64(), "{place}: $LATEST, and the stage serves {release}");
}

/// Runs a command that a fault may kill, without a probe, which takes most of its time.
async fn unprobed(cloud: &Cloud, operation: Operation) -> Option<Result<Record>> {
    let actor = StageContext { probe: None, ..actor() };
    tokio::select! {
        result = run(cloud, &actor, operation) => Some(result),
        () = cloud.killed.notified() => None,
    }
}

fn position(calls: &[&str], name: &str) -> usize {
    calls.iter().position(|call| *call == name).unwrap()
}

#[tokio::test]
async fn aliases_are_moved_right_after_the_switch_and_back_by_a_rollback() {
    let cloud = released(&["1", "2"]).await;
    let record = run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert_whole(&cloud, "released");
    let calls = cloud.calls();
    let (switch, moved) = (position(&calls, "UpdateStage"), position(&calls, "UpdateAlias"));
    assert!(switch < moved && !calls[switch..moved].contains(&"GET"), "{calls:?}");
    assert_eq!(record.before.aliases[&"users_post".parse().unwrap()].as_str(), "2");
    let function = &record.release.functions[&"users_post".parse().unwrap()];
    assert_eq!(function.alias.as_ref().unwrap().as_str(), "live");

    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "2");
    assert_whole(&cloud, "rolled back");
    let calls = cloud.calls();
    // The earlier zip is sent after the switch, and is not published again.
    assert!(position(&calls, "UpdateStage") < position(&calls, "UpdateFunctionCode"), "{calls:?}");
    assert_eq!(cloud.state.lock().unwrap().functions["user_get"].versions.len(), 3);
}

#[tokio::test]
async fn a_release_over_an_alias_of_latest_is_undone_to_latest() {
    let cloud = new_cloud();
    cloud.state.lock().unwrap().status.insert("1".into(), 500);
    let error = run(&cloud, &actor(), Operation::Release("1")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseSwitchedBack, "{error}");
    assert_eq!(alias(&cloud), "$LATEST");
}

#[tokio::test]
async fn the_code_that_is_called_without_a_version_is_sent_last_and_put_back_if_a_check_fails() {
    let cloud = released(&["1", "2"]).await;
    let actor = checked(json!({ "fail": true }), 200);
    let error = run(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::CheckFailed);
    assert_whole(&cloud, "the check failed");
    let state = cloud.state.lock().unwrap();
    let sent = state.functions["user_get"].versions.last().unwrap().0.clone();
    assert_eq!(sent, code("3").base64(), "it was published before it was put back");
    assert_eq!(state.switches, 0);
    drop(state);
    let calls = cloud.calls();
    let updates: Vec<usize> = (0..calls.len()).filter(|at| calls[*at] == "UpdateFunctionCode").collect();
    assert_eq!(updates.len(), 4, "three are sent, and one is put back: {calls:?}");
    assert!(position(&calls, "CreateDeployment") < updates[2], "{calls:?}");
}

#[tokio::test]
async fn every_fault_leaves_all_callers_on_one_release_or_the_next_command_does() {
    let start = released(&["1", "2"]).await;
    start.state.lock().unwrap().definition = definition(5000);
    let mut points = 0;
    let operations = [
        Operation::Release("3"),
        Operation::Redeploy,
        Operation::Rollback(None),
        Operation::Rollback(Some("2")),
    ];
    for operation in operations {
        let undisturbed = start.copy();
        undisturbed.arm(&[]);
        unprobed(&undisturbed, operation).await.unwrap().unwrap();
        assert_whole(&undisturbed, "undisturbed");
        let calls = undisturbed.calls();
        for (at, fault) in (0..calls.len()).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
            points += 1;
            let cloud = start.copy();
            cloud.arm(&[(at, fault)]);
            let result = unprobed(&cloud, operation).await;
            let place = format!("{operation:?}, call {at} ({}), {fault:?}", calls[at]);
            cloud.arm(&[]);
            match &result {
                Some(Ok(_)) => assert_whole(&cloud, &place),
                Some(Err(error)) => {
                    assert_eq!(served(&cloud), "2", "{place}: {error}");
                    assert_whole(&cloud, &format!("{place}: {error}"));
                }
                None => {}
            }
            lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
            for next in [Operation::Release("4"), Operation::Redeploy, Operation::Rollback(None)] {
                let cloud = cloud.copy();
                let done = unprobed(&cloud, next).await.unwrap();
                done.unwrap_or_else(|error| panic!("{place}: {next:?} failed: {error:?}"));
                assert_whole(&cloud, &format!("{place}, then {next:?}"));
            }
        }
    }
    assert!(points > 200, "only {points} points were tried");
}

#[tokio::test]
async fn every_fault_of_an_undo_leaves_all_callers_on_the_old_release() {
    let start = released(&["1", "2"]).await;
    start.state.lock().unwrap().status.insert("3".into(), 500);
    let undisturbed = start.copy();
    run(&undisturbed, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_whole(&undisturbed, "undone");
    let calls = undisturbed.calls();
    let undo = calls.iter().rposition(|call| *call == "UpdateStage").unwrap();
    for (at, fault) in (undo..calls.len()).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        let cloud = start.copy();
        cloud.arm(&[(at, fault)]);
        let result = run_unless_killed(&cloud, Operation::Release("3")).await;
        let place = format!("call {at} ({}), {fault:?}", calls[at]);
        cloud.arm(&[]);
        if let Some(result) = result {
            assert_eq!(result.unwrap_err().kind.exit_code(), 30, "{place}");
            assert_whole(&cloud, &place);
        }
        lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
        run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
        assert_whole(&cloud, &format!("{place}, then a release"));
    }
}

#[tokio::test]
async fn an_alias_that_cannot_be_moved_undoes_the_switch() {
    let undisturbed = released(&["1", "2"]).await;
    run(&undisturbed, &actor(), Operation::Release("3")).await.unwrap();
    let at = position(&undisturbed.calls(), "UpdateAlias");
    let cloud = released(&["1", "2"]).await;
    cloud.arm(&[(at, Fault::Rejected)]);
    let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseNotSwitched), "{error}");
    assert!(error.to_string().contains("move an alias"), "{error}");
    assert_whole(&cloud, "undone");
    assert_eq!(cloud.state.lock().unwrap().switches, 2);
}

#[tokio::test]
async fn an_alias_is_part_of_what_makes_a_release_unchanged_and_is_repaired() {
    let cloud = released(&["1", "2"]).await;
    let again = run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    assert_eq!(again.number, 2, "nothing was created");
    let by_hand = |target: &str| {
        let mut state = cloud.state.lock().unwrap();
        state.aliases.get_mut("users_post:live").unwrap().target = AliasTarget::only(target.parse().unwrap());
    };
    by_hand("1");
    assert_eq!(run(&cloud, &actor(), Operation::Release("2")).await.unwrap().number, 3);
    assert_whole(&cloud, "released again");
    by_hand("1");
    run(&cloud, &actor(), Operation::Rollback(Some("2"))).await.unwrap();
    assert_whole(&cloud, "rolled back to what is live");
}

#[tokio::test]
async fn a_missing_alias_and_one_with_weights_are_refused_before_anything_is_changed() {
    let cloud = released(&["1", "2"]).await;
    let refused = async |desired| {
        let actor = actor();
        let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await.unwrap();
        let error =
            held.during(async |held| held.release(&cloud, desired, origin()).await).await.unwrap_err();
        assert_eq!(cloud.state.lock().unwrap().switches, 0);
        assert!(!cloud.calls().contains(&"UpdateFunctionCode"), "{error}");
        error
    };
    let mut desired = contract(&cloud, "3");
    desired.functions.get_mut(&"users_post".parse().unwrap()).unwrap().alias = Some("other".parse().unwrap());
    assert_eq!(refused(desired).await.id, ErrorId::AliasMissing);
    cloud.state.lock().unwrap().aliases.get_mut("users_post:live").unwrap().target.second =
        Some(("1".parse().unwrap(), 10));
    let error = refused(contract(&cloud, "3")).await;
    assert_eq!(error.id, ErrorId::ReleaseRefused);
    assert!(error.causes()[0].contains("alias live of users_post sends a part"), "{error:?}");
    // A rollback would not know what to make of the weights, either.
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseRefused);
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn a_rollback_to_a_release_from_before_the_declaration_moves_the_alias_too() {
    let cloud = Cloud::new(&FUNCTIONS);
    run(&cloud, &actor(), Operation::Release("1")).await.unwrap();
    cloud.state.lock().unwrap().aliases = new_cloud().state.lock().unwrap().aliases.clone();
    cloud.state.lock().unwrap().called_latest.insert("user_get".into());
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    assert_whole(&cloud, "declared");
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "1");
    assert_whole(&cloud, "rolled back");
}
