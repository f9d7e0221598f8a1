//! The checks of API Gateway's control API.

use std::collections::BTreeMap;

use aws_sdk_apigateway::operation::get_stage::GetStageOutput;
use aws_sdk_apigateway::types::{Op, PatchOperation};

use super::lambda::told;
use super::sandbox::{STAGE, Sandbox, refusal};
use super::{Observation, Stop};
use crate::engine::failure::{Failure, Meaning};

/// API Gateway's quota of variables of a stage.
const MAX_STAGE_VARIABLES: usize = 100;

type Pointer = (String, BTreeMap<String, String>);

pub(super) fn replace(path: &str, value: &str) -> PatchOperation {
    PatchOperation::builder().op(Op::Replace).path(path).value(value).build()
}

/// One UpdateStage; a refusal is a result.
pub(super) async fn patch(
    sandbox: &Sandbox,
    operations: Vec<PatchOperation>,
) -> Result<Result<(), Failure>, Stop> {
    let update = sandbox.aws.api_gateway.update_stage().rest_api_id(&sandbox.api).stage_name(STAGE);
    let update = update.set_patch_operations(Some(operations));
    Ok(refusal(sandbox.gateway("UpdateStage", update.send()).await)?.map(drop))
}

async fn stage(sandbox: &Sandbox) -> Result<GetStageOutput, Stop> {
    let read = sandbox.aws.api_gateway.get_stage().rest_api_id(&sandbox.api).stage_name(STAGE);
    sandbox.gateway("GetStage", read.send()).await
}

/// The deployment and the variables of the stage.
pub(super) async fn pointer(sandbox: &Sandbox) -> Result<Pointer, Stop> {
    let stage = stage(sandbox).await?;
    let variables =
        stage.variables().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Ok((stage.deployment_id().unwrap_or_default().to_owned(), variables.collect()))
}

/// Passed if the call was refused as invalid.
fn rejected(answer: Result<(), Failure>) -> Observation {
    match answer {
        Ok(()) => Observation::of(false, "it was accepted"),
        Err(failure) => Observation::of(failure.meaning == Meaning::Rejected, told(&failure)),
    }
}

fn accepted(answer: Result<(), Failure>) -> Observation {
    match answer {
        Ok(()) => Observation::of(true, "it was accepted"),
        Err(failure) => Observation::of(false, told(&failure)),
    }
}

pub(super) async fn deployment_in_use(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let (deployment, _) = pointer(sandbox).await?;
    let delete = sandbox.aws.api_gateway.delete_deployment().rest_api_id(&sandbox.api);
    let answer = sandbox.gateway("DeleteDeployment", delete.deployment_id(deployment).send()).await;
    Ok(rejected(refusal(answer)?.map(drop)))
}

pub(super) async fn canary_add(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let add = PatchOperation::builder().op(Op::Add).path("/canarySettings/percentTraffic").value("50.0");
    let answer = patch(sandbox, vec![add.build()]).await?;
    if answer.is_ok() {
        patch(sandbox, vec![without_canary()]).await?.ok();
    }
    Ok(rejected(answer))
}

/// The canary is the old release: its deployment, and its value of `mark`.
pub(super) async fn canary_replace(sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    if !sandbox.switched {
        return Ok(Observation::not_tried("the stage was not switched"));
    }
    let operations = vec![
        replace("/canarySettings/deploymentId", &sandbox.old.deployment),
        replace("/canarySettings/percentTraffic", "50.0"),
        replace("/canarySettings/stageVariableOverrides/mark", "old"),
    ];
    let answer = patch(sandbox, operations).await?;
    sandbox.canary = answer.is_ok();
    Ok(accepted(answer))
}

fn without_canary() -> PatchOperation {
    PatchOperation::builder().op(Op::Remove).path("/canarySettings").build()
}

pub(super) async fn canary_remove(sandbox: &Sandbox) -> Result<Observation, Stop> {
    if !sandbox.canary {
        return Ok(Observation::not_tried("there is no canary"));
    }
    let before = pointer(sandbox).await?;
    if let Err(failure) = patch(sandbox, vec![without_canary()]).await? {
        return Ok(Observation::of(false, told(&failure)));
    }
    let after = stage(sandbox).await?;
    let canary = after.canary_settings().and_then(|canary| canary.deployment_id()).is_some();
    let unchanged = pointer(sandbox).await? == before;
    let part = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    let text = format!(
        "{}, {}",
        part(canary, "the stage still has a canary", "the stage has no canary"),
        part(unchanged, "deployment and variables are unchanged", "deployment or variables have changed")
    );
    Ok(Observation::of(!canary && unchanged, text))
}

