//! The switch and the undo: each a call that states the whole target, made only while this command is known to hold
//! the stage.
//!
//! A client cannot fence a call that stalls between the last check and its effect. What it can do is done here: the lease
//! is checked before every attempt, an undo begins with a write that only the holder can make, and it moves back only
//! what this command put there.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::{interrupted, with_grace};
use crate::engine::lease::{NOT_MOVED, Unconfirmed, lost};
use crate::engine::ledger::Head;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::engine::verify::LiveChecks;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::model::Pointer;
use crate::release::record::{Outcome, Record};
use crate::release::state::Caches;

/// For how long a switch is tried again. The old release serves meanwhile.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(60);

/// For how long an undo is tried again: a release that failed its checks serves meanwhile, and the lease blocks others.
const UNDO_TIMEOUT: Duration = Duration::from_secs(300);

/// The first pause between two attempts; each further one is twice as long, up to the longest.
const INITIAL_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// How an undo ended.
enum Undone {
    /// The stage is where it was.
    Back,
    /// Another command holds the stage.
    Lost,
    /// The stage was moved elsewhere without a lease.
    Elsewhere(Pointer),
    /// It was not possible.
    Failed(Failure),
    /// It was not allowed: the lease is too old, and the bucket cannot be asked.
    Unconfirmed(Error),
}

/// How a switch ended that did not work.
enum Unswitched {
    /// The stage is where it was.
    Not(Error),
    /// It is not known; it is to be moved back.
    Unknown(Error),
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Records what is about to become true, and then makes it so: [`HeldStage::switch_over`].
    ///
    /// # Errors
    /// As [`HeldStage::switch_over`], and `lease.lost`.
    pub(super) async fn record_intent_and_switch(
        &self,
        port: &impl StagePort,
        mut record: Record,
        head: Head,
        checks: &LiveChecks<'_>,
    ) -> Result<Record> {
        if self.context.cancel.is_cancelled() {
            return Err(interrupted());
        }
        record.number = head.next()?;
        // Should this command be killed, its successor writes the record as it stands here.
        record.steps = self.context.events.times();
        self.context.events.step("record intent", self.lease.intend(&record)).await?;
        self.switch_over(port, record, head, checks).await
    }

