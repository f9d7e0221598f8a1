//! Moves a stage to a new release by a canary: starts it, watches it, makes its steps, and ends it by the switch
//! or by going back.
//!
//! The lease stores the canary, and is held only for each step. Any command on any machine can therefore
//! continue, and a process that is killed leaves the canary as it is. Going back takes three round trips: read
//! lease and stage, take the lease with the intent to go back, and one call that removes the canary.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{join, try_join};
use tokio::time::{Instant, sleep};

use crate::engine::failure::Failure;
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::interrupt::interrupted;
use crate::engine::lease::{
    Holder, Lease, LeaseDocument, LeaseSnapshot, NOT_MOVED, PreviousHolder, TERM, Unconfirmed, lost,
    no_canary,
};
use crate::engine::ledger::{self, Head, Ledger};
use crate::engine::observe::stage;
use crate::engine::operations::caches;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::engine::switch::{
    Change, INITIAL_DELAY, MAX_DELAY, SwitchError, UNDO_TIMEOUT, UndoResult, aliases_back, describe,
};
use crate::engine::verify::ProbeTally;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::platform::unique_id;
use crate::release::aws_cli::AwsCli;
use crate::release::canary::Canary;
use crate::release::monitor::{self, AlarmState, Judgement, MonitorSettings, Reading};
use crate::release::patch::Operation;
use crate::release::record::{Outcome, Record};
use crate::release::state::StageState;

/// How long the end of an interrupted canary waits for the lease. GitHub kills a job 7.5 s after the interrupt.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(4);

/// The time between two attempts to take the lease.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Where a canary is after a command about it.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Its release is live.
    Live(Box<Record>),
    /// It is at this step.
    InProgress(Box<Canary>),
}

