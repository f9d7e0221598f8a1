//! `[[prepare]]`: a function runs once for a version and its code, whatever happens to the command.

use super::*;
use crate::release::once::{Preparation, Run, RunState};

const PREPARED: &str = "deployctl/dev/prepared/";

fn preparing() -> StageContext {
    let migrate = Preparation {
        name: "tables".into(),
        function: "users_post".parse().unwrap(),
        payload: [("to".to_owned(), json!("{version}"))].into_iter().collect(),
        timeout: Duration::from_secs(60),
    };
    StageContext { preparations: vec![migrate], ..actor() }
}

async fn release(cloud: &Cloud, version: &str, repeat: Repeat) -> Result<Released> {
    release_as(&preparing(), cloud, version, repeat).await
}

async fn release_as(actor: &StageContext, cloud: &Cloud, version: &str, repeat: Repeat) -> Result<Released> {
    let origin = Origin { repeat, ..origin() };
    let held = HeldStage::take(actor, cloud.clone(), "release".into()).await?;
    Box::pin(held.during(async |held| held.release(cloud, desired(version), origin).await)).await
}

/// The idempotency keys of all invocations by `[[prepare]]`, in order.
fn keys(cloud: &Cloud) -> Vec<String> {
    let state = cloud.state.lock().unwrap();
    let invoked = state.invoked.iter().filter_map(|invoked| invoked.strip_prefix("users_post:"));
    invoked.map(|invoked| invoked.split_once(' ').unwrap().1.to_owned()).collect()
}

fn runs(cloud: &Cloud) -> Vec<Run> {
    let state = cloud.state.lock().unwrap();
    let objects = state.objects.iter().filter(|(key, _)| key.starts_with(PREPARED));
    objects.map(|(_, (body, _))| serde_json::from_slice(body).unwrap()).collect()
}

/// Position of the first call that `[[prepare]]` makes in a release of version 3.
async fn calls_of_preparation() -> (Vec<&'static str>, usize) {
    let cloud = two_releases().await;
    cloud.arm(&[]);
    release(&cloud, "3", Repeat::Once).await.unwrap();
    let calls = cloud.calls();
    let invoke = calls.iter().position(|call| *call == "Invoke").unwrap();
    assert_eq!(calls[invoke - 2..invoke + 2], ["GetObject", "PutObject", "Invoke", "PutObject"]);
    (calls, invoke)
}

#[tokio::test]
async fn it_runs_before_checks_and_switch_and_not_again_for_the_same_version_and_code() {
    let (calls, invoke) = calls_of_preparation().await;
    let place = |name: &str| calls.iter().position(|call| *call == name).unwrap();
    assert!(place("UpdateFunctionCode") < invoke && invoke < place("UpdateStage"));

    let cloud = two_releases().await;
    release(&cloud, "3", Repeat::Once).await.unwrap();
    let [run] = runs(&cloud).try_into().unwrap();
    assert_eq!((run.state, run.number, run.version.as_str()), (RunState::Succeeded, 1, "3"));
    assert_eq!(keys(&cloud), std::slice::from_ref(&run.idempotency_key));
    // Other releases, and then the same again: also after a rollback.
    release(&cloud, "4", Repeat::Once).await.unwrap();
    run_operation_back(&cloud).await;
    cloud.state.lock().unwrap().definition = definition(7000);
    release(&cloud, "3", Repeat::Once).await.unwrap();
    assert_eq!(keys(&cloud).len(), 2, "3 and 4, once each");
    // Asked to, it runs again, with another key; also if the release is live already.
    let again = release(&cloud, "3", Repeat::Again).await.unwrap();
    assert!(!again.unchanged);
    assert_eq!(keys(&cloud).last().unwrap().rsplit_once('-').unwrap().1, "2");
    assert_ne!(keys(&cloud)[2], run.idempotency_key);
    release(&cloud, "5", Repeat::Skip).await.unwrap();
    assert_eq!(keys(&cloud).len(), 3);
}

async fn run_operation_back(cloud: &Cloud) {
    run(cloud, &preparing(), Operation::Rollback(None)).await.unwrap();
}

