//! The three operations that move a stage: release, redeploy and rollback.

use std::collections::BTreeMap;

use futures::{join, try_join};

use crate::artifact::Sha256;
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::interrupt::{interrupted, unless_interrupted, with_grace};
use crate::engine::lease::{Holder, Lease, LeaseSnapshot, PreviousHolder};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::missing::{RollbackOptions, parts, release_again};
use crate::engine::observe::{
    Freshness, definition, empty, freshness, observe_and_plan, refused, require_atomic, require_versioned,
    stage,
};
use crate::engine::once::must_be_released;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::{Prepared, Snapshot};
use crate::engine::reach::{Latest, aliases, earlier_zips};
use crate::engine::verify::LiveChecks;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::Event;
use crate::platform::unique_id;
use crate::release::calls::Calls;
use crate::release::canary::Canary;
use crate::release::check::Request;
use crate::release::default_check::{Candidate, Live};
use crate::release::definition::{AUTHORIZER_TTL_SECONDS, Definition};
use crate::release::model::{FunctionKey, FunctionName, Pointer, StageName, Version};
use crate::release::once::Repeat;
use crate::release::patch::Size;
use crate::release::plan::{self, Desired, Observed, Plan, Target, Work};
use crate::release::record::{
    Action, ApiRecord, ArtifactRecord, Before, FunctionRecord, Git, InfrastructureRecord, Outcome, Record,
    Release, SCHEMA,
};
use crate::release::state::{Caches, StageState};

/// A release that is live.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) record: Record,
    /// Whether it was live already, so that nothing was created.
    pub(crate) unchanged: bool,
    /// How its API differs from the previous one; empty if that is unknown.
    pub(crate) api_changes: Vec<String>,
    /// The canary by which it gets the requests. Then it is not live yet.
    pub(crate) canary: Option<Canary>,
}

/// The result of a move of the stage.
#[derive(Debug)]
pub(crate) enum Moved {
    Live(Box<Record>),
    /// A canary has started, which ends with the move.
    Canary(Box<Canary>),
}

impl Moved {
    /// The record, and the canary if it is not live yet.
    pub(crate) fn into_parts(self) -> (Record, Option<Canary>) {
        match self {
            Self::Live(record) => (*record, None),
            Self::Canary(canary) => (canary.record.clone(), Some(*canary)),
        }
    }
}

/// The result of a rollback.
#[derive(Debug)]
pub(crate) struct RolledBack {
    /// The record of the release that is live now.
    pub(crate) record: Record,
    /// The record that the rollback went to. It is `record` itself if that release was live already: then
    /// nothing was changed.
    pub(crate) target: Record,
}

/// The origin of a release and the API it goes to.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    /// The commit, if the source is a git repository.
    pub(crate) git: Option<Git>,
    /// The source stage of a promotion.
    pub(crate) promoted_from: Option<StageName>,
    /// The REST API and its stage.
    pub(crate) api: (&'a str, &'a str),
    /// Whether to deploy a release that is live already.
    pub(crate) force: bool,
    /// Whether to send new code to functions that the live deployment calls without a version.
    pub(crate) not_atomic: bool,
    /// What to do about functions of `[[prepare]]` that have run.
    pub(crate) repeat: Repeat,
    /// The Terraform layers below it; `None` if they are not known.
    pub(crate) infrastructure: Option<InfrastructureRecord>,
}

