//! The retry table of all clients, and the rate limiter that stays below the account's API rates.
//!
//! The SDK retries timeouts, 5xx and throttling by its error code. The table adds the throttling answers of
//! API Gateway and Lambda, which may state the time to wait, S3's 409 for two concurrent conditional writes,
//! API Gateway's 409 while another change is in progress, and Lambda's errors for a role that IAM has not
//! propagated yet and for a version that is not ready. The time limits are in [`super::timeouts`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::ErrorKind;
use tokio::time::{Instant, sleep_until};

use aws_sdk_lambda as lambda;

use super::answers;
use super::timeouts::Unanswered;
use crate::engine::failure::{Failure, is_try_again_later};

/// The attempts of each call. All callers of an account share one CreateDeployment per 5 s, so a few others
/// may come first.
const ATTEMPTS: u32 = 8;

/// The SDK's schedule: exponential with jitter from half a second up to 30 s, which is also [`LONGEST_WAIT`].
pub(crate) fn config() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(500))
        .with_max_backoff(Duration::from_secs(30))
}

/// The status of an answer to more calls than the account may make.
const THROTTLED: u16 = 429;

/// How often a paced call is made if other callers use the account's rate. There is more than a second between two
/// attempts.
const PACED_ATTEMPTS: u32 = 60;

/// The longest wait that an answer may ask for.
const LONGEST_WAIT: u64 = 30;

/// Two attempts, for `doctor`, which must not wait long for a service that is unreachable.
pub(crate) fn brief() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(200))
}

/// The retry table as a classifier of the SDK.
#[derive(Debug)]
pub(super) struct Table {
    /// How many attempts may time out.
    max_timeouts: u32,
    /// Whether a request that may have been sent is repeated after a lost answer.
    repeats: bool,
    /// Whether the caller itself repeats a call that was refused for its rate.
    is_paced: bool,
}

impl Table {
    /// For calls that may be repeated: one more attempt after one that timed out.
    pub(super) const CALL: Self = Self { max_timeouts: 2, repeats: true, is_paced: false };
    /// The same, for [`RateLimiter::paced`].
    const PACED: Self = Self { is_paced: true, ..Self::CALL };
    /// For long calls: no other attempt after one that timed out.
    pub(super) const LONG: Self = Self { max_timeouts: 1, repeats: true, is_paced: false };
    /// For calls that create a resource each time. After a lost answer the caller searches for the resource.
    pub(super) const ONCE: Self = Self { max_timeouts: 1, repeats: false, is_paced: false };

    /// The decision for a call without a complete answer.
    fn unanswered(&self, context: &InterceptorContext) -> Option<RetryAction> {
        let Some(Err(error)) = context.output_or_error() else { return None };
        let forbidden = if error.is_response_error() {
            !self.repeats
        } else {
            let call = Unanswered::of(error.as_connector_error()?)?;
            !call.may_be_repeated(self.max_timeouts) || call.sent && !self.repeats
        };
        forbidden.then_some(RetryAction::RetryForbidden)
    }
}

