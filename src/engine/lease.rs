//! The lease: one command at a time changes a stage.
//!
//! It is one object in the artifact bucket, written only on the condition that it is still as it was last
//! read. A clock decides only who may *try* to take it over: a holder whose lease was taken over fails its next
//! conditional write, and there is one right before the switch and one before an undo. How old a lease is, is what
//! S3 says of itself in one answer: its `Date` less the object's `Last-Modified`. No holder's clock counts.
//!
//! The write before the switch also carries the *intent*: the record that the switch is about to make true. A
//! command that is killed between switch and ledger leaves it behind, and the next one settles it.
//!
//! Whoever gives the lease back writes down where the ledger ends, so the next command need not read it. It is believed
//! where the stage shows it: without the lease, only a command that has lost it appends to the ledger, about itself.
//! After a holder that died, only the ledger itself is believed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::engine::failure::Failure;
use crate::engine::ledger::{Head, PREFIX};
use crate::engine::ports::{Store, Written};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::platform::clock::Clock;
use crate::platform::process_identity::MachineProcess;
use crate::release::model::{FunctionName, StageName};
use crate::release::record::{Record, Who};

/// How long a lease holds without being renewed.
pub(crate) const TERM: Duration = Duration::from_secs(90);

/// How often it is renewed: two renewals may fail before it runs out.
const RENEWAL: Duration = Duration::from_secs(30);

/// The longest that one write of the lease may take. One that gets no answer is found out by the next.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeaseDocument {
    /// The form of this object.
    pub(crate) schema: u32,
    /// Who holds the stage; `None` when it is free.
    pub(crate) holder: Option<Holder>,
    /// What a switch was about to make true, until the ledger has it.
    pub(crate) intent: Option<Record>,
    /// Where the ledger ended when the lease was last given back.
    #[serde(default)]
    pub(crate) head: Option<Head>,
    /// The code that deployctl last sent to each function: a release that failed has no record which tells of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sent: BTreeMap<FunctionName, String>,
}

/// The form of the slips that this tool writes, and the newest it reads.
const SCHEMA: u32 = 1;

impl LeaseDocument {
    /// Where the ledger ends, unless another command may have appended to it since.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref().filter(|_| self.holder.is_none() && self.intent.is_none())
    }
}

/// A lease as it was read, before anybody takes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeaseSnapshot {
    /// The lease object; `None` before the first release.
    pub(crate) document: Option<LeaseDocument>,
    etag: Option<String>,
    /// The time since it was last written, by the store's own clock; `None` where the store does not say.
    age: Option<Duration>,
}

impl LeaseSnapshot {
    /// Checks that no command is changing `stage`.
    ///
    /// # Errors
    /// `lease.held` with the holder.
    pub(crate) fn must_be_free(&self, stage: &StageName) -> Result<()> {
        match self.document.as_ref().and_then(|document| document.holder.as_ref()) {
            Some(holder) if self.is_alive(holder) => Err(held(stage, holder)),
            _ => Ok(()),
        }
    }

    /// Whether the holder's term is not over yet, and its process is not known to have ended. Each renewal writes the
    /// object, so its age is the time since the last renewal.
    fn is_alive(&self, holder: &Holder) -> bool {
        let in_term = self.age.map_or_else(|| holder.expires > Timestamp::now(), |age| age < TERM);
        in_term && !holder.process.is_gone()
    }
}

/// Who holds a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Unique to the command that holds it.
    pub(crate) nonce: String,
    pub(crate) who: Who,
    /// What it is doing, such as `release 1.4.2`.
    pub(crate) command: String,
    /// The process, so that a dead one on this machine can be told.
    pub(crate) process: MachineProcess,
    pub(crate) since: Timestamp,
    /// Until when, unless it is renewed.
    pub(crate) expires: Timestamp,
}

impl Holder {
    /// This process as a holder, from now on.
    pub(crate) fn new(nonce: String, who: Who, command: String) -> Self {
        let since = crate::engine::ledger::now();
        Self { nonce, who, command, process: MachineProcess::current(), since, expires: expiry(since) }
    }

