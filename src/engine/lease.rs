//! The lease, which lets one command at a time change a stage.
//!
//! It is one object in the artifact bucket, written only on the condition that it is unchanged since it was
//! last read. A clock decides only which command may *try* to take it over: a holder whose lease was taken
//! over fails its next conditional write, and there is one directly before the switch and one before an undo.
//! The age of a lease is computed from one answer of S3: its `Date` less the object's `Last-Modified`. No
//! holder's clock counts.
//!
//! The write before the switch also stores the *intent*: the record that the switch makes true. If a command
//! is killed between switch and record, the next one finds the intent and completes the ledger.
//!
//! A command that releases the lease stores the end of the ledger in it, so that the next one need not read
//! the ledger. It is used only if the stage matches it: a command that has lost the lease may have recorded
//! itself since. After a holder that died, the ledger itself is read.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::release::canary::Canary;
use crate::release::model::{FunctionName, FunctionVersion, StageName};
use crate::release::record::{AppliedLayer, Record, Who};

/// How long a lease is valid without renewal.
pub(crate) const TERM: Duration = Duration::from_secs(90);

/// The time between two renewals: two of them may fail before the lease expires.
const RENEWAL: Duration = Duration::from_secs(30);

/// The time limit of one write of the lease. The next write detects whether one without an answer took
/// effect.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeaseDocument {
    /// The schema version of this object.
    pub(crate) schema: u32,
    /// The holder; `None` when the stage is free.
    pub(crate) holder: Option<Holder>,
    /// The record of a switch, until the ledger has it.
    pub(crate) intent: Option<Record>,
    /// The canary that holds the stage while no command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<Canary>,
    /// The end of the ledger when the lease was last released.
    #[serde(default)]
    pub(crate) head: Option<Head>,
    /// The code that deployctl last sent to each function. The ledger does not have it if the release failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sent: BTreeMap<FunctionName, String>,
    /// What the Terraform layers were last applied from. The ledger does not have it if the release failed, or
    /// if nothing had to be released.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) layers: BTreeMap<String, AppliedLayer>,
    /// The versions that deployctl gave provisioned concurrency, and has not taken it from.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) provisioned: BTreeSet<Versioned>,
}

/// A version of a function.
pub(crate) type Versioned = (FunctionName, FunctionVersion);

/// The schema version of a lease without a canary.
const SCHEMA: u32 = 1;

/// That of one with a canary, which older tools would lose; the newest that this tool reads.
const SCHEMA_OF_CANARY: u32 = 2;

impl LeaseDocument {
    /// The end of the ledger, unless another command may have appended to it since.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref().filter(|_| self.holder.is_none() && self.intent.is_none())
    }

    /// The document with which `holder` takes the lease that was read as `before`; what it does not change stays.
    fn taken(before: Option<&Self>, holder: &Holder) -> Self {
        let before = before.cloned().unwrap_or_default();
        let head = before.head().cloned();
        Self { schema: SCHEMA, holder: Some(holder.starting_now()), head, ..before }
    }
}

/// A lease as it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeaseSnapshot {
    /// The lease object; `None` before the first release.
    pub(crate) document: Option<LeaseDocument>,
    etag: Option<String>,
    /// The time since it was last written, by the store's own clock; `None` where the store does not return
    /// it.
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

    /// Checks that no canary holds `stage`. One that is being ended does not: the next command completes that.
    ///
    /// # Errors
    /// `canary.in_progress`.
    pub(crate) fn must_have_no_canary(&self, stage: &StageName) -> Result<()> {
        match self.canary().filter(|canary| !canary.is_ending()) {
            Some(canary) => Err(in_progress(stage, canary)),
            None => Ok(()),
        }
    }

    /// The canary of the stage.
    pub(crate) fn canary(&self) -> Option<&Canary> {
        self.document.as_ref()?.canary.as_ref()
    }

    /// Whether the lease has not expired, and the holder's process is not known to have ended. Each renewal
    /// writes the object, so its age is the time since the last renewal.
    fn is_alive(&self, holder: &Holder) -> bool {
        let in_term = self.age.map_or_else(|| holder.expires > Timestamp::now(), |age| age < TERM);
        in_term && !holder.process.is_gone()
    }
}

