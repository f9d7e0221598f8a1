//! Tests of the prune, with every fault at every call.

use crate::error::ErrorId;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::artifact::{Glibc, Origin as Source, Recipe};
use crate::engine::lease::Holder;
use crate::engine::prune::{Job, plan};
use crate::release::artifacts::ArtifactSettings;
use crate::release::prune::Prune;
use crate::release::state::StageUse;

use super::*;

/// Seven releases with their zips.
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
    let shown = plan(&actor.stage, cloud, cloud, &job).await?;
    let held = HeldStage::take(actor, cloud.clone(), "prune".into()).await?;
    held.during(async |held| held.prune(cloud, &job, &shown).await).await
}

/// Everything that exists and can be pruned.
#[derive(Debug, PartialEq, Eq)]
struct Remaining {
    deployments: Vec<String>,
    versions: BTreeMap<String, Vec<usize>>,
    zips: Vec<String>,
    definitions: usize,
}

fn remaining(cloud: &Cloud) -> Remaining {
    let state = cloud.state.lock().unwrap();
    let versions = state.functions.iter().map(|(name, function)| {
        let numbers = (1..=function.versions.len()).filter(|number| !function.deleted.contains(number));
        (name.clone(), numbers.collect())
    });
    let zips = state.objects.keys().filter_map(|key| key.strip_prefix("users/users-lambda-"));
    Remaining {
        deployments: state.deployments.iter().map(|(deployment, _)| deployment.id.to_string()).collect(),
        versions: versions.collect(),
        zips: zips.map(|rest| rest.trim_end_matches(".zip").to_owned()).collect(),
        definitions: state.objects.keys().filter(|key| key.starts_with("deployctl/dev/api/")).count(),
    }
}

/// What remains when only these releases do.
fn only(numbers: &[usize]) -> Remaining {
    let bootstrap = ["bootstrap".to_owned()].into_iter();
    Remaining {
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
    assert_eq!(remaining(&cloud), only(&[5, 6, 7]));
    let kept: Vec<&str> = pruned.kept.iter().map(|version| version.as_str()).collect();
    assert_eq!(kept, ["7", "6", "5"]);
    assert_eq!(pruned.bytes().0, 4 * 3 * 1000, "four releases of three functions");
    assert!(pruned.bytes().1 > 4 * 500, "four zips, and the definitions");
    assert_eq!(served(&cloud), "7");

    let again = prune(&cloud, &actor(), 3).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    run(&cloud, &actor(), Operation::Rollback(Some("5"))).await.unwrap();
    assert_eq!(served(&cloud), "5");
    // With one release kept, the target of a rollback is kept as well.
    prune(&cloud, &actor(), 1).await.unwrap();
    assert_eq!(remaining(&cloud), only(&[5, 7]));
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "7");
}

#[tokio::test]
async fn a_pruned_release_is_refused_and_the_restorable_ones_are_listed() {
    let cloud = seven_releases().await;
    prune(&cloud, &actor(), 3).await.unwrap();
    cloud.arm(&[]);
    let error = run(&cloud, &actor(), Operation::Rollback(Some("2"))).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::RollbackGone));
    assert!(error.message.contains("users_get:2 no longer exists"), "{error}");
    assert!(error.message.contains("API deployment d2 no longer exists"), "{error}");
    assert!(error.hint.unwrap().contains("restorable: 6, 5; run `deployctl rollback --to <V>`"));
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    let document = Lease::peek(&cloud, &"dev".parse().unwrap()).await.unwrap().document.unwrap();
    assert!(document.head().is_some(), "the lease was released");

    // A deployment deleted by hand, and a rollback without a version.
    cloud.state.lock().unwrap().deployments.retain(|(deployment, _)| deployment.id.as_str() != "d6");
    let error = run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!(error.id, ErrorId::RollbackGone);
    assert!(error.hint.unwrap().contains("restorable: 5; run `deployctl rollback --to <V>`"));
    assert_eq!(served(&cloud), "7");
    // The same source again is a release like any other.
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    assert_eq!(served(&cloud), "3");
}

