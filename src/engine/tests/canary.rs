//! A release by a canary: every fault at every call, commands of other machines, and what is moved with it.

use super::*;
use crate::engine::canary::{CanaryStage, Progress, to_end};
use crate::engine::lease::LeaseSnapshot;
use crate::engine::operations::look;
use crate::release::canary::{Canary, Step};
use crate::release::monitor::{AlarmState, UnreadableAlarm, VersionReading};
use crate::release::state::{AliasState, AliasTarget, Allocation, Percent, Provisioned, StageState};

/// Two steps that take no time.
pub(super) fn by_canary(actor: StageContext) -> StageContext {
    let steps = [10, 50].map(|percent| Step { percent, seconds: 0 }).to_vec();
    let interval = Duration::from_millis(1);
    StageContext { delivery: Delivery { steps, interval, ..Delivery::default() }, ..actor }
}

/// The same without a probe, which takes most of the time.
fn unprobed() -> StageContext {
    by_canary(StageContext { probe: None, ..actor() })
}

/// A step that takes longer than a test.
fn slow(actor: StageContext) -> StageContext {
    let steps = vec![Step { percent: 10, seconds: 3600 }];
    let interval = Duration::from_millis(1);
    StageContext { delivery: Delivery { steps, interval, ..Delivery::default() }, ..actor }
}

/// Releases 1 and 2. `users_post` is called by its alias, too.
async fn start() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    let alias = AliasState { target: AliasTarget::only("$LATEST".parse().unwrap()), revision: "0".into() };
    cloud.state.lock().unwrap().aliases.insert("users_post:live".into(), alias);
    for version in ["1", "2"] {
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    cloud.state.lock().unwrap().definition = definition(5000);
    cloud.arm(&[]);
    cloud
}

/// Starts the command's canary, if it makes one. Boxed, because several of them in one test overflow the stack.
async fn begin(
    cloud: &Cloud,
    actor: &StageContext,
    operation: Operation,
) -> Result<(Record, Option<Canary>)> {
    Box::pin(begin_inline(cloud, actor, operation)).await
}

async fn begin_inline(
    cloud: &Cloud,
    actor: &StageContext,
    operation: Operation,
) -> Result<(Record, Option<Canary>)> {
    let held = HeldStage::take(actor, cloud.clone(), format!("{operation:?}")).await?;
    let begin = held.during(async |held| match operation {
        Operation::Release(version) => {
            let released = held.release(cloud, contract(cloud, version), origin()).await?;
            Ok((released.record, released.canary))
        }
        _ => {
            let functions = contract(cloud, "1").functions;
            let (moved, _) = held.redeploy(cloud, &functions, false).await?;
            Ok(moved.into_parts())
        }
    });
    Box::pin(begin).await
}

fn stage<'a>(cloud: &'a Cloud, actor: &'a StageContext) -> CanaryStage<'a, Cloud, Cloud> {
    CanaryStage { context: actor, store: cloud.clone(), port: cloud }
}

async fn run_by_canary(cloud: &Cloud, actor: &StageContext, operation: Operation) -> Result<Record> {
    Box::pin(run_by_canary_inline(cloud, actor, operation)).await
}

async fn run_by_canary_inline(cloud: &Cloud, actor: &StageContext, operation: Operation) -> Result<Record> {
    match begin(cloud, actor, operation).await? {
        (record, None) => Ok(record),
        (_, Some(canary)) => Box::pin(stage(cloud, actor).follow(canary)).await,
    }
}

async fn unless_killed(cloud: &Cloud, actor: &StageContext, operation: Operation) -> Option<Result<Record>> {
    tokio::select! {
        result = run_by_canary(cloud, actor, operation) => Some(result),
        () = cloud.killed.notified() => None,
    }
}

async fn seen(cloud: &Cloud) -> (LeaseSnapshot, StageState) {
    look(cloud, &"dev".parse().unwrap(), cloud).await.unwrap()
}

