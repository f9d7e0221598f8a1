//! A command stalls, another one takes the stage over and releases, and the first one continues: at every
//! call, before and after its effect, with a clock that runs during the stall and with one that stops.
//!
//! Afterwards the stage serves one whole release, the ledger has everything that was live, the first command
//! fails with `lease.lost`, and later commands succeed.

use crate::error::ErrorId;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::*;

/// A command that stalls, and the status of its release.
#[derive(Debug, Clone, Copy)]
struct Stalled {
    operation: Operation,
    /// The HTTP status of release 3.
    status: u16,
}

const STALLED: [Stalled; 6] = [
    Stalled { operation: Operation::Release("3"), status: 200 },
    Stalled { operation: Operation::Release("3"), status: 500 },
    Stalled { operation: Operation::Promote("3"), status: 500 },
    Stalled { operation: Operation::Redeploy, status: 200 },
    Stalled { operation: Operation::Rollback(None), status: 200 },
    Stalled { operation: Operation::Rollback(Some("1")), status: 200 },
];

/// Longer than a lease's term.
const STALL: u64 = 100;

/// A clock that the test advances.
fn clock(cloud: &Cloud) -> Clock {
    let state = Arc::clone(&cloud.state);
    Clock::new(move || Duration::from_secs(state.lock().unwrap().now))
}

/// Runs `operation`, and releases 4 while it stalls.
async fn stall(
    cloud: &Cloud,
    actor: &StageContext,
    operation: Operation,
) -> (Result<Record>, Result<Record>) {
    let other = async {
        cloud.stalled.notified().await;
        cloud.state.lock().unwrap().now += STALL;
        let other = run(cloud, &super::actor(), Operation::Release("4")).await;
        cloud.resume.notify_one();
        other
    };
    futures::join!(run(cloud, actor, operation), other)
}

/// Asserts that the ledger has every release that was ever live, and each operation once.
async fn assert_ledger_is_complete(cloud: &Cloud, place: &str) {
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    let mut recorded = Vec::new();
    let mut operations = BTreeSet::new();
    for number in ledger.numbers().await.unwrap() {
        let record = ledger.record(number).await.unwrap();
        let operation = (record.at, record.release.version.to_string());
        assert!(operations.insert(operation), "{place}: record {number} repeats an earlier one");
        recorded.push(record.before.pointer);
        recorded.push(record.pointer);
    }
    for pointer in &cloud.state.lock().unwrap().moves {
        assert!(recorded.contains(pointer), "{place}: the ledger does not have {pointer:?}");
    }
}

/// The result of the command that stalled.
struct Point {
    lost: bool,
    /// Whether its call moved the stage after the other command had ended.
    late: bool,
}

async fn point(
    start: &Cloud,
    stalled: Stalled,
    (at, fault, clock_runs): (usize, Fault, bool),
    call: &str,
) -> Point {
    let place = format!("{stalled:?}, call {at} ({call}), {fault:?}, {clock_runs}");
    let cloud = start.copy();
    cloud.state.lock().unwrap().status.insert("3".into(), stalled.status);
    cloud.arm(&[(at, fault)]);
    // The clock of the stalled command runs like the store's, or it stops.
    let clock = if clock_runs { clock(&cloud) } else { Clock::new(|| Duration::ZERO) };
    let actor = StageContext { clock, ..actor() };
    let (first, other) = stall(&cloud, &actor, stalled.operation).await;
    let other = other.unwrap_or_else(|error| panic!("{place}: the other command: {error:?}"));
    assert_eq!(other.release.version.as_str(), "4", "{place}");
    cloud.arm(&[]);
    let live = served(&cloud);
    assert_ledger_is_complete(&cloud, &place).await;
    let lost = match &first {
        // It stalled before it took the lease, or after it released it.
        Ok(record) => {
            assert!(live == "4" || live == record.release.version.as_str(), "{place}");
            false
        }
        Err(error) if error.kind == Kind::Held => {
            assert!(error.hint.is_some(), "{place}: {error:?}");
            // With a running clock it makes no further call. A call that was sent already cannot be
            // cancelled.
            assert!(live == "4" || !clock_runs || fault == Fault::Stalled, "{place}: {live}, {error:?}");
            true
        }
        // It stalled before it took the lease: release 3 fails its checks as it does undisturbed.
        Err(error) => {
            assert_eq!(error.kind, Kind::OldReleaseServes, "{place}: {error:?}");
            false
        }
    };
    let next = run(&cloud, &super::actor(), Operation::Release("5")).await;
    next.unwrap_or_else(|error| panic!("{place}: the next release: {error:?}"));
    assert_eq!(served(&cloud), "5", "{place}");
    let rollback = run(&cloud, &super::actor(), Operation::Rollback(None)).await;
    if live == "3" && stalled.status == 500 {
        // The rollback goes to release 3, because it served; it fails its checks again.
        assert_eq!(rollback.unwrap_err().id, ErrorId::ReleaseSwitchedBack, "{place}");
        assert_eq!(served(&cloud), "5", "{place}");
    } else {
        rollback.unwrap_or_else(|error| panic!("{place}: the rollback: {error:?}"));
        assert_eq!(served(&cloud), live, "{place}: a rollback goes to what served before");
    }
    assert_ledger_is_complete(&cloud, &place).await;
    Point { lost, late: live != "4" }
}