#[tokio::test]
async fn referenced_items_are_kept() {
    let cloud = seven_releases().await;
    {
        let mut state = cloud.state.lock().unwrap();
        // Another stage of the API, a canary on it, and one on this stage; an alias; a deployment created
        // by hand.
        state.stages.push(StageUse {
            name: "other".into(),
            description: String::new(),
            deployments: vec!["d1".parse().unwrap(), "d2".parse().unwrap()],
            variables: [("users_get", "1"), ("users_post", "2"), ("owner", "me")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        });
        state.canary = Some(cloud::canary("d3"));
        state.aliased.insert("user_get:4".into());
        let by_hand = state.deployments[1].clone();
        state.deployments.push(by_hand);
        let (by_hand, _) = state.deployments.last_mut().unwrap();
        by_hand.id = "hand".parse().unwrap();
        by_hand.description = "tried something".into();
    }
    let pruned = prune(&cloud, &actor(), 1).await.unwrap();
    let remaining = remaining(&cloud);
    assert_eq!(remaining.deployments, ["bootstrap", "d1", "d2", "d3", "d6", "d7", "hand"]);
    assert_eq!(remaining.versions["users_get"], [1, 6, 7]);
    assert_eq!(remaining.versions["users_post"], [2, 6, 7]);
    assert_eq!(remaining.versions["user_get"], [4, 6, 7]);
    assert_eq!(pruned.unmanaged_stages.into_iter().collect::<Vec<_>>(), ["other"]);
    assert_eq!(served(&cloud), "7");
}

#[tokio::test]
async fn releases_of_other_stages_in_the_bucket_are_kept() {
    let cloud = seven_releases().await;
    // The ledger of another stage of the same API, with releases 2 and 4, of which 2 is pruned.
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
    assert_eq!(remaining(&cloud), only(&[4, 6, 7]));

    // While a command changes that stage, it is unknown what it needs.
    let mut holder = Holder::new("theirs".into(), actor().who, "release 9".into());
    holder.process.machine = "another".into();
    let stage = "dev-two".parse().unwrap();
    drop(Lease::acquire(cloud.clone(), &stage, &holder, &actor().clock, None).await.unwrap());
    let error = prune(&cloud, &actor(), 1).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (75, ErrorId::LeaseHeld));
    assert!(error.message.contains("stage dev-two"), "{error}");
}

#[tokio::test]
async fn newer_versions_are_kept_and_leftovers_are_deleted_later() {
    let cloud = seven_releases().await;
    // Release 8 fails its checks before the switch.
    upload(&cloud, "8");
    let failing = checked(json!({ "fail": true }), 200);
    run(&cloud, &failing, Operation::Release("8")).await.unwrap_err();
    let pruned = prune(&cloud, &actor(), 2).await.unwrap();
    assert_eq!(remaining(&cloud).deployments, ["bootstrap", "d6", "d7", "d8"]);
    assert_eq!(remaining(&cloud).versions["users_get"], [6, 7, 8]);
    assert_eq!(remaining(&cloud).zips, ["6", "7", "8"]);
    assert!(!pruned.is_empty());
    // Once a newer release is live, release 8 is the rest of a failed one.
    upload(&cloud, "9");
    run(&cloud, &actor(), Operation::Release("9")).await.unwrap();
    prune(&cloud, &actor(), 2).await.unwrap();
    assert_eq!(remaining(&cloud).deployments, ["bootstrap", "d7", "d9"]);
    assert_eq!(remaining(&cloud).versions["users_get"], [7, 9]);
    assert_eq!(remaining(&cloud).zips, ["7", "9"]);
}

#[tokio::test]
async fn only_listed_items_are_deleted() {
    let cloud = seven_releases().await;
    let artifacts = settings();
    let shown = plan(&actor().stage, &cloud, &cloud, &job(6, &artifacts)).await.unwrap();
    // Another release goes live before the confirmation.
    upload(&cloud, "8");
    run(&cloud, &actor(), Operation::Release("8")).await.unwrap();
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "prune".into()).await.unwrap();
    let done = held.during(async |held| held.prune(&cloud, &job(6, &artifacts), &shown).await).await.unwrap();
    assert_eq!(done.deployments.len(), 1);
    assert_eq!(remaining(&cloud).zips, ["2", "3", "4", "5", "6", "7", "8"]);
}

