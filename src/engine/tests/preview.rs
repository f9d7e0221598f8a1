//! Tests of previews, with every fault at every call of `up` and `down`.

use jiff::Timestamp;

use super::*;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::preview::{PreviewPort, Up, Wanted, close, previews};
use crate::release::model::{Pointer, PreviewName};
use crate::release::preview::{Preview, PreviewDescription, is_of_preview, version};
use crate::release::state::StageUse;

/// The most stages of an API.
const STAGES: usize = 10;

impl PreviewPort for Cloud {
    async fn create_stage(
        &self,
        name: &str,
        pointer: &Pointer,
        description: &PreviewDescription,
    ) -> std::result::Result<(), Failure> {
        self.call("CreateStage", |state| {
            if state.stages.iter().any(|stage| stage.name == name) {
                return Err(Failure { meaning: Meaning::Precondition, ..refusal("CreateStage", None) });
            }
            if state.stages.len() + 1 >= STAGES {
                return Err(refusal("CreateStage", Some("LimitExceededException")));
            }
            assert!(state.deployments.iter().any(|(there, _)| there.id == pointer.deployment_id));
            state.stages.push(stage(name, pointer, description));
            Ok(())
        })
        .await
    }

    async fn update_preview(
        &self,
        name: &str,
        (_, to): (&Pointer, &Pointer),
        description: &PreviewDescription,
    ) -> std::result::Result<(), Failure> {
        self.call("UpdateStage", |state| {
            let found = state.stages.iter_mut().find(|stage| stage.name == name);
            let found = found.ok_or_else(|| refusal("UpdateStage", None))?;
            *found = stage(name, to, description);
            Ok(())
        })
        .await
    }

    async fn delete_stage(&self, name: &str) -> std::result::Result<(), Failure> {
        self.call("DeleteStage", |state| {
            state.stages.retain(|stage| stage.name != name);
            Ok(())
        })
        .await
    }
}

fn refusal(operation: &'static str, code: Option<&str>) -> Failure {
    let code = code.map(str::to_owned);
    Failure { code, ..Failure::rejected(operation, "the cloud in memory", "refused") }
}

fn stage(name: &str, pointer: &Pointer, description: &PreviewDescription) -> StageUse {
    StageUse {
        name: name.to_owned(),
        description: description.to_string(),
        deployments: vec![pointer.deployment_id.clone()],
        variables: pointer.variables.clone().into_iter().collect(),
    }
}

fn name(text: &str) -> PreviewName {
    text.parse().unwrap()
}

/// A preview of `code`: only the function `users_get` has other code than release 2.
fn changed(code_of: &str, preview: &PreviewName) -> Desired {
    let mut wanted = desired("2");
    let mut zip = wanted.artifacts["users"].clone();
    zip.sha256 = code(code_of);
    wanted.artifacts.insert("preview".to_owned(), zip);
    wanted.functions.get_mut(&"users_get".parse().unwrap()).unwrap().artifact = "preview".to_owned();
    wanted.version = version(preview, &code(code_of)).unwrap();
    wanted
}

async fn up(cloud: &Cloud, preview: &str, code_of: &str) -> Result<Up> {
    let (actor, preview) = (actor(), name(preview));
    let expires = Timestamp::now() + Duration::from_secs(3600);
    let wanted = Wanted { name: &preview, expires, git: None, max: 20, api: "api" };
    let held = HeldStage::take(&actor, cloud.clone(), "preview up".into()).await?;
    let desired = changed(code_of, &preview);
    let stored = std::future::ready(Ok(desired.artifacts.clone()));
    Box::pin(held.during(async |held| held.preview_up(cloud, desired, wanted, stored).await)).await
}

async fn down(cloud: &Cloud, preview: &str) -> Result<()> {
    let mut found = previews(cloud, &"dev".parse().unwrap()).await?;
    found.retain(|found| found.name == name(preview));
    close(&actor(), cloud, &found).await
}

/// The code that the preview's `users_get` runs, and whether the others are those of the stage.
fn previewed(cloud: &Cloud, preview: &str) -> Option<String> {
    let state = cloud.state.lock().unwrap();
    let found = state.stages.iter().filter_map(Preview::of).find(|found| found.name == name(preview))?;
    let variables = &found.pointer.variables;
    for key in ["users_post", "user_get"] {
        assert_eq!(variables[key], state.pointer.variables[key], "{key} has a version of its own");
    }
    assert_eq!(variables["owner"], "another team");
    assert!(state.deployments.iter().any(|(there, _)| there.id == found.pointer.deployment_id));
    let runs = state.functions["users_get"].version(&variables["users_get"]).unwrap().to_owned();
    assert!(["a", "b"].iter().any(|code_of| {
        runs == code(code_of).base64()
            && variables["release"] == version(&name(preview), &code(code_of)).unwrap().as_str()
    }));
    Some(runs)
}

/// The deployments of previews.
fn deployments(cloud: &Cloud) -> usize {
    let state = cloud.state.lock().unwrap();
    state.deployments.iter().filter(|(deployment, _)| is_of_preview(&deployment.description)).count()
}

