//! Tests of the engine against an in-memory cloud, with every fault at every call of every command.
//!
//! After each fault the stage serves one whole release, the ledger or the intent in the lease has the pointer
//! of the stage, and the next command succeeds.

#![expect(clippy::print_stdout, reason = "the counts of the fault tests are shown with --nocapture")]

mod by_hand;
mod calls;
mod canary;
mod changed_outside;
pub(crate) mod cloud;
mod crashing;
mod damaged;
mod inactive;
mod large;
mod once;
mod preview;
mod provision;
mod prune;
mod reach;
mod references;
mod rollback;
mod round_trips;
mod running_code;
mod taken_over;
mod unchanged;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::artifact::{Architecture, Sha256};
use crate::engine::activate::Polling;
use crate::engine::appended::Appended;
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::lease::{self, Lease};
use crate::engine::ledger::Ledger;
use crate::engine::missing::RollbackOptions;
use crate::engine::operations::{Origin, Released};
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::{Event, Events};
use crate::platform::clock::Clock;
use crate::release::canary::Delivery;
use crate::release::check::Probe;
use crate::release::check::{Checks, HttpRequest, Invocation, Request};
use crate::release::once::Repeat;
use crate::release::plan::{Desired, Target};
use crate::release::record::{ArtifactRecord, Outcome, Record, Who};
use cloud::{Cloud, FAULTS, Fault, definition};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const FUNCTIONS: [&str; 3] = ["users_get", "users_post", "user_get"];

fn actor() -> StageContext {
    StageContext {
        stage: "dev".parse().unwrap(),
        who: Who { arn: "arn:aws:iam::000000000000:user/test".into(), run_url: None },
        probe: Some(Probe {
            path: "/users".into(),
            release_header: Some("X-Release".into()),
            timeout_seconds: 5,
        }),
        checks: Checks::default(),
        delivery: Delivery::default(),
        preparations: Vec::new(),
        appended: Appended::default(),
        events: Events::silent(),
        cancel: CancellationToken::new(),
        wait: None,
        clock: Clock::since_boot(),
        polling: Polling {
            initial_delay: Duration::from_millis(1),
            interval: Duration::from_millis(1),
            wake_timeout: Duration::from_millis(50),
            timeout: Duration::from_millis(200),
        },
    }
}

/// The code of a version: the bytes are the version's name.
fn code(version: &str) -> Sha256 {
    Sha256::of(version.as_bytes())
}

fn desired(version: &str) -> Desired {
    let record = ArtifactRecord {
        key: format!("users/users-lambda-{version}.zip"),
        s3_version: None,
        sha256: code(version),
        size: 1,
        architecture: Some(Architecture::X86_64),
        image: false,
    };
    let target = |key: &str| Target {
        name: key.parse().unwrap(),
        artifact: "users".into(),
        alias: None,
        latest: false,
        provisioned: None,
        warm: None,
    };
    Desired {
        version: version.parse().unwrap(),
        artifacts: [("users".to_owned(), record)].into(),
        functions: FUNCTIONS.iter().map(|key| (key.parse().unwrap(), target(key))).collect(),
        variables: BTreeMap::new(),
        contents: BTreeMap::new(),
        running_code: false,
        by_canary: false,
    }
}

/// The same, with the aliases that the cloud has, and the functions that are called without a version.
fn contract(cloud: &Cloud, version: &str) -> Desired {
    let mut desired = desired(version);
    let state = cloud.state.lock().unwrap();
    for target in desired.functions.values_mut() {
        let own = format!("{}:", target.name);
        target.alias =
            state.aliases.keys().find_map(|id| id.strip_prefix(&own)).map(|id| id.parse().unwrap());
        target.latest = state.called_latest.contains(target.name.as_str());
    }
    desired
}

