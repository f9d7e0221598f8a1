//! Terraform's part of a release: layer by layer, each planned, guarded, and applied only if it must be.

use crate::error::{Error, Result};
use crate::session::Session;
use crate::terraform::plan::{Action, Plan};
use crate::terraform::{Driver, Layer, PlanOptions, PlanOutcome, guard, layers};

/// A layer that has been planned, and may have to be applied.
#[derive(Debug)]
pub struct Planned<'a> {
    layer: &'a Layer,
    outcome: PlanOutcome,
}

/// The layers of a stage and the driver that applies them.
#[derive(Debug)]
pub struct Infrastructure<'a> {
    session: &'a Session,
    driver: Driver,
    /// In dependency order; those of one wave do not depend on each other.
    pub waves: Vec<Vec<&'a Layer>>,
}

impl<'a> Infrastructure<'a> {
    /// The layers of `session`'s stage.
    ///
    /// # Errors
    /// `layers.*` for a cycle, an unknown dependency or a folder without Terraform code.
    pub fn new(session: &'a Session, driver: Driver) -> Result<Self> {
        let waves = layers::waves(&session.settings.layers)?;
        Ok(Self { session, driver, waves })
    }

    /// The number of the wave that makes the artifact bucket.
    ///
    /// # Errors
    /// Never after the settings were checked.
    pub fn bucket_wave(&self) -> Result<usize> {
        let name = &self.session.settings.bucket.layer;
        self.waves
            .iter()
            .position(|wave| wave.iter().any(|layer| layer.name == *name))
            .ok_or_else(|| Error::bug("the bucket's layer has no wave"))
    }

    /// Plans the layers of one wave, side by side, and refuses what the guards refuse. Changes nothing.
    ///
    /// # Errors
    /// Terraform's, or a guard's refusal; all exit code 20 and before any apply of this wave.
    pub async fn plan(&self, wave: &[&'a Layer]) -> Result<Vec<Planned<'a>>> {
        let events = &self.session.events;
        futures::future::try_join_all(wave.iter().map(|layer| async move {
            self.driver.init_if_needed(layer).await?;
            let step = format!("terraform plan {}", layer.name);
            let outcome = events.step(&step, self.driver.plan(layer, PlanOptions::default())).await?;
            if let PlanOutcome::Changes(planned) = &outcome {
                events.note(format!("{}: {}", layer.name, counts(&planned.plan)));
                guard::check(&planned.plan, &self.session.settings.guard)?;
            }
            Ok(Planned { layer, outcome })
        }))
        .await
    }

    /// Applies what was planned, side by side; a layer without changes costs nothing.
    ///
    /// # Errors
    /// Terraform's: what runs is unchanged, the infrastructure is perhaps partly applied.
    pub async fn apply(&self, planned: Vec<Planned<'a>>) -> Result<()> {
        futures::future::try_join_all(planned.into_iter().map(|planned| async move {
            let PlanOutcome::Changes(file) = planned.outcome else { return Ok(()) };
            let step = format!("terraform apply {}", planned.layer.name);
            self.session.events.step(&step, self.driver.apply(planned.layer, file)).await?;
            Ok::<_, Error>(())
        }))
        .await?;
        Ok(())
    }
}

/// How much a plan does, in a line.
fn counts(plan: &Plan) -> String {
    let kinds = [
        (Action::Create, "to create"),
        (Action::Update, "to change"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to destroy"),
    ];
    let counts: Vec<String> = kinds
        .into_iter()
        .map(|(action, words)| (plan.count(action), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    if counts.is_empty() { "only outputs change".to_owned() } else { counts.join(", ") }
}
