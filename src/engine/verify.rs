//! Verifies a release over HTTP after the switch. It waits while the switch still propagates, and fails early
//! when the new release itself fails.

use std::time::Duration;

use futures::future::{Either, select};
use tokio::time::{Instant, timeout};

use crate::engine::held::HeldStage;
use crate::engine::interrupt::{interrupted, unless_interrupted};
use crate::engine::ports::{ProbeResult, StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::check::Probe;
use crate::release::check::{Answer, HttpRequest, Request};
use crate::release::model::Version;
use crate::release::state::Caches;

/// Good answers in a row that verify a release: API Gateway does not propagate a switch everywhere at once.
const REQUIRED_ANSWERS: u32 = 3;

/// Failures in a row of the new release that are more than an effect of the propagation.
const MAX_FAILURES: u32 = 5;

/// Equal errors in a row, in at least [`MIN_CRASHING`], that end the verification of a release whose
/// predecessor answered: the new release crashes before it can name itself.
const MAX_ERRORS: u32 = 3;

const MIN_CRASHING: Duration = Duration::from_secs(1);

/// How long the probe before the switch may take longer than what it runs beside.
const PROBE_GRACE: Duration = Duration::from_secs(2);

/// The time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The checks of the stage after the switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveChecks<'a> {
    /// How the release is recognised; `None` if the API cannot be reached from here.
    pub(crate) probe: Option<&'a Probe>,
    /// Whether the live release answered the probe before the switch, and without an error.
    pub(crate) answered_before: bool,
    /// The project's own checks.
    pub(crate) requests: &'a [Request],
    /// The caches that may still hold answers of the previous release.
    pub(crate) caches: Caches,
}

/// Why a release was not verified.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) error: Error,
    /// The request that failed.
    pub(super) request: Option<Box<HttpRequest>>,
}

impl From<Error> for Unverified {
    fn from(error: Error) -> Self {
        Self { error, request: None }
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Does `work`, and meanwhile sends the probe once. Returns also whether the live release answered it
    /// without an error.
    pub(super) async fn with_probe_before<T>(
        &self,
        port: &impl StagePort,
        work: impl Future<Output = Result<T>>,
    ) -> Result<(T, bool)> {
        let probe = async {
            let Some(probe) = &self.context.probe else { return false };
            let result = port.send(&HttpRequest::get(&probe.path)).await;
            matches!(result, ProbeResult::Answer(answer) if answer.status < 500)
        };
        match select(Box::pin(work), Box::pin(probe)).await {
            Either::Right((answered, work)) => Ok((work.await?, answered)),
            Either::Left((done, probe)) => {
                let done = done?;
                let answered = tokio::select! {
                    answered = timeout(PROBE_GRACE, probe) => answered.unwrap_or(false),
                    () = self.context.cancel.cancelled() => false,
                };
                Ok((done, answered))
            }
        }
    }

    /// Waits until the new release answers several times in a row, and then runs the project's own checks,
    /// one after the other.
    pub(super) async fn verify(
        &self,
        port: &impl StagePort,
        version: &Version,
        checks: &LiveChecks<'_>,
    ) -> Result<(), Unverified> {
        let flush = async {
            self.flush(port, checks.caches).await;
            Ok(())
        };
        unless_interrupted(&self.context.cancel, flush).await?;
        let Some(probe) = checks.probe else {
            self.context.events.warn(not_probed(version, checks.requests));
            return Ok(());
        };
        let judge = |result: &ProbeResult| judge(result, version, probe);
        let request = HttpRequest::get(&probe.path);
        let wanted = Wanted { answers: REQUIRED_ANSWERS, ends_at_errors: checks.answered_before };
        let last = self.probe_until(port, &request, wanted, probe, judge).await;
        let last = last.map_err(|error| Unverified { error, request: Some(Box::new(request)) })?;
        if last == Verdict::Unauthorized {
            self.context.events.warn(format!(
                "GET {} requires credentials, so the answer does not name its release; set \
                 DEPLOYCTL_PROBE_AUTHORIZATION",
                probe.path
            ));
        }
        for check in checks.requests {
            let judge = |result: &ProbeResult| judge_check(result, check, version, probe);
            let request = check.http_request(version);
            let wanted = Wanted { answers: 1, ends_at_errors: false };
            let work = self.probe_until(port, &request, wanted, probe, judge);
            let done = self.context.events.step(&format!("check {}", check.name), work).await;
            done.map_err(|error| Unverified { error, request: Some(Box::new(request)) })?;
        }
        Ok(())
    }

    /// Sends the request until enough answers in a row are good. The new release may fail a few times; any
    /// other result may be due to the propagation, and is retried until the probe's timeout.
    async fn probe_until(
        &self,
        port: &impl StagePort,
        http_request: &HttpRequest,
        wanted: Wanted,
        probe: &Probe,
        judge: impl Fn(&ProbeResult) -> Verdict,
    ) -> Result<Verdict> {
        // The settings limit the timeout, so the fallback for an overflow is never used.
        let deadline = Instant::now()
            .checked_add(Duration::from_secs(probe.timeout_seconds))
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let mut answers = 0;
        let mut failures = 0;
        let mut errors = Errors::default();
        loop {
            let result = tokio::select! {
                result = port.send(http_request) => result,
                () = self.context.cancel.cancelled() => return Err(interrupted()),
            };
            let verdict = judge(&result);
            let answered = matches!(verdict, Verdict::Passed | Verdict::Unauthorized);
            answers = if answered { answers + 1 } else { 0 };
            if answers == wanted.answers {
                return Ok(verdict);
            }
            failures = if let Verdict::Failed(_) = verdict { failures + 1 } else { 0 };
            if failures == MAX_FAILURES {
                return Err(unverified(
                    ErrorId::ReleaseFails,
                    "the new release answers, but fails",
                    http_request,
                    &result,
                    verdict,
                    probe,
                ));
            }
            if wanted.ends_at_errors && errors.are_lasting(&result, probe) {
                let message = format!(
                    "callers get errors since the switch, and did not before; {} requests in a row failed",
                    errors.count
                );
                return Err(unverified(
                    ErrorId::ReleaseFails,
                    &message,
                    http_request,
                    &result,
                    verdict,
                    probe,
                ));
            }
            if Instant::now() >= deadline {
                let message = format!("the new release did not answer within {} s", probe.timeout_seconds);
                return Err(unverified(
                    ErrorId::ReleaseSilent,
                    &message,
                    http_request,
                    &result,
                    verdict,
                    probe,
                ));
            }
            if !answered {
                tokio::select! {
                    () = tokio::time::sleep(PROBE_INTERVAL) => {}
                    () = self.context.cancel.cancelled() => return Err(interrupted()),
                }
            }
        }
    }
}

/// When probing ends.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Good answers in a row.
    answers: u32,
    /// Whether lasting errors of no known release end it.
    ends_at_errors: bool,
}