    /// The switch and what follows it: moves the stage to `record.pointer`, checks that the release answers,
    /// and writes the record. The stage either ends there or where it was. The lease must hold the intent.
    ///
    /// # Errors
    /// `release.not_switched` and `release.switched_back` (30: the old release serves), `release.stuck` (40),
    /// `lease.lost` (75: another command moves the stage now), `interrupted` (130: the old release serves). A live
    /// release that cannot be recorded is a warning.
    pub(crate) async fn switch_over(
        &self,
        port: &impl StagePort,
        mut record: Record,
        head: Head,
        checks: &LiveChecks<'_>,
    ) -> Result<Record> {
        if self.context.cancel.is_cancelled() {
            self.lease.mark_clean(head).await;
            return Err(interrupted());
        }
        match self.context.events.step("switch", self.switch(port, &record)).await {
            Ok(()) => {}
            Err(Unswitched::Not(error)) => {
                self.lease.mark_clean(head).await;
                return Err(error);
            }
            Err(Unswitched::Unknown(error)) => {
                return Err(self.undo(port, record, head, checks.caches, error).await);
            }
        }
        // A panic must not leave an unchecked release live.
        let verify = AssertUnwindSafe(self.verify(port, &record.release.version, checks)).catch_unwind();
        let verify =
            async { verify.await.unwrap_or_else(|_| Err(Error::bug("the checks of the release failed"))) };
        if let Err(error) = self.context.events.step("verify", verify).await {
            return Err(self.undo(port, record, head, checks.caches, error).await);
        }
        record.steps = self.context.events.times();
        let append = async {
            let append = with_grace(&self.context.cancel, self.ledger.append(&mut record, head.last)).await;
            append.unwrap_or_else(|| {
                Err(Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted while it was written"))
            })
        };
        if let Err(error) = self.context.events.step("record release", append).await {
            // The intent stays in the lease, and the next command that changes this stage writes the record. The
            // release is live and answers: a failure would only cause another release of it.
            self.context.events.warn(format!(
                "release {} is live, but the ledger record could not be written ({error}); the next command that changes this stage \
                 completes the ledger",
                record.release.version
            ));
            return Ok(record);
        }
        self.lease.mark_clean(head.after(&record)).await;
        Ok(record)
    }

    /// Moves the stage in one call. A lost answer is looked up in the stage itself.
    async fn switch(&self, port: &impl StagePort, record: &Record) -> Result<(), Unswitched> {
        let (from, to) = (&record.before.pointer, &record.pointer);
        let deadline = Instant::now() + SWITCH_TIMEOUT;
        let mut pause = INITIAL_DELAY;
        let mut sent = false;
        loop {
            if let Err(unconfirmed) = self.lease.must_be_current().await {
                let error = unconfirmed.into_error(NOT_MOVED);
                return Err(if sent { Unswitched::Unknown(error) } else { Unswitched::Not(error) });
            }
            sent = true;
            // Once under way, the call may take effect: its answer is waited for, also after Ctrl-C.
            let Some(answer) = with_grace(&self.context.cancel, port.switch(from, to)).await else {
                return Err(Unswitched::Unknown(interrupted()));
            };
            let Err(failure) = answer else { return Ok(()) };
            let stage = with_grace(&self.context.cancel, port.stage()).await;
            let is_back = match stage {
                Some(Ok(stage)) if stage.pointer == *to => return Ok(()),
                Some(Ok(stage)) => stage.pointer == *from,
                _ => false,
            };
            let again = failure.is_transient() && Instant::now() + pause < deadline;
            if !again || self.context.cancel.is_cancelled() {
                let error = if self.context.cancel.is_cancelled() {
                    interrupted()
                } else {
                    not_switched("failed to switch the stage", failure.clone())
                };
                // Without an answer, the call may still be on its way.
                let known = is_back && failure.meaning != Meaning::Unknown;
                return Err(if known { Unswitched::Not(error) } else { Unswitched::Unknown(error) });
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.context.cancel.cancelled() => {}
            }
            pause = (pause * 2).min(MAX_DELAY);
        }
    }

    /// Moves the stage back to what served before, for as long as this command holds it. Ctrl-C does not stop it.
    async fn move_back(&self, port: &impl StagePort, record: &Record) -> Undone {
        let (put, from) = (&record.pointer, &record.before.pointer);
        let deadline = Instant::now() + UNDO_TIMEOUT;
        let mut pause = INITIAL_DELAY;
        loop {
            let mut now = put.clone();
            if let Ok(stage) = port.stage().await {
                let there = stage.pointer;
                if there != *from && !there.is_put_there_by(put) {
                    // By a command that took the stage over since the last write, or by a caller without a lease?
                    return match self.lease.confirm(record).await {
                        Err(Unconfirmed::Lost) => Undone::Lost,
                        _ => Undone::Elsewhere(there),
                    };
                }
                // Only what is there can be removed, and only what this command put there.
                now.variables.retain(|name, _| there.variables.contains_key(name));
            }
            // The last thing before the call: whatever was read before it may have taken long.
            match self.lease.must_be_current().await {
                Ok(()) => {}
                Err(Unconfirmed::Lost) => return Undone::Lost,
                Err(Unconfirmed::Unreachable(error)) => return Undone::Unconfirmed(error),
            }
            // Also where the stage is back already: a switch without an answer may still be on its way.
            let Err(failure) = port.switch(&now, from).await else { return Undone::Back };
            if !failure.is_transient() || Instant::now() + pause >= deadline {
                return match port.stage().await {
                    Ok(stage) if stage.pointer == *from => Undone::Back,
                    _ => Undone::Failed(failure),
                };
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_DELAY);
        }
    }

    /// Undoes the switch, records that, and returns the error of the command.
    async fn undo(
        &self,
        port: &impl StagePort,
        mut record: Record,
        head: Head,
        caches: Caches,
        why: Error,
    ) -> Error {
        record.outcome = Outcome::SwitchedBack;
        // Should this command be killed now, its successor knows that the stage was to be moved back.
        let undone = match self.lease.confirm(&record).await {
            Err(Unconfirmed::Lost) => Undone::Lost,
            Err(Unconfirmed::Unreachable(error)) if !self.lease.is_current() => Undone::Unconfirmed(error),
            _ => {
                let back = async {
                    match self.move_back(port, &record).await {
                        Undone::Back => Ok(()),
                        other => Err(other),
                    }
                };
                self.context.events.step("switch back", back).await.err().unwrap_or(Undone::Back)
            }
        };
        let error = match undone {
            Undone::Lost => return self.taken_over(port, record, head.last, why).await,
            Undone::Unconfirmed(error) => {
                record.outcome = Outcome::Stuck;
                stuck(&record, &why, error)
            }
            Undone::Failed(failure) => {
                record.outcome = Outcome::Stuck;
                stuck(&record, &why, failure)
            }
            Undone::Elsewhere(pointer) => {
                record.outcome = Outcome::Superseded;
                moved_elsewhere(&record, &pointer, why)
            }
            Undone::Back => {
                self.flush(port, caches).await;
                switched_back(&record, why)
            }
        };
        record.steps = self.context.events.times();
        match self.ledger.append(&mut record, head.last).await {
            // Settled also when stuck: the record says so, and the next command must not take it for live.
            Ok(_) => self.lease.mark_clean(head.after(&record)).await,
            Err(failure) => {
                // The intent stays, and the next command finds what became of it.
                self.context.events.warn(format!("the ledger does not have this attempt: {failure}"));
            }
        }
        error
    }

    /// The error of a command that moved the stage and then lost it to another one. Nothing is moved back; the ledger
    /// gets this operation, unless the other command has recorded it.
    async fn taken_over(&self, port: &impl StagePort, mut record: Record, last: u64, why: Error) -> Error {
        let stage = port.stage().await.ok();
        let serves = stage.as_ref().is_some_and(|stage| stage.pointer.is_put_there_by(&record.pointer));
        record.outcome = if serves { Outcome::Live } else { Outcome::Superseded };
        record.steps = self.context.events.times();
        if let Err(failure) = self.ledger.append(&mut record, last).await {
            self.context.events.warn(format!("the ledger does not have this attempt: {failure}"));
        }
        let live = stage.map_or_else(
            || "failed to read what the stage serves".to_owned(),
            |stage| format!("the stage serves {}, and nothing was moved back", shown(&stage.pointer)),
        );
        lost(&live).because(why)
    }

    /// Flushes the caches. A release is good even where they cannot be flushed: they expire.
    pub(super) async fn flush(&self, port: &impl StagePort, caches: Caches) {
        if caches.authorizer_seconds == 0 && !caches.responses {
            return;
        }
        if let Err(failure) = port.flush_caches(caches).await {
            let authorizers = (caches.authorizer_seconds > 0)
                .then(|| format!("results of authorizers expire within {} s", caches.authorizer_seconds));
            let responses =
                caches.responses.then(|| "cached responses within the stage's cache TTL".to_owned());
            let expiry = authorizers.into_iter().chain(responses).collect::<Vec<_>>().join(", ");
            self.context.events.warn(format!(
                "the stage's caches could not be flushed ({failure}); until they expire, callers may \
                 get what the release before answered: {expiry}"
            ));
        }
    }
}

fn switched_back(record: &Record, why: Error) -> Error {
    match why.kind {
        // The switch itself failed or was interrupted: that is the error.
        Kind::Interrupted => interrupted(),
        _ if why.id == ErrorId::ReleaseNotSwitched => why,
        _ => {
            let message =
                format!("release {} did not pass its checks and was switched back", record.release.version);
            Error::new(Kind::OldReleaseServes, ErrorId::ReleaseSwitchedBack, message).because(why).hint(
                format!(
                    "the stage serves {} again; the functions' logs may tell why",
                    shown(&record.before.pointer)
                ),
            )
        }
    }
}

fn moved_elsewhere(record: &Record, now: &Pointer, why: Error) -> Error {
    Error::new(
        Kind::Stuck,
        ErrorId::ReleaseMovedElsewhere,
        format!(
            "release {} was not moved back: the stage was moved elsewhere meanwhile, without deployctl",
            record.release.version
        ),
    )
    .because(why)
    .hint(format!(
        "the stage serves {}; find out who moved it, and run `deployctl status`; `deployctl rollback` or a release \
         moves it again",
        shown(now)
    ))
}

fn stuck(
    record: &Record,
    first: &dyn std::error::Error,
    second: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let (from, api) = (&record.before.pointer, &record.release.api);
    let mut operations = vec![format!("op=replace,path=/deploymentId,value={}", from.deployment_id)];
    for (name, value) in &from.variables {
        operations.push(format!("'op=replace,path=/variables/{name},value={value}'"));
    }
    for name in record.pointer.variables.keys().filter(|name| !from.variables.contains_key(*name)) {
        operations.push(format!("op=remove,path=/variables/{name}"));
    }
    Error::new(
        Kind::Stuck,
        ErrorId::ReleaseStuck,
        format!("failed to undo a failed switch ({first})"),
    )
    .because(second)
    .hint(format!(
        "a person must move the stage back to {}:\n  aws apigateway update-stage --rest-api-id {} --stage-name {} \
         --patch-operations {}\nthen run `deployctl status`",
        shown(from),
        api.id,
        api.stage,
        operations.join(" ")
    ))
}

fn shown(pointer: &Pointer) -> String {
    match pointer.release() {
        Some(version) => format!("release {version}"),
        None => format!("deployment {}", pointer.deployment_id),
    }
}
