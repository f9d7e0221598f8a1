//! Deletes what nothing references any more. The plan is shown, and computed again under the lease before
//! deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::{TryFutureExt, try_join};

use crate::artifact::Sha256;
use crate::engine::MAX_CONCURRENT;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::interrupt::{unless_interrupted, with_grace};
use crate::engine::lease::Lease;
use crate::engine::ledger::{Ledger, PREFIX};
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::artifacts::ArtifactSettings;
use crate::release::model::{FunctionName, StageName};
use crate::release::prune::{self, Existing, Prune, Recorded};
use crate::release::record::{Outcome, Record, Release};
use crate::release::state::Object;

/// What to prune, and how many releases to keep.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// How many releases to keep, the live one included.
    pub(crate) keep: NonZeroUsize,
    /// The REST API and its stage.
    pub(crate) api: (&'a str, &'a str),
    /// The functions of the contract.
    pub(crate) functions: BTreeSet<FunctionName>,
    /// The artifacts of the project, with the keys of their zips.
    pub(crate) artifacts: &'a [ArtifactSettings],
}

/// Plans the deletions. Changes nothing.
///
/// # Errors
/// `lease.held` while a command changes a stage that shares the bucket, and when something cannot be read.
pub(crate) async fn plan<W: StagePort, S: Store + Clone>(
    stage: &StageName,
    store: &S,
    port: &W,
    job: &Job<'_>,
) -> Result<Prune> {
    let ledger = Ledger::new(store.clone(), stage.clone());
    let own = async { try_join!(records(&ledger), ledger.pruned()) };
    let ((records, pruned), others) = try_join!(own, other_releases(stage, store))?;
    let api = (job.api.0.to_owned(), job.api.1.to_owned());
    let recorded = Recorded { records, pruned, others, api };
    let read = |what: &'static str| move |failure: Failure| unreadable(what, failure);
    let (deployments, stages, versions, zips, definitions) = try_join!(
        port.deployments().map_err(read("the API's deployments")),
        port.stages().map_err(read("the API's stages")),
        versions(port, &recorded, job),
        zips(store, &recorded, job).map_err(read("the artifact bucket")),
        definitions(store, &ledger).map_err(read("the artifact bucket")),
    )?;
    let existing = Existing { deployments, stages, versions, zips, definitions };
    Ok(prune::plan(job.keep, &recorded, &existing))
}

async fn records<S: Store>(ledger: &Ledger<S>) -> Result<Vec<Record>> {
    let numbers = ledger.numbers().await?;
    stream::iter(numbers).map(|number| ledger.record(number)).buffered(MAX_CONCURRENT).try_collect().await
}

/// The releases of the other stages in the bucket: those that can be restored, and those being released.
async fn other_releases<S: Store + Clone>(stage: &StageName, store: &S) -> Result<Vec<Release>> {
    let keys = store.keys(PREFIX).await.map_err(|failure| unreadable("the artifact bucket", failure))?;
    let names = keys.iter().filter_map(|key| key.strip_prefix(PREFIX)?.split_once('/')?.0.parse().ok());
    let names: BTreeSet<StageName> = names.filter(|name: &StageName| name != stage).collect();
    let each = names.into_iter().map(|name| async move {
        let lease = Lease::peek(store, &name).await?;
        lease.must_be_free(&name)?;
        let ledger = Ledger::new(store.clone(), name);
        let (records, pruned) = try_join!(records(&ledger), ledger.pruned())?;
        let restorable = records
            .into_iter()
            .filter(|record| record.outcome == Outcome::Live && !pruned.contains(&record.number));
        let document = lease.document.unwrap_or_default();
        let in_progress = document.intent.into_iter().chain(document.canary.map(|canary| canary.record));
        Ok::<_, Error>(restorable.chain(in_progress).map(|record| record.release).collect::<Vec<_>>())
    });
    Ok(try_join_all(each).await?.concat())
}

async fn versions<W: StagePort>(
    port: &W,
    recorded: &Recorded,
    job: &Job<'_>,
) -> Result<BTreeMap<FunctionName, Vec<crate::release::state::VersionState>>> {
    let functions = recorded.records.iter().flat_map(|record| record.release.functions.values());
    let names: BTreeSet<FunctionName> =
        functions.map(|function| function.name.clone()).chain(job.functions.iter().cloned()).collect();
    let reads = stream::iter(names).map(|name| async move {
        let versions = port.versions(&name).await;
        let versions = versions.map_err(|failure| unreadable(&format!("function {name}"), failure))?;
        Ok::<_, Error>(versions.map(|versions| (name, versions)))
    });
    let versions: Vec<_> = reads.buffer_unordered(MAX_CONCURRENT).try_collect().await?;
    Ok(versions.into_iter().flatten().collect())
}