/// Refuses to take code for the running one that deployctl has sent and that the live release does not have: that
/// of a preview, or of a release that failed or was rolled back.
fn require_foreign_code(
    observed: &Observed,
    desired: &Desired,
    sent: &BTreeMap<FunctionName, String>,
) -> Result<()> {
    let Some(live) = &observed.current else { return Ok(()) };
    let is_sent = |key: &FunctionKey, target: &Target| {
        let Some(code) = observed.functions.get(key).map(|state| &state.code_sha256) else { return false };
        let released = live.release.functions.get(key).map(|function| &function.code_sha256);
        sent.get(&target.name) == Some(code) && released != Some(code)
    };
    let named = desired.functions.iter().filter(|(key, target)| is_sent(key, target));
    let named: Vec<String> = named.map(|(key, target)| format!("{key} ({})", target.name)).collect();
    if named.is_empty() {
        return Ok(());
    }
    let message = format!(
        "refused to release the running code: deployctl sent it for a preview or another release, and it is not \
         live: {}",
        named.join(", ")
    );
    Err(Error::preflight(ErrorId::ReleaseRunningCode, message).hint(
        "nothing was published; `deployctl release --version <V>` without --running-code releases the code of \
         the project",
    ))
}

impl<'a, S: Store + Clone> HeldStage<'a, S> {
    /// Completes the operation of an interrupted command, and reads the end of the ledger.
    ///
    /// # Errors
    /// Those of the ledger and of reading the stage.
    pub(crate) async fn head(&self, port: &impl StagePort) -> Result<Head> {
        let recover = Box::pin(self.recover_interrupted(port, self.previous.clone()));
        unless_interrupted(&self.context.cancel, recover).await
    }

    /// Returns `head` if it matches the stage, and otherwise searches the ledger for the record that does. A
    /// command that lost its lease, or a caller without deployctl, may have moved the stage after the lease
    /// was written.
    pub(super) async fn resolve_head(&self, head: Head, stage: &StageState) -> Result<Head> {
        if head.current.is_none() || head.matches(&stage.pointer) {
            return Ok(head);
        }
        let head = self.ledger.head_at(&stage.pointer).await?;
        self.lease.mark_clean(head.clone()).await;
        Ok(head)
    }

    /// Releases `desired`: observe, plan, prepare, check, switch, verify, record. `stored` stores its zips while the
    /// stage is read. Creates nothing if exactly this release is live, unless `origin.force`.
    ///
    /// # Errors
    /// `release.refused`, `release.too_large` and `api.unversioned` before anything is changed, and as
    /// [`HeldStage::prepare`], [`HeldStage::run_checks`] and [`HeldStage::go_live`].
    pub(crate) async fn release_stored<W: StagePort>(
        &self,
        port: &W,
        mut desired: Desired,
        origin: Origin<'_>,
        stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
    ) -> Result<Released> {
        let StageContext { events, cancel, .. } = self.context;
        // On the heap, because the futures of a release are large.
        let observe = Box::pin(self.observe_release(port, &mut desired, &origin, stored));
        let observe = unless_interrupted(cancel, observe);
        let (head, observed, plan, live) = events.step("read current state", observe).await?;
        if let Some(record) = live {
            return Ok(Released { record, unchanged: true, api_changes: Vec::new(), canary: None });
        }
        events.note(format!("plan:\n{plan}"));

        let back = code_to_put_back(&plan, head.current.as_ref());
        let before = head.clone();
        let released = self.release_planned(port, desired, origin, (head, observed, plan));
        let released = Box::pin(released).await;
        if released.as_ref().is_err_and(|error| !matches!(error.kind, Kind::Held | Kind::Stuck))
            && let Err(failure) = self.put_code_back(port, &back).await
        {
            events.warn(format!(
                "callers without a version get the new code, because the earlier zip was not sent again \
                 ({failure}); run the command again, or `deployctl rollback`"
            ));
        }
        // What a canary runs on counts until its end.
        if released.as_ref().map_or(true, |released| released.canary.is_none()) {
            self.trim_after(port, before, released.as_ref().map(|released| &released.record)).await;
        }
        released
    }

