//! Prunes: what goes, what stays, and every call going wrong.

use crate::error::ErrorId;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::artifact::{Glibc, Origin as Source, Recipe};
use crate::engine::lease::Holder;
use crate::engine::prune::{Job, look};
use crate::release::artifacts::ArtifactSettings;
use crate::release::prune::Prune;
use crate::release::state::StageUse;

use super::*;

/// Seven releases, the zips of which lie in the bucket.
async fn seven_releases() -> Cloud {
    let cloud = Cloud::new(&FUNCTIONS);
    for (number, version) in ["1", "2", "3", "4", "5", "6", "7"].into_iter().enumerate() {
        upload(&cloud, version);
        cloud.state.lock().unwrap().definition = definition(number as u64);
        run(&cloud, &actor(), Operation::Release(version)).await.unwrap();
    }
    cloud
}

fn upload(cloud: &Cloud, version: &str) {
    let mut state = cloud.state.lock().unwrap();
    let at = state.deployments.last().unwrap().0.created.cast_unsigned();
    state.objects.insert(format!("users/users-lambda-{version}.zip"), (vec![0; 500], at));
}

fn settings() -> Vec<ArtifactSettings> {
    let origin = Source::Path("dist".into());
    let recipe =
        Recipe { name: "users".into(), origin, architecture: Architecture::X86_64, glibc: Glibc::AL2023 };
    vec![ArtifactSettings { recipe, key: "users/users-lambda-{version}.zip".into() }]
}

fn job(keep: usize, artifacts: &[ArtifactSettings]) -> Job<'_> {
    let functions = FUNCTIONS.iter().map(|name| name.parse().unwrap()).collect();
    Job { keep: NonZeroUsize::new(keep).unwrap(), api: ("api", "dev"), functions, artifacts }
}

async fn prune(cloud: &Cloud, actor: &StageContext, keep: usize) -> Result<Prune> {
    let artifacts = settings();
    let job = job(keep, &artifacts);
    let shown = look(&actor.stage, cloud, cloud, &job).await?;
    let held = HeldStage::take(actor, cloud.clone(), "prune".into()).await?;
    held.during(async |held| held.prune(cloud, &job, &shown).await).await
}

/// All that is there and can be pruned.
#[derive(Debug, PartialEq, Eq)]
struct There {
    deployments: Vec<String>,
    versions: BTreeMap<String, Vec<usize>>,
    zips: Vec<String>,
    definitions: usize,
}

fn there(cloud: &Cloud) -> There {
    let state = cloud.state.lock().unwrap();
    let versions = state.functions.iter().map(|(name, function)| {
        let numbers = (1..=function.versions.len()).filter(|number| !function.deleted.contains(number));
        (name.clone(), numbers.collect())
    });
    let zips = state.objects.keys().filter_map(|key| key.strip_prefix("users/users-lambda-"));
    There {
        deployments: state.deployments.iter().map(|(deployment, _)| deployment.id.to_string()).collect(),
        versions: versions.collect(),
        zips: zips.map(|rest| rest.trim_end_matches(".zip").to_owned()).collect(),
        definitions: state.objects.keys().filter(|key| key.starts_with("deployctl/dev/api/")).count(),
    }
}

/// What is there when only these releases are.
fn only(numbers: &[usize]) -> There {
    let bootstrap = ["bootstrap".to_owned()].into_iter();
    There {
        deployments: bootstrap.chain(numbers.iter().map(|number| format!("d{number}"))).collect(),
        versions: FUNCTIONS.iter().map(|name| ((*name).to_owned(), numbers.to_vec())).collect(),
        zips: numbers.iter().map(ToString::to_string).collect(),
        definitions: numbers.len(),
    }
}

#[tokio::test]
async fn the_last_releases_stay_and_the_others_go() {
    let cloud = seven_releases().await;
    let pruned = prune(&cloud, &actor(), 3).await.unwrap();
    assert_eq!(there(&cloud), only(&[5, 6, 7]));
    let kept: Vec<&str> = pruned.kept.iter().map(|version| version.as_str()).collect();
    assert_eq!(kept, ["7", "6", "5"]);
    assert_eq!(pruned.bytes().0, 4 * 3 * 1000, "four releases of three functions");
    assert!(pruned.bytes().1 > 4 * 500, "four zips, and the definitions");
    assert_eq!(served(&cloud), "7");

    let again = prune(&cloud, &actor(), 3).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    run(&cloud, &actor(), Operation::Rollback(Some("5"))).await.unwrap();
    assert_eq!(served(&cloud), "5");
    // With one release kept, the way back is kept as well.
    prune(&cloud, &actor(), 1).await.unwrap();
    assert_eq!(there(&cloud), only(&[5, 7]));
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "7");
}

