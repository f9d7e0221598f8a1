//! Changes made without deployctl are reported, and no command leaves half a change.

use std::collections::BTreeMap;

use super::*;
use crate::engine::observe::{self, Freshness};
use crate::error::ErrorId;
use crate::release::definition::Definition;

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

/// What is read does not prove that the deployed API is the defined one, so the stage is neither fresh nor
/// stale; a real change is still seen.
#[tokio::test]
async fn a_definition_with_doubts_is_not_fresh() {
    let cloud = two_releases().await;
    let with_status = |status: Option<&str>, timeout: u64| {
        let mut parts: BTreeMap<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(super::cloud::definition(timeout)).unwrap()).unwrap();
        parts.insert("api".to_owned(), json!({ "policy": "p" }));
        let doubt = status.map(|status| format!("an update: {status}"));
        if let Some(status) = status {
            parts.insert("api".to_owned(), json!({ "policy": "p", "status": status }));
        }
        Definition::new(parts).with_unproven(doubt.into_iter().collect())
    };
    let fresh = async || {
        let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
        let stage = observe::stage(&cloud).await.unwrap();
        let head = ledger.head().await.unwrap();
        let live = observe::definition(&cloud).await.unwrap();
        observe::freshness(&cloud, &ledger, &stage, head.current.as_ref(), &live).await.unwrap()
    };
    let define = |definition| cloud.state.lock().unwrap().definition = definition;
    let doubts = |status: &str| Freshness::Unknown(vec![format!("an update: {status}")]);

    define(with_status(None, 1));
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert!(matches!(fresh().await, Freshness::Fresh(_)));
    // The security policy of the API is being changed.
    define(with_status(Some("UPDATING"), 1));
    assert_eq!(fresh().await, doubts("UPDATING"));
    define(with_status(Some("UPDATING"), 2));
    assert!(matches!(fresh().await, Freshness::Stale(..)));
    // A release says so, and is stale when the update has ended: AWS asks for another deployment.
    let (events, warnings) = warnings();
    let context = StageContext { events, ..actor() };
    let record = run(&cloud, &context, Operation::Release("4")).await.unwrap();
    assert!(warnings.lock().unwrap().contains("an update: UPDATING; deployed, but"), "{warnings:?}");
    assert_eq!(record.release.api.unproven, ["an update: UPDATING"]);
    assert_eq!(fresh().await, doubts("UPDATING"));
    define(with_status(None, 2));
    assert!(matches!(fresh().await, Freshness::Stale(..)));
    let record = run(&cloud, &actor(), Operation::Redeploy).await.unwrap();
    assert_eq!(record.release.api.unproven, [""; 0]);
    assert!(matches!(fresh().await, Freshness::Fresh(_)));
}

/// Lambda's own hash of the configuration is a reason to publish, and never a reason not to.
#[tokio::test]
async fn lambdas_hash_of_the_configuration() {
    let cloud = two_releases().await;
    let published = async |version: &'static str| {
        cloud.arm(&[]);
        run(&cloud, &actor(), Operation::Promote(version)).await.unwrap();
        cloud.calls().iter().filter(|call| **call == "PublishVersion").count()
    };
    let change = |hash: &str, config: &str| {
        let mut state = cloud.state.lock().unwrap();
        let function = state.functions.get_mut("user_get").unwrap();
        function.aws_config = Some(hash.to_owned());
        function.config = Sha256::of(config.as_bytes());
    };
    // An earlier version of deployctl, or of Lambda, did not record a hash.
    change("h1", "config");
    assert_eq!(published("2").await, 0);
    change("h2", "config");
    assert_eq!(published("2").await, 1);
    assert_eq!(published("2").await, 0);
    change("h2", "other config");
    assert_eq!(published("2").await, 1);
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