/// Equal errors in a row whose answers name no release.
#[derive(Debug, Default)]
struct Errors {
    status: u16,
    count: u32,
    since: Option<Instant>,
}

impl Errors {
    /// Counts a result. Whether the errors have lasted longer than an effect of the propagation.
    fn are_lasting(&mut self, result: &ProbeResult, probe: &Probe) -> bool {
        let status = match result {
            ProbeResult::Answer(answer) if released_by(answer, probe).is_none() => answer.status,
            _ => 0,
        };
        if status < 500 {
            *self = Self::default();
            return false;
        }
        if status != self.status {
            *self = Self { status, count: 0, since: Some(Instant::now()) };
        }
        self.count += 1;
        self.count >= MAX_ERRORS && self.since.is_some_and(|since| since.elapsed() >= MIN_CRASHING)
    }
}

/// Requests of one reading while a canary is watched. They are few, because callers send the most.
const CANARY_PROBES: u32 = 5;

/// Failures of the new release during a step that end its canary.
const MAX_CANARY_FAILURES: u32 = 3;

/// What the probe has met during a step of a canary. The old and the new release answer it, each to its share.
#[derive(Debug, Default)]
pub(super) struct ProbeTally {
    /// Answers of the new release that are no failure.
    met: u32,
    failures: u32,
    /// Errors that name no release. A release that crashes cannot name itself.
    nameless: u32,
}

