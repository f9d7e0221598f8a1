//! The first release of a stage whose live deployment calls functions without a version.

use super::*;

/// A stage that Terraform made: its deployment calls `users_get` without a version, and the API is corrected.
fn adopted() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    {
        let mut state = cloud.state.lock().unwrap();
        let uri = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/\
                   arn:aws:lambda:eu-west-1:111111111111:function:users_get/invocations";
        let integration = json!({ "type": "AWS_PROXY", "uri": uri });
        let frozen = [("GET /users".to_owned(), json!({ "integration": integration }))].into();
        state.deployments[0].1 = crate::release::definition::Definition::new(frozen);
    }
    cloud
}

async fn release(cloud: &Cloud, desired: Desired, not_atomic: bool) -> Result<Record> {
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "release".into()).await?;
    let origin = Origin { not_atomic, ..origin() };
    held.during(async |held| Ok(held.release(cloud, desired, origin).await?.record)).await
}

#[tokio::test]
async fn new_code_that_callers_would_get_before_the_switch_is_refused() {
    let cloud = adopted();
    let error = release(&cloud, desired("1"), false).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ReleaseNotAtomic), "{error}");
    assert!(error.message.ends_with("before the switch: users_get (users_get)"), "{error}");
    assert!(error.hint.unwrap().contains("--running-code"));
    assert!(!cloud.calls().contains(&"UpdateFunctionCode"));
    release(&cloud, desired("1"), true).await.unwrap();
    assert_eq!(served(&cloud), "1");
    // From now on, the live deployment is one of deployctl's, and is not read again.
    cloud.arm(&[]);
    release(&cloud, desired("2"), false).await.unwrap();
    assert!(!cloud.calls().contains(&"GetExport"));
}

#[tokio::test]
async fn the_first_release_can_publish_the_code_that_runs() {
    let cloud = adopted();
    let running = Sha256::of(b"created").base64();
    let first = Desired { artifacts: BTreeMap::new(), running_code: true, ..desired("1") };
    let record = release(&cloud, first.clone(), false).await.unwrap();
    assert!(record.release.artifacts.is_empty());
    assert!(record.release.functions.values().all(|function| function.code_sha256 == running));
    assert!(!cloud.calls().contains(&"UpdateFunctionCode"));
    // Again, it is unchanged. The next release sends code, and a rollback returns to the code that ran.
    assert_eq!(release(&cloud, first, false).await.unwrap().number, record.number);
    release(&cloud, desired("2"), false).await.unwrap();
    assert_eq!(served(&cloud), "2");
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let state = cloud.state.lock().unwrap();
    for name in FUNCTIONS {
        let version = &state.pointer.variables[name];
        assert_eq!(state.functions[name].version(version), Some(running.as_str()), "{name}");
    }
}

/// Such code is also that of a preview.
#[tokio::test]
async fn code_that_was_sent_and_is_not_live_is_no_running_code() {
    let cloud = Cloud::new(&FUNCTIONS);
    for version in ["1", "2"] {
        release(&cloud, desired(version), false).await.unwrap();
    }
    let running = Desired { artifacts: BTreeMap::new(), running_code: true, ..desired("3") };
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    cloud.arm(&[]);
    let error = release(&cloud, running.clone(), false).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ReleaseRunningCode), "{error}");
    assert!(!cloud.calls().contains(&"PublishVersion"), "{:?}", cloud.calls());
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let record = release(&cloud, running, false).await.unwrap();
    assert!(record.release.functions.values().all(|function| function.code_sha256 == code("2").base64()));
}

#[tokio::test]
async fn the_same_code_and_functions_that_are_declared_so_are_not_refused() {
    let cloud = adopted();
    cloud.state.lock().unwrap().called_latest.insert("users_get".into());
    release(&cloud, contract(&cloud, "1"), false).await.unwrap();

    let cloud = adopted();
    for function in cloud.state.lock().unwrap().functions.values_mut() {
        function.latest = code("1").base64();
    }
    release(&cloud, desired("1"), false).await.unwrap();
    assert!(!cloud.calls().contains(&"GetExport"), "nothing is sent");
}

#[tokio::test]
async fn if_the_live_deployment_cannot_be_read_the_plan_says_so() {
    let undisturbed = adopted();
    release(&undisturbed, desired("1"), false).await.unwrap_err();
    let at = undisturbed.calls().iter().position(|call| *call == "GetExport").unwrap();
    let cloud = adopted();
    cloud.arm(&[(at, Fault::Rejected)]);
    let notes = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&notes);
    let events = Events::new(move |event| {
        if let Event::Note(text) = event {
            collected.lock().unwrap().push_str(text);
        }
    });
    run(&cloud, &StageContext { events, ..actor() }, Operation::Release("1")).await.unwrap();
    let notes = notes.lock().unwrap().clone();
    assert!(
        notes.contains("unknown whether the live deployment calls functions without a version"),
        "{notes}"
    );
}

#[tokio::test]
async fn an_image_is_sent_by_its_digest_and_rolled_back_like_a_zip() {
    let cloud = Cloud::new(&FUNCTIONS);
    let image = |version: &str| {
        let mut desired = desired(version);
        let record = desired.artifacts.get_mut("users").unwrap();
        record.image = true;
        record.key =
            format!("111111111111.dkr.ecr.eu-west-1.amazonaws.com/users@sha256:{}", record.sha256.hex());
        desired
    };
    let error = release(&cloud, image("1"), false).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseRefused);
    assert!(error.causes()[0].contains("it is a container image, and the function runs zips"), "{error:?}");

    cloud.state.lock().unwrap().images = true;
    for version in ["1", "2"] {
        let record = release(&cloud, image(version), false).await.unwrap();
        let hashes = record.release.functions.values().map(|function| function.code_sha256.clone());
        assert!(hashes.into_iter().all(|hash| hash == code(version).hex()), "{record:?}");
    }
    let done = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(done.release.version.as_str(), "1");
    let error = release(&cloud, desired("3"), false).await.unwrap_err();
    assert!(error.causes()[0].contains("it is a zip, and the function runs container images"), "{error:?}");
}
