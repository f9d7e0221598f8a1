//! What keeps an uploaded zip from being replaced.

use super::*;
use crate::engine::lease::Holder;
use crate::engine::references::Reference;

fn key(version: &str) -> String {
    format!("users/users-lambda-{version}.zip")
}

async fn reference_to(cloud: &Cloud, version: &str) -> Option<Reference> {
    let actor = actor();
    let held = HeldStage::take(&actor, cloud.clone(), "release".to_owned()).await.unwrap();
    held.during(async |held| held.reference_to(&key(version)).await).await.unwrap()
}

#[tokio::test]
async fn records_intents_and_running_commands_refer_to_a_zip() {
    let cloud = two_releases_and_a_bad_one().await;
    assert_eq!(reference_to(&cloud, "3").await, None, "uploaded, and nothing more");

    // A release that was switched back has a record.
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    let dev = || "dev".parse().unwrap();
    assert_eq!(reference_to(&cloud, "2").await, Some(Reference::Record { stage: dev(), number: 2 }));
    assert_eq!(reference_to(&cloud, "3").await, Some(Reference::Record { stage: dev(), number: 3 }));

    // Another stage of the bucket.
    let other = StageContext { stage: "prd".parse().unwrap(), ..actor() };
    let prd = || other.stage.clone();
    let holder = Holder::new("nonce".to_owned(), other.who.clone(), "release 4".to_owned());
    let (lease, _) = Lease::acquire(cloud.clone(), &other.stage, &holder, &other.clock, None).await.unwrap();
    let Some(Reference::Running { stage, holder }) = reference_to(&cloud, "4").await else {
        panic!("a running release may refer to it")
    };
    assert_eq!(stage, prd());
    assert!(holder.contains("release 4"), "{holder}");

    let mut intent = Ledger::new(cloud.clone(), dev()).record(2).await.unwrap();
    intent.release.artifacts.get_mut("users").unwrap().key = key("4");
    lease.record_intent(&intent).await.unwrap();
    assert_eq!(reference_to(&cloud, "4").await, Some(Reference::Intent { stage: prd() }));
    assert!(matches!(reference_to(&cloud, "5").await, Some(Reference::Running { .. })));
}