    /// Prepares, checks and switches to a release that is planned.
    async fn release_planned<W: StagePort>(
        &self,
        port: &W,
        desired: Desired,
        mut origin: Origin<'_>,
        (head, observed, plan): (Head, Observed, Plan),
    ) -> Result<Released> {
        let prepare = self.context.events.step("publish versions", self.prepare(port, &plan, &observed));
        let (prepared, answered_before) = self.with_probe_before(port, prepare).await?;
        let Prepared { functions, snapshot } = prepared;
        let infrastructure = origin.infrastructure.take();
        let action = if origin.promoted_from.is_some() { Action::Promote } else { Action::Release };
        let repeat = origin.repeat;
        let release = new_release(desired, origin, functions, &snapshot);
        self.run_once(port, &release, repeat).await?;

        let check = self.check_release(port, &release, &snapshot.definition, (&head, &observed));
        let api_changes =
            self.api_changes(head.current.as_ref(), &snapshot.definition, &snapshot.fingerprint);
        let (checked, api_changes) = join!(check, api_changes);
        checked?;
        self.warm_up(port, &release, (&plan, &observed)).await?;
        let from = (head, &observed.stage);
        let moved = self.go_live(port, (action, infrastructure), release, from, answered_before).await?;
        let (record, canary) = moved.into_parts();
        Ok(Released { record, unchanged: false, api_changes, canary })
    }

    /// Reads the stage and plans the release. The last value is the live record, if exactly this release is
    /// live.
    async fn observe_release(
        &self,
        port: &impl StagePort,
        desired: &mut Desired,
        origin: &Origin<'_>,
        stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
    ) -> Result<(Head, Observed, Plan, Option<Record>)> {
        let resolve = async |head, stage: &StageState| self.resolve_head(head, stage).await;
        let checks = &self.context.checks;
        // First: it may repair functions, and the plan must have the revisions after that.
        let head = self.head(port).await?;
        let head = async { Ok(head) };
        let (head, observed, plan) = observe_and_plan(port, desired, checks, head, resolve, stored).await?;
        require_versioned(&plan.calls, Kind::Preflight, "the old release serves, nothing was published")?;
        if !origin.not_atomic {
            require_atomic(&plan, &self.context.stage)?;
        }
        must_be_released(&self.context.preparations, &plan)?;
        self.must_be_provisionable(port, &plan).await?;
        if desired.running_code {
            require_foreign_code(&observed, desired, &self.lease.sent_code().await)?;
        }
        let forced = origin.force || origin.repeat == Repeat::Again;
        let live = match plan.live(desired, &observed).filter(|_| !forced) {
            Some(record) if self.is_current(port, record, &observed, origin.api).await? => {
                Some(record.clone())
            }
            _ => None,
        };
        Ok((head, observed, plan, live))
    }

    /// Checks a prepared release before the switch: the default check, and those of the project.
    async fn check_release(
        &self,
        port: &impl StagePort,
        release: &Release,
        definition: &Definition,
        (head, observed): (&Head, &Observed),
    ) -> Result<()> {
        let current = head.current.as_ref();
        let from = &observed.stage.pointer;
        let candidate = Candidate {
            release,
            definition,
            variables: &release.pointer(from, current.map(|record| &record.release)).variables,
            live: &live_versions(current, from),
        };
        self.check_new_versions(port, &candidate).await?;
        let invocations = &self.context.checks.invocations;
        self.run_checks(port, &release.functions, &release.version, invocations).await
    }

    /// Whether everything that the live release points to exists and can be invoked, and the stage is proven
    /// to serve the API as it is defined.
    async fn is_current(
        &self,
        port: &impl StagePort,
        record: &Record,
        observed: &Observed,
        (api, api_stage): (&str, &str),
    ) -> Result<bool> {
        let release = &record.release;
        let is_same_api = release.api.id == api && release.api.stage == api_stage;
        if !is_same_api || !release.api.unproven.is_empty() {
            return Ok(false);
        }
        let Observed { stage, definition, .. } = observed;
        let freshness = freshness(port, &self.ledger, stage, Some(record), definition);
        let (parts, freshness) = try_join!(parts(port, release), freshness)?;
        Ok(parts.are_ready() && matches!(freshness, Freshness::Fresh(_)))
    }

