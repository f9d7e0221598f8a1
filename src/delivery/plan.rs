//! What a release would do: the Terraform plans, and the plan of functions and API. Changes nothing.

use futures::try_join;

use super::approval::{self, Destruction};
use super::build::{Built, build, contents, records};
use super::layers::{Infrastructure, LayerPlan, PlannedLayer, PlannedLayers};
use super::stage_variables;
use crate::artifact::digest::Sha256;
use crate::aws::api_gateway::AwsStage;
use crate::engine::ledger::Ledger;
use crate::engine::observe::{self, Freshness};
use crate::error::{Error, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::{Session, unless_interrupted};
use crate::release::model::{UNRELEASED, Version};
use crate::release::plan::{Desired, Observed, Plan};
use crate::terraform::plan::Action;

/// What a release would do.
#[derive(Debug)]
pub(crate) struct DeliveryPlan {
    pub(crate) version: Version,
    /// The layers in dependency order.
    pub(crate) layers: Vec<PlannedLayer>,
    /// The plan of functions and API; `None` for the first release, because they do not exist yet.
    pub(crate) release: Option<ReleasePlan>,
    /// What a release asks for before it applies anything.
    pub(crate) to_confirm: Vec<Destruction>,
    /// Identifies what a release would do.
    pub(crate) digest: Sha256,
}

/// What a release would do to the functions and the API.
#[derive(Debug)]
pub(crate) struct ReleasePlan {
    pub(crate) plan: Plan,
    pub(crate) freshness: Freshness,
    /// The fingerprint of the API as it is defined now.
    pub(crate) definition: Sha256,
}

impl DeliveryPlan {
    /// Whether a release would change anything.
    pub(crate) fn changes(&self) -> bool {
        self.layers.iter().any(|layer| !matches!(layer.plan, LayerPlan::NoChanges))
            || self.release.as_ref().is_none_or(|release| {
                !release.plan.keeps_all()
                    || !release.plan.variables.is_empty()
                    || !matches!(release.freshness, Freshness::Fresh(_))
            })
    }
}

/// Plans a release of `version`, or of a version that does not exist yet.
pub(crate) async fn plan_release(session: &Session, version: Option<Version>) -> Result<DeliveryPlan> {
    let applied = Applied::read(session).await?;
    let version = match version {
        Some(version) => version,
        None => UNRELEASED.parse().map_err(|_| Error::bug("the placeholder version is not valid"))?,
    };
    let driver = session.driver_for(Some(&version)).await?;
    let contract = applied.0.as_ref().map(|(contract, _)| contract);
    let infrastructure = Infrastructure::new(session, driver)?.guarding_aliases_of(contract);
    let (layers, built) = try_join!(infrastructure.plan_all(), build(session))?;
    let output = &session.settings.contract;
    let is_applied =
        |layer: &PlannedLayer| layer.name == output.layer && matches!(layer.plan, LayerPlan::NoChanges);
    // An apply of the layer may change the contract.
    if let Some((contract, _)) = applied.0.as_ref().filter(|_| layers.layers.iter().any(is_applied)) {
        stage_variables::must_be_in_contract(&session.settings, contract)?;
    }
    let release = applied.plan(session, &version, &built).await?;
    let PlannedLayers { layers, actions, to_confirm } = layers;
    if let Some(release) =
        release.as_ref().filter(|_| !layers.iter().any(|layer| may_change_api(&layer.plan)))
    {
        observe::require_versioned(&release.plan.calls, Kind::Preflight, "nothing was changed")?;
    }
    let digest = approval::digest(&actions, &built, release.as_ref());
    Ok(DeliveryPlan { version, layers, release, to_confirm, digest })
}

/// The stage as it was applied last; `None` before the first release.
pub(super) struct Applied(Option<(Contract, AwsStage)>);

impl Applied {
    pub(super) async fn read(session: &Session) -> Result<Self> {
        let contract = session.applied_contract_to_change().await?;
        let with_stage = |contract: Contract| session.aws_stage(&contract).map(|stage| (contract, stage));
        Ok(Self(contract.map(with_stage).transpose()?))
    }

    /// What a release of `built` would do to functions and API.
    pub(super) async fn plan(
        &self,
        session: &Session,
        version: &Version,
        built: &Built,
    ) -> Result<Option<ReleasePlan>> {
        let Some((contract, aws_stage)) = &self.0 else { return Ok(None) };
        let release = functions_and_api(session, contract, aws_stage, version, built);
        Ok(Some(unless_interrupted(&session.cancel, release).await?))
    }
}

/// Whether an apply may change the definition of the API, so that its calls are only known afterwards.
fn may_change_api(plan: &LayerPlan) -> bool {
    let is_api = |kind: &str| {
        kind.starts_with("aws_api_gateway_")
            || kind.starts_with("awscc_apigateway_")
            || kind.starts_with("aws_cloudformation_stack")
    };
    match plan {
        LayerPlan::NoChanges => false,
        LayerPlan::NotYet(_) => true,
        LayerPlan::Changes(plan) => plan.changes.iter().any(|change| {
            !matches!(change.action, Action::Read | Action::NoOp) && is_api(&change.resource_type)
        }),
    }
}

async fn functions_and_api(
    session: &Session,
    contract: &Contract,
    aws_stage: &AwsStage,
    version: &Version,
    built: &Built,
) -> Result<ReleasePlan> {
    let ledger =
        Ledger::new(session.aws.bucket(&contract.artifact_bucket), session.settings.stage.name.clone());
    let artifacts = records(session, version, built);
    let (functions, variables) = (contract.functions.clone(), contract.variables.clone());
    let contents = contents(built);
    let version = version.clone();
    let stored = std::future::ready(Ok(artifacts.clone()));
    let by_canary = session.has_canary();
    let mut desired =
        Desired { version, artifacts, functions, variables, contents, running_code: false, by_canary };
    let checks = &session.settings.checks;
    let resolve = async |head, _: &_| Ok(head);
    let plan = observe::observe_and_plan(aws_stage, &mut desired, checks, ledger.head(), resolve, stored);
    let (head, observed, plan) = plan.await?;
    let Observed { stage, definition, .. } = &observed;
    let freshness = observe::freshness(aws_stage, &ledger, stage, head.current.as_ref(), definition).await?;
    Ok(ReleasePlan { plan, freshness, definition: definition.fingerprint() })
}
