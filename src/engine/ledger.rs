//! The ledger: the append-only list of a stage's operations, in the artifact bucket.
//!
//! Each record is one object, created only if its number is free: two writers cannot take the same number,
//! and no record is overwritten. Numbers have no gaps. The API definitions that records refer to are stored
//! beside them, under their fingerprints.

use std::collections::BTreeSet;

use futures::future;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::artifact::Sha256;
use crate::engine::failure::Failure;
use crate::engine::ports::{Store, Written};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::definition::Definition;
use crate::release::model::{Pointer, StageName, Version};
use crate::release::record::{Outcome, Record, SCHEMA};

/// The prefix of all objects of deployctl in the bucket other than the zips.
pub(crate) const PREFIX: &str = "deployctl/";

/// The most records that [`Ledger::head_at`] reads.
const MAX_RECORDS_READ: usize = 100;

/// The most records that are read at once.
pub(super) const MAX_CONCURRENT: usize = 16;

/// The ledger of one stage.
#[derive(Debug, Clone)]
pub(crate) struct Ledger<S> {
    store: S,
    stage: StageName,
}

/// The end of a ledger, which is all that a release or a rollback needs of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The newest number; 0 for an empty ledger.
    pub(crate) last: u64,
    /// The record of the live release.
    pub(crate) current: Option<Record>,
    /// The record before `current`, if it has been read.
    pub(crate) previous: Option<Record>,
}

/// The objects of a ledger.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The numbers of the records, oldest first.
    pub(crate) numbers: Vec<u64>,
    /// The first number without a record, if later ones have one.
    pub(crate) missing: Option<u64>,
    /// The keys of objects that are no records.
    pub(crate) stray: Vec<String>,
}

impl Head {
    /// The record that a rollback goes to, with the release that it makes, if it has been read.
    pub(crate) fn rollback_target(&self) -> Option<Record> {
        let current = self.current.as_ref()?;
        let number = current.before.record?;
        let previous = self.previous.as_ref().filter(|record| record.number == number)?;
        let restored = Record { release: previous.restored(&current.release), ..previous.clone() };
        previous.is_rollback_target(&current.release).then_some(restored)
    }

    /// Whether the current record moved the stage to `pointer`.
    pub(crate) fn matches(&self, pointer: &Pointer) -> bool {
        self.current.as_ref().is_some_and(|record| record.pointer == *pointer)
    }

    /// The number of the next record.
    ///
    /// # Errors
    /// `ledger.damaged` when the last number is the largest possible one, which deployctl never writes.
    pub(crate) fn next(&self) -> Result<u64> {
        number_after(self.last)
    }

    /// The head after `record` was appended.
    #[must_use]
    pub(crate) fn after(self, record: &Record) -> Self {
        if record.outcome != Outcome::Live {
            return Self { last: record.number, ..self };
        }
        let previous = self.current.filter(|former| record.before.record == Some(former.number));
        Self { last: record.number, current: Some(record.clone()), previous }
    }
}

impl<S: Store> Ledger<S> {
    /// The name of the bucket.
    pub(crate) fn bucket(&self) -> &str {
        self.store.name()
    }

    /// The ledger of `stage` in `store`.
    pub(crate) fn new(store: S, stage: StageName) -> Self {
        Self { store, stage }
    }

