//! A release that is live already creates nothing.

use super::*;
use crate::engine::operations::Released;

async fn release(cloud: &Cloud, desired: Desired, origin: Origin<'static>) -> Result<Released> {
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await?;
    Box::pin(held.during(async |held| held.release(cloud, desired, origin).await)).await
}

/// Releases 1 and 2, and no edit.
async fn fresh() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    for version in ["1", "2"] {
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    cloud.arm(&[]);
    cloud
}

const WRITES: [&str; 5] = ["UpdateFunctionCode", "PublishVersion", "CreateDeployment", "UpdateStage", "GET"];

#[tokio::test]
async fn the_live_release_again_creates_nothing() {
    let cloud = fresh().await;
    let before = cloud.state.lock().unwrap().pointer.clone();
    let promoted_from = Some("test".parse().unwrap());
    for origin in [origin(), Origin { promoted_from, ..origin() }] {
        let done = release(&cloud, desired("2"), origin).await.unwrap();
        assert!(done.unchanged);
        assert_eq!((done.record.number, &done.record.pointer), (2, &before));
        let calls = cloud.calls();
        assert!(!calls.iter().any(|call| WRITES.contains(call)), "{calls:?}");
        assert_eq!(cloud.state.lock().unwrap().pointer, before);
        assert_eq!(Ledger::new(cloud.clone(), "dev".parse().unwrap()).numbers().await.unwrap(), [1, 2]);
    }
    let done = release(&cloud, desired("2"), Origin { force: true, ..origin() }).await.unwrap();
    assert!(!done.unchanged);
    assert_ne!(cloud.state.lock().unwrap().pointer.deployment_id, before.deployment_id);
    assert_eq!(done.record.number, 3);
}

/// Everything that must be the same, and is not.
#[tokio::test]
async fn any_difference_deploys() {
    type Change = fn(&Cloud, &mut Desired, &mut Origin<'static>);
    let changes: [(&str, Change); 11] = [
        ("another version", |_, desired, _| desired.version = "3".parse().unwrap()),
        ("other bytes", |_, desired, _| {
            desired.artifacts.get_mut("users").unwrap().sha256 = code("3");
        }),
        ("another artifact", |_, desired, _| {
            let other = desired.artifacts["users"].clone();
            desired.artifacts.insert("more".into(), other);
        }),
        ("a function less", |_, desired, _| drop(desired.functions.pop_first())),
        ("another API", |_, _, origin| origin.api = ("other", "dev")),
        ("another configuration", |cloud, _, _| {
            let mut state = cloud.state.lock().unwrap();
            state.functions.get_mut("user_get").unwrap().config = Sha256::of(b"other");
        }),
        ("a stale API", |cloud, _, _| cloud.state.lock().unwrap().definition = definition(5000)),
        ("an API that cannot be proven", |cloud, _, _| {
            let definition = definition(29000).with_unproven(vec!["an update: UPDATING".into()]);
            cloud.state.lock().unwrap().definition = definition;
        }),
        ("a variable that was changed by hand", |cloud, _, _| {
            cloud.state.lock().unwrap().pointer.variables.insert("user_get".into(), "1".into());
        }),
        ("a version that was deleted", |cloud, _, _| {
            let mut state = cloud.state.lock().unwrap();
            let function = state.functions.get_mut("user_get").unwrap();
            function.deleted.insert(function.versions.len());
        }),
        ("a version that is inactive", |cloud, _, _| {
            let mut state = cloud.state.lock().unwrap();
            state.asleep.insert("user_get:2".into(), cloud::Asleep::Inactive);
        }),
    ];
    for (what, change) in changes {
        let cloud = fresh().await;
        let (mut desired, mut origin) = (desired("2"), origin());
        change(&cloud, &mut desired, &mut origin);
        let done = release(&cloud, desired, origin).await.unwrap();
        assert!(!done.unchanged, "{what}");
        assert!(cloud.calls().contains(&"CreateDeployment"), "{what}");
        assert_eq!(done.record.number, 3, "{what}");
    }
}

/// A release that was killed after its switch did not finish its checks.
#[tokio::test]
async fn a_release_that_another_command_recorded_is_deployed_again() {
    let undisturbed = fresh().await;
    run(&undisturbed, &actor(), Operation::Release("3")).await.unwrap();
    let switch = undisturbed.calls().iter().position(|call| *call == "UpdateStage").unwrap();
    let cloud = fresh().await;
    cloud.arm(&[(switch, Fault::KilledAfter)]);
    assert!(run_unless_killed(&cloud, Operation::Release("3")).await.is_none());
    cloud.arm(&[]);
    lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
    assert!(!release(&cloud, desired("3"), origin()).await.unwrap().unchanged);
    assert!(release(&cloud, desired("3"), origin()).await.unwrap().unchanged);
}
