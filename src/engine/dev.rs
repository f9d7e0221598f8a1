//! What `deployctl dev` does to a stage: it serves code that no ledger record has.

use std::collections::BTreeMap;

use crate::engine::held::HeldStage;
use crate::engine::interrupt::unless_interrupted;
use crate::engine::observe::{Freshness, freshness, observe_and_plan, require_versioned};
use crate::engine::operations::{Origin, new_release};
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::{Snapshot, not_switched};
use crate::engine::reach::aliases;
use crate::error::{Kind, Result};
use crate::release::calls::Calls;
use crate::release::definition::Definition;
use crate::release::model::FunctionKey;
use crate::release::patch::patch;
use crate::release::plan::{Desired, Observed, Plan};
use crate::release::record::ArtifactRecord;
use crate::release::state::Caches;

/// What a stage serves after an update.
#[derive(Debug)]
pub(crate) struct Served {
    /// The functions with another version than before.
    pub(crate) changed: Vec<FunctionKey>,
    /// Whether the stage serves another deployment of the API than before.
    pub(crate) deployed: bool,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Publishes what differs, deploys the API if it has changed, and moves the stage there. No record is written,
    /// nothing is checked, and the stage stays there if that fails: it is a developer's own.
    ///
    /// # Errors
    /// The stage serves what it served before, unless an alias could not be moved after the switch.
    pub(crate) async fn serve(
        &self,
        port: &impl StagePort,
        mut desired: Desired,
        origin: Origin<'_>,
        stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
    ) -> Result<Served> {
        let work = async {
            let head = self.head(port).await?;
            let head = async { Ok(head) };
            let as_it_is = async |head, _: &_| Ok(head);
            let checks = &self.context.checks;
            let (_, observed, plan) =
                observe_and_plan(port, &mut desired, checks, head, as_it_is, stored).await?;
            require_versioned(&plan.calls, Kind::Preflight, "the earlier code serves")?;
            let snapshot = self.deployed_or_new(port, &plan, &observed).await?;
            let mut functions = self.publish_all(port, &plan, &observed, false).await?;
            functions.extend(self.publish_all(port, &plan, &observed, true).await?);

            let from = &observed.stage.pointer;
            let release = new_release(desired, origin, functions, &snapshot);
            let former = observed.current.as_ref().map(|record| &record.release);
            let to = release.pointer(from, former);
            let before = aliases(port, &release, |text| self.context.events.warn(text)).await?;
            if *from != to {
                let failed = |failure| not_switched("failed to switch the stage", failure);
                port.update_stage(&patch(from, &to)).await.map_err(failed)?;
                let seconds = snapshot.definition.authorizer_cache_seconds();
                let caches = Caches { authorizer_seconds: seconds, responses: false };
                port.flush_caches(caches).await.map_err(failed)?;
            }
            self.move_more(port, &release, &before).await?;
            let is_other =
                |key: &&FunctionKey| from.variables.get(key.as_str()) != to.variables.get(key.as_str());
            let changed = release.functions.keys().filter(is_other).cloned().collect();
            Ok(Served { changed, deployed: from.deployment_id != to.deployment_id })
        };
        unless_interrupted(&self.context.cancel, Box::pin(work)).await
    }

    /// The deployment that the stage serves, if it is one of the API as it is now, or else a new one.
    async fn deployed_or_new(
        &self,
        port: &impl StagePort,
        plan: &Plan,
        observed: &Observed,
    ) -> Result<Snapshot> {
        let Observed { stage, definition, current, .. } = observed;
        let fingerprint = match freshness(port, &self.ledger, stage, current.as_ref(), definition).await? {
            Freshness::Fresh(fingerprint) => fingerprint,
            Freshness::Stale(..) | Freshness::Unknown(_) => {
                let named = || plan.functions.iter().map(|(key, step)| (key, &step.target));
                let calls = |definition: &Definition| Calls::of(definition, &observed.location, named());
                return self.snapshot(port, &plan.version, definition.clone(), calls).await;
            }
        };
        let id = stage.pointer.deployment_id.clone();
        Ok(Snapshot { id, fingerprint, definition: definition.clone() })
    }
}
