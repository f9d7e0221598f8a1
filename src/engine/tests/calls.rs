//! Calls whose version no release sets: refused before anything is published, and never by a rollback.

use serde_json::json;

use super::cloud::{Cloud, Fault};
use super::{Operation, actor, run, served, two_releases};
use crate::engine::ledger::Ledger;
use crate::engine::observe;
use crate::error::ErrorId;
use crate::release::definition::Definition;

/// An API that calls `users_get` with this qualifier.
fn calling(qualifier: &str) -> Definition {
    let arn = format!("arn:aws:lambda:eu-west-1:111111111111:function:users_get{qualifier}");
    let uri = format!("arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{arn}/invocations");
    let part = json!({ "integration": { "type": "AWS_PROXY", "uri": uri } });
    Definition::new([("GET /users".to_owned(), part)].into())
}

const WRITES: [&str; 4] = ["UpdateFunctionCode", "PublishVersion", "CreateDeployment", "UpdateStage"];

fn define(cloud: &Cloud, definition: Definition) {
    cloud.state.lock().unwrap().definition = definition;
}

fn writes(cloud: &Cloud) -> Vec<&'static str> {
    cloud.calls().into_iter().filter(|call| WRITES.contains(call)).collect()
}

#[tokio::test]
async fn a_call_without_its_version_is_refused_before_anything_is_published() {
    for operation in [Operation::Release("3"), Operation::Promote("3"), Operation::Redeploy] {
        let cloud = two_releases().await;
        define(&cloud, calling(""));
        cloud.arm(&[]);
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ApiUnversioned), "{operation:?}");
        for part in
            ["GET /users calls $LATEST of users_get", ":users_get:$${stageVariables.users_get}/invocations\""]
        {
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(writes(&cloud), [""; 0], "{operation:?}");
        assert_eq!(served(&cloud), "2");

        define(&cloud, calling(":${stageVariables.users_get}"));
        run(&cloud, &actor(), operation).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_loses_its_version_while_the_api_is_deployed_is_not_switched_to() {
    for operation in [Operation::Release("3"), Operation::Redeploy] {
        let cloud = two_releases().await;
        let versioned = calling(":${stageVariables.users_get}");
        define(&cloud, versioned.clone());
        let undisturbed = cloud.copy();
        undisturbed.arm(&[]);
        run(&undisturbed, &actor(), operation).await.unwrap();
        let create = undisturbed.calls().iter().position(|call| *call == "CreateDeployment").unwrap();
        cloud.state.lock().unwrap().next_definition = Some(calling(":live"));
        cloud.arm(&[(create, Fault::Edited)]);
        let error = run(&cloud, &actor(), operation).await.unwrap_err();
        assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::ApiUnversioned), "{operation:?}");
        assert!(error.message.contains("GET /users calls alias live of users_get"), "{error}");
        assert_eq!(cloud.state.lock().unwrap().switches, 0);
        assert_eq!(served(&cloud), "2");
    }
}

#[tokio::test]
async fn a_rollback_is_never_refused_and_its_calls_are_known() {
    let cloud = two_releases().await;
    define(&cloud, calling(":7"));
    let mut release = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap().release;
    assert_eq!(served(&cloud), "1");

    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    cloud.arm(&[]);
    let calls = observe::unversioned_calls(&cloud, &ledger, &release).await.unwrap().unwrap();
    assert_eq!(
        (calls.as_slice(), cloud.calls().len()),
        ([].as_slice(), 0),
        "it was checked when it was made"
    );
    // The release of a deployctl that did not check.
    release.api.versioned = false;
    release.api.fingerprint = ledger.store_definition(&calling("")).await.unwrap();
    let calls = observe::unversioned_calls(&cloud, &ledger, &release).await.unwrap().unwrap();
    assert_eq!(calls[0].to_string(), "GET /users calls $LATEST of users_get");
    release.api.fingerprint = calling(":8").fingerprint();
    assert_eq!(observe::unversioned_calls(&cloud, &ledger, &release).await.unwrap(), None);
}
