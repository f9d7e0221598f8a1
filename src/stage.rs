//! A stage that a command may change, and the three ways to move it: a release, a new deployment of the API,
//! and a way back. Whoever holds a stage has its lease, and knows what the last holder left behind.

mod gone;
pub mod prune;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{join, try_join};
use tokio_util::sync::CancellationToken;

use crate::artifact::Sha256;
use crate::aws::failure::{Failure, Meaning};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::execute::{Engine, LiveChecks, Snapshot, interrupted, nonce, unless_interrupted, with_grace};
use crate::lease::{Holder, Lease, Left, Unconfirmed, describe, lost};
use crate::ledger::{Head, Ledger};
use crate::release::check::{Checks, Request};
use crate::release::definition::{AUTHORIZER_TTL_SECONDS, Definition};
use crate::release::model::{FunctionKey, Pointer, StageName, Version};
use crate::release::note::Note;
use crate::release::plan::{self, Desired, Observed, Plan};
use crate::release::record::{Action, ApiRecord, Before, Git, Outcome, Record, Release, SCHEMA, Who};
use crate::settings::Probe;
use crate::world::{Caches, FunctionState, StageState, Store, World};

/// How often a lease that somebody else holds is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who changes which stage, and how it is told.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The stage.
    pub stage: StageName,
    /// Who acts.
    pub who: Who,
    /// How a release is recognised from outside.
    pub probe: Probe,
    /// What a new release must show before and after the switch.
    pub checks: Checks,
    /// Who is told.
    pub events: Events,
    /// Whether to stop.
    pub cancel: CancellationToken,
    /// How long a lease that somebody else holds is waited for.
    pub wait: Option<Duration>,
    /// What tells how old this command's own lease is.
    pub clock: Clock,
}

/// A stage whose lease this command holds.
#[derive(Debug)]
pub struct Held<'a, S> {
    actor: &'a Actor,
    /// Zips and ledger.
    pub store: S,
    /// What was done to the stage.
    pub ledger: Ledger<S>,
    lease: Lease<S>,
    /// What the last holder left.
    left: Left,
}

/// What is released beside the functions and their code: where it came from, and where it goes.
#[derive(Debug, Clone)]
pub struct Origin<'a> {
    /// The source, where that was a git repository.
    pub git: Option<Git>,
    /// The stage whose bytes these are, in a promotion.
    pub promoted_from: Option<StageName>,
    /// The REST API and its stage.
    pub api: (&'a str, &'a str),
}

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, PartialEq)]
pub enum Freshness {
    /// It does; the definition's fingerprint.
    Fresh(Sha256),
    /// The API has changed since: what its deployment was made from, and how it changed, as far as the frozen
    /// definition is still there.
    Stale(Sha256, Vec<String>),
    /// deployctl did not make the deployment.
    Unknown,
}

impl<'a, S: Store + Clone> Held<'a, S> {
    /// Takes the lease of the actor's stage for `command`.
    ///
    /// # Errors
    /// `lease.held`, exit code 75, with the holder.
    pub async fn take(actor: &'a Actor, store: S, command: String) -> Result<Self> {
        let holder = Holder::new(nonce(), actor.who.clone(), command);
        Self::take_as(actor, store, holder).await
    }

    async fn take_as(actor: &'a Actor, store: S, holder: Holder) -> Result<Self> {
        let acquire = Self::wait_for(actor, &store, &holder);
        let (lease, left) = actor.events.step("lease", acquire).await?;
        Ok(Self::new(actor, store, lease, left))
    }

    /// Takes the lease, waiting for its holder as long as the actor wants to.
    async fn wait_for(actor: &Actor, store: &S, holder: &Holder) -> Result<(Lease<S>, Left)> {
        let begun = actor.clock.now();
        let mut told = false;
        loop {
            if actor.cancel.is_cancelled() {
                return Err(interrupted());
            }
            let acquire = Lease::acquire(store.clone(), &actor.stage, holder, &actor.clock);
            let error = match with_grace(&actor.cancel, acquire).await {
                Some(Err(error)) if error.kind == Kind::Held => error,
                answer => return answer.unwrap_or_else(|| Err(interrupted())),
            };
            let waited = actor.clock.now().saturating_sub(begun);
            let Some(left) = actor.wait.and_then(|wait| wait.checked_sub(waited)) else { return Err(error) };
            if !told {
                actor.events.note(format!("{error}; waiting for it, at most {} s more", left.as_secs()));
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
                () = actor.cancel.cancelled() => {}
            }
        }
    }