    /// How the API that goes live differs from the previous one; empty if that is unknown, because a release
    /// must not fail for it.
    async fn api_changes(
        &self,
        current: Option<&Record>,
        now: &Definition,
        fingerprint: &Sha256,
    ) -> Vec<String> {
        let previous =
            current.map(|record| &record.release.api.fingerprint).filter(|previous| *previous != fingerprint);
        let Some(previous) = previous else { return Vec::new() };
        let Ok(Some(previous)) = self.ledger.definition(previous).await else { return Vec::new() };
        let changes = previous.changes(now);
        self.context.events.emit(&Event::ApiChanged { changes: &changes });
        changes
    }

    /// Deploys the API and moves the stage to it, with the live functions; `contract` are those that the API
    /// may call. With `if_stale`, a fresh stage is not changed, and the changes are `None`.
    ///
    /// # Errors
    /// `stage.empty`, `release.too_large`, `api.unversioned`, and as [`HeldStage::snapshot`] and [`HeldStage::go_live`].
    pub(crate) async fn redeploy<W: StagePort>(
        &self,
        port: &W,
        contract: &BTreeMap<FunctionKey, Target>,
        if_stale: bool,
    ) -> Result<(Moved, Option<Vec<String>>)> {
        let observe = unless_interrupted(&self.context.cancel, async {
            let (head, stage, live) = try_join!(self.head(port), stage(port), definition(port))?;
            let head = self.resolve_head(head, &stage).await?;
            let current = head.current.clone().ok_or_else(|| empty(&self.context.stage))?;
            let to = current.release.pointer(&stage.pointer, Some(&current.release));
            must_fit(&stage.pointer, &to, !self.context.delivery.steps.is_empty())?;
            let freshness = freshness(port, &self.ledger, &stage, Some(&current), &live).await?;
            Ok((head, stage, current, live, freshness))
        });
        let (head, now, current, live, freshness) = observe.await?;
        let changes = match freshness {
            Freshness::Fresh(_) if if_stale => return Ok((Moved::Live(Box::new(current)), None)),
            Freshness::Stale(_, changes) => changes,
            Freshness::Fresh(_) | Freshness::Unknown(_) => Vec::new(),
        };
        let location = port.location();
        let calls = |definition: &Definition| Calls::of(definition, &location, contract);
        require_versioned(&calls(&live), Kind::Preflight, "the old deployment serves")?;
        let mut release = current.release;
        let snapshot = self.snapshot(port, &release.version, live, calls);
        let snapshot = unless_interrupted(&self.context.cancel, snapshot);
        let snapshot = self.context.events.step("deploy API", snapshot);
        let (snapshot, answered_before) = self.with_probe_before(port, snapshot).await?;
        release.api.deployment_id = snapshot.id;
        release.api.fingerprint = snapshot.fingerprint;
        release.api.authorizer_cache_seconds = Some(snapshot.definition.authorizer_cache_seconds());
        release.api.unproven = snapshot.definition.unproven().to_vec();
        release.api.versioned = true;
        let moved =
            self.go_live(port, (Action::Redeploy, None), release, (head, &now), answered_before).await?;
        Ok((moved, Some(changes)))
    }

