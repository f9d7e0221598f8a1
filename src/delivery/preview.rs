//! `preview up`: builds the project's source, and shows it at a URL of its own. Terraform does not run.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::build::{Built, build, contents, records, upload};
use super::source::require_versioned;
use crate::artifact::Sha256;
use crate::aws::api_gateway::{ApiStage, AwsStage};
use crate::engine::held::HeldStage;
use crate::engine::ports::{ProbeResult, StagePort as _};
use crate::engine::preview::{Up, Wanted};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::{Session, unless_interrupted};
use crate::release::check::{HttpRequest, Probe};
use crate::release::model::{PreviewName, Version};
use crate::release::plan::Desired;
use crate::release::preview::{stage_name, version};

/// The time between two requests to a preview that does not answer yet.
const INTERVAL: Duration = Duration::from_millis(200);

/// Builds the zips, makes the preview, and waits until its URL answers. The lease of the stage is held only
/// between the build and the answer.
///
/// # Errors
/// Those of the build and of [`HeldStage::preview_up`]; `preview.unanswered`.
pub(crate) async fn preview_up(
    session: &Session,
    contract: &Contract,
    wanted: Wanted<'_>,
) -> Result<(Up, String)> {
    let aws_stage = session.aws_stage(contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let stage_context = session.stage_context()?;
    let built = build(session).await?;
    let wanted = Wanted { git: built.git.clone(), ..wanted };
    let name = wanted.name.clone();
    let version = version_of(&name, &built)?;
    let desired = Desired {
        version: version.clone(),
        artifacts: records(session, &version, &built),
        functions: contract.functions.clone(),
        variables: contract.variables.clone(),
        contents: contents(&built),
        running_code: false,
        by_canary: false,
    };
    let held = HeldStage::take(&stage_context, bucket, format!("preview {name}")).await?;
    let up = held.during(async |held| {
        require_versioned(session, &held.store).await?;
        let stored = upload(session, held, &version, &built);
        held.preview_up(&aws_stage, desired, wanted, stored).await
    });
    let up = Box::pin(up).await?;
    let url = session.execute_url(&contract.rest_api_id, &stage_name(&name));
    if let Some(probe) = &session.settings.probe {
        let answer = await_answer(session, contract, (&name, &url), (&version, probe));
        session.events.step("verify", unless_interrupted(&session.cancel, answer)).await?;
    }
    Ok((up, url))
}

/// The version of a preview of these zips.
fn version_of(name: &PreviewName, built: &Built) -> Result<Version> {
    let zips: Vec<String> = built.artifacts.iter().map(|artifact| artifact.sha256.hex()).collect();
    version(name, &Sha256::of(zips.join(" ").as_bytes())).map_err(|error| Error::bug(error.to_string()))
}

/// Waits until the URL answers with the preview's version.
async fn await_answer(
    session: &Session,
    contract: &Contract,
    (name, url): (&PreviewName, &str),
    (version, probe): (&Version, &Probe),
) -> Result<()> {
    let Contract { artifact_bucket, rest_api_id, .. } = contract;
    let stage_name = &stage_name(name);
    let stage = ApiStage { artifact_bucket, rest_api_id, stage_name, url };
    let port: AwsStage = session.aws.aws_stage(&stage).map_err(|failure| Error::bug(failure.to_string()))?;
    let deadline = Instant::now() + Duration::from_secs(probe.timeout_seconds);
    loop {
        let result = port.send(&HttpRequest::get(&probe.path)).await;
        let Some(why) = unanswered(&result, version, probe) else { return Ok(()) };
        if Instant::now() >= deadline {
            let message = format!("{url} does not answer as preview {name}: {why}");
            return Err(Error::new(Kind::OldReleaseServes, ErrorId::PreviewUnanswered, message).hint(
                "the stage and what it serves are unchanged; `deployctl explain preview.unanswered` says what \
                 to look at, and `deployctl preview down` closes the preview",
            ));
        }
        sleep(INTERVAL).await;
    }
}

/// Why a result is not an answer of the preview. API Gateway answers requests without credentials itself.
fn unanswered(result: &ProbeResult, version: &Version, probe: &Probe) -> Option<String> {
    let answer = match result {
        ProbeResult::Answer(answer) => answer,
        ProbeResult::Unreachable(why) => return Some(why.clone()),
    };
    let header = probe.release_header.as_ref().map(|header| header.to_ascii_lowercase());
    let found = header.as_ref().and_then(|header| answer.headers.get(header));
    match (header, found) {
        _ if answer.status >= 500 => Some(format!("status {}", answer.status)),
        (Some(_), Some(found)) if found == version.as_str() => None,
        (Some(_), None) if matches!(answer.status, 401 | 403) => None,
        (Some(header), found) => Some(format!("{header} is {}", found.map_or("missing", String::as_str))),
        (None, _) => None,
    }
}