    fn new(actor: &'a Actor, store: S, lease: Lease<S>, left: Left) -> Self {
        let ledger = Ledger::new(store.clone(), actor.stage.clone());
        Self { actor, store, ledger, lease, left }
    }

    /// Does `work` under the lease, and gives the lease back however it ends.
    ///
    /// # Errors
    /// What `work` returns; `lease.lost` where it went well, but another command has taken the stage over meanwhile,
    /// so that what `work` tells need not be what callers get.
    pub async fn during<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let result: Result<T> = self.lease.keep(Box::pin(work(&self))).await;
        match (self.lease.release().await, result) {
            (Ok(()), result) => result,
            (Err(Unconfirmed::Lost), Err(error)) if matches!(error.kind, Kind::Held | Kind::Stuck) => {
                Err(error)
            }
            (Err(Unconfirmed::Lost), result) => {
                let error = lost(&successor(&self.store, &self.actor.stage).await);
                Err(match result {
                    Ok(_) => error,
                    Err(why) => error.because(why),
                })
            }
            (Err(Unconfirmed::Unreachable(error)), result) => {
                let text = format!("the lease could not be given back and runs out by itself: {error}");
                self.actor.events.warn(text);
                result
            }
        }
    }

    fn engine<'b, W: World>(&'b self, world: &'b W) -> Engine<'b, W, S> {
        let Actor { events, cancel, .. } = self.actor;
        Engine { world, ledger: &self.ledger, lease: &self.lease, events, cancel }
    }

    /// Completes what was left behind, and reads where the ledger ends.
    ///
    /// # Errors
    /// When the ledger is damaged, or cannot be read.
    pub async fn head(&self, world: &impl World) -> Result<Head> {
        let engine = self.engine(world);
        unless_interrupted(&self.actor.cancel, engine.recover_interrupted(self.left.clone())).await
    }

    /// The head, if it tells how the stage came to where it is; else what the whole ledger tells of that. Somebody who
    /// stalled and lost the stage may have moved it after the lease was written, and so may a person.
    async fn head_of(&self, head: Head, stage: &StageState) -> Result<Head> {
        if head.current.is_none() || head.explains(&stage.pointer) {
            return Ok(head);
        }
        let head = self.ledger.head_at(&stage.pointer).await?;
        self.lease.settled(head.clone()).await;
        Ok(head)
    }

    /// Releases `desired`, whose zips are in the store: observe, plan, prepare, try out, switch, verify, record.
    ///
    /// # Errors
    /// `release.refused` before anything is changed, and as [`Engine::prepare`], [`Engine::try_out`] and
    /// [`Engine::go_live`].
    pub async fn release<W: World>(&self, world: &W, desired: Desired, origin: Origin<'_>) -> Result<Record> {
        let Actor { events, checks, .. } = self.actor;
        plan::check(&desired).map_err(refused)?;
        plan::check_invocations(&desired, &checks.invocations).map_err(refused)?;
        let observe = unless_interrupted(&self.actor.cancel, async {
            let (head, functions, stage) =
                try_join!(self.head(world), functions(world, &desired), stage(world))?;
            Ok((self.head_of(head, &stage).await?, functions, stage))
        });
        let (head, functions, stage) = events.step("observe", observe).await?;
        let observed = Observed { functions, stage, current: head.current.clone() };
        let plan: Plan = plan::plan(&desired, &observed).map_err(refused)?;
        events.note(format!("plan:\n{plan}"));

        let engine = self.engine(world);
        let prepared = events.step("prepare", engine.prepare(&plan, &observed)).await?;
        let Snapshot { id: deployment_id, fingerprint, definition } = prepared.snapshot;
        let try_out = engine.try_out(&prepared.functions, &plan.version, &checks.invocations);
        let (tried_out, ()) =
            join!(try_out, self.tell_changes(head.current.as_ref(), &definition, &fingerprint));
        tried_out?;
        let (api, api_stage) = origin.api;
        let action = if origin.promoted_from.is_some() { Action::Promote } else { Action::Release };
        let release = Release {
            version: desired.version,
            git: origin.git,
            promoted_from: origin.promoted_from,
            artifacts: desired.artifacts.into_iter().map(|(name, zip)| (name, zip.record)).collect(),
            functions: prepared.functions,
            api: ApiRecord {
                id: api.to_owned(),
                stage: api_stage.to_owned(),
                deployment_id,
                fingerprint,
                authorizer_cache_seconds: Some(definition.authorizer_cache_seconds()),
            },
        };
        self.go_live(world, action, release, head).await
    }

    /// Tells how the API that goes live differs from the one before it, where that is still known. A release does not
    /// depend on it.
    async fn tell_changes(&self, current: Option<&Record>, now: &Definition, fingerprint: &Sha256) {
        let Some(before) = current.map(|record| &record.release.api.fingerprint) else { return };
        if before == fingerprint {
            return;
        }
        if let Ok(Some(before)) = self.ledger.definition(before).await {
            self.actor.events.emit(&Event::ApiChanged { changes: &before.changes(now) });
        }
    }

    /// Makes a new deployment of the API live under the functions that are live. With `if_stale`, a fresh stage
    /// is left alone; `None` is returned then.
    ///
    /// # Errors
    /// `stage.empty`, and as [`Engine::snapshot`] and [`Engine::go_live`].
    pub async fn redeploy<W: World>(
        &self,
        world: &W,
        if_stale: bool,
    ) -> Result<(Record, Option<Vec<String>>)> {
        let observe = unless_interrupted(&self.actor.cancel, async {
            let (head, stage, live) = try_join!(self.head(world), stage(world), definition(world))?;
            let head = self.head_of(head, &stage).await?;
            let current = head.current.clone().ok_or_else(|| empty(&self.actor.stage))?;
            let freshness = freshness(world, &self.ledger, &stage, Some(&current), &live).await?;
            Ok((head, current, freshness))
        });
        let (head, current, freshness) = observe.await?;
        let changes = match freshness {
            Freshness::Fresh(_) if if_stale => return Ok((current, None)),
            Freshness::Stale(_, changes) => changes,
            Freshness::Fresh(_) | Freshness::Unknown => Vec::new(),
        };
        let mut release = current.release;
        let engine = self.engine(world);
        let snapshot = unless_interrupted(&self.actor.cancel, engine.snapshot(&release.version));
        let snapshot = self.actor.events.step("deploy API", snapshot).await?;
        release.api.deployment_id = snapshot.id;
        release.api.fingerprint = snapshot.fingerprint;
        release.api.authorizer_cache_seconds = Some(snapshot.definition.authorizer_cache_seconds());
        let record = self.go_live(world, Action::Redeploy, release, head).await?;
        Ok((record, Some(changes)))
    }

    /// Moves the stage back: to what served before, or to the newest release of version `to`.
    ///
    /// A way back is taken in a hurry, so the usual one needs few round trips: where the lease tells what served
    /// before, the target is checked while the lease is taken, and the write that takes it holds the intent already.
    ///
    /// # Errors
    /// `rollback.no_target`, `rollback.unknown_version`, `rollback.gone`, and as [`Engine::go_live`].
    pub async fn rollback<W: World>(
        actor: &'a Actor,
        store: S,
        world: &W,
        to: Option<&Version>,
    ) -> Result<Record> {
        let holder = Holder::new(nonce(), actor.who.clone(), "rollback".to_owned());
        let look = unless_interrupted(&actor.cancel, async {
            try_join!(Lease::peek(&store, &actor.stage), stage(world))
        });
        let (found, now) = actor.events.step("observe", look).await?;
        let head =
            found.slip.as_ref().and_then(|slip| slip.head()).filter(|head| head.explains(&now.pointer));
        let head = head.filter(|_| to.is_none()).cloned();
        if let Some((target, head)) =
            head.and_then(|head| Some((head.rollback_target()?.release.clone(), head)))
        {
            let mut record = record(actor, Action::Rollback, target, &head, &now)?;
            record.number = head.next()?;
            let as_holder = (&holder, &actor.clock);
            let acquire =
                Lease::acquire_intending(store.clone(), &actor.stage, &found, as_holder, record.clone());
            // Both to their ends: a lease that was taken must be given back, whatever the check says.
            let both = async {
                let both = async { join!(acquire, gone::missing(world, &record.release)) };
                with_grace(&actor.cancel, both).await.ok_or_else(interrupted)
            };
            let (lease, missing) = actor.events.step("check release", both).await?;
            if let Some(lease) = lease? {
                let held = Self::new(actor, store, lease, Left { intent: None, head: Some(head.clone()) });
                return held
                    .during(async |held| {
                        let gone = match missing {
                            Ok(missing) if missing.is_empty() => None,
                            Ok(missing) => Some(held.gone(world, &record.release, &missing, &head).await),
                            Err(error) => Some(error),
                        };
                        if let Some(error) = gone {
                            held.lease.settled(head).await;
                            return Err(error);
                        }
                        let caches = caches(&now, &head, &record.release);
                        held.engine(world).switch_over(record, head, &held.live_checks(&[], caches)).await
                    })
                    .await;
            }
        }
        let held = Self::take_as(actor, store, holder).await?;
        held.during(async |held| {
            let observe = unless_interrupted(&actor.cancel, async {
                let (head, now) = try_join!(held.head(world), stage(world))?;
                Ok((held.head_of(head, &now).await?, now))
            });
            let (head, now) = observe.await?;
            let find = unless_interrupted(&actor.cancel, held.target(&head, &now, to));
            let target = actor.events.step("find release", find).await?;
            let check = unless_interrupted(&actor.cancel, held.must_be_there(world, &target.release, &head));
            actor.events.step("check release", check).await?;
            held.go_live(world, Action::Rollback, target.release, head).await
        })
        .await
    }

    /// The record to go back to.
    async fn target(&self, head: &Head, now: &StageState, to: Option<&Version>) -> Result<Record> {
        let current = head.current.as_ref().ok_or_else(|| empty(&self.actor.stage))?;
        let Some(to) = to else {
            let unknown = |version: &Version| {
                Error::preflight(
                    "rollback.no_target",
                    format!("the ledger does not know what served before {version}"),
                )
                .hint("nothing was changed; `deployctl history` lists the releases, and `rollback --to <V>` takes one")
            };
            if current.pointer.deployment_id != now.pointer.deployment_id {
                // Somebody moved the stage by hand, to what no record knows: the newest release is the way back.
                return Ok(current.clone());
            }
            // A release that failed its checks and stayed is not what anybody wants back.
            let mut found = current.clone();
            loop {
                let number = found.before.record.ok_or_else(|| unknown(&current.release.version))?;
                found = self.ledger.record(number).await?;
                if found.outcome == Outcome::Live {
                    return Ok(found);
                }
            }
        };
        let found = self.ledger.newest_of(to, head.last).await?;
        found.ok_or_else(|| {
            Error::usage("rollback.unknown_version", format!("version {to} was never live on this stage"))
                .hint("nothing was changed; `deployctl history` lists the releases")
        })
    }

    /// Moves the stage to `release` and records it.
    async fn go_live<W: World>(
        &self,
        world: &W,
        action: Action,
        release: Release,
        head: Head,
    ) -> Result<Record> {
        // Read right before the switch: preparing may have taken minutes.
        let engine = self.engine(world);
        let stage = unless_interrupted(&self.actor.cancel, stage(world)).await?;
        let record = record(self.actor, action, release, &head, &stage)?;
        // An earlier release need not know what is asked of new ones.
        let requests = if action == Action::Rollback { &[] } else { self.actor.checks.requests.as_slice() };
        let caches = caches(&stage, &head, &record.release);
        engine.go_live(record, head, &self.live_checks(requests, caches)).await
    }

    fn live_checks<'b>(&'b self, requests: &'b [Request], caches: Caches) -> LiveChecks<'b> {
        LiveChecks { probe: &self.actor.probe, requests, caches }
    }
}

