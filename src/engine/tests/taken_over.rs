//! A command stalls, another one takes the stage over and releases, and the first one goes on: at every call, before and
//! after its effect, and with a clock that tells the first one of its stall and with one that does not.
//!
//! Afterwards the stage serves one release whole, the ledger tells of everything that was live, the first command says
//! that it lost the stage, and the commands that follow find everything in order.

use crate::error::ErrorId;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::*;

/// A command that is to stall, and how its release fares.
#[derive(Debug, Clone, Copy)]
struct Stalled {
    deed: Operation,
    /// What release 3 answers with.
    status: u16,
}

const STALLED: [Stalled; 6] = [
    Stalled { deed: Operation::Release("3"), status: 200 },
    Stalled { deed: Operation::Release("3"), status: 500 },
    Stalled { deed: Operation::Promote("3"), status: 500 },
    Stalled { deed: Operation::Redeploy, status: 200 },
    Stalled { deed: Operation::Rollback(None), status: 200 },
    Stalled { deed: Operation::Rollback(Some("1")), status: 200 },
];

/// Longer than a lease's term.
const STALL: u64 = 100;

/// A clock that the test moves.
fn clock(cloud: &Cloud) -> Clock {
    let state = Arc::clone(&cloud.state);
    Clock::new(move || Duration::from_secs(state.lock().unwrap().now))
}

/// Runs `deed`, lets it stall where the cloud is armed, and `meanwhile` release 4.
async fn stall(cloud: &Cloud, actor: &StageContext, deed: Operation) -> (Result<Record>, Result<Record>) {
    let other = async {
        cloud.stalled.notified().await;
        cloud.state.lock().unwrap().now += STALL;
        let other = run(cloud, &super::actor(), Operation::Release("4")).await;
        cloud.resume.notify_one();
        other
    };
    futures::join!(run(cloud, actor, deed), other)
}

/// Every release that was ever live on the stage is in the ledger, and every operation once.
async fn ledger_tells_all(cloud: &Cloud, place: &str) {
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    let mut told = Vec::new();
    let mut operations = BTreeSet::new();
    for number in ledger.numbers().await.unwrap() {
        let record = ledger.record(number).await.unwrap();
        let operation = (record.at, record.release.version.to_string());
        assert!(operations.insert(operation), "{place}: record {number} tells what another told before");
        told.push(record.before.pointer);
        told.push(record.pointer);
    }
    for pointer in &cloud.state.lock().unwrap().moves {
        assert!(told.contains(pointer), "{place}: the ledger does not tell of {pointer:?}");
    }
}

/// What became of the command that stalled.
struct Point {
    lost: bool,
    /// Whether its call moved the stage after the other command had come to its end.
    late: bool,
}

async fn point(
    start: &Cloud,
    stalled: Stalled,
    (at, fault, knows): (usize, Fault, bool),
    call: &str,
) -> Point {
    let place = format!("{stalled:?}, call {at} ({call}), {fault:?}, {knows}");
    let cloud = start.copy();
    cloud.state.lock().unwrap().status.insert("3".into(), stalled.status);
    cloud.arm(&[(at, fault)]);
    // The clock of the one that stalls goes on like the store's, or it stands still.
    let clock = if knows { clock(&cloud) } else { Clock::new(|| Duration::ZERO) };
    let actor = StageContext { clock, ..actor() };
    let (first, other) = stall(&cloud, &actor, stalled.deed).await;
    let other = other.unwrap_or_else(|error| panic!("{place}: the other command: {error:?}"));
    assert_eq!(other.release.version.as_str(), "4", "{place}");
    cloud.arm(&[]);
    let live = served(&cloud);
    ledger_tells_all(&cloud, &place).await;
    let lost = match &first {
        // It stalled before it had the stage, or when it had given it back.
        Ok(record) => {
            assert!(live == "4" || live == record.release.version.as_str(), "{place}");
            false
        }
        Err(error) if error.kind == Kind::Held => {
            assert!(error.hint.is_some(), "{place}: {error:?}");
            // Who knows how late it is makes no call any more. One that was under way cannot be called back.
            assert!(live == "4" || !knows || fault == Fault::Stalled, "{place}: {live}, {error:?}");
            true
        }
        // Also before it had the stage: release 3 fails as it does undisturbed.
        Err(error) => {
            assert_eq!(error.kind, Kind::OldReleaseServes, "{place}: {error:?}");
            false
        }
    };
    let next = run(&cloud, &super::actor(), Operation::Release("5")).await;
    next.unwrap_or_else(|error| panic!("{place}: the next release: {error:?}"));
    assert_eq!(served(&cloud), "5", "{place}");
    let back = run(&cloud, &super::actor(), Operation::Rollback(None)).await;
    if live == "3" && stalled.status == 500 {
        // It is gone back to, as it served; it still fails.
        assert_eq!(back.unwrap_err().id, ErrorId::ReleaseSwitchedBack, "{place}");
        assert_eq!(served(&cloud), "5", "{place}");
    } else {
        back.unwrap_or_else(|error| panic!("{place}: the rollback: {error:?}"));
        assert_eq!(served(&cloud), live, "{place}: a rollback goes to what served before");
    }
    ledger_tells_all(&cloud, &place).await;
    Point { lost, late: live != "4" }
}

