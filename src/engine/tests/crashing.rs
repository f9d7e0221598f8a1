//! A release whose function crashes at its start: found by an invocation before the switch, or by the probe
//! after it.

use super::*;

/// Two releases, and a release 3 whose `users_get` crashes.
async fn two_releases_and_a_crashing_one() -> Cloud {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().crashing.insert("users_get:3".into());
    cloud
}

fn unchecked() -> StageContext {
    StageContext { checks: Checks { default_check: false, ..Checks::default() }, ..actor() }
}

/// The same with a probe that would wait longer than a test may take.
fn patient(context: StageContext) -> StageContext {
    let probe = context.probe.map(|probe| Probe { timeout_seconds: 60, ..probe });
    StageContext { probe, ..context }
}

fn invoked(cloud: &Cloud) -> Vec<String> {
    cloud.state.lock().unwrap().invoked.clone()
}

#[tokio::test]
async fn a_version_that_crashes_is_found_before_the_switch() {
    let cloud = two_releases_and_a_crashing_one().await;
    cloud.state.lock().unwrap().invoked.clear();
    cloud.arm(&[]);
    let error = run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::CheckFailed), "{error}");
    for part in ["users_get:3, invoked with GET /users: ", "Runtime.ExitError", "\n    users_get:3 panicked"]
    {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(error.hint.unwrap().contains("`default_check = false`"));
    // The live version was only invoked because the new one failed, and both with the same event.
    assert_eq!(invoked(&cloud), ["users_get:3 /users", "users_get:2 /users"]);
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn each_new_version_that_serves_a_get_is_invoked_once_and_the_others_are_named() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().invoked.clear();
    let notes = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&notes);
    let events = Events::new(move |event| {
        if let Event::Note(text) = event {
            collected.lock().unwrap().push_str(text);
        }
    });
    run(&cloud, &StageContext { events, ..actor() }, Operation::Release("3")).await.unwrap();
    assert_eq!(invoked(&cloud), ["users_get:3 /users"]);
    let notes = notes.lock().unwrap().clone();
    let named =
        "not tried before the switch: user_get (serves no GET), users_post (serves no GET); `[[checks]]`";
    assert!(notes.contains(named), "{notes}");
    // The same versions again, and with the check turned off.
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    run(&cloud, &unchecked(), Operation::Release("4")).await.unwrap();
    assert_eq!(invoked(&cloud), ["users_get:3 /users"]);
}

#[tokio::test]
async fn a_version_that_fails_as_the_live_one_does_is_released() {
    let cloud = two_releases_and_a_crashing_one().await;
    cloud.state.lock().unwrap().crashing.insert("users_get:2".into());
    let (events, warned) = warnings();
    // The probe would fail too, so it is not sent.
    let context = StageContext { events, probe: None, ..actor() };
    run(&cloud, &context, Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
    let warned = warned.lock().unwrap().clone();
    assert!(warned.contains("the live version fails on the same event"), "{warned}");
}

#[tokio::test]
async fn of_a_first_release_there_is_no_live_version_to_compare_with() {
    let cloud = Cloud::new(&FUNCTIONS);
    cloud.state.lock().unwrap().crashing.insert("users_get:1".into());
    let error = run(&cloud, &actor(), Operation::Release("1")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::CheckFailed);
    assert_eq!(invoked(&cloud), ["users_get:1 /users"]);
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
}

#[tokio::test]
async fn a_release_that_crashes_after_the_switch_is_switched_back_long_before_the_probe_ends() {
    let cloud = two_releases_and_a_crashing_one().await;
    let error = run(&cloud, &patient(unchecked()), Operation::Release("3")).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseSwitchedBack));
    let cause = error.causes().remove(0);
    for part in [
        "callers get errors since the switch, and did not before",
        "GET /users gave status 502",
        "the log of users_get:3 ends with\n    users_get:3 panicked",
    ] {
        assert!(cause.contains(part), "{cause}");
    }
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn the_log_is_not_needed_for_the_error() {
    let undisturbed = two_releases_and_a_crashing_one().await;
    undisturbed.arm(&[]);
    run(&undisturbed, &unchecked(), Operation::Release("3")).await.unwrap_err();
    let at = undisturbed.calls().iter().position(|call| *call == "FilterLogEvents").unwrap();
    let cloud = two_releases_and_a_crashing_one().await;
    cloud.arm(&[(at, Fault::Rejected)]);
    let error = run(&cloud, &unchecked(), Operation::Release("3")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseSwitchedBack);
    let cause = error.causes().remove(0);
    assert!(cause.contains("the log of users_get:3 was not read: FilterLogEvents"), "{cause}");
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn if_callers_got_errors_before_the_probe_waits_to_its_end() {
    let cloud = two_releases_and_a_crashing_one().await;
    cloud.state.lock().unwrap().crashing.insert("users_get:2".into());
    let mut context = unchecked();
    context.probe.as_mut().unwrap().timeout_seconds = 2;
    let error = run(&cloud, &context, Operation::Release("3")).await.unwrap_err();
    let cause = error.causes().remove(0);
    assert!(cause.contains("the new release did not answer within 2 s"), "{cause}");
}

#[tokio::test]
async fn an_api_that_cannot_be_reached_is_not_probed() {
    let cloud = two_releases_and_a_bad_one().await;
    cloud.arm(&[]);
    let (events, warned) = warnings();
    let context = StageContext { events, probe: None, ..checked(json!({}), 418) };
    run(&cloud, &context, Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
    assert!(!cloud.calls().contains(&"GET"), "{:?}", cloud.calls());
    let warned = warned.lock().unwrap().clone();
    let said = "release 3 was not probed (`probe = false`), nor were the checks with `request`: it answers";
    assert!(warned.contains(said), "{warned}");
}