/// Ends the canary of the lease for a person; `None` if there is none.
async fn abort(cloud: &Cloud) -> Option<Result<Record>> {
    let seen = seen(cloud).await;
    let canary = seen.0.canary()?.clone();
    let reason = ("asked to".to_owned(), None);
    Some(Box::pin(stage(cloud, &unprobed()).abort(&canary, Some(seen), reason, Duration::ZERO)).await)
}

async fn promote(cloud: &Cloud) -> Option<Result<Progress>> {
    let seen = seen(cloud).await;
    let canary = seen.0.canary()?.clone();
    Some(Box::pin(stage(cloud, &unprobed()).proceed(&canary, seen, Duration::ZERO)).await)
}

fn alias(cloud: &Cloud) -> AliasTarget {
    cloud.state.lock().unwrap().aliases["users_post:live"].target.clone()
}

/// Asserts that all callers get the release that the stage serves.
fn assert_whole(cloud: &Cloud, place: &str) -> String {
    let release = served(cloud);
    let version = cloud.state.lock().unwrap().pointer.variables["users_post"].clone();
    assert_eq!(alias(cloud), AliasTarget::only(version.parse().unwrap()), "{place}: {release} is served");
    assert_eq!(cloud.state.lock().unwrap().canary, None, "{place}: {release} is served");
    release
}

/// Asserts that a canary on the stage is one whole release, and that lease or ledger say what the stage serves.
async fn assert_known(cloud: &Cloud, place: &str) {
    let (lease, stage) = seen(cloud).await;
    assert!(is_recorded(cloud).await, "{place}: the live release is not recorded");
    let Some(on) = &stage.canary else { return };
    let canary = lease.canary().unwrap_or_else(|| panic!("{place}: the lease does not know {on:?}"));
    assert!(canary.is_on(&stage), "{place}: {on:?}");
    assert_eq!(on.variables, canary.record.pointer.variables, "{place}: the canary is a mixture");
    let shares = [canary.step.saturating_sub(1), canary.step]
        .map(|step| Percent::whole(canary.steps.get(step).or(canary.steps.last()).unwrap().percent));
    assert!(shares.contains(&on.percent), "{place}: {on:?}, the lease has step {}", canary.step);
}

async fn last(cloud: &Cloud) -> Record {
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    let last = ledger.head().await.unwrap().last;
    ledger.record(last).await.unwrap()
}

#[tokio::test]
async fn each_step_states_the_whole_canary_and_the_switch_ends_it() {
    for two_calls in [false, true] {
        let cloud = start().await;
        cloud.state.lock().unwrap().two_calls = two_calls;
        let record = run_by_canary(&cloud, &by_canary(actor()), Operation::Release("3")).await.unwrap();
        assert_eq!(assert_whole(&cloud, "released"), "3");
        let state = cloud.state.lock().unwrap().clone();
        let shares: Vec<String> = state.canaries.iter().map(|canary| canary.percent.to_string()).collect();
        let expected: &[&str] = if two_calls { &["10 %", "50 %", "0 %"] } else { &["10 %", "50 %"] };
        assert_eq!(shares, expected);
        for canary in &state.canaries {
            assert_eq!(canary.variables, record.pointer.variables);
            assert_eq!(canary.deployment_id, record.pointer.deployment_id.as_str());
        }
        // Two steps, and the switch in one call.
        assert_eq!(state.switches, if two_calls { 4 } else { 3 });
        assert_eq!(
            state.alias_moves[2..],
            ["users_post:live 2 3 10 %", "users_post:live 2 3 50 %", "users_post:live 3"]
        );
        let ended = last(&cloud).await;
        assert_eq!((ended.number, ended.outcome), (3, Outcome::Live), "one record");
        assert_eq!(ended.canary.unwrap().steps.len(), 2);
        // The next command is as always.
        run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
        assert_eq!(assert_whole(&cloud, "rolled back"), "2");
    }
}

