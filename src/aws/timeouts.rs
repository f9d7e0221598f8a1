//! How long AWS may take to answer, and what becomes of a call that gets no answer.
//!
//! Each attempt is bounded, and the call as a whole. A call that is answered (throttled, busy) may take its retries;
//! of attempts that get no answer there are few, because each of them lasts. In the end such a call is a failure that
//! may have taken effect, like any lost answer.

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

use crate::release::model::FunctionName;

/// How long a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How long one attempt of a call of the API may take, if DEPLOYCTL_CALL_TIMEOUT does not say otherwise.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// How long the first call of a command may take: without a network, the command fails at once.
const FIRST: Duration = Duration::from_secs(10);

/// A first call that failed later than this is not tried again.
const FIRST_TRIES: Duration = Duration::from_secs(1);

/// The whole of a call: seven waits of 30 s, which is what throttling may ask for, and the time for two attempts
/// without an answer.
const OPERATION: Duration = Duration::from_secs(300);

/// How long credentials may take to be found: a program of the user's, a login, or the machine's own role.
pub(super) const CREDENTIALS: Duration = Duration::from_secs(10);

/// How long the bytes of an answer may not move at all.
pub(super) const STALLED: Duration = Duration::from_secs(20);

/// Lambda's own longest timeout of a function.
const LONGEST_FUNCTION: Duration = Duration::from_secs(900);

/// What an upload is expected to move per second at least.
const UPLOAD_RATE: u64 = 100 * 1024;

/// Of calls to the API, whose attempts take `call` at most.
pub(super) fn config(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(call)
        .operation_timeout(OPERATION.max(call * 3))
        .build()
}

/// Of an upload: by its bytes.
pub(super) fn upload(bytes: u64) -> TimeoutConfig {
    long(CALL + Duration::from_secs(bytes / UPLOAD_RATE))
}

/// Of the invocation of a function with this timeout; `None` where it is not known.
pub(super) fn invoke(function: Option<Duration>) -> TimeoutConfig {
    long(function.unwrap_or(LONGEST_FUNCTION).min(LONGEST_FUNCTION) + Duration::from_secs(10))
}

fn long(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(attempt)
        .operation_timeout(OPERATION + attempt * 2)
        .build()
}

/// The timeouts of functions, as far as they were read: how long an invocation may take.
#[derive(Debug, Clone, Default)]
pub(super) struct FunctionTimeouts(Arc<Mutex<BTreeMap<FunctionName, Duration>>>);

impl FunctionTimeouts {
    /// Keeps the longest that was seen, since versions may differ.
    pub(super) fn learn(&self, name: &FunctionName, seconds: Option<i32>) {
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
    /// Attempts of the call that ended because nothing came in time.
    silences: u32,
    /// Whether nothing has answered this command yet, and it has tried long enough.
    pub(super) hopeless: bool,
    cause: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, sent, cause, .. } = self;
        let what = if *sent { "no answer from" } else { "cannot reach" };
        write!(f, "{what} {host}: {cause}")
    }
}

impl std::error::Error for Unanswered {}

impl Unanswered {
    /// Whether another attempt is worth its time, where `silences` of them may last until their end.
    pub(super) fn may_be_repeated(&self, silences: u32) -> bool {
        !self.hopeless && self.silences < silences
    }

    /// What is behind an error of the transport.
    pub(super) fn of(error: &ConnectorError) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

/// Notices what is not answered, for all clients of a command.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    /// Whether anything has answered.
    heard: Arc<AtomicBool>,
    /// How long the attempts of calls to the API take at most; what is longer is meant to be.
    call: Duration,
}

impl Answers {
    pub(super) fn new(call: Duration) -> Self {
        Self { heard: Arc::default(), call }
    }
}

/// A call under way.
#[derive(Debug, Clone)]
struct Call {
    begun: Instant,
    first: bool,
    host: String,
    silences: u32,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Answers {
    fn name(&self) -> &'static str {
        "deployctl answers"
    }

    fn read_after_serialization(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let first = !self.heard.load(Ordering::Relaxed);
        let times = config.load::<TimeoutConfig>().cloned();
        if let Some(times) =
            times.filter(|times| first && times.operation_attempt_timeout() == Some(self.call))
        {
            let times = times.to_builder().operation_attempt_timeout(self.call.min(FIRST)).build();
            config.interceptor_state().store_put(times);
        }
        let call = Call { begun: Instant::now(), first, host: String::new(), silences: 0 };
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
            self.heard.store(true, Ordering::Relaxed);
        }
        let Some(mut call) = config.load::<Call>().cloned().filter(|call| !call.host.is_empty()) else {
            return Ok(());
        };
        let Some(Err(error)) = context.output_or_error_mut() else { return Ok(()) };
        let Some((sent, silent, cause)) = unanswered(error) else { return Ok(()) };
        call.silences += u32::from(silent);
        let hopeless = call.first
            && !self.heard.load(Ordering::Relaxed)
            && (silent || call.begun.elapsed() > FIRST_TRIES);
        let what = Unanswered { host: call.host.clone(), sent, silences: call.silences, hopeless, cause };
        config.interceptor_state().store_put(call);
        let wrapped =
            if silent { ConnectorError::timeout(what.into()) } else { ConnectorError::io(what.into()) };
        *error = OrchestratorError::connector(wrapped);
        Ok(())
    }
}

/// Whether the request may have been sent, whether nothing came in time, and the cause.
fn unanswered<E: std::error::Error + 'static>(error: &OrchestratorError<E>) -> Option<(bool, bool, String)> {
    if error.is_timeout_error() {
        return Some((true, true, "nothing came in time".to_owned()));
    }
    let error = error.as_connector_error()?;
    // The SDK counts a connection that ends before the answer among the others, as transient.
    if !(error.is_io() || error.is_timeout() || error.as_other().is_some()) {
        return None;
    }
    let mut cause: &dyn std::error::Error = error;
    let mut connected = true;
    while let Some(next) = cause.source() {
        cause = next;
        let text = next.to_string();
        connected &= !["(Connect)", "connect timeout", "dns error"].iter().any(|word| text.contains(word));
    }
    Some((connected, error.is_timeout(), cause.to_string()))
}

fn host(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_bytes_and_the_function() {
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
    fn the_host_of_a_request() {
        assert_eq!(host("https://sts.eu-central-1.amazonaws.com/"), "sts.eu-central-1.amazonaws.com");
        assert_eq!(host("http://127.0.0.1:4566?x"), "127.0.0.1:4566");
    }

    #[test]
    fn what_lasts_is_repeated_less_often() {
        let call = |silences, hopeless| Unanswered {
            host: "h".to_owned(),
            sent: true,
            silences,
            hopeless,
            cause: String::new(),
        };
        assert!(call(0, false).may_be_repeated(2) && call(1, false).may_be_repeated(2));
        assert!(!call(2, false).may_be_repeated(2) && call(2, false).may_be_repeated(6));
        assert!(!call(0, true).may_be_repeated(6));
    }
}