    /// The same holder, from now on.
    fn starting_now(&self) -> Self {
        let since = crate::engine::ledger::now();
        Self { since, expires: expiry(since), ..self.clone() }
    }
}

/// What the last holder left.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreviousHolder {
    /// What it was about to make true, when it was killed.
    pub(crate) intent: Option<Record>,
    /// Where the ledger ends, if it gave the lease back in order.
    pub(crate) head: Option<Head>,
}

#[derive(Debug)]
pub(crate) struct Lease<S> {
    store: S,
    key: String,
    clock: Clock,
    /// What is in the bucket, as far as we know; locked across each write, so that writes take turns.
    written: Mutex<(LeaseDocument, String)>,
    /// When the last write began that went well, by the clock.
    renewed: std::sync::Mutex<Duration>,
}

/// Why it is not certain that a lease is still held.
#[derive(Debug)]
pub(crate) enum Unconfirmed {
    /// Another command took the stage over, or freed it.
    Lost,
    /// The bucket does not answer, or refuses the write.
    Unreachable(Error),
}

impl Unconfirmed {
    /// The error of a command that stops for it; `live` tells what this command has done.
    pub(crate) fn into_error(self, live: &str) -> Error {
        match self {
            Self::Lost => lost(live),
            Self::Unreachable(error) => error,
        }
    }
}

/// What a command has done that lost its stage before it moved it.
pub(crate) const NOT_MOVED: &str = "the stage was not moved by this command";

impl<S: Store + Clone> Lease<S> {
    fn key(stage: &StageName) -> String {
        format!("{PREFIX}{stage}/lease.json")
    }

    /// Reads who holds `stage`, without taking it.
    ///
    /// # Errors
    /// `lease.unreadable`, `lease.damaged`, `lease.newer`.
    pub(crate) async fn peek(store: &S, stage: &StageName) -> Result<LeaseSnapshot> {
        let stored = store.read(&Self::key(stage)).await.map_err(unreadable)?;
        let Some(stored) = stored else { return Ok(LeaseSnapshot::default()) };
        Ok(LeaseSnapshot { document: Some(parse(&stored.body)?), etag: Some(stored.etag), age: stored.age })
    }

    /// Takes `stage` for `holder`.
    ///
    /// # Errors
    /// `lease.held` (exit code 75) with the holder, and as [`Lease::peek`].
    pub(crate) async fn acquire(
        store: S,
        stage: &StageName,
        holder: &Holder,
        clock: &Clock,
    ) -> Result<(Self, PreviousHolder)> {
        // A write whose answer was lost is found on the second round; a third means a real race.
        for _ in 0..3 {
            let started = clock.now();
            let found = Self::peek(&store, stage).await?;
            if let Some(other) = found.document.as_ref().and_then(|document| document.holder.as_ref()) {
                if other.nonce == holder.nonce {
                    // Written by the round before this one, which is not longer ago than its answer was waited for.
                    let begun = started.saturating_sub(found.age.unwrap_or(TERM));
                    return Ok(Self::taken(store, stage, found, (clock, begun)));
                }
                if found.is_alive(other) {
                    return Err(held(stage, other));
                }
            }
            let document = found.document.as_ref();
            let document = LeaseDocument {
                schema: SCHEMA,
                holder: Some(holder.starting_now()),
                intent: document.and_then(|document| document.intent.clone()),
                head: document.and_then(|document| document.head().cloned()),
                sent: document.map_or_else(BTreeMap::new, |document| document.sent.clone()),
            };
            let started = clock.now();
            if let Some(etag) = Self::put(&store, stage, &document, found.etag.as_deref()).await? {
                let found = LeaseSnapshot { document: Some(document), etag: Some(etag), age: None };
                return Ok(Self::taken(store, stage, found, (clock, started)));
            }
        }
        Err(Error::new(
            Kind::Held,
            ErrorId::LeaseHeld,
            format!("another command is acquiring the lease of stage {stage}"),
        )
        .hint("nothing was changed; run the command again in a moment"))
    }

