//! Checks over HTTP, after the switch, that the new release answers. Waits while the switch is still propagating.

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

/// Answers in a row that make a release verified: API Gateway's propagation is not everywhere at once.
const ANSWERS: u32 = 3;

/// Failures in a row, by the new release itself, that are not propagation any more.
const FAILURES: u32 = 5;

/// The time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// What must hold once the stage is switched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveChecks<'a> {
    /// How the release is recognised.
    pub(crate) probe: &'a Probe,
    /// What the project wants to see.
    pub(crate) requests: &'a [Request],
    /// What the stage remembers of the release before.
    pub(crate) caches: Caches,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Waits until the new release answers, over HTTP, several times in a row, and then makes the project's own
    /// checks, one after the other.
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
        let judge = |seen: &ProbeResult| judge(seen, version, probe);
        let last = self.ask_until(port, &HttpRequest::get(&probe.path), ANSWERS, probe, judge).await?;
        if last == Verdict::AsksWho {
            self.context.events.warn(format!(
                "GET {} asks for credentials, so it cannot be seen which release answered; give the probe some in \
                 DEPLOYCTL_PROBE_AUTHORIZATION",
                probe.path
            ));
        }
        for check in checks.requests {
            let judge = |seen: &ProbeResult| judge_check(seen, check, version, probe);
            let http_request = check.http_request(version);
            let work = self.ask_until(port, &http_request, 1, probe, judge);
            self.context.events.step(&format!("check {}", check.name), work).await?;
        }
        Ok(())
    }

    /// Asks until `enough` answers in a row are good. A failure of the new release itself counts after a few of them;
    /// anything else may still be spreading, and is waited for.
    async fn ask_until(
        &self,
        port: &impl StagePort,
        http_request: &HttpRequest,
        enough: u32,
        probe: &Probe,
        judge: impl Fn(&ProbeResult) -> Verdict,
    ) -> Result<Verdict> {
        // The settings bound the time; what a clock cannot add is as good as a day.
        let deadline = Instant::now()
            .checked_add(Duration::from_secs(probe.timeout_seconds))
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let mut answers = 0;
        let mut failures = 0;
        loop {
            let seen = tokio::select! {
                seen = port.send(http_request) => seen,
                () = self.context.cancel.cancelled() => return Err(interrupted()),
            };
            let verdict = judge(&seen);
            let answered = matches!(verdict, Verdict::Answers | Verdict::AsksWho);
            answers = if answered { answers + 1 } else { 0 };
            if answers == enough {
                return Ok(verdict);
            }
            failures = if let Verdict::Fails(_) = verdict { failures + 1 } else { 0 };
            if failures == FAILURES {
                return Err(unverified(
                    ErrorId::ReleaseFails,
                    "the new release answers, but fails",
                    http_request,
                    &seen,
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
                    &seen,
                    verdict,
                    probe,
                ));
            }
            if !answered {
                tokio::select! {
                    () = tokio::time::sleep(PROBE_EVERY) => {}
                    () = self.context.cancel.cancelled() => return Err(interrupted()),
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// The new release answers.
    Answers,
    /// API Gateway itself wants credentials before it asks the release: 401 is all that it returns then.
    AsksWho,
    /// The new release answers, but not as it should.
    Fails(String),
    /// Something else answers, or nothing: it may still be spreading.
    NotYet,
}

fn judge(seen: &ProbeResult, version: &Version, probe: &Probe) -> Verdict {
    let ProbeResult::Answer(answer) = seen else { return Verdict::NotYet };
    let status = answer.status;
    match (&probe.release_header, released_by(answer, probe)) {
        (Some(_), Some(found)) if found != version.as_str() => Verdict::NotYet,
        (Some(_), Some(_)) if status < 500 => Verdict::Answers,
        (Some(_), Some(_)) => Verdict::Fails(format!("status {status}")),
        (Some(_), None) if status == 401 => Verdict::AsksWho,
        (None, _) if status < 500 => Verdict::Answers,
        _ => Verdict::NotYet,
    }
}

fn judge_check(seen: &ProbeResult, check: &Request, version: &Version, probe: &Probe) -> Verdict {
    let ProbeResult::Answer(answer) = seen else { return Verdict::NotYet };
    // The old release may still answer here and there; what it says is no verdict on the new one.
    if released_by(answer, probe).is_some_and(|found| found != version.as_str()) {
        return Verdict::NotYet;
    }
    match check.judge(answer, version) {
        Ok(()) => Verdict::Answers,
        Err(why) => Verdict::Fails(why),
    }
}

fn released_by<'a>(answer: &'a Answer, probe: &Probe) -> Option<&'a str> {
    answer.header(probe.release_header.as_ref()?)
}

fn unverified(
    id: ErrorId,
    message: &str,
    http_request: &HttpRequest,
    seen: &ProbeResult,
    verdict: Verdict,
    probe: &Probe,
) -> Error {
    let last = match (seen, verdict) {
        (ProbeResult::Unreachable(why), _) => why.clone(),
        (ProbeResult::Answer(answer), Verdict::Fails(why)) => {
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