/// The holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Unique to the command that holds it.
    pub(crate) nonce: String,
    pub(crate) who: Who,
    /// The command, such as `release 1.4.2`.
    pub(crate) command: String,
    /// The process, so that a dead holder on this machine is detected.
    pub(crate) process: MachineProcess,
    pub(crate) since: Timestamp,
    /// When the lease expires, unless it is renewed.
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

/// The state that the last holder left in the lease.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreviousHolder {
    /// The intended record of a holder that was killed.
    pub(crate) intent: Option<Record>,
    /// The canary that holds the stage, or that such a holder was ending.
    pub(crate) canary: Option<Canary>,
    /// The end of the ledger, if it released the lease.
    pub(crate) head: Option<Head>,
    /// What the Terraform layers were last applied from, if it is known.
    pub(crate) layers: BTreeMap<String, AppliedLayer>,
}

#[derive(Debug)]
pub(crate) struct Lease<S> {
    store: S,
    key: String,
    clock: Clock,
    /// The last known content of the bucket and its ETag. Locked across each write, so that writes take
    /// turns.
    written: Mutex<(LeaseDocument, String)>,
    /// When the last successful write began, by the clock.
    renewed: std::sync::Mutex<Duration>,
}

/// Why it is not certain that a lease is still held.
#[derive(Debug)]
pub(crate) enum Unconfirmed {
    /// Another command took the stage over, or freed it.
    Lost,
    /// The bucket does not answer, or rejects the write.
    Unreachable(Error),
}

impl Unconfirmed {
    /// The error of a command that stops for it; `live` says what this command has done.
    pub(crate) fn into_error(self, live: &str) -> Error {
        match self {
            Self::Lost => lost(live),
            Self::Unreachable(error) => error,
        }
    }
}

/// The hint of a command that lost the lease before it moved the stage.
pub(crate) const NOT_MOVED: &str = "the stage was not moved by this command";

impl<S: Store + Clone> Lease<S> {
    fn key(stage: &StageName) -> String {
        format!("{PREFIX}{stage}/lease.json")
    }

    /// Reads the lease of `stage`, without taking it.
    ///
    /// # Errors
    /// `lease.unreadable`, `lease.damaged`, `lease.newer`.
    pub(crate) async fn peek(store: &S, stage: &StageName) -> Result<LeaseSnapshot> {
        let stored = store.read(&Self::key(stage)).await.map_err(unreadable)?;
        let Some(stored) = stored else { return Ok(LeaseSnapshot::default()) };
        Ok(LeaseSnapshot {
            document: Some(parse(&stored.body, stage)?),
            etag: Some(stored.etag),
            age: stored.age,
        })
    }

    /// Takes `stage` for `holder`. `seen` is the lease if it was just read.
    ///
    /// # Errors
    /// `lease.held` (exit code 75) with the holder, and as [`Lease::peek`].
    pub(crate) async fn acquire(
        store: S,
        stage: &StageName,
        holder: &Holder,
        clock: &Clock,
        seen: Option<LeaseSnapshot>,
    ) -> Result<(Self, PreviousHolder)> {
        Self::take(store, stage, (holder, clock), seen, |snapshot| {
            snapshot.must_have_no_canary(stage)?;
            Ok(LeaseDocument::taken(snapshot.document.as_ref(), holder))
        })
        .await
    }

    /// Takes `stage` to continue the canary `id`, which the same write changes.
    ///
    /// # Errors
    /// `canary.none` if it has ended, `lease.held`, and as [`Lease::peek`].
    pub(crate) async fn acquire_canary(
        store: S,
        stage: &StageName,
        (holder, clock): (&Holder, &Clock),
        seen: Option<LeaseSnapshot>,
        (id, change): (&str, impl Fn(&mut LeaseDocument)),
    ) -> Result<(Self, PreviousHolder)> {
        Self::take(store, stage, (holder, clock), seen, |snapshot| {
            let before = snapshot.document.as_ref();
            let canary = before.and_then(|document| document.canary.as_ref());
            canary.filter(|canary| canary.id == id).ok_or_else(|| no_canary(stage))?;
            let mut document = LeaseDocument::taken(before, holder);
            change(&mut document);
            Ok(document)
        })
        .await
    }

