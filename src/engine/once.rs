//! Invokes the functions of `[[prepare]]` once for a version and its code, before the checks of a release.
//!
//! An object in the artifact bucket says that a run was started, and how it ended. It is written on the condition
//! that no other command wrote it, so that of two commands one runs the function. If the end of a run was not
//! recorded, no later release runs the function again, unless it is asked to: the function may have done a part of its
//! work, and may still run.

use std::time::Duration;

use tokio::time::timeout;

use crate::engine::conditional::write_unless_changed;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::with_grace;
use crate::engine::lease::NOT_MOVED;
use crate::engine::ledger::{PREFIX, now};
use crate::engine::observe::{refused, unreadable};
use crate::engine::ports::{StagePort, Store, Stored, Tried};
use crate::engine::prepare::not_switched;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::once::{Preparation, Repeat, Run, RunState};
use crate::release::plan::{Plan, Refusal};
use crate::release::record::{FunctionRecord, Release};

/// How long to read the log of a run whose end is not known.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

const SERVES: &str = "the old release serves";

/// Checks that the functions are part of the release.
///
/// # Errors
/// `release.refused`.
pub(super) fn must_be_released(preparations: &[Preparation], plan: &Plan) -> Result<()> {
    let unknown = preparations.iter().find(|preparation| !plan.functions.contains_key(&preparation.function));
    match unknown {
        None => Ok(()),
        Some(Preparation { name, function, .. }) => {
            Err(refused(Refusal::UnknownPreparation { name: name.clone(), key: function.clone() }))
        }
    }
}

/// The object of a run.
struct Slot {
    key: String,
    /// `None` if it does not exist.
    etag: Option<String>,
    before: Option<Run>,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Runs what has not run for this version and code.
    ///
    /// # Errors
    /// `prepare.failed`, `prepare.unfinished`, `interrupted`; the old release serves.
    pub(super) async fn run_once(
        &self,
        port: &impl StagePort,
        release: &Release,
        repeat: Repeat,
    ) -> Result<()> {
        for preparation in &self.context.preparations {
            let run = self.run_preparation(port, preparation, release, repeat);
            self.context.events.step(&format!("prepare {}", preparation.name), Box::pin(run)).await?;
        }
        Ok(())
    }

    async fn run_preparation(
        &self,
        port: &impl StagePort,
        preparation: &Preparation,
        release: &Release,
        repeat: Repeat,
    ) -> Result<()> {
        let Preparation { name, function: key, .. } = preparation;
        let function =
            release.functions.get(key).ok_or_else(|| Error::bug(format!("{key} is not released")))?;
        let id = preparation.id(&release.version, function);
        let slot = self.slot(&id).await?;
        let events = &self.context.events;
        match (repeat, &slot.before) {
            (Repeat::Skip, _) => {
                events.note(format!("prepare {name:?} was not run, as --prepare skip says"));
                return Ok(());
            }
            (Repeat::Once, Some(Run { state: RunState::Succeeded, started, .. })) => {
                events.note(format!(
                    "prepare {name:?} ran for this version and code at {started}, and was not run again"
                ));
                return Ok(());
            }
            (Repeat::Once, Some(run @ Run { state: RunState::Started, .. })) => {
                return Err(self.unfinished(port, run, None).await);
            }
            (Repeat::Once | Repeat::Again, _) => {}
        }
        let by = (now(), &self.context.who);
        let run = Run::next((name, &id), &release.version, function, slot.before.as_ref(), by);
        self.invoke_preparation(port, preparation, function, (run, slot)).await
    }

    /// Records the start, invokes the function, and records the end.
    async fn invoke_preparation(
        &self,
        port: &impl StagePort,
        preparation: &Preparation,
        function: &FunctionRecord,
        (run, slot): (Run, Slot),
    ) -> Result<()> {
        let cancel = &self.context.cancel;
        if cancel.is_cancelled() {
            return Err(crate::engine::interrupt::interrupted());
        }
        self.lease.must_be_current().await.map_err(|unconfirmed| unconfirmed.into_error(NOT_MOVED))?;
        let etag = self.write_run(&slot.key, &run, slot.etag.as_deref()).await?;
        let payload = preparation.payload(&self.context.stage, &run);
        let invoke = port.invoke_once(&function.name, &function.version, &payload, Some(preparation.timeout));
        let Some(tried) = with_grace(cancel, invoke).await else { return Err(interrupted(&run)) };
        let (reason, error) = match tried {
            Ok(Tried { invoked, log }) => match invoked.failure() {
                None => (None, None),
                Some(reason) => (Some(reason.clone()), Some(failed(&run, &reason, &log))),
            },
            Err(failure) if may_have_run(&failure) => {
                return Err(self.unfinished(port, &run, Some(failure)).await);
            }
            Err(failure) => {
                let message = format!("failed to run prepare {:?}", run.name);
                (Some(failure.to_string()), Some(not_switched(&message, failure)))
            }
        };
        let ended = run.ended(now(), reason);
        if let Err(unwritten) = self.write_run(&slot.key, &ended, Some(&etag)).await {
            self.context.events.warn(format!(
                "the end of prepare {:?} was not recorded ({unwritten}); another release of this version and code \
                 stops there",
                run.name
            ));
        }
        error.map_or(Ok(()), Err)
    }