#[tokio::test]
async fn a_failure_stops_the_release_and_the_next_one_runs_it_with_the_same_key() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().crashing.insert("users_post:3".into());
    let error = release(&cloud, "3", Repeat::Once).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::PrepareFailed), "{error}");
    assert!(error.message.starts_with(r#"prepare "tables" failed (users_post:3): "#), "{error}");
    assert!(error.message.ends_with("\n    users_post:3 panicked"), "{error}");
    assert_eq!(served(&cloud), "2");
    assert_eq!(runs(&cloud)[0].state, RunState::Failed);

    cloud.state.lock().unwrap().crashing.clear();
    cloud.state.lock().unwrap().status.clear();
    release(&cloud, "3", Repeat::Once).await.unwrap();
    let keys = keys(&cloud);
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    assert_eq!(served(&cloud), "3");
}

#[tokio::test]
async fn an_invocation_that_lambda_refuses_did_not_run() {
    let (_, invoke) = calls_of_preparation().await;
    let cloud = two_releases().await;
    cloud.arm(&[(invoke, Fault::Rejected)]);
    let error = release(&cloud, "3", Repeat::Once).await.unwrap_err();
    assert_eq!(error.id, ErrorId::ReleaseNotSwitched, "{error}");
    release(&cloud, "3", Repeat::Once).await.unwrap();
    assert_eq!(keys(&cloud).len(), 1);
}

#[tokio::test]
async fn with_every_fault_the_function_runs_at_most_once_unless_asked() {
    let (calls, invoke) = calls_of_preparation().await;
    let (mut unfinished, mut points) = (0, 0);
    for (at, call) in calls.iter().enumerate() {
        for fault in FAULTS {
            let place = format!("call {at} ({call}), {fault:?}");
            let cloud = two_releases().await;
            cloud.arm(&[(at, fault)]);
            let first = preparing();
            let first = async { release_as(&first, &cloud, "3", Repeat::Once).await };
            tokio::select! {
                _ = Box::pin(first) => {}
                () = cloud.killed.notified() => {}
            }
            cloud.arm(&[]);
            lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
            points += 1;
            match release(&cloud, "3", Repeat::Once).await {
                Ok(_) => assert_eq!(served(&cloud), "3", "{place}"),
                Err(error) => {
                    assert_eq!(error.id, ErrorId::PrepareUnfinished, "{place}: {error}");
                    assert!(error.message.contains("how it ended is not known"), "{error}");
                    assert!(error.message.ends_with("panicked"), "the log: {error}");
                    // From the write of its start to that of its end.
                    assert!((invoke - 1..=invoke + 1).contains(&at), "{place}: {error}");
                    unfinished += 1;
                    assert_eq!(served(&cloud), "2", "{place}");
                    assert_eq!(runs(&cloud)[0].state, RunState::Started);
                    assert!(keys(&cloud).len() <= 1, "{place}");
                    let cloud_skipped = cloud.copy();
                    release(&cloud_skipped, "3", Repeat::Skip).await.unwrap();
                    release(&cloud, "3", Repeat::Again).await.unwrap();
                    assert_eq!(runs(&cloud)[0].state, RunState::Succeeded, "{place}");
                }
            }
            let keys = keys(&cloud);
            let different: BTreeSet<&String> = keys.iter().collect();
            assert_eq!(different.len(), 1, "{place}: {keys:?}");
        }
    }
    println!("points tried {points}, ended unknown {unfinished}");
    assert!(unfinished >= 4, "{unfinished}");
}

#[tokio::test]
async fn an_interrupt_leaves_what_is_known() {
    let (calls, _) = calls_of_preparation().await;
    for at in 0..calls.len() {
        let cloud = two_releases().await;
        cloud.arm(&[(at, Fault::Interrupted)]);
        let actor = StageContext { cancel: cloud.interrupt.clone(), ..preparing() };
        if let Err(error) = release_as(&actor, &cloud, "3", Repeat::Once).await {
            assert_eq!(error.kind.exit_code(), 130, "call {at}: {error}");
        }
        let count = keys(&cloud).len();
        assert!(count <= 1);
        // An answer that comes within the time after the interrupt is recorded.
        assert!(runs(&cloud).iter().all(|run| run.state == RunState::Succeeded || count == 0), "call {at}");
    }
}

#[tokio::test]
async fn a_function_that_is_not_released_is_refused_before_anything_is_published() {
    let cloud = two_releases().await;
    let mut actor = preparing();
    actor.preparations[0].function = "unknown".parse().unwrap();
    cloud.arm(&[]);
    let error = release_as(&actor, &cloud, "3", Repeat::Once).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::ReleaseRefused), "{error}");
    assert!(!cloud.calls().contains(&"UpdateFunctionCode"));
}