pub(super) async fn flush_stage_cache(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let flush = sandbox.aws.api_gateway.flush_stage_cache().rest_api_id(&sandbox.api).stage_name(STAGE);
    Ok(accepted(refusal(sandbox.gateway("FlushStageCache", flush.send()).await)?.map(drop)))
}

pub(super) async fn flush_authorizers_cache(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let flush = sandbox.aws.api_gateway.flush_stage_authorizers_cache().rest_api_id(&sandbox.api);
    let answer = sandbox.gateway("FlushStageAuthorizersCache", flush.stage_name(STAGE).send()).await;
    Ok(accepted(refusal(answer)?.map(drop)))
}

pub(super) async fn update_stage_invalid(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let before = pointer(sandbox).await?;
    let operations = vec![replace("/variables/half", "1"), replace("/deploymentId", "nosuchdep1")];
    let answer = patch(sandbox, operations).await?;
    let unchanged = pointer(sandbox).await? == before;
    Ok(match answer {
        Ok(()) => Observation::of(false, "the invalid operation was accepted"),
        Err(failure) => {
            let effect = if unchanged { "nothing has changed" } else { "the valid operation took effect" };
            Observation::of(unchanged, format!("{}; {effect}", told(&failure)))
        }
    })
}

pub(super) async fn variable_characters(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let path = format!("/variables/{}", "aZ0_".repeat(16));
    let answer = patch(sandbox, vec![replace(&path, "aZ0.-_")]).await?;
    if answer.is_ok() {
        let remove = PatchOperation::builder().op(Op::Remove).path(path).build();
        patch(sandbox, vec![remove]).await?.ok();
    }
    Ok(accepted(answer))
}

/// `number` operations: the deployment, and variables that no request uses.
fn operations(deployment: &str, number: usize) -> Vec<PatchOperation> {
    let variables = (1..number).map(|n| replace(&format!("/variables/v{n}"), "1"));
    std::iter::once(replace("/deploymentId", deployment)).chain(variables).collect()
}

/// One UpdateStage with `number` operations. Afterwards the stage has its own variables only, so that the
/// limit of variables does not interfere.
pub(super) async fn update_stage(
    sandbox: &Sandbox,
    number: usize,
    allowed: bool,
) -> Result<Observation, Stop> {
    let (deployment, variables) = pointer(sandbox).await?;
    // The stage's own variables are sent again, with their values, as a switch does.
    let own = variables.iter().map(|(name, value)| replace(&format!("/variables/{name}"), value));
    let own: Vec<PatchOperation> = own.collect();
    let mut sent = operations(&deployment, number.saturating_sub(own.len()));
    sent.extend(own);
    let answer = patch(sandbox, sent).await?;
    if answer.is_ok() {
        remove_added(sandbox).await?;
    }
    Ok(if allowed { accepted(answer) } else { rejected(answer) })
}

/// The names of the variables that [`operations`] has set.
async fn added(sandbox: &Sandbox) -> Result<Vec<String>, Stop> {
    let (_, variables) = pointer(sandbox).await?;
    let number = |name: &str| name.strip_prefix('v').is_some_and(|rest| rest.parse::<usize>().is_ok());
    Ok(variables.into_keys().filter(|name| number(name)).collect())
}

async fn remove_added(sandbox: &Sandbox) -> Result<(), Stop> {
    for names in added(sandbox).await?.chunks(BATCH) {
        let remove = |name: &String| {
            PatchOperation::builder().op(Op::Remove).path(format!("/variables/{name}")).build()
        };
        if let Err(failure) = patch(sandbox, names.iter().map(remove).collect()).await? {
            return Err(failure.into());
        }
    }
    Ok(())
}

/// The operations of one call that is not about its size.
const BATCH: usize = 50;

/// Adds variables in calls of at most 50 operations until the stage has 100, and then one more.
pub(super) async fn stage_variables_101(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let (_, variables) = pointer(sandbox).await?;
    let missing: Vec<PatchOperation> = (variables.len()..MAX_STAGE_VARIABLES)
        .map(|number| replace(&format!("/variables/v{number}"), "1"))
        .collect();
    for operations in missing.chunks(BATCH) {
        if let Err(failure) = patch(sandbox, operations.to_vec()).await? {
            return Ok(Observation::of(false, format!("fewer than 100 are refused: {}", told(&failure))));
        }
    }
    let answer = patch(sandbox, vec![replace("/variables/v101", "1")]).await?;
    let observation = rejected(answer);
    remove_added(sandbox).await?;
    Ok(observation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_as_many_operations_as_asked() {
        let paths = |number| -> std::collections::BTreeSet<String> {
            operations("d", number).iter().map(|operation| operation.path().unwrap().to_owned()).collect()
        };
        for number in [1, 60, 101] {
            assert_eq!(paths(number).len(), number);
        }
        assert!(paths(1).contains("/deploymentId"));
    }
}
