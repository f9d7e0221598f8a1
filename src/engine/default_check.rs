//! Invokes new versions before the switch, each once with a GET of its route. A version that fails stops the
//! release, unless the live version fails on the same event.

use futures::stream::{self, StreamExt};

use crate::engine::MAX_CONCURRENT;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::unless_interrupted;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::default_check::{Caller, Candidate, Trial, trials};
use crate::release::model::FunctionKey;

/// The most functions that a note names.
const MAX_NAMES: usize = 10;

/// The result of a trial.
enum Verdict {
    Passed,
    /// The new version fails, and so does the live one.
    FailsAsBefore(String),
    Failed(String),
    NotInvoked(Failure),
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Invokes the new versions that serve a GET, and names those that are not tried.
    ///
    /// # Errors
    /// `check.failed` with the failures of all versions; the old release serves.
    pub(super) async fn check_new_versions(
        &self,
        port: &impl StagePort,
        candidate: &Candidate<'_>,
    ) -> Result<()> {
        let checks = &self.context.checks;
        if !checks.default_check {
            return Ok(());
        }
        let caller = Caller { arn: &self.context.who.arn, now: crate::engine::ledger::now() };
        let trials = trials(candidate, &checks.invocations, &caller);
        if !trials.not_tried.is_empty() {
            self.context.events.note(format!(
                "not tried before the switch: {}; `[[checks]]` with `invoke` can test them",
                list(&trials.not_tried)
            ));
        }
        if trials.invoked.is_empty() {
            return Ok(());
        }
        let all = async {
            let verdicts = stream::iter(&trials.invoked)
                .map(|trial| async move { (trial, judge(port, trial).await) })
                .buffered(MAX_CONCURRENT)
                .collect::<Vec<_>>();
            let mut failed = Vec::new();
            for (trial, verdict) in verdicts.await {
                let Trial { name, version, path, .. } = trial;
                let tried = format!("{name}:{version}, invoked with GET {path}");
                match verdict {
                    Verdict::Passed => {}
                    Verdict::FailsAsBefore(why) => self.context.events.warn(format!(
                        "{tried}: {why}; the live version fails on the same event, so the release continues"
                    )),
                    Verdict::Failed(why) => failed.push(format!("{tried}: {why}")),
                    // The caller of an older version of deployctl may lack the permission.
                    Verdict::NotInvoked(failure) if failure.meaning == Meaning::Denied => {
                        self.context.events.warn(format!(
                            "{name}:{version} was not tried before the switch: {failure}; allow \
                             lambda:InvokeFunction, or set `default_check = false`"
                        ));
                    }
                    Verdict::NotInvoked(failure) => {
                        let message = format!("failed to invoke {name}:{version} before the switch");
                        return Err(not_switched(&message, failure));
                    }
                }
            }
            if failed.is_empty() { Ok(()) } else { Err(refused(&failed)) }
        };
        let all = unless_interrupted(&self.context.cancel, all);
        self.context.events.step("check new versions", all).await
    }
}

async fn judge(port: &impl StagePort, trial: &Trial) -> Verdict {
    let tried = match port.invoke_once(&trial.name, &trial.version, &trial.event, None).await {
        Ok(tried) => tried,
        Err(failure) => return Verdict::NotInvoked(failure),
    };
    let Some(mut why) = tried.invoked.failure() else { return Verdict::Passed };
    let live = match &trial.live {
        Some((name, version)) => port.invoke_once(name, version, &trial.event, None).await.ok(),
        None => None,
    };
    if live.is_some_and(|live| live.invoked.error.is_some()) {
        return Verdict::FailsAsBefore(why);
    }
    for line in &tried.log {
        why.push_str("\n    ");
        why.push_str(line);
    }
    Verdict::Failed(why)
}

fn refused(failed: &[String]) -> Error {
    let versions = if failed.len() == 1 { "a new version fails" } else { "new versions fail" };
    let message = format!("{versions} before the switch:\n  {}", failed.join("\n  "));
    Error::new(Kind::OldReleaseServes, ErrorId::CheckFailed, message).hint(
        "the old release serves, the new one was never live; correct the code, or test these functions with \
         `[[checks]]` of your own; `default_check = false` in deployctl.toml turns this check off",
    )
}

fn list(not_tried: &[(FunctionKey, &'static str)]) -> String {
    let mut names: Vec<String> =
        not_tried.iter().take(MAX_NAMES).map(|(key, why)| format!("{key} ({why})")).collect();
    if not_tried.len() > MAX_NAMES {
        names.push(format!("and {} others", not_tried.len() - MAX_NAMES));
    }
    names.join(", ")
}