/// Who has the stage that this command lost, and what it serves by the lease.
async fn successor<S: Store + Clone>(store: &S, stage: &StageName) -> String {
    let slip = Lease::peek(store, stage).await.ok().and_then(|found| found.slip).unwrap_or_default();
    let serves = |head: &Head| Some(head.current.as_ref()?.release.version.clone());
    match (&slip.holder, slip.head.as_ref().and_then(serves)) {
        (Some(holder), _) => describe(holder),
        (None, Some(version)) => {
            format!("another command has moved it since; by the ledger it serves {version}")
        }
        (None, None) => "nothing is known of what another command did to it".to_owned(),
    }
}

/// What a stage remembers of the release that it serves, or of `next` once it serves that and is moved back.
fn caches(stage: &StageState, head: &Head, next: &Release) -> Caches {
    let seconds = |release: &Release| release.api.authorizer_cache_seconds.unwrap_or(AUTHORIZER_TTL_SECONDS);
    let current = head.current.as_ref().filter(|_| head.explains(&stage.pointer));
    let now = current.map_or(AUTHORIZER_TTL_SECONDS, |record| seconds(&record.release));
    Caches { authorizer_seconds: now.max(seconds(next)), responses: stage.cached }
}

/// What the ledger will say once `stage` serves `release`.
///
/// # Errors
/// `release.refused` while a canary is in progress.
fn record(
    actor: &Actor,
    action: Action,
    release: Release,
    head: &Head,
    stage: &StageState,
) -> Result<Record> {
    if let Some(canary) = &stage.canary {
        return Err(refused(plan::Refusal::Canary(canary.clone())));
    }
    let from: Pointer = stage.pointer.clone();
    let former = head.current.as_ref();
    Ok(Record {
        schema: SCHEMA,
        number: 0,
        action,
        outcome: Outcome::Live,
        pointer: release.pointer(&from, former.map(|record| &record.release)),
        before: Before {
            record: former.filter(|record| record.pointer == from).map(|record| record.number),
            pointer: from,
        },
        release,
        at: crate::ledger::now(),
        who: actor.who.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        steps: Vec::new(),
        recovered: false,
    })
}