/// What watching a step of a canary found.
enum Watched {
    /// The step has taken its time.
    Passed,
    /// Something is wrong, or the command was interrupted; and what was read.
    Failed(Error, Option<Reading>),
    /// Another command has moved it to another step.
    Moved(Box<Canary>),
    /// Another command has ended it.
    Ended,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Starts a canary of `record`, whose first step is made instead of the switch. On the heap, and made here: in
    /// the caller, the future would take its size of the stack, also where there is no canary.
    ///
    /// # Errors
    /// `release.not_switched` (30), `interrupted` (130), `lease.lost` (75): all requests get the old release.
    pub(super) fn start_canary<'b>(
        &'b self,
        port: &'b impl StagePort,
        record: Record,
        (head, seen): (Head, &'b StageState),
        answered_before: bool,
    ) -> LocalBoxFuture<'b, Result<Canary>> {
        Box::pin(self.start(port, record, (head, seen), answered_before))
    }

    async fn start(
        &self,
        port: &impl StagePort,
        mut record: Record,
        (head, seen): (Head, &StageState),
        answered_before: bool,
    ) -> Result<Canary> {
        let StageContext { events, cancel, delivery, .. } = self.context;
        let weighted = self.weighted(port, &record).await?;
        if cancel.is_cancelled() {
            return Err(interrupted());
        }
        record.number = head.next()?;
        record.steps = events.times();
        let canary = Canary {
            id: unique_id(),
            command: self.lease.command().await,
            record,
            steps: delivery.steps.clone(),
            step: 0,
            since: ledger::now(),
            weighted,
            answered_before,
            aborting: false,
        };
        self.announce(&canary);
        let store = self.lease.record_canary(&canary);
        let stored = events.step("record canary", store).await;
        if let Err(unconfirmed) = stored {
            // The lease may have it all the same: then `canary abort` removes it.
            return Err(unconfirmed.into_error(NOT_MOVED));
        }
        match Box::pin(self.make_step(port, &canary)).await {
            Ok(()) => Ok(canary),
            Err(why) => {
                let back = Box::pin(self.abort_step(port, &canary, (head, Some(seen.clone())), why));
                Err(back.await)
            }
        }
    }

    /// Names the functions that are not part of the canary, and says if nothing is monitored.
    fn announce(&self, canary: &Canary) {
        let latest = canary.record.release.functions.iter().filter(|(_, function)| function.latest);
        let latest: Vec<&str> = latest.map(|(key, _)| key.as_str()).collect();
        if !latest.is_empty() {
            self.context.events.note(format!(
                "not part of the canary: {}, which callers reach without a version, got the new code when \
                 prepared",
                latest.join(", ")
            ));
        }
        let is_compared = !canary.compared().is_empty() || !self.context.delivery.monitor.alarms.is_empty();
        if !is_compared && self.context.probe.is_none() {
            self.context.events.warn(
                "nothing is monitored during this canary: there is no alarm, no probe, and no function with a new \
                 version",
            );
        }
    }

    /// Gives the canary the share of the current step.
    async fn make_step(&self, port: &impl StagePort, canary: &Canary) -> Result<()> {
        let step = format!("canary {} %", canary.percent());
        let change = Change::Step(canary);
        let made = self.context.events.step(&step, self.change_stage(port, &change)).await;
        made.map_err(SwitchError::into_error)?;
        self.share_aliases(port, canary).await
    }

    /// Makes the current step, and goes back if that fails.
    ///
    /// # Errors
    /// Why the step failed. If the ledger cannot be read, the canary stays in the lease.
    async fn make_step_or_go_back(&self, port: &impl StagePort, canary: &Canary) -> Result<()> {
        let Err(why) = Box::pin(self.make_step(port, canary)).await else { return Ok(()) };
        match self.head_of_canary(canary).await {
            Ok((head, _)) => Err(Box::pin(self.abort_step(port, canary, (head, None), why)).await),
            Err(error) => Err(left_in_progress(error, canary).because(why)),
        }
    }

    /// Goes back because a step failed, and returns the error of the command.
    async fn abort_step(
        &self,
        port: &impl StagePort,
        canary: &Canary,
        (head, seen): (Head, Option<StageState>),
        why: Error,
    ) -> Error {
        let aborted = canary.aborted(why.to_string(), None);
        match self.lease.record_canary(&aborted).await {
            Err(Unconfirmed::Lost) => return lost(&in_lease(canary)).because(why),
            Err(Unconfirmed::Unreachable(error)) if !self.lease.is_current() => {
                return stuck(&aborted.record, error);
            }
            _ => {}
        }
        match self.go_back(port, &aborted, (head, seen)).await {
            Ok(_) => why,
            Err(error) => error.because(why),
        }
    }

    /// Takes all requests from the canary, and records that. The lease already says so. Ctrl-C does not stop it.
    ///
    /// # Errors
    /// `release.stuck`: the next command tries again. `lease.lost`.
    async fn go_back(
        &self,
        port: &impl StagePort,
        aborted: &Canary,
        (head, seen): (Head, Option<StageState>),
    ) -> Result<Record> {
        let mut record = aborted.record.clone();
        let back = async {
            let stage = self.remove_canary(port, aborted, seen).await?;
            self.flush(port, caches(&stage, &head, &record.release)).await;
            self.put_back(port, &record).await.map_err(UndoResult::Failed)?;
            Ok(stage)
        };
        let stage = match self.context.events.step("go back", back).await {
            Ok(stage) => stage,
            Err(UndoResult::LeaseLost) => return Err(lost(&in_lease(aborted))),
            Err(UndoResult::Unconfirmed(error)) => return Err(stuck(&record, error)),
            Err(UndoResult::Failed(failure)) => return Err(stuck(&record, failure)),
            Err(UndoResult::MovedBack | UndoResult::MovedElsewhere(_)) => {
                return Err(Error::bug("a canary was moved elsewhere"));
            }
        };
        let is_old = stage.pointer == record.before.pointer;
        record.outcome = if is_old { Outcome::SwitchedBack } else { Outcome::Superseded };
        record.steps = self.context.events.times();
        match self.append(&mut record, head.last).await {
            Ok(_) => {
                let head = head.after(&record);
                self.lease.mark_clean(head.clone()).await;
                self.trim_provisioned(port, &head).await;
            }
            // The canary stays in the lease, and the next command records its end.
            Err(failure) => self
                .context
                .events
                .warn(format!("failed to record the end of the canary in the ledger: {failure}")),
        }
        Ok(record)
    }

    /// Removes this canary from the stage, in one call. Another one is left alone. Returns the stage as it was
    /// read last.
    async fn remove_canary(
        &self,
        port: &impl StagePort,
        canary: &Canary,
        mut seen: Option<StageState>,
    ) -> Result<StageState, UndoResult> {
        let deadline = Instant::now() + UNDO_TIMEOUT;
        let mut pause = INITIAL_DELAY;
        loop {
            // A step that has just been made is not in what was seen before.
            let read = match seen.take().filter(|stage| canary.is_on(stage)) {
                Some(stage) => Ok(stage),
                None => port.stage().await,
            };
            let failure = match read {
                Ok(stage) if !canary.is_on(&stage) => return Ok(stage),
                Ok(stage) => {
                    match self.lease.must_be_current().await {
                        Ok(()) => {}
                        Err(Unconfirmed::Lost) => return Err(UndoResult::LeaseLost),
                        Err(Unconfirmed::Unreachable(error)) => return Err(UndoResult::Unconfirmed(error)),
                    }
                    match port.update_stage(&[Operation::RemoveCanary]).await {
                        Ok(()) => return Ok(StageState { canary: None, ..stage }),
                        // The canary may be gone already: the next round reads that.
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if Instant::now() + pause >= deadline || !failure.is_transient() {
                return match port.stage().await {
                    Ok(stage) if !canary.is_on(&stage) => Ok(stage),
                    _ => Err(UndoResult::Failed(failure)),
                };
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_DELAY);
        }
    }

    /// The end of the ledger, and whether it already has the record of the canary.
    async fn head_of_canary(&self, canary: &Canary) -> Result<(Head, bool)> {
        // A holder that released the lease had recorded nothing of the canary.
        if let Some(head) = &self.previous.head {
            return Ok((head.clone(), false));
        }
        let head = self.ledger.head().await?;
        let is_recorded = self.ledger.has(&canary.record, head.last).await?;
        Ok((head, is_recorded))
    }

    /// Makes the switch that ends the canary. The lease already has the intent.
    ///
    /// # Errors
    /// As [`HeldStage::switch_over`].
    async fn finish_canary(&self, port: &impl StagePort, canary: &Canary) -> Result<Record> {
        let ((head, is_recorded), now) = try_join!(self.head_of_canary(canary), stage(port))?;
        if is_recorded {
            self.lease.mark_clean(head).await;
            return Err(no_canary(&self.context.stage));
        }
        let Record { pointer, before, .. } = &canary.record;
        if now.pointer != before.pointer && now.pointer != *pointer {
            let message = "refused to promote the canary: the stage was moved meanwhile without deployctl";
            let why = Error::new(Kind::OldReleaseServes, ErrorId::CanaryAborted, message)
                .hint(format!("the canary was ended; the stage serves {}", describe(&now.pointer)));
            return Err(Box::pin(self.abort_step(port, canary, (head, Some(now)), why)).await);
        }
        let mut record = canary.record.clone();
        record.number = head.next()?;
        let requests = self.context.checks.requests.as_slice();
        let caches = caches(&now, &head, &record.release);
        let checks = self.live_checks(requests, caches, canary.answered_before);
        let before = head.clone();
        let switched = Box::pin(self.switch_over(port, record, head, &checks)).await;
        self.trim_after(port, before, switched.as_ref()).await;
        switched
    }

    /// Completes a canary that a command was ending when it was killed.
    ///
    /// # Errors
    /// As [`HeldStage::recover_interrupted`].
    pub(super) async fn recover_canary(&self, port: &impl StagePort, canary: Canary) -> Result<Head> {
        let (mut head, now) = try_join!(self.ledger.head(), stage(port))?;
        let mut record = canary.record.clone();
        if !self.ledger.has(&record, head.last).await? {
            let is_live = now.pointer == record.pointer;
            let version = &record.release.version;
            let end = if is_live { "switched to it" } else { "went back from it" };
            self.context.events.note(format!(
                "an earlier command was interrupted while it ended the canary of {version}: it {end}"
            ));
            record.outcome = match () {
                () if is_live => Outcome::Live,
                () if now.pointer == record.before.pointer => Outcome::SwitchedBack,
                () => Outcome::Superseded,
            };
            // An abort that came after the switch has ended nothing.
            if let Some(canary) = record.canary.as_mut().filter(|_| is_live) {
                canary.ended = None;
            }
            if canary.is_on(&now) {
                let removed = self.remove_canary(port, &canary, Some(now)).await;
                removed.map_err(|result| match result {
                    UndoResult::Failed(failure) => not_switched("failed to end the canary", failure),
                    UndoResult::Unconfirmed(error) => error,
                    _ => lost(NOT_MOVED),
                })?;
            }
            if is_live {
                self.repair(port, &record.release, Some(&record.before.aliases)).await;
            } else if let Err(failure) = self.put_back(port, &record).await {
                self.context.events.warn(format!("failed to put functions back: {failure}"));
            }
            record.recovered = true;
            self.append(&mut record, head.last).await?;
            head = head.after(&record);
        }
        self.lease.mark_clean(head.clone()).await;
        self.trim_provisioned(port, &head).await;
        Ok(head)
    }

    /// Takes the lease to continue a canary, which the same write changes, and waits for another holder.
    async fn take_canary<'a>(
        context: &'a StageContext,
        store: S,
        (command, patience): (String, Duration),
        mut seen: Option<LeaseSnapshot>,
        (id, change): (&str, impl Fn(&mut LeaseDocument)),
    ) -> Result<HeldStage<'a, S>> {
        let holder = Holder::new(unique_id(), context.who.clone(), command);
        let deadline = Instant::now() + patience;
        // To go back after an interrupt, the command waits all the same.
        let is_interrupted = context.cancel.is_cancelled();
        let acquire = async {
            loop {
                let as_holder = (&holder, &context.clock);
                let acquire = Lease::acquire_canary(
                    store.clone(),
                    &context.stage,
                    as_holder,
                    seen.take(),
                    (id, &change),
                );
                match acquire.await {
                    Err(error) if error.kind == Kind::Held && Instant::now() + POLL_INTERVAL < deadline => {
                        tokio::select! {
                            () = sleep(POLL_INTERVAL) => {}
                            () = context.cancel.cancelled(), if !is_interrupted => return Err(interrupted()),
                        }
                    }
                    result => return result,
                }
            }
        };
        let (lease, previous): (_, PreviousHolder) = context.events.step("acquire lease", acquire).await?;
        Ok(HeldStage::new(context, store, lease, previous))
    }
}

