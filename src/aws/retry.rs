//! What is tried again: one table for all clients, and the rate limiter that keeps below the account's rates.
//!
//! The SDK retries what it knows to be transient (timeouts, 5xx, throttling by name). The table adds what is
//! particular to a release: API Gateway's and Lambda's own throttling answers, which may name the time to
//! wait, S3's 409 on a raced conditional write, API Gateway's 409 while an earlier change is under way, and Lambda's
//! refusal of a role that IAM has not spread yet. How long an attempt may take is in [`super::timeouts`].

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

use super::timeouts::Unanswered;
use crate::engine::failure::is_try_again_later;

/// Attempts of each call. CreateDeployment is one per 5 s and account, shared with everybody else in it, so a
/// queue of a few others must be sat out.
const ATTEMPTS: u32 = 8;

/// The SDK's schedule: exponential with jitter from half a second up to 30 s, which is also the longest that an answer may ask us to wait.
pub(crate) fn config() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(500))
        .with_max_backoff(Duration::from_secs(30))
}

/// The longest wait that an answer may ask for.
const LONGEST_WAIT: u64 = 30;

/// Two attempts: for looking at what may be out of reach.
pub(crate) fn brief() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(200))
}

/// The table as the SDK asks it.
#[derive(Debug)]
pub(super) struct Table {
    /// How many attempts may last until their end without an answer.
    silences: u32,
    /// Whether a request that was perhaps sent is sent again when its answer is lost.
    repeats: bool,
}

impl Table {
    /// For calls that may be repeated: one more attempt after one that got no answer in time.
    pub(super) const CALL: Self = Self { silences: 2, repeats: true };
    /// For calls that last: no other attempt after one that got no answer in time.
    pub(super) const LONG: Self = Self { silences: 1, repeats: true };
    /// For calls of which each makes something new. After a lost answer the caller looks for it.
    pub(super) const ONCE: Self = Self { silences: 1, repeats: false };

    /// Of a call without an answer, or with half of one.
    fn lost(&self, context: &InterceptorContext) -> Option<RetryAction> {
        let Some(Err(error)) = context.output_or_error() else { return None };
        let forbidden = if error.is_response_error() {
            !self.repeats
        } else {
            let call = Unanswered::of(error.as_connector_error()?)?;
            !call.may_be_repeated(self.silences) || call.sent && !self.repeats
        };
        forbidden.then_some(RetryAction::RetryForbidden)
    }
}

impl ClassifyRetry for Table {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if let Some(action) = self.lost(context) {
            return action;
        }
        let Some(response) = context.response() else { return RetryAction::NoActionIndicated };
        let code = response
            .headers()
            .get("x-amzn-errortype")
            .map(|code| code.split([':', ',']).next().unwrap_or(code).to_owned());
        let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
        let after = response.headers().get("retry-after").and_then(asked_wait);
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
        // The last word: the SDK's own tables know throttling by its name, and forget the time to wait.
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Whether an answer is worth another try, and as what. `None` leaves the decision to the SDK.
fn verdict(status: u16, code: Option<&str>, body: &str) -> Option<ErrorKind> {
    match (status, code) {
        (429, _) => Some(ErrorKind::ThrottlingError),
        // API Gateway's "limit exceeded" is a rate, not a quota, when it comes with 429 (above) or 503.
        (503, _) => Some(ErrorKind::ThrottlingError),
        // S3: two conditional writes met. The next attempt sees the winner and gets 412.
        (409, None) if body.contains("ConditionalRequestConflict") => Some(ErrorKind::TransientError),
        // Lambda: an update of the function is in progress, or it is not active yet.
        (409, Some("ResourceConflictException"))
            if body.contains("in progress") || body.contains("currently in the following state: Pending") =>
        {
            Some(ErrorKind::TransientError)
        }
        // API Gateway: "Unable to complete operation due to concurrent modification. Please try again later.", or
        // "A previous change is still in progress". Its other conflicts are for good.
        (409, Some("ConflictException")) if is_try_again_later(body) => Some(ErrorKind::TransientError),
        // Lambda, shortly after IAM made the role.
        (400, Some("InvalidParameterValueException")) if body.contains("cannot be assumed by Lambda") => {
            Some(ErrorKind::TransientError)
        }
        _ => None,
    }
}

/// How long the answer asks to wait, within reason. A date, or anything else, is left to the schedule.
fn asked_wait(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

/// Keeps calls apart so that the account's rates are not met: of Lambda's 15 calls a second, a third is left to
/// others; a second CreateDeployment of one command waits for its turn, 5 s after the first.
#[derive(Debug, Clone)]
pub(crate) struct RateLimiter {
    lambda: Option<Arc<Slots>>,
    deployment: Option<Arc<Slots>>,
    logs: Option<Arc<Slots>>,
    gateway: Option<Arc<Slots>>,
}

#[derive(Debug)]
struct Slots {
    every: Duration,
    next: Mutex<Instant>,
}

impl Slots {
    fn new(every: Duration) -> Arc<Self> {
        Arc::new(Self { every, next: Mutex::new(Instant::now()) })
    }

    async fn acquire(&self) {
        let mut next = self.next.lock().await;
        let turn = (*next).max(Instant::now());
        *next = turn + self.every;
        drop(next);
        sleep_until(turn).await;
    }
}

impl RateLimiter {
    /// A rate_limiter that holds calls back, or one that never does.
    pub(crate) fn new(enabled: bool) -> Self {
        let slots = |every| enabled.then(|| Slots::new(every));
        Self {
            lambda: slots(Duration::from_millis(100)),
            // A little more than AWS asks for: its clock is not ours.
            deployment: slots(Duration::from_millis(5100)),
            // Of what an account may ask of CloudWatch Logs, which differs by region, a small part.
            logs: slots(Duration::from_millis(200)),
            gateway: slots(Duration::from_millis(200)),
        }
    }

    /// Waits for the turn of a question to CloudWatch Logs.
    pub(crate) async fn logs(&self) {
        if let Some(slots) = &self.logs {
            slots.acquire().await;
        }
    }

    /// Waits for the turn of a Lambda control-plane call.
    pub(crate) async fn lambda(&self) {
        if let Some(slots) = &self.lambda {
            slots.acquire().await;
        }
    }

    /// Waits for the turn of one of many calls to API Gateway, of whose 10 a second half is left to others.
    pub(crate) async fn gateway(&self) {
        if let Some(slots) = &self.gateway {
            slots.acquire().await;
        }
    }

    /// Waits for the turn of a CreateDeployment.
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
            assert_eq!(asked_wait(text).map(|wait| wait.as_secs()), seconds, "{text}");
        }
        for text in ["", "-1", "1.5", "184467440737095516150", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
            assert_eq!(asked_wait(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_pace_spreads_calls_and_can_be_off() {
        let start = Instant::now();
        let rate_limiter = RateLimiter::new(true);
        for _ in 0..4 {
            rate_limiter.lambda().await;
        }
        // The first call is free. A slow machine only makes it longer.
        assert!(start.elapsed() >= Duration::from_millis(300));
        let off = RateLimiter::new(false);
        assert!(off.lambda.is_none() && off.deployment.is_none());
    }
}