    /// Takes `stage` with the document that `taken` makes of a lease that nobody holds.
    async fn take(
        store: S,
        stage: &StageName,
        (holder, clock): (&Holder, &Clock),
        mut seen: Option<LeaseSnapshot>,
        taken: impl Fn(&LeaseSnapshot) -> Result<LeaseDocument>,
    ) -> Result<(Self, PreviousHolder)> {
        // After a lost answer, the second round finds the write; a third means a race with another command.
        for _ in 0..3 {
            let started = clock.now();
            let snapshot = match seen.take() {
                Some(snapshot) => snapshot,
                None => Self::peek(&store, stage).await?,
            };
            if let Some(other) = snapshot.document.as_ref().and_then(|document| document.holder.as_ref()) {
                if other.nonce == holder.nonce {
                    // Written by the round before this one, so its age is the time since that write.
                    let renewed = started.saturating_sub(snapshot.age.unwrap_or(TERM));
                    return Ok(Self::from_snapshot(store, stage, snapshot, (clock, renewed)));
                }
                if snapshot.is_alive(other) {
                    return Err(held(stage, other));
                }
            }
            let document = taken(&snapshot)?;
            let started = clock.now();
            if let Some(etag) = Self::try_write(&store, stage, &document, snapshot.etag.as_deref()).await? {
                let written = LeaseSnapshot { document: Some(document), etag: Some(etag), age: None };
                return Ok(Self::from_snapshot(store, stage, written, (clock, started)));
            }
        }
        Err(contended(stage))
    }

    /// Takes `stage` and stores the intent in one write; `None` when the lease has changed since `snapshot`,
    /// or the answer was lost.
    ///
    /// # Errors
    /// `lease.unreadable`.
    pub(crate) async fn acquire_with_intent(
        store: S,
        stage: &StageName,
        snapshot: &LeaseSnapshot,
        (holder, clock): (&Holder, &Clock),
        intent: Record,
    ) -> Result<Option<Self>> {
        let taken = LeaseDocument::taken(snapshot.document.as_ref(), holder);
        let document = LeaseDocument { intent: Some(intent), canary: None, ..taken };
        let started = clock.now();
        let etag = Self::try_write(&store, stage, &document, snapshot.etag.as_deref()).await?;
        let written = |etag| LeaseSnapshot { document: Some(document), etag: Some(etag), age: None };
        Ok(etag.map(|etag| Self::from_snapshot(store, stage, written(etag), (clock, started)).0))
    }

    fn from_snapshot(
        store: S,
        stage: &StageName,
        snapshot: LeaseSnapshot,
        (clock, renewed): (&Clock, Duration),
    ) -> (Self, PreviousHolder) {
        let LeaseSnapshot { document, etag, .. } = snapshot;
        let document = document.unwrap_or_default();
        let previous = PreviousHolder {
            intent: document.intent.clone(),
            canary: document.canary.clone(),
            head: document.head.clone(),
            layers: document.layers.clone(),
        };
        let lease = Self {
            store,
            key: Self::key(stage),
            clock: clock.clone(),
            written: Mutex::new((document, etag.unwrap_or_default())),
            renewed: std::sync::Mutex::new(renewed),
        };
        (lease, previous)
    }