impl ClassifyRetry for Table {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if let Some(action) = self.unanswered(context) {
            return action;
        }
        let Some(response) = context.response() else { return RetryAction::NoActionIndicated };
        let code = response
            .headers()
            .get("x-amzn-errortype")
            .map(|code| code.split([':', ',']).next().unwrap_or(code).to_owned());
        let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
        let after = response.headers().get("retry-after").and_then(parse_retry_after);
        let xml_code = body.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0));
        // The SDK repeats any answer with 502, and some codes of exhausted quotas.
        if answers::find(code.as_deref().or(xml_code), &body).is_some_and(|answer| answer.is_permanent) {
            return RetryAction::RetryForbidden;
        }
        if self.is_paced && response.status().as_u16() == THROTTLED {
            return RetryAction::RetryForbidden;
        }
        match verdict(response.status().as_u16(), code.as_deref(), &body) {
            None => RetryAction::NoActionIndicated,
            Some(kind) => match after {
                Some(wait) => RetryAction::retryable_error_with_explicit_delay(kind, wait),
                None => RetryAction::retryable_error(kind),
            },
        }
    }

    fn name(&self) -> &'static str {
        "deployctl's retry table"
    }

    fn priority(&self) -> RetryClassifierPriority {
        // After the SDK's own tables, which ignore the time to wait of a throttling answer.
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// How to retry an answer. `None` leaves the decision to the SDK.
fn verdict(status: u16, code: Option<&str>, body: &str) -> Option<ErrorKind> {
    match (status, code) {
        (429, _) => Some(ErrorKind::ThrottlingError),
        (503, _) => Some(ErrorKind::ThrottlingError),
        // S3: two concurrent conditional writes. The next attempt finds the winner and gets 412.
        (409, None) if body.contains("ConditionalRequestConflict") => Some(ErrorKind::TransientError),
        // Lambda: an update of the function is in progress, or it is not active yet.
        (409, Some("ResourceConflictException"))
            if body.contains("in progress") || body.contains("currently in the following state: Pending") =>
        {
            Some(ErrorKind::TransientError)
        }
        // Lambda, to an invocation: the resources of the version are being created.
        (409, Some("CodeArtifactUserPendingException" | "SnapStartNotReadyException")) => {
            Some(ErrorKind::TransientError)
        }
        // API Gateway: "Unable to complete operation due to concurrent modification. Please try again
        // later.", or "A previous change is still in progress". Its other conflicts are permanent.
        (409, Some("ConflictException")) if is_try_again_later(body) => Some(ErrorKind::TransientError),
        // Lambda, shortly after IAM created the role.
        (400, Some("InvalidParameterValueException")) if body.contains("cannot be assumed by Lambda") => {
            Some(ErrorKind::TransientError)
        }
        _ => None,
    }
}

/// The time to wait, at most `LONGEST_WAIT`. For a date or anything else, the schedule decides.
fn parse_retry_after(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

/// Delays calls so that they stay below the account's API rates. Lambda takes 15 calls a second of all callers of
/// the account: deployctl uses them all, and pauses after an answer that another caller was first. A second
/// CreateDeployment of a command waits for 5 s.
#[derive(Debug, Clone)]
pub(crate) struct RateLimiter {
    lambda: Option<Arc<Slots>>,
    deployment: Option<Arc<Slots>>,
    logs: Option<Arc<Slots>>,
    gateway: Option<Arc<Slots>>,
}

/// At most `calls` in any `window`, in the order in which they were asked for.
#[derive(Debug)]
struct Slots {
    calls: usize,
    window: Duration,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    /// When the last `calls` calls were made, or will be.
    at: VecDeque<Instant>,
    not_before: Instant,
}

impl Slots {
    fn new(calls: usize, window: Duration) -> Arc<Self> {
        let taken = Taken { at: VecDeque::new(), not_before: Instant::now() };
        Arc::new(Self { calls, window, taken: Mutex::new(taken) })
    }

    /// When the next call may be made.
    fn next(&self, now: Instant) -> Instant {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slot = taken.not_before.max(now);
        let oldest = if taken.at.len() == self.calls { taken.at.pop_front() } else { None };
        if let Some(oldest) = oldest {
            slot = slot.max(oldest + self.window);
        }
        if slot > now
            && let Some(last) = taken.at.back().copied().or(oldest)
        {
            // Calls that wait are spread: in a burst, one that arrives late would be too close to the next one.
            slot = slot.max(last + self.window / u32::try_from(self.calls).unwrap_or(1));
        }
        taken.at.push_back(slot);
        slot
    }

    async fn acquire(&self) {
        sleep_until(self.next(Instant::now())).await;
    }

    /// Lets the next calls wait for a window. A refused call waits for its turn among them.
    fn pause(&self, now: Instant) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.not_before = taken.not_before.max(now + self.window);
    }
}

/// Pauses the calls to a service that has answered with 429.
#[derive(Debug, Clone)]
pub(super) struct Throttled(Option<Arc<Slots>>);

impl Intercept for Throttled {
    fn name(&self) -> &'static str {
        "deployctl's pause after a throttling answer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(slots), THROTTLED) = (&self.0, context.response().status().as_u16()) {
            slots.pause(Instant::now());
        }
        Ok(())
    }
}

impl RateLimiter {
    /// A rate limiter; if it is not `enabled`, it never delays a call.
    pub(crate) fn new(enabled: bool) -> Self {
        let slots = |calls, window| enabled.then(|| Slots::new(calls, window));
        Self {
            // Windows of a little more than a second, because answers take different times.
            lambda: slots(15, Duration::from_millis(1050)),
            // A little more than the 5 s of the quota, because AWS measures with its own clock.
            deployment: slots(1, Duration::from_millis(5100)),
            // A small part of the quota of CloudWatch Logs, which differs by region.
            logs: slots(1, Duration::from_millis(200)),
            gateway: slots(1, Duration::from_millis(200)),
        }
    }