#[tokio::test]
async fn every_fault_of_a_canary_leaves_a_stage_that_status_knows_and_abort_restores() {
    let (mut points, mut killed, mut restored) = (0, 0, 0);
    let start = start().await;
    for operation in [Operation::Release("3"), Operation::Redeploy] {
        let undisturbed = start.copy();
        undisturbed.arm(&[]);
        run_by_canary(&undisturbed, &unprobed(), operation).await.unwrap();
        let calls = undisturbed.calls();
        let new = undisturbed.state.lock().unwrap().pointer.clone();
        for (at, fault) in (0..calls.len()).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
            points += 1;
            let cloud = start.copy();
            let old = cloud.state.lock().unwrap().pointer.clone();
            cloud.arm(&[(at, fault)]);
            let result = unless_killed(&cloud, &unprobed(), operation).await;
            let place = format!("{operation:?}, call {at} ({}), {fault:?}", calls[at]);
            cloud.arm(&[]);
            let pointer = |cloud: &Cloud| cloud.state.lock().unwrap().pointer.clone();
            assert_known(&cloud, &place).await;
            match &result {
                Some(Ok(record)) => {
                    assert_eq!(pointer(&cloud), record.pointer, "{place}");
                    assert_whole(&cloud, &place);
                }
                Some(Err(error)) => {
                    assert_ne!(error.kind, Kind::Stuck, "{place}: {error:?}");
                    assert!(error.hint.is_some(), "{place}: {error} has no hint");
                    assert_eq!(pointer(&cloud), old, "{place}: {error:?}");
                    if seen(&cloud).await.0.canary().is_none() {
                        assert_whole(&cloud, &format!("{place}: {error:?}"));
                    }
                }
                None => killed += 1,
            }
            lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
            let promoted = cloud.copy();
            if let Some(record) = abort(&cloud).await {
                let record = record.unwrap_or_else(|error| panic!("{place}: {error:?}"));
                restored += usize::from(record.outcome == Outcome::SwitchedBack);
                let expected = if record.outcome == Outcome::Live { &record.pointer } else { &old };
                assert_eq!(pointer(&cloud), *expected, "{place}: {record:?}");
                assert_whole(&cloud, &place);
                assert!(last(&cloud).await.is_same_operation(&record), "{place}");
            }
            // Another machine continues instead: to the end, or back if the canary was being ended.
            while let Some(progress) = promote(&promoted).await {
                match progress {
                    Ok(Progress::InProgress(_)) => assert_known(&promoted, &place).await,
                    Ok(Progress::Live(record)) => assert_eq!(pointer(&promoted), record.pointer, "{place}"),
                    Err(error) => {
                        assert!(
                            [ErrorId::CanaryAborted, ErrorId::CanaryNone].contains(&error.id),
                            "{place}: {error:?}"
                        );
                    }
                }
            }
            if pointer(&promoted) != old {
                assert_eq!(pointer(&promoted).variables, new.variables, "{place}");
            }
            for cloud in [cloud, promoted] {
                let next = run(&cloud, &actor(), Operation::Release("4")).await;
                next.unwrap_or_else(|error| panic!("{place}: the next release failed: {error:?}"));
                assert_eq!(assert_whole(&cloud, &place), "4");
            }
        }
    }
    println!("canary: points tried {points}, killed {killed}, restored by abort {restored}, mixed 0");
    assert!(
        points > 200 && restored > 20 && killed == points / FAULTS.len() * 2,
        "{points} {killed} {restored}"
    );
}