    /// Takes `stage` and writes down what is about to become true, both in the one write; `None` when the lease is no
    /// longer as `found`, or nobody knows.
    ///
    /// # Errors
    /// `lease.unreadable`.
    pub(crate) async fn acquire_intending(
        store: S,
        stage: &StageName,
        found: &LeaseSnapshot,
        (holder, clock): (&Holder, &Clock),
        intent: Record,
    ) -> Result<Option<Self>> {
        let document = found.document.as_ref();
        let head = document.and_then(|document| document.head().cloned());
        let sent = document.map_or_else(BTreeMap::new, |document| document.sent.clone());
        let document = LeaseDocument {
            schema: SCHEMA,
            holder: Some(holder.starting_now()),
            intent: Some(intent),
            head,
            sent,
        };
        let started = clock.now();
        let etag = Self::put(&store, stage, &document, found.etag.as_deref()).await?;
        let found = |etag| LeaseSnapshot { document: Some(document), etag: Some(etag), age: None };
        Ok(etag.map(|etag| Self::taken(store, stage, found(etag), (clock, started)).0))
    }

    fn taken(
        store: S,
        stage: &StageName,
        found: LeaseSnapshot,
        (clock, renewed): (&Clock, Duration),
    ) -> (Self, PreviousHolder) {
        let LeaseSnapshot { document, etag, .. } = found;
        let document = document.unwrap_or_default();
        let left = PreviousHolder { intent: document.intent.clone(), head: document.head.clone() };
        let lease = Self {
            store,
            key: Self::key(stage),
            clock: clock.clone(),
            written: Mutex::new((document, etag.unwrap_or_default())),
            renewed: std::sync::Mutex::new(renewed),
        };
        (lease, left)
    }

    /// Writes `document` over the one with `etag`; `None` when another command was faster, or the answer was lost.
    async fn put(
        store: &S,
        stage: &StageName,
        document: &LeaseDocument,
        etag: Option<&str>,
    ) -> Result<Option<String>> {
        let (key, body) = (Self::key(stage), body(document)?);
        let written = match etag {
            None => store.create(&key, &body).await,
            Some(etag) => store.replace(&key, &body, etag).await,
        };
        match written {
            Ok(Written::Done(etag)) => Ok(Some(etag)),
            Ok(Written::Refused) => Ok(None),
            Err(failure) if failure.may_have_happened() => Ok(None),
            Err(failure) => Err(unreadable(failure)),
        }
    }