/// The canary of a stage, for commands that continue it. No lease is held between its calls.
#[derive(Debug)]
pub(crate) struct CanaryStage<'a, S, W> {
    pub(crate) context: &'a StageContext,
    pub(crate) store: S,
    pub(crate) port: &'a W,
}

impl<S: Store + Clone, W: StagePort> CanaryStage<'_, S, W> {
    /// Watches a canary and makes its steps until its release is live.
    ///
    /// # Errors
    /// `canary.aborted` (30), `interrupted` (130), and as [`HeldStage::switch_over`]. The old release serves.
    pub(crate) async fn follow(&self, mut canary: Canary) -> Result<Record> {
        loop {
            let seconds = canary.remaining(ledger::now()).as_secs();
            // On the heap, as below: the futures of all steps together are large.
            let watch = Box::pin(self.watch(&canary));
            let step = format!("watch canary at {} % for {seconds} s", canary.percent());
            let watched = self.context.events.step(&step, async { Ok::<_, Error>(watch.await) }).await?;
            match watched {
                Watched::Passed => match Box::pin(self.step(&canary, None, TERM)).await {
                    Ok(Progress::Live(record)) => return Ok(*record),
                    Ok(Progress::InProgress(next)) => canary = *next,
                    Err(error) if error.id == ErrorId::CanaryNone => {
                        return Box::pin(self.ended(&canary)).await;
                    }
                    Err(why) if why.kind == Kind::Interrupted => {
                        let back = Box::pin(self.abort_because(&canary, None, (why, None))).await;
                        // The step itself may have gone back.
                        return Err(if back.id == ErrorId::CanaryNone { interrupted() } else { back });
                    }
                    Err(error) => return Err(error),
                },
                Watched::Failed(why, reading) => {
                    return Err(Box::pin(self.abort_because(&canary, None, (why, reading))).await);
                }
                Watched::Moved(moved) => canary = *moved,
                Watched::Ended => return Box::pin(self.ended(&canary)).await,
            }
        }
    }

    /// Makes the next step, or the switch after the last one.
    async fn step(
        &self,
        canary: &Canary,
        seen: Option<LeaseSnapshot>,
        patience: Duration,
    ) -> Result<Progress> {
        let Some(next) = canary.next(ledger::now()) else {
            return Box::pin(self.switch(canary, seen, patience)).await;
        };
        let (from, to) = (canary.step, next.clone());
        let change = move |document: &mut LeaseDocument| {
            // Another command may have made the step meanwhile.
            if document.canary.as_ref().is_some_and(|now| now.step == from && !now.is_ending()) {
                document.canary = Some(to.clone());
            }
        };
        let held = self.take(canary, seen, patience, change).await?;
        let port = self.port;
        held.during(async |held| {
            let Some(now) = held.lease.canary().await else { return Err(no_canary(&held.context.stage)) };
            if now.is_ending() {
                return Err(no_canary(&held.context.stage));
            }
            if now == next {
                held.make_step_or_go_back(port, &next).await?;
            }
            Ok(Progress::InProgress(Box::new(now)))
        })
        .await
    }

    /// Switches to the release of the canary, and ends it.
    ///
    /// # Errors
    /// As [`HeldStage::switch_over`].
    pub(crate) async fn switch(
        &self,
        canary: &Canary,
        seen: Option<LeaseSnapshot>,
        patience: Duration,
    ) -> Result<Progress> {
        let last = canary.at_switch(ledger::now());
        let stored = last.clone();
        let change = move |document: &mut LeaseDocument| {
            if document.canary.as_ref().is_some_and(|now| !now.aborting) {
                document.canary = Some(stored.clone());
                document.intent = Some(stored.record.clone());
            }
        };
        let held = self.take(canary, seen, patience, change).await?;
        let port = self.port;
        held.during(async |held| {
            if held.lease.canary().await.is_none_or(|now| now.aborting) {
                return Err(no_canary(&held.context.stage));
            }
            // On the heap, because the futures of a switch are large.
            Ok(Progress::Live(Box::new(Box::pin(held.finish_canary(port, &last)).await?)))
        })
        .await
    }

    /// Goes back to the old release, and records that.
    ///
    /// # Errors
    /// `release.stuck`, `lease.held`, and those of the bucket.
    pub(crate) async fn abort(
        &self,
        canary: &Canary,
        seen: Option<(LeaseSnapshot, StageState)>,
        (reason, reading): (String, Option<Reading>),
        patience: Duration,
    ) -> Result<Record> {
        let (lease, seen) = seen.unzip();
        let change = move |document: &mut LeaseDocument| {
            // It may have made a step since, or the switch.
            document.canary =
                document.canary.as_ref().map(|now| now.aborted(reason.clone(), reading.clone()));
            document.intent = None;
        };
        let held = self.take(canary, lease, patience, change).await?;
        let port = self.port;
        held.during(async |held| {
            let Some(now) = held.lease.canary().await else { return Err(no_canary(&held.context.stage)) };
            let (head, is_recorded) = held.head_of_canary(&now).await?;
            let was_at_switch = now.step >= now.steps.len();
            let seen = if was_at_switch { Some(stage(port).await?) } else { seen };
            let is_live = seen.as_ref().is_some_and(|stage| stage.pointer == now.record.pointer);
            if is_recorded || is_live {
                let head = Box::pin(held.recover_canary(port, now.clone())).await?;
                let record = held.ledger.of_operation(&now.record, head.last).await?;
                return record.ok_or_else(|| no_canary(&held.context.stage));
            }
            Box::pin(held.go_back(port, &now, (head, seen))).await
        })
        .await
    }

    /// Goes back for a reason, and returns the error of the command.
    async fn abort_because(
        &self,
        canary: &Canary,
        seen: Option<(LeaseSnapshot, StageState)>,
        (why, reading): (Error, Option<Reading>),
    ) -> Error {
        let patience = if why.kind == Kind::Interrupted { INTERRUPTED_WAIT } else { TERM };
        match Box::pin(self.abort(canary, seen, (why.to_string(), reading), patience)).await {
            Ok(record) if record.outcome == Outcome::Live => {
                let version = &record.release.version;
                why.hint(format!(
                    "another command has switched to release {version}, which is live; `deployctl rollback` goes back"
                ))
            }
            Ok(record) if record.outcome != Outcome::SwitchedBack => why.hint(live_after(&record)),
            Ok(record) => {
                let before = describe(&record.before.pointer);
                if why.kind == Kind::Interrupted {
                    why.hint(format!("the canary was ended; the stage serves {before} to all callers"))
                } else {
                    why.hint(format!(
                        "the stage serves {before} to all callers again; `deployctl logs --release {}` shows \
                         what the new versions logged",
                        record.release.version
                    ))
                }
            }
            Err(error) => error.because(why),
        }
    }

    /// Makes what is due: goes back if something is wrong, makes the next step if the current one has taken its
    /// time, and completes what a command was doing when it was killed.
    ///
    /// # Errors
    /// `canary.aborted` (30), and as [`CanaryStage::follow`].
    pub(crate) async fn proceed(
        &self,
        canary: &Canary,
        seen: (LeaseSnapshot, StageState),
        patience: Duration,
    ) -> Result<Progress> {
        if canary.aborting {
            let why = canary.record.canary.as_ref().and_then(|canary| canary.ended.clone());
            let why = aborted(canary, &why.unwrap_or_else(|| "it was being ended".to_owned()));
            return Err(self.abort_because(canary, Some(seen), (why, None)).await);
        }
        if canary.is_ending() {
            return self.switch(canary, Some(seen.0), patience).await;
        }
        let mut tally = ProbeTally::default();
        let is_over = canary.remaining(ledger::now()).is_zero();
        if let Err(why) = self.assess(canary, &mut tally, is_over).await {
            return Err(self.abort_because(canary, Some(seen), why).await);
        }
        if !canary.is_reached(&seen.1) {
            // A command was killed before it made the step that the lease has.
            return self.repeat(canary, seen.0, patience).await;
        }
        if canary.remaining(ledger::now()).is_zero() {
            return self.step(canary, Some(seen.0), patience).await;
        }
        Ok(Progress::InProgress(Box::new(canary.clone())))
    }

    /// Makes the step that the lease has, from now on.
    async fn repeat(&self, canary: &Canary, seen: LeaseSnapshot, patience: Duration) -> Result<Progress> {
        let again = Canary { since: ledger::now(), ..canary.clone() };
        let stored = again.clone();
        let change = move |document: &mut LeaseDocument| document.canary = Some(stored.clone());
        let held = self.take(canary, Some(seen), patience, change).await?;
        let port = self.port;
        held.during(async |held| {
            held.make_step_or_go_back(port, &again).await?;
            Ok(Progress::InProgress(Box::new(again)))
        })
        .await
    }

    async fn take(
        &self,
        canary: &Canary,
        seen: Option<LeaseSnapshot>,
        patience: Duration,
        change: impl Fn(&mut LeaseDocument),
    ) -> Result<HeldStage<'_, S>> {
        let command = ("canary".to_owned(), patience);
        let change = (canary.id.as_str(), change);
        let take = HeldStage::take_canary(self.context, self.store.clone(), command, seen, change);
        Box::pin(take).await.map_err(|error| match error.kind {
            Kind::Preflight if error.id != ErrorId::CanaryNone => left_in_progress(error, canary),
            _ => error,
        })
    }

    /// Waits until the step has taken its time, and reads what is monitored meanwhile.
    async fn watch(&self, canary: &Canary) -> Watched {
        let StageContext { cancel, delivery, .. } = self.context;
        let mut tally = ProbeTally::default();
        loop {
            let pause = delivery.interval.min(canary.remaining(ledger::now()));
            let read = async {
                sleep(pause).await;
                let is_over = canary.remaining(ledger::now()).is_zero();
                let lease = Lease::peek(&self.store, &self.context.stage);
                let (lease, assessed) = join!(lease, self.assess(canary, &mut tally, is_over));
                (lease, assessed, is_over)
            };
            let (lease, assessed, is_over) = tokio::select! {
                read = read => read,
                () = cancel.cancelled() => return Watched::Failed(interrupted(), None),
            };
            match lease {
                Ok(snapshot) => match snapshot.canary() {
                    Some(now) if now.id != canary.id || now.is_ending() => return Watched::Ended,
                    Some(now) if now.step != canary.step => return Watched::Moved(Box::new(now.clone())),
                    Some(_) => {}
                    None => return Watched::Ended,
                },
                Err(error) => self.context.events.warn(format!("{error}; the canary is watched on")),
            }
            if let Err((why, reading)) = assessed {
                return Watched::Failed(why, reading);
            }
            if is_over {
                return Watched::Passed;
            }
        }
    }

    /// Reads what is monitored. Returns also what is wrong with the new release, if something is.
    async fn judge(&self, canary: &Canary, is_over: bool) -> (Reading, Option<String>) {
        let settings = &self.context.delivery.monitor;
        let (reading, failure) = read(self.port, settings, canary).await;
        if let Some(failure) = failure {
            self.context.events.warn(format!("the releases were not compared: {failure}"));
        }
        let problem = match monitor::judge(settings, &reading) {
            Judgement::Breach(breaches) => Some(monitor::text(&breaches)),
            Judgement::TooFewRequests if is_over && !reading.functions.is_empty() => {
                self.context.events.warn(format!(
                    "the releases were not compared at {} %: the new one had fewer than {} requests",
                    canary.percent(),
                    settings.min_requests
                ));
                None
            }
            Judgement::TooFewRequests | Judgement::Healthy => None,
        };
        (reading, problem)
    }

    /// Reads what is monitored, and sends the probe.
    ///
    /// # Errors
    /// `canary.aborted` if something is wrong, and what was read.
    async fn assess(
        &self,
        canary: &Canary,
        tally: &mut ProbeTally,
        is_over: bool,
    ) -> Result<(), (Error, Option<Reading>)> {
        let probe = async {
            let Some(probe) = &self.context.probe else { return None };
            let version = &canary.record.release.version;
            tally.probe(self.port, probe, version, canary.answered_before).await
        };
        let ((reading, reason), problem) = join!(self.judge(canary, is_over), probe);
        match reason.or(problem) {
            Some(reason) => Err((aborted(canary, &reason), Some(reading))),
            None => Ok(()),
        }
    }

    /// The result of a canary that another command has ended.
    async fn ended(&self, canary: &Canary) -> Result<Record> {
        let StageContext { stage, cancel, .. } = self.context;
        let ledger = Ledger::new(self.store.clone(), stage.clone());
        let deadline = Instant::now() + TERM;
        // The other command may not have recorded it yet.
        loop {
            let head = ledger.head().await?;
            if let Some(record) = ledger.of_operation(&canary.record, head.last).await? {
                if record.outcome == Outcome::Live {
                    return Ok(record);
                }
                let ended = record.canary.as_ref().and_then(|canary| canary.ended.clone());
                let why = aborted(canary, &ended.unwrap_or_else(|| record.outcome.to_string()));
                return Err(why.hint(format!("another command ended it; {}", live_after(&record))));
            }
            if Instant::now() >= deadline || cancel.is_cancelled() {
                return Err(lost("another command has ended the canary, and has not recorded it yet"));
            }
            sleep(POLL_INTERVAL.min(self.context.delivery.interval)).await;
        }
    }
}

