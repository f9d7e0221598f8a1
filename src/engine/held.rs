//! A stage whose lease this command holds. A command changes no other stage.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::MAX_CONCURRENT;
use crate::engine::activate::Polling;
use crate::engine::appended::Appended;
use crate::engine::interrupt::{interrupted, with_grace};
use crate::engine::lease::{Holder, Lease, LeaseSnapshot, PreviousHolder, Unconfirmed, describe, lost};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::ports::Store;
use crate::error::{Kind, Result};
use crate::event::Events;
use crate::platform::clock::Clock;
use crate::platform::unique_id;
use crate::release::canary::Delivery;
use crate::release::check::{Checks, Probe};
use crate::release::model::StageName;
use crate::release::once::Preparation;
use crate::release::record::{AppliedLayer, Who};

/// The time between two reads of a lease that another command holds.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The stage that a command changes, the caller, and what the operation needs.
#[derive(Debug, Clone)]
pub(crate) struct StageContext {
    pub(crate) stage: StageName,
    pub(crate) who: Who,
    /// How a release is recognised over HTTP; `None` if the API cannot be reached from here.
    pub(crate) probe: Option<Probe>,
    /// The checks of a new release before and after the switch.
    pub(crate) checks: Checks,
    /// The steps by which a new release gets the requests.
    pub(crate) delivery: Delivery,
    /// What a release invokes once for its version and code.
    pub(crate) preparations: Vec<Preparation>,
    /// What this command has appended to the ledger.
    pub(crate) appended: Appended,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    /// How long to wait for a lease that another command holds.
    pub(crate) wait: Option<Duration>,
    /// Measures the age of this command's own lease.
    pub(crate) clock: Clock,
    /// When versions of functions are read until they are active.
    pub(crate) polling: Polling,
}

/// A stage whose lease this command holds. Release, redeploy and rollback and their steps are its methods,
/// each in the file of its name.
#[derive(Debug)]
pub(crate) struct HeldStage<'a, S> {
    pub(super) context: &'a StageContext,
    pub(crate) store: S,
    pub(crate) ledger: Ledger<S>,
    pub(super) lease: Lease<S>,
    pub(super) previous: PreviousHolder,
    /// Limits the requests about functions that are in flight. Waiting for a version holds no permit.
    pub(super) requests: Semaphore,
}

impl<'a, S: Store + Clone> HeldStage<'a, S> {
    /// Takes the lease of the context's stage for `command`.
    ///
    /// # Errors
    /// `lease.held`, exit code 75, with the holder.
    pub(crate) async fn take(context: &'a StageContext, store: S, command: String) -> Result<Self> {
        Self::take_seen(context, store, command, None).await
    }

    /// As [`HeldStage::take`]; `seen` is the lease if it was just read.
    pub(crate) async fn take_seen(
        context: &'a StageContext,
        store: S,
        command: String,
        seen: Option<LeaseSnapshot>,
    ) -> Result<Self> {
        let holder = Holder::new(unique_id(), context.who.clone(), command);
        Self::take_as(context, store, holder, seen).await
    }

    pub(super) async fn take_as(
        context: &'a StageContext,
        store: S,
        holder: Holder,
        seen: Option<LeaseSnapshot>,
    ) -> Result<Self> {
        // On the heap, because a lease is large.
        let acquire = Box::pin(Self::acquire_lease(context, &store, &holder, seen));
        let (lease, previous) = context.events.step("acquire lease", acquire).await?;
        Ok(Self::new(context, store, lease, previous))
    }

    /// Takes the lease, and waits for another holder for at most `context.wait`.
    async fn acquire_lease(
        context: &StageContext,
        store: &S,
        holder: &Holder,
        mut seen: Option<LeaseSnapshot>,
    ) -> Result<(Lease<S>, PreviousHolder)> {
        let started = context.clock.now();
        let mut announced = false;
        loop {
            if context.cancel.is_cancelled() {
                return Err(interrupted());
            }
            let acquire = Lease::acquire(store.clone(), &context.stage, holder, &context.clock, seen.take());
            let error = match with_grace(&context.cancel, acquire).await {
                Some(Err(error)) if error.kind == Kind::Held => error,
                answer => return answer.unwrap_or_else(|| Err(interrupted())),
            };
            let waited = context.clock.now().saturating_sub(started);
            let Some(remaining) = context.wait.and_then(|wait| wait.checked_sub(waited)) else {
                return Err(error);
            };
            if !announced {
                context.events.note(format!("{error}; waiting for at most {} s", remaining.as_secs()));
                announced = true;
            }
            tokio::select! {
                () = tokio::time::sleep(remaining.min(POLL_INTERVAL)) => {}
                () = context.cancel.cancelled() => {}
            }
        }
    }

    pub(super) fn new(
        context: &'a StageContext,
        store: S,
        lease: Lease<S>,
        previous: PreviousHolder,
    ) -> Self {
        let ledger = Ledger::new(store.clone(), context.stage.clone());
        Self { context, store, ledger, lease, previous, requests: Semaphore::new(MAX_CONCURRENT) }
    }

    /// Notes what the Terraform layers were applied from.
    pub(crate) async fn record_layers(&self, layers: BTreeMap<String, AppliedLayer>) {
        self.lease.record_layers(layers).await;
    }

    /// What the Terraform layers were last applied from; empty if that is not known.
    pub(crate) fn applied_layers(&self, head: &Head) -> BTreeMap<String, AppliedLayer> {
        if !self.previous.layers.is_empty() {
            return self.previous.layers.clone();
        }
        let infrastructure = head.current.as_ref().and_then(|record| record.infrastructure.as_ref());
        infrastructure.map(|infrastructure| infrastructure.layers.clone()).unwrap_or_default()
    }

    /// Runs `work` under the lease, and releases the lease whether it succeeds or fails.
    ///
    /// # Errors
    /// Those of `work`. `lease.lost` when it succeeds but another command took the stage over
    /// meanwhile: the stage may then serve something else than `work` returns.
    pub(crate) async fn during<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let result: Result<T> = self.lease.renew_during(Box::pin(work(&self))).await;
        match (self.lease.release().await, result) {
            (Ok(()), result) => result,
            (Err(Unconfirmed::Lost), Err(error)) if matches!(error.kind, Kind::Held | Kind::Stuck) => {
                Err(error)
            }
            (Err(Unconfirmed::Lost), result) => {
                let error = lost(&successor(&self.store, &self.context.stage).await);
                Err(match result {
                    Ok(_) => error,
                    Err(why) => error.because(why),
                })
            }
            (Err(Unconfirmed::Unreachable(error)), result) => {
                let text = format!("failed to release the lease, which expires by itself: {error}");
                self.context.events.warn(text);
                result
            }
        }
    }
}

/// The command that took the stage over, or the version that the lease says the stage serves.
async fn successor<S: Store + Clone>(store: &S, stage: &StageName) -> String {
    let document =
        Lease::peek(store, stage).await.ok().and_then(|snapshot| snapshot.document).unwrap_or_default();
    let serves = |head: &Head| Some(head.current.as_ref()?.release.version.clone());
    match (&document.holder, document.head.as_ref().and_then(serves)) {
        (Some(holder), _) => describe(holder),
        (None, Some(version)) => {
            format!("another command has moved the stage; according to the lease it serves {version}")
        }
        (None, None) => "the lease does not say what the stage serves".to_owned(),
    }
}