/// Compares the live definition of the API with the one that the stage's deployment froze.
///
/// # Errors
/// When either cannot be read.
pub async fn freshness<S: Store>(
    world: &impl World,
    ledger: &Ledger<S>,
    stage: &StageState,
    current: Option<&Record>,
    live: &Definition,
) -> Result<Freshness> {
    let deployment_id = &stage.pointer.deployment_id;
    let frozen = match current.map(|record| &record.release.api) {
        Some(api) if api.deployment_id == *deployment_id => api.fingerprint,
        // Somebody else moved the stage. If deployctl made the deployment, it says so itself.
        _ => {
            let found = world.deployment(deployment_id).await;
            let found = found.map_err(|failure| unreadable("the deployment", failure))?;
            let note = found.and_then(|deployment| deployment.description.parse::<Note>().ok());
            let Some(note) = note else { return Ok(Freshness::Unknown) };
            note.fingerprint
        }
    };
    if live.fingerprint() == frozen {
        return Ok(Freshness::Fresh(frozen));
    }
    let changes = match ledger.definition(&frozen).await? {
        Some(definition) => definition.changes(live),
        None => vec!["the definition that it was made from is no longer in the bucket".to_owned()],
    };
    Ok(Freshness::Stale(frozen, changes))
}

/// Reads the live definition of the API.
///
/// # Errors
/// `aws.read`.
pub async fn definition(world: &impl World) -> Result<Definition> {
    world.definition().await.map_err(|failure| unreadable("the API", failure))
}

