//! A stage whose lease this command holds. Only such a stage can be changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::interrupt::{interrupted, with_grace};
use crate::engine::lease::{Holder, Lease, PreviousHolder, Unconfirmed, describe, lost};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::ports::Store;
use crate::error::{Kind, Result};
use crate::event::Events;
use crate::platform::clock::Clock;
use crate::platform::unique_id;
use crate::release::check::{Checks, Probe};
use crate::release::model::StageName;
use crate::release::record::Who;

/// The time between two reads of a lease that another command holds.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The stage that a command changes, the caller, and what the operation needs.
#[derive(Debug, Clone)]
pub(crate) struct StageContext {
    pub(crate) stage: StageName,
    pub(crate) who: Who,
    /// How a release is recognised from outside.
    pub(crate) probe: Probe,
    /// What a new release must show before and after the switch.
    pub(crate) checks: Checks,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    /// How long to wait for a lease that another command holds.
    pub(crate) wait: Option<Duration>,
    /// What tells how old this command's own lease is.
    pub(crate) clock: Clock,
}

/// A stage whose lease this command holds. Release, redeploy and rollback, and the steps they are made of, are its
/// methods, each in the file of its name.
#[derive(Debug)]
pub(crate) struct HeldStage<'a, S> {
    pub(super) context: &'a StageContext,
    pub(crate) store: S,
    /// What was done to the stage.
    pub(crate) ledger: Ledger<S>,
    pub(super) lease: Lease<S>,
    /// What the last holder left.
    pub(super) left: PreviousHolder,
}

impl<'a, S: Store + Clone> HeldStage<'a, S> {
    /// Takes the lease of the context's stage for `command`.
    ///
    /// # Errors
    /// `lease.held`, exit code 75, with the holder.
    pub(crate) async fn take(context: &'a StageContext, store: S, command: String) -> Result<Self> {
        let holder = Holder::new(unique_id(), context.who.clone(), command);
        Self::take_as(context, store, holder).await
    }

    pub(super) async fn take_as(context: &'a StageContext, store: S, holder: Holder) -> Result<Self> {
        let acquire = Self::wait_for(context, &store, &holder);
        let (lease, left) = context.events.step("acquire lease", acquire).await?;
        Ok(Self::new(context, store, lease, left))
    }

    /// Takes the lease, waiting for its holder as long as the context wants to.
    async fn wait_for(
        context: &StageContext,
        store: &S,
        holder: &Holder,
    ) -> Result<(Lease<S>, PreviousHolder)> {
        let begun = context.clock.now();
        let mut announced = false;
        loop {
            if context.cancel.is_cancelled() {
                return Err(interrupted());
            }
            let acquire = Lease::acquire(store.clone(), &context.stage, holder, &context.clock);
            let error = match with_grace(&context.cancel, acquire).await {
                Some(Err(error)) if error.kind == Kind::Held => error,
                answer => return answer.unwrap_or_else(|| Err(interrupted())),
            };
            let waited = context.clock.now().saturating_sub(begun);
            let Some(left) = context.wait.and_then(|wait| wait.checked_sub(waited)) else {
                return Err(error);
            };
            if !announced {
                context.events.note(format!("{error}; waiting for it, at most {} s more", left.as_secs()));
                announced = true;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(POLL_INTERVAL)) => {}
                () = context.cancel.cancelled() => {}
            }
        }
    }

    pub(super) fn new(context: &'a StageContext, store: S, lease: Lease<S>, left: PreviousHolder) -> Self {
        let ledger = Ledger::new(store.clone(), context.stage.clone());
        Self { context, store, ledger, lease, left }
    }

    /// Does `work` under the lease, and gives the lease back however it ends.
    ///
    /// # Errors
    /// What `work` returns; `lease.lost` where it went well, but another command has taken the stage over meanwhile,
    /// so that what `work` tells need not be what callers get.
    pub(crate) async fn during<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let result: Result<T> = self.lease.keep(Box::pin(work(&self))).await;
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

/// Who has the stage that this command lost, and what it serves by the lease.
async fn successor<S: Store + Clone>(store: &S, stage: &StageName) -> String {
    let document = Lease::peek(store, stage).await.ok().and_then(|found| found.document).unwrap_or_default();
    let serves = |head: &Head| Some(head.current.as_ref()?.release.version.clone());
    match (&document.holder, document.head.as_ref().and_then(serves)) {
        (Some(holder), _) => describe(holder),
        (None, Some(version)) => {
            format!("another command has moved it since; by the ledger it serves {version}")
        }
        (None, None) => "nothing is known of what another command did to it".to_owned(),
    }
}