    /// Makes a control call of Lambda when its turn comes, and again if other callers were first. The SDK would
    /// repeat it without regard to the calls that wait.
    pub(super) async fn paced<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        call: impl Fn(lambda::config::Builder) -> F,
    ) -> Result<T, Failure> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Some(slots) = &self.lambda else { return call(lambda::Config::builder()).await };
            slots.acquire().await;
            match call(lambda::Config::builder().retry_classifier(Table::PACED)).await {
                Err(failure)
                    if failure.code.as_deref() == Some("TooManyRequestsException")
                        && attempts < PACED_ATTEMPTS => {}
                answer => return answer,
            }
        }
    }

    /// Pauses the calls to Lambda after an answer with 429.
    pub(super) fn throttled(&self) -> Throttled {
        Throttled(self.lambda.clone())
    }

    /// Waits for the slot of a call to CloudWatch Logs.
    pub(crate) async fn logs(&self) {
        if let Some(slots) = &self.logs {
            slots.acquire().await;
        }
    }

    /// Waits for the slot of a Lambda control-plane call.
    pub(crate) async fn lambda(&self) {
        if let Some(slots) = &self.lambda {
            slots.acquire().await;
        }
    }

    /// Waits for the slot of a call to API Gateway. Half of its 10 calls a second is left to other callers.
    pub(crate) async fn gateway(&self) {
        if let Some(slots) = &self.gateway {
            slots.acquire().await;
        }
    }

    /// Waits for the slot of a CreateDeployment.
    pub(crate) async fn deployment(&self) {
        if let Some(slots) = &self.deployment {
            slots.acquire().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use ErrorKind::{ThrottlingError, TransientError};
        let table = [
            (429, Some("TooManyRequestsException"), "", Some(ThrottlingError)),
            (429, Some("LimitExceededException"), "", Some(ThrottlingError)),
            (503, Some("ServiceUnavailableException"), "", Some(ThrottlingError)),
            (503, None, "<Code>SlowDown</Code>", Some(ThrottlingError)),
            (409, None, "<Code>ConditionalRequestConflict</Code>", Some(TransientError)),
            (
                409,
                Some("ResourceConflictException"),
                "An update is in progress for resource",
                Some(TransientError),
            ),
            (
                409,
                Some("ResourceConflictException"),
                "The operation cannot be performed at this time. The function is currently in the following state: Pending",
                Some(TransientError),
            ),
            (409, Some("ResourceConflictException"), "Function already exist", None),
            (409, Some("CodeArtifactUserPendingException"), "Lambda is initializing", Some(TransientError)),
            (409, Some("CodeArtifactUserFailedException"), "", None),
            (
                409,
                Some("ConflictException"),
                "Unable to complete operation due to concurrent modification. Please try again later.",
                Some(TransientError),
            ),
            (409, Some("ConflictException"), "A previous change is still in progress", Some(TransientError)),
            (409, Some("ConflictException"), "Active stages pointing to this deployment must be moved", None),
            (409, Some("ConflictException"), "", None),
            (
                400,
                Some("InvalidParameterValueException"),
                "The role … cannot be assumed by Lambda.",
                Some(TransientError),
            ),
            (400, Some("InvalidParameterValueException"), "CodeSHA256 is different", None),
            (400, Some("BadRequestException"), "", None),
            (403, Some("AccessDeniedException"), "", None),
            (404, Some("NotFoundException"), "", None),
            (412, Some("PreconditionFailedException"), "", None),
            (500, None, "", None), // the SDK's own table
        ];
        for (status, code, body, expected) in table {
            assert_eq!(verdict(status, code, body), expected, "{status} {code:?} {body}");
        }
    }

    #[test]
    fn an_answer_cannot_ask_for_a_long_wait() {
        for (text, seconds) in
            [("1", Some(1)), (" 2 ", Some(2)), ("30", Some(30)), ("18446744073709551615", Some(30))]
        {
            assert_eq!(parse_retry_after(text).map(|wait| wait.as_secs()), seconds, "{text}");
        }
        for text in ["", "-1", "1.5", "184467440737095516150", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
            assert_eq!(parse_retry_after(text), None, "{text}");
        }
    }

    #[test]
    fn the_rate_limiter_allows_no_more_calls_in_a_window() {
        let limiter = RateLimiter::new(true);
        let now = Instant::now();
        let lambda = limiter.lambda.unwrap();
        let at: Vec<Duration> = (0..225).map(|_| lambda.next(now).duration_since(now)).collect();
        assert_eq!(at[14], Duration::ZERO, "the first ones do not wait");
        let second = Duration::from_secs(1);
        assert!(at.windows(16).all(|calls| calls[15].saturating_sub(calls[0]) > second), "{at:?}");
        // 225 calls at 15 a second take 15 s.
        assert!(at[224] <= second * 16, "{at:?}");
        let off = RateLimiter::new(false);
        assert!(off.lambda.is_none() && off.deployment.is_none());
    }

    #[test]
    fn new_calls_pause_after_an_answer_that_other_callers_were_first() {
        let now = Instant::now() + Duration::from_secs(1);
        let slots = Slots::new(10, Duration::from_secs(1));
        assert_eq!([slots.next(now), slots.next(now)], [now, now]);
        slots.pause(now);
        let later = now + Duration::from_secs(1);
        assert_eq!([slots.next(now), slots.next(now)], [later, later + Duration::from_millis(100)]);
    }
}
