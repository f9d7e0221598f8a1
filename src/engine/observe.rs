//! Reads what a stage runs and serves, and whether it serves the API as it is defined.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;

use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::ports::{StagePort, Store};
use crate::engine::reach;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::calls::{Calls, UnversionedCall};
use crate::release::check::Checks;
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::model::{FunctionKey, StageName};
use crate::release::plan::{self, Desired, Observed, Plan, Target};
use crate::release::record::{ArtifactRecord, Record, Release};
use crate::release::state::{AliasState, FunctionState, StageState};

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Freshness {
    /// It does. The fingerprint of the definition.
    Fresh(Sha256),
    /// The API has changed since its deployment. The fingerprint of the deployed definition, and the changes,
    /// if that definition is still stored.
    Stale(Sha256, Vec<String>),
    /// deployctl did not create the deployment (no reason), or what it read does not prove that the deployed
    /// API is the defined one.
    Unknown(Vec<String>),
}

/// Reads the current state and plans a release; changes nothing. `head` reads the end of the ledger, and
/// `resolve` corrects it after the stage is read. `stored` stores the artifacts meanwhile, and returns their
/// final records.
///
/// # Errors
/// `release.refused`, and when something cannot be read.
pub(crate) async fn observe_and_plan(
    port: &impl StagePort,
    desired: &mut Desired,
    checks: &Checks,
    head: impl Future<Output = Result<Head>>,
    resolve: impl AsyncFnOnce(Head, &StageState) -> Result<Head>,
    stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
) -> Result<(Head, Observed, Plan)> {
    plan::check(desired).map_err(refused)?;
    plan::check_invocations(desired, &checks.invocations).map_err(refused)?;
    let (head, functions, aliases, stage, definition, artifacts) = try_join!(
        head,
        functions(port, desired),
        existing_aliases(port, &desired.functions),
        stage(port),
        definition(port),
        stored
    )?;
    desired.artifacts = artifacts;
    let head = resolve(head, &stage).await?;
    let (current, location) = (head.current.clone(), port.location());
    let observed = Observed { functions, aliases, stage, definition, location, current };
    let mut plan = plan::plan(desired, &observed).map_err(refused)?;
    find_exposed(port, desired, &observed, &mut plan).await;
    Ok((head, observed, plan))
}

/// Finds the functions whose new code would get requests before the switch: the live deployment, which
/// deployctl did not make, calls them without a version.
async fn find_exposed(port: &impl StagePort, desired: &Desired, observed: &Observed, plan: &mut Plan) {
    let current = observed.current.as_ref();
    if plan.may_be_exposed(current).next().is_none() {
        return;
    }
    match port.deployed().await {
        Ok(live) => {
            let calls = Calls::of(&live, &observed.location, &desired.functions);
            let exposed = plan.may_be_exposed(current).filter(|key| calls.at_latest.contains(key));
            plan.exposed = exposed.cloned().collect();
        }
        Err(failure) => plan.unknown_exposure = Some(failure.to_string()),
    }
}

/// Refuses new code for functions that the live deployment calls without a version.
///
/// # Errors
/// `release.not_atomic` with the functions, and the command that publishes the code that runs.
pub(crate) fn require_atomic(plan: &Plan, stage: &StageName) -> Result<()> {
    if plan.exposed.is_empty() {
        return Ok(());
    }
    let named = plan
        .exposed
        .iter()
        .filter_map(|key| plan.functions.get(key).map(|step| format!("{key} ({})", step.target.name)));
    let message = format!(
        "refused to release: the live deployment calls functions without a version, and callers would get their \
         new code before the switch: {}",
        named.collect::<Vec<_>>().join(", ")
    );
    Err(Error::preflight(ErrorId::ReleaseNotAtomic, message).hint(format!(
        "nothing was published; `deployctl release --version <V> --stage {stage} --running-code` releases the \
         code that runs, and after that every release is one switch; --not-atomic releases the new code all \
         the same"
    )))
}

