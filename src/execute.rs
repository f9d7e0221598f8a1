//! The only place that changes a stage: prepare, switch, verify, record; and back if it must be.
//!
//! Prepare steps move no traffic and may be repeated (I3, I4). The switch is one call, made only after the
//! lease has taken down what it is about to make true. What follows it either ends in a record or in the same
//! call with the old values.

mod switch;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use tokio_util::sync::CancellationToken;

pub use self::verify::LiveChecks;
use crate::artifact::Sha256;
use crate::aws::failure::{Failure, Meaning};
use crate::error::{Error, Kind, Result};
use crate::event::{Events, FunctionPhase};
use crate::lease::{Lease, Left};
use crate::ledger::{Head, Ledger};
use crate::release::check::Invocation;
use crate::release::definition::Definition;
use crate::release::model::{DeploymentId, FunctionKey, Pointer, Version};
use crate::release::note::Note;
use crate::release::plan::{Observed, Plan, Step, Work};
use crate::release::record::{FunctionRecord, Outcome, Record};
use crate::world::{FunctionState, Published, Store, World};

/// Functions under way at once. The account's rate is kept by the pace, not by this.
const AT_ONCE: usize = 16;

/// What the prepare steps have made: everything of a release that is not live yet.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The published versions.
    pub functions: BTreeMap<FunctionKey, FunctionRecord>,
    /// The snapshot of the API.
    pub snapshot: Snapshot,
}

/// A deployment of the API, and what it froze.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The deployment.
    pub id: DeploymentId,
    /// The fingerprint of the definition.
    pub fingerprint: Sha256,
    /// The definition.
    pub definition: Definition,
}

/// A stage that this command holds the lease of.
#[derive(Debug)]
pub struct Engine<'a, W, S> {
    /// Functions and API.
    pub world: &'a W,
    /// What was done.
    pub ledger: &'a Ledger<S>,
    /// The right to change it.
    pub lease: &'a Lease<S>,
    /// Who is told.
    pub events: &'a Events,
    /// Whether to stop.
    pub cancel: &'a CancellationToken,
}

