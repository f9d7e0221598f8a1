//! `deployctl redeploy --rest-api-id`: a new deployment of any API, without a project, a ledger or a lease.

use std::path::Path;

use super::context::Context;
use super::redeploy::Args;
use crate::aws::Aws;
use crate::aws::api_gateway::{ApiStage, AwsStage};
use crate::documents::result::{Api, Freshness, MovedStage, Outcome};
use crate::engine::failure::{Failure, Meaning};
use crate::engine::observe;
use crate::engine::ports::StagePort as _;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::output::Document;
use crate::platform::unique_id;
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::model::{DeploymentId, Version};
use crate::release::partition;
use crate::release::state::{Deployment, StageState};
use crate::terraform::source;

/// The deployments that the error of an unknown one lists.
const LISTED: usize = 5;

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let events = &context.events;
    let (Some(api), Some(name)) = (args.rest_api_id.as_deref(), args.stage_name.as_deref()) else {
        return Err(Error::bug("a redeploy by id has no id"));
    };
    let wanted = args.deployment.as_deref().map(deployment_id).transpose()?;
    let (aws, caller) = Aws::of_caller(args.region.clone(), args.profile.clone(), events.clone()).await?;
    events.note(format!("account {}, region {}, as {}", caller.account, aws.region(), caller.arn));
    let url = partition::execute_url(aws.region(), api, name);
    let port = aws
        .aws_stage(&ApiStage { artifact_bucket: "", rest_api_id: api, stage_name: name, url: &url })
        .map_err(|failure| Error::bug(failure.to_string()))?;
    let read = async {
        let stage = stage(&port, api, name).await?;
        let deployments = port.deployments().await;
        Ok::<_, Error>((
            stage,
            deployments.map_err(|failure| observe::unreadable("the deployments", failure))?,
        ))
    };
    let (stage, deployments) = events.step("read current state", read).await?;
    if let Some(release) = release_of(&stage, &deployments).filter(|_| !args.force) {
        return Err(managed(api, name, &release));
    }
    for warning in warnings(&stage, Path::new(".")) {
        events.warn(warning);
    }
    let from = stage.pointer.deployment_id.clone();
    let before = exported(context, &aws, api, name).await;
    let to = match wanted {
        Some(wanted) if deployments.iter().any(|deployment| deployment.id == wanted) => wanted,
        Some(wanted) => return Err(unknown(&wanted, deployments)),
        None => {
            let description = format!("deployctl redeploy id={}", unique_id());
            let created = events.step("create deployment", port.create_deployment(&description)).await;
            created.map_err(|failure| not_created(&from, failure))?
        }
    };
    if context.cancel.is_cancelled() {
        return Err(Error::new(
            Kind::Interrupted,
            ErrorId::Interrupted,
            "interrupted; the stage was not moved",
        ));
    }
    if to != from {
        let moving = move_stage(&aws, &port, (api, name), (&from, &to));
        events.step("move stage", moving).await?;
    }
    let after = exported(context, &aws, api, name).await;
    let changes = before.zip(after).map(|(before, after)| before.changes(&after));
    let mut document = Document::new("redeploy", "");
    document.stage = None;
    document.outcome = if to == from { Outcome::Unchanged } else { Outcome::Redeployed };
    document.url = Some(url);
    document.api = Some(Api {
        id: api.to_owned(),
        deployment_id: to.to_string(),
        fingerprint: None,
        // A new deployment has the API as it is now. What an earlier one has is not known.
        state: if args.deployment.is_none() { Freshness::Fresh } else { Freshness::Unknown },
        reasons: Vec::from_iter(changes.is_none().then(|| "the export could not be compared".to_owned())),
        changes: changes.unwrap_or_default(),
    });
    document.moved = Some(MovedStage {
        account: caller.account.to_string(),
        region: aws.region().to_owned(),
        stage_name: name.to_owned(),
        back: back(args, &from),
        from: from.to_string(),
    });
    Ok(document)
}

fn deployment_id(text: &str) -> Result<DeploymentId> {
    text.parse().map_err(|_| Error::usage(ErrorId::Usage, format!("{text:?} is not the id of a deployment")))
}

/// Reads the stage.
async fn stage(port: &AwsStage, api: &str, name: &str) -> Result<StageState> {
    port.stage().await.map_err(|failure| match failure.meaning {
        Meaning::NotFound => Error::usage(ErrorId::StageMissing, format!("API {api} has no stage {name}"))
            .because(failure)
            .hint(format!(
                "nothing was changed; `aws apigateway get-stages --rest-api-id {api}` lists the stages, and \
                 --region selects the region"
            )),
        _ => observe::unreadable("the stage", failure),
    })
}

/// The release that the stage has from deployctl: its deployment is of a release, or it names one that the API
/// has a deployment of.
fn release_of(stage: &StageState, deployments: &[Deployment]) -> Option<Version> {
    let released = |deployment: &Deployment| {
        deployment.description.parse::<DeploymentDescription>().ok().map(|described| described.version)
    };
    let current = deployments.iter().find(|deployment| deployment.id == stage.pointer.deployment_id);
    current.and_then(released).or_else(|| {
        let named = stage.pointer.release()?;
        deployments.iter().any(|deployment| released(deployment).as_ref() == Some(&named)).then_some(named)
    })
}

fn managed(api: &str, name: &str, release: &Version) -> Error {
    let message =
        format!("refused: deployctl releases to stage {name} of API {api}; it has release {release}");
    Error::usage(ErrorId::RedeployManaged, message).hint(
        "nothing was changed; `deployctl redeploy` in the project checks the new deployment and records it; \
         --force moves the stage without that",
    )
}

