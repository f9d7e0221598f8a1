//! A stage that a command may change, and the three ways to move it: a release, a new deployment of the API,
//! and a way back. Whoever holds a stage has its lease, and knows what the last holder left behind.

mod gone;
pub mod prune;

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::{join, try_join};
use tokio_util::sync::CancellationToken;

use crate::artifact::Sha256;
use crate::aws::failure::{Failure, Meaning};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::execute::{Engine, LiveChecks, Snapshot, nonce};
use crate::lease::{Holder, Lease, Left};
use crate::ledger::{Head, Ledger};
use crate::release::check::{Checks, Request};
use crate::release::definition::Definition;
use crate::release::model::{FunctionKey, Pointer, StageName, Version};
use crate::release::note::Note;
use crate::release::plan::{self, Desired, Observed, Plan};
use crate::release::record::{Action, ApiRecord, Before, Git, Outcome, Record, Release, SCHEMA, Who};
use crate::settings::Probe;
use crate::world::{FunctionState, StageState, Store, World};

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
        let acquire = Lease::acquire(store.clone(), &actor.stage, holder);
        let (lease, left) = actor.events.step("lease", acquire).await?;
        Ok(Self::new(actor, store, lease, left))
    }

    fn new(actor: &'a Actor, store: S, lease: Lease<S>, left: Left) -> Self {
        let ledger = Ledger::new(store.clone(), actor.stage.clone());
        Self { actor, store, ledger, lease, left }
    }

    /// Does `work` under the lease, and gives the lease back however it ends.
    ///
    /// # Errors
    /// What `work` returns, or `lease.lost`.
    pub async fn during<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let result: Result<T> = self.lease.keep(Box::pin(work(&self))).await;
        match self.lease.release().await {
            Ok(()) => {}
            Err(error) if error.id == "lease.lost" => {}
            Err(error) => {
                let text = format!("the lease could not be given back and runs out by itself: {error}");
                self.actor.events.warn(text);
            }
        }
        result
    }

    fn engine<'b, W: World>(&'b self, world: &'b W) -> Engine<'b, W, S> {
        let Actor { events, cancel, .. } = self.actor;
        Engine { world, ledger: &self.ledger, lease: &self.lease, events, cancel }
    }

    /// Settles what was left behind, and reads where the ledger ends.
    ///
    /// # Errors
    /// When the ledger is damaged, or cannot be read.
    pub async fn head(&self, world: &impl World) -> Result<Head> {
        self.engine(world).settle(self.left.clone()).await
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
        let observe = async { try_join!(self.head(world), functions(world, &desired), stage(world)) };
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
            api: ApiRecord { id: api.to_owned(), stage: api_stage.to_owned(), deployment_id, fingerprint },
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
        let (head, stage, live) = try_join!(self.head(world), stage(world), definition(world))?;
        let current = head.current.clone().ok_or_else(|| empty(&self.actor.stage))?;
        let freshness = freshness(world, &self.ledger, &stage, Some(&current), &live).await?;
        let changes = match freshness {
            Freshness::Fresh(_) if if_stale => return Ok((current, None)),
            Freshness::Stale(_, changes) => changes,
            Freshness::Fresh(_) | Freshness::Unknown => Vec::new(),
        };
        let mut release = current.release;
        let engine = self.engine(world);
        let snapshot = engine.snapshot(&release.version);
        let snapshot = self.actor.events.step("deploy API", snapshot).await?;
        release.api.deployment_id = snapshot.id;
        release.api.fingerprint = snapshot.fingerprint;
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
        let look = async { try_join!(Lease::peek(&store, &actor.stage), stage(world)) };
        let (found, now) = actor.events.step("observe", look).await?;
        let head = found.slip.as_ref().and_then(|slip| slip.head()).filter(|_| to.is_none()).cloned();
        if let Some((target, head)) = head.and_then(|head| Some((head.way_back()?.release.clone(), head))) {
            let mut record = record(actor, Action::Rollback, target, &head, &now)?;
            record.number = head.last + 1;
            let acquire =
                Lease::acquire_intending(store.clone(), &actor.stage, &found, holder.clone(), record.clone());
            // Both to their ends: a lease that was taken must be given back, whatever the check says.
            let both = async { Ok::<_, Error>(join!(acquire, gone::missing(world, &record.release))) };
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
                        held.engine(world).switch_over(record, head, &held.live_checks(&[], now.cached)).await
                    })
                    .await;
            }
        }
        let held = Self::take_as(actor, store, holder).await?;
        held.during(async |held| {
            let head = held.head(world).await?;
            let target = actor.events.step("find release", held.target(&head, to)).await?;
            let check = held.must_be_there(world, &target.release, &head);
            actor.events.step("check release", check).await?;
            held.go_live(world, Action::Rollback, target.release, head).await
        })
        .await
    }

    /// The record to go back to.
    async fn target(&self, head: &Head, to: Option<&Version>) -> Result<Record> {
        let current = head.current.as_ref().ok_or_else(|| empty(&self.actor.stage))?;
        let Some(to) = to else {
            let number = current.before.record.ok_or_else(|| {
                Error::preflight(
                    "rollback.no_target",
                    format!("the ledger does not know what served before {}", current.release.version),
                )
                .hint("nothing was changed; `deployctl history` lists the releases, and `rollback --to <V>` takes one")
            })?;
            return self.ledger.record(number).await;
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
        let stage = stage(world).await?;
        let record = record(self.actor, action, release, &head, &stage)?;
        // An earlier release need not know what is asked of new ones.
        let requests = if action == Action::Rollback { &[] } else { self.actor.checks.requests.as_slice() };
        self.engine(world).go_live(record, head, &self.live_checks(requests, stage.cached)).await
    }

    fn live_checks<'b>(&'b self, requests: &'b [Request], cached: bool) -> LiveChecks<'b> {
        LiveChecks { probe: &self.actor.probe, requests, cached }
    }
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