#[tokio::test]
async fn an_interrupt_at_any_call_leaves_no_canary() {
    let start = start().await;
    let undisturbed = start.copy();
    undisturbed.arm(&[]);
    run_by_canary(&undisturbed, &unprobed(), Operation::Release("3")).await.unwrap();
    let (mut stopped, mut done) = (0, 0);
    for (at, call) in undisturbed.calls().iter().enumerate() {
        let cloud = start.copy();
        cloud.arm(&[(at, Fault::Interrupted)]);
        let actor = StageContext { cancel: cloud.interrupt.clone(), ..unprobed() };
        let result = run_by_canary(&cloud, &actor, Operation::Release("3")).await;
        let place = format!("interrupted in call {at} ({call}): {result:?}");
        cloud.arm(&[]);
        match result {
            Ok(_) => {
                done += 1;
                assert_eq!(assert_whole(&cloud, &place), "3");
            }
            Err(error) => {
                stopped += 1;
                assert_eq!((error.kind.exit_code(), error.id), (130, ErrorId::Interrupted), "{place}");
                assert_eq!(assert_whole(&cloud, &place), "2");
            }
        }
        assert!(seen(&cloud).await.0.canary().is_none(), "{place}");
    }
    assert!(stopped > 20 && done > 0, "{stopped} stopped, {done} done");
}

#[tokio::test]
async fn an_interrupt_while_another_command_holds_the_lease_stops_the_wait() {
    let cloud = start().await;
    begin(&cloud, &unprobed(), Operation::Release("3")).await.unwrap();
    let (lease, now) = seen(&cloud).await;
    let canary = lease.canary().unwrap().clone();
    // A command on another machine ends it, and is not done yet.
    let mut document = lease.document.clone().unwrap();
    let mut holder = lease::Holder::new("theirs".into(), actor().who, "canary".into());
    holder.process.machine = "another".into();
    document.holder = Some(holder);
    let key = "deployctl/dev/lease.json";
    let body = serde_json::to_vec(&document).unwrap();
    let stored = cloud.read(key).await.unwrap().unwrap();
    cloud.replace(key, &body, &stored.etag).await.unwrap();
    let actor = unprobed();
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        actor.cancel.cancel();
    };
    let canaries = stage(&cloud, &actor);
    let waiting = Box::pin(canaries.switch(&canary, None, Duration::from_secs(600)));
    let (ended, ()) = futures::join!(tokio::time::timeout(Duration::from_secs(5), waiting), interrupt);
    let error = ended.expect("it goes on waiting").unwrap_err();
    assert_eq!((error.kind, served(&cloud).as_str()), (Kind::Interrupted, "2"), "{error:?}");
    assert!(canary.is_reached(&now) && seen(&cloud).await.0.canary() == Some(&canary));
}

#[tokio::test]
async fn a_release_that_answers_with_errors_is_never_switched_to() {
    let cloud = start().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    let actor = by_canary(actor());
    let steps = vec![Step { percent: 50, seconds: 0 }, Step { percent: 90, seconds: 0 }];
    let actor = StageContext { delivery: Delivery { steps, ..actor.delivery }, ..actor };
    let error = run_by_canary(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::CanaryAborted), "{error:?}");
    assert!(error.message.contains("the new release answers GET /users with status 500"), "{error}");
    assert!(error.hint.unwrap().contains("release 2 to all callers again"));
    assert_eq!(assert_whole(&cloud, "aborted"), "2");
    let moves = cloud.state.lock().unwrap().moves.clone();
    assert!(moves.iter().all(|pointer| pointer.variables["release"] != "3"), "{moves:?}");
    let record = last(&cloud).await;
    assert_eq!((record.number, record.outcome), (3, Outcome::SwitchedBack));
    assert!(record.canary.unwrap().ended.unwrap().contains("status 500"));
}

#[tokio::test]
async fn a_release_that_fails_after_the_last_step_is_switched_back_without_its_canary() {
    let cloud = start().await;
    let actor = by_canary(checked(json!({}), 201));
    let error = run_by_canary(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseSwitchedBack), "{error:?}");
    assert_eq!(assert_whole(&cloud, "switched back"), "2");
    assert!(seen(&cloud).await.0.canary().is_none());
}