#[tokio::test]
async fn a_preview_has_new_code_and_the_stage_is_not_moved() {
    let cloud = two_releases().await;
    let (pointer, moves) = {
        let state = cloud.state.lock().unwrap();
        (state.pointer.clone(), state.moves.len())
    };
    let first = up(&cloud, "pr-1", "a").await.unwrap();
    assert!(first.created);
    assert_eq!(first.published.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["users_get"]);
    assert_eq!(previewed(&cloud, "pr-1"), Some(code("a").base64()));
    // The same code again publishes nothing; other code is one call on the same stage.
    assert!(up(&cloud, "pr-1", "a").await.unwrap().published.is_empty());
    let third = up(&cloud, "pr-1", "b").await.unwrap();
    assert!(!third.created && third.published.len() == 1);
    assert_eq!((previewed(&cloud, "pr-1"), deployments(&cloud)), (Some(code("b").base64()), 1));
    down(&cloud, "pr-1").await.unwrap();
    down(&cloud, "pr-1").await.unwrap();
    assert_eq!((previewed(&cloud, "pr-1"), deployments(&cloud)), (None, 0));
    let state = cloud.state.lock().unwrap().clone();
    assert_eq!((state.pointer, state.moves.len()), (pointer, moves), "the stage was moved");
    // The stage's own commands do not take the preview for a release.
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn every_fault_at_every_call_leaves_the_stage_and_a_whole_preview_or_none() {
    let empty = two_releases().await;
    let existing = two_releases().await;
    up(&existing, "pr-1", "a").await.unwrap();
    let mut points = 0;
    for (start, is_down) in [(&empty, false), (&existing, false), (&existing, true)] {
        let command = async |cloud: &Cloud| match is_down {
            true => down(cloud, "pr-1").await,
            false => up(cloud, "pr-1", "b").await.map(drop),
        };
        let undisturbed = start.copy();
        undisturbed.arm(&[]);
        command(&undisturbed).await.unwrap();
        let calls = undisturbed.calls();
        println!("down: {is_down}, calls {}: {}", calls.len(), calls.join(" "));
        for (at, call) in calls.iter().enumerate() {
            for fault in FAULTS {
                points += 1;
                let place = format!("down: {is_down}, call {at} ({call}), {fault:?}");
                let cloud = start.copy();
                let before = cloud.state.lock().unwrap().pointer.clone();
                cloud.arm(&[(at, fault)]);
                let result = tokio::select! {
                    result = command(&cloud) => Some(result),
                    () = cloud.killed.notified() => None,
                };
                cloud.arm(&[]);
                assert_eq!(cloud.state.lock().unwrap().pointer, before, "{place}");
                assert_eq!(served(&cloud), "2", "{place}");
                let now = previewed(&cloud, "pr-1");
                match result {
                    Some(Ok(())) if is_down => assert_eq!(now, None, "{place}"),
                    Some(Ok(())) => assert_eq!(now, Some(code("b").base64()), "{place}"),
                    Some(Err(error)) => assert!(error.hint.is_some(), "{place}: {error} has no hint"),
                    None => {}
                }
                lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
                command(&cloud).await.unwrap_or_else(|error| panic!("{place}: then {error:?}"));
                let expected = (!is_down).then(|| code("b").base64());
                assert_eq!(previewed(&cloud, "pr-1"), expected, "{place}");
                run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
                assert_eq!(served(&cloud), "3", "{place}");
            }
        }
    }
    println!("points tried {points}, the stage moved 0, mixed 0");
    assert!(points > 100, "only {points} points were tried");
}

#[tokio::test]
async fn a_function_that_is_called_without_a_version_has_no_preview() {
    let cloud = two_releases().await;
    let (actor, preview) = (actor(), name("pr-1"));
    let mut desired = changed("a", &preview);
    desired.functions.values_mut().next().unwrap().latest = true;
    let wanted = Wanted { name: &preview, expires: Timestamp::now(), git: None, max: 1, api: "api" };
    let held = HeldStage::take(&actor, cloud.clone(), "preview up".into()).await.unwrap();
    let stored = std::future::ready(Ok(desired.artifacts.clone()));
    let refused = held.during(async |held| held.preview_up(&cloud, desired, wanted, stored).await);
    assert_eq!(Box::pin(refused).await.unwrap_err().id, ErrorId::PreviewRefused);
    assert!(!cloud.calls().contains(&"UpdateFunctionCode") || cloud.state.lock().unwrap().stages.is_empty());
}

#[tokio::test]
async fn at_the_limit_the_error_names_the_previews() {
    let cloud = two_releases().await;
    for number in 1..STAGES {
        up(&cloud, &format!("pr-{number}"), "a").await.unwrap();
    }
    let error = up(&cloud, "one-more", "a").await.unwrap_err();
    assert_eq!((error.id, error.kind), (ErrorId::PreviewLimit, Kind::OldReleaseServes), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("pr-1 (of dev, expires ") && hint.contains("pr-9 (of dev"), "{hint}");
    down(&cloud, "pr-9").await.unwrap();
    up(&cloud, "one-more", "a").await.unwrap();
}

#[tokio::test]
async fn a_stage_that_somebody_else_made_is_not_touched() {
    let cloud = two_releases().await;
    let foreign = StageUse {
        name: "preview-pr-1".into(),
        description: "by hand".into(),
        deployments: vec!["d1".parse().unwrap()],
        variables: Vec::new(),
    };
    cloud.state.lock().unwrap().stages.push(foreign.clone());
    assert_eq!(up(&cloud, "pr-1", "a").await.unwrap_err().id, ErrorId::PreviewForeign);
    down(&cloud, "pr-1").await.unwrap();
    assert_eq!(cloud.state.lock().unwrap().stages, [foreign]);
}
