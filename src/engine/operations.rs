//! The three operations that move a stage: release, redeploy and rollback.

use futures::{join, try_join};

use crate::artifact::Sha256;
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::interrupt::{interrupted, unless_interrupted, with_grace};
use crate::engine::lease::{Holder, Lease, PreviousHolder};
use crate::engine::ledger::Head;
use crate::engine::missing;
use crate::engine::observe::{Freshness, definition, empty, freshness, observe_and_plan, refused, stage};
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::Snapshot;
use crate::engine::verify::LiveChecks;
use crate::error::{Error, ErrorId, Result};
use crate::event::Event;
use crate::platform::unique_id;
use crate::release::check::Request;
use crate::release::definition::{AUTHORIZER_TTL_SECONDS, Definition};
use crate::release::model::{Pointer, StageName, Version};
use crate::release::plan::{self, Desired};
use crate::release::record::{Action, ApiRecord, Before, Git, Outcome, Record, Release, SCHEMA};
use crate::release::state::{Caches, StageState};

/// A release that is live.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) record: Record,
    /// How its API differs from the one before, as far as that is known.
    pub(crate) api_changes: Vec<String>,
}

/// What is released beside the functions and their code: where it came from, and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    /// The source, where that was a git repository.
    pub(crate) git: Option<Git>,
    /// The stage whose bytes these are, in a promotion.
    pub(crate) promoted_from: Option<StageName>,
    /// The REST API and its stage.
    pub(crate) api: (&'a str, &'a str),
}

impl<'a, S: Store + Clone> HeldStage<'a, S> {
    /// Completes what was left behind, and reads where the ledger ends.
    pub(crate) async fn head(&self, port: &impl StagePort) -> Result<Head> {
        unless_interrupted(&self.context.cancel, self.recover_interrupted(port, self.left.clone())).await
    }

    /// The head, if it tells how the stage came to where it is; else what the whole ledger tells of that. Somebody who
    /// stalled and lost the stage may have moved it after the lease was written, and so may a person.
    async fn head_of(&self, head: Head, stage: &StageState) -> Result<Head> {
        if head.current.is_none() || head.explains(&stage.pointer) {
            return Ok(head);
        }
        let head = self.ledger.head_at(&stage.pointer).await?;
        self.lease.mark_clean(head.clone()).await;
        Ok(head)
    }

    /// Releases `desired`, whose zips are in the store: observe, plan, prepare, try out, switch, verify, record.
    ///
    /// # Errors
    /// `release.refused` before anything is changed, and as [`Engine::prepare`], [`Engine::run_checks`] and
    /// [`Engine::go_live`].
    pub(crate) async fn release<W: StagePort>(
        &self,
        port: &W,
        desired: Desired,
        origin: Origin<'_>,
    ) -> Result<Released> {
        let StageContext { events, checks, .. } = self.context;
        let explained = async |head, stage: &StageState| self.head_of(head, stage).await;
        let observe = observe_and_plan(port, &desired, checks, self.head(port), explained);
        let observe = unless_interrupted(&self.context.cancel, observe);
        let (head, observed, plan) = events.step("read current state", observe).await?;
        events.note(format!("plan:\n{plan}"));

        let prepared = events.step("publish versions", self.prepare(port, &plan, &observed)).await?;
        let Snapshot { id: deployment_id, fingerprint, definition } = prepared.snapshot;
        let run_checks = self.run_checks(port, &prepared.functions, &plan.version, &checks.invocations);
        let (tried_out, api_changes) =
            join!(run_checks, self.api_changes(head.current.as_ref(), &definition, &fingerprint));
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
        let record = self.go_live(port, action, release, head).await?;
        Ok(Released { record, api_changes })
    }

    /// How the API that goes live differs from the one before it, where that is still known: a release does not depend
    /// on it.
    async fn api_changes(
        &self,
        current: Option<&Record>,
        now: &Definition,
        fingerprint: &Sha256,
    ) -> Vec<String> {
        let before =
            current.map(|record| &record.release.api.fingerprint).filter(|before| *before != fingerprint);
        let Some(before) = before else { return Vec::new() };
        let Ok(Some(before)) = self.ledger.definition(before).await else { return Vec::new() };
        let changes = before.changes(now);
        self.context.events.emit(&Event::ApiChanged { changes: &changes });
        changes
    }

    /// Makes a new deployment of the API live under the functions that are live. With `if_stale`, a fresh stage
    /// is left alone; `None` is returned then.
    ///
    /// # Errors
    /// `stage.empty`, and as [`Engine::snapshot`] and [`Engine::go_live`].
    pub(crate) async fn redeploy<W: StagePort>(
        &self,
        port: &W,
        if_stale: bool,
    ) -> Result<(Record, Option<Vec<String>>)> {
        let observe = unless_interrupted(&self.context.cancel, async {
            let (head, stage, live) = try_join!(self.head(port), stage(port), definition(port))?;
            let head = self.head_of(head, &stage).await?;
            let current = head.current.clone().ok_or_else(|| empty(&self.context.stage))?;
            let freshness = freshness(port, &self.ledger, &stage, Some(&current), &live).await?;
            Ok((head, current, freshness))
        });
        let (head, current, freshness) = observe.await?;
        let changes = match freshness {
            Freshness::Fresh(_) if if_stale => return Ok((current, None)),
            Freshness::Stale(_, changes) => changes,
            Freshness::Fresh(_) | Freshness::Unknown => Vec::new(),
        };
        let mut release = current.release;
        let snapshot = unless_interrupted(&self.context.cancel, self.snapshot(port, &release.version));
        let snapshot = self.context.events.step("deploy API", snapshot).await?;
        release.api.deployment_id = snapshot.id;
        release.api.fingerprint = snapshot.fingerprint;
        release.api.authorizer_cache_seconds = Some(snapshot.definition.authorizer_cache_seconds());
        let record = self.go_live(port, Action::Redeploy, release, head).await?;
        Ok((record, Some(changes)))
    }

