//! The time limits of calls to AWS, and the handling of calls without an answer.
//!
//! Each attempt and the call as a whole are limited. A call that is answered (throttled, busy) has all its
//! retries. A call without an answer has few, because each attempt lasts until its time limit; it fails like
//! one whose answer was lost, and may have taken effect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use super::http::{Unreached, host};
use crate::release::model::FunctionName;

/// The time limit for a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// The default time limit of one attempt, which DEPLOYCTL_CALL_TIMEOUT overrides.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// The time limit of a command's first call: without a network, the command must fail early.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// A first call without an answer is retried only this long.
const FIRST_CALL_RETRIES: Duration = Duration::from_secs(1);

/// The time limit of a call with its retries: seven waits of 30 s, the longest that throttling may ask for,
/// and two attempts without an answer.
const OPERATION: Duration = Duration::from_secs(300);

/// The time limit for loading credentials, which may run a credential process or read the role of the
/// machine.
pub(super) const CREDENTIALS: Duration = Duration::from_secs(10);

/// The longest pause between two bytes of an answer.
pub(super) const STALLED: Duration = Duration::from_secs(20);

/// Lambda's maximum timeout of a function.
const LONGEST_FUNCTION: Duration = Duration::from_secs(900);

/// The expected minimum rate of an upload, in bytes per second.
const UPLOAD_RATE: u64 = 100 * 1024;

/// The time limits of calls whose attempts take `call` at most.
pub(super) fn config(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(call)
        .operation_timeout(OPERATION.max(call * 3))
        .build()
}

/// The time limits of an upload, by its size.
pub(super) fn upload(bytes: u64) -> TimeoutConfig {
    limits(CALL + Duration::from_secs(bytes / UPLOAD_RATE))
}

/// The time limits of invoking a function with this timeout; `None` if it is not known.
pub(super) fn invoke(function: Option<Duration>) -> TimeoutConfig {
    limits(function.unwrap_or(LONGEST_FUNCTION).min(LONGEST_FUNCTION) + Duration::from_secs(10))
}

fn limits(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(attempt)
        .operation_timeout(OPERATION + attempt * 2)
        .build()
}

/// The timeouts of functions that have been read, which limit their invocations.
#[derive(Debug, Clone, Default)]
pub(super) struct FunctionTimeouts(Arc<Mutex<BTreeMap<FunctionName, Duration>>>);

impl FunctionTimeouts {
    /// Keeps the longest timeout, since versions may differ.
    pub(super) fn record(&self, name: &FunctionName, seconds: Option<i32>) {
        let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) else { return };
        if let Ok(mut known) = self.0.lock() {
            let longest = known.entry(name.clone()).or_default();
            *longest = (*longest).max(Duration::from_secs(seconds));
        }
    }

    pub(super) fn of(&self, name: &FunctionName) -> Option<Duration> {
        self.0.lock().ok()?.get(name).copied()
    }
}

/// A call that got no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    host: String,
    /// Whether the request may have been sent.
    pub(super) sent: bool,
    /// The attempts of the call that timed out.
    timeouts: u32,
    /// Whether no call of this command has been answered yet, and this one is not to be retried.
    pub(super) given_up: bool,
    cause: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, sent, cause, .. } = self;
        let failed = if *sent { "no answer from" } else { "cannot reach" };
        write!(f, "{failed} {host}: {cause}")
    }
}

impl std::error::Error for Unanswered {}

impl Unanswered {
    /// Whether another attempt may be made, of a call that may time out `max_timeouts` times.
    pub(super) fn may_be_repeated(&self, max_timeouts: u32) -> bool {
        !self.given_up && self.timeouts < max_timeouts
    }

    /// The cause of a transport error, if `AnswerTracker` has set it.
    pub(super) fn of(error: &ConnectorError) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

/// Detects calls without an answer, for all clients of a command.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerTracker {
    /// Whether any call has been answered.
    answered: Arc<AtomicBool>,
    /// The time limit of ordinary attempts. Uploads and invocations have longer ones, also as the first call.
    call: Duration,
}

