//! Verifies a release over HTTP after the switch. It waits while the switch still propagates, and fails early
//! when the new release itself fails.

use std::time::Duration;

use tokio::time::Instant;

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

/// The time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The checks of the stage after the switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveChecks<'a> {
    /// How the release is recognised.
    pub(crate) probe: &'a Probe,
    /// The project's own checks.
    pub(crate) requests: &'a [Request],
    /// The caches that may still hold answers of the previous release.
    pub(crate) caches: Caches,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Waits until the new release answers several times in a row, and then runs the project's own checks,
    /// one after the other.
    pub(super) async fn verify(
        &self,
        port: &impl StagePort,
        version: &Version,
        checks: &LiveChecks<'_>,
    ) -> Result<()> {
        let flush = async {
            self.flush(port, checks.caches).await;
            Ok(())
        };
        unless_interrupted(&self.context.cancel, flush).await?;
        let probe = checks.probe;
        let judge = |result: &ProbeResult| judge(result, version, probe);
        let last =
            self.probe_until(port, &HttpRequest::get(&probe.path), REQUIRED_ANSWERS, probe, judge).await?;
        if last == Verdict::Unauthorized {
            self.context.events.warn(format!(
                "GET {} requires credentials, so the answer does not name its release; set \
                 DEPLOYCTL_PROBE_AUTHORIZATION",
                probe.path
            ));
        }
        for check in checks.requests {
            let judge = |result: &ProbeResult| judge_check(result, check, version, probe);
            let http_request = check.http_request(version);
            let work = self.probe_until(port, &http_request, 1, probe, judge);
            self.context.events.step(&format!("check {}", check.name), work).await?;
        }
        Ok(())
    }

    /// Sends the request until `required` answers in a row are good. The new release may fail a few times;
    /// any other result may be due to the propagation, and is retried until the probe's timeout.
    async fn probe_until(
        &self,
        port: &impl StagePort,
        http_request: &HttpRequest,
        required: u32,
        probe: &Probe,
        judge: impl Fn(&ProbeResult) -> Verdict,
    ) -> Result<Verdict> {
        // The settings limit the timeout, so the fallback for an overflow is never used.
        let deadline = Instant::now()
            .checked_add(Duration::from_secs(probe.timeout_seconds))
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let mut answers = 0;
        let mut failures = 0;
        loop {
            let result = tokio::select! {
                result = port.send(http_request) => result,
                () = self.context.cancel.cancelled() => return Err(interrupted()),
            };
            let verdict = judge(&result);
            let answered = matches!(verdict, Verdict::Passed | Verdict::Unauthorized);
            answers = if answered { answers + 1 } else { 0 };
            if answers == required {
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
