//! The switch and the undo. Each is one call that states the whole target, made only while this command
//! certainly holds the lease.
//!
//! A client cannot fence a call that stalls between the last check and its effect. Three rules limit the
//! damage: the lease is checked before every attempt, an undo begins with a write that only the holder can
//! make, and an undo moves the stage back only if this command moved it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::{interrupted, with_grace};
use crate::engine::lease::{NOT_MOVED, Unconfirmed, lost};
use crate::engine::ledger::{self, Head};
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::engine::verify::{LiveChecks, Unverified};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::aws_cli::AwsCli;
use crate::release::canary::{self, Canary};
use crate::release::model::Pointer;
use crate::release::patch::{self, Operation};
use crate::release::record::{Before, Outcome, Record};
use crate::release::state::{Caches, StageState};

/// How long a switch is retried. The old release serves meanwhile.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an undo is retried. A release that failed its checks serves meanwhile, and the lease blocks
/// others.
pub(super) const UNDO_TIMEOUT: Duration = Duration::from_secs(300);

/// The pause between two attempts starts here, and doubles up to `MAX_DELAY`.
pub(super) const INITIAL_DELAY: Duration = Duration::from_millis(250);
pub(super) const MAX_DELAY: Duration = Duration::from_secs(10);

/// A change of the stage that may take several attempts.
pub(super) enum Change<'a> {
    /// The switch to a record's release, which ends the canary if there is one.
    Switch(&'a Record),
    /// The current step of a canary.
    Step(&'a Canary),
}

impl Change<'_> {
    fn record(&self) -> &Record {
        match self {
            Self::Switch(record) => record,
            Self::Step(canary) => &canary.record,
        }
    }

    fn is_done(&self, stage: &StageState) -> bool {
        match self {
            Self::Switch(record) => {
                stage.pointer == record.pointer && (record.canary.is_none() || stage.canary.is_none())
            }
            Self::Step(canary) => canary.is_reached(stage),
        }
    }
}

/// The result of an undo.
pub(super) enum UndoResult {
    /// The stage serves the old release.
    MovedBack,
    /// Another command holds the lease.
    LeaseLost,
    /// The stage was moved without a lease, and points here.
    MovedElsewhere(Pointer),
    Failed(Failure),
    /// The call was not made: the lease is too old, and the bucket does not confirm it.
    Unconfirmed(Error),
}

/// A switch that failed.
pub(super) enum SwitchError {
    /// The stage serves the old release.
    NotMoved(Error),
    /// The stage may serve the new release, and must be moved back.
    Unknown(Error),
}

impl SwitchError {
    /// `may_have_moved`: whether a call was made that took effect or still may.
    fn new(may_have_moved: bool, error: Error) -> Self {
        if may_have_moved { Self::Unknown(error) } else { Self::NotMoved(error) }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotMoved(error) | Self::Unknown(error) => error,
        }
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Stores the intended record in the lease, before [`HeldStage::switch_over`].
    ///
    /// # Errors
    /// `lease.lost`, and those of writing the lease.
    pub(super) async fn record_intent(&self, record: &mut Record, head: &Head) -> Result<()> {
        if self.context.cancel.is_cancelled() {
            return Err(interrupted());
        }
        record.number = head.next()?;
        // If this command is killed, the next one writes the record from this intent.
        record.steps = self.context.events.times();
        self.context.events.step("record intent", self.lease.record_intent(record)).await
    }