/// A command that changes the stage.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Release(&'static str),
    /// Also if the release is live already.
    ForcedRelease(&'static str),
    Promote(&'static str),
    Redeploy,
    Rollback(Option<&'static str>),
}

/// Every command that changes a stage.
const OPERATIONS: [Operation; 6] = [
    Operation::Release("3"),
    // The code is unchanged, and one function has another configuration.
    Operation::Release("2"),
    Operation::Promote("3"),
    Operation::Redeploy,
    Operation::Rollback(None),
    Operation::Rollback(Some("1")),
];

fn origin() -> Origin<'static> {
    Origin {
        git: None,
        promoted_from: None,
        api: ("api", "dev"),
        force: false,
        not_atomic: false,
        repeat: Repeat::Once,
        infrastructure: None,
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Releases zips that are in the store.
    pub(super) async fn release(
        &self,
        port: &impl StagePort,
        desired: Desired,
        origin: Origin<'_>,
    ) -> Result<Released> {
        let stored = std::future::ready(Ok(desired.artifacts.clone()));
        self.release_stored(port, desired, origin, stored).await
    }
}

/// Runs a command. Boxed, because the futures of several commands in one test overflow the stack.
async fn run(cloud: &Cloud, actor: &StageContext, operation: Operation) -> Result<Record> {
    Box::pin(run_inline(cloud, actor, operation)).await
}

async fn run_inline(cloud: &Cloud, actor: &StageContext, operation: Operation) -> Result<Record> {
    if let Operation::Rollback(to) = operation {
        let to = to.map(|version| version.parse().unwrap());
        let options = RollbackOptions { to: to.as_ref(), no_wait: false };
        return Ok(HeldStage::rollback(actor, cloud.clone(), cloud, options, None).await?.record);
    }
    let held = HeldStage::take(actor, cloud.clone(), format!("{operation:?}")).await?;
    held.during(async |held| match operation {
        Operation::Release(version) => {
            Ok(held.release(cloud, contract(cloud, version), origin()).await?.record)
        }
        Operation::ForcedRelease(version) => {
            let origin = Origin { force: true, ..origin() };
            Ok(held.release(cloud, contract(cloud, version), origin).await?.record)
        }
        Operation::Promote(version) => {
            let promoted_from = Some("test".parse().unwrap());
            let origin = Origin { promoted_from, ..origin() };
            Ok(held.release(cloud, contract(cloud, version), origin).await?.record)
        }
        Operation::Redeploy | Operation::Rollback(_) => {
            let functions = contract(cloud, "1").functions;
            held.redeploy(cloud, &functions, false).await.map(|(moved, _)| moved.into_parts().0)
        }
    })
    .await
}

/// Runs a command that a fault may kill; `None` if it was killed.
async fn run_unless_killed(cloud: &Cloud, operation: Operation) -> Option<Result<Record>> {
    let actor = actor();
    tokio::select! {
        result = run(cloud, &actor, operation) => Some(result),
        () = cloud.killed.notified() => None,
    }
}

/// Releases 1 and 2, and then an edit of the API.
async fn two_releases() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    run(&cloud, &actor(), Operation::Release("1")).await.unwrap();
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    cloud.state.lock().unwrap().definition = definition(5000);
    cloud
}

/// The same, and then another configuration of a function.
async fn two_releases_and_an_edit() -> Cloud {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().functions.get_mut("user_get").unwrap().config = Sha256::of(b"other config");
    cloud
}

/// Events that collect the warnings.
fn warnings() -> (Events, Arc<Mutex<String>>) {
    let warnings = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&warnings);
    let events = Events::new(move |event| {
        if let Event::Warning(text) = event {
            collected.lock().unwrap().push_str(text);
        }
    });
    (events, warnings)
}

/// Two releases, and a release 3 that would fail its checks.
async fn two_releases_and_a_bad_one() -> Cloud {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    cloud
}

/// The calls of that release 3.
async fn calls_of_a_bad_one() -> Vec<&'static str> {
    let undisturbed = two_releases_and_a_bad_one().await;
    undisturbed.arm(&[]);
    run(&undisturbed, &actor(), Operation::Release("3")).await.unwrap_err();
    undisturbed.calls()
}

/// The indices of the switch and the undo in those calls.
async fn switch_and_undo() -> (usize, usize) {
    let calls = calls_of_a_bad_one().await;
    let mut updates = (0..calls.len()).filter(|at| calls[*at] == "UpdateStage");
    (updates.next().unwrap(), updates.next_back().unwrap())
}

/// The release that the stage serves. Asserts that each function runs that release's code, and that the
/// variable that deployctl did not set is unchanged.
fn served(cloud: &Cloud) -> String {
    let state = cloud.state.lock().unwrap();
    let release = state.pointer.variables.get("release").cloned().unwrap();
    for name in FUNCTIONS {
        let version = state.pointer.variables.get(name).unwrap();
        let runs = state.functions[name].version(version).unwrap();
        assert_eq!(runs, code(&release).base64(), "{name} runs other code than release {release}");
    }
    assert_eq!(state.pointer.variables.get("owner").unwrap(), "another team");
    release
}