    /// Moves the stage back to the newest earlier release that differs from the live one, or to the newest
    /// release of version `options.to`.
    ///
    /// A rollback is urgent, so the usual one needs few round trips: if the lease has the previous release,
    /// that is checked while the lease is taken, and the write that takes the lease already holds the intent.
    ///
    /// # Errors
    /// `rollback.no_target`, `rollback.unknown_version`, `rollback.gone`, `rollback.inactive`, and as [`HeldStage::go_live`].
    pub(crate) async fn rollback<W: StagePort>(
        context: &'a StageContext,
        store: S,
        port: &W,
        options: RollbackOptions<'_>,
        seen: Option<(LeaseSnapshot, StageState)>,
    ) -> Result<RolledBack> {
        let holder = Holder::new(unique_id(), context.who.clone(), "rollback".to_owned());
        let (snapshot, now) = match seen {
            Some(seen) => seen,
            None => {
                let read = unless_interrupted(&context.cancel, look(&store, &context.stage, port));
                context.events.step("read current state", read).await?
            }
        };
        let usual = usual_rollback(&snapshot, &now, options);
        if let Some((target, head)) = usual {
            let release = target.release.clone();
            let mut record = record(context, Action::Rollback, release, &head, &now)?;
            record.number = head.next()?;
            let as_holder = (&holder, &context.clock);
            let acquire = Lease::acquire_with_intent(
                store.clone(),
                &context.stage,
                &snapshot,
                as_holder,
                record.clone(),
            );
            // Neither is cancelled when the other fails: a lease that was taken must be released.
            let both = async {
                let both = async { join!(acquire, parts(port, &record.release)) };
                with_grace(&context.cancel, both).await.ok_or_else(interrupted)
            };
            let (lease, parts) = context.events.step("check release", both).await?;
            if let Some(lease) = lease? {
                let held = Self::new(
                    context,
                    store,
                    lease,
                    PreviousHolder { head: Some(head.clone()), ..PreviousHolder::default() },
                );
                return held
                    .during(async |held| {
                        let ready = match parts {
                            Ok(parts) => {
                                held.make_restorable(port, &record.release, parts, options, &head).await
                            }
                            Err(error) => Err(error),
                        };
                        if let Err(error) = ready {
                            held.lease.mark_clean(head).await;
                            return Err(error);
                        }
                        let caches = caches(&now, &head, &record.release);
                        let checks = held.live_checks(&[], caches, false);
                        let record = held.switch_and_provision(port, record, head, &checks).await?;
                        Ok(RolledBack { record, target })
                    })
                    .await;
            }
        }
        let held = Self::take_as(context, store, holder, None).await?;
        held.during(async |held| held.find_and_roll_back(port, options).await).await
    }

    /// The rollback of which the lease does not say the target.
    async fn find_and_roll_back<W: StagePort>(
        &self,
        port: &W,
        options: RollbackOptions<'_>,
    ) -> Result<RolledBack> {
        let observe = unless_interrupted(&self.context.cancel, async {
            let (head, now) = try_join!(self.head(port), stage(port))?;
            Ok((self.resolve_head(head, &now).await?, now))
        });
        let (head, now) = observe.await?;
        let find = unless_interrupted(&self.context.cancel, self.target(&head, &now, options.to));
        let target = self.context.events.step("find release", find).await?;
        self.roll_back_to(port, options, (head, now), target).await
    }

    /// Moves the stage back to the record `to`, if it still serves the release that the record `from` made live.
    /// `None`: it serves another one, and was left alone.
    ///
    /// # Errors
    /// Those of a rollback.
    pub(crate) async fn restore<W: StagePort>(
        context: &'a StageContext,
        store: S,
        port: &W,
        (is_from, to): (&dyn Fn(&Record) -> bool, u64),
    ) -> Result<Option<RolledBack>> {
        let held = Self::take(context, store, "rollback".to_owned()).await?;
        held.during(async |held| {
            let observe = unless_interrupted(&held.context.cancel, async {
                let (head, now) = try_join!(held.head(port), stage(port))?;
                let head = held.resolve_head(head, &now).await?;
                Ok((head, now, held.ledger.record(to).await?))
            });
            let (head, now, target) = held.context.events.step("read current state", observe).await?;
            if !head
                .current
                .as_ref()
                .is_some_and(|live| live.release.is_served_by(&now.pointer) && is_from(live))
            {
                return Ok(None);
            }
            let options = RollbackOptions::default();
            held.roll_back_to(port, options, (head, now), target).await.map(Some)
        })
        .await
    }

