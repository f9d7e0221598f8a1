//! How many round trips the commands take one after the other, and how many calls at once.

use super::*;
use crate::engine::operations::look;
use crate::release::plan::Target;

#[tokio::test]
async fn a_release_takes_eight_round_trips_to_the_switch() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    let actor = actor();
    let stage = actor.stage.clone();
    let seen = Lease::peek(&cloud, &stage).await.unwrap();
    let held = HeldStage::take_seen(&actor, cloud.clone(), "release".into(), Some(seen)).await.unwrap();
    let release = held.during(async |held| held.release(&cloud, desired("3"), origin()).await);
    Box::pin(release).await.unwrap();
    let functions = |call| vec![call; FUNCTIONS.len()];
    let mut read = functions("GetFunctionConfiguration");
    read.extend(["GetResources", "GetStage"]);
    let trips = cloud.round_trips();
    assert_eq!(trips[0], ["GetObject"], "the lease, beside identity and contract");
    assert_eq!(trips[1], ["PutObject"], "the lease is taken only as it was read");
    assert_eq!(trips[2], read, "what is released is read under the lease");
    assert!(trips[3].contains(&"UpdateFunctionCode"), "{trips:?}");
    let switch = trips.iter().position(|trip| trip.contains(&"UpdateStage")).unwrap();
    assert_eq!(trips[switch - 1], ["GetStage", "PutObject"], "the intent, and the stage once more");
    assert_eq!(trips[switch], ["UpdateStage"]);
    assert_eq!(switch, 7, "{trips:?}");
    // Three answers in a row, the record, and the lease, which then says where the ledger ends.
    assert_eq!(trips[switch + 1..], [["GET"], ["GET"], ["GET"], ["PutObject"], ["PutObject"]]);
    assert_eq!(trips.len(), 13, "{trips:?}");
}

#[tokio::test]
async fn a_rollback_of_a_known_stage_takes_three_round_trips_to_the_switch() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    let actor = actor();
    let seen = look(&cloud, &actor.stage, &cloud).await.unwrap();
    let options = RollbackOptions { to: None, no_wait: false };
    let rollback = HeldStage::rollback(&actor, cloud.clone(), &cloud, options, Some(seen));
    Box::pin(rollback).await.unwrap();
    let trips = cloud.round_trips();
    assert_eq!(trips[0], ["GetObject", "GetStage"]);
    assert_eq!(trips[2], ["UpdateStage"], "{trips:?}");
    assert_eq!(served(&cloud), "1");
}

#[tokio::test]
async fn the_stage_as_it_was_moved_meanwhile_is_what_an_undo_restores() {
    // A rollback to a version reads the stage twice: the second time beside the write of the intent.
    let undisturbed = two_releases().await;
    undisturbed.arm(&[]);
    run(&undisturbed, &actor(), Operation::Rollback(Some("1"))).await.unwrap();
    let calls = undisturbed.calls();
    let again = calls.iter().rposition(|call| *call == "GetStage").unwrap();
    let cloud = two_releases().await;
    cloud.arm(&[(again, Fault::Moved)]);
    let record = run(&cloud, &actor(), Operation::Rollback(Some("1"))).await.unwrap();
    assert_eq!(record.before.pointer.variables["owner"], "somebody else");
    assert_eq!(cloud.state.lock().unwrap().pointer.variables["owner"], "somebody else");
}

/// A release of `count` functions that are all pending after they were published.
async fn large(count: usize) -> (Cloud, Desired) {
    let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cloud = Cloud::new(&names);
    cloud.state.lock().unwrap().pending = 1;
    let target = |name: &&str| Target {
        name: name.parse().unwrap(),
        artifact: "users".into(),
        alias: None,
        latest: false,
        provisioned: None,
        warm: None,
    };
    let functions = names.iter().map(|name| (name.parse().unwrap(), target(name)));
    let desired = Desired { functions: functions.collect(), ..desired("1") };
    cloud.state.lock().unwrap().definition = definition(29000);
    (cloud, desired)
}

#[tokio::test]
async fn a_version_that_is_waited_for_holds_no_slot() {
    let (cloud, desired) = large(75).await;
    cloud.arm(&[]);
    let mut actor = actor();
    actor.probe = None;
    // So long that no version is looked at before the last one is published.
    actor.polling.initial_delay = Duration::from_secs(1);
    actor.polling.timeout = Duration::from_secs(60);
    let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await.unwrap();
    Box::pin(held.during(async |held| held.release(&cloud, desired, origin()).await)).await.unwrap();
    let calls = cloud.calls();
    let updates = calls.iter().filter(|call| **call == "UpdateFunctionCode").count();
    let last = calls.iter().rposition(|call| *call == "UpdateFunctionCode").unwrap();
    let first = calls.iter().position(|call| *call == "UpdateFunctionCode").unwrap();
    assert_eq!(updates, 75);
    let between: BTreeSet<&str> = calls[first..last].iter().copied().collect();
    assert!(!between.contains("GetFunctionConfiguration"), "a version was looked at between the updates");
    // One read before, and two looks after: the first one finds each version pending.
    let reads = calls.iter().filter(|call| **call == "GetFunctionConfiguration").count();
    assert_eq!(reads, 3 * 75);
}
