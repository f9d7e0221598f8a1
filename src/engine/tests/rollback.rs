//! Which release a rollback goes to.

use super::*;
use crate::engine::operations::RolledBack;

/// A rollback without a version.
async fn back(cloud: &Cloud) -> Result<RolledBack> {
    back_to(cloud, None).await
}

async fn back_to(cloud: &Cloud, version: Option<&str>) -> Result<RolledBack> {
    let to = version.map(|version| version.parse().unwrap());
    let options = RollbackOptions { to: to.as_ref(), no_wait: false };
    Box::pin(HeldStage::rollback(&actor(), cloud.clone(), cloud, options, None)).await
}

/// The version and the record that a rollback went to.
fn target(done: &RolledBack) -> (&str, u64) {
    (done.target.release.version.as_str(), done.target.number)
}

/// Releases 1, 2, and 2 again: records 1, 2 and 3, without an edit of the API.
async fn the_same_version_twice() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    for operation in [Operation::Release("1"), Operation::Release("2"), Operation::ForcedRelease("2")] {
        run(&cloud, &actor(), operation).await.unwrap();
    }
    cloud.arm(&[]);
    cloud
}

#[tokio::test]
async fn a_release_that_was_made_twice_is_not_rolled_back_to_itself() {
    let cloud = the_same_version_twice().await;
    let before = cloud.state.lock().unwrap().pointer.clone();
    assert_eq!(target(&back(&cloud).await.unwrap()), ("1", 1));
    assert_eq!(served(&cloud), "1");
    // The second one returns to exactly what was live.
    assert_eq!(target(&back(&cloud).await.unwrap()), ("2", 3));
    assert_eq!(cloud.state.lock().unwrap().pointer, before);
    assert_eq!(target(&back(&cloud).await.unwrap()), ("1", 4));
}

#[tokio::test]
async fn a_redeploy_is_undone_only_if_the_api_has_changed() {
    let cloud = the_same_version_twice().await;
    run(&cloud, &actor(), Operation::Redeploy).await.unwrap();
    cloud.state.lock().unwrap().definition = definition(5000);
    run(&cloud, &actor(), Operation::Redeploy).await.unwrap();
    run(&cloud, &actor(), Operation::Redeploy).await.unwrap();
    // Records 3 to 6 have the same functions, and 5 and 6 another API.
    let done = back(&cloud).await.unwrap();
    assert_eq!(target(&done), ("2", 4));
    assert_ne!(done.target.release.api.fingerprint, definition(5000).fingerprint());
    assert_eq!(target(&back(&cloud).await.unwrap()), ("2", 6));
}

#[tokio::test]
async fn without_another_release_nothing_is_rolled_back() {
    let cloud = Cloud::new(&FUNCTIONS);
    for operation in [Operation::Release("1"), Operation::ForcedRelease("1"), Operation::Redeploy] {
        run(&cloud, &actor(), operation).await.unwrap();
        cloud.arm(&[]);
        let error = back(&cloud).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::RollbackNoTarget), "{error}");
        assert!(error.message.contains("1 is live, and no earlier release"), "{error}");
        let hint = error.hint.unwrap();
        assert!(hint.contains("1 is still live"), "{hint}");
        assert!(hint.contains("`deployctl release --version <V> --stage dev`"), "{hint}");
        assert_eq!(cloud.state.lock().unwrap().switches, 0);
    }
}

#[tokio::test]
async fn the_version_that_is_live_is_not_switched_to_again() {
    let cloud = the_same_version_twice().await;
    let done = back_to(&cloud, Some("2")).await.unwrap();
    assert_eq!((done.record.number, target(&done)), (3, ("2", 3)));
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(Ledger::new(cloud.clone(), "dev".parse().unwrap()).numbers().await.unwrap(), [1, 2, 3]);
    // A canary serves some requests something else.
    cloud.state.lock().unwrap().canary = Some(cloud::canary("d1"));
    assert_eq!(back_to(&cloud, Some("2")).await.unwrap_err().id, ErrorId::ReleaseRefused);
}

#[tokio::test]
async fn a_stage_that_was_moved_by_hand_goes_back_to_its_release() {
    let cloud = the_same_version_twice().await;
    let set = |name: &str, value: &str| {
        cloud.state.lock().unwrap().pointer.variables.insert(name.to_owned(), value.to_owned());
    };
    for to in [None, Some("2")] {
        set("user_get", "1");
        let done = back_to(&cloud, to).await.unwrap();
        assert_eq!(target(&done).0, "2");
        assert_eq!(done.record.before.record, None, "no record has what was live");
        assert_eq!(served(&cloud), "2");
    }
    // A variable that belongs to no release does not matter.
    set("another", "theirs");
    let done = back(&cloud).await.unwrap();
    assert_eq!((target(&done).0, served(&cloud)), ("1", "1".to_owned()));
    assert_eq!(cloud.state.lock().unwrap().pointer.variables["another"], "theirs");
}