    /// Moves the stage to `record.pointer`, verifies the release, and appends the record; on a failure,
    /// undoes the switch. The lease must already hold the intent.
    ///
    /// # Errors
    /// `release.not_switched` and `release.switched_back` (30: the old release serves),
    /// `release.stuck` (40), `lease.lost` (75: another command moves the stage now), `interrupted` (130: the
    /// old release serves). If the release is live and only its record cannot be written, that is a warning.
    pub(crate) async fn switch_over(
        &self,
        port: &impl StagePort,
        mut record: Record,
        head: Head,
        checks: &LiveChecks<'_>,
    ) -> Result<Record> {
        // Before the switch there is nothing to undo, but for a canary.
        let has_canary = record.canary.is_some();
        if self.context.cancel.is_cancelled() && !has_canary {
            self.lease.mark_clean(head).await;
            return Err(interrupted());
        }
        let switched = ledger::now();
        let undo =
            async |record, why| self.undo(port, (record, switched), head.clone(), checks.caches, why).await;
        let switch = async {
            if self.context.cancel.is_cancelled() {
                return Err(SwitchError::NotMoved(interrupted()));
            }
            self.change_stage(port, &Change::Switch(&record)).await
        };
        match self.context.events.step("switch", switch).await {
            Ok(()) => {
                let moved = self.move_more(port, &record.release, &record.before.aliases).await;
                if let Err(error) = moved {
                    return Err(undo(record, error.into()).await);
                }
            }
            Err(SwitchError::NotMoved(error)) if !has_canary => {
                self.lease.mark_clean(head).await;
                return Err(error);
            }
            Err(error) => return Err(undo(record, error.into_error().into()).await),
        }
        // A panic must not leave an unchecked release live.
        let verify = AssertUnwindSafe(self.verify(port, &record.release.version, checks)).catch_unwind();
        let verify = async {
            verify.await.unwrap_or_else(|_| Err(Error::bug("the checks of the release failed").into()))
        };
        if let Err(why) = self.context.events.step("verify", verify).await {
            return Err(undo(record, why).await);
        }
        record.steps = self.context.events.times();
        let append = async {
            let append = with_grace(&self.context.cancel, self.append(&mut record, head.last)).await;
            append.unwrap_or_else(|| {
                Err(Error::new(
                    Kind::Interrupted,
                    ErrorId::Interrupted,
                    "interrupted while writing the record",
                ))
            })
        };
        if let Err(error) = self.context.events.step("record release", append).await {
            // The intent stays in the lease, and the next command that changes this stage writes the record.
            // The release is live and verified, so an error would only cause a second release.
            self.context.events.warn(format!(
                "release {} is live, but its ledger record was not written ({error}); the next command that \
                 changes this stage writes it",
                record.release.version
            ));
            return Ok(record);
        }
        self.lease.mark_clean(head.after(&record)).await;
        Ok(record)
    }

    /// Changes the stage in one call. After a lost answer, the stage itself is read.
    pub(super) async fn change_stage(
        &self,
        port: &impl StagePort,
        change: &Change<'_>,
    ) -> Result<(), SwitchError> {
        let deadline = Instant::now() + SWITCH_TIMEOUT;
        let mut pause = INITIAL_DELAY;
        let mut sent = false;
        loop {
            let now = match self.read_if_too_large(port, change).await {
                Ok(now) => now,
                Err(error) => return Err(SwitchError::new(sent, error)),
            };
            if let Err(unconfirmed) = self.lease.must_be_current().await {
                return Err(SwitchError::new(sent, unconfirmed.into_error(NOT_MOVED)));
            }
            sent = true;
            let call = async {
                match change {
                    Change::Switch(record) => {
                        self.send_switch(port, record.canary.is_some(), &now, &record.pointer).await
                    }
                    Change::Step(canary) => port.update_stage(&canary.operations()).await,
                }
            };
            // The call may take effect once it is sent, so its answer is awaited even after Ctrl-C.
            let Some(answer) = with_grace(&self.context.cancel, call).await else {
                return Err(SwitchError::Unknown(interrupted()));
            };
            let Err(failure) = answer else { return Ok(()) };
            let stage = with_grace(&self.context.cancel, port.stage()).await;
            let is_unmoved = match stage {
                Some(Ok(stage)) if change.is_done(&stage) => return Ok(()),
                Some(Ok(stage)) => stage.pointer == change.record().before.pointer,
                _ => false,
            };
            let again = failure.is_transient() && Instant::now() + pause < deadline;
            if !again || self.context.cancel.is_cancelled() {
                let error = if self.context.cancel.is_cancelled() {
                    interrupted()
                } else {
                    not_switched("failed to switch the stage", failure.clone())
                };
                // Without an answer, the call may still take effect.
                let known = is_unmoved && failure.meaning != Meaning::Unknown;
                return Err(SwitchError::new(!known, error));
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.context.cancel.cancelled() => {}
            }
            pause = (pause * 2).min(MAX_DELAY);
        }
    }

    /// Makes a switch. If there is a canary, the same call ends it; where AWS refuses that, a second call does.
    async fn send_switch(
        &self,
        port: &impl StagePort,
        ends_canary: bool,
        from: &Pointer,
        to: &Pointer,
    ) -> Result<(), Failure> {
        if !ends_canary {
            return port.update_stage(&patch::patch(from, to)).await;
        }
        match port.update_stage(&canary::end(from, to)).await {
            Err(failure) if failure.meaning == Meaning::Rejected => {}
            answer => return answer,
        }
        for operations in [canary::silence(from, to), vec![Operation::RemoveCanary]] {
            self.still_held("UpdateStage", "the stage").await?;
            port.update_stage(&operations).await?;
        }
        Ok(())
    }

