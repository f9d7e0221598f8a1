//! The checks of Lambda: versions, states, and conditions of updates.

use std::time::{Duration, Instant};

use aws_sdk_lambda::config::Config;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::types::{LastUpdateStatus, State};

use super::sandbox::{Sandbox, refusal};
use super::{Check, Observation, Stop};
use crate::engine::failure::{Failure, Meaning};

/// The time within which a version must become Active.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(300);

const INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn code_sha256(sandbox: &Sandbox) -> Observation {
    let expected = sandbox.zips[0].sha256.base64();
    let found = &sandbox.created_sha256;
    Observation::of(*found == expected, format!("CodeSha256 {found}, SHA-256 of the zip {expected}"))
}

/// A call without the retries that would hide the first answer.
fn once() -> aws_sdk_lambda::config::Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}

pub(super) async fn version_pending(sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    let update = sandbox.update_code(&sandbox.zips[1]).publish(true);
    let answer = sandbox.lambda("UpdateFunctionCode", update.send()).await?;
    let start = Instant::now();
    answer.version().unwrap_or_default().clone_into(&mut sandbox.new.version);
    let pending = answer.state() == Some(&State::Pending);
    let version = sandbox.new.version.clone();
    let invoke = sandbox.aws.lambda.invoke().function_name(&sandbox.name).qualifier(&version);
    let invoke = invoke.customize().config_override(once());
    let (active, invoked) = futures::join!(until_active(sandbox, &version, start), async {
        if !pending {
            return Ok(Observation::not_tried("the version was not Pending"));
        }
        Ok(match refusal(sandbox.call("Invoke", invoke.send()).await)? {
            Ok(_) => Observation::of(false, format!("it was answered after {} ms", milliseconds(start))),
            Err(failure) => Observation::of(true, told(&failure)),
        })
    });
    sandbox.observed(Check::InvokePending, invoked.unwrap_or_else(not_tried));
    let active = active?;
    sandbox.allow(&version).await?;
    let state = answer.state().map_or("no State", State::as_str);
    Ok(match active {
        Some(time) => {
            Observation::of(pending, format!("{state} in the answer, Active after {time} ms")).after(time)
        }
        None => Observation::of(false, format!("{state} in the answer, not Active after 300 s")),
    })
}

/// The milliseconds until a version is Active.
async fn until_active(sandbox: &Sandbox, version: &str, start: Instant) -> Result<Option<u64>, Stop> {
    while start.elapsed() < ACTIVE_TIMEOUT {
        if sandbox.state(version).await? == State::Active {
            return Ok(Some(milliseconds(start)));
        }
        sandbox.pause(INTERVAL).await?;
    }
    Ok(None)
}

fn not_tried(stop: Stop) -> Observation {
    Observation::not_tried(match stop {
        Stop::Failed(failure) => failure.to_string(),
        Stop::Interrupted => "interrupted".to_owned(),
    })
}

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// AWS's error code and message.
pub(super) fn told(failure: &Failure) -> String {
    let code = failure.code.as_deref().unwrap_or("an error without a code");
    format!("{code}: {}", failure.message)
}

/// Waits until no update of the function is in progress.
async fn updated(sandbox: &Sandbox) -> Result<(), Stop> {
    let start = Instant::now();
    while start.elapsed() < ACTIVE_TIMEOUT {
        let read = sandbox.aws.lambda.get_function_configuration().function_name(&sandbox.name);
        let configuration = sandbox.lambda("GetFunctionConfiguration", read.send()).await?;
        if configuration.last_update_status() != Some(&LastUpdateStatus::InProgress) {
            return Ok(());
        }
        sandbox.pause(INTERVAL).await?;
    }
    Ok(())
}

async fn publish(sandbox: &Sandbox) -> Result<(String, String), Stop> {
    updated(sandbox).await?;
    let publish = sandbox.aws.lambda.publish_version().function_name(&sandbox.name);
    let answer = sandbox.lambda("PublishVersion", publish.send()).await?;
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Ok((owned(answer.version()), owned(answer.code_sha256())))
}

pub(super) async fn publish_unchanged(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let (version, _) = publish(sandbox).await?;
    let last = &sandbox.new.version;
    Ok(Observation::of(version == *last, format!("version {version}, the last one was {last}")))
}

pub(super) async fn update_code_unchanged(sandbox: &Sandbox) -> Result<Observation, Stop> {
    updated(sandbox).await?;
    let update = sandbox.update_code(&sandbox.zips[1]).publish(true);
    let answer = sandbox.lambda("UpdateFunctionCode", update.send()).await?;
    let (version, last) = (answer.version().unwrap_or_default(), &sandbox.new.version);
    Ok(Observation::of(version == last, format!("version {version}, the last one was {last}")))
}