impl<W: World, S: Store + Clone> Engine<'_, W, S> {
    /// Completes what a predecessor left that was killed or lost the stage between its switch and its record: if the
    /// stage shows its intent, or it was being moved back, the record is written now (I6). Returns where the ledger
    /// ends then.
    ///
    /// # Errors
    /// When stage or ledger cannot be read or written.
    pub async fn recover_interrupted(&self, left: Left) -> Result<Head> {
        let Left { intent, head } = left;
        let Some(mut intent) = intent else {
            let head = match head {
                Some(head) => return Ok(head),
                None => self.ledger.head().await?,
            };
            self.lease.settled(head.clone()).await;
            return Ok(head);
        };
        let stage = async {
            self.world.stage().await.map_err(|failure| not_switched("the stage cannot be read", failure))
        };
        let (stage, mut head) = try_join!(stage, self.ledger.head())?;
        let version = intent.release.version.clone();
        // Also where it was to be moved back: what the stage shows is what callers get.
        let found = if stage.pointer == intent.pointer {
            Some((Outcome::Live, "after it had moved the stage to"))
        } else if intent.outcome != Outcome::SwitchedBack {
            None
        } else if stage.pointer == intent.before.pointer {
            Some((Outcome::SwitchedBack, "while it moved the stage back from"))
        } else {
            Some((Outcome::Superseded, "while it moved the stage back from"))
        };
        match found {
            // Killed between its record and the stage's return.
            _ if self.ledger.has(&intent, head.last).await? => {}
            Some((outcome, when)) => {
                self.events
                    .note(format!("an earlier command was interrupted {when} {version}; recording it now"));
                intent.outcome = outcome;
                intent.recovered = true;
                self.ledger.append(&mut intent, head.last).await?;
                head = head.after(&intent);
            }
            None => self.events.note(format!(
                "an earlier command was interrupted before it moved the stage to {version}; nothing of it is live"
            )),
        }
        self.lease.settled(head.clone()).await;
        Ok(head)
    }

    /// Makes everything of the release that moves no traffic: functions and API snapshot side by side.
    ///
    /// # Errors
    /// The old release serves; what was prepared stays, unseen, and is used again by the next attempt.
    pub async fn prepare(&self, plan: &Plan, observed: &Observed) -> Result<Prepared> {
        let functions = stream::iter(&plan.functions)
            .map(|(key, step)| async move {
                let state = observed
                    .functions
                    .get(key)
                    .ok_or_else(|| Error::bug(format!("{key} was not observed")))?;
                let published = self.bring(key, step, state).await?;
                let record = FunctionRecord {
                    name: step.target.name.clone(),
                    artifact: step.target.artifact.clone(),
                    version: published.version,
                    code_sha256: published.code_sha256,
                    config_sha256: state.config_sha256,
                };
                Ok((key.clone(), record))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<BTreeMap<_, _>>();
        let work = async { try_join!(functions, self.snapshot(&plan.version)) };
        let (functions, snapshot) = unless_interrupted(self.cancel, work).await?;
        Ok(Prepared { functions, snapshot })
    }

    /// Brings one function to its published version, and tells how far it is.
    async fn bring(&self, key: &FunctionKey, step: &Step, state: &FunctionState) -> Result<Published> {
        let work = match &step.work {
            Work::Keep(_) => return self.publish(key, step, state).await,
            Work::Publish { .. } => FunctionPhase::Publishing,
            Work::Update { .. } => FunctionPhase::Updating,
        };
        self.events.function(key.as_str(), work);
        let brought = self.publish(key, step, state).await;
        let version = brought.as_ref().map(|published| published.version.to_string());
        let end = version.as_ref().map_or(FunctionPhase::Failed, |version| FunctionPhase::Done(version));
        self.events.function(key.as_str(), end);
        brought
    }

    async fn publish(&self, key: &FunctionKey, step: &Step, state: &FunctionState) -> Result<Published> {
        let name = &step.target.name;
        let failed = |failure: Failure| {
            let message = format!("function {name} cannot be brought to the new release");
            not_switched(&message, failure)
        };
        let published = match &step.work {
            Work::Keep(version) => {
                let code_sha256 = state.code_sha256.clone();
                return Ok(Published { version: version.clone(), code_sha256 });
            }
            Work::Publish { revision } => {
                match self.world.publish(name, &state.code_sha256, Some(revision)).await {
                    Err(failure) if failure.may_have_happened() => {
                        // Publishing moves the revision, so after a lost answer a repetition meets another one.
                        let now = self.world.function(name).await.map_err(failed)?;
                        let same = (&now.code_sha256, now.config_sha256);
                        if same != (&state.code_sha256, state.config_sha256) {
                            return Err(failed(failure));
                        }
                        self.world
                            .publish(name, &now.code_sha256, Some(&now.revision))
                            .await
                            .map_err(failed)?
                    }
                    answer => answer.map_err(failed)?,
                }
            }
            Work::Update { code, revision } => {
                let wanted = code.sha256.base64();
                self.lease.sent(name, &wanted).await;
                let published = match self.world.update_code(name, code, revision).await {
                    Err(failure) if failure.may_have_happened() => {
                        // The answer may have been lost, and a repetition then meets another revision.
                        let now = self.world.function(name).await.map_err(failed)?;
                        if now.code_sha256 != wanted {
                            return Err(failed(failure));
                        }
                        self.world.publish(name, &wanted, None).await.map_err(failed)?
                    }
                    answer => answer.map_err(failed)?,
                };
                if published.code_sha256 != wanted {
                    let message =
                        format!("it has CodeSha256 {} where {wanted} was sent", published.code_sha256);
                    return Err(failed(Failure::rejected("UpdateFunctionCode", name.as_str(), message)));
                }
                published
            }
        };
        self.events.function(key.as_str(), FunctionPhase::Waiting);
        self.world.wait_active(name, &published.version).await.map_err(failed)?;
        Ok(published)
    }

    /// Takes a snapshot of the API whose fingerprint is known: an edit while it is taken is noticed, and the
    /// snapshot taken again.
    ///
    /// # Errors
    /// `api.empty`, `api.moving`, or AWS's refusal. The old release serves.
    pub async fn snapshot(&self, version: &Version) -> Result<Snapshot> {
        let failed = |failure| not_switched("the API cannot be deployed", failure);
        let mut definition = self.world.definition().await.map_err(failed)?;
        for _ in 0..3 {
            if !definition.has_routes() {
                return Err(Error::new(
                    Kind::OldReleaseServes,
                    "api.empty",
                    "the API has no methods, so there is nothing to deploy",
                )
                .hint("nothing that runs was changed; add a method with an integration in Terraform"));
            }
            let fingerprint = self.ledger.keep_definition(&definition).await?;
            let note = Note { version: version.clone(), fingerprint, nonce: nonce() };
            let id = self.deploy(&note.to_string()).await.map_err(failed)?;
            let after = self.world.definition().await.map_err(failed)?;
            if after.fingerprint() == fingerprint {
                return Ok(Snapshot { id, fingerprint, definition });
            }
            let changes = definition.changes(&after).join("\n  ");
            self.events.warn(format!(
                "the API was edited while it was being deployed; deploying again:\n  {changes}"
            ));
            definition = after;
        }
        Err(Error::new(
            Kind::OldReleaseServes,
            "api.moving",
            "the API kept changing while it was being deployed",
        )
        .hint("nothing that runs was changed; find out who edits it, and run the command again"))
    }

    /// CreateDeployment has no idempotency token: after a lost answer its own note is looked for.
    async fn deploy(&self, note: &str) -> std::result::Result<DeploymentId, Failure> {
        match self.world.create_deployment(note).await {
            Err(failure) if failure.may_have_happened() => {
                let found =
                    self.world.deployments().await?.into_iter().find(|there| there.description == note);
                found.map(|deployment| deployment.id).ok_or(failure)
            }
            answer => answer,
        }
    }

    /// Invokes the new versions before anybody else does. Nothing that runs is touched.
    ///
    /// # Errors
    /// `check.failed` with what was expected and what came; the old release serves.
    pub async fn try_out(
        &self,
        functions: &BTreeMap<FunctionKey, FunctionRecord>,
        version: &Version,
        invocations: &[Invocation],
    ) -> Result<()> {
        for check in invocations {
            let function = functions.get(&check.function).ok_or_else(|| {
                Error::bug(format!(
                    "check {:?} is about {}, which is not released",
                    check.name, check.function
                ))
            })?;
            let invoke = async {
                let invoked = self
                    .world
                    .invoke(&function.name, &function.version, &check.payload(version))
                    .await
                    .map_err(|failure| {
                        not_switched(&format!("check {:?} cannot be made", check.name), failure)
                    })?;
                check.judge(&invoked, version).map_err(|why| {
                    let Invocation { name, .. } = check;
                    let FunctionRecord { name: function, version: number, .. } = function;
                    let message = format!("check {name:?} of {function}:{number} failed: {why}");
                    Error::new(Kind::OldReleaseServes, "check.failed", message).hint(
                        "the old release serves, the new one was never live; the function's log may tell why",
                    )
                })
            };
            let work = unless_interrupted(self.cancel, invoke);
            self.events.step(&format!("check {}", check.name), work).await?;
        }
        Ok(())
    }

    /// Writes down what is about to become true, and then makes it so: [`Engine::switch_over`].
    ///
    /// # Errors
    /// As [`Engine::switch_over`], and `lease.lost`.
    pub async fn go_live(&self, mut record: Record, head: Head, checks: &LiveChecks<'_>) -> Result<Record> {
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        record.number = head.next()?;
        // Should this command be killed, its successor writes the record as it stands here.
        record.steps = self.events.times();
        self.events.step("intent", self.lease.intend(&record)).await?;
        self.switch_over(record, head, checks).await
    }
}

/// Does `work`, and gives it up at Ctrl-C.
///
/// # Errors
/// Those of `work`, and `interrupted`.
pub async fn unless_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(interrupted()),
    }
}