/// Reads the alarms, and the numbers of both releases since the canary began; and why the numbers are missing.
pub(crate) async fn read(
    port: &impl StagePort,
    settings: &MonitorSettings,
    canary: &Canary,
) -> (Reading, Option<Failure>) {
    let names = &settings.alarms;
    let functions = canary.compared();
    let alarms = async { if names.is_empty() { Ok(BTreeMap::new()) } else { port.alarms(names).await } };
    let metrics = async {
        if functions.is_empty() {
            return Ok(Vec::new());
        }
        port.metrics(&functions, canary.record.at, ledger::now()).await
    };
    let (alarms, metrics) = join!(alarms, metrics);
    let alarms = alarms.unwrap_or_else(|failure| {
        let unreadable = || AlarmState::Unreadable { reason: failure.to_string() };
        names.iter().map(|name| (name.clone(), unreadable())).collect()
    });
    match metrics {
        Ok(functions) => (Reading { alarms, functions }, None),
        Err(failure) => (Reading { alarms, ..Reading::default() }, Some(failure)),
    }
}

/// The error of a command that ended a canary for a reason.
pub(super) fn aborted(canary: &Canary, reason: &str) -> Error {
    let message = format!(
        "the canary of release {} was ended at {} %: {reason}",
        canary.record.release.version,
        canary.percent()
    );
    Error::new(Kind::OldReleaseServes, ErrorId::CanaryAborted, message)
}