/// Compares the definition of the API with the one that the stage's deployment froze.
///
/// # Errors
/// When either cannot be read.
pub(crate) async fn freshness<S: Store>(
    port: &impl StagePort,
    ledger: &Ledger<S>,
    stage: &StageState,
    current: Option<&Record>,
    live: &Definition,
) -> Result<Freshness> {
    let deployment_id = &stage.pointer.deployment_id;
    let frozen = match current.map(|record| &record.release.api) {
        Some(api) if api.deployment_id == *deployment_id => api.fingerprint,
        // The stage was moved without deployctl. A deployment that deployctl created has a description.
        _ => {
            let deployment = port.deployment(deployment_id).await;
            let deployment = deployment.map_err(|failure| unreadable("the deployment", failure))?;
            let description = deployment
                .and_then(|deployment| deployment.description.parse::<DeploymentDescription>().ok());
            let Some(description) = description else { return Ok(Freshness::Unknown(Vec::new())) };
            description.fingerprint
        }
    };
    if [live.fingerprint(), live.settled().fingerprint()].contains(&frozen) {
        return Ok(match live.unproven() {
            [] => Freshness::Fresh(frozen),
            reasons => Freshness::Unknown(reasons.to_vec()),
        });
    }
    let changes = match ledger.definition(&frozen).await? {
        Some(definition) => definition.changes(live),
        None => vec!["the definition that was deployed is no longer in the bucket".to_owned()],
    };
    Ok(Freshness::Stale(frozen, changes))
}

/// Reads the definition of the API.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn definition(port: &impl StagePort) -> Result<Definition> {
    port.definition().await.map_err(|failure| unreadable("the API", failure))
}

/// Reads the stage.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn stage(port: &impl StagePort) -> Result<StageState> {
    port.stage().await.map_err(|failure| match failure.meaning {
        Meaning::NotFound => Error::preflight(
            ErrorId::StageMissing,
            "failed to read the stage: the API does not have it",
        )
        .because(failure)
        .hint("nothing was changed; Terraform creates API and stage: `deployctl plan` shows what is missing"),
        _ => unreadable("the stage", failure),
    })
}

