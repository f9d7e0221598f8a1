//! The Terraform layers of a release: each is planned, checked by the guard, and applied only if it has
//! changes.

use crate::error::{Error, ErrorId, Result};
use crate::project::driver::init_if_needed;
use crate::project::session::Session;
use crate::terraform::plan::Plan;
use crate::terraform::{Driver, Layer, PlanMode, PlanOptions, PlanOutcome, guard, layers, render};

/// A layer with its Terraform plan.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    layer: &'a Layer,
    outcome: PlanOutcome,
}

/// The plan of a layer in `deployctl plan`.
#[derive(Debug)]
pub(crate) enum LayerPlan {
    NoChanges,
    Changes(Plan),
    /// The layer depends on these layers, which have never been applied, so it cannot be planned.
    NotYet(Vec<String>),
}

/// The layers of a stage and the driver that applies them.
#[derive(Debug)]
pub(crate) struct Infrastructure<'a> {
    session: &'a Session,
    driver: Driver,
    /// In dependency order; the layers of one wave do not depend on each other.
    pub(crate) waves: Vec<Vec<&'a Layer>>,
}

impl<'a> Infrastructure<'a> {
    /// The layers of `session`'s stage.
    ///
    /// # Errors
    /// A dependency cycle, or a layer whose state an earlier run could not save.
    pub(crate) fn new(session: &'a Session, driver: Driver) -> Result<Self> {
        let waves = layers::waves(&session.settings.layers)?;
        for layer in &session.settings.layers {
            driver.require_saved_state(layer)?;
        }
        Ok(Self { session, driver, waves })
    }

    /// The index of the wave that creates the artifact bucket.
    ///
    /// # Errors
    /// Never after the settings were validated.
    pub(crate) fn bucket_wave(&self) -> Result<usize> {
        let name = &self.session.settings.bucket.layer;
        self.waves
            .iter()
            .position(|wave| wave.iter().any(|layer| layer.name == *name))
            .ok_or_else(|| Error::bug("the layer of the artifact bucket is in no wave"))
    }

    /// Applies `planned`, and then plans and applies the waves from `next` on, one after the other.
    ///
    /// # Errors
    /// As [`Infrastructure::plan`] and [`Infrastructure::apply`].
    pub(crate) async fn apply_remaining(&self, next: usize, planned: Vec<Planned<'a>>) -> Result<()> {
        self.apply(planned).await?;
        for wave in &self.waves[next..] {
            self.apply(self.plan(wave).await?).await?;
        }
        Ok(())
    }

    /// Plans the layers of one wave concurrently, and checks each plan with the guard. Changes nothing.
    ///
    /// # Errors
    /// Those of Terraform and of the guard; all exit code 20 and before any apply of this wave.
    pub(crate) async fn plan(&self, wave: &[&'a Layer]) -> Result<Vec<Planned<'a>>> {
        let events = &self.session.events;
        futures::future::try_join_all(wave.iter().map(|layer| async move {
            init_if_needed(&self.session.events, &self.driver, layer).await?;
            let step = format!("terraform plan {}", layer.name);
            let outcome = events.step(&step, self.driver.plan(layer, PlanOptions::default())).await?;
            if let PlanOutcome::Changes(planned) = &outcome {
                events.note(format!("{}: {}", layer.name, render::numbers(&planned.plan)));
                guard::check(&planned.plan, &self.session.settings.guard)?;
            }
            Ok(Planned { layer, outcome })
        }))
        .await
    }

    /// Applies `planned` concurrently; a layer without changes is skipped.
    ///
    /// # Errors
    /// Those of Terraform: what is live is unchanged, and the layers may be partly applied.
    pub(crate) async fn apply(&self, planned: Vec<Planned<'a>>) -> Result<()> {
        // Not `try_join_all`: a layer that fails must not cancel another one in the middle of an apply.
        let applied = futures::future::join_all(planned.into_iter().map(|planned| async move {
            let PlanOutcome::Changes(file) = planned.outcome else { return Ok(()) };
            let step = format!("terraform apply {}", planned.layer.name);
            self.session.events.step(&step, self.driver.apply(planned.layer, file)).await?;
            Ok::<_, Error>(())
        }))
        .await;
        applied.into_iter().collect()
    }

    /// Plans all layers for display, wave by wave, and deletes the plan files. A layer whose dependencies
    /// have never been applied has no plan, because their outputs do not exist yet.
    ///
    /// # Errors
    /// As [`Infrastructure::plan`], the guard included, because a release would refuse the plan as well.
    pub(crate) async fn plan_all(&self) -> Result<Vec<(String, LayerPlan)>> {
        let mut plans = Vec::new();
        for wave in &self.waves {
            let (ready, waiting) = self.ready(wave).await?;
            plans.extend(
                waiting.into_iter().map(|(layer, missing)| (layer.name.clone(), LayerPlan::NotYet(missing))),
            );
            for planned in self.plan(&ready).await? {
                let plan = match planned.outcome {
                    PlanOutcome::NoChanges => LayerPlan::NoChanges,
                    PlanOutcome::Changes(file) => LayerPlan::Changes(file.plan),
                };
                plans.push((planned.layer.name.clone(), plan));
            }
        }
        Ok(plans)
    }

    /// Divides layers into those whose dependencies have outputs, and the others with the dependencies that
    /// have none.
    async fn ready(&self, wave: &[&'a Layer]) -> Result<(Vec<&'a Layer>, Vec<(&'a Layer, Vec<String>)>)> {
        let mut ready = Vec::new();
        let mut waiting = Vec::new();
        for layer in wave {
            let mut missing = Vec::new();
            for name in &layer.depends_on {
                let outputs = self.session.outputs(name).await;
                // Without the state bucket, no layer has ever been applied.
                let applied = match outputs {
                    Err(error) if error.id == ErrorId::StateMissing => false,
                    other => other?.is_some_and(|outputs| !outputs.is_empty()),
                };
                if !applied {
                    missing.push(name.clone());
                }
            }
            if missing.is_empty() { ready.push(*layer) } else { waiting.push((*layer, missing)) }
        }
        Ok((ready, waiting))
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
