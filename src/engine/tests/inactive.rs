//! Versions that cannot be invoked yet, or that Lambda made inactive because they were idle.

use super::cloud::Asleep;
use super::*;

async fn rollback(cloud: &Cloud, actor: &StageContext, no_wait: bool) -> Result<Record> {
    let options = RollbackOptions { to: None, no_wait };
    Ok(Box::pin(HeldStage::rollback(actor, cloud.clone(), cloud, options, None)).await?.record)
}

/// Two releases, and a version of the first one that cannot be invoked.
async fn asleep(version: &str, asleep: Asleep) -> Cloud {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().asleep.insert(version.to_owned(), asleep);
    cloud.arm(&[]);
    cloud
}

/// Asserts that the version was woken before the switch, by one invocation.
fn assert_woken(cloud: &Cloud, version: &str) {
    let calls = cloud.calls();
    let place = |name| calls.iter().position(|call| *call == name).unwrap();
    assert!(place("Invoke") < place("UpdateStage"), "{calls:?}");
    let state = cloud.state.lock().unwrap();
    assert_eq!((state.woken.as_slice(), state.switches), ([version.to_owned()].as_slice(), 1));
    assert!(state.asleep.is_empty());
}

#[tokio::test]
async fn a_rollback_wakes_an_inactive_version_before_the_switch() {
    for to in [None, Some("1")] {
        let cloud = asleep("users_get:1", Asleep::Inactive).await;
        run(&cloud, &actor(), Operation::Rollback(to)).await.unwrap();
        assert_eq!(served(&cloud), "1");
        assert_woken(&cloud, "users_get:1");
    }
    // One that becomes active by itself is not invoked.
    let cloud = asleep("users_get:1", Asleep::Pending(3)).await;
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert!(!cloud.calls().contains(&"Invoke"));
    assert_eq!(served(&cloud), "1");
}

#[tokio::test]
async fn a_release_wakes_a_version_that_it_keeps() {
    let cloud = asleep("users_get:2", Asleep::Inactive).await;
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    assert_woken(&cloud, "users_get:2");
}

#[tokio::test]
async fn a_release_does_not_keep_a_version_that_was_deleted() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().functions.get_mut("users_get").unwrap().deleted.insert(2);
    run(&cloud, &actor(), Operation::Release("2")).await.unwrap();
    assert_eq!(served(&cloud), "2");
    assert_eq!(cloud.state.lock().unwrap().pointer.variables["users_get"], "3");
}

#[tokio::test]
async fn a_rollback_to_a_version_that_cannot_be_woken_moves_nothing_and_names_the_command() {
    for (to, command) in [
        (None, "`deployctl rollback --stage dev --no-wait` switches at once"),
        (Some("1"), "`deployctl rollback --stage dev --to 1 --no-wait` switches at once"),
    ] {
        let cloud = asleep("users_get:1", Asleep::Broken).await;
        let error = run(&cloud, &actor(), Operation::Rollback(to)).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::RollbackInactive));
        assert!(error.message.ends_with("among users_get:1"), "{error}");
        assert!(error.causes()[0].contains("it is Inactive: it is idle, also after an invocation"));
        let hint = error.hint.unwrap();
        assert!(hint.starts_with("the stage was not switched") && hint.contains(command), "{hint}");
        assert_eq!(cloud.state.lock().unwrap().switches, 0);
        assert_eq!(cloud.calls().iter().filter(|call| **call == "Invoke").count(), 1);
        assert_eq!(served(&cloud), "2");
        // The lease was released, without an intent.
        run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    }
}

#[tokio::test]
async fn a_rollback_that_does_not_wait_switches_at_once() {
    let cloud = asleep("users_get:1", Asleep::Inactive).await;
    let (events, warned) = warnings();
    rollback(&cloud, &StageContext { events, ..actor() }, true).await.unwrap();
    assert_eq!(served(&cloud), "1");
    let calls = cloud.calls();
    assert!(!calls.contains(&"Invoke"), "the requests of callers wake it: {calls:?}");
    assert!(warned.lock().unwrap().contains("not active yet (users_get)"), "{warned:?}");
}

