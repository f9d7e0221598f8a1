//! Whether a release can be restored, and which others can be if it cannot.

use futures::future::try_join_all;
use futures::try_join;

use crate::engine::held::HeldStage;
use crate::engine::ledger::Head;
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Result};
use crate::release::model::Version;
use crate::release::record::{Outcome, Release};

/// The most versions that a hint lists.
const MAX_SUGGESTIONS: usize = 5;

/// What a release points to and no longer exists, one message each.
///
/// # Errors
/// `aws.read`.
pub(super) async fn missing(port: &impl StagePort, release: &Release) -> Result<Vec<String>> {
    let functions = release.functions.values().map(|function| async move {
        let code = port
            .version(&function.name, &function.version)
            .await
            .map_err(|failure| unreadable(&format!("function {}", function.name), failure))?;
        Ok::<_, Error>(match code {
            Some(code) if code == function.code_sha256 => None,
            Some(_) => Some(format!("{}:{} runs other code than recorded", function.name, function.version)),
            None => Some(format!("{}:{} no longer exists", function.name, function.version)),
        })
    });
    let deployment = async {
        let id = &release.api.deployment_id;
        let deployment =
            port.deployment(id).await.map_err(|failure| unreadable("the deployment", failure))?;
        Ok(deployment.is_none().then(|| format!("API deployment {id} no longer exists")))
    };
    let (functions, deployment) = try_join!(try_join_all(functions), deployment)?;
    Ok(functions.into_iter().chain([deployment]).flatten().collect())
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Checks that everything `release` points to exists.
    ///
    /// # Errors
    /// `rollback.gone`, with the releases that can be restored.
    pub(super) async fn check_restorable(
        &self,
        port: &impl StagePort,
        release: &Release,
        head: &Head,
    ) -> Result<()> {
        let missing = missing(port, release).await?;
        if missing.is_empty() {
            Ok(())
        } else {
            Err(self.not_restorable_error(port, release, &missing, head).await)
        }
    }

    /// The error of a release that cannot be restored because of what is `missing`.
    pub(super) async fn not_restorable_error(
        &self,
        port: &impl StagePort,
        release: &Release,
        missing: &[String],
        head: &Head,
    ) -> Error {
        let message = format!("failed to roll back to release {}: {}", release.version, missing.join(", "));
        // Only a hint: its failure must not replace the error.
        let restorable = self.restorable(port, &release.version, head).await.unwrap_or_default();
        let hint = if restorable.is_empty() {
            "nothing was changed; no other release can be restored; release that source again".to_owned()
        } else {
            let versions: Vec<&str> = restorable.iter().map(Version::as_str).collect();
            format!(
                "nothing was changed; restorable: {}; run `deployctl rollback --to <V>`, or release that \
                 source again",
                versions.join(", ")
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
            if !pruned.contains(&number) && missing(port, &record.release).await?.is_empty() {
                restorable.push(record.release.version);
            }
        }
        Ok(restorable)
    }
}