/// The canary that a rollback ends instead of going to an earlier release: one whose release is not live.
pub(crate) fn to_end<'a>(lease: &'a LeaseSnapshot, stage: &StageState) -> Option<&'a Canary> {
    lease.canary().filter(|canary| canary.record.pointer != stage.pointer)
}

/// The error of a command that could not go on with a canary, and has not ended it either.
fn left_in_progress(error: Error, canary: &Canary) -> Error {
    let hint = error.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
    error.hint(format!(
        "{hint}this command has not ended the canary of release {}: `deployctl canary status` shows its share, and \
         `deployctl canary promote` or `deployctl canary abort` ends it",
        canary.record.release.version
    ))
}

/// What is live after a canary that was ended before its switch, or switched back after it.
fn live_after(record: &Record) -> String {
    match record.outcome {
        Outcome::SwitchedBack => format!("the stage serves {}", describe(&record.before.pointer)),
        _ => "the stage was moved meanwhile; `deployctl status` shows what it serves".to_owned(),
    }
}

/// What is live while a canary is in the lease of another command.
fn in_lease(canary: &Canary) -> String {
    format!("the lease has the canary of release {}", canary.record.release.version)
}

/// The error of a canary that could not be ended.
fn stuck(record: &Record, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    let api = &record.release.api;
    let cli = AwsCli { api: &api.id, stage: &api.stage, region: None, profile: None };
    let commands = [cli.update_stage(&[Operation::RemoveCanary]), aliases_back(&cli, record)].concat();
    let commands = commands.join("\n  ");
    let reason = record.canary.as_ref().and_then(|canary| canary.ended.clone()).unwrap_or_default();
    let version = &record.release.version;
    let message = format!("failed to end the canary of release {version} ({reason})");
    Error::new(Kind::Stuck, ErrorId::ReleaseStuck, message).because(cause).hint(format!(
        "a part of the requests may still get release {version}; run `deployctl canary abort` again, or take all \
         requests from it:\n  {commands}\nthen run `deployctl status`"
    ))
}
