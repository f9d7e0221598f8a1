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
    let parent = session.aws_stage(contract)?;
    let request = HttpRequest::get(&probe.path);
    let deadline = Instant::now() + Duration::from_secs(probe.timeout_seconds);
    // Whether the stage itself refuses the probe, which has no credentials.
    let mut refuses = None;
    loop {
        let result = port.send(&request).await;
        if is_refusal(&result) && refuses.is_none() {
            refuses = Some(is_refusal(&parent.send(&request).await));
        }
        let Some(why) = unanswered(&result, version, probe, refuses == Some(true)) else { return Ok(()) };
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

fn is_refusal(result: &ProbeResult) -> bool {
    matches!(result, ProbeResult::Answer(answer) if matches!(answer.status, 401 | 403))
}

/// Why a result is not an answer of the preview. API Gateway itself answers requests without credentials, where the
/// API wants some and the stage `refuses` the probe, too; and requests to a stage that it does not know yet.
fn unanswered(result: &ProbeResult, version: &Version, probe: &Probe, refuses: bool) -> Option<String> {
    let answer = match result {
        ProbeResult::Answer(answer) => answer,
        ProbeResult::Unreachable(why) => return Some(why.clone()),
    };
    let header = probe.release_header.as_ref().map(|header| header.to_ascii_lowercase());
    let found = header.as_ref().and_then(|header| answer.headers.get(header));
    match (header, found) {
        _ if answer.status >= 500 => Some(format!("status {}", answer.status)),
        (Some(_), Some(found)) if found == version.as_str() => None,
        (_, None) if is_refusal(result) => {
            (!refuses).then(|| format!("status {}, which the stage itself does not give", answer.status))
        }
        (Some(header), found) => Some(format!("{header} is {}", found.map_or("missing", String::as_str))),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::check::Answer;

    #[test]
    fn a_stage_that_api_gateway_does_not_know_yet_is_no_answer() {
        let probe = |header: Option<&str>| Probe {
            path: "/".into(),
            release_header: header.map(str::to_owned),
            timeout_seconds: 1,
        };
        let answer = |status, header: Option<&str>| {
            let headers = header.map(|version| ("x-release".to_owned(), version.to_owned()));
            ProbeResult::Answer(Answer { status, headers: headers.into_iter().collect(), body: Vec::new() })
        };
        let version = "preview-a-1".parse().unwrap();
        for header in [Some("X-Release"), None] {
            let is_answer =
                |result, refuses| unanswered(&result, &version, &probe(header), refuses).is_none();
            assert!(!is_answer(answer(403, None), false), "{header:?}");
            assert!(is_answer(answer(403, None), true), "{header:?}: the API wants credentials");
            assert!(!is_answer(answer(502, None), true), "{header:?}");
        }
        let of_function = answer(403, Some("preview-a-1"));
        assert!(unanswered(&of_function, &version, &probe(Some("x-release")), false).is_none());
        assert!(unanswered(&answer(200, Some("1.0.0")), &version, &probe(Some("x-release")), true).is_some());
        assert!(unanswered(&answer(200, None), &version, &probe(None), false).is_none());
    }
}