#[tokio::test]
async fn going_back_takes_three_round_trips() {
    let cloud = start().await;
    begin(&cloud, &unprobed(), Operation::Release("3")).await.unwrap();
    cloud.arm(&[]);
    abort(&cloud).await.unwrap().unwrap();
    let trips = cloud.round_trips();
    assert_eq!(trips[..3], [vec!["GetObject", "GetStage"], vec!["PutObject"], vec!["UpdateStage"]]);
    assert_eq!(assert_whole(&cloud, "aborted"), "2");
}

/// Runs `work`, and kills it at its first call of this name, before or after the call takes effect.
async fn killed_at<T>(
    cloud: &Cloud,
    name: &str,
    fault: Fault,
    calls: &[&str],
    work: impl Future<Output = T>,
) {
    let at = calls.iter().position(|call| *call == name).unwrap();
    cloud.arm(&[(at, fault)]);
    tokio::select! {
        _ = work => panic!("it was not killed at {name}"),
        () = cloud.killed.notified() => {}
    }
    cloud.arm(&[]);
}

#[tokio::test]
async fn a_rollback_ends_a_canary_that_a_killed_command_was_ending() {
    let start = start().await;
    let (_, canary) = begin(&start, &unprobed(), Operation::Release("3")).await.unwrap();
    let canary = canary.unwrap();
    let undisturbed = start.copy();
    undisturbed.arm(&[]);
    abort(&undisturbed).await.unwrap().unwrap();
    let calls = undisturbed.calls();
    for fault in [Fault::KilledBefore, Fault::KilledAfter] {
        let cloud = start.copy();
        killed_at(&cloud, "UpdateStage", fault, &calls, Box::pin(abort(&cloud))).await;
        lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
        let (lease, now) = seen(&cloud).await;
        assert!(lease.canary().unwrap().is_ending());
        assert_eq!(
            to_end(&lease, &now).map(|canary| canary.id.as_str()),
            Some(canary.id.as_str()),
            "{fault:?}"
        );
        assert_eq!(abort(&cloud).await.unwrap().unwrap().outcome, Outcome::SwitchedBack);
        assert_eq!(assert_whole(&cloud, "ended"), "2", "and not release 1");
    }
}

#[tokio::test]
async fn a_switch_that_was_killed_is_live_and_no_abort_has_ended_it() {
    let start = start().await;
    let (_, canary) = begin(&start, &unprobed(), Operation::Release("3")).await.unwrap();
    let canary = canary.unwrap();
    let actor = unprobed();
    let undisturbed = start.copy();
    undisturbed.arm(&[]);
    Box::pin(stage(&undisturbed, &actor).switch(&canary, None, Duration::ZERO)).await.unwrap();
    let calls = undisturbed.calls();
    let cloud = start.copy();
    let canary_stage = stage(&cloud, &actor);
    let switch = Box::pin(canary_stage.switch(&canary, None, Duration::ZERO));
    killed_at(&cloud, "UpdateStage", Fault::KilledAfter, &calls, switch).await;
    lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
    let (lease, now) = seen(&cloud).await;
    assert!(to_end(&lease, &now).is_none(), "a rollback goes to the release before it");
    let record = abort(&cloud).await.unwrap().unwrap();
    assert_eq!((record.outcome, record.canary.unwrap().ended), (Outcome::Live, None));
    assert_eq!(assert_whole(&cloud, "switched"), "3");
}

#[tokio::test]
async fn other_commands_name_the_canary_that_holds_the_stage() {
    let cloud = start().await;
    begin(&cloud, &unprobed(), Operation::Release("3")).await.unwrap();
    for operation in [
        Operation::Release("4"),
        Operation::Promote("4"),
        Operation::Redeploy,
        Operation::Rollback(Some("1")),
    ] {
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::CanaryInProgress), "{operation:?}");
        assert!(error.message.contains("canary of release 3 holds stage dev"), "{error}");
        for command in ["canary promote", "canary abort", "canary status"] {
            assert!(error.hint.as_ref().unwrap().contains(command), "{error:?}");
        }
    }
    assert_known(&cloud, "after refused commands").await;
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn what_has_no_canary_is_moved_at_once() {
    let cloud = Cloud::new(&FUNCTIONS);
    let notes = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&notes);
    let events = Events::new(move |event| {
        if let Event::Note(text) = event {
            collected.lock().unwrap().push_str(text);
        }
    });
    let context = StageContext { events, ..unprobed() };
    run_by_canary(&cloud, &context, Operation::Release("1")).await.unwrap();
    assert!(notes.lock().unwrap().contains("no canary: this is the first release"));
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    run(&cloud, &unprobed(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "1");
    assert!(cloud.state.lock().unwrap().canaries.is_empty());
}