    /// Moves the stage back: to what served before, or to the newest release of version `to`.
    ///
    /// A rollback is urgent, so the usual one needs few round trips: where the lease tells what served
    /// before, the target is checked while the lease is taken, and the write that takes it holds the intent already.
    ///
    /// # Errors
    /// `rollback.no_target`, `rollback.unknown_version`, `rollback.gone`, and as [`Engine::go_live`].
    pub(crate) async fn rollback<W: StagePort>(
        context: &'a StageContext,
        store: S,
        port: &W,
        to: Option<&Version>,
    ) -> Result<Record> {
        let holder = Holder::new(unique_id(), context.who.clone(), "rollback".to_owned());
        let look = unless_interrupted(&context.cancel, async {
            try_join!(Lease::peek(&store, &context.stage), stage(port))
        });
        let (found, now) = context.events.step("read current state", look).await?;
        let head = found
            .document
            .as_ref()
            .and_then(|document| document.head())
            .filter(|head| head.explains(&now.pointer));
        let head = head.filter(|_| to.is_none()).cloned();
        if let Some((target, head)) =
            head.and_then(|head| Some((head.rollback_target()?.release.clone(), head)))
        {
            let mut record = record(context, Action::Rollback, target, &head, &now)?;
            record.number = head.next()?;
            let as_holder = (&holder, &context.clock);
            let acquire =
                Lease::acquire_intending(store.clone(), &context.stage, &found, as_holder, record.clone());
            // Both to their ends: a lease that was taken must be given back, whatever the check says.
            let both = async {
                let both = async { join!(acquire, missing::missing(port, &record.release)) };
                with_grace(&context.cancel, both).await.ok_or_else(interrupted)
            };
            let (lease, missing) = context.events.step("check release", both).await?;
            if let Some(lease) = lease? {
                let held = Self::new(
                    context,
                    store,
                    lease,
                    PreviousHolder { intent: None, head: Some(head.clone()) },
                );
                return held
                    .during(async |held| {
                        let gone = match missing {
                            Ok(missing) if missing.is_empty() => None,
                            Ok(missing) => {
                                Some(held.not_restorable_error(port, &record.release, &missing, &head).await)
                            }
                            Err(error) => Some(error),
                        };
                        if let Some(error) = gone {
                            held.lease.mark_clean(head).await;
                            return Err(error);
                        }
                        let caches = caches(&now, &head, &record.release);
                        held.switch_over(port, record, head, &held.live_checks(&[], caches)).await
                    })
                    .await;
            }
        }
        let held = Self::take_as(context, store, holder).await?;
        held.during(async |held| {
            let observe = unless_interrupted(&context.cancel, async {
                let (head, now) = try_join!(held.head(port), stage(port))?;
                Ok((held.head_of(head, &now).await?, now))
            });
            let (head, now) = observe.await?;
            let find = unless_interrupted(&context.cancel, held.target(&head, &now, to));
            let target = context.events.step("find release", find).await?;
            let check =
                unless_interrupted(&context.cancel, held.check_restorable(port, &target.release, &head));
            context.events.step("check release", check).await?;
            held.go_live(port, Action::Rollback, target.release, head).await
        })
        .await
    }

    /// The record to go back to.
    async fn target(&self, head: &Head, now: &StageState, to: Option<&Version>) -> Result<Record> {
        let current = head.current.as_ref().ok_or_else(|| empty(&self.context.stage))?;
        let Some(to) = to else {
            let unknown = |version: &Version| {
                Error::preflight(
                    ErrorId::RollbackNoTarget,
                    format!("the ledger does not know what served before {version}"),
                )
                .hint("nothing was changed; `deployctl history` lists the releases, and `rollback --to <V>` takes one")
            };
            if current.pointer.deployment_id != now.pointer.deployment_id {
                // The stage was moved without deployctl to what no record has: the newest release is the target.
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
            Error::usage(
                ErrorId::RollbackUnknownVersion,
                format!("version {to} was never live on this stage"),
            )
            .hint("nothing was changed; `deployctl history` lists the releases")
        })
    }

    /// Moves the stage to `release` and records it.
    async fn go_live<W: StagePort>(
        &self,
        port: &W,
        action: Action,
        release: Release,
        head: Head,
    ) -> Result<Record> {
        // Read right before the switch: preparing may have taken minutes.
        let stage = unless_interrupted(&self.context.cancel, stage(port)).await?;
        let record = record(self.context, action, release, &head, &stage)?;
        // An earlier release need not know what is asked of new ones.
        let requests = if action == Action::Rollback { &[] } else { self.context.checks.requests.as_slice() };
        let caches = caches(&stage, &head, &record.release);
        self.record_intent_and_switch(port, record, head, &self.live_checks(requests, caches)).await
    }

    fn live_checks<'b>(&'b self, requests: &'b [Request], caches: Caches) -> LiveChecks<'b> {
        LiveChecks { probe: &self.context.probe, requests, caches }
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
    context: &StageContext,
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
        at: crate::engine::ledger::now(),
        who: context.who.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        steps: Vec::new(),
        recovered: false,
    })
}