#[tokio::test]
async fn a_command_that_stalls_never_mixes_releases_and_erases_nothing() {
    let start = two_releases_and_an_edit().await;
    let mut points = Vec::new();
    for stalled in STALLED {
        let undisturbed = start.copy();
        undisturbed.state.lock().unwrap().status.insert("3".into(), stalled.status);
        undisturbed.arm(&[]);
        let ended = run(&undisturbed, &actor(), stalled.operation).await;
        assert_eq!(ended.is_ok(), stalled.status == 200, "{stalled:?}: {ended:?}");
        for (at, call) in undisturbed.calls().into_iter().enumerate() {
            for fault in [Fault::Stalled, Fault::StalledAfter] {
                points.extend([true, false].map(|clock_runs| (stalled, (at, fault, clock_runs), call)));
            }
        }
    }
    let count = points.len();
    // Concurrent, because most of the time is spent waiting for probes.
    let points = stream::iter(points).map(|(stalled, place, call)| point(&start, stalled, place, call));
    let ended: Vec<Point> = points.buffer_unordered(32).collect().await;
    let lost = ended.iter().filter(|point| point.lost).count();
    let late = ended.iter().filter(|point| point.late).count();
    println!("stalled at {count} points: {lost} lost the stage, {late} calls came late; mixed 0, erased 0");
    assert!(count > 300 && lost > count / 2 && late > 0, "{count} points, {lost} lost, {late} late");
}

#[tokio::test]
async fn an_undo_changes_only_what_this_command_has_set() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    let probe = {
        let undisturbed = cloud.copy();
        run(&undisturbed, &actor(), Operation::Release("3")).await.unwrap_err();
        let calls = undisturbed.calls();
        let switch = calls.iter().position(|call| *call == "UpdateStage").unwrap();
        switch + calls[switch..].iter().position(|call| *call == "GET").unwrap()
    };
    // The stage is moved in the console to the first release while release 3 is being verified.
    cloud.arm(&[(probe, Fault::Stalled)]);
    let actor = actor();
    let by_hand = async {
        cloud.stalled.notified().await;
        let mut state = cloud.state.lock().unwrap();
        state.pointer = state.moves[0].clone();
        drop(state);
        cloud.resume.notify_one();
    };
    // Release 3 never answers, so this waits until the probe's timeout.
    let (result, ()) = futures::join!(run(&cloud, &actor, Operation::Release("3")), by_hand);
    let error = result.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (40, ErrorId::ReleaseMovedElsewhere), "{error:?}");
    assert!(error.hint.unwrap().contains("the stage serves release 1"));
    assert_eq!(served(&cloud), "1");
    assert_ledger_is_complete(&cloud, "moved by hand").await;
    cloud.arm(&[]);
    run(&cloud, &super::actor(), Operation::Release("4")).await.unwrap();
}

/// Without the bucket, an undo is made only within the term of the lease.
#[tokio::test]
async fn without_the_bucket_an_undo_depends_on_the_age_of_the_lease() {
    for (stall, code, id, serves) in
        [(0, 30, ErrorId::ReleaseSwitchedBack, "2"), (STALL, 40, ErrorId::ReleaseStuck, "3")]
    {
        let cloud = two_releases_and_a_bad_one().await;
        let (_, undo) = switch_and_undo().await;
        // The write of the lease before the undo fails, and so does the read after it.
        assert_eq!(calls_of_a_bad_one().await[undo - 2..=undo], ["PutObject", "GetStage", "UpdateStage"]);
        cloud.arm(&[(undo - 3, Fault::StalledAfter)]);
        let actor = StageContext { clock: clock(&cloud), ..actor() };
        let meanwhile = async {
            cloud.stalled.notified().await;
            cloud.state.lock().unwrap().now += stall;
            // The indices count from here.
            cloud.arm(&[(0, Fault::Refused), (1, Fault::Refused)]);
            cloud.resume.notify_one();
        };
        let (result, ()) = futures::join!(run(&cloud, &actor, Operation::Release("3")), meanwhile);
        let error = result.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (code, id), "{error:?}");
        assert_eq!(served(&cloud), serves);
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_in_the_switch_and_in_the_undo() {
    let (switch, undo) = switch_and_undo().await;
    for at in [switch, undo] {
        let cloud = two_releases_and_a_bad_one().await;
        cloud.arm(&[(at, Fault::Conflict)]);
        let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseSwitchedBack), "{error:?}");
        assert_eq!(served(&cloud), "2");
        assert_eq!(cloud.calls().iter().filter(|call| **call == "UpdateStage").count(), 3);
    }
}