    /// Does `work` while renewing the lease beside it. A renewal that fails stops nothing: the write before the switch
    /// is what decides whether this command may go on, and after the switch the work must come to its end.
    pub(crate) async fn keep<T>(&self, work: impl Future<Output = T>) -> T {
        let renewals = async {
            let mut lost = false;
            while !lost {
                tokio::time::sleep(RENEWAL).await;
                lost = matches!(self.renew(None).await, Err(Unconfirmed::Lost));
            }
        };
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = renewals => {}
        }
        work.await
    }

    /// Renews the lease and writes down what the switch is about to make true. After this has succeeded, the
    /// switch may be made.
    ///
    /// # Errors
    /// `lease.lost` when another command took the stage over.
    pub(crate) async fn intend(&self, record: &Record) -> Result<()> {
        self.renew(Some(record)).await.map_err(|unconfirmed| unconfirmed.into_error(NOT_MOVED))
    }

    /// Whether the last renewal is younger than the lease's term, so that no command can have taken it over since.
    pub(crate) fn is_current(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.now().saturating_sub(renewed) < TERM
    }

    /// Makes sure, right before a call that moves the stage, that the lease is held: by the clock, and where that does
    /// not suffice, because this machine was suspended or starved, by a write.
    pub(crate) async fn must_be_current(&self) -> Result<(), Unconfirmed> {
        if self.is_current() { Ok(()) } else { self.renew(None).await }
    }

    /// Renews the lease, whatever the clock says, and writes down `intent`.
    pub(crate) async fn confirm(&self, intent: &Record) -> Result<(), Unconfirmed> {
        self.renew(Some(intent)).await
    }

    /// Remembers that ledger and stage agree again, and where the ledger ends. It is written down with the next
    /// write: the stage's return.
    pub(crate) async fn mark_clean(&self, head: Head) {
        let mut written = self.written.lock().await;
        written.0.intent = None;
        written.0.head = Some(head);
    }

    /// Remembers which code a function was sent. It is written down with the next write.
    pub(crate) async fn record_sent_code(&self, name: &FunctionName, code_sha256: &str) {
        self.written.lock().await.0.sent.insert(name.clone(), code_sha256.to_owned());
    }

    /// Gives the stage back. An intent that was not settled stays for the next holder.
    pub(crate) async fn release(self) -> Result<(), Unconfirmed> {
        self.rewrite(|document| document.holder = None).await
    }

    async fn renew(&self, intent: Option<&Record>) -> Result<(), Unconfirmed> {
        self.rewrite(|document| {
            if let Some(holder) = &mut document.holder {
                holder.expires = expiry(crate::engine::ledger::now());
            }
            if let Some(intent) = intent {
                document.intent = Some(intent.clone());
            }
        })
        .await
    }

    /// Writes the lease anew with a change, within the time that a write may take.
    async fn rewrite(&self, change: impl FnOnce(&mut LeaseDocument)) -> Result<(), Unconfirmed> {
        let rewrite = async {
            let mut written = self.written.lock().await;
            let mut document = written.0.clone();
            change(&mut document);
            self.write(&mut written, document).await
        };
        let silent = |_| Err(Unconfirmed::Unreachable(unwritten()));
        tokio::time::timeout(ANSWER, rewrite).await.unwrap_or_else(silent)
    }

    async fn write(
        &self,
        written: &mut (LeaseDocument, String),
        document: LeaseDocument,
    ) -> Result<(), Unconfirmed> {
        let body = body(&document).map_err(Unconfirmed::Unreachable)?;
        let unreachable = |failure| Unconfirmed::Unreachable(unreadable(failure));
        // The second round finds what the first one wrote; a third is for a write that was lost on its way.
        for _ in 0..3 {
            let started = self.clock.now();
            let etag = match self.store.replace(&self.key, &body, &written.1).await {
                Ok(Written::Done(etag)) => Some(etag),
                Err(failure) if !failure.may_have_happened() => return Err(unreachable(failure)),
                // This command's own write, whose answer was lost, or that of another one.
                Ok(Written::Refused) | Err(_) => {
                    let stored = self.store.read(&self.key).await.map_err(unreachable)?;
                    let stored = stored.ok_or(Unconfirmed::Lost)?;
                    let there = parse(&stored.body).map_err(|_| Unconfirmed::Lost)?;
                    let nonce = |document: &LeaseDocument| {
                        document.holder.as_ref().map(|holder| holder.nonce.clone())
                    };
                    if stored.body == body {
                        Some(stored.etag)
                    } else if nonce(&there).is_some() && nonce(&there) == nonce(&written.0) {
                        written.1 = stored.etag;
                        None
                    } else {
                        return Err(Unconfirmed::Lost);
                    }
                }
            };
            if let Some(etag) = etag {
                *written = (document, etag);
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = started;
                return Ok(());
            }
        }
        Err(Unconfirmed::Unreachable(unwritten()))
    }
}

/// Another command has this stage now.
pub(crate) fn lost(live: &str) -> Error {
    Error::new(Kind::Held, ErrorId::LeaseLost, "another command took the stage over")
        .hint(format!("{live}; `deployctl status` tells what is live"))
}

fn unwritten() -> Error {
    Error::preflight(ErrorId::LeaseUnwritten, "failed to renew the lease in the artifact bucket")
        .hint("the stage was not moved by this command; run it again")
}