#[tokio::test]
async fn a_pruned_release_is_not_gone_back_to_and_the_others_are_named() {
    let cloud = seven_releases().await;
    prune(&cloud, &actor(), 3).await.unwrap();
    cloud.arm(&[]);
    let error = run(&cloud, &actor(), Operation::Rollback(Some("2"))).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::RollbackGone));
    assert!(error.message.contains("users_get:2 is gone"), "{error}");
    assert!(error.message.contains("API deployment d2 is gone"), "{error}");
    assert!(error.hint.unwrap().contains("still there: 6, 5; take one"));
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
    assert!(document.head().is_some(), "the stage was given back");

    // Deleted by hand, and the way back without a version asked for.
    cloud.state.lock().unwrap().deployments.retain(|(deployment, _)| deployment.id.as_str() != "d6");
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::RollbackGone);
    assert!(error.hint.unwrap().contains("still there: 5; take one"));
    assert_eq!(served(&cloud), "7");
    // The same source again is a release like any other.
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
}

#[tokio::test]
async fn what_anything_refers_to_stays() {
    let cloud = seven_releases().await;
    {
        let mut state = cloud.state.lock().unwrap();
        // Another stage of the API, a canary on it, and one on this stage; an alias; a deployment made by hand.
        state.stages.push(StageUse {
            name: "other".into(),
            deployments: vec!["d1".parse().unwrap(), "d2".parse().unwrap()],
            variables: [("users_get", "1"), ("users_post", "2"), ("owner", "me")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        });
        state.canary = Some("d3".into());
        state.aliased.insert("user_get:4".into());
        let by_hand = state.deployments[1].clone();
        state.deployments.push(by_hand);
        let (by_hand, _) = state.deployments.last_mut().unwrap();
        by_hand.id = "hand".parse().unwrap();
        by_hand.description = "tried something".into();
    }
    let pruned = prune(&cloud, &actor(), 1).await.unwrap();
    let left = there(&cloud);
    assert_eq!(left.deployments, ["bootstrap", "d1", "d2", "d3", "d6", "d7", "hand"]);
    assert_eq!(left.versions["users_get"], [1, 6, 7]);
    assert_eq!(left.versions["users_post"], [2, 6, 7]);
    assert_eq!(left.versions["user_get"], [4, 6, 7]);
    assert_eq!(pruned.unmanaged_stages.into_iter().collect::<Vec<_>>(), ["other"]);
    assert_eq!(served(&cloud), "7");
}

#[tokio::test]
async fn what_other_stages_in_the_bucket_can_go_back_to_stays() {
    let cloud = seven_releases().await;
    // The ledger of another stage of the same API, which knows releases 2 and 4 and has given 2 up.
    {
        let mut state = cloud.state.lock().unwrap();
        for (number, of) in [(1, 2), (2, 4)] {
            let (body, at) = state.objects[&format!("deployctl/dev/ledger/{of:08}.json")].clone();
            let mut record: serde_json::Value = serde_json::from_slice(&body).unwrap();
            record["number"] = json!(number);
            record["release"]["api"]["stage"] = json!("two");
            let key = format!("deployctl/dev-two/ledger/{number:08}.json");
            state.objects.insert(key, (record.to_string().into_bytes(), at));
        }
        let pruned = json!({ "schema": 1, "records": [1] }).to_string().into_bytes();
        state.objects.insert("deployctl/dev-two/pruned.json".into(), (pruned, 1));
    }
    prune(&cloud, &actor(), 1).await.unwrap();
    assert_eq!(there(&cloud), only(&[4, 6, 7]));

    // While it is being changed, nobody knows what it needs.
    let mut holder = Holder::new("theirs".into(), actor().who, "release 9".into());
    holder.process.machine = "another".into();
    let stage = "dev-two".parse().unwrap();
    drop(Lease::acquire(cloud.clone(), &stage, &holder, &actor().clock).await.unwrap());
    let error = prune(&cloud, &actor(), 1).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::LeaseHeld));
    assert!(error.message.contains("stage dev-two"), "{error}");
}

#[tokio::test]
async fn what_is_newer_than_what_is_kept_stays_and_leftovers_go_later() {
    let cloud = seven_releases().await;
    // Prepared, and found wanting before the switch.
    upload(&cloud, "8");
    let failing = checked(json!({ "fail": true }), 200);
    run(&cloud, &failing, Operation::Release("8")).await.unwrap_err();
    let pruned = prune(&cloud, &actor(), 2).await.unwrap();
    assert_eq!(there(&cloud).deployments, ["bootstrap", "d6", "d7", "d8"]);
    assert_eq!(there(&cloud).versions["users_get"], [6, 7, 8]);
    assert_eq!(there(&cloud).zips, ["6", "7", "8"]);
    assert!(!pruned.is_empty());
    // Once something newer is live, it is what a failed release left.
    upload(&cloud, "9");
    run(&cloud, &actor(), Operation::Release("9")).await.unwrap();
    prune(&cloud, &actor(), 2).await.unwrap();
    assert_eq!(there(&cloud).deployments, ["bootstrap", "d7", "d9"]);
    assert_eq!(there(&cloud).versions["users_get"], [7, 9]);
    assert_eq!(there(&cloud).zips, ["7", "9"]);
}