#[tokio::test]
async fn a_watching_command_learns_what_another_one_does() {
    for promotes in [true, false] {
        let cloud = start().await;
        let actor = slow(StageContext { probe: None, ..actor() });
        let (_, canary) = begin(&cloud, &actor, Operation::Release("3")).await.unwrap();
        let watching = stage(&cloud, &actor);
        let other = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let seen = seen(&cloud).await;
            let canary = seen.0.canary().unwrap().clone();
            if promotes {
                let switch =
                    Box::pin(stage(&cloud, &actor).switch(&canary, Some(seen.0), Duration::ZERO)).await;
                drop(switch.unwrap());
            } else {
                drop(abort(&cloud).await.unwrap().unwrap());
            }
        };
        let (watched, ()) = futures::join!(Box::pin(watching.follow(canary.unwrap())), Box::pin(other));
        match watched {
            Ok(record) => assert_eq!((promotes, record.outcome), (true, Outcome::Live)),
            Err(error) => {
                assert_eq!((promotes, error.id), (false, ErrorId::CanaryAborted), "{error:?}");
                assert!(error.message.ends_with("asked to"), "{error}");
            }
        }
        assert_eq!(assert_whole(&cloud, "ended"), if promotes { "3" } else { "2" });
    }
}

#[tokio::test]
async fn a_scheduled_command_makes_only_what_is_due() {
    let cloud = start().await;
    let actor = slow(StageContext { probe: None, ..actor() });
    begin(&cloud, &actor, Operation::Release("3")).await.unwrap();
    cloud.arm(&[]);
    let Progress::InProgress(canary) = promote(&cloud).await.unwrap().unwrap() else {
        panic!("it was promoted")
    };
    assert_eq!((canary.step, cloud.state.lock().unwrap().switches), (0, 0));
    // An hour later.
    let mut document = seen(&cloud).await.0.document.unwrap();
    document.canary.as_mut().unwrap().since -= jiff::SignedDuration::from_hours(1);
    let body = serde_json::to_vec(&document).unwrap();
    cloud.state.lock().unwrap().objects.insert(LEASE.into(), (body, 77_777));
    let Progress::Live(record) = promote(&cloud).await.unwrap().unwrap() else { panic!("it was not due") };
    assert_eq!((record.release.version.as_str(), assert_whole(&cloud, "promoted").as_str()), ("3", "3"));
}

#[tokio::test]
async fn an_alias_that_cannot_have_weights_is_moved_with_the_switch() {
    for provisioned in [true, false] {
        let cloud = start().await;
        {
            let mut state = cloud.state.lock().unwrap();
            if provisioned {
                let ready = Provisioned { requested: 1, allocation: Allocation::Ready };
                state.provisioned.insert("users_post:live".into(), ready);
            } else {
                state.roles.insert("users_post:3".into(), "another role".into());
            }
        }
        run_by_canary(&cloud, &unprobed(), Operation::Release("3")).await.unwrap();
        assert_whole(&cloud, "released");
        assert_eq!(cloud.state.lock().unwrap().alias_moves[2..], ["users_post:live 3"]);
    }
}