    /// Moves the stage back to the release of `target`.
    async fn roll_back_to<W: StagePort>(
        &self,
        port: &W,
        options: RollbackOptions<'_>,
        (head, now): (Head, StageState),
        mut target: Record,
    ) -> Result<RolledBack> {
        if let Some(current) = &head.current {
            target.release = target.restored(&current.release);
        }
        let current = head.current.as_ref().filter(|current| current.release.is_served_by(&now.pointer));
        if now.canary.is_none() && current.is_some_and(|current| current.number == target.number) {
            self.repair(port, &target.release, None).await;
            return Ok(RolledBack { record: target.clone(), target });
        }
        let check = unless_interrupted(&self.context.cancel, parts(port, &target.release));
        let parts = self.context.events.step("check release", check).await?;
        self.make_restorable(port, &target.release, parts, options, &head).await?;
        let before = head.clone();
        let moved = self.go_live(port, (Action::Rollback, None), target.release.clone(), (head, &now), false);
        let (record, _) = moved.await?.into_parts();
        self.provision_after_rollback(port, before, &record).await;
        Ok(RolledBack { record, target })
    }

    /// The record of the release that a rollback goes to.
    async fn target(&self, head: &Head, now: &StageState, to: Option<&Version>) -> Result<Record> {
        let Some(to) = to else {
            return rollback_target(&self.ledger, &self.context.stage, head, now).await;
        };
        if head.current.is_none() {
            return Err(empty(&self.context.stage));
        }
        let record = self.ledger.newest_of(to, head.last).await?;
        record.ok_or_else(|| {
            Error::usage(
                ErrorId::RollbackUnknownVersion,
                format!("failed to roll back: version {to} was never live on this stage"),
            )
            .hint("nothing was changed; `deployctl history` lists the releases")
        })
    }

    /// Moves the stage to `release` and records it; `seen` is the stage as it was read before. `answered_before`:
    /// whether the live release answered the probe; a rollback does not ask, because it is urgent.
    async fn go_live<W: StagePort>(
        &self,
        port: &W,
        action: (Action, Option<InfrastructureRecord>),
        release: Release,
        from: (Head, &StageState),
        answered_before: bool,
    ) -> Result<Moved> {
        // On the heap, because the futures of a switch are large.
        Box::pin(self.move_to(port, action, release, from, answered_before)).await
    }

    async fn move_to<W: StagePort>(
        &self,
        port: &W,
        (action, infrastructure): (Action, Option<InfrastructureRecord>),
        release: Release,
        (head, seen): (Head, &StageState),
        answered_before: bool,
    ) -> Result<Moved> {
        let live = head.current.as_ref().map(|current| &current.release);
        let by_canary = self.is_by_canary(action, &head);
        let record_from = |from: &StageState, aliases| {
            let mut record = record(self.context, action, release.clone(), &head, from)?;
            record.infrastructure = infrastructure.clone().or(record.infrastructure);
            record.before.aliases = aliases;
            record.before.latest = earlier_zips(&record.release, live);
            Ok::<_, Error>(record)
        };
        // Read directly before the switch, because preparing may have taken minutes. The stage has rarely been
        // moved, so the intent is stored meanwhile, unless it must say where the aliases point.
        let warn = |text: &str| self.context.events.warn(text);
        let read = async { try_join!(stage(port), aliases(port, &release, warn)) };
        let read = unless_interrupted(&self.context.cancel, read);
        let (read, stored) = if release.has_more_to_move() || by_canary {
            (read.await, None)
        } else {
            let mut record = record_from(seen, BTreeMap::new())?;
            let (read, intent) = join!(read, self.record_intent(&mut record, &head));
            intent?;
            (read, Some(record))
        };
        let mut from = seen.clone();
        let record = match (read, stored) {
            (Ok((stage, _)), Some(record)) if stage == *seen => record,
            (read, stored) => match read.and_then(|(now, aliases)| Ok((record_from(&now, aliases)?, now))) {
                Ok((record, now)) if by_canary => {
                    let canary = self.start_canary(port, record, (head, &now), answered_before).await?;
                    return Ok(Moved::Canary(Box::new(canary)));
                }
                Ok((mut record, now)) => {
                    from = now;
                    self.record_intent(&mut record, &head).await?;
                    record
                }
                Err(error) => {
                    if stored.is_some() {
                        self.lease.mark_clean(head).await;
                    }
                    return Err(error);
                }
            },
        };
        // An earlier release need not pass checks that were written for newer ones.
        let requests = if action == Action::Rollback { &[] } else { self.context.checks.requests.as_slice() };
        let caches = caches(&from, &head, &record.release);
        let checks = self.live_checks(requests, caches, answered_before);
        Ok(Moved::Live(Box::new(self.switch_over(port, record, head, &checks).await?)))
    }

