//! Waits until a version of a function can be invoked. Lambda reclaims the resources of versions that are idle
//! for a long time; such a version is woken first.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Result};
use crate::event::FunctionPhase;
use crate::release::model::{FunctionKey, FunctionName, FunctionVersion};
use crate::release::state::Activity;

/// When and how long a version is read until it is active.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Polling {
    /// A version needs at least this long, so an earlier read is wasted.
    pub(crate) initial_delay: Duration,
    /// The pause after the first read. It grows with each further one, up to [`MAX_INTERVALS`] of it.
    pub(crate) interval: Duration,
    /// How long a version may stay inactive after the invocation that wakes it.
    pub(crate) wake_timeout: Duration,
    /// Functions in a VPC can need minutes.
    pub(crate) timeout: Duration,
}

/// Functions that need minutes are not read many times a second.
const MAX_INTERVALS: u32 = 8;

impl Polling {
    pub(crate) const LAMBDA: Self = Self {
        initial_delay: Duration::from_millis(500),
        interval: Duration::from_millis(500),
        wake_timeout: Duration::from_secs(30),
        timeout: Duration::from_secs(300),
    };
}

/// A version that is not active.
#[derive(Debug)]
pub(super) struct Inactive {
    pub(super) key: FunctionKey,
    pub(super) name: FunctionName,
    pub(super) version: FunctionVersion,
    pub(super) activity: Activity,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Waits until the versions that a rollback goes to are active.
    ///
    /// # Errors
    /// `rollback.inactive`, with `again`, the command that does not wait.
    pub(super) async fn activate(
        &self,
        port: &impl StagePort,
        versions: &[Inactive],
        again: &str,
    ) -> Result<()> {
        let names: Vec<String> =
            versions.iter().map(|inactive| format!("{}:{}", inactive.name, inactive.version)).collect();
        let names = names.join(", ");
        self.context.events.note(format!(
            "waiting until {names} can be invoked, which can take minutes; `{again}` switches at once"
        ));
        let waits = versions.iter().map(|Inactive { key, name, version, activity }| {
            self.activate_version(port, key, name, version, activity.clone())
        });
        let all = async { try_join_all(waits).await.map(|_| ()) };
        self.context.events.step("wait for functions", all).await.map_err(|failure| {
            let message = format!("failed to roll back: a function cannot be invoked, among {names}");
            Error::preflight(ErrorId::RollbackInactive, message).because(failure).hint(format!(
                "the stage was not switched; `{again}` switches at once, and callers get errors from these \
                 functions until they are active"
            ))
        })
    }

    /// Waits until a version is active, and reports the progress. `activity` is what was read last.
    pub(super) async fn activate_version(
        &self,
        port: &impl StagePort,
        key: &FunctionKey,
        name: &FunctionName,
        version: &FunctionVersion,
        activity: Activity,
    ) -> std::result::Result<(), Failure> {
        if activity == Activity::Active {
            return Ok(());
        }
        self.context.events.function(key.as_str(), FunctionPhase::Waiting);
        let result = self.wait_until_active(port, name, version, activity).await;
        let phase =
            if result.is_ok() { FunctionPhase::Done(version.as_str()) } else { FunctionPhase::Failed };
        self.context.events.function(key.as_str(), phase);
        result
    }

    /// Waits until a version is active. `activity` is what was read last, or the answer of the call that published
    /// it.
    ///
    /// # Errors
    /// It cannot become active by itself, or has not within the time limit.
    pub(super) async fn wait_until_active(
        &self,
        port: &impl StagePort,
        name: &FunctionName,
        version: &FunctionVersion,
        mut activity: Activity,
    ) -> std::result::Result<(), Failure> {
        let polling = &self.context.polling;
        let start = Instant::now();
        let not_active = |state: &str| {
            Failure::rejected("waiting for Active", format!("{name}:{version}"), format!("it is {state}"))
        };
        let mut delay = polling.initial_delay;
        let mut interval = polling.interval;
        let mut woken: Option<Woken> = None;
        loop {
            let state = match &activity {
                Activity::Active => return Ok(()),
                Activity::Failed(state) => return Err(not_active(state)),
                Activity::Inactive(state) | Activity::Pending(state) => state,
            };
            match &mut woken {
                Some(woken) if matches!(activity, Activity::Pending(_)) => woken.was_pending = true,
                Some(woken) if woken.has_failed(polling) => {
                    let failure = woken.failure.as_ref().map(|failure| format!(" ({failure})"));
                    let failure = failure.unwrap_or_default();
                    return Err(not_active(&format!("{state}, also after an invocation{failure}")));
                }
                None if matches!(activity, Activity::Inactive(_)) => {
                    woken = Some(Woken::by_invocation(port, name, version).await?);
                }
                _ => {}
            }
            if start.elapsed() + delay > polling.timeout {
                return Err(not_active(&format!("{state}, after {} s", polling.timeout.as_secs())));
            }
            sleep(delay).await;
            delay = interval;
            interval = (interval * 3 / 2).min(polling.interval * MAX_INTERVALS);
            let _permit = self.requests.acquire().await;
            let read = port.version(name, version).await?;
            activity = read.ok_or_else(|| not_active("deleted"))?.activity;
        }
    }
}

/// A version that was invoked so that Lambda activates it.
struct Woken {
    at: Instant,
    /// Whether Lambda began to create the resources.
    was_pending: bool,
    /// Usually Lambda answers that the version is not ready.
    failure: Option<Failure>,
}

impl Woken {
    async fn by_invocation(
        port: &impl StagePort,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> std::result::Result<Self, Failure> {
        let failure = port.wake(name, version).await.err();
        match failure {
            Some(failure) if matches!(failure.meaning, Meaning::Denied | Meaning::NotFound) => Err(failure),
            failure => Ok(Self { at: Instant::now(), was_pending: false, failure }),
        }
    }

    /// Whether the version is still inactive, or again: Lambda goes back to this state if it cannot create
    /// the resources.
    fn has_failed(&self, polling: &Polling) -> bool {
        self.was_pending || self.at.elapsed() >= polling.wake_timeout
    }
}