#[tokio::test]
async fn after_a_stuck_release_a_rollback_restores_the_release_before_it() {
    for repaired in [false, true] {
        let (_, back) = switch_and_undo().await;
        let cloud = two_releases_and_a_bad_one().await;
        let before = cloud.state.lock().unwrap().pointer.clone();
        cloud.arm(&[(back, Fault::Rejected), (back + 1, Fault::Refused)]);
        let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
        assert_eq!((error.id, served(&cloud)), (ErrorId::ReleaseStuck, "3".to_owned()));
        cloud.arm(&[]);
        if repaired {
            // As after the command in the hint.
            cloud.state.lock().unwrap().pointer = before;
            run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
            assert_eq!(served(&cloud), "1", "2 serves again, and 1 served before it");
        } else {
            run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
            assert_eq!(served(&cloud), "2", "3 still serves, and 2 served before it");
        }
        // A release after the stuck one, and a rollback.
        let cloud = cloud.copy();
        run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
        run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
        assert_eq!(served(&cloud), if repaired { "1" } else { "2" });
    }
}

#[tokio::test]
async fn only_existing_caches_are_flushed_and_a_failure_keeps_the_release() {
    use crate::release::definition::Definition;
    let with_authorizer = |ttl: u64| {
        let route = json!({ "integration": { "timeout": 29000 } });
        let authorizer = json!({ "type": "TOKEN", "result TTL": ttl });
        Definition::new([("GET /users".to_owned(), route), ("authorizer who".to_owned(), authorizer)].into())
    };
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().flushed.clear();
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert_eq!(cloud.state.lock().unwrap().flushed, [], "neither had an authorizer");
    // First only the new release has an authorizer, and then only the old one.
    cloud.state.lock().unwrap().definition = with_authorizer(60);
    run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let seconds: Vec<u64> =
        cloud.state.lock().unwrap().flushed.iter().map(|caches| caches.authorizer_seconds).collect();
    assert_eq!(seconds, [60, 60]);

    // A flush that fails.
    let undisturbed = cloud.copy();
    undisturbed.arm(&[]);
    run(&undisturbed, &actor(), Operation::Release("5")).await.unwrap();
    let flush = undisturbed.calls().iter().position(|call| *call == "FlushStageAuthorizersCache").unwrap();
    cloud.arm(&[(flush, Fault::Rejected)]);
    let (events, warned) = warnings();
    run(&cloud, &StageContext { events, ..actor() }, Operation::Release("5")).await.unwrap();
    assert_eq!(served(&cloud), "5");
    let warning = warned.lock().unwrap().clone();
    assert!(warning.contains("results of authorizers expire within 60 s"), "{warning}");
}

#[tokio::test]
async fn a_command_waits_for_a_held_lease() {
    let cloud = two_releases().await;
    held_elsewhere(&cloud, 0).await;
    let waits = StageContext { wait: Some(Duration::from_secs(60)), ..actor() };
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap());
    };
    let (released, ()) = futures::join!(run(&cloud, &waits, Operation::Release("3")), free);
    released.unwrap();
    assert_eq!(served(&cloud), "3");
    // Not longer than `wait`, and not after Ctrl-C.
    held_elsewhere(&cloud, 0).await;
    let waits = StageContext { wait: Some(Duration::from_millis(10)), ..actor() };
    assert_eq!(run(&cloud, &waits, Operation::Release("4")).await.unwrap_err().id, ErrorId::LeaseHeld);
    let waits = StageContext { wait: Some(Duration::from_secs(60)), ..actor() };
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        waits.cancel.cancel();
    };
    let (result, ()) = futures::join!(run(&cloud, &waits, Operation::Rollback(None)), interrupt);
    assert_eq!(result.unwrap_err().id, ErrorId::Interrupted);
}