#[tokio::test]
async fn waiting_for_a_version_ends_at_an_interrupt_and_at_its_time_limit() {
    let mut actor = actor();
    let cloud = asleep("users_get:1", Asleep::Pending(usize::MAX)).await;
    let error = rollback(&cloud, &actor, false).await.unwrap_err();
    assert_eq!(error.id, ErrorId::RollbackInactive);
    assert!(error.causes()[0].contains("it is Pending, after 0 s"), "{:?}", error.causes());

    actor.polling.timeout = Duration::from_secs(60);
    let cancel = actor.cancel.clone();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cancel.cancel();
    };
    let (result, ()) = futures::join!(rollback(&cloud, &actor, false), stop);
    assert_eq!(result.unwrap_err().id, ErrorId::Interrupted);
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn a_fault_at_any_call_of_waking_and_waiting_leaves_one_whole_release() {
    let new_versions = two_releases().await;
    new_versions.state.lock().unwrap().pending = 2;
    let starts = [
        (asleep("users_get:1", Asleep::Inactive).await, Operation::Rollback(None)),
        (asleep("users_get:2", Asleep::Inactive).await, Operation::Release("2")),
        (new_versions, Operation::Release("3")),
    ];
    for (start, operation) in starts {
        let undisturbed = start.copy();
        undisturbed.arm(&[]);
        run(&undisturbed, &actor(), operation).await.unwrap();
        let calls = undisturbed.calls();
        for at in (0..calls.len()).filter(|at| ["Invoke", "GetFunctionConfiguration"].contains(&calls[*at])) {
            for fault in FAULTS {
                let cloud = start.copy();
                cloud.arm(&[(at, fault)]);
                let result = run_unless_killed(&cloud, operation).await;
                let place = format!("{operation:?}, call {at} ({}), {fault:?}: {result:?}", calls[at]);
                let release = served(&cloud);
                assert!(is_recorded(&cloud).await, "{place}");
                if let Some(Ok(record)) = &result {
                    assert_eq!(record.release.version.as_str(), release, "{place}");
                    assert!(cloud.state.lock().unwrap().asleep.is_empty(), "{place}: not woken");
                }
                cloud.arm(&[]);
                let _released = lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
                run(&cloud, &actor(), Operation::Release("4")).await.unwrap();
                assert_eq!(served(&cloud), "4", "{place}");
            }
        }
    }
}

/// A release of the same sources for the other architecture.
#[tokio::test]
async fn a_changed_architecture_is_sent_with_the_code_and_recorded() {
    let cloud = two_releases().await;
    let release = async |version: &str| {
        let mut desired = desired(version);
        desired.artifacts.get_mut("users").unwrap().architecture = Some(Architecture::Arm64);
        let actor = actor();
        let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await.unwrap();
        let released = held.during(async |held| held.release(&cloud, desired, origin()).await);
        Box::pin(released).await.unwrap().record
    };
    cloud.arm(&[]);
    let record = release("2").await;
    let calls = cloud.calls();
    assert_eq!(calls.iter().filter(|call| **call == "UpdateFunctionCode").count(), FUNCTIONS.len());
    for name in FUNCTIONS {
        let state = cloud.state.lock().unwrap();
        let function = &state.functions[name];
        assert_eq!(function.architecture, Architecture::Arm64);
        assert_eq!(record.release.functions[&name.parse().unwrap()].config_sha256, function.config);
        assert_eq!(state.pointer.variables[name], "3", "the same code, but another version");
    }
    // The next release keeps everything.
    cloud.arm(&[]);
    release("2").await;
    assert!(!cloud.calls().iter().any(|call| ["UpdateFunctionCode", "PublishVersion"].contains(call)));
    // A rollback goes to the versions of the former architecture.
    run(&cloud, &actor(), Operation::Rollback(Some("1"))).await.unwrap();
    assert_eq!(served(&cloud), "1");
}