/// Whether the ledger or the intent in the lease has the pointer of the stage.
async fn is_recorded(cloud: &Cloud) -> bool {
    let stage = "dev".parse().unwrap();
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    let current = ledger.head().await.unwrap().current;
    let pointer = cloud.state.lock().unwrap().pointer.clone();
    let lease = Lease::peek(cloud, &stage).await.unwrap();
    let intent = lease.document.and_then(|document| document.intent);
    current.is_some_and(|record| record.pointer == pointer)
        || intent.is_some_and(|intent| intent.pointer == pointer)
}

#[tokio::test]
async fn every_fault_at_every_call_leaves_one_whole_release() {
    let mut points = 0;
    let mut failed = 0;
    let mut killed = 0;
    let mut unreleased = 0;
    let start = two_releases_and_an_edit().await;
    for operation in OPERATIONS {
        let undisturbed = start.copy();
        undisturbed.arm(&[]);
        run(&undisturbed, &actor(), operation).await.unwrap();
        for at in 0..undisturbed.calls().len() {
            for fault in FAULTS {
                points += 1;
                let cloud = start.copy();
                let before = cloud.state.lock().unwrap().pointer.clone();
                cloud.arm(&[(at, fault)]);
                let result = run_unless_killed(&cloud, operation).await;
                let place = format!("{operation:?}, call {at} ({}), {fault:?}", undisturbed.calls()[at]);

                cloud.arm(&[]);
                let now = served(&cloud);
                assert!(is_recorded(&cloud).await, "{place}: {now} is live and not recorded");
                match &result {
                    Some(Ok(record)) => {
                        assert_eq!(cloud.state.lock().unwrap().pointer, record.pointer, "{place}");
                    }
                    Some(Err(error)) => {
                        failed += 1;
                        let live = cloud.state.lock().unwrap().pointer.clone();
                        assert_eq!(live, before, "{place}: {error}, but the stage was moved");
                        assert_ne!(error.kind, Kind::Stuck, "{place}");
                        assert!(error.hint.is_some(), "{place}: {error} has no hint");
                    }
                    None => killed += 1,
                }
                // The lease of a killed command. Its holder is this process, so neither its death is detected
                // nor its term over.
                if lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap() {
                    unreleased += 1;
                }
                let next = run(&cloud, &actor(), Operation::Release("4")).await;
                let next = next.unwrap_or_else(|error| panic!("{place}: the next release failed: {error:?}"));
                assert_eq!(served(&cloud), "4", "{place}");
                let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
                let head = ledger.head().await.unwrap();
                assert_eq!(head.current.unwrap(), next, "{place}");
                assert_eq!(head.last, next.number, "{place}: the ledger has gaps");
                let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
                let head_of_lease = document.head().unwrap();
                assert_eq!(
                    (head_of_lease.last, head_of_lease.current.as_ref()),
                    (next.number, Some(&next)),
                    "{place}"
                );
                let mut recorded = BTreeSet::new();
                for number in 1..=head.last {
                    let record = ledger.record(number).await.unwrap();
                    assert!(
                        recorded.insert((record.at, record.release.version.to_string())),
                        "{place}: record {number} repeats an earlier one"
                    );
                }
            }
        }
    }
    assert!(points > 200, "only {points} points were tried");
    let line = format!(
        "points tried {points}, failed and undone {failed}, killed {killed}, \
         leases not released {unreleased}, mixed 0, lost 0"
    );
    println!("{line}");
    assert!(failed > 0 && killed == points / FAULTS.len() * 2, "{line}");
}

#[tokio::test]
async fn a_function_that_is_edited_while_it_is_released_is_not_published() {
    // The configuration changes again after the plan and before PublishVersion.
    let undisturbed = two_releases_and_an_edit().await;
    undisturbed.arm(&[]);
    run(&undisturbed, &actor(), Operation::Release("2")).await.unwrap();
    let publish = undisturbed.calls().iter().position(|call| *call == "PublishVersion").unwrap();
    let cloud = two_releases_and_an_edit().await;
    cloud.arm(&[(publish, Fault::Edited)]);
    let error = run(&cloud, &actor(), Operation::Release("2")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseNotSwitched), "{error}");
    assert!(error.hint.unwrap().contains("another caller changed the resource meanwhile"));
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
}

