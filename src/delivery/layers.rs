//! The Terraform layers of a release: each is planned, checked by the guard, and applied only if it has
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;

use futures::future::{join_all, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::approval::{self, Consented, Destruction};
use super::existing;
use crate::error::{Error, ErrorId, Result};
use crate::project::contract::Contract;
use crate::project::driver::init_if_needed;
use crate::project::session::Session;
use crate::terraform::failure::{Failure, Reason};
use crate::terraform::guard::GuardSettings;
use crate::terraform::messages::Diagnostic;
use crate::terraform::plan::Plan;
use crate::terraform::{Driver, Layer, PlanMode, PlanOptions, PlanOutcome, guard, layers, render};

/// A layer in `deployctl plan`.
#[derive(Debug)]
pub(crate) struct PlannedLayer {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) plan: LayerPlan,
    /// What Terraform warned of, failed `check` blocks included.
    pub(crate) warnings: Vec<Diagnostic>,
}

#[derive(Debug)]
pub(crate) enum LayerPlan {
    NoChanges,
    Changes(Plan),
    /// The layer depends on these layers, which have never been applied or have changes that its plan needs.
    NotYet(Vec<String>),
}

/// All layers in `deployctl plan`.
#[derive(Debug)]
pub(crate) struct PlannedLayers {
    /// In dependency order.
    pub(crate) layers: Vec<PlannedLayer>,
    /// What they would do, by name.
    pub(super) actions: BTreeMap<String, Value>,
    pub(crate) to_confirm: Vec<Destruction>,
}

/// The layers of a stage and the driver that applies them.
#[derive(Debug)]
pub(crate) struct Infrastructure<'a> {
    session: &'a Session,
    driver: Driver,
    guard: GuardSettings,
    /// In dependency order; the layers of one wave do not depend on each other.
    pub(crate) waves: Vec<Vec<&'a Layer>>,
    /// A plan needs a core for seconds, so no more of them run at the same time.
    planning: Semaphore,
}

/// A layer before anything is applied.
#[derive(Debug)]
enum Early {
    Plan(PlanOutcome),
    /// The layer depends on these layers, which have never been applied. Its configuration is valid.
    NotYet(Vec<String>),
    /// The configuration is valid, and the plan failed: it may need what is applied or uploaded first.
    Failed(Error),
}

/// The layers of a release and how far they are.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    early: BTreeMap<String, Early>,
    /// The layers that are done, and whether each was changed.
    done: BTreeMap<String, bool>,
}

impl Early {
    fn actions(&self) -> Value {
        match self {
            Self::Plan(outcome) => actions(outcome),
            Self::NotYet(_) | Self::Failed(_) => approval::not_yet(),
        }
    }
}

fn actions(outcome: &PlanOutcome) -> Value {
    match outcome {
        PlanOutcome::Changes(planned) => approval::actions(&planned.plan),
        PlanOutcome::NoChanges { .. } => approval::no_changes(),
    }
}

impl Progress {
    /// What the layers would do, for the digest of a plan. Nothing may be applied yet.
    pub(super) fn actions(&self) -> BTreeMap<String, Value> {
        self.early.iter().map(|(name, early)| (name.clone(), early.actions())).collect()
    }

    /// The dependencies of `layer` that change in this release, so far as their plans say.
    fn changing(&self, layer: &Layer) -> Vec<String> {
        let changes = |name: &&String| {
            self.done.get(*name).copied().unwrap_or_else(|| {
                !matches!(self.early.get(*name), Some(Early::Plan(PlanOutcome::NoChanges { .. })))
            })
        };
        layer.depends_on.iter().filter(changes).cloned().collect()
    }
}