    /// The stage that a switch from `from` begins with. A patch that states the whole target is right for any
    /// stage, but one of the differences only for the stage as it is now.
    async fn read_if_too_large(&self, port: &impl StagePort, change: &Change<'_>) -> Result<Pointer> {
        let Record { before: Before { pointer: from, .. }, pointer: to, .. } = change.record();
        if !patch::is_too_large(from, to) {
            return Ok(from.clone());
        }
        let stage = with_grace(&self.context.cancel, port.stage()).await.ok_or_else(interrupted)?;
        let stage = stage.map_err(|failure| not_switched("failed to read the stage", failure))?;
        Ok(stage.pointer.limited_to(from, to))
    }

    /// Moves the stage back to the old release while this command holds the lease. Ctrl-C does not stop it.
    async fn move_back(&self, port: &impl StagePort, record: &Record) -> UndoResult {
        let (moved_to, from) = (&record.pointer, &record.before.pointer);
        let deadline = Instant::now() + UNDO_TIMEOUT;
        let mut pause = INITIAL_DELAY;
        loop {
            let mut now = moved_to.clone();
            let mut ends_canary = record.canary.is_some();
            if let Ok(stage) = port.stage().await {
                ends_canary &= stage.canary.is_some();
                let live = stage.pointer;
                if live != *from && !live.serves(moved_to) {
                    // A command that took the stage over, or a caller without a lease, has moved it.
                    return match self.lease.confirm(record).await {
                        Err(Unconfirmed::Lost) => UndoResult::LeaseLost,
                        _ => UndoResult::MovedElsewhere(live),
                    };
                }
                // A variable can be removed only if it exists, and must be only if this command set it.
                now = live.limited_to(moved_to, from);
                // The switch may still take effect, so what it sets differs from the target, too.
                let set = moved_to.variables.iter();
                for (name, new) in set.filter(|(name, new)| from.variables.get(*name) != Some(*new)) {
                    now.variables.entry(name.clone()).and_modify(|value| value.clone_from(new));
                }
            }
            // Directly before the call: the reads above may have taken long.
            match self.lease.must_be_current().await {
                Ok(()) => {}
                Err(Unconfirmed::Lost) => return UndoResult::LeaseLost,
                Err(Unconfirmed::Unreachable(error)) => return UndoResult::Unconfirmed(error),
            }
            // Even if the stage is back already: a switch without an answer may still take effect.
            let call = self.send_switch(port, ends_canary, &now, from).await;
            let Err(failure) = call else { return UndoResult::MovedBack };
            if !failure.is_transient() || Instant::now() + pause >= deadline {
                return match port.stage().await {
                    Ok(stage)
                        if stage.pointer == *from && (record.canary.is_none() || stage.canary.is_none()) =>
                    {
                        UndoResult::MovedBack
                    }
                    _ => UndoResult::Failed(failure),
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
        (mut record, switched): (Record, Timestamp),
        head: Head,
        caches: Caches,
        why: Unverified,
    ) -> Error {
        record.outcome = Outcome::SwitchedBack;
        if let Some(canary) = &mut record.canary {
            canary.ended = Some(why.error.to_string());
        }
        // If this command is killed now, the next one reads in the intent that the stage was being moved
        // back.
        let result = match self.lease.confirm(&record).await {
            Err(Unconfirmed::Lost) => UndoResult::LeaseLost,
            Err(Unconfirmed::Unreachable(error)) if !self.lease.is_current() => {
                UndoResult::Unconfirmed(error)
            }
            _ => {
                let move_back = async {
                    match self.move_back(port, &record).await {
                        UndoResult::MovedBack => {
                            self.flush(port, caches).await;
                            self.put_back(port, &record).await.map_err(UndoResult::Failed)
                        }
                        other => Err(other),
                    }
                };
                self.context
                    .events
                    .step("switch back", move_back)
                    .await
                    .err()
                    .unwrap_or(UndoResult::MovedBack)
            }
        };
        record.outcome = match result {
            UndoResult::LeaseLost => {
                return self.taken_over(port, record, head.last, why.error).await;
            }
            UndoResult::Unconfirmed(_) | UndoResult::Failed(_) => Outcome::Stuck,
            UndoResult::MovedElsewhere(_) => Outcome::Superseded,
            UndoResult::MovedBack => Outcome::SwitchedBack,
        };
        record.steps = self.context.events.times();
        match self.append(&mut record, head.last).await {
            // Marked clean even if stuck: the record says so, and the intent must not be recorded as live.
            Ok(_) => self.lease.mark_clean(head.after(&record)).await,
            Err(failure) => {
                // The intent stays in the lease, and the next command records the result.
                self.context.events.warn(format!("failed to record this attempt in the ledger: {failure}"));
            }
        }
        let why = self.with_log(port, &record, switched, why).await;
        match result {
            UndoResult::LeaseLost => why,
            UndoResult::Unconfirmed(error) => stuck(&record, &why, error),
            UndoResult::Failed(failure) => stuck(&record, &why, failure),
            UndoResult::MovedElsewhere(pointer) => moved_elsewhere(&record, &pointer, why),
            UndoResult::MovedBack => switched_back(&record, why),
        }
    }

    /// The error of a command that moved the stage and then lost the lease to another one. The stage is not
    /// moved back. The operation is recorded, unless the other command has done so.
    async fn taken_over(&self, port: &impl StagePort, mut record: Record, last: u64, why: Error) -> Error {
        let stage = port.stage().await.ok();
        let serves = stage.as_ref().is_some_and(|stage| stage.pointer.serves(&record.pointer));
        record.outcome = if serves { Outcome::Live } else { Outcome::Superseded };
        record.steps = self.context.events.times();
        if let Err(failure) = self.append(&mut record, last).await {
            self.context.events.warn(format!("failed to record this attempt in the ledger: {failure}"));
        }
        let live = stage.map_or_else(
            || "failed to read what the stage serves".to_owned(),
            |stage| format!("the stage serves {}, and nothing was moved back", describe(&stage.pointer)),
        );
        lost(&live).because(why)
    }

    /// Flushes the caches. A failure is a warning, because their entries expire.
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
                "failed to flush the stage's caches ({failure}); until they expire, callers may get answers \
                 of the previous release: {expiry}"
            ));
        }
    }
}

