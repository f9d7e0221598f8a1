//! Provisioned concurrency and warm functions: before the switch, for the two releases that can serve, and for no
//! others.

use std::num::{NonZeroU16, NonZeroUsize};

use super::*;
use crate::engine::canary::CanaryStage;
use crate::engine::prune::{self, Job};
use crate::release::once::Preparation;
use crate::release::state::{AliasTarget, Allocation, Provisioned};

/// The contract in which `users_get` has provisioned concurrency and `users_post` is warmed.
fn provisioned(version: &str, count: u16) -> Desired {
    let mut desired = desired(version);
    let of = |key: &str| key.parse().unwrap();
    desired.functions.get_mut(&of("users_get")).unwrap().provisioned = NonZeroU16::new(count);
    desired.functions.get_mut(&of("users_post")).unwrap().warm = NonZeroU16::new(3);
    desired
}

async fn release_as(actor: &StageContext, cloud: &Cloud, desired: Desired) -> Result<Released> {
    let held = HeldStage::take(actor, cloud.clone(), "release".into()).await?;
    Box::pin(held.during(async |held| held.release(cloud, desired, origin()).await)).await
}

async fn release(cloud: &Cloud, version: &str, count: u16) -> Result<Released> {
    release_as(&actor(), cloud, provisioned(version, count)).await
}

/// The versions with provisioned concurrency, and how much.
fn found(cloud: &Cloud) -> Vec<(String, u16)> {
    let state = cloud.state.lock().unwrap();
    state.provisioned.iter().map(|(id, provisioned)| (id.clone(), provisioned.requested)).collect()
}

fn of(versions: &[(&str, u16)]) -> Vec<(String, u16)> {
    versions.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
}

async fn listed(cloud: &Cloud) -> usize {
    let document = Lease::peek(cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
    document.provisioned.len()
}

#[tokio::test]
async fn it_is_allocated_before_the_switch_and_two_releases_keep_it() {
    let cloud = two_releases().await;
    let notes = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&notes);
    let events = Events::new(move |event| {
        if let Event::Note(text) = event {
            collected.lock().unwrap().push_str(text);
        }
    });
    cloud.arm(&[]);
    release_as(&StageContext { events, ..actor() }, &cloud, provisioned("3", 5)).await.unwrap();
    let calls = cloud.calls();
    let last_read = calls.iter().rposition(|call| *call == "GetProvisionedConcurrencyConfig").unwrap();
    let switch = calls.iter().position(|call| *call == "UpdateStage").unwrap();
    let put = calls.iter().position(|call| *call == "PutProvisionedConcurrencyConfig").unwrap();
    assert!(put < last_read && last_read < switch, "{calls:?}");
    let ready = Provisioned { requested: 5, allocation: Allocation::Ready };
    assert_eq!(cloud.state.lock().unwrap().provisioned["users_get:3"], ready);
    let warm = cloud.state.lock().unwrap().invoked.iter().filter(|id| id.starts_with("users_post:3")).count();
    assert_eq!(warm, 3);
    let notes = notes.lock().unwrap().clone();
    assert!(notes.contains("users_get 5 x 512 MB = 2.50 GB, 9000 GB-seconds an hour"), "{notes}");
    assert!(notes.contains("warm    users_post (users_post): 3 invocations at once"), "{notes}");

    release(&cloud, "4", 5).await.unwrap();
    assert_eq!(found(&cloud), of(&[("users_get:3", 5), ("users_get:4", 5)]));
    release(&cloud, "5", 2).await.unwrap();
    assert_eq!(found(&cloud), of(&[("users_get:4", 5), ("users_get:5", 2)]));
    // Another count for the same code is a release, too.
    cloud.arm(&[]);
    let again = release(&cloud, "5", 3).await.unwrap();
    assert!(!again.unchanged);
    assert_eq!(cloud.state.lock().unwrap().provisioned["users_get:5"].requested, 3);
    assert!(release(&cloud, "5", 3).await.unwrap().unchanged);
    // Without it in the contract, the next two releases end it.
    for version in ["6", "7"] {
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    assert_eq!((found(&cloud), listed(&cloud).await), (Vec::new(), 0));
}

#[tokio::test]
async fn a_rollback_switches_first_and_sets_again_what_is_missing() {
    let cloud = two_releases().await;
    release(&cloud, "3", 5).await.unwrap();
    release(&cloud, "4", 5).await.unwrap();
    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert!(!cloud.calls().contains(&"PutProvisionedConcurrencyConfig"), "release 3 has kept its own");
    assert_eq!(found(&cloud), of(&[("users_get:3", 5), ("users_get:4", 5)]));
    release(&cloud, "5", 5).await.unwrap();
    release(&cloud, "6", 5).await.unwrap();
    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(Some("3"))).await.unwrap();
    let calls = cloud.calls();
    let place = |name: &str| calls.iter().position(|call| *call == name).unwrap();
    assert!(place("UpdateStage") < place("PutProvisionedConcurrencyConfig"), "{calls:?}");
    assert_eq!(found(&cloud), of(&[("users_get:3", 5), ("users_get:6", 5)]));
    // If it cannot be set, that is a warning.
    run(&cloud, &actor(), Operation::Rollback(Some("6"))).await.unwrap();
    let start = cloud.copy();
    cloud.arm(&[]);
    run(&cloud, &actor(), Operation::Rollback(Some("4"))).await.unwrap();
    let put = cloud.calls().iter().position(|call| *call == "PutProvisionedConcurrencyConfig").unwrap();
    start.arm(&[(put, Fault::Rejected)]);
    let (events, warned) = warnings();
    run(&start, &StageContext { events, ..actor() }, Operation::Rollback(Some("4"))).await.unwrap();
    assert_eq!(served(&start), "4");
    assert!(warned.lock().unwrap().contains("not all of its functions have their provisioned concurrency"));
}

