//! `deployctl prune`: deletes function versions, API deployments and zips that are no longer referenced.

use std::fmt::Write as _;

use super::confirm;
use super::context::Context;
use crate::aws::api_gateway::AwsStage;
use crate::aws::cleanup::CodeStorage;
use crate::commands::context::LeaseArgs;
use crate::documents::{Body as _, CodeAccount, Deleted, Freed, PruneBody, Pruned};
use crate::engine::held::HeldStage;
use crate::engine::prune::{Job, plan};
use crate::error::{ErrorId, Result};
use crate::release::model::{StageName, Version};
use crate::release::prune::{OldVersion, Prune};
use crate::release::state::Object;

/// Delete function versions, API deployments and zips that are no longer referenced
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl prune --keep 10 --stage dev")]
pub(crate) struct Args {
    /// How many releases to keep: the live one, and those that were live last
    #[arg(long, value_name = "N")]
    pub(super) keep: std::num::NonZeroUsize,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let Args { keep, yes, .. } = *args;
    let (session, contract) = context.session_of_released().await?;
    let aws_stage = session.aws_stage(&contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let stage = &session.settings.stage.name;
    let job = Job {
        keep,
        api: (&contract.rest_api_id, &contract.stage_name),
        functions: contract.functions.values().map(|target| target.name.clone()).collect(),
        artifacts: &session.settings.artifacts,
    };
    let scan = context.until_interrupted(plan(stage, &bucket, &aws_stage, &job));
    let shown = session.events.step("scan", scan).await?;
    if !shown.unmanaged_stages.is_empty() {
        let names: Vec<&str> = shown.unmanaged_stages.iter().map(String::as_str).collect();
        session.events.warn(format!(
            "the API has stages whose ledger is not in this bucket ({}): only what this stage's ledger \
             lists is deleted, but those stages may need it for a rollback",
            names.join(", ")
        ));
    }
    let mut deleted = Prune { kept: shown.kept.clone(), ..Prune::default() };
    let mut storage = None;
    if !shown.is_empty() {
        session.events.note(list(&shown));
        if !yes {
            let question = format!("delete this permanently? Type the stage's name ({stage}): ");
            let hint = "the list above shows what would be deleted; to delete it, run the command again \
                        with `--yes`";
            confirm::by_name(context, &question, stage, ErrorId::PruneUnconfirmed, hint).await?;
        }
        let stage_context = session.stage_context()?;
        let before = storage_now(context, &aws_stage).await?;
        let held = HeldStage::take(&stage_context, bucket, "prune".to_owned()).await?;
        deleted = held.during(async |held| held.prune(&aws_stage, &job, &shown).await).await?;
        // A failure here must not hide what was deleted.
        let after = storage_now(context, &aws_stage).await.unwrap_or_default();
        storage = before.zip(after).map(account);
    }
    let body = body(stage, deleted, storage);
    let text = text(&body);
    context.report.show(&body.document(), &text);
    Ok(())
}

/// The account's code storage; `None` if the caller may not read it.
async fn storage_now(context: &Context, aws_stage: &AwsStage) -> Result<Option<CodeStorage>> {
    context.until_interrupted(async { Ok(aws_stage.code_storage().await.ok()) }).await
}

fn list(prune: &Prune) -> String {
    let kept: Vec<&str> = prune.kept.iter().map(Version::as_str).collect();
    let mut text = format!("kept: {}\nto be deleted:", kept.join(", "));
    for id in &prune.deployments {
        let _ = write!(text, "\n  API deployment {id}");
    }
    for OldVersion { function, version, bytes } in &prune.versions {
        let _ = write!(text, "\n  {function}:{version}, {}", megabytes(*bytes));
    }
    for Object { key, bytes, .. } in &prune.objects {
        let _ = write!(text, "\n  {key}, {}", megabytes(*bytes));
    }
    let (lambda, bucket) = prune.bytes();
    let (lambda, bucket) = (megabytes(lambda), megabytes(bucket));
    let _ = write!(text, "\n{lambda} of Lambda's storage, {bucket} of the bucket");
    text
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn account((before, after): (CodeStorage, CodeStorage)) -> CodeAccount {
    CodeAccount { limit_bytes: after.limit, before_bytes: before.used, after_bytes: after.used }
}

fn body(stage: &StageName, prune: Prune, account: Option<CodeAccount>) -> PruneBody {
    let (lambda_bytes, bucket_bytes) = prune.bytes();
    PruneBody {
        outcome: if prune.is_empty() { Pruned::Unchanged } else { Pruned::Pruned },
        stage: stage.to_string(),
        kept: prune.kept,
        deleted: Deleted {
            deployments: prune.deployments.into_iter().collect(),
            versions: prune.versions.into_iter().collect(),
            objects: prune.objects.into_iter().collect(),
        },
        freed: Freed { lambda_bytes, bucket_bytes },
        account,
    }
}

fn text(document: &PruneBody) -> String {
    let PruneBody { stage, deleted, freed, .. } = document;
    let kept: Vec<&str> = document.kept.iter().map(Version::as_str).collect();
    let mut text = if document.outcome == Pruned::Unchanged {
        format!("{stage}: nothing to delete\n")
    } else {
        format!(
            "{stage}: deleted {} API deployments, {} function versions and {} objects\n  freed      {} of \
             Lambda's storage, {} of the bucket\n",
            deleted.deployments.len(),
            deleted.versions.len(),
            deleted.objects.len(),
            megabytes(freed.lambda_bytes),
            megabytes(freed.bucket_bytes),
        )
    };
    if let Some(account) = &document.account {
        let shown = |bytes: i64| megabytes(bytes.try_into().unwrap_or_default());
        let _ = writeln!(
            text,
            "  account    {} before, {} now, of {}",
            shown(account.before_bytes),
            shown(account.after_bytes),
            shown(account.limit_bytes)
        );
    }
    let _ = writeln!(text, "  kept       {}", kept.join(", "));
    text
}