    async fn slot(&self, id: &str) -> Result<Slot> {
        let key = format!("{PREFIX}{}/prepared/{id}.json", self.context.stage);
        let read = self.store.read(&key).await;
        let stored = read.map_err(|failure| unreadable("what was prepared", failure))?;
        let Some(Stored { body, etag, .. }) = stored else {
            return Ok(Slot { key, etag: None, before: None });
        };
        let before = serde_json::from_slice(&body).map_err(|error| {
            let message = format!("failed to read what was prepared, s3://{}/{key}", self.store.name());
            Error::new(Kind::OldReleaseServes, ErrorId::LedgerDamaged, message).because(error).hint(format!(
                "{SERVES}; delete the object, and the next release runs the function again, or use --prepare skip"
            ))
        })?;
        Ok(Slot { key, etag: Some(etag), before: Some(before) })
    }

    /// Writes the object of a run on the condition that it is as it was read. Returns its ETag.
    async fn write_run(&self, key: &str, run: &Run, etag: Option<&str>) -> Result<String> {
        let body = serde_json::to_vec(run).map_err(|error| Error::bug(error.to_string()))?;
        let written = write_unless_changed(&self.store, key, &body, etag).await;
        let written = written
            .map_err(|failure| not_switched(&format!("failed to record prepare {:?}", run.name), failure))?;
        if let Some(etag) = written {
            return Ok(etag);
        }
        let message = format!("failed to record prepare {:?}: another command has written it", run.name);
        Err(Error::new(Kind::OldReleaseServes, ErrorId::PrepareUnfinished, message)
            .hint(format!("{SERVES}, and this command did not run the function; run the command again")))
    }

    /// The error of a run whose end is not known, with what the function has logged since its start.
    async fn unfinished(&self, port: &impl StagePort, run: &Run, failure: Option<Failure>) -> Error {
        let mut message = run.unfinished();
        let log = port.log(&run.function, &run.version, run.started);
        if let Ok(Ok(lines)) = timeout(LOG_TIMEOUT, log).await
            && !lines.is_empty()
        {
            message.push_str(&format!("\n  its log ends with\n    {}", lines.join("\n    ")));
        }
        let error = Error::new(Kind::OldReleaseServes, ErrorId::PrepareUnfinished, message).hint(format!(
            "{SERVES}; the function may still run. Once it has ended: `--prepare again` invokes it with the same \
             idempotency key, if a second run does no harm; `--prepare skip` releases without it, if its work is done"
        ));
        match failure {
            Some(failure) => error.because(failure),
            None => error,
        }
    }
}

/// Whether the function may have run although the invocation failed.
fn may_have_run(failure: &Failure) -> bool {
    matches!(failure.meaning, Meaning::Unknown | Meaning::Unreachable)
}

fn failed(run: &Run, reason: &str, log: &[String]) -> Error {
    let Run { name, function, version, .. } = run;
    let mut message = format!("prepare {name:?} failed ({function}:{version}): {reason}");
    for line in log {
        message.push_str("\n    ");
        message.push_str(line);
    }
    Error::new(Kind::OldReleaseServes, ErrorId::PrepareFailed, message).hint(format!(
        "{SERVES}; what the function has changed stays changed; correct the cause and release again: the same version \
         and code runs it again with the same idempotency key"
    ))
}

fn interrupted(run: &Run) -> Error {
    let message =
        format!("interrupted while prepare {:?} ran; the stage serves what it served before", run.name);
    Error::new(Kind::Interrupted, ErrorId::Interrupted, message).hint(
        "the function may still run; the next release of this version and code says what is known of it",
    )
}
