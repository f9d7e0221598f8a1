//! Chooses the record of a version that is promoted. Whoever can write to the source's bucket can add a record,
//! so all records of the version must agree on its bytes, and with what the caller expects.

use std::collections::BTreeMap;

use super::record::{Outcome, Record};
use crate::artifact::Sha256;

/// The expected sha256 of artifacts, by name.
pub(crate) type ExpectedHashes = BTreeMap<String, Sha256>;

/// Why no record of a version may be promoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpromotable {
    #[error("no record says that it was live")]
    NeverLive,
    #[error("no record of it that went live has the expected sha256; record {number} has {recorded}")]
    Unexpected { number: u64, recorded: String },
    #[error("{artifact} has the sha256 {one} in record {}, and {other} in record {}", .numbers.0, .numbers.1)]
    Disagreement { artifact: String, numbers: (u64, u64), one: Sha256, other: Sha256 },
}

/// The newest of `records` that went live: all records of one version, newest first. Records with other bytes
/// than `expected` are ignored.
///
/// # Errors
/// There is none, or the records do not agree on the bytes.
pub(crate) fn choose(records: Vec<Record>, expected: &ExpectedHashes) -> Result<Record, Unpromotable> {
    let is_live = |record: &&Record| record.outcome == Outcome::Live;
    let newest = records.iter().find(is_live).ok_or(Unpromotable::NeverLive)?;
    let considered: Vec<&Record> = records.iter().filter(|record| has(record, expected)).collect();
    let Some(&chosen) = considered.iter().find(|record| is_live(record)) else {
        let recorded = expected.keys().map(|name| {
            let artifact = newest.release.artifacts.get(name);
            artifact.map_or_else(|| format!("no {name}"), |artifact| format!("{name} {}", artifact.sha256))
        });
        let recorded = recorded.collect::<Vec<_>>().join(", ");
        return Err(Unpromotable::Unexpected { number: newest.number, recorded });
    };
    for other in considered {
        for (name, artifact) in &chosen.release.artifacts {
            if let Some(second) = other.release.artifacts.get(name).filter(|it| it.sha256 != artifact.sha256)
            {
                return Err(Unpromotable::Disagreement {
                    artifact: name.clone(),
                    numbers: (chosen.number, other.number),
                    one: artifact.sha256,
                    other: second.sha256,
                });
            }
        }
    }
    Ok(chosen.clone())
}

fn has(record: &Record, expected: &ExpectedHashes) -> bool {
    let artifacts = &record.release.artifacts;
    expected
        .iter()
        .all(|(name, sha256)| artifacts.get(name).is_some_and(|artifact| artifact.sha256 == *sha256))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_forged_record_is_not_promoted() {
        let (built, forged) = (sha256("built"), sha256("forged"));
        let honest = || record(1, "live", &[("users", built)]);
        let chosen = choose(vec![honest()], &ExpectedHashes::new()).unwrap();
        assert_eq!(chosen.number, 1);
        // Whatever outcome the record claims, and wherever it stands.
        for outcome in ["live", "switched_back"] {
            for records in [
                [record(2, outcome, &[("users", forged)]), honest()],
                [honest(), record(0, outcome, &[("users", forged)])],
            ] {
                let refused = choose(records.to_vec(), &ExpectedHashes::new()).unwrap_err();
                assert!(matches!(refused, Unpromotable::Disagreement { .. }), "{refused}");
                for hash in [built, forged] {
                    assert!(refused.to_string().contains(&hash.hex()), "{refused}");
                }
            }
        }
    }

    #[test]
    fn the_expected_hash_decides_between_records() {
        let (built, forged) = (sha256("built"), sha256("forged"));
        let expected = |sha256| ExpectedHashes::from([("users".to_owned(), sha256)]);
        let records =
            || vec![record(2, "live", &[("users", forged)]), record(1, "live", &[("users", built)])];
        assert_eq!(choose(records(), &expected(built)).unwrap().number, 1);
        let only_forged = choose(records()[..1].to_vec(), &expected(built)).unwrap_err();
        assert!(only_forged.to_string().contains(&format!("record 2 has users {forged}")), "{only_forged}");
        let nameless = ExpectedHashes::from([("other".to_owned(), built)]);
        assert!(matches!(choose(records(), &nameless), Err(Unpromotable::Unexpected { number: 2, .. })));
    }

    /// An artifact that nobody expects anything of must agree all the same.
    #[test]
    fn the_rest_must_agree() {
        let (one, two) = (sha256("1"), sha256("2"));
        let records = vec![
            record(2, "live", &[("users", one), ("authorizer", two)]),
            record(1, "live", &[("users", one), ("authorizer", one)]),
        ];
        let refused = choose(records, &ExpectedHashes::from([("users".to_owned(), one)])).unwrap_err();
        assert!(refused.to_string().starts_with("authorizer has the sha256"), "{refused}");
    }

    #[test]
    fn a_version_that_was_never_live_is_not_promoted() {
        let records = vec![record(1, "switched_back", &[("users", sha256("built"))])];
        assert_eq!(choose(records, &ExpectedHashes::new()), Err(Unpromotable::NeverLive));
    }

    fn sha256(bytes: &str) -> Sha256 {
        Sha256::of(bytes.as_bytes())
    }

    fn record(number: u64, outcome: &str, artifacts: &[(&str, Sha256)]) -> Record {
        let artifacts: serde_json::Map<String, serde_json::Value> = artifacts
            .iter()
            .map(|(name, sha256)| {
                let record =
                    json!({ "key": format!("{name}.zip"), "s3_version": null, "sha256": sha256, "size": 1 });
                ((*name).to_owned(), record)
            })
            .collect();
        let pointer = json!({ "deployment_id": "d1", "variables": {} });
        serde_json::from_value(json!({
            "schema": 1, "number": number, "action": "release", "outcome": outcome,
            "release": {
                "version": "1.0.0", "git": null, "artifacts": artifacts, "functions": {},
                "api": { "id": "api", "stage": "v1", "deployment_id": "d1", "fingerprint": sha256("api") },
            },
            "pointer": pointer, "before": { "pointer": pointer, "record": null },
            "at": "2026-01-01T00:00:00Z", "who": { "arn": "arn", "run_url": null }, "tool": "0", "steps": [],
        }))
        .unwrap()
    }
}
