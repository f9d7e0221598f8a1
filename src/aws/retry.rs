//! The retry table of all clients, and the rate limiter that stays below the account's API rates.
//!
//! The SDK retries timeouts, 5xx and throttling by its error code. The table adds the throttling answers of
//! API Gateway and Lambda, which may state the time to wait, S3's 409 for two concurrent conditional writes,
//! API Gateway's 409 while another change is in progress, and Lambda's errors for a role that IAM has not
//! propagated yet and for a version that is not ready. The time limits are in [`super::timeouts`].

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_types::retry::ErrorKind;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::answers;
use super::timeouts::Unanswered;
use crate::engine::failure::is_try_again_later;

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
}

impl Table {
    /// For calls that may be repeated: one more attempt after one that timed out.
    pub(super) const CALL: Self = Self { max_timeouts: 2, repeats: true };
    /// For long calls: no other attempt after one that timed out.
    pub(super) const LONG: Self = Self { max_timeouts: 1, repeats: true };
    /// For calls that create a resource each time. After a lost answer the caller searches for the resource.
    pub(super) const ONCE: Self = Self { max_timeouts: 1, repeats: false };

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

/// Spaces calls so that they stay below the account's API rates. Of Lambda's 15 calls a second, a third is
/// left to other callers. A second CreateDeployment of a command waits for 5 s.
#[derive(Debug, Clone)]
pub(crate) struct RateLimiter {
    lambda: Option<Arc<Slots>>,
    deployment: Option<Arc<Slots>>,
    logs: Option<Arc<Slots>>,
    gateway: Option<Arc<Slots>>,
}

#[derive(Debug)]
struct Slots {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Slots {
    fn new(interval: Duration) -> Arc<Self> {
        Arc::new(Self { interval, next: Mutex::new(Instant::now()) })
    }

    async fn acquire(&self) {
        let mut next = self.next.lock().await;
        let slot = (*next).max(Instant::now());
        *next = slot + self.interval;
        drop(next);
        sleep_until(slot).await;
    }
}

impl RateLimiter {
    /// A rate limiter; if it is not `enabled`, it never delays a call.
    pub(crate) fn new(enabled: bool) -> Self {
        let slots = |interval| enabled.then(|| Slots::new(interval));
        Self {
            lambda: slots(Duration::from_millis(100)),
            // A little more than the 5 s of the quota, because AWS measures with its own clock.
            deployment: slots(Duration::from_millis(5100)),
            // A small part of the quota of CloudWatch Logs, which differs by region.
            logs: slots(Duration::from_millis(200)),
            gateway: slots(Duration::from_millis(200)),
        }
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

    #[tokio::test]
    async fn the_rate_limiter_spaces_calls_and_can_be_disabled() {
        let start = Instant::now();
        let rate_limiter = RateLimiter::new(true);
        for _ in 0..4 {
            rate_limiter.lambda().await;
        }
        // The first call does not wait. A slow machine only takes longer.
        assert!(start.elapsed() >= Duration::from_millis(300));
        let off = RateLimiter::new(false);
        assert!(off.lambda.is_none() && off.deployment.is_none());
    }
}