impl<'a> Infrastructure<'a> {
    /// The layers of `session`'s stage.
    ///
    /// # Errors
    /// A dependency cycle, a tfvars file that contradicts the stage, or a layer whose state an earlier run could not save.
    pub(crate) fn new(session: &'a Session, driver: Driver) -> Result<Self> {
        let waves = layers::waves(&session.settings.layers)?;
        session.settings.require_agreeing_variables(&session.settings.layers)?;
        for layer in &session.settings.layers {
            driver.require_saved_state(layer)?;
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let guard = session.settings.guard.clone();
        Ok(Self { session, driver, guard, waves, planning: Semaphore::new(cores) })
    }

    /// Refuses plans that move aliases, if the contract of the last apply names some.
    #[must_use]
    pub(crate) fn guarding_aliases_of(mut self, contract: Option<&Contract>) -> Self {
        let mut functions = contract.into_iter().flat_map(|contract| contract.functions.values());
        self.guard.owns_aliases = functions.any(|target| target.alias.is_some());
        self
    }

    /// The number of waves up to the one that creates the artifact bucket; 0 if no layer creates it.
    pub(crate) fn waves_with_bucket(&self) -> usize {
        let Some(bucket_layer) = self.session.settings.bucket_layer() else { return 0 };
        let has_bucket = |wave: &Vec<&Layer>| wave.iter().any(|layer| layer.name == bucket_layer);
        self.waves.iter().position(has_bucket).map_or(0, |index| index + 1)
    }

    /// Plans each layer whose dependencies were applied before, on their outputs as they are now, and validates
    /// the others. Checks each plan that no dependency can change with the guard. Changes nothing.
    ///
    /// # Errors
    /// Those of Terraform and of the guard, all exit code 20.
    pub(crate) async fn plan_early(&self) -> Result<Progress> {
        self.plan_early_with(&PlanOptions::default()).await
    }

    async fn plan_early_with(&self, options: &PlanOptions) -> Result<Progress> {
        let layers: Vec<&Layer> = self.waves.iter().flatten().copied().collect();
        let missing = self.never_applied(&layers).await?;
        let early = layers.iter().map(|layer| {
            let missing: Vec<String> =
                layer.depends_on.iter().filter(|name| missing.contains(*name)).cloned().collect();
            self.plan_or_validate(layer, missing, options)
        });
        // Not `try_join_all`: a plan that is stopped would leave its state locked.
        let early = join_all(early).await;
        let mut progress = Progress::default();
        for (layer, early) in layers.iter().zip(early) {
            progress.early.insert(layer.name.clone(), early?);
        }
        for layer in layers {
            if let Some(Early::Plan(outcome)) = progress.early.get(&layer.name) {
                self.require_new(layer, outcome).await?;
                if progress.changing(layer).is_empty() {
                    self.check(outcome)?;
                }
            }
        }
        Ok(progress)
    }

    /// Plans a layer, or validates it if dependencies are `missing`.
    async fn plan_or_validate(
        &self,
        layer: &Layer,
        missing: Vec<String>,
        options: &PlanOptions,
    ) -> Result<Early> {
        let _turn = self.planning.acquire().await;
        let Session { events, .. } = self.session;
        init_if_needed(events, &self.driver, layer).await?;
        if !missing.is_empty() {
            let step = format!("terraform validate {}", layer.name);
            events.step(&step, self.driver.require_valid(layer)).await?;
            return Ok(Early::NotYet(missing));
        }
        match self.plan(layer, options.clone()).await {
            Ok(outcome) => Ok(Early::Plan(outcome)),
            Err(failure) => {
                let may_pass_later = matches!(*failure.reason, Reason::Failed(_))
                    && self.driver.require_valid(layer).await.is_ok();
                if may_pass_later { Ok(Early::Failed(failure.into())) } else { Err(failure.into()) }
            }
        }
    }

    /// Applies `layers`, each as soon as its dependencies are done. A layer is planned again if a dependency
    /// has changed, or if it could not be planned before; one without changes is skipped.
    ///
    /// # Errors
    /// Those of Terraform and of the guard: what is live is unchanged, and the layers may be partly applied.
    pub(super) async fn apply(
        &self,
        progress: &mut Progress,
        layers: impl IntoIterator<Item = &'a Layer>,
        consented: &Consented,
    ) -> Result<()> {
        let mut waiting: Vec<&Layer> =
            layers.into_iter().filter(|layer| !progress.done.contains_key(&layer.name)).collect();
        let mut running = FuturesUnordered::new();
        let mut result = Ok(());
        loop {
            // Layers that are being applied finish, and no other one starts after an error.
            if result.is_ok() {
                let is_ready =
                    |layer: &&Layer| layer.depends_on.iter().all(|name| progress.done.contains_key(name));
                let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
                waiting = rest;
                for layer in ready {
                    let changed = !progress.changing(layer).is_empty();
                    let early = progress.early.remove(&layer.name).filter(|_| !changed);
                    running.push(async move { (layer, self.apply_layer(layer, early, consented).await) });
                }
            }
            match running.next().await {
                Some((layer, Ok(changed))) => drop(progress.done.insert(layer.name.clone(), changed)),
                Some((_, Err(error))) => result = result.and(Err(error)),
                None => return result,
            }
        }
    }

    /// Applies a layer, and returns whether it has changed.
    async fn apply_layer(&self, layer: &Layer, early: Option<Early>, consented: &Consented) -> Result<bool> {
        let outcome = match early {
            Some(Early::Plan(outcome)) => outcome,
            _ => {
                let _turn = self.planning.acquire().await;
                init_if_needed(&self.session.events, &self.driver, layer).await?;
                let outcome = self.plan(layer, PlanOptions::default()).await?;
                self.require_new(layer, &outcome).await?;
                outcome
            }
        };
        self.check(&outcome)?;
        consented.check(&layer.name, &actions(&outcome), &self.to_confirm(&layer.name, &outcome))?;
        let PlanOutcome::Changes(planned) = outcome else { return Ok(false) };
        let step = format!("terraform apply {}", layer.name);
        self.session.events.step(&step, self.driver.apply(layer, planned)).await?;
        Ok(true)
    }

    async fn plan(&self, layer: &Layer, options: PlanOptions) -> Result<PlanOutcome, Failure> {
        let Session { events, .. } = self.session;
        let step = format!("terraform plan {}", layer.name);
        let outcome = events.step(&step, self.driver.plan(layer, options)).await?;
        if let PlanOutcome::Changes(planned) = &outcome {
            events.note(format!("{}: {}", layer.name, render::numbers(&planned.plan)));
        }
        Ok(outcome)
    }

    /// Refuses a plan for an empty state that would create what exists.
    async fn require_new(&self, layer: &Layer, outcome: &PlanOutcome) -> Result<()> {
        match outcome {
            PlanOutcome::Changes(planned) => {
                existing::require_none(self.session, &layer.name, &planned.plan).await
            }
            PlanOutcome::NoChanges { .. } => Ok(()),
        }
    }

    /// Refuses changes that a release does not apply.
    fn check(&self, outcome: &PlanOutcome) -> Result<()> {
        match outcome {
            PlanOutcome::Changes(planned) => Ok(guard::check(&planned.plan, &self.guard)?),
            PlanOutcome::NoChanges { .. } => Ok(()),
        }
    }

    /// The destructions of a plan that somebody must consent to.
    fn to_confirm(&self, layer: &str, outcome: &PlanOutcome) -> Vec<Destruction> {
        let PlanOutcome::Changes(planned) = outcome else { return Vec::new() };
        guard::to_confirm(&planned.plan, &self.guard)
            .map(|change| Destruction {
                layer: layer.to_owned(),
                address: change.address.clone(),
                action: change.action,
            })
            .collect()
    }

    /// The destructions of all early plans that somebody must consent to.
    pub(super) fn all_to_confirm(&self, progress: &Progress) -> Vec<Destruction> {
        let layers = self.waves.iter().flatten().map(|layer| layer.name.as_str());
        let early = layers.filter_map(|name| Some((name, progress.early.get(name)?)));
        early
            .filter_map(|(name, early)| match early {
                Early::Plan(outcome) => Some(self.to_confirm(name, outcome)),
                Early::NotYet(_) | Early::Failed(_) => None,
            })
            .flatten()
            .collect()
    }

    /// Plans all layers for display, and deletes the plan files. Takes no lock: a role that may only plan could
    /// otherwise delete the lock of a release.
    ///
    /// # Errors
    /// As [`Infrastructure::plan_early`], with all plans checked, and the error of a plan that no dependency
    /// can change.
    pub(crate) async fn plan_all(&self) -> Result<PlannedLayers> {
        let options = PlanOptions { skip_lock: true, ..PlanOptions::default() };
        let mut progress = self.plan_early_with(&options).await?;
        let (actions, to_confirm) = (progress.actions(), self.all_to_confirm(&progress));
        let layers = self.waves.iter().flatten().map(|layer| (layer, progress.changing(layer)));
        let mut planned = Vec::new();
        for (layer, changing) in layers.collect::<Vec<_>>() {
            let (plan, warnings) = match progress.early.remove(&layer.name) {
                Some(Early::Plan(outcome)) => {
                    self.check(&outcome)?;
                    match outcome {
                        PlanOutcome::NoChanges { warnings } => (LayerPlan::NoChanges, warnings),
                        PlanOutcome::Changes(planned) => (LayerPlan::Changes(planned.plan), planned.warnings),
                    }
                }
                Some(Early::Failed(error)) if changing.is_empty() => return Err(error),
                Some(Early::NotYet(missing)) => (LayerPlan::NotYet(missing), Vec::new()),
                Some(Early::Failed(_)) | None => (LayerPlan::NotYet(changing), Vec::new()),
            };
            planned.push(PlannedLayer { name: layer.name.clone(), dir: layer.dir.clone(), plan, warnings });
        }
        Ok(PlannedLayers { layers: planned, actions, to_confirm })
    }

    /// The dependencies of `layers` that have never been applied: they have no outputs.
    async fn never_applied(&self, layers: &[&Layer]) -> Result<BTreeSet<String>> {
        let names: BTreeSet<&String> = layers.iter().flat_map(|layer| &layer.depends_on).collect();
        let missing = names.into_iter().map(|name| async move {
            match self.session.outputs(name).await {
                // Without the state bucket, no layer has ever been applied.
                Err(error) if error.id == ErrorId::StateMissing => Ok(Some(name.clone())),
                outputs => {
                    Ok::<_, Error>(outputs?.is_none_or(|outputs| outputs.is_empty()).then(|| name.clone()))
                }
            }
        });
        Ok(try_join_all(missing).await?.into_iter().flatten().collect())
    }

    /// Destroys the layers of one wave concurrently. The guard does not apply: `destroy` asks for
    /// confirmation instead.
    ///
    /// # Errors
    /// Those of Terraform; the other resources are destroyed.
    pub(crate) async fn destroy(&self, wave: &[&'a Layer]) -> Result<()> {
        // Not `try_join_all`, as in `apply`.
        let destroyed = futures::future::join_all(wave.iter().map(|layer| self.destroy_layer(layer))).await;
        destroyed.into_iter().collect()
    }

    async fn destroy_layer(&self, layer: &Layer) -> Result<()> {
        init_if_needed(&self.session.events, &self.driver, layer).await?;
        let options = PlanOptions { mode: PlanMode::Destroy, ..PlanOptions::default() };
        let step = format!("terraform plan destroy {}", layer.name);
        let outcome = self.session.events.step(&step, self.driver.plan(layer, options)).await?;
        if let PlanOutcome::Changes(planned) = outcome {
            let step = format!("terraform destroy {}", layer.name);
            self.session.events.step(&step, self.driver.apply(layer, planned)).await?;
        }
        // An exit code does not prove that nothing is left.
        self.driver.confirm_destroyed(layer).await?;
        Ok(())
    }
}