    /// Replaces the lease with `etag` by `document`; `None` when another command wrote first, or the answer
    /// was lost.
    async fn try_write(
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

    /// Runs `work` and renews the lease meanwhile. A failed renewal does not stop the work: the write before
    /// the switch decides whether this command may go on, and after the switch the work must be completed.
    pub(crate) async fn renew_during<T>(&self, work: impl Future<Output = T>) -> T {
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

    /// Renews the lease and stores the record that the switch makes true. The switch may be made only after
    /// this has succeeded.
    ///
    /// # Errors
    /// `lease.lost` when another command took the stage over.
    pub(crate) async fn record_intent(&self, record: &Record) -> Result<()> {
        self.renew(Some(record)).await.map_err(|unconfirmed| unconfirmed.into_error(NOT_MOVED))
    }

    /// Whether the last renewal is younger than the term, so that no command can have taken the lease over.
    pub(crate) fn is_current(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.now().saturating_sub(renewed) < TERM
    }

    /// Checks, directly before a call that moves the stage, that the lease is held: by the clock, and if the
    /// term is over, because this machine was suspended or starved, by a write.
    ///
    /// # Errors
    /// The lease is lost, or cannot be confirmed.
    pub(crate) async fn must_be_current(&self) -> Result<(), Unconfirmed> {
        if self.is_current() { Ok(()) } else { self.renew(None).await }
    }

    /// Renews the lease, whatever the clock says, and stores `intent`.
    ///
    /// # Errors
    /// The lease is lost, or cannot be confirmed.
    pub(crate) async fn confirm(&self, intent: &Record) -> Result<(), Unconfirmed> {
        self.renew(Some(intent)).await
    }

    /// Renews the lease, and stores the canary at the step that is made next.
    ///
    /// # Errors
    /// The lease is lost, or cannot be confirmed.
    pub(crate) async fn record_canary(&self, canary: &Canary) -> Result<(), Unconfirmed> {
        self.rewrite(|document| document.canary = Some(canary.clone())).await
    }

    /// The command that holds the lease, such as `release 1.4.2`.
    pub(crate) async fn command(&self) -> String {
        let written = self.written.lock().await;
        written.0.holder.as_ref().map(|holder| holder.command.clone()).unwrap_or_default()
    }

    /// The canary of the stage, as it was last stored.
    pub(crate) async fn canary(&self) -> Option<Canary> {
        self.written.lock().await.0.canary.clone()
    }

    /// Notes that ledger and stage agree, that no canary is left, and the end of the ledger. The next write, the
    /// release of the lease, stores it.
    pub(crate) async fn mark_clean(&self, head: Head) {
        let mut written = self.written.lock().await;
        written.0.intent = None;
        written.0.canary = None;
        written.0.head = Some(head);
    }

    /// Notes which code was sent to a function. The next write stores it.
    pub(crate) async fn record_sent_code(&self, name: &FunctionName, code_sha256: &str) {
        self.written.lock().await.0.sent.insert(name.clone(), code_sha256.to_owned());
    }

    /// The code that deployctl last sent to each function.
    pub(crate) async fn sent_code(&self) -> BTreeMap<FunctionName, String> {
        self.written.lock().await.0.sent.clone()
    }

    /// Notes what the Terraform layers were applied from. The next write stores it.
    pub(crate) async fn record_layers(&self, layers: BTreeMap<String, AppliedLayer>) {
        self.written.lock().await.0.layers = layers;
    }

    /// The versions that deployctl gave provisioned concurrency.
    pub(crate) async fn provisioned(&self) -> BTreeSet<Versioned> {
        self.written.lock().await.0.provisioned.clone()
    }

    /// Stores which versions are about to get provisioned concurrency, before AWS charges it.
    ///
    /// # Errors
    /// The lease is lost, or cannot be written.
    pub(crate) async fn record_provisioned(&self, versions: BTreeSet<Versioned>) -> Result<(), Unconfirmed> {
        if versions.is_subset(&self.written.lock().await.0.provisioned) {
            return self.must_be_current().await;
        }
        self.rewrite(|document| document.provisioned.extend(versions)).await
    }

    /// Notes that a version has no provisioned concurrency any more. The next write stores it.
    pub(crate) async fn forget_provisioned(&self, versioned: &Versioned) {
        self.written.lock().await.0.provisioned.remove(versioned);
    }

    /// Releases the lease. An intent that was not marked clean stays for the next holder.
    ///
    /// # Errors
    /// [`Unconfirmed::Lost`] when another command holds the stage by now.
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

    /// Writes the lease with a change, within `WRITE_TIMEOUT`.
    async fn rewrite(&self, change: impl FnOnce(&mut LeaseDocument)) -> Result<(), Unconfirmed> {
        // On the heap, because a lease is large, and this is part of most futures of a command.
        let rewrite = Box::pin(async {
            let mut written = self.written.lock().await;
            let mut document = written.0.clone();
            change(&mut document);
            self.write(&mut written, document).await
        });
        let timed_out = |_| Err(Unconfirmed::Unreachable(unwritten()));
        tokio::time::timeout(WRITE_TIMEOUT, rewrite).await.unwrap_or_else(timed_out)
    }

    async fn write(
        &self,
        written: &mut (LeaseDocument, String),
        document: LeaseDocument,
    ) -> Result<(), Unconfirmed> {
        let body = body(&document).map_err(Unconfirmed::Unreachable)?;
        let unreachable = |failure| Unconfirmed::Unreachable(unreadable(failure));
        // After a lost answer, the second round finds the write; the third repeats a write that did not
        // arrive.
        for _ in 0..3 {
            let started = self.clock.now();
            let etag = match self.store.replace(&self.key, &body, &written.1).await {
                Ok(Written::Done(etag)) => Some(etag),
                Err(failure) if !failure.may_have_happened() => return Err(unreachable(failure)),
                // Another command has written, or this one and its answer was lost.
                Ok(Written::Refused) | Err(_) => {
                    let stored = self.store.read(&self.key).await.map_err(unreachable)?;
                    let stored = stored.ok_or(Unconfirmed::Lost)?;
                    let found: LeaseDocument =
                        serde_json::from_slice(&stored.body).map_err(|_| Unconfirmed::Lost)?;
                    let nonce = |document: &LeaseDocument| {
                        document.holder.as_ref().map(|holder| holder.nonce.clone())
                    };
                    if stored.body == body {
                        Some(stored.etag)
                    } else if nonce(&found).is_some() && nonce(&found) == nonce(&written.0) {
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

fn contended(stage: &StageName) -> Error {
    Error::new(
        Kind::Held,
        ErrorId::LeaseHeld,
        format!("failed to acquire the lease of stage {stage}: another command is acquiring it"),
    )
    .hint("nothing was changed; run the command again in a moment")
}

/// The error of a command that a canary does not allow.
pub(crate) fn in_progress(stage: &StageName, canary: &Canary) -> Error {
    let Canary { command, record, .. } = canary;
    let message = format!(
        "a canary of release {} holds stage {stage} since {}: {} started it with `{command}`",
        record.release.version, record.at, record.who.arn
    );
    Error::new(Kind::Held, ErrorId::CanaryInProgress, message).hint(format!(
        "nothing was changed; `deployctl canary status --stage {stage}` shows it, `deployctl canary promote` \
         switches to its release, and `deployctl canary abort` goes back"
    ))
}

/// The error of a command about a canary on a stage that has none, or none any more.
pub(crate) fn no_canary(stage: &StageName) -> Error {
    Error::preflight(ErrorId::CanaryNone, format!("no canary of deployctl is in progress on stage {stage}"))
        .hint(format!("nothing was changed; `deployctl status --stage {stage}` shows what is live"))
}

/// The error of a command whose lease another command took over; `live` says what this command has done.
pub(crate) fn lost(live: &str) -> Error {
    Error::new(Kind::Held, ErrorId::LeaseLost, "another command took the stage over")
        .hint(format!("{live}; `deployctl status` shows what is live"))
}

fn unwritten() -> Error {
    Error::preflight(ErrorId::LeaseUnwritten, "failed to renew the lease in the artifact bucket")
        .hint("the stage was not moved by this command; run the command again")
}

/// Frees `stage`, whichever command holds it; `false` when none does. The intent stays for the next command.
/// A damaged lease is replaced by a free one; what it said is lost.
///
/// # Errors
/// `lease.unreadable`, or `lease.held` when the lease changed meanwhile.
pub(crate) async fn unlock<S: Store + Clone>(store: &S, stage: &StageName) -> Result<bool> {
    let key = Lease::<S>::key(stage);
    let Some(stored) = store.read(&key).await.map_err(unreadable)? else { return Ok(false) };
    let document = match parse(&stored.body, stage) {
        Ok(document) if document.holder.is_none() => return Ok(false),
        Err(error) if error.id == ErrorId::LeaseDamaged => {
            LeaseDocument { schema: SCHEMA, ..LeaseDocument::default() }
        }
        document => document?,
    };
    // Without the head: the holder may have appended to the ledger.
    let free = LeaseDocument { holder: None, head: None, ..document };
    match store.replace(&key, &body(&free)?, &stored.etag).await.map_err(unreadable)? {
        Written::Done(_) => Ok(true),
        Written::Refused => Err(Error::new(
            Kind::Held,
            ErrorId::LeaseHeld,
            "failed to release the lease: its holder is renewing it",
        )
        .hint("nothing was changed; wait until the holder ends, or stop it first")),
    }
}

fn expiry(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::try_from(TERM).unwrap_or_default()).unwrap_or(now)
}

fn body(document: &LeaseDocument) -> Result<Vec<u8>> {
    let schema = if document.canary.is_some() { SCHEMA_OF_CANARY } else { SCHEMA };
    let document = LeaseDocument { schema, ..document.clone() };
    serde_json::to_vec_pretty(&document).map_err(|error| Error::bug(error.to_string()))
}

fn parse(body: &[u8], stage: &StageName) -> Result<LeaseDocument> {
    let damaged = |error: serde_json::Error| {
        Error::preflight(ErrorId::LeaseDamaged, "failed to read the lease in the artifact bucket")
            .because(error)
            .hint(format!(
                "nothing was changed; `deployctl unlock --stage {stage}` replaces it, and `deployctl status \
                 --stage {stage}` compares the stage with the ledger"
            ))
    };
    let value: serde_json::Value = serde_json::from_slice(body).map_err(damaged)?;
    if value
        .get("schema")
        .and_then(serde_json::Value::as_u64)
        .is_some_and(|schema| schema > u64::from(SCHEMA_OF_CANARY))
    {
        return Err(Error::preflight(
            ErrorId::LeaseNewer,
            "failed to read the lease in the artifact bucket: a newer deployctl wrote it",
        )
        .hint("nothing was changed; install the version that the rest of the team uses"));
    }
    serde_json::from_value(value).map_err(damaged)
}

/// The holder as a sentence.
pub(crate) fn describe(holder: &Holder) -> String {
    let run = holder.who.run_url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
    format!(
        "{} holds it since {} for `{}` on {} (process {}{run})",
        holder.who.arn, holder.since, holder.command, holder.process.host, holder.process.pid
    )
}

fn held(stage: &StageName, holder: &Holder) -> Error {
    let message = format!("another command holds stage {stage}: {}", describe(holder));
    Error::new(Kind::Held, ErrorId::LeaseHeld, message).hint(format!(
        "nothing was changed; wait until it ends (`--wait 10m`); if it has died, its lease expires {} s \
             after its last renewal, or run `deployctl unlock --stage {stage}`",
        TERM.as_secs()
    ))
}

fn unreadable(failure: Failure) -> Error {
    let hint = failure.hint(
        "the stage was not moved",
        "the caller needs s3:GetObject and s3:PutObject on the artifact bucket",
    );
    Error::preflight(ErrorId::LeaseUnreadable, "failed to read or write the lease in the artifact bucket")
        .because(failure)
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_lease_is_by_the_clock_of_the_store() {
        let who = Who { arn: "arn:aws:iam::000000000000:user/test".into(), run_url: None };
        let mut holder = Holder::new("theirs".into(), who, "release 9".into());
        holder.process.machine = "another".into();
        let snapshot = |age| LeaseSnapshot { document: None, etag: None, age };
        for hours in [-5, 0, 5] {
            holder.expires = Timestamp::now() + SignedDuration::from_hours(hours);
            assert!(snapshot(Some(TERM - Duration::from_secs(1))).is_alive(&holder), "{hours}");
            assert!(!snapshot(Some(TERM)).is_alive(&holder), "{hours}");
            // Without the store's clock, the holder's own expiry counts.
            assert_eq!(snapshot(None).is_alive(&holder), hours > 0, "{hours}");
        }
    }
}