#[tokio::test]
async fn a_command_that_stalls_never_mixes_releases_and_erases_nothing() {
    let start = two_releases_and_an_edit().await;
    let mut points = Vec::new();
    for stalled in STALLED {
        let calm = start.copy();
        calm.state.lock().unwrap().status.insert("3".into(), stalled.status);
        calm.arm(&[]);
        let ended = run(&calm, &actor(), stalled.deed).await;
        assert_eq!(ended.is_ok(), stalled.status == 200, "{stalled:?}: {ended:?}");
        for (at, call) in calm.calls().into_iter().enumerate() {
            for fault in [Fault::Stalled, Fault::StalledAfter] {
                points.extend([true, false].map(|knows| (stalled, (at, fault, knows), call)));
            }
        }
    }
    let count = points.len();
    // Most of their time they wait for probes.
    let points = stream::iter(points).map(|(stalled, place, call)| point(&start, stalled, place, call));
    let ended: Vec<Point> = points.buffer_unordered(32).collect().await;
    let lost = ended.iter().filter(|point| point.lost).count();
    let late = ended.iter().filter(|point| point.late).count();
    println!("stalled at {count} points: {lost} lost the stage, {late} calls came late; mixed 0, erased 0");
    assert!(count > 300 && lost > count / 2 && late > 0, "{count} points, {lost} lost, {late} late");
}

#[tokio::test]
async fn an_undo_moves_back_only_what_this_command_put_there() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    let probe = {
        let calm = cloud.copy();
        run(&calm, &actor(), Operation::Release("3")).await.unwrap_err();
        calm.calls().iter().position(|call| *call == "GET").unwrap()
    };
    // In the console, somebody moves the stage to the first release while release 3 is being checked.
    cloud.arm(&[(probe, Fault::Stalled)]);
    let actor = actor();
    let by_hand = async {
        cloud.stalled.notified().await;
        let mut state = cloud.state.lock().unwrap();
        state.pointer = state.moves[0].clone();
        drop(state);
        cloud.resume.notify_one();
    };
    // It never sees release 3, so it waits for it as long as the probe says.
    let (result, ()) = futures::join!(run(&cloud, &actor, Operation::Release("3")), by_hand);
    let error = result.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (40, ErrorId::ReleaseMovedElsewhere), "{error:?}");
    assert!(error.hint.unwrap().contains("the stage serves release 1"));
    assert_eq!(served(&cloud), "1");
    ledger_tells_all(&cloud, "moved by hand").await;
    cloud.arm(&[]);
    run(&cloud, &super::actor(), Operation::Release("4")).await.unwrap();
}

/// The bucket cannot be asked before an undo: it is made while the lease cannot have been taken over, and not later.
#[tokio::test]
async fn without_the_bucket_an_undo_depends_on_the_age_of_the_lease() {
    for (stall, code, id, serves) in
        [(0, 30, ErrorId::ReleaseSwitchedBack, "2"), (STALL, 40, ErrorId::ReleaseStuck, "3")]
    {
        let cloud = two_releases_and_a_bad_one().await;
        let (_, undo) = switch_and_undo().await;
        // Before the write of the lease; that write fails then, and so does the look whether it took effect.
        assert_eq!(calls_of_a_bad_one().await[undo - 2..=undo], ["PutObject", "GetStage", "UpdateStage"]);
        cloud.arm(&[(undo - 3, Fault::StalledAfter)]);
        let actor = StageContext { clock: clock(&cloud), ..actor() };
        let meanwhile = async {
            cloud.stalled.notified().await;
            cloud.state.lock().unwrap().now += stall;
            // Counted anew from here.
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
async fn after_a_stuck_release_a_rollback_goes_to_what_served_before() {
    for repaired in [false, true] {
        let (_, back) = switch_and_undo().await;
        let cloud = two_releases_and_a_bad_one().await;
        let before = cloud.state.lock().unwrap().pointer.clone();
        cloud.arm(&[(back, Fault::Rejected), (back + 1, Fault::Refused)]);
        let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
        assert_eq!((error.id, served(&cloud)), (ErrorId::ReleaseStuck, "3".to_owned()));
        cloud.arm(&[]);
        if repaired {
            // A person makes the call that the error shows.
            cloud.state.lock().unwrap().pointer = before;
            run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
            assert_eq!(served(&cloud), "1", "2 serves again, and 1 served before it");
        } else {
            run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
            assert_eq!(served(&cloud), "2", "3 still serves, and 2 served before it");
        }
        // A release on top of what is stuck, and back.
        let cloud = cloud.copy();
        run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
        run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
        assert_eq!(served(&cloud), if repaired { "1" } else { "2" });
    }
}

#[tokio::test]
async fn caches_are_flushed_only_where_there_are_some_and_a_failure_keeps_the_release() {
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
    // The new one has an authorizer, and then only the old one has.
    cloud.state.lock().unwrap().definition = with_authorizer(60);
    run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let seconds: Vec<u64> =
        cloud.state.lock().unwrap().flushed.iter().map(|caches| caches.authorizer_seconds).collect();
    assert_eq!(seconds, [60, 60]);

    // A flush that fails.
    let calm = cloud.copy();
    calm.arm(&[]);
    run(&calm, &actor(), Operation::Release("5")).await.unwrap();
    let flush = calm.calls().iter().position(|call| *call == "FlushStageAuthorizersCache").unwrap();
    cloud.arm(&[(flush, Fault::Rejected)]);
    let (events, warned) = warnings();
    run(&cloud, &StageContext { events, ..actor() }, Operation::Release("5")).await.unwrap();
    assert_eq!(served(&cloud), "5");
    let warning = warned.lock().unwrap().clone();
    assert!(warning.contains("results of authorizers expire within 60 s"), "{warning}");
}

#[tokio::test]
async fn a_lease_that_somebody_holds_is_waited_for() {
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
    // Not for longer than was said, and not after Ctrl-C.
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