impl ProbeTally {
    /// Sends some probes. Returns what is wrong with the new release, if that is known.
    pub(super) async fn probe(
        &mut self,
        port: &impl StagePort,
        probe: &Probe,
        version: &Version,
        answered_before: bool,
    ) -> Option<String> {
        for _ in 0..CANARY_PROBES {
            let result = port.send(&HttpRequest::get(&probe.path)).await;
            let what = match judge(&result, version, probe) {
                Verdict::Passed | Verdict::Unauthorized => {
                    self.met += 1;
                    continue;
                }
                Verdict::Failed(why) => {
                    self.failures += 1;
                    format!("the new release answers GET {} with {why}", probe.path)
                }
                Verdict::Pending => match &result {
                    ProbeResult::Answer(answer)
                        if answer.status >= 500 && released_by(answer, probe).is_none() =>
                    {
                        self.nameless += 1;
                        format!("GET {} gives status {} since the canary", probe.path, answer.status)
                    }
                    _ => continue,
                },
            };
            let crashes = answered_before && self.met == 0 && self.nameless >= MAX_CANARY_FAILURES;
            if self.failures >= MAX_CANARY_FAILURES || crashes {
                return Some(what);
            }
        }
        None
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// API Gateway answers 401 itself and does not invoke the release, because the probe has no credentials.
    Unauthorized,
    /// The new release answers, but not as expected.
    Failed(String),
    /// Another release answers, or none: the switch may still propagate.
    Pending,
}

fn judge(result: &ProbeResult, version: &Version, probe: &Probe) -> Verdict {
    let ProbeResult::Answer(answer) = result else { return Verdict::Pending };
    let status = answer.status;
    match (&probe.release_header, released_by(answer, probe)) {
        (Some(_), Some(release)) if release != version.as_str() => Verdict::Pending,
        (Some(_), Some(_)) if status < 500 => Verdict::Passed,
        (Some(_), Some(_)) => Verdict::Failed(format!("status {status}")),
        (Some(_), None) if status == 401 => Verdict::Unauthorized,
        (None, _) if status < 500 => Verdict::Passed,
        _ => Verdict::Pending,
    }
}

fn judge_check(result: &ProbeResult, check: &Request, version: &Version, probe: &Probe) -> Verdict {
    let ProbeResult::Answer(answer) = result else { return Verdict::Pending };
    // During the propagation the old release may answer, too; that says nothing about the new one.
    if released_by(answer, probe).is_some_and(|release| release != version.as_str()) {
        return Verdict::Pending;
    }
    match check.judge(answer, version) {
        Ok(()) => Verdict::Passed,
        Err(why) => Verdict::Failed(why),
    }
}

fn released_by<'a>(answer: &'a Answer, probe: &Probe) -> Option<&'a str> {
    answer.header(probe.release_header.as_ref()?)
}

fn not_probed(version: &Version, requests: &[Request]) -> String {
    let skipped: Vec<&str> = requests.iter().map(|check| check.name.as_str()).collect();
    let skipped = match skipped.as_slice() {
        [] => String::new(),
        names => format!(", nor were the checks with `request`: {}", names.join(", ")),
    };
    format!(
        "release {version} was not probed (`probe = false`){skipped}; whether it answers over HTTP is unknown"
    )
}

fn unverified(
    id: ErrorId,
    message: &str,
    http_request: &HttpRequest,
    result: &ProbeResult,
    verdict: Verdict,
    probe: &Probe,
) -> Error {
    let last = match (result, verdict) {
        (ProbeResult::Unreachable(why), _) => why.clone(),
        (ProbeResult::Answer(answer), Verdict::Failed(why)) => {
            format!("{why}, from release {}", released_by(answer, probe).unwrap_or("unknown"))
        }
        (ProbeResult::Answer(answer), _) => {
            let release = released_by(answer, probe).unwrap_or("unknown");
            format!("status {} from release {release}", answer.status)
        }
    };
    Error::new(
        Kind::OldReleaseServes,
        id,
        format!("{message}: {} {} gave {last}", http_request.method, http_request.path),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_last_if_they_are_equal_name_no_release_and_take_a_second() {
        let probe = Probe { path: "/".into(), release_header: Some("X-Release".into()), timeout_seconds: 60 };
        let answer = |status, release: Option<&str>| {
            let headers = release.map(|release| ("x-release".to_owned(), release.to_owned()));
            ProbeResult::Answer(Answer { status, headers: headers.into_iter().collect(), body: Vec::new() })
        };
        let crash = || answer(502, None);
        let long_ago = Instant::now().checked_sub(MIN_CRASHING);
        for (results, expected) in [
            (vec![crash(), crash(), crash()], true),
            (vec![crash(), crash()], false),
            (vec![crash(), crash(), answer(500, None)], false),
            (vec![crash(), answer(502, Some("1")), crash(), crash()], false),
            (vec![crash(), answer(403, None), crash(), crash()], false),
            (vec![crash(), ProbeResult::Unreachable("timeout".into()), crash(), crash()], false),
        ] {
            let lasting = |since: Option<Instant>| {
                let mut errors = Errors::default();
                let judged = results.iter().map(|result| {
                    if errors.count > 0 {
                        errors.since = since;
                    }
                    errors.are_lasting(result, &probe)
                });
                judged.last().unwrap()
            };
            assert_eq!(lasting(long_ago), expected, "{results:?}");
            assert!(!lasting(Some(Instant::now())), "{results:?}");
        }
    }
}