/// The objects that the ledger has as zips, and those whose keys match the key of an artifact.
async fn zips<S: Store>(store: &S, recorded: &Recorded, job: &Job<'_>) -> Result<Vec<Object>, Failure> {
    let artifacts = recorded.records.iter().flat_map(|record| record.release.artifacts.values());
    let keys: BTreeSet<&str> = artifacts.map(|artifact| artifact.key.as_str()).collect();
    let folder = |key: &str| key.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let templates = job.artifacts.iter().filter_map(|artifact| artifact.key.split_once("{version}"));
    let mut prefixes: BTreeSet<String> =
        keys.iter().map(|key| folder(key)).chain(templates.map(|(prefix, _)| folder(prefix))).collect();
    // Listing a folder lists the folders in it, too.
    let all = prefixes.clone();
    prefixes.retain(|prefix| !all.iter().any(|other| other != prefix && prefix.starts_with(other.as_str())));
    let objects = try_join_all(prefixes.iter().map(|prefix| store.objects(prefix))).await?.concat();
    let is_zip = |key: &str| {
        let matches = |artifact: &ArtifactSettings| artifact.version_of(key).is_some();
        !key.starts_with(PREFIX) && (keys.contains(key) || job.artifacts.iter().any(matches))
    };
    Ok(objects.into_iter().filter(|object| is_zip(&object.key)).collect())
}

async fn definitions<S: Store>(store: &S, ledger: &Ledger<S>) -> Result<Vec<(Sha256, Object)>, Failure> {
    let prefix = ledger.definitions();
    let fingerprint = |key: &str| key.strip_prefix(&prefix)?.strip_suffix(".json")?.parse().ok();
    let objects = store.objects(&prefix).await?;
    Ok(objects.into_iter().filter_map(|object| Some((fingerprint(&object.key)?, object))).collect())
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Deletes what is in `shown` and can still be deleted.
    ///
    /// # Errors
    /// As [`plan`]; `prune.incomplete` when AWS refuses a deletion, `interrupted` between two
    /// deletions. What is live is unchanged, and running it again deletes the rest.
    pub(crate) async fn prune<W: StagePort>(&self, port: &W, job: &Job<'_>, shown: &Prune) -> Result<Prune> {
        let StageContext { stage, events, .. } = self.context;
        self.head(port).await?;
        let plan = plan(stage, &self.store, port, job);
        let prune = unless_interrupted(&self.context.cancel, plan).await?.within(shown);
        // Before the deletions, so that no rollback chooses a deleted release.
        self.ledger.mark_pruned(&prune.pruned_records).await?;
        events.step("delete", self.delete(port, &prune)).await?;
        Ok(prune)
    }

    async fn delete<W: StagePort>(&self, port: &W, prune: &Prune) -> Result<()> {
        let mut refused = Vec::new();
        let deployments = prune.deployments.iter().map(|id| port.delete_deployment(id));
        // API Gateway refuses to change an API twice at the same time.
        self.each(deployments, 1, &mut refused).await?;
        let versions = prune.versions.iter();
        let versions = versions.map(|old| async move {
            self.unprovision(port, &(old.function.clone(), old.version.clone())).await?;
            port.delete_version(&old.function, &old.version).await
        });
        self.each(versions, MAX_CONCURRENT, &mut refused).await?;
        let objects: Vec<Object> = prune.objects.iter().cloned().collect();
        self.each([self.store.delete(&objects)].into_iter().take(objects.len()), 1, &mut refused).await?;
        let Some(first) = refused.first() else { return Ok(()) };
        let message = format!("AWS refused {} of the deletions", refused.len());
        Err(incomplete(message, first.clone()))
    }

    /// Makes all `calls`, so many `at_once`, and collects the refusals. An interrupt or any other failure ends it.
    async fn each(
        &self,
        calls: impl Iterator<Item = impl Future<Output = Result<(), Failure>>>,
        at_once: usize,
        refused: &mut Vec<Failure>,
    ) -> Result<()> {
        let cancel = &self.context.cancel;
        let calls = calls.map(|call| async move {
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            // Another holder of the lease may roll back to what is about to be deleted.
            let live = "the stage was not moved; some of what was shown is deleted";
            self.lease.must_be_current().await.map_err(|unconfirmed| unconfirmed.into_error(live))?;
            match with_grace(cancel, call).await.ok_or_else(interrupted)? {
                Err(failure) if matches!(failure.meaning, Meaning::Rejected | Meaning::Busy) => {
                    Ok(Some(failure))
                }
                Err(failure) => {
                    Err(incomplete("failed to delete everything that was shown".to_owned(), failure))
                }
                Ok(()) => Ok(None),
            }
        });
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(at_once).try_collect().await?;
        refused.extend(answers.into_iter().flatten());
        Ok(())
    }
}

fn incomplete(message: String, failure: Failure) -> Error {
    let live = "what is live is unchanged; the other deletions are done";
    let hint = failure.hint(live, "run the command again for the rest");
    Error::new(Kind::OldReleaseServes, ErrorId::PruneIncomplete, message).because(failure).hint(hint)
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; what is live is unchanged")
        .hint("some deletions are done; run the command again for the rest")
}