#[tokio::test]
async fn an_api_that_is_edited_while_it_is_deployed_is_deployed_again() {
    for operation in [Operation::Release("3"), Operation::Redeploy] {
        let undisturbed = two_releases().await;
        undisturbed.arm(&[]);
        run(&undisturbed, &actor(), operation).await.unwrap();
        let create = undisturbed.calls().iter().position(|call| *call == "CreateDeployment").unwrap();
        let cloud = two_releases().await;
        cloud.arm(&[(create, Fault::Edited)]);
        let (events, warned) = warnings();
        let record = run(&cloud, &StageContext { events, ..actor() }, operation).await.unwrap();
        let warned = warned.lock().unwrap().clone();
        assert!(warned.contains("edited while it was being deployed"), "{warned}");
        assert!(warned.contains("GET /users: integration timeout 5000 -> 5001"), "{warned}");
        // The second snapshot is live, and has the recorded fingerprint.
        let (now, frozen) = {
            let state = cloud.state.lock().unwrap();
            (state.definition.fingerprint(), state.deployments.last().unwrap().1.fingerprint())
        };
        assert_eq!((record.release.api.fingerprint, frozen), (now, now));
    }
    // The API is edited at every call.
    let cloud = two_releases().await;
    cloud.arm(&(0..200).map(|at| (at, Fault::Edited)).collect::<Vec<_>>());
    let error = run(&cloud, &actor(), Operation::Redeploy).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ApiMoving));
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn a_switch_is_one_call_and_nothing_is_published_twice() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(cloud.state.lock().unwrap().switches, 1);
    let writes = |calls: &[&str]| {
        calls
            .iter()
            .filter(|call| ["UpdateFunctionCode", "PublishVersion", "CreateDeployment"].contains(call))
            .count()
    };
    assert_eq!(writes(&cloud.calls()), 0, "{:?}", cloud.calls());
    assert_eq!(served(&cloud), "1");

    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "2", "rolling back a rollback goes forward again");

    cloud.arm(&[]);
    let versions = |cloud: &Cloud| cloud.state.lock().unwrap().functions["user_get"].versions.len();
    let published = versions(&cloud);
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    assert_eq!(versions(&cloud), published);
    let calls = cloud.calls();
    assert!(!calls.contains(&"UpdateFunctionCode") && !calls.contains(&"PublishVersion"), "{calls:?}");
    assert!(calls.contains(&"CreateDeployment"), "an unchanged release still deploys the API");
}

#[tokio::test]
async fn what_is_appended_to_the_ledger_is_collected_also_if_it_was_undone() {
    let cloud = two_releases_and_a_bad_one().await;
    let actor = actor();
    run(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
    run(&cloud, &actor, Operation::Release("4")).await.unwrap();
    let appended = actor.appended.take();
    let outcomes: Vec<_> = appended.iter().map(|record| (record.number, record.outcome)).collect();
    assert_eq!(outcomes, [(3, Outcome::SwitchedBack), (4, Outcome::Live)]);
    assert!(actor.appended.take().is_empty());
}

#[tokio::test]
async fn a_release_that_fails_its_checks_is_switched_back() {
    for status in [500, 503] {
        let cloud = two_releases().await;
        cloud.state.lock().unwrap().status.insert("3".into(), status);
        let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
        assert_eq!((error.kind, error.id), (Kind::OldReleaseServes, ErrorId::ReleaseSwitchedBack));
        assert_eq!(served(&cloud), "2");
        let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
        let last = ledger.record(3).await.unwrap();
        assert_eq!(last.outcome, Outcome::SwitchedBack);
        assert_eq!(ledger.head().await.unwrap().current.unwrap().release.version.as_str(), "2");
        assert!(is_recorded(&cloud).await);
    }
}

#[tokio::test]
async fn a_stage_that_requires_credentials_can_be_released_to() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 401);
    let (events, warned) = warnings();
    run(&cloud, &StageContext { events, ..actor() }, Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
    assert!(warned.lock().unwrap().contains("requires credentials"), "the warning is missing");
}