    /// Whether the stage is moved in steps. A rollback is urgent, and a first release has nothing to compare with.
    fn is_by_canary(&self, action: Action, head: &Head) -> bool {
        if self.context.delivery.steps.is_empty() || action == Action::Rollback {
            return false;
        }
        if head.current.is_none() {
            self.context
                .events
                .note("no canary: this is the first release, and there is none to compare it with");
        }
        head.current.is_some()
    }

    pub(super) fn live_checks<'b>(
        &'b self,
        requests: &'b [Request],
        caches: Caches,
        answered_before: bool,
    ) -> LiveChecks<'b> {
        LiveChecks { probe: self.context.probe.as_ref(), answered_before, requests, caches }
    }
}

/// Reads the lease and the stage, of which the one without the other says little.
///
/// # Errors
/// Those of reading them.
pub(crate) async fn look<S: Store + Clone>(
    store: &S,
    name: &StageName,
    port: &impl StagePort,
) -> Result<(LeaseSnapshot, StageState)> {
    try_join!(Lease::peek(store, name), stage(port))
}

/// The target and the end of the ledger, if the lease has both, and the switch moves all of the target.
fn usual_rollback(
    snapshot: &LeaseSnapshot,
    now: &StageState,
    options: RollbackOptions<'_>,
) -> Option<(Record, Head)> {
    let head = snapshot.document.as_ref()?.head()?;
    let head = Some(head).filter(|head| options.to.is_none() && head.matches(&now.pointer))?;
    let target = head.rollback_target()?;
    let is_free = snapshot.canary().is_none() && !target.release.has_more_to_move();
    is_free.then(|| (target, head.clone()))
}

/// The release of prepared functions and of an API deployment.
pub(super) fn new_release(
    desired: Desired,
    origin: Origin<'_>,
    functions: BTreeMap<FunctionKey, FunctionRecord>,
    snapshot: &Snapshot,
) -> Release {
    let (api, stage) = origin.api;
    let Snapshot { id, fingerprint, definition } = snapshot;
    Release {
        version: desired.version,
        git: origin.git,
        promoted_from: origin.promoted_from,
        artifacts: desired.artifacts,
        functions,
        api: ApiRecord {
            id: api.to_owned(),
            stage: stage.to_owned(),
            deployment_id: id.clone(),
            fingerprint: *fingerprint,
            authorizer_cache_seconds: Some(definition.authorizer_cache_seconds()),
            unproven: definition.unproven().to_vec(),
            versioned: true,
        },
        variables: Some(desired.variables),
    }
}

/// The code to send again if a planned release fails: that of the functions which are called without a version.
fn code_to_put_back(plan: &Plan, current: Option<&Record>) -> Vec<Latest> {
    let live = current.map(|record| &record.release);
    let sent = plan.functions.iter().filter(|(_, step)| step.target.latest);
    let back = sent.filter_map(|(key, step)| {
        let Work::Update { code, .. } = &step.work else { return None };
        let (name, live) = (&step.target.name, live?);
        let before = live.functions.get(key).filter(|before| before.name == *name)?;
        let zip = live.artifacts.get(&before.artifact)?;
        Some(Latest::back(name, code.code_sha256(), zip))
    });
    back.collect()
}