#[tokio::test]
async fn what_cannot_be_allocated_stops_the_release_with_the_reason() {
    let cloud = two_releases().await;
    let reason = "FUNCTION_ERROR_INIT_FAILURE".to_owned();
    cloud.state.lock().unwrap().unallocatable.insert("users_get:3".into(), reason);
    let error = release(&cloud, "3", 5).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ReleaseNotSwitched), "{error}");
    assert!(error.causes()[0].contains("FUNCTION_ERROR_INIT_FAILURE"), "{:?}", error.causes());
    assert_eq!(served(&cloud), "2");
    // Nothing is charged for a release that does not serve.
    assert_eq!((found(&cloud), listed(&cloud).await), (Vec::new(), 0));
    cloud.state.lock().unwrap().unallocatable.clear();
    release(&cloud, "3", 5).await.unwrap();

    // The same if the new release fails after the switch.
    cloud.state.lock().unwrap().status.insert("4".into(), 500);
    let error = release(&cloud, "4", 5).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseSwitchedBack);
    assert_eq!(found(&cloud), of(&[("users_get:3", 5)]));
}

#[tokio::test]
async fn an_alias_with_provisioned_concurrency_is_refused_before_anything_is_published() {
    let cloud = two_releases().await;
    let here = Provisioned { requested: 1, allocation: Allocation::Ready };
    cloud.state.lock().unwrap().provisioned.insert("users_get:live".into(), here);
    let alias = crate::release::state::AliasState {
        target: AliasTarget::only("2".parse().unwrap()),
        revision: "1".into(),
    };
    cloud.state.lock().unwrap().aliases.insert("users_get:live".into(), alias);
    let mut desired = provisioned("3", 5);
    desired.functions.get_mut(&"users_get".parse().unwrap()).unwrap().alias = Some("live".parse().unwrap());
    cloud.arm(&[]);
    let error = release_as(&actor(), &cloud, desired).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ReleaseRefused), "{error}");
    assert!(!cloud.calls().contains(&"UpdateFunctionCode"));
}