/// Frees `stage`, whichever command holds it; `false` when none does. The intent stays for the next command.
///
/// # Errors
/// `lease.unreadable`, or `lease.held` when the lease changed meanwhile.
pub(crate) async fn unlock<S: Store + Clone>(store: &S, stage: &StageName) -> Result<bool> {
    let key = Lease::<S>::key(stage);
    let Some(stored) = store.read(&key).await.map_err(unreadable)? else { return Ok(false) };
    let document = parse(&stored.body)?;
    if document.holder.is_none() {
        return Ok(false);
    }
    // Whoever held it may have appended to the ledger.
    let free = LeaseDocument { holder: None, head: None, ..document };
    match store.replace(&key, &body(&free)?, &stored.etag).await.map_err(unreadable)? {
        Written::Done(_) => Ok(true),
        Written::Refused => {
            Err(Error::new(Kind::Held, ErrorId::LeaseHeld, "the lease is being renewed: its holder is alive")
                .hint("nothing was changed; wait for the holder, or stop it first"))
        }
    }
}

fn expiry(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::try_from(TERM).unwrap_or_default()).unwrap_or(now)
}

fn body(document: &LeaseDocument) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(document).map_err(|error| Error::bug(error.to_string()))
}

fn parse(body: &[u8]) -> Result<LeaseDocument> {
    let damaged = |error: serde_json::Error| {
        Error::preflight(ErrorId::LeaseDamaged, "failed to read the lease in the artifact bucket")
            .because(error)
            .hint("nothing was changed; `deployctl history` tells what was done last")
    };
    let value: serde_json::Value = serde_json::from_slice(body).map_err(damaged)?;
    if value
        .get("schema")
        .and_then(serde_json::Value::as_u64)
        .is_some_and(|schema| schema > u64::from(SCHEMA))
    {
        return Err(Error::preflight(
            ErrorId::LeaseNewer,
            "the lease in the artifact bucket was written by a newer deployctl",
        )
        .hint("nothing was changed; install the version that the rest of the team uses"));
    }
    serde_json::from_value(value).map_err(damaged)
}

/// Who holds the stage, as a sentence.
pub(crate) fn describe(holder: &Holder) -> String {
    let run = holder.who.run_url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
    format!(
        "{} holds it since {} for `{}` on {} (process {}{run})",
        holder.who.arn, holder.since, holder.command, holder.process.host, holder.process.pid
    )
}

fn held(stage: &StageName, holder: &Holder) -> Error {
    Error::new(Kind::Held, ErrorId::LeaseHeld, format!("another command holds stage {stage}: {}", describe(holder)))
        .hint(format!(
            "nothing was changed; wait until it ends (`--wait 10m`); if you know that it is dead, its lease runs out {} s \
             after it was last renewed, or use `deployctl unlock --stage {stage}`",
            TERM.as_secs()
        ))
}

fn unreadable(failure: Failure) -> Error {
    Error::preflight(ErrorId::LeaseUnreadable, "failed to read or write the lease in the artifact bucket")
        .because(failure)
        .hint(
            "the stage was not moved; the caller needs s3:GetObject and s3:PutObject on the artifact bucket",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_lease_is_by_the_clock_of_the_store() {
        let who = Who { arn: "arn:aws:iam::000000000000:user/test".into(), run_url: None };
        let mut holder = Holder::new("theirs".into(), who, "release 9".into());
        holder.process.machine = "another".into();
        let found = |age| LeaseSnapshot { document: None, etag: None, age };
        for hours in [-5, 0, 5] {
            holder.expires = Timestamp::now() + SignedDuration::from_hours(hours);
            assert!(found(Some(TERM - Duration::from_secs(1))).is_alive(&holder), "{hours}");
            assert!(!found(Some(TERM)).is_alive(&holder), "{hours}");
            // A store that does not say leaves only what the holder says.
            assert_eq!(found(None).is_alive(&holder), hours > 0, "{hours}");
        }
    }
}