pub(super) async fn publish_configuration(sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    updated(sandbox).await?;
    let update = sandbox.aws.lambda.update_function_configuration().function_name(&sandbox.name);
    sandbox.lambda("UpdateFunctionConfiguration", update.description("changed").send()).await?;
    let (version, sha256) = publish(sandbox).await?;
    let last = &sandbox.new.version;
    let holds = version != *last && sha256 == sandbox.zips[1].sha256.base64();
    let observation = Observation::of(holds, format!("version {version} after {last}, CodeSha256 {sha256}"));
    sandbox.third = Some(version).filter(|version| version != last);
    Ok(observation)
}

async fn delete(sandbox: &Sandbox, version: &str) -> Result<Result<(), Failure>, Stop> {
    let delete = sandbox.aws.lambda.delete_function().function_name(&sandbox.name).qualifier(version);
    let answer = sandbox.lambda("DeleteFunction", delete.customize().config_override(once()).send()).await;
    Ok(refusal(answer)?.map(drop))
}

pub(super) async fn delete_aliased(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(version) = &sandbox.third else { return Ok(Observation::not_tried(NO_THIRD)) };
    let create = sandbox.aws.lambda.create_alias().function_name(&sandbox.name).name("checks");
    sandbox.lambda("CreateAlias", create.function_version(version).send()).await?;
    let deleted = delete(sandbox, version).await?;
    let alias = sandbox.aws.lambda.delete_alias().function_name(&sandbox.name).name("checks");
    sandbox.lambda("DeleteAlias", alias.send()).await?;
    Ok(match deleted {
        Ok(()) => Observation::of(false, "it was deleted"),
        Err(failure) => {
            Observation::of(failure.code.as_deref() == Some("ResourceConflictException"), told(&failure))
        }
    })
}

const NO_THIRD: &str = "there is no version to delete";

pub(super) async fn delete_version(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(version) = &sandbox.third else { return Ok(Observation::not_tried(NO_THIRD)) };
    if let Err(failure) = delete(sandbox, version).await? {
        return Ok(Observation::of(false, told(&failure)));
    }
    let gone =
        refusal(sandbox.state(version).await)?.is_err_and(|failure| failure.meaning == Meaning::NotFound);
    let others = sandbox.state(&sandbox.new.version).await.is_ok();
    let text = |exists: bool| if exists { "exists" } else { "is gone" };
    Ok(Observation::of(
        gone && others,
        format!("version {version} {}, the others: {}", text(!gone), text(others)),
    ))
}

pub(super) async fn revision_mismatch(sandbox: &Sandbox) -> Result<Observation, Stop> {
    updated(sandbox).await?;
    let update = sandbox.update_code(&sandbox.zips[0]).publish(true);
    let update = update.revision_id("00000000-0000-0000-0000-000000000000");
    Ok(match refusal(sandbox.lambda("UpdateFunctionCode", update.send()).await)? {
        Ok(answer) => Observation::of(false, format!("version {}", answer.version().unwrap_or_default())),
        Err(failure) => Observation::of(failure.meaning == Meaning::Precondition, told(&failure)),
    })
}

pub(super) async fn publish_other_code(sandbox: &Sandbox) -> Result<Observation, Stop> {
    updated(sandbox).await?;
    let publish = sandbox.aws.lambda.publish_version().function_name(&sandbox.name);
    let publish = publish.code_sha256(sandbox.zips[0].sha256.base64());
    Ok(match refusal(sandbox.lambda("PublishVersion", publish.send()).await)? {
        Ok(answer) => Observation::of(false, format!("version {}", answer.version().unwrap_or_default())),
        Err(failure) => Observation::of(failure.meaning == Meaning::Rejected, told(&failure)),
    })
}

pub(super) async fn dry_run(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let update = sandbox.update_code(&sandbox.zips[0]).dry_run(true);
    sandbox.lambda("UpdateFunctionCode", update.send()).await?;
    let read = sandbox.aws.lambda.get_function_configuration().function_name(&sandbox.name);
    let configuration = sandbox.lambda("GetFunctionConfiguration", read.send()).await?;
    let unchanged = configuration.code_sha256() == Some(&sandbox.zips[1].sha256.base64());
    Ok(Observation::of(unchanged, if unchanged { "the code is unchanged" } else { "the code was changed" }))
}

pub(super) async fn update_in_progress(sandbox: &Sandbox) -> Result<Observation, Stop> {
    updated(sandbox).await?;
    let update = sandbox.update_code(&sandbox.zips[0]);
    sandbox.lambda("UpdateFunctionCode", update.send()).await?;
    let second = sandbox.aws.lambda.update_function_configuration().function_name(&sandbox.name);
    let second = second.description("during an update").customize().config_override(once());
    Ok(match refusal(sandbox.call("UpdateFunctionConfiguration", second.send()).await)? {
        Ok(_) => Observation::not_tried("the first update had ended before the second call"),
        Err(failure) => Observation::of(failure.is_transient() && known(&failure.message), told(&failure)),
    })
}

/// The texts that the retry table repeats.
fn known(message: &str) -> bool {
    message.contains("in progress") || message.contains("currently in the following state: Pending")
}