#[tokio::test]
async fn a_prune_deletes_it_with_its_version() {
    let cloud = two_releases().await;
    release(&cloud, "3", 5).await.unwrap();
    // A command that was killed has left it on a version that no release needs.
    let actor = actor();
    for version in ["4", "5", "6"] {
        run(&cloud, &actor, Operation::Release(version)).await.unwrap();
    }
    let here = Provisioned { requested: 5, allocation: Allocation::Ready };
    cloud.state.lock().unwrap().provisioned.insert("users_get:3".into(), here);
    let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await.unwrap();
    let version = ("users_get".parse().unwrap(), "3".parse().unwrap());
    held.during(async |held| {
        held.lease.record_provisioned([version].into()).await.unwrap();
        Ok(())
    })
    .await
    .unwrap();
    let job = Job {
        keep: NonZeroUsize::new(2).unwrap(),
        api: ("api", "dev"),
        functions: BTreeSet::new(),
        artifacts: &[],
    };
    let shown = prune::plan(&actor.stage, &cloud, &cloud, &job).await.unwrap();
    let held = HeldStage::take(&actor, cloud.clone(), "prune".into()).await.unwrap();
    Box::pin(held.during(async |held| held.prune(&cloud, &job, &shown).await)).await.unwrap();
    assert!(cloud.state.lock().unwrap().functions["users_get"].deleted.contains(&3));
    assert_eq!((found(&cloud), listed(&cloud).await), (Vec::new(), 0));
}

#[tokio::test]
async fn no_fault_leaves_provisioned_concurrency_that_the_next_releases_do_not_find() {
    let undisturbed = two_releases().await;
    release(&undisturbed, "3", 5).await.unwrap();
    let start = undisturbed.copy();
    undisturbed.arm(&[]);
    release(&undisturbed, "4", 5).await.unwrap();
    let calls = undisturbed.calls();
    let mut points = 0;
    for (at, call) in calls.iter().enumerate() {
        for fault in FAULTS.into_iter().chain([Fault::Interrupted]) {
            points += 1;
            let place = format!("call {at} ({call}), {fault:?}");
            let cloud = start.copy();
            cloud.arm(&[(at, fault)]);
            let context = StageContext { cancel: cloud.interrupt.clone(), ..actor() };
            tokio::select! {
                _ = Box::pin(release_as(&context, &cloud, provisioned("4", 5))) => {}
                () = cloud.killed.notified() => {}
            }
            cloud.arm(&[]);
            lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
            for version in ["5", "6"] {
                Box::pin(release(&cloud, version, 5))
                    .await
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            assert_eq!(served(&cloud), "6", "{place}");
            let live = cloud.state.lock().unwrap().pointer.variables["users_get"].parse::<u16>().unwrap();
            let expected = [live - 1, live].map(|version| (format!("users_get:{version}"), 5));
            assert_eq!(found(&cloud), expected, "{place}");
            assert_eq!(listed(&cloud).await, 2, "{place}");
        }
    }
    println!("points tried {points}");
}

#[tokio::test]
async fn a_canary_has_it_too_until_its_end_and_repeats_nothing() {
    for promoted in [true, false] {
        let cloud = two_releases().await;
        for version in ["3", "4"] {
            release(&cloud, version, 5).await.unwrap();
        }
        let migrate = Preparation {
            name: "tables".into(),
            function: "user_get".parse().unwrap(),
            payload: serde_json::Map::new(),
            timeout: Duration::from_secs(60),
        };
        let actor = StageContext { preparations: vec![migrate], ..super::canary::by_canary(actor()) };
        let canary = release_as(&actor, &cloud, provisioned("5", 5)).await.unwrap().canary.unwrap();
        assert_eq!(found(&cloud), of(&[("users_get:3", 5), ("users_get:4", 5), ("users_get:5", 5)]));
        let invoked = || cloud.state.lock().unwrap().invoked.clone();
        let before = invoked();
        assert_eq!(before.iter().filter(|id| id.starts_with("users_post:5")).count(), 3);
        assert_eq!(before.iter().filter(|id| id.starts_with("user_get:5")).count(), 1);
        assert_eq!(actor.appended.take(), []);

        let stage = CanaryStage { context: &actor, store: cloud.clone(), port: &cloud };
        let record = if promoted {
            Box::pin(stage.follow(canary)).await
        } else {
            let reason = ("asked to".to_owned(), None);
            Box::pin(stage.abort(&canary, None, reason, Duration::ZERO)).await
        };
        let record = record.unwrap();
        let (outcome, kept) = if promoted { (Outcome::Live, 4) } else { (Outcome::SwitchedBack, 3) };
        assert_eq!((record.outcome, actor.appended.take()), (outcome, vec![record.clone()]));
        let kept = [kept, kept + 1].map(|number| (format!("users_get:{number}"), 5));
        assert_eq!((found(&cloud), listed(&cloud).await), (kept.to_vec(), 2));
        assert_eq!(invoked(), before);
    }
}