#[tokio::test]
async fn a_switch_that_cannot_be_undone_names_the_manual_command() {
    let (_, back) = switch_and_undo().await;
    let cloud = two_releases_and_a_bad_one().await;
    // The undo is rejected, and so is the read of the stage after it.
    cloud.arm(&[(back, Fault::Rejected), (back + 1, Fault::Refused)]);
    let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (40, ErrorId::ReleaseStuck));
    let hint = error.hint.unwrap();
    assert!(hint.contains("aws apigateway update-stage --rest-api-id api --stage-name dev"), "{hint}");
    assert!(hint.contains(r#""path":"/variables/release","value":"2""#), "{hint}");
    assert_eq!(served(&cloud), "3", "the undo had no effect");
}

#[tokio::test]
async fn of_ten_releases_at_once_one_wins_and_the_others_name_it() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    let actor = actor();
    let results =
        futures::future::join_all((0..10).map(|_| run(&cloud, &actor, Operation::Release("3")))).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for error in lost.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::LeaseHeld), "{error}");
    }
    assert_eq!(cloud.state.lock().unwrap().switches, 1);
    assert_eq!(served(&cloud), "3");
}

#[tokio::test]
async fn a_holder_that_was_taken_over_does_not_switch() {
    let cloud = two_releases().await;
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "release 3".into()).await.unwrap();
    // Another user unlocks the stage and releases.
    assert!(lease::unlock(&cloud, &actor.stage).await.unwrap());
    run(&cloud, &actor, Operation::Release("4")).await.unwrap();
    cloud.arm(&[]);
    let result: Result<Record, Error> =
        held.during(async |held| Ok(held.release(&cloud, desired("3"), origin()).await?.record)).await;
    assert_eq!(result.unwrap_err().id, ErrorId::LeaseLost);
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(served(&cloud), "4");
}

#[tokio::test]
async fn an_interrupt_at_any_call_ends_before_the_switch_or_after_it() {
    let (mut stopped, mut done) = (0, 0);
    for operation in OPERATIONS {
        let undisturbed = two_releases().await;
        undisturbed.arm(&[]);
        run(&undisturbed, &actor(), operation).await.unwrap();
        for at in 0..undisturbed.calls().len() {
            let cloud = two_releases().await;
            let before = cloud.state.lock().unwrap().pointer.clone();
            cloud.arm(&[(at, Fault::Interrupted)]);
            let actor = StageContext { cancel: cloud.interrupt.clone(), ..actor() };
            let result = run(&cloud, &actor, operation).await;
            let place = format!("{operation:?}, interrupted in call {at} ({})", undisturbed.calls()[at]);
            cloud.arm(&[]);
            served(&cloud);
            let now = cloud.state.lock().unwrap().pointer.clone();
            match result {
                Ok(record) => {
                    done += 1;
                    assert_eq!(now, record.pointer, "{place}");
                }
                Err(error) => {
                    stopped += 1;
                    assert_eq!(
                        (error.kind.exit_code(), error.id),
                        (130, ErrorId::Interrupted),
                        "{place}: {error}"
                    );
                    assert_eq!(now, before, "{place}");
                }
            }
            // The lease was released in any case.
            let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
            assert!(document.head().is_some(), "{place}: {document:?}");
        }
    }
    assert!(stopped > 20 && done >= OPERATIONS.len(), "{stopped} stopped, {done} done");
}

#[tokio::test]
async fn a_release_with_missing_parts_is_not_switched_to() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().functions.get_mut("user_get").unwrap().versions[0].0 = "other".into();
    cloud.state.lock().unwrap().deployments.retain(|(deployment, _)| deployment.id.as_str() != "d1");
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::RollbackGone);
    assert!(error.message.contains("user_get:1 runs other code"), "{error}");
    assert!(error.message.contains("API deployment d1 no longer exists"), "{error}");
    assert_eq!(cloud.state.lock().unwrap().pointer.variables["release"], "2");
}

const LEASE: &str = "deployctl/dev/lease.json";

/// A holder on another machine, whose clock is hours ahead or behind.
async fn held_elsewhere(cloud: &Cloud, hours: i64) {
    let actor = actor();
    let mut holder = lease::Holder::new("theirs".into(), actor.who.clone(), "release 9".into());
    holder.process.machine = "another".into();
    holder.expires += jiff::SignedDuration::from_hours(hours);
    drop(Lease::acquire(cloud.clone(), &actor.stage, &holder, &actor.clock, None).await.unwrap());
}

