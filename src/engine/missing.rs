//! Whether a release can be restored now, and which others can be if it cannot.

use futures::future::try_join_all;
use futures::try_join;

use crate::engine::activate::Inactive;
use crate::engine::held::HeldStage;
use crate::engine::interrupt::unless_interrupted;
use crate::engine::ledger::Head;
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Result};
use crate::release::model::{StageName, Version};
use crate::release::record::{FunctionRecord, Outcome, Release};
use crate::release::state::{Activity, PublishedState};

/// The most versions that a hint lists.
const MAX_SUGGESTIONS: usize = 5;

/// How a rollback finds and switches to its release.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RollbackOptions<'a> {
    /// The version to go to; by default the previous release.
    pub(crate) to: Option<&'a Version>,
    /// Whether to switch to versions that are not active.
    pub(crate) no_wait: bool,
}

/// What a release points to, as it is now.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// What no longer exists, one message each.
    missing: Vec<String>,
    /// The versions that are not active.
    inactive: Vec<Inactive>,
}

impl Parts {
    /// What is missing or not active, one message each.
    pub(super) fn problems(self) -> impl Iterator<Item = String> {
        let inactive = self.inactive.into_iter().map(|Inactive { name, version, .. }| {
            format!("{name}:{version} is not active: its first invocation fails and activates it")
        });
        self.missing.into_iter().chain(inactive)
    }

    /// Whether all exist and can be invoked.
    pub(super) fn are_ready(&self) -> bool {
        self.missing.is_empty() && self.inactive.is_empty()
    }
}

/// Reads what a release points to.
///
/// # Errors
/// `aws.read`.
pub(super) async fn parts(port: &impl StagePort, release: &Release) -> Result<Parts> {
    let functions = release.functions.iter().map(|(key, function)| async move {
        let FunctionRecord { name, version, .. } = function;
        let state = port
            .version(name, version)
            .await
            .map_err(|failure| unreadable(&format!("function {name}"), failure))?;
        Ok::<_, Error>((key, function, state))
    });
    let deployment = async {
        let id = &release.api.deployment_id;
        let deployment =
            port.deployment(id).await.map_err(|failure| unreadable("the deployment", failure))?;
        Ok(deployment.is_none().then(|| format!("API deployment {id} no longer exists")))
    };
    let (functions, deployment) = try_join!(try_join_all(functions), deployment)?;
    let mut parts = Parts::default();
    for (key, function, state) in functions {
        let FunctionRecord { name, version, .. } = function;
        match state {
            None => parts.missing.push(format!("{name}:{version} no longer exists")),
            Some(state) if state.code_sha256 != function.code_sha256 => {
                parts.missing.push(format!("{name}:{version} runs other code than recorded"));
            }
            Some(PublishedState { activity: Activity::Active, .. }) => {}
            Some(PublishedState { activity, .. }) => parts.inactive.push(Inactive {
                key: key.clone(),
                name: name.clone(),
                version: version.clone(),
                activity,
            }),
        }
    }
    parts.missing.extend(deployment);
    Ok(parts)
}

/// What to do where no rollback is possible.
pub(super) fn release_again(stage: &StageName) -> String {
    format!("release that source again: `deployctl release --version <V> --stage {stage}`")
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Checks that everything `release` points to exists, and waits until its versions are active.
    ///
    /// # Errors
    /// `rollback.gone`, with the releases that can be restored, and `rollback.inactive`.
    pub(super) async fn make_restorable(
        &self,
        port: &impl StagePort,
        release: &Release,
        parts: Parts,
        options: RollbackOptions<'_>,
        head: &Head,
    ) -> Result<()> {
        let Parts { missing, inactive } = parts;
        if !missing.is_empty() {
            return Err(self.not_restorable_error(port, release, &missing, head).await);
        }
        if inactive.is_empty() {
            return Ok(());
        }
        if options.no_wait {
            let names: Vec<&str> = inactive.iter().map(|inactive| inactive.key.as_str()).collect();
            self.context.events.warn(format!(
                "switching to functions that are not active yet ({}): callers get errors from them until they are",
                names.join(", ")
            ));
            return Ok(());
        }
        let to = options.to.map(|version| format!(" --to {version}")).unwrap_or_default();
        let again = format!("deployctl rollback --stage {}{to} --no-wait", self.context.stage);
        unless_interrupted(&self.context.cancel, self.activate(port, &inactive, &again)).await
    }

    /// The error of a release that cannot be restored because of what is `missing`.
    async fn not_restorable_error(
        &self,
        port: &impl StagePort,
        release: &Release,
        missing: &[String],
        head: &Head,
    ) -> Error {
        let message = format!("failed to roll back to release {}: {}", release.version, missing.join(", "));
        // Only a hint: its failure must not replace the error.
        let restorable = self.restorable(port, &release.version, head).await.unwrap_or_default();
        let again = release_again(&self.context.stage);
        let hint = if restorable.is_empty() {
            format!("nothing was changed; no other release can be restored; {again}")
        } else {
            let versions: Vec<&str> = restorable.iter().map(Version::as_str).collect();
            let versions = versions.join(", ");
            format!(
                "nothing was changed; restorable: {versions}; run `deployctl rollback --to <V>`, or {again}"
            )
        };
        Error::preflight(ErrorId::RollbackGone, message).hint(hint)
    }

    /// The versions, newest first, that a rollback can go to: neither live nor `missing_version`.
    async fn restorable(
        &self,
        port: &impl StagePort,
        missing_version: &Version,
        head: &Head,
    ) -> Result<Vec<Version>> {
        let pruned = self.ledger.pruned().await?;
        let live = head.current.as_ref().map(|record| &record.release.version);
        let mut excluded = vec![missing_version.clone()];
        excluded.extend(live.cloned());
        let mut restorable = Vec::new();
        for number in (1..=head.last).rev() {
            if restorable.len() == MAX_SUGGESTIONS {
                break;
            }
            let record = self.ledger.record(number).await?;
            if record.outcome != Outcome::Live || excluded.contains(&record.release.version) {
                continue;
            }
            excluded.push(record.release.version.clone());
            if !pruned.contains(&number) && parts(port, &record.release).await?.missing.is_empty() {
                restorable.push(record.release.version);
            }
        }
        Ok(restorable)
    }
}
