//! Whether everything that a release needs still exists, and which releases can be restored if not.

use futures::future::try_join_all;
use futures::try_join;

use crate::engine::held::HeldStage;
use crate::engine::ledger::Head;
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Result};
use crate::release::model::Version;
use crate::release::record::{Outcome, Release};

/// As many as a person wants to read.
const NAMED: usize = 5;

/// What a release points to and is not there any more, each in words.
pub(super) async fn missing(port: &impl StagePort, release: &Release) -> Result<Vec<String>> {
    let functions = release.functions.values().map(|function| async move {
        let found = port
            .version(&function.name, &function.version)
            .await
            .map_err(|failure| unreadable(&format!("function {}", function.name), failure))?;
        Ok::<_, Error>(match found {
            Some(code) if code == function.code_sha256 => None,
            Some(_) => Some(format!("{}:{} runs other code than recorded", function.name, function.version)),
            None => Some(format!("{}:{} is gone", function.name, function.version)),
        })
    });
    let deployment = async {
        let id = &release.api.deployment_id;
        let found = port.deployment(id).await.map_err(|failure| unreadable("the deployment", failure))?;
        Ok(found.is_none().then(|| format!("API deployment {id} is gone")))
    };
    let (functions, deployment) = try_join!(try_join_all(functions), deployment)?;
    Ok(functions.into_iter().chain([deployment]).flatten().collect())
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Checks that everything `release` points to is there.
    ///
    /// # Errors
    /// `rollback.gone`, with the releases that can come back.
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

    /// The error of a release that cannot come back because of what is `missing`.
    pub(super) async fn not_restorable_error(
        &self,
        port: &impl StagePort,
        release: &Release,
        missing: &[String],
        head: &Head,
    ) -> Error {
        let message = format!("failed to roll back to release {}: {}", release.version, missing.join(", "));
        // A hint, for which a failure is not worth another error.
        let there = self.restorable(port, &release.version, head).await.unwrap_or_default();
        let hint = if there.is_empty() {
            "nothing was changed, and no other release of the ledger is there any more; release that source again"
                .to_owned()
        } else {
            let there: Vec<&str> = there.iter().map(Version::as_str).collect();
            format!(
                "nothing was changed; still there: {}; take one with `rollback --to <V>`, or release that source \
                 again",
                there.join(", ")
            )
        };
        Error::preflight(ErrorId::RollbackGone, message).hint(hint)
    }

    /// The versions, newest first, that a rollback can go to: neither live nor `gone`.
    async fn restorable(&self, port: &impl StagePort, gone: &Version, head: &Head) -> Result<Vec<Version>> {
        let pruned = self.ledger.pruned().await?;
        let live = head.current.as_ref().map(|record| &record.release.version);
        let mut seen = vec![gone.clone()];
        seen.extend(live.cloned());
        let mut there = Vec::new();
        for number in (1..=head.last).rev() {
            if there.len() == NAMED {
                break;
            }
            let record = self.ledger.record(number).await?;
            if record.outcome != Outcome::Live || seen.contains(&record.release.version) {
                continue;
            }
            seen.push(record.release.version.clone());
            if !pruned.contains(&number) && missing(port, &record.release).await?.is_empty() {
                there.push(record.release.version);
            }
        }
        Ok(there)
    }
}