/// How long a call that may change something is waited for after Ctrl-C. GitHub ends a job 7.5 s after it.
const GRACE: Duration = Duration::from_secs(3);

/// Waits for `work`, and after Ctrl-C only a little longer; `None` when it has not ended by then.
pub async fn with_grace<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return Some(done),
        () = cancel.cancelled() => {}
    }
    tokio::time::timeout(GRACE, work).await.ok()
}

/// A string that no other call has: time, process, and a count.
pub fn nonce() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = crate::lease::Process::current();
    let text = format!(
        "{} {} {} {}",
        jiff::Timestamp::now().as_nanosecond(),
        process.machine,
        process.pid,
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    Sha256::of(text.as_bytes()).short()
}

fn shown(pointer: &Pointer) -> String {
    match pointer.release() {
        Some(version) => format!("release {version}"),
        None => format!("deployment {}", pointer.deployment_id),
    }
}

/// The error of a command that was told to stop before its switch, or has undone it.
pub fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted", "interrupted; the stage serves what it served before")
        .hint("run the command again: what was prepared is used again")
}

fn not_switched(message: &str, failure: Failure) -> Error {
    let hint = match failure.meaning {
        Meaning::Denied => {
            "the old release serves; the caller lacks a permission: AWS's answer above names it"
        }
        Meaning::Precondition => {
            "the old release serves; somebody else changed it meanwhile, so run the command again"
        }
        _ => "the old release serves; run the command again: what was prepared is used again",
    };
    Error::new(Kind::OldReleaseServes, switch::NOT_SWITCHED, message).because(failure).hint(hint)
}
