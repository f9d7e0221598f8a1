//! Reads what a stage runs and serves, and compares that with the API as it is defined.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use futures::try_join;

use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::check::Checks;
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::model::{FunctionKey, StageName};
use crate::release::plan::{self, Desired, Observed, Plan};
use crate::release::record::Record;
use crate::release::state::{FunctionState, StageState};

/// Whether a stage serves the API as it is defined now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Freshness {
    /// It does; the definition's fingerprint.
    Fresh(Sha256),
    /// The API has changed since: what its deployment was made from, and how it changed, as far as the frozen
    /// definition is still there.
    Stale(Sha256, Vec<String>),
    /// deployctl did not make the deployment.
    Unknown,
}

/// Reads what a release starts from, and plans it; nothing is changed. `head` reads where the ledger ends, and `explained`
/// corrects that once the stage was read.
///
/// # Errors
/// `release.refused`, and when something cannot be read.
pub(crate) async fn observe_and_plan(
    port: &impl StagePort,
    desired: &Desired,
    checks: &Checks,
    head: impl Future<Output = Result<Head>>,
    explained: impl AsyncFnOnce(Head, &StageState) -> Result<Head>,
) -> Result<(Head, Observed, Plan)> {
    plan::check(desired).map_err(refused)?;
    plan::check_invocations(desired, &checks.invocations).map_err(refused)?;
    let (head, functions, stage) = try_join!(head, functions(port, desired), stage(port))?;
    let head = explained(head, &stage).await?;
    let observed = Observed { functions, stage, current: head.current.clone() };
    let plan = plan::plan(desired, &observed).map_err(refused)?;
    Ok((head, observed, plan))
}

/// Compares the live definition of the API with the one that the stage's deployment froze.
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
        // The stage was moved without deployctl. A deployment that deployctl made has a description.
        _ => {
            let found = port.deployment(deployment_id).await;
            let found = found.map_err(|failure| unreadable("the deployment", failure))?;
            let note =
                found.and_then(|deployment| deployment.description.parse::<DeploymentDescription>().ok());
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
pub(crate) async fn definition(port: &impl StagePort) -> Result<Definition> {
    port.definition().await.map_err(|failure| unreadable("the API", failure))
}

/// Reads the stage.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn stage(port: &impl StagePort) -> Result<StageState> {
    port.stage().await.map_err(|failure| match failure.meaning {
        Meaning::NotFound => {
            Error::preflight(ErrorId::StageMissing, "the API does not have this stage").because(failure).hint(
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
pub(crate) async fn functions(
    port: &impl StagePort,
    desired: &Desired,
) -> Result<BTreeMap<FunctionKey, FunctionState>> {
    let reads = desired.functions.iter().map(|(key, target)| async move {
        let state = port
            .function(&target.name)
            .await
            .map_err(|failure| match failure.meaning {
                Meaning::NotFound => {
                    let message = format!("function {} is not there", target.name);
                    Error::preflight(ErrorId::FunctionMissing, message).because(failure).hint(
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
pub(crate) fn unreadable(what: &str, failure: Failure) -> Error {
    Error::new(Kind::Preflight, ErrorId::AwsRead, format!("failed to read {what}"))
        .because(failure)
        .hint("what is live is unchanged")
}

/// The error of a command that needs a release on a stage that has none.
pub(crate) fn empty(stage: &StageName) -> Error {
    Error::preflight(ErrorId::StageEmpty, format!("nothing has been released to stage {stage} yet"))
        .hint(format!("`deployctl release --version <V> --stage {stage}` makes the first release"))
}

/// The error of a release that cannot be planned.
pub(crate) fn refused(refusal: plan::Refusal) -> Error {
    let hint = match &refusal {
        plan::Refusal::Canary(_) => "the old release serves; finish or remove the canary first",
        _ => "the old release serves; correct deployctl.toml or the contract in Terraform",
    };
    Error::preflight(ErrorId::ReleaseRefused, "refused to release").because(refusal).hint(hint)
}