fn switched_back(record: &Record, why: Error) -> Error {
    match why.kind {
        // The switch itself failed or was interrupted: its error already says so.
        Kind::Interrupted => interrupted(),
        _ if why.id == ErrorId::ReleaseNotSwitched => why,
        _ => {
            let message =
                format!("release {} did not pass its checks and was switched back", record.release.version);
            Error::new(Kind::OldReleaseServes, ErrorId::ReleaseSwitchedBack, message).because(why).hint(
                format!(
                    "the stage serves {} again; see the functions' logs for the cause",
                    describe(&record.before.pointer)
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
            "refused to switch back from release {}: the stage was moved meanwhile without deployctl",
            record.release.version
        ),
    )
    .because(why)
    .hint(format!(
        "the stage serves {}; AWS CloudTrail shows the caller that moved it; run `deployctl status`, and \
         `deployctl rollback` or a release to move it again",
        describe(now)
    ))
}

fn stuck(
    record: &Record,
    switch_error: &dyn std::error::Error,
    undo_error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let (from, api) = (&record.before.pointer, &record.release.api);
    let cli = AwsCli { api: &api.id, stage: &api.stage, region: None, profile: None };
    let mut operations = patch::whole(&record.pointer, from);
    if record.canary.is_some() {
        operations.insert(0, Operation::RemoveCanary);
    }
    let commands = [cli.update_stage(&operations), aliases_back(&cli, record)].concat();
    let commands = commands.iter().map(|command| format!("  {command}\n"));
    Error::new(Kind::Stuck, ErrorId::ReleaseStuck, format!("failed to undo a failed switch ({switch_error})"))
        .because(undo_error)
        .hint(format!(
            "the stage may serve the failed release; move it back to {}:\n{}then run `deployctl status`",
            describe(from),
            commands.collect::<String>()
        ))
}

/// The commands that point the aliases of a release to what they pointed to before it.
pub(super) fn aliases_back(cli: &AwsCli<'_>, record: &Record) -> Vec<String> {
    let moved = record.before.aliases.iter().filter_map(|(key, target)| {
        let function = record.release.functions.get(key)?;
        Some(cli.update_alias(function.name.as_str(), function.alias.as_ref()?.as_str(), target.as_str()))
    });
    moved.collect()
}

pub(super) fn describe(pointer: &Pointer) -> String {
    match pointer.release() {
        Some(version) => format!("release {version}"),
        None => format!("deployment {}", pointer.deployment_id),
    }
}
