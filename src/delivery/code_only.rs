//! `release --code-only`: releases code on the infrastructure as it was applied last. Terraform does not run.

use std::collections::BTreeMap;

use futures::{join, try_join};

use super::build::{announce_uploaded, build, is_uploaded, records, upload};
use super::pipeline::{Delivered, ReleaseOptions, release};
use super::source::{Stored, require_versioned};
use super::stage_variables;
use crate::engine::held::HeldStage;
use crate::engine::lease::{Lease, LeaseSnapshot};
use crate::error::{Error, ErrorId, Result};
use crate::project::contract::Contract;
use crate::project::known_stage::KnownStage;
use crate::project::session::{Session, unless_interrupted};
use crate::release::model::Version;
use crate::release::record::{AppliedLayer, InfrastructureRecord};

/// The arguments of a release of code only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeOnly {
    /// Whether to release although the infrastructure may differ.
    pub(crate) ignore_infrastructure: bool,
    pub(crate) options: ReleaseOptions,
}

/// A stage whose layers were applied before.
#[derive(Debug)]
pub(crate) struct ReleasedStage {
    contract: Contract,
    /// The lease, if it could be read beside the contract.
    lease: Option<LeaseSnapshot>,
}

impl ReleasedStage {
    /// Reads the states of all layers, and the lease, at the same time.
    ///
    /// # Errors
    /// `stage.empty` before the first release, and those of reading the states.
    pub(crate) async fn read(session: &Session) -> Result<Self> {
        let settings = &session.settings;
        let with_outputs = settings.contract_layer().into_iter().chain(settings.bucket_layer());
        let others = session.read_other_states(with_outputs);
        let lease = async |known: &KnownStage| {
            Lease::peek(&session.aws.bucket(&known.artifact_bucket), &settings.stage.name).await
        };
        let contract = unless_interrupted(&session.cancel, session.contract_and(lease));
        let ((contract, lease), ()) = try_join!(contract, others)?;
        Ok(Self { contract, lease })
    }
}

/// Releases `version` from the project's source, without Terraform.
///
/// # Errors
/// `infrastructure.changed` before anything is built, and those of the other steps of a release.
pub(crate) async fn release_code(
    session: &Session,
    ReleasedStage { contract, lease }: ReleasedStage,
    version: &Version,
    code_only: CodeOnly,
) -> Result<Delivered> {
    let now = session.layers_now()?;
    stage_variables::must_be_in_contract(&session.settings, &contract)?;
    let aws_stage = session.aws_stage(&contract)?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let stage_context = session.stage_context()?;
    let take = HeldStage::take_seen(&stage_context, bucket.clone(), format!("release {version}"), lease);
    let checks =
        async { try_join!(require_versioned(session, &bucket), is_uploaded(session, &bucket, version)) };
    // A lease that was taken is released, also if a check fails.
    let (held, checks) = join!(take, checks);
    held?
        .during(async |held| {
            let ((), is_uploaded) = checks?;
            let head = held.head(&aws_stage).await?;
            let applied = held.applied_layers(&head);
            if !code_only.ignore_infrastructure {
                require_unchanged(session, &applied, &now)?;
            }
            session.events.note("infrastructure not planned: Terraform does not run (--code-only)");
            if is_uploaded {
                announce_uploaded(session, held, version).await?;
            }
            let built = build(session).await?;
            let stored = Stored::of(&built, records(session, version, &built));
            let infrastructure = InfrastructureRecord { planned: false, layers: applied };
            let upload = upload(session, held, version, &built);
            let asked = (version, code_only.options);
            release(session, held, &contract, asked, stored, infrastructure, upload).await
        })
        .await
}

/// Refuses to release only code if Terraform might do something else now than at its last apply.
fn require_unchanged(
    session: &Session,
    applied: &BTreeMap<String, AppliedLayer>,
    now: &BTreeMap<String, AppliedLayer>,
) -> Result<()> {
    let stage = &session.settings.stage.name;
    let differences = differences(applied, now);
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!(
        "refused to release only code: what Terraform would apply may differ from its last apply:\n  - {}",
        differences.join("\n  - ")
    );
    Err(Error::preflight(ErrorId::InfrastructureChanged, message).hint(format!(
        "nothing was changed; release without --code-only (`deployctl plan --stage {stage}` shows what Terraform \
         would do), or add --ignore-infrastructure to release the code on the infrastructure as it is"
    )))
}

/// What differs, one line for each layer.
pub(super) fn differences(
    applied: &BTreeMap<String, AppliedLayer>,
    now: &BTreeMap<String, AppliedLayer>,
) -> Vec<String> {
    let changed = now.iter().filter_map(|(name, layer)| match applied.get(name) {
        None => Some(format!("layer {name}: no release has recorded what it was applied from")),
        Some(before) => {
            let differences = before.differences(layer);
            (!differences.is_empty()).then(|| format!("layer {name}: {}", differences.join(", ")))
        }
    });
    let removed = applied.keys().filter(|name| !now.contains_key(*name));
    changed.chain(removed.map(|name| format!("layer {name}: it is no longer in deployctl.toml"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_names_its_layer() {
        let layer = AppliedLayer {
            files: "1".into(),
            variables: "1".into(),
            lock_file: Some("1".into()),
            state: Some("a/1".into()),
        };
        let layers = |layers: &[(&str, &AppliedLayer)]| -> BTreeMap<String, AppliedLayer> {
            layers.iter().map(|(name, layer)| ((*name).to_owned(), (*layer).clone())).collect()
        };
        let before = layers(&[("app", &layer), ("base", &layer)]);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
        let edited = AppliedLayer { files: "2".into(), lock_file: None, ..layer.clone() };
        let applied = AppliedLayer { state: Some("a/2".into()), variables: "2".into(), ..layer.clone() };
        assert_eq!(
            differences(&before, &layers(&[("app", &edited), ("base", &applied)])),
            [
                "layer app: its files differ, its lock file differs",
                "layer base: its variables differ, its state was written since"
            ]
        );
        assert_eq!(
            differences(&before, &layers(&[("base", &layer), ("new", &layer)])),
            [
                "layer new: no release has recorded what it was applied from",
                "layer app: it is no longer in deployctl.toml"
            ]
        );
    }
}