/// Reads the stage.
///
/// # Errors
/// `aws.read`.
pub async fn stage(world: &impl World) -> Result<StageState> {
    world.stage().await.map_err(|failure| match failure.meaning {
        Meaning::NotFound => {
            Error::preflight("stage.missing", "the API does not have this stage").because(failure).hint(
                "nothing was changed; Terraform makes API and stage: `deployctl plan` shows what is missing",
            )
        }
        _ => unreadable("the stage", failure),
    })
}

/// Reads the functions, side by side.
///
/// # Errors
/// `aws.read`.
pub async fn functions(
    world: &impl World,
    desired: &Desired,
) -> Result<BTreeMap<FunctionKey, FunctionState>> {
    let reads = desired.functions.iter().map(|(key, target)| async move {
        let state = world
            .function(&target.name)
            .await
            .map_err(|failure| match failure.meaning {
                Meaning::NotFound => {
                    let message = format!("function {} is not there", target.name);
                    Error::preflight("function.missing", message).because(failure).hint(
                        "deployctl changed nothing, but the stage has lost this function; Terraform makes functions: \
                         `deployctl plan` shows what is missing",
                    )
                }
                _ => unreadable(&format!("function {}", target.name), failure),
            })?;
        Ok::<_, Error>((key.clone(), state))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// AWS said no to a read; nothing was moved.
pub fn unreadable(what: &str, failure: Failure) -> Error {
    Error::new(Kind::Preflight, "aws.read", format!("{what} cannot be read"))
        .because(failure)
        .hint("what runs is unchanged")
}

/// The error of a command that needs a release on a stage that has none.
pub fn empty(stage: &StageName) -> Error {
    Error::preflight("stage.empty", format!("nothing has been released to stage {stage} yet"))
        .hint(format!("`deployctl release --version <V> --stage {stage}` makes the first release"))
}

/// The error of a release that cannot be planned.
pub fn refused(refusal: plan::Refusal) -> Error {
    let hint = match &refusal {
        plan::Refusal::Canary(_) => "the old release serves; finish or remove the canary first",
        _ => "the old release serves; correct deployctl.toml or the contract in Terraform",
    };
    Error::preflight("release.refused", "this cannot be released").because(refusal).hint(hint)
}