#[tokio::test]
async fn only_what_was_shown_is_deleted() {
    let cloud = seven_releases().await;
    let artifacts = settings();
    let shown = look(&actor().stage, &cloud, &cloud, &job(6, &artifacts)).await.unwrap();
    // While a person thinks, another release goes live.
    upload(&cloud, "8");
    run(&cloud, &actor(), Operation::Release("8")).await.unwrap();
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "prune".into()).await.unwrap();
    let done = held.during(async |held| held.prune(&cloud, &job(6, &artifacts), &shown).await).await.unwrap();
    assert_eq!(done.deployments.len(), 1);
    assert_eq!(there(&cloud).zips, ["2", "3", "4", "5", "6", "7", "8"]);
}

#[tokio::test]
async fn an_alias_made_meanwhile_is_told_and_the_rest_is_deleted() {
    let cloud = seven_releases().await;
    let calm = seven_releases().await;
    calm.arm(&[]);
    prune(&calm, &actor(), 2).await.unwrap();
    // After the second look, before the deletions.
    let artifacts = settings();
    let actor = actor();
    let shown = look(&actor.stage, &cloud, &cloud, &job(2, &artifacts)).await.unwrap();
    let first = calm.calls().iter().position(|call| *call == "DeleteDeployment").unwrap();
    let looked = calm.calls().iter().position(|call| *call == "PutObject").unwrap();
    cloud.arm(&[(first - looked, Fault::Aliased)]);
    let held = HeldStage::take(&actor, cloud.clone(), "prune".into()).await.unwrap();
    let error = held.during(async |held| held.prune(&cloud, &job(2, &artifacts), &shown).await).await;
    let error = error.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::PruneIncomplete), "{error}");
    assert_eq!(error.message, "1 of the deletions were refused");
    assert_eq!(there(&cloud).versions["users_get"], [1, 6, 7]);
    assert_eq!(there(&cloud).zips, ["6", "7"]);
}

#[tokio::test]
async fn every_fault_at_every_call_of_a_prune_leaves_what_is_live_and_can_be_repeated() {
    let seven = seven_releases().await;
    let calm = seven.copy();
    calm.arm(&[]);
    prune(&calm, &actor(), 3).await.unwrap();
    let (calls, goal) = (calm.calls(), there(&calm));
    let (mut failed, mut killed, mut done) = (0, 0, 0);
    for (at, call) in calls.iter().enumerate() {
        for fault in FAULTS.into_iter().chain([Fault::Interrupted]) {
            let place = format!("call {at} ({call}), {fault:?}");
            let cloud = seven.copy();
            let before = cloud.state.lock().unwrap().pointer.clone();
            cloud.arm(&[(at, fault)]);
            let actor = StageContext { cancel: cloud.interrupt.clone(), ..actor() };
            let result = tokio::select! {
                result = prune(&cloud, &actor, 3) => Some(result),
                () = cloud.killed.notified() => None,
            };
            match &result {
                None => killed += 1,
                Some(Ok(_)) => {
                    done += 1;
                    assert_eq!(there(&cloud), goal, "{place}");
                }
                Some(Err(error)) => {
                    failed += 1;
                    assert!([10, 30, 75, 130].contains(&error.kind.exit_code()), "{place}: {error}");
                    assert!(error.hint.is_some(), "{place}: {error}");
                }
            }
            cloud.arm(&[]);
            assert_eq!(cloud.state.lock().unwrap().pointer, before, "{place}");
            assert_eq!(served(&cloud), "7", "{place}");
            lease::unlock(&cloud, &"dev".parse().unwrap()).await.unwrap();
            // Nothing that was to stay has gone, and the rest goes when it is run again.
            let again = prune(&cloud, &super::actor(), 3).await;
            again.unwrap_or_else(|error| panic!("{place}, again: {error:?}"));
            assert_eq!(there(&cloud), goal, "{place}");
            for version in ["6", "5"] {
                run(&cloud, &super::actor(), Operation::Rollback(Some(version))).await.unwrap();
                assert_eq!(served(&cloud), version, "{place}");
            }
        }
    }
    println!("prune: {} calls, {failed} failed, {killed} killed, {done} done all the same", calls.len());
    assert!(failed > 20 && killed == 2 * calls.len(), "{failed} failed, {killed} killed");
}