#[tokio::test]
async fn a_wrong_clock_cannot_give_a_stage_to_two_holders() {
    // Ahead: the hint names `unlock`, so that no command waits for hours.
    let cloud = two_releases().await;
    held_elsewhere(&cloud, 5).await;
    let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::LeaseHeld));
    assert!(error.hint.unwrap().contains("deployctl unlock --stage dev"));
    assert!(lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap());
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();

    // Behind: the holder's expiry does not count, only the age of the lease by the store's clock.
    let cloud = two_releases().await;
    held_elsewhere(&cloud, -5).await;
    let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::LeaseHeld));

    // The store's clock runs ahead: the lease is taken over while its holder works, and the holder does not
    // switch.
    let cloud = two_releases().await;
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "release 3".into()).await.unwrap();
    cloud.state.lock().unwrap().now += 100;
    run(&cloud, &actor, Operation::Release("4")).await.unwrap();
    let result =
        held.during(async |held| Ok(held.release(&cloud, desired("3"), origin()).await?.record)).await;
    assert_eq!(result.unwrap_err().id, ErrorId::LeaseLost);
    assert_eq!(served(&cloud), "4");
}

#[tokio::test]
async fn an_api_without_methods_is_not_deployed() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().definition = crate::release::definition::Definition::new([].into());
    for operation in [Operation::Release("3"), Operation::Promote("3"), Operation::Redeploy] {
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ApiEmpty));
        assert_eq!(served(&cloud), "2");
    }
}

#[tokio::test]
async fn a_rollback_takes_four_round_trips_to_the_switch() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let calls = cloud.calls();
    // The whole command also reads the identity and the contract, concurrently. There is no authorizer and no
    // cache, so nothing is flushed.
    let functions = ["GetFunctionConfiguration"; FUNCTIONS.len()];
    let mut expected = vec!["GetObject", "GetStage", "PutObject", "GetDeployment"];
    expected.extend(functions);
    expected.extend(["UpdateStage", "GET", "GET", "GET", "PutObject", "PutObject"]);
    let mut sorted = (calls.clone(), expected);
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
    let switch = calls.iter().position(|call| *call == "UpdateStage").unwrap();
    let before: BTreeSet<&str> = calls[2..switch].iter().copied().collect();
    assert_eq!(calls[..2], ["GetObject", "GetStage"], "lease and stage are read concurrently");
    assert_eq!(before, ["GetDeployment", "GetFunctionConfiguration", "PutObject"].into(), "{calls:?}");
}

fn checked(payload: serde_json::Value, status: u16) -> StageContext {
    let invocation = Invocation {
        name: "it starts".into(),
        function: "user_get".parse().unwrap(),
        payload,
        expect: json!({ "code": code("3").base64() }),
    };
    let request = Request {
        name: "it answers".into(),
        request: HttpRequest::get("/v/{version}"),
        status,
        expect_headers: [("x-release".to_owned(), "{version}".to_owned())].into(),
        expect: Some(json!({ "path": "/v/3" })),
    };
    StageContext {
        checks: Checks { invocations: vec![invocation], requests: vec![request], ..Checks::default() },
        ..actor()
    }
}

#[tokio::test]
async fn checks_see_the_new_code_before_and_after_the_switch() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    run(&cloud, &checked(json!({}), 200), Operation::Release("3")).await.unwrap();
    let calls = cloud.calls();
    let place = |name| calls.iter().position(|call| *call == name).unwrap();
    assert!(place("Invoke") < place("UpdateStage"));
    assert_eq!(served(&cloud), "3");
    // The project's checks do not apply to a rollback.
    run(&cloud, &checked(json!({ "fail": true }), 500), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn a_check_that_fails_before_the_switch_moves_nothing() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    let error =
        run(&cloud, &checked(json!({ "fail": true }), 200), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::CheckFailed));
    assert!(
        error.message.starts_with(r#"check "it starts" of user_get:3 failed: the function failed"#),
        "{error}"
    );
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(served(&cloud), "2");

    // Other code than expected, and a check of a function that does not exist.
    let error = run(&cloud, &checked(json!({}), 200), Operation::Release("4")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::CheckFailed);
    let mut actor = checked(json!({}), 200);
    actor.checks.invocations[0].function = "unknown".parse().unwrap();
    cloud.arm(&[]);
    let error = run(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseRefused);
    assert!(!cloud.calls().contains(&"UpdateFunctionCode"), "{:?}", cloud.calls());
}

#[tokio::test]
async fn a_check_that_fails_after_the_switch_moves_the_stage_back() {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    let error = run(&cloud, &checked(json!({}), 201), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseSwitchedBack));
    let cause = error.causes().remove(0);
    assert!(cause.contains("GET /v/3 gave status 200 where 201 was expected"), "{cause}");
    assert_eq!(cloud.state.lock().unwrap().switches, 2);
    assert_eq!(served(&cloud), "2");
}
