//! The commands of the AWS CLI do what a rollback does.

use serde_json::Value;

use super::cloud::Cloud;
use super::{LEASE, Operation, actor, run, served, two_releases};
use crate::engine::by_hand::{ByHand, by_hand};
use crate::engine::ledger::Ledger;
use crate::engine::ports::StagePort as _;
use crate::error::{ErrorId, Result};
use crate::release::aws_cli::AwsCli;
use crate::release::model::Pointer;

async fn commands(cloud: &Cloud, number: Option<u64>) -> Result<ByHand> {
    let stage = "dev".parse().unwrap();
    let cli = AwsCli { api: "api", stage: "dev", region: Some("eu-west-1"), profile: None };
    by_hand(&Ledger::new(cloud.clone(), "dev".parse().unwrap()), cloud, &stage, number, cli).await
}

fn record(number: u64) -> String {
    format!("deployctl/dev/ledger/{number:08}.json")
}

/// Applies the patch of the first command to what the stage serves.
fn applied(by_hand: &ByHand) -> Pointer {
    let words = shlex::split(&by_hand.commands[0]).unwrap();
    assert_eq!(words[..3], ["aws", "apigateway", "update-stage"]);
    let patch: Vec<Value> = serde_json::from_str(words.last().unwrap()).unwrap();
    let mut pointer = by_hand.from.clone();
    for operation in patch {
        let path = operation["path"].as_str().unwrap();
        let value = operation["value"].as_str().map(str::to_owned);
        match (path.strip_prefix("/variables/"), value) {
            (Some(name), Some(value)) => drop(pointer.variables.insert(name.to_owned(), value)),
            (Some(name), None) => assert!(pointer.variables.remove(name).is_some(), "{path}"),
            (None, value) => pointer.deployment_id = value.unwrap().parse().unwrap(),
        }
    }
    pointer
}

#[tokio::test]
async fn the_commands_move_the_stage_to_where_a_rollback_moves_it() {
    let cloud = two_releases().await;
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    // A record of an older deployctl does not say that no authorizer caches anything.
    let key = record(1);
    let mut first: Value = serde_json::from_slice(&cloud.state.lock().unwrap().objects[&key].0).unwrap();
    first["release"]["api"].as_object_mut().unwrap().remove("authorizer_cache_seconds").unwrap();
    cloud.state.lock().unwrap().objects.insert(key, (first.to_string().into_bytes(), 998));
    // Not even the lease is needed.
    let printed = cloud.copy();
    printed.state.lock().unwrap().objects.insert(LEASE.to_owned(), (b"{".to_vec(), 999));
    let before = printed.state.lock().unwrap().pointer.clone();
    for (number, operation) in [(None, Operation::Rollback(None)), (Some(1), Operation::Rollback(Some("1")))]
    {
        let by_hand = commands(&printed, number).await.unwrap();
        assert_eq!(by_hand.from, before);
        assert!(by_hand.warnings.is_empty(), "{:?}", by_hand.warnings);
        let rolled_back = cloud.copy();
        let flushed = rolled_back.state.lock().unwrap().flushed.len();
        run(&rolled_back, &actor(), operation).await.unwrap();
        assert_eq!(applied(&by_hand), rolled_back.stage().await.unwrap().pointer, "{number:?}");
        let flushes = rolled_back.state.lock().unwrap().flushed.len() > flushed;
        let command = |operation: &str| {
            let is = |command: &String| command.split(' ').nth(2) == Some(operation);
            by_hand.commands.iter().filter(|command| is(command)).count()
        };
        assert_eq!(command("flush-stage-authorizers-cache") == 1, flushes, "{:?}", by_hand.commands);
        assert_eq!(flushes, number == Some(1));
        assert_eq!((command("update-stage"), command("flush-stage-cache"), command("get-stage")), (1, 0, 1));
    }
    assert_eq!(printed.state.lock().unwrap().pointer, before, "it only prints");
}

#[tokio::test]
async fn what_a_caller_must_know_is_a_warning() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    let undone = commands(&cloud, Some(3)).await.unwrap();
    assert!(undone.warnings[0].contains("switched back"), "{:?}", undone.warnings);
    cloud.state.lock().unwrap().functions.get_mut("user_get").unwrap().deleted.insert(1);
    cloud.state.lock().unwrap().deployments.retain(|(deployment, _)| deployment.id.as_str() != "d1");
    let incomplete = commands(&cloud, Some(1)).await.unwrap();
    assert_eq!(incomplete.warnings, ["user_get:1 no longer exists", "API deployment d1 no longer exists"]);

    // A damaged ledger does not keep a caller from a record that can be read.
    cloud.state.lock().unwrap().objects.insert(record(3), (b"{".to_vec(), 999));
    assert_eq!(commands(&cloud, None).await.unwrap_err().id, ErrorId::LedgerDamaged);
    let damaged = commands(&cloud, Some(2)).await.unwrap();
    assert_eq!(applied(&damaged).release().unwrap().as_str(), "2");
    assert!(damaged.warnings[0].contains("failed to read the ledger record"), "{:?}", damaged.warnings);

    let error = commands(&cloud, Some(99)).await.unwrap_err();
    assert_eq!((error.kind.exit_code(), error.id), (2, ErrorId::ReleaseUnknown));
    let empty = Cloud::new(&["users_get"]);
    assert_eq!(commands(&empty, None).await.unwrap_err().id, ErrorId::StageEmpty);
    assert_eq!(served(&cloud), "2");
}