#[tokio::test]
async fn a_canary_that_somebody_else_started_is_left_alone() {
    let cloud = start().await;
    let foreign = Some(cloud::canary("d1"));
    cloud.state.lock().unwrap().canary.clone_from(&foreign);
    let error = run_by_canary(&cloud, &unprobed(), Operation::Release("3")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseRefused, "{error:?}");
    // It replaces the canary of a release.
    cloud.state.lock().unwrap().canary = None;
    begin(&cloud, &unprobed(), Operation::Release("3")).await.unwrap();
    cloud.state.lock().unwrap().canary.clone_from(&foreign);
    abort(&cloud).await.unwrap().unwrap();
    assert_eq!(cloud.state.lock().unwrap().canary, foreign);
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn bad_numbers_and_alarms_go_back_in_one_call_with_the_numbers() {
    let numbers = |invocations, errors| VersionReading { invocations, errors, p95_ms: None };
    for alarm in [false, true] {
        let cloud = start().await;
        let mut actor = slow(StageContext { probe: None, ..actor() });
        let expected = if alarm {
            actor.delivery.monitor.alarms.push("users-5xx".into());
            let state = AlarmState::Alarm { reason: "6 of 5 datapoints".into() };
            cloud.state.lock().unwrap().alarms.insert("users-5xx".into(), state);
            "alarm users-5xx is in ALARM: 6 of 5 datapoints"
        } else {
            let mut state = cloud.state.lock().unwrap();
            state.metrics.insert("users_get:2".into(), numbers(900, 9));
            state.metrics.insert("users_get:3".into(), numbers(100, 20));
            "errors of users_get: new 20 of 100 failed (20.0 %); old 9 of 900 failed (1.0 %)"
        };
        cloud.arm(&[]);
        let error = run_by_canary(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::CanaryAborted), "{error:?}");
        assert!(error.message.contains("ended at 10 %") && error.message.contains(expected), "{error}");
        assert_eq!(assert_whole(&cloud, "aborted"), "2");
        // The step, and going back, in one call each.
        assert_eq!(cloud.state.lock().unwrap().switches, 2);
        let ended = last(&cloud).await.canary.unwrap();
        assert!(ended.ended.unwrap().contains(expected));
        let reading = ended.reading.unwrap();
        // `users_post` by its version and by its alias.
        assert_eq!((reading.functions.len(), reading.alarms.len()), (4, usize::from(alarm)));
    }
}

#[tokio::test]
async fn a_function_is_compared_for_the_api_and_for_the_callers_of_its_alias() {
    let numbers = |errors| VersionReading { invocations: 100, errors, p95_ms: None };
    for failing in ["users_post", "users_post:live"] {
        let cloud = start().await;
        for way in ["users_post", "users_post:live"] {
            let mut state = cloud.state.lock().unwrap();
            state.metrics.insert(format!("{way}:2"), numbers(0));
            state.metrics.insert(format!("{way}:3"), numbers(if way == failing { 20 } else { 0 }));
        }
        let actor = slow(StageContext { probe: None, ..actor() });
        let error = run_by_canary(&cloud, &actor, Operation::Release("3")).await.unwrap_err();
        assert!(error.message.contains("errors of users_post: new 20 of 100 failed"), "{failing}: {error}");
        let reading = last(&cloud).await.canary.unwrap().reading.unwrap().to_string();
        assert!(reading.contains(&format!("{failing}: new 20 of 100")), "{reading}");
    }
}

#[tokio::test]
async fn an_alarm_that_does_not_exist_ends_the_canary_unless_that_is_ignored() {
    for unreadable_alarm in [UnreadableAlarm::Abort, UnreadableAlarm::Ignore] {
        let cloud = start().await;
        let mut actor = unprobed();
        actor.delivery.monitor.alarms.push("missing".into());
        actor.delivery.monitor.unreadable_alarm = unreadable_alarm;
        let ended = run_by_canary(&cloud, &actor, Operation::Release("3")).await;
        let expected = if unreadable_alarm == UnreadableAlarm::Ignore { "3" } else { "2" };
        assert_eq!(assert_whole(&cloud, "ended"), expected, "{ended:?}");
    }
}