#[tokio::test]
async fn an_alias_made_meanwhile_is_an_error_and_the_rest_is_deleted() {
    let cloud = seven_releases().await;
    let undisturbed = seven_releases().await;
    undisturbed.arm(&[]);
    prune(&undisturbed, &actor(), 2).await.unwrap();
    // After the second plan, before the deletions.
    let artifacts = settings();
    let actor = actor();
    let shown = plan(&actor.stage, &cloud, &cloud, &job(2, &artifacts)).await.unwrap();
    let first = undisturbed.calls().iter().position(|call| *call == "DeleteDeployment").unwrap();
    let planned = undisturbed.calls().iter().position(|call| *call == "PutObject").unwrap();
    cloud.arm(&[(first - planned, Fault::Aliased)]);
    let held = HeldStage::take(&actor, cloud.clone(), "prune".into()).await.unwrap();
    let error = held.during(async |held| held.prune(&cloud, &job(2, &artifacts), &shown).await).await;
    let error = error.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (30, ErrorId::PruneIncomplete), "{error}");
    assert_eq!(error.message, "AWS refused 1 of the deletions");
    assert_eq!(remaining(&cloud).versions["users_get"], [1, 6, 7]);
    assert_eq!(remaining(&cloud).zips, ["6", "7"]);
}

#[tokio::test]
async fn every_fault_at_every_call_of_a_prune_leaves_what_is_live_and_can_be_repeated() {
    let seven = seven_releases().await;
    let undisturbed = seven.copy();
    undisturbed.arm(&[]);
    prune(&undisturbed, &actor(), 3).await.unwrap();
    let (calls, expected) = (undisturbed.calls(), remaining(&undisturbed));
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
                    assert_eq!(remaining(&cloud), expected, "{place}");
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
            // Everything that should stay does, and a repetition deletes the rest.
            let again = prune(&cloud, &super::actor(), 3).await;
            again.unwrap_or_else(|error| panic!("{place}, again: {error:?}"));
            assert_eq!(remaining(&cloud), expected, "{place}");
            for version in ["6", "5"] {
                run(&cloud, &super::actor(), Operation::Rollback(Some(version))).await.unwrap();
                assert_eq!(served(&cloud), version, "{place}");
            }
        }
    }
    println!("prune: {} calls, {failed} failed, {killed} killed, {done} done all the same", calls.len());
    assert!(failed > 20 && killed == 2 * calls.len(), "{failed} failed, {killed} killed");
}

#[tokio::test]
async fn the_release_that_a_rollback_goes_to_stays_though_the_live_one_was_released_twice() {
    let cloud = seven_releases().await;
    for _ in 0..2 {
        run(&cloud, &super::actor(), Operation::ForcedRelease("7")).await.unwrap();
    }
    let pruned = prune(&cloud, &super::actor(), 1).await.unwrap();
    let kept: Vec<&str> = pruned.kept.iter().map(|version| version.as_str()).collect();
    assert_eq!(kept, ["7", "6"]);
    run(&cloud, &super::actor(), Operation::Rollback(None)).await.unwrap();
    assert_eq!(served(&cloud), "6");

    // An earlier prune, with another rule, has deleted it.
    let cloud = seven_releases().await;
    run(&cloud, &super::actor(), Operation::ForcedRelease("7")).await.unwrap();
    let ledger = Ledger::new(cloud.clone(), "dev".parse().unwrap());
    ledger.mark_pruned(&(1..=6).collect()).await.unwrap();
    assert_eq!(prune(&cloud, &super::actor(), 1).await.unwrap().kept, ["7".parse().unwrap()]);
    cloud.arm(&[]);
    let error = run(&cloud, &super::actor(), Operation::Rollback(None)).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (10, ErrorId::RollbackGone));
    assert!(error.message.starts_with("failed to roll back to release 6: "), "{error}");
    assert!(error.message.contains("users_get:6 no longer exists"), "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("no other release can be restored"), "{hint}");
    assert!(hint.contains("`deployctl release --version <V> --stage dev`"), "{hint}");
    assert_eq!(cloud.state.lock().unwrap().switches, 0);
    assert_eq!(served(&cloud), "7");
}
