//! How to move a stage to a release without deployctl: the calls of a rollback, as commands of the AWS CLI.
//!
//! The lease is not read: it may be what is damaged.

use crate::engine::ledger::{Head, Ledger};
use crate::engine::missing::parts;
use crate::engine::observe::stage;
use crate::engine::operations::{caches, rollback_target};
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Result};
use crate::release::aws_cli::AwsCli;
use crate::release::model::{Pointer, StageName};
use crate::release::patch::patch;
use crate::release::record::{Outcome, Record};

/// The commands that move a stage to a record.
#[derive(Debug)]
pub(crate) struct ByHand {
    pub(crate) record: Record,
    /// What the stage serves now. The commands are right only while it does.
    pub(crate) from: Pointer,
    pub(crate) commands: Vec<String>,
    /// What a caller must know before running them, one message each.
    pub(crate) warnings: Vec<String>,
}

/// The commands that move the stage to record `number`, or to the release that a rollback goes to.
///
/// # Errors
/// `release.unknown`, `rollback.no_target`, `stage.empty`, and those of reading the stage and the ledger.
pub(crate) async fn by_hand<S: Store, W: StagePort>(
    ledger: &Ledger<S>,
    port: &W,
    name: &StageName,
    number: Option<u64>,
    cli: AwsCli<'_>,
) -> Result<ByHand> {
    let now = stage(port).await?;
    let mut warnings = Vec::new();
    let head = match ledger.head_at(&now.pointer).await {
        // A record that is named needs no other one.
        Err(error) if number.is_some() && error.id == ErrorId::LedgerDamaged => {
            warnings.push(error.to_string());
            Head::default()
        }
        head => head?,
    };
    let record = match number {
        None => rollback_target(ledger, name, &head, &now).await?,
        Some(number) if ledger.listing().await?.numbers.contains(&number) => ledger.record(number).await?,
        Some(number) => {
            let message = format!("the ledger of stage {name} has no record {number}");
            return Err(Error::usage(ErrorId::ReleaseUnknown, message)
                .hint(format!("`deployctl history --stage {name}` lists the records")));
        }
    };
    let from = now.pointer.clone();
    let to = record.release.pointer(&from, head.current.as_ref().map(|current| &current.release));
    let mut commands = cli.update_stage(&patch(&from, &to));
    if commands.len() > 1 {
        warnings.push(format!(
            "the move takes {} calls, because one would be too large: between them the stage is a mixture of \
             two releases",
            commands.len()
        ));
    }
    let mut release = record.release.clone();
    if let Some(current) = &head.current {
        release = record.restored(&current.release);
    }
    for function in release.functions.values() {
        let (name, version) = (function.name.as_str(), function.version.as_str());
        commands.extend(function.alias.as_ref().map(|alias| cli.update_alias(name, alias.as_str(), version)));
        let code = release.artifacts.get(&function.artifact).filter(|_| function.latest);
        commands.extend(code.map(|code| cli.update_code(name, ledger.bucket(), code)));
    }
    let caches = caches(&now, &head, &record.release);
    commands.extend((caches.authorizer_seconds > 0).then(|| cli.flush_authorizers()));
    commands.extend(caches.responses.then(|| cli.flush_responses()));
    commands.push(cli.get_stage());

    if record.outcome != Outcome::Live {
        warnings.push(format!(
            "record {} is not of a release that stayed live: {}",
            record.number, record.outcome
        ));
    }
    if let Some(canary) = &now.canary {
        warnings.push(format!(
            "the stage has a canary, which these commands leave as it is: {}",
            canary.deployment_id
        ));
    }
    match parts(port, &record.release).await {
        Ok(parts) => warnings.extend(parts.problems()),
        Err(error) => warnings.push(format!("it is not known whether the release is complete: {error}")),
    }
    Ok(ByHand { record, from, commands, warnings })
}