/// What the caller must know before the stage is moved.
fn warnings(stage: &StageState, folder: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(canary) = &stage.canary {
        warnings.push(format!(
            "the stage has a canary, which stays as it is: deployment {}",
            canary.deployment_id
        ));
    }
    if stage.cached {
        warnings
            .push("the stage has a cache, which can answer with old responses until they expire".to_owned());
    }
    for module in source::find(folder) {
        for stage in module.resources("aws_api_gateway_stage") {
            if !stage.ignored().missing(&["deployment_id"]).is_empty() {
                warnings.push(format!(
                    "{}: {} sets deployment_id; if it is this stage, the next `terraform apply` moves the stage \
                     back, unless the resource has lifecycle {{ ignore_changes = [deployment_id] }}",
                    stage.file.path.strip_prefix(folder).unwrap_or(&stage.file.path).display(),
                    stage.address()
                ));
            }
        }
    }
    warnings
}

/// What the stage serves; a warning if it cannot be exported.
async fn exported(context: &Context, aws: &Aws, api: &str, name: &str) -> Option<Definition> {
    match aws.exported(api, name).await {
        Ok(definition) => Some(definition),
        Err(failure) => {
            context.events.warn(format!("what the stage serves could not be exported: {failure}"));
            None
        }
    }
}

fn not_created(from: &DeploymentId, failure: Failure) -> Error {
    let live = format!("the stage serves deployment {from} as before");
    let hint = failure.hint(&live, "run the command again");
    Error::preflight(ErrorId::AwsRead, "failed to create a deployment").because(failure).hint(hint)
}

fn unknown(wanted: &DeploymentId, mut deployments: Vec<Deployment>) -> Error {
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.created));
    let newest = deployments.iter().take(LISTED).map(|deployment| {
        let at = jiff::Timestamp::from_second(deployment.created).unwrap_or_default();
        format!("{} ({at})", deployment.id)
    });
    let newest = newest.collect::<Vec<_>>().join(", ");
    Error::usage(ErrorId::StageMissing, format!("the API has no deployment {wanted}"))
        .hint(format!("nothing was changed; the newest deployments are {newest}"))
}

/// Moves the stage. After a failure, the stage itself says where it is.
async fn move_stage(
    aws: &Aws,
    port: &AwsStage,
    (api, name): (&str, &str),
    (from, to): (&DeploymentId, &DeploymentId),
) -> Result<()> {
    let Err(failure) = aws.move_stage(api, name, to).await else { return Ok(()) };
    let now = port.stage().await.map(|stage| stage.pointer.deployment_id);
    if now.as_ref().is_ok_and(|now| now == to) {
        return Ok(());
    }
    let live = match now {
        Ok(now) if !failure.may_have_happened() => format!("the stage serves deployment {now} as before"),
        _ => format!("the stage serves deployment {from} or {to}"),
    };
    let hint = failure.hint(&live, &format!("run the command again with --deployment {to}"));
    let message = format!("failed to move the stage to deployment {to}");
    Err(Error::new(Kind::OldReleaseServes, ErrorId::ReleaseNotSwitched, message).because(failure).hint(hint))
}

/// The command that moves the stage back.
fn back(args: &Args, from: &DeploymentId) -> String {
    let mut command = "deployctl redeploy".to_owned();
    let given = [
        ("--rest-api-id", args.rest_api_id.as_deref()),
        ("--stage-name", args.stage_name.as_deref()),
        ("--region", args.region.as_deref()),
        ("--profile", args.profile.as_deref()),
        ("--deployment", Some(from.as_str())),
    ];
    for (option, value) in given {
        if let Some(value) = value {
            command.push_str(&format!(" {option} {}", crate::platform::process::quoted(value)));
        }
    }
    if args.force {
        command.push_str(" --force");
    }
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::release::model::Pointer;

    fn stage(deployment: &str, release: Option<&str>) -> StageState {
        let variables: BTreeMap<String, String> =
            release.iter().map(|version| ("release".to_owned(), (*version).to_owned())).collect();
        let pointer = Pointer { deployment_id: deployment.parse().unwrap(), variables };
        StageState { pointer, canary: None, cached: false }
    }

    #[test]
    fn a_stage_of_deployctl_is_known_also_after_it_was_moved_by_hand() {
        let deployment =
            |id: &str, description: String| Deployment { id: id.parse().unwrap(), description, created: 0 };
        let released = DeploymentDescription {
            version: "1.4.2".parse().unwrap(),
            fingerprint: crate::artifact::Sha256::of(b"x"),
            nonce: "n".to_owned(),
        };
        let deployments = [
            deployment("released", released.to_string()),
            deployment("byhand", "deployctl redeploy id=n".to_owned()),
        ];
        let release = |stage: StageState| release_of(&stage, &deployments).map(|version| version.to_string());
        assert_eq!(release(stage("released", None)).as_deref(), Some("1.4.2"));
        assert_eq!(release(stage("byhand", Some("1.4.2"))).as_deref(), Some("1.4.2"));
        // A variable of this name can be the project's own.
        assert_eq!(release(stage("byhand", Some("2026"))), None);
        assert_eq!(release(stage("byhand", None)), None);
    }

    #[test]
    fn terraform_that_moves_the_stage_back_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let stage_of = |name: &str, more: &str| {
            format!("resource \"aws_api_gateway_stage\" \"{name}\" {{\n  deployment_id = \"d\"\n{more}}}\n")
        };
        let ignoring = stage_of("kept", "  lifecycle {\n    ignore_changes = [deployment_id]\n  }\n");
        std::fs::write(folder.path().join("main.tf"), stage_of("moved", "") + &ignoring).unwrap();
        let warnings = warnings(&stage("d", None), folder.path());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("main.tf: aws_api_gateway_stage.moved sets"), "{warnings:?}");
    }
}