/// The versions that the stage serves for the functions of the live release.
fn live_versions(current: Option<&Record>, now: &Pointer) -> BTreeMap<FunctionKey, Live> {
    let functions = current.into_iter().flat_map(|record| &record.release.functions);
    let versions = functions.filter_map(|(key, function)| {
        let version = now.variables.get(key.as_str())?.parse().ok()?;
        Some((key.clone(), (function.name.clone(), version)))
    });
    versions.collect()
}

/// The record that a rollback without a version goes to.
///
/// # Errors
/// `stage.empty`, `rollback.no_target`, and those of the ledger.
pub(super) async fn rollback_target<S: Store>(
    ledger: &Ledger<S>,
    stage: &StageName,
    head: &Head,
    now: &StageState,
) -> Result<Record> {
    let current = head.current.as_ref().ok_or_else(|| empty(stage))?;
    if !current.release.is_served_by(&now.pointer) {
        // The stage was moved without deployctl, to something that is in no record: the newest release is the
        // target.
        return Ok(current.clone());
    }
    let mut record = current.clone();
    while let Some(number) = record.preceding() {
        record = ledger.record(number).await?;
        if record.is_rollback_target(&current.release) {
            return Ok(record);
        }
    }
    let version = &current.release.version;
    let message = format!(
        "failed to roll back: {version} is live, and no earlier release in the ledger has other function \
         versions or another API"
    );
    let again = release_again(stage);
    Err(Error::preflight(ErrorId::RollbackNoTarget, message).hint(format!(
        "nothing was changed, and {version} is still live; choose a release of `deployctl history` with \
         `rollback --to <V>`, or {again}"
    )))
}

/// Checks that one call can move a stage from one pointer to another, also if it ends a canary.
fn must_fit(from: &Pointer, to: &Pointer, by_canary: bool) -> Result<()> {
    let size = Size::of(&from.variables, to.variables.keys().map(String::as_str));
    plan::check_size(if by_canary { size.with_canary() } else { size }).map_err(refused)
}

/// The caches that may hold answers of the live release, or of `next` if the switch is undone.
pub(super) fn caches(stage: &StageState, head: &Head, next: &Release) -> Caches {
    let seconds = |release: &Release| release.api.authorizer_cache_seconds.unwrap_or(AUTHORIZER_TTL_SECONDS);
    let current = head.current.as_ref().filter(|_| head.matches(&stage.pointer));
    let now = current.map_or(AUTHORIZER_TTL_SECONDS, |record| seconds(&record.release));
    Caches { authorizer_seconds: now.max(seconds(next)), responses: stage.cached }
}

/// The record of `release` once `stage` serves it.
///
/// # Errors
/// `release.refused` while a canary is in progress; `release.too_large`, but not for a rollback.
pub(super) fn record(
    context: &StageContext,
    action: Action,
    release: Release,
    head: &Head,
    stage: &StageState,
) -> Result<Record> {
    if let Some(canary) = &stage.canary {
        return Err(refused(plan::Refusal::Canary(canary.deployment_id.clone())));
    }
    let from: Pointer = stage.pointer.clone();
    let former = head.current.as_ref();
    let infrastructure = former.and_then(|record| record.infrastructure.clone());
    let pointer = release.pointer(&from, former.map(|record| &record.release));
    if action != Action::Rollback {
        must_fit(&from, &pointer, former.is_some() && !context.delivery.steps.is_empty())?;
    }
    Ok(Record {
        schema: SCHEMA,
        number: 0,
        action,
        outcome: Outcome::Live,
        pointer,
        before: Before {
            record: former.filter(|record| record.pointer == from).map(|record| record.number),
            pointer: from,
            aliases: BTreeMap::new(),
            latest: BTreeMap::new(),
        },
        release,
        at: crate::engine::ledger::now(),
        who: context.who.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        steps: Vec::new(),
        infrastructure: infrastructure.map(|layers| InfrastructureRecord { planned: false, ..layers }),
        canary: None,
        recovered: false,
    })
}
