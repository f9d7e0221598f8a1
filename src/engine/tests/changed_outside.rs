//! Changes made without deployctl are reported, and no command leaves half a change.

use super::*;
use crate::error::ErrorId;

#[tokio::test]
async fn a_function_that_was_deleted() {
    let cloud = two_releases().await;
    let before = cloud.state.lock().unwrap().pointer.clone();
    cloud.state.lock().unwrap().functions.remove("user_get");
    for (operation, id, text) in [
        (Operation::Release("3"), ErrorId::FunctionMissing, "function user_get: it does not exist"),
        (Operation::Promote("3"), ErrorId::FunctionMissing, "function user_get: it does not exist"),
        (Operation::Rollback(None), ErrorId::RollbackGone, "user_get:1 no longer exists"),
        (Operation::Rollback(Some("1")), ErrorId::RollbackGone, "user_get:1 no longer exists"),
    ] {
        cloud.arm(&[]);
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (10, id), "{operation:?}");
        assert!(error.message.contains(text), "{operation:?}: {error}");
        assert!(error.hint.is_some());
        let calls = cloud.calls();
        for write in ["UpdateFunctionCode", "PublishVersion", "CreateDeployment", "UpdateStage"] {
            assert!(!calls.contains(&write), "{operation:?}: {calls:?}");
        }
        assert_eq!(cloud.state.lock().unwrap().pointer, before, "{operation:?}");
    }
}

#[tokio::test]
async fn a_stage_that_the_api_does_not_have() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().absent = true;
    for operation in OPERATIONS {
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::StageMissing), "{operation:?}: {error}");
    }
}

#[tokio::test]
async fn a_version_that_is_a_prefix_of_another() {
    let cloud = two_releases().await;
    for version in ["1.0", "1.0.1"] {
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    let error = run(&cloud, &actor(), Operation::Rollback(Some("1.0."))).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (2, ErrorId::RollbackUnknownVersion));
    assert_eq!(served(&cloud), "1.0.1");
    for version in ["1", "1.0", "1.0.1", "1"] {
        run(&cloud, &actor(), Operation::Rollback(Some(version))).await.unwrap();
        assert_eq!(served(&cloud), version);
    }
}

#[tokio::test]
async fn the_code_that_a_failed_release_sent_is_remembered() {
    let cloud = two_releases().await;
    run(&cloud, &checked(json!({ "fail": true }), 200), Operation::Release("3")).await.unwrap_err();
    let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
    for name in FUNCTIONS {
        assert_eq!(document.sent[&name.parse().unwrap()], code("3").base64());
    }
    // Later commands keep it.
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
    assert_eq!(document.sent.len(), FUNCTIONS.len());
}
