//! A stage that a command may change, and the three ways to move it: a release, a new deployment of the API,
//! and a way back. Whoever holds a stage has its lease, and knows what the last holder left behind.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;
use tokio_util::sync::CancellationToken;

use crate::aws::failure::Failure;
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::execute::{Engine, nonce};
use crate::lease::Lease;
use crate::ledger::Ledger;
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
    /// What a killed predecessor was about to do.
    intent: Option<Record>,
}

/// The stage as the ledger knows it, once what was left behind is settled.
#[derive(Debug, Clone)]
pub struct Known {
    /// The record of what is live.
    pub current: Option<Record>,
    /// The newest number of the ledger.
    pub last: u64,
}

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, PartialEq)]
pub enum Freshness {
    /// It does.
    Fresh(Note),
    /// The API has changed since: how, as far as the frozen definition is still there.
    Stale(Note, Vec<String>),
    /// deployctl did not make the deployment.
    Unknown,
}

impl<'a, S: Store + Clone> Held<'a, S> {
    /// Takes the lease of the actor's stage for `command`.
    ///
    /// # Errors
    /// `lease.held`, exit code 75, with the holder.
    pub async fn take(actor: &'a Actor, store: S, command: String) -> Result<Self> {
        let (lease, intent) = actor
            .events
            .step("lease", Lease::acquire(store.clone(), &actor.stage, actor.who.clone(), command, nonce()))
            .await?;
        let ledger = Ledger::new(store.clone(), actor.stage.clone());
        Ok(Self { actor, store, ledger, lease, intent })
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

    /// Settles what was left behind, and reads what is live.
    ///
    /// # Errors
    /// When the ledger is damaged, or cannot be read.
    pub async fn known(&self, world: &impl World) -> Result<Known> {
        let (current, last) = self.ledger.current().await?;
        match self.engine(world).settle(self.intent.clone(), last).await? {
            Some(recovered) => Ok(Known { last: recovered.number, current: Some(recovered) }),
            None => Ok(Known { current, last }),
        }
    }

    /// Releases `desired`, whose zips are in the store: observe, plan, prepare, switch, verify, record.
    ///
    /// # Errors
    /// `release.refused` before anything is changed, and as [`Engine::prepare`] and [`Engine::go_live`].
    pub async fn release<W: World>(
        &self,
        world: &W,
        desired: Desired,
        git: Option<Git>,
        (api, api_stage): (&str, &str),
    ) -> Result<Record> {
        plan::check(&desired).map_err(refused)?;
        let observe = async { try_join!(self.known(world), functions(world, &desired), stage(world)) };
        let (known, functions, stage) = self.actor.events.step("observe", observe).await?;
        let observed = Observed { functions, stage, current: known.current.clone() };
        let plan: Plan = plan::plan(&desired, &observed).map_err(refused)?;
        self.actor.events.note(format!("plan:\n{plan}"));

        let engine = self.engine(world);
        let prepared = self.actor.events.step("prepare", engine.prepare(&plan, &observed)).await?;
        let (deployment_id, fingerprint) = prepared.deployment;
        let release = Release {
            version: desired.version,
            git,
            artifacts: desired.artifacts.into_iter().map(|(name, zip)| (name, zip.record)).collect(),
            functions: prepared.functions,
            api: ApiRecord { id: api.to_owned(), stage: api_stage.to_owned(), deployment_id, fingerprint },
        };
        self.go_live(world, Action::Release, release, &known).await
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
        let known = self.known(world).await?;
        let current = known.current.clone().ok_or_else(|| empty(&self.actor.stage))?;
        let stage = stage(world).await?;
        let freshness = freshness(world, &self.ledger, &stage).await?;
        let changes = match freshness {
            Freshness::Fresh(_) if if_stale => return Ok((current, None)),
            Freshness::Stale(_, changes) => changes,
            Freshness::Fresh(_) | Freshness::Unknown => Vec::new(),
        };
        let mut release = current.release;
        let engine = self.engine(world);
        let snapshot = engine.snapshot(&release.version);
        let (deployment_id, fingerprint) = self.actor.events.step("deploy API", snapshot).await?;
        release.api.deployment_id = deployment_id;
        release.api.fingerprint = fingerprint;
        let record = self.go_live(world, Action::Redeploy, release, &known).await?;
        Ok((record, Some(changes)))
    }

    /// Moves the stage back: to what served before, or to the newest release of version `to`.
    ///
    /// # Errors
    /// `rollback.no_target`, `rollback.unknown_version`, `rollback.gone`, and as [`Engine::go_live`].
    pub async fn rollback<W: World>(&self, world: &W, to: Option<&Version>) -> Result<Record> {
        let known = self.known(world).await?;
        let target = self.actor.events.step("find release", self.target(&known, to)).await?;
        self.actor.events.step("check release", exists(world, &target.release)).await?;
        self.go_live(world, Action::Rollback, target.release, &known).await
    }

    /// The record to go back to.
    async fn target(&self, known: &Known, to: Option<&Version>) -> Result<Record> {
        let current = known.current.as_ref().ok_or_else(|| empty(&self.actor.stage))?;
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
        for number in (1..=known.last).rev() {
            let record = self.ledger.record(number).await?;
            if record.release.version == *to && record.outcome == Outcome::Live {
                return Ok(record);
            }
        }
        Err(Error::usage("rollback.unknown_version", format!("version {to} was never live on this stage"))
            .hint("nothing was changed; `deployctl history` lists the releases"))
    }

    /// Moves the stage to `release` and records it.
    async fn go_live<W: World>(
        &self,
        world: &W,
        action: Action,
        release: Release,
        known: &Known,
    ) -> Result<Record> {
        // Read right before the switch: preparing may have taken minutes.
        let stage = stage(world).await?;
        if let Some(canary) = &stage.canary {
            return Err(refused(plan::Refusal::Canary(canary.clone())));
        }
        let from: Pointer = stage.pointer;
        let former = known.current.as_ref();
        let record = Record {
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
            who: self.actor.who.clone(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            steps: Vec::new(),
            recovered: false,
        };
        self.engine(world).go_live(record, known.last, stage.cached, &self.actor.probe).await
    }
}

/// Compares the live definition of the API with the one that the stage's deployment froze.
///
/// # Errors
/// When either cannot be read.
pub async fn freshness<S: Store>(
    world: &impl World,
    ledger: &Ledger<S>,
    stage: &StageState,
) -> Result<Freshness> {
    let (deployment, live) = try_join!(world.deployment(&stage.pointer.deployment_id), world.definition())
        .map_err(|failure| unreadable("the API", failure))?;
    let note = deployment.and_then(|deployment| deployment.description.parse::<Note>().ok());
    let Some(note) = note else { return Ok(Freshness::Unknown) };
    if live.fingerprint() == note.fingerprint {
        return Ok(Freshness::Fresh(note));
    }
    let frozen: Option<Definition> = ledger.definition(&note.fingerprint).await?;
    let changes = match frozen {
        Some(frozen) => frozen.changes(&live),
        None => vec!["the definition that it was made from is no longer in the bucket".to_owned()],
    };
    Ok(Freshness::Stale(note, changes))
}

/// Reads the stage.
///
/// # Errors
/// `aws.read`.
pub async fn stage(world: &impl World) -> Result<StageState> {
    world.stage().await.map_err(|failure| unreadable("the stage", failure))
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
            .map_err(|failure| unreadable(&format!("function {}", target.name), failure))?;
        Ok::<_, Error>((key.clone(), state))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// Checks that everything a release points to is still there, all at once.
async fn exists(world: &impl World, release: &Release) -> Result<()> {
    let functions = release.functions.values().map(|function| async move {
        let found = world
            .version(&function.name, &function.version)
            .await
            .map_err(|failure| unreadable(&format!("function {}", function.name), failure))?;
        Ok::<_, Error>(match found {
            Some(code) if code == function.code_sha256 => None,
            Some(_) => Some(format!("{}:{} runs other code than recorded", function.name, function.version)),
            None => Some(format!("{}:{} is gone", function.name, function.version)),
        })
    });
    let deployment = async {
        let id = &release.api.deployment_id;
        let found = world.deployment(id).await.map_err(|failure| unreadable("the deployment", failure))?;
        Ok(found.is_none().then(|| format!("API deployment {id} is gone")))
    };
    let (functions, deployment) = try_join!(try_join_all(functions), deployment)?;
    let gone: Vec<String> = functions.into_iter().chain([deployment]).flatten().collect();
    if gone.is_empty() {
        return Ok(());
    }
    let message = format!("release {} cannot come back: {}", release.version, gone.join(", "));
    Err(Error::preflight("rollback.gone", message).hint(
        "nothing was changed; choose another release with `rollback --to <V>`, or release that source again",
    ))
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
