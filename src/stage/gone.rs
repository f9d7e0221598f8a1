//! Whether a release can come back, and which others can if it cannot.

use futures::future::try_join_all;
use futures::try_join;

use super::{Held, unreadable};
use crate::error::{Error, Result};
use crate::ledger::Head;
use crate::release::model::Version;
use crate::release::record::{Outcome, Release};
use crate::world::{Store, World};

/// As many as a person wants to read.
const NAMED: usize = 5;

/// What a release points to and is not there any more, each in words.
///
/// # Errors
/// When AWS cannot be asked.
pub(super) async fn missing(world: &impl World, release: &Release) -> Result<Vec<String>> {
    let functions = release.functions.values().map(|function| async move {
        let found = world
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
        let found = world.deployment(id).await.map_err(|failure| unreadable("the deployment", failure))?;
        Ok(found.is_none().then(|| format!("API deployment {id} is gone")))
    };
    let (functions, deployment) = try_join!(try_join_all(functions), deployment)?;
    Ok(functions.into_iter().chain([deployment]).flatten().collect())
}

impl<S: Store + Clone> Held<'_, S> {
    /// Checks that everything `release` points to is there.
    ///
    /// # Errors
    /// `rollback.gone`, with the releases that can come back.
    pub(super) async fn must_be_there(
        &self,
        world: &impl World,
        release: &Release,
        head: &Head,
    ) -> Result<()> {
        let missing = missing(world, release).await?;
        if missing.is_empty() { Ok(()) } else { Err(self.gone(world, release, &missing, head).await) }
    }

    /// The error of a release that cannot come back because of what is `missing`.
    pub(super) async fn gone(
        &self,
        world: &impl World,
        release: &Release,
        missing: &[String],
        head: &Head,
    ) -> Error {
        let message = format!("release {} cannot come back: {}", release.version, missing.join(", "));
        // A hint, for which a failure is not worth another error.
        let there = self.still_there(world, &release.version, head).await.unwrap_or_default();
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
        Error::preflight("rollback.gone", message).hint(hint)
    }

    /// The versions, newest first, that a rollback can go to: neither live nor `gone`.
    async fn still_there(&self, world: &impl World, gone: &Version, head: &Head) -> Result<Vec<Version>> {
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
            if !pruned.contains(&number) && missing(world, &record.release).await?.is_empty() {
                there.push(record.release.version);
            }
        }
        Ok(there)
    }
}