    fn prefix(&self) -> String {
        format!("{PREFIX}{}/ledger/", self.stage)
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:08}.json", self.prefix())
    }

    /// The numbers of all records, oldest first.
    ///
    /// # Errors
    /// `ledger.unreadable` when the bucket cannot be listed, `ledger.damaged` when a number is missing.
    pub(crate) async fn numbers(&self) -> Result<Vec<u64>> {
        let Listing { numbers, missing, .. } = self.listing().await?;
        missing.map_or(Ok(numbers), |number| Err(self.missing(number)))
    }

    /// Lists the ledger. A key is that of a record if its name has the form of one; after a gap, only if the
    /// object says so, too.
    ///
    /// # Errors
    /// `ledger.unreadable`.
    pub(crate) async fn listing(&self) -> Result<Listing> {
        let keys = self.store.keys(&self.prefix()).await.map_err(unreadable)?;
        let mut listing = Listing::default();
        let mut expected = 1;
        for key in keys {
            match self.number_of(&key) {
                Some(number) if number == expected => {
                    expected += 1;
                    listing.numbers.push(number);
                }
                Some(number) if self.is_record(number).await? => {
                    listing.missing.get_or_insert(expected);
                    listing.numbers.push(number);
                }
                _ => listing.stray.push(key),
            }
        }
        Ok(listing)
    }

    /// The number in the key of a record.
    fn number_of(&self, key: &str) -> Option<u64> {
        let number = key.strip_prefix(&self.prefix())?.strip_suffix(".json")?.parse().ok()?;
        (self.key(number) == key).then_some(number)
    }

    /// Whether the object with the key of record `number` says that it is this record.
    async fn is_record(&self, number: u64) -> Result<bool> {
        let stored = self.store.read(&self.key(number)).await.map_err(unreadable)?;
        let value = stored.and_then(|stored| serde_json::from_slice::<serde_json::Value>(&stored.body).ok());
        Ok(value.is_some_and(|value| value["number"] == number))
    }

    /// The error of a ledger without record `number`.
    pub(crate) fn missing(&self, number: u64) -> Error {
        Error::preflight(
            ErrorId::LedgerDamaged,
            format!("the ledger of stage {} has no record {number}, but later ones", self.stage),
        )
        .hint(format!("what is live is unchanged; {}", self.versions_of(&self.key(number))))
    }

    /// How to restore an object.
    fn versions_of(&self, key: &str) -> String {
        format!(
            "restore the object from the bucket's versions: `aws s3api list-object-versions --bucket {} \
             --prefix {key}` lists them",
            self.store.name()
        )
    }

    /// How to delete an object that is no record.
    pub(crate) fn removal_of(&self, key: &str) -> String {
        format!("`aws s3 rm s3://{}/{key}`", self.store.name())
    }

    /// Reads record `number`.
    ///
    /// # Errors
    /// `ledger.damaged`, or `ledger.newer` when a newer deployctl wrote it.
    pub(crate) async fn record(&self, number: u64) -> Result<Record> {
        let key = self.key(number);
        let stored = self.store.read(&key).await.map_err(unreadable)?;
        let place = format!("s3://{}/{key}", self.store.name());
        let damaged = |why: String| {
            Error::preflight(ErrorId::LedgerDamaged, format!("failed to read the ledger record {place}"))
                .because(Damage(why))
                .hint(format!(
                    "nothing was changed; {}; if deployctl did not write it, delete it: {}",
                    self.versions_of(&key),
                    self.removal_of(&key)
                ))
        };
        let stored = stored.ok_or_else(|| damaged("the object does not exist".to_owned()))?;
        let value: serde_json::Value =
            serde_json::from_slice(&stored.body).map_err(|error| damaged(error.to_string()))?;
        let schema = value.get("schema").and_then(serde_json::Value::as_u64);
        if schema.is_some_and(|schema| schema > u64::from(SCHEMA)) {
            return Err(newer(&place));
        }
        let record: Record = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        if record.number == number {
            Ok(record)
        } else {
            Err(damaged(format!("it contains record {}", record.number)))
        }
    }

    /// Reads the end of the ledger.
    ///
    /// # Errors
    /// As [`Ledger::numbers`] and [`Ledger::record`].
    pub(crate) async fn head(&self) -> Result<Head> {
        let numbers = self.numbers().await?;
        let last = numbers.last().copied().unwrap_or(0);
        for number in numbers.into_iter().rev() {
            let record = self.record(number).await?;
            if record.outcome == Outcome::Live {
                return Ok(Head { last, current: Some(record), previous: None });
            }
        }
        Ok(Head { last, ..Head::default() })
    }

    /// Reads the end of the ledger of a stage that points to `pointer`. The current record is the newest one
    /// that moved the stage there, even if its release failed its checks and could not be switched back.
    ///
    /// # Errors
    /// As [`Ledger::head`].
    pub(crate) async fn head_at(&self, pointer: &Pointer) -> Result<Head> {
        let head = self.head().await?;
        if head.matches(pointer) {
            return Ok(head);
        }
        for number in (1..=head.last).rev().take(MAX_RECORDS_READ) {
            let record = self.record(number).await?;
            if record.pointer == *pointer {
                return Ok(Head { last: head.last, current: Some(record), previous: None });
            }
        }
        Ok(head)
    }

    /// Whether the ledger, up to record `last`, has the operation of `record`: written by its own command, or
    /// by the next one.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub(crate) async fn has(&self, record: &Record, last: u64) -> Result<bool> {
        Ok(self.of_operation(record, last).await?.is_some())
    }

    /// The record of the operation of `record`.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub(crate) async fn of_operation(&self, record: &Record, last: u64) -> Result<Option<Record>> {
        for number in (record.number.max(1)..=last).rev() {
            let found = self.record(number).await?;
            if found.is_same_operation(record) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The newest record of `version` that went live, among the first `last` records.
    pub(crate) async fn newest_of(&self, version: &Version, last: u64) -> Result<Option<Record>> {
        for number in (1..=last).rev() {
            let record = self.record(number).await?;
            if record.release.version == *version && record.outcome == Outcome::Live {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// All records of `version`, newest first, whatever their outcomes.
    ///
    /// # Errors
    /// As [`Ledger::numbers`] and [`Ledger::record`].
    pub(crate) async fn all_of(&self, version: &Version) -> Result<Vec<Record>> {
        stream::iter(self.numbers().await?.into_iter().rev())
            .map(|number| self.record(number))
            .buffered(MAX_CONCURRENT)
            .try_filter(|record| future::ready(record.release.version == *version))
            .try_collect()
            .await
    }

    /// The newest record of `version`, whatever its outcome: a release that was switched back can be examined,
    /// too. Missing and damaged records are only errors if no other one is found.
    ///
    /// # Errors
    /// As [`Ledger::numbers`] and [`Ledger::record`].
    pub(crate) async fn find(&self, version: &Version) -> Result<Option<Record>> {
        let Listing { numbers, missing, .. } = self.listing().await?;
        let mut damaged = missing.map(|number| self.missing(number));
        for number in numbers.into_iter().rev() {
            match self.record(number).await {
                Ok(record) if record.release.version == *version => return Ok(Some(record)),
                Ok(_) => {}
                Err(error) if error.id == ErrorId::LedgerDamaged => damaged = damaged.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// Appends `record` under the next free number after `last`, and returns that number. An operation has
    /// one record: one that exists already, because an answer was lost or because the next command recorded
    /// it, stays.
    ///
    /// # Errors
    /// `ledger.unwritten` when the bucket does not take it.
    pub(crate) async fn append(&self, record: &mut Record, last: u64) -> Result<u64> {
        record.number = number_after(last)?;
        loop {
            let body = serde_json::to_vec_pretty(record).map_err(|error| Error::bug(error.to_string()))?;
            match self.store.create(&self.key(record.number), &body).await.map_err(unwritten)? {
                Written::Done(_) => return Ok(record.number),
                Written::Refused => {
                    let existing = self.record(record.number).await?;
                    if existing.is_same_operation(record) {
                        return Ok(record.number);
                    }
                    record.number = number_after(record.number)?;
                }
            }
        }
    }

    /// Stores a definition for later comparison.
    ///
    /// # Errors
    /// `ledger.unwritten` when the bucket does not take it.
    pub(crate) async fn store_definition(&self, definition: &Definition) -> Result<Sha256> {
        let fingerprint = definition.fingerprint();
        let body = serde_json::to_vec(definition).map_err(|error| Error::bug(error.to_string()))?;
        // The key is the fingerprint: an object that exists already is the same definition.
        self.store.create(&self.definition_key(&fingerprint), &body).await.map_err(unwritten)?;
        Ok(fingerprint)
    }

    /// The definition with this fingerprint, if it is stored.
    ///
    /// # Errors
    /// `ledger.unreadable`, or `ledger.damaged` when the stored definition has another fingerprint.
    pub(crate) async fn definition(&self, fingerprint: &Sha256) -> Result<Option<Definition>> {
        let key = self.definition_key(fingerprint);
        let Some(stored) = self.store.read(&key).await.map_err(unreadable)? else { return Ok(None) };
        serde_json::from_slice::<Definition>(&stored.body)
            .ok()
            .filter(|definition| definition.fingerprint() == *fingerprint)
            .map(Some)
            .ok_or_else(|| {
                Error::preflight(
                    ErrorId::LedgerDamaged,
                    format!("failed to read the API definition s3://{}/{key}", self.store.name()),
                )
                .hint("what is live is unchanged; delete the object: the next release writes it again")
            })
    }

    /// The prefix of the stored definitions.
    pub(crate) fn definitions(&self) -> String {
        format!("{PREFIX}{}/api/", self.stage)
    }

    fn definition_key(&self, fingerprint: &Sha256) -> String {
        format!("{}{fingerprint}.json", self.definitions())
    }

    fn pruned_key(&self) -> String {
        format!("{PREFIX}{}/pruned.json", self.stage)
    }

    /// The numbers of the records whose releases a prune has deleted.
    ///
    /// # Errors
    /// `ledger.unreadable`, `ledger.damaged`, `ledger.newer`.
    pub(crate) async fn pruned(&self) -> Result<BTreeSet<u64>> {
        Ok(self.read_pruned().await?.map_or_else(BTreeSet::new, |(pruned, _)| pruned.records))
    }

    async fn read_pruned(&self) -> Result<Option<(Pruned, String)>> {
        let key = self.pruned_key();
        let Some(stored) = self.store.read(&key).await.map_err(unreadable)? else { return Ok(None) };
        let pruned: Pruned = serde_json::from_slice(&stored.body).map_err(|error| {
            Error::preflight(
                ErrorId::LedgerDamaged,
                format!("failed to read s3://{}/{key}", self.store.name()),
            )
            .because(error)
            .hint(format!("nothing was changed; {}", self.versions_of(&key)))
        })?;
        if pruned.schema > SCHEMA {
            return Err(newer(&format!("s3://{}/{key}", self.store.name())));
        }
        Ok(Some((pruned, stored.etag)))
    }

    /// Marks the releases of these records as deleted, so that no rollback chooses them.
    ///
    /// # Errors
    /// As [`Ledger::pruned`], and `ledger.unwritten`.
    pub(crate) async fn mark_pruned(&self, records: &BTreeSet<u64>) -> Result<()> {
        // After a lost answer, the second round finds the write.
        for _ in 0..3 {
            let (mut pruned, etag) = match self.read_pruned().await? {
                Some((pruned, etag)) => (pruned, Some(etag)),
                None => (Pruned { schema: SCHEMA, records: BTreeSet::new() }, None),
            };
            if records.is_subset(&pruned.records) {
                return Ok(());
            }
            pruned.records.extend(records);
            let body = serde_json::to_vec(&pruned).map_err(|error| Error::bug(error.to_string()))?;
            let written = match &etag {
                Some(etag) => self.store.replace(&self.pruned_key(), &body, etag).await,
                None => self.store.create(&self.pruned_key(), &body).await,
            };
            match written {
                Ok(Written::Done(_)) => return Ok(()),
                Ok(Written::Refused) => {}
                Err(failure) if failure.may_have_happened() => {}
                Err(failure) => return Err(unwritten(failure)),
            }
        }
        Err(Error::new(Kind::OldReleaseServes, ErrorId::LedgerUnwritten, "failed to write the ledger")
            .hint("nothing was deleted; run the command again"))
    }
}

fn number_after(last: u64) -> Result<u64> {
    last.checked_add(1).ok_or_else(|| {
        Error::preflight(
            ErrorId::LedgerDamaged,
            format!("failed to number the next ledger record: the last one is {last}"),
        )
        .hint("nothing was changed; restore the lease and the ledger from the bucket's versions")
    })
}

/// The current time in the precision of records: whole milliseconds.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The numbers of pruned records. They are stored apart, because records are never changed.
#[derive(Debug, Serialize, Deserialize)]
struct Pruned {
    schema: u32,
    records: BTreeSet<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damage(String);

fn newer(place: &str) -> Error {
    Error::preflight(ErrorId::LedgerNewer, format!("failed to read {place}: a newer deployctl wrote it"))
        .hint("nothing was changed; install the version that the rest of the team uses")
}

pub(super) fn unreadable(failure: Failure) -> Error {
    let hint = failure.hint(
        "nothing was changed",
        "the caller needs s3:ListBucket and s3:GetObject on the artifact bucket",
    );
    Error::preflight(ErrorId::LedgerUnreadable, "failed to read the ledger").because(failure).hint(hint)
}

fn unwritten(failure: Failure) -> Error {
    let hint = failure.hint(
        "the stage was not moved",
        "allow the caller s3:PutObject on the artifact bucket, and run the command again",
    );
    Error::new(Kind::OldReleaseServes, ErrorId::LedgerUnwritten, "failed to write the ledger")
        .because(failure)
        .hint(hint)
}