/// Reads the functions concurrently.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn functions(
    port: &impl StagePort,
    desired: &Desired,
) -> Result<BTreeMap<FunctionKey, FunctionState>> {
    let reads = desired.functions.iter().map(|(key, target)| async move {
        let state = port.function(&target.name).await.map_err(|failure| match failure.meaning {
            Meaning::NotFound => {
                let message = format!("failed to read function {}: it does not exist", target.name);
                Error::preflight(ErrorId::FunctionMissing, message).because(failure).hint(
                    "nothing was changed, but the stage cannot invoke this function; Terraform creates \
                         functions: `deployctl plan` shows what is missing",
                )
            }
            _ => unreadable(&format!("function {}", target.name), failure),
        })?;
        Ok::<_, Error>((key.clone(), state))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// Reads the aliases that a contract names; `None` for one that does not exist.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn aliases(
    port: &impl StagePort,
    functions: &BTreeMap<FunctionKey, Target>,
) -> Result<BTreeMap<FunctionKey, Option<AliasState>>> {
    let reads = functions.iter().filter_map(|(key, Target { name, alias, .. })| {
        let alias = alias.as_ref()?;
        Some(async move { Ok::<_, Error>((key.clone(), reach::alias(port, name, alias).await?)) })
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// The same, and all must exist.
async fn existing_aliases(
    port: &impl StagePort,
    functions: &BTreeMap<FunctionKey, Target>,
) -> Result<BTreeMap<FunctionKey, AliasState>> {
    let found = aliases(port, functions).await?.into_iter().map(|(key, state)| match state {
        Some(state) => Ok((key, state)),
        None => {
            let target = functions.get(&key);
            let alias = target.and_then(|target| target.alias.as_ref()).map(ToString::to_string);
            let message = format!(
                "failed to read alias {} of function {key}: it does not exist",
                alias.unwrap_or_default()
            );
            Err(Error::preflight(ErrorId::AliasMissing, message).hint(
                "nothing was changed; create it in Terraform (aws_lambda_alias, with ignore_changes = \
                 [function_version, routing_config]), or correct the contract",
            ))
        }
    });
    found.collect()
}

/// The error of a read that AWS refused, before anything was moved.
pub(crate) fn unreadable(what: &str, failure: Failure) -> Error {
    let otherwise = match failure.meaning {
        Meaning::Denied => "the caller lacks the permission that the error above names",
        _ => "run the command again",
    };
    let hint = failure.hint("what is live is unchanged", otherwise);
    Error::new(Kind::Preflight, ErrorId::AwsRead, format!("failed to read {what}"))
        .because(failure)
        .hint(hint)
}

/// The error of a command that needs a release on a stage that has none.
pub(crate) fn empty(stage: &StageName) -> Error {
    Error::preflight(ErrorId::StageEmpty, format!("nothing has been released to stage {stage} yet"))
        .hint(format!("`deployctl release --version <V> --stage {stage}` makes the first release"))
}

/// The calls of the API that a release deployed and that no switch moves; `None` if its definition is no
/// longer stored. The definition is read only for a release that was not checked.
///
/// # Errors
/// Those of [`Ledger::definition`].
pub(crate) async fn unversioned_calls<S: Store>(
    port: &impl StagePort,
    ledger: &Ledger<S>,
    release: &Release,
) -> Result<Option<Vec<UnversionedCall>>> {
    if release.api.versioned {
        return Ok(Some(Vec::new()));
    }
    let definition = ledger.definition(&release.api.fingerprint).await?;
    Ok(definition.map(|definition| Calls::of(&definition, &port.location(), &release.functions).unversioned))
}

/// Refuses calls whose version no release sets: a switch would not move them. `live` says what is live.
///
/// # Errors
/// `api.unversioned`, of `kind`, with each call and the line to write.
pub(crate) fn require_versioned(calls: &Calls, kind: Kind, live: &str) -> Result<()> {
    let calls = &calls.unversioned;
    if calls.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        calls.iter().map(|call| format!("{call}; write in Terraform:\n    {}", call.write)).collect();
    let (calls, their) =
        if lines.len() == 1 { ("call", "its function") } else { ("calls", "their functions") };
    let message = format!(
        "refused: {} {calls} of the API would not take the version from the stage variable of {their}:\n  - {}",
        lines.len(),
        lines.join("\n  - ")
    );
    Err(Error::new(kind, ErrorId::ApiUnversioned, message).hint(format!(
        "{live}; write the lines above, with a role in `credentials` that may invoke every version (or declare \
         `alias` or `latest` for the function in the contract, which is not atomic), and run the command again; `deployctl explain api.unversioned`"
    )))
}

/// The error of a release that cannot be planned.
pub(crate) fn refused(refusal: plan::Refusal) -> Error {
    let (id, hint) = match &refusal {
        plan::Refusal::Canary(_) => (
            ErrorId::ReleaseRefused,
            "the old release serves; `deployctl status` says whose canary it is; it must end first",
        ),
        plan::Refusal::WeightedAlias { .. } => {
            (ErrorId::ReleaseRefused, "the old release serves; remove the weights of the alias first")
        }
        plan::Refusal::TooLarge(_) => (
            ErrorId::ReleaseTooLarge,
            "the old release serves; move functions to another API, or remove stage variables that are not \
             needed",
        ),
        _ => (
            ErrorId::ReleaseRefused,
            "the old release serves; correct deployctl.toml or the contract in Terraform",
        ),
    };
    Error::preflight(id, "refused to release").because(refusal).hint(hint)
}
