//! A lease, a ledger or a bucket that holds what deployctl did not write, and the way out.

use super::cloud::Cloud;
use super::{LEASE, OPERATIONS, Operation, actor, run, served, two_releases};
use crate::engine::lease::{self, Lease};
use crate::engine::ledger::Ledger;
use crate::error::ErrorId;
use crate::release::model::StageName;

fn ledger(cloud: &Cloud) -> Ledger<Cloud> {
    Ledger::new(cloud.clone(), stage())
}

fn stage() -> StageName {
    "dev".parse().unwrap()
}

fn put(cloud: &Cloud, key: &str, body: &str) {
    cloud.state.lock().unwrap().objects.insert(key.to_owned(), (body.as_bytes().to_vec(), 999));
}

fn body(cloud: &Cloud, key: &str) -> String {
    String::from_utf8(cloud.state.lock().unwrap().objects[key].0.clone()).unwrap()
}

fn record(number: u64) -> String {
    format!("deployctl/dev/ledger/{number:08}.json")
}

#[tokio::test]
async fn a_damaged_or_newer_ledger_stops_everything_before_it_starts() {
    for (body, id) in [
        ("{", ErrorId::LedgerDamaged),
        (r#"{"schema": 99}"#, ErrorId::LedgerNewer),
        ("[]", ErrorId::LedgerDamaged),
    ] {
        let cloud = two_releases().await;
        put(&cloud, &record(2), body);
        for operation in OPERATIONS {
            // Without the lease, as after a holder that died, the ledger itself is read.
            cloud.state.lock().unwrap().objects.remove(LEASE);
            let before = cloud.state.lock().unwrap().pointer.clone();
            let error = run(&cloud, &actor(), operation).await.unwrap_err();
            assert_eq!(error.id, id);
            if id == ErrorId::LedgerDamaged {
                let hint = error.hint.unwrap();
                let key = record(2);
                assert!(
                    hint.contains(&format!("list-object-versions --bucket memory --prefix {key}")),
                    "{hint}"
                );
                assert!(hint.contains(&format!("`aws s3 rm s3://memory/{key}`")), "{hint}");
            }
            assert_eq!(cloud.state.lock().unwrap().pointer, before);
        }
    }
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().objects.remove("deployctl/dev/ledger/00000001.json");
    cloud.state.lock().unwrap().objects.remove(LEASE);
    assert_eq!(run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err().id, ErrorId::LedgerDamaged);
}

#[tokio::test]
async fn a_damaged_or_newer_lease_stops_everything_before_it_starts() {
    for (body, id) in [("{", ErrorId::LeaseDamaged), (r#"{"schema": 99}"#, ErrorId::LeaseNewer)] {
        let cloud = two_releases().await;
        put(&cloud, LEASE, body);
        let before = cloud.state.lock().unwrap().pointer.clone();
        for operation in OPERATIONS {
            let error = run(&cloud, &actor(), operation).await.unwrap_err();
            assert_eq!(error.id, id);
            if id == ErrorId::LeaseDamaged {
                assert!(error.hint.unwrap().contains("`deployctl unlock --stage dev`"));
            }
            assert_eq!(cloud.state.lock().unwrap().pointer, before);
        }
    }
}

/// What the error names frees the stage, whatever the object holds.
#[tokio::test]
async fn a_damaged_lease_is_replaced_by_unlock() {
    for damage in ["{", "", "null", "[]", r#"{"schema": 1, "holder": 7}"#] {
        for operation in OPERATIONS {
            let cloud = two_releases().await;
            put(&cloud, LEASE, damage);
            assert!(lease::unlock(&cloud, &stage()).await.unwrap(), "{damage:?}");
            let lease = Lease::peek(&cloud, &stage()).await.unwrap().document.unwrap();
            assert!(lease.holder.is_none() && lease.intent.is_none() && lease.head.is_none());
            let record = run(&cloud, &actor(), operation).await.unwrap();
            assert_eq!(record.number, 3, "{damage:?}, {operation:?}");
        }
    }
    // A newer deployctl's lease is not damaged.
    let cloud = two_releases().await;
    put(&cloud, LEASE, r#"{"schema": 99}"#);
    assert_eq!(lease::unlock(&cloud, &stage()).await.unwrap_err().id, ErrorId::LeaseNewer);
    assert_eq!(body(&cloud, LEASE), r#"{"schema": 99}"#);
}

/// A command that was killed between its switch and its record had its only trace in the lease.
#[tokio::test]
async fn a_release_that_is_lost_with_the_lease_does_not_block_the_next_ones() {
    let cloud = two_releases().await;
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    cloud.state.lock().unwrap().objects.remove(&record(3));
    put(&cloud, LEASE, "{");
    lease::unlock(&cloud, &stage()).await.unwrap();
    assert_eq!(run(&cloud, &actor(), Operation::Release("4")).await.unwrap().number, 3);
    assert_eq!(served(&cloud), "4");
    run(&cloud, &actor(), Operation::Rollback(Some("2"))).await.unwrap();
    assert_eq!(served(&cloud), "2");
}

#[tokio::test]
async fn objects_that_are_no_records_stop_nothing() {
    let stray = [
        "deployctl/dev/ledger/",
        "deployctl/dev/ledger/00000002.json.bak",
        "deployctl/dev/ledger/00000002 (copy).json",
        "deployctl/dev/ledger/2.json",
        "deployctl/dev/ledger/+0000003.json",
        "deployctl/dev/ledger/00000000.json",
        "deployctl/dev/ledger/99999999.json",
        "deployctl/dev/ledger/old/00000001.json",
        "deployctl/notes.txt",
        "deployctl/Not A Stage/ledger/00000001.json",
    ];
    for operation in OPERATIONS {
        let cloud = two_releases().await;
        let copy = body(&cloud, &record(2));
        for key in stray {
            put(&cloud, key, &copy);
        }
        // Without the lease, the ledger itself is read.
        cloud.state.lock().unwrap().objects.remove(LEASE);
        assert_eq!(run(&cloud, &actor(), operation).await.unwrap().number, 3, "{operation:?}");
        let listing = ledger(&cloud).listing().await.unwrap();
        assert_eq!((listing.numbers, listing.missing), (vec![1, 2, 3], None));
        assert_eq!(listing.stray.len(), 8, "{:?}", listing.stray);
    }
}

#[tokio::test]
async fn a_gap_is_no_stray_object() {
    let cloud = two_releases().await;
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap();
    cloud.state.lock().unwrap().objects.remove(&record(2));
    cloud.state.lock().unwrap().objects.remove(LEASE);
    let listing = ledger(&cloud).listing().await.unwrap();
    assert_eq!((listing.numbers, listing.missing), (vec![1, 3], Some(2)));
    let error = run(&cloud, &actor(), Operation::Release("4")).await.unwrap_err();
    assert_eq!(error.id, ErrorId::LedgerDamaged);
    assert!(error.to_string().contains("has no record 2, but later ones"), "{error}");
    // What is there can be examined.
    let found = ledger(&cloud).find(&"3".parse().unwrap()).await.unwrap();
    assert_eq!(found.unwrap().number, 3);
    assert_eq!(ledger(&cloud).find(&"2".parse().unwrap()).await.unwrap_err().id, ErrorId::LedgerDamaged);
}

#[tokio::test]
async fn every_record_of_a_version_can_be_examined() {
    let cloud = two_releases().await;
    cloud.state.lock().unwrap().status.insert("3".into(), 500);
    run(&cloud, &actor(), Operation::Release("3")).await.unwrap_err();
    run(&cloud, &actor(), Operation::Rollback(None)).await.unwrap();
    let find = async |version: &str| ledger(&cloud).find(&version.parse().unwrap()).await;
    let undone = find("3").await.unwrap().unwrap();
    assert_eq!((undone.number, undone.outcome.to_string()), (3, "switched back".to_owned()));
    assert_eq!(find("1").await.unwrap().unwrap().number, 4, "the newest");
    assert!(find("9").await.unwrap().is_none());
    // A damaged record hides no other one.
    put(&cloud, &record(4), "{");
    assert_eq!(find("3").await.unwrap().unwrap().number, 3);
    assert_eq!(find("9").await.unwrap_err().id, ErrorId::LedgerDamaged);
}