impl AnswerTracker {
    pub(super) fn new(call: Duration) -> Self {
        Self { answered: Arc::default(), call }
    }
}

/// A call in progress.
#[derive(Debug, Clone)]
struct Call {
    started: Instant,
    first: bool,
    host: String,
    timeouts: u32,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Intercept for AnswerTracker {
    fn name(&self) -> &'static str {
        "deployctl answers"
    }

    fn read_after_serialization(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let first = !self.answered.load(Ordering::Relaxed);
        let limits = config.load::<TimeoutConfig>().cloned();
        if let Some(limits) =
            limits.filter(|limits| first && limits.operation_attempt_timeout() == Some(self.call))
        {
            let limits = limits.to_builder().operation_attempt_timeout(self.call.min(FIRST_CALL)).build();
            config.interceptor_state().store_put(limits);
        }
        let call = Call { started: Instant::now(), first, host: String::new(), timeouts: 0 };
        config.interceptor_state().store_put(call);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Call>().cloned() {
            let host = host(context.request().uri());
            config.interceptor_state().store_put(Call { host, ..call });
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some() {
            self.answered.store(true, Ordering::Relaxed);
        }
        let Some(mut call) = config.load::<Call>().cloned().filter(|call| !call.host.is_empty()) else {
            return Ok(());
        };
        let Some(Err(error)) = context.output_or_error_mut() else { return Ok(()) };
        let Some((sent, timed_out, cause)) = unanswered(error) else { return Ok(()) };
        call.timeouts += u32::from(timed_out);
        let given_up = call.first
            && !self.answered.load(Ordering::Relaxed)
            && (timed_out || call.started.elapsed() > FIRST_CALL_RETRIES);
        let unanswered =
            Unanswered { host: call.host.clone(), sent, timeouts: call.timeouts, given_up, cause };
        config.interceptor_state().store_put(call);
        let wrapped = if timed_out {
            ConnectorError::timeout(unanswered.into())
        } else {
            ConnectorError::io(unanswered.into())
        };
        *error = OrchestratorError::connector(wrapped);
        Ok(())
    }
}

/// Whether the request may have been sent, whether it timed out, and the cause.
fn unanswered<E: std::error::Error + 'static>(error: &OrchestratorError<E>) -> Option<(bool, bool, String)> {
    if error.is_timeout_error() {
        return Some((true, true, "the attempt timed out".to_owned()));
    }
    let error = error.as_connector_error()?;
    // The SDK classifies a connection that ends before the answer as `other`.
    if !(error.is_io() || error.is_timeout() || error.as_other().is_some()) {
        return None;
    }
    if let Some(unreached) = Unreached::of(error) {
        return Some((false, unreached.timed_out, unreached.cause.clone()));
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some((true, error.is_timeout(), cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_follow_the_bytes_and_the_function() {
        let attempt = |times: TimeoutConfig| times.operation_attempt_timeout().unwrap().as_secs();
        assert_eq!(attempt(config(CALL)), 30);
        assert_eq!(attempt(upload(0)), 30);
        assert_eq!(attempt(upload(250 * 1024 * 1024)), 30 + 2560);
        assert_eq!(attempt(invoke(Some(Duration::from_secs(3)))), 13);
        assert_eq!(attempt(invoke(None)), 910);
        assert_eq!(attempt(invoke(Some(Duration::MAX))), 910);
        for times in [config(CALL), upload(1 << 32), invoke(None)] {
            assert!(times.operation_timeout() > times.operation_attempt_timeout());
        }
    }

    #[test]
    fn a_long_call_is_repeated_less_often() {
        let call = |timeouts, given_up| Unanswered {
            host: "h".to_owned(),
            sent: true,
            timeouts,
            given_up,
            cause: String::new(),
        };
        assert!(call(0, false).may_be_repeated(2) && call(1, false).may_be_repeated(2));
        assert!(!call(2, false).may_be_repeated(2) && call(2, false).may_be_repeated(6));
        assert!(!call(0, true).may_be_repeated(6));
    }
}
