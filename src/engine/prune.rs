//! Deletes what nothing references any more. It is listed, shown, and listed again under the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::{TryFutureExt, try_join};

use crate::artifact::Sha256;
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
use crate::release::prune::{self, Found, Known, Prune};
use crate::release::record::{Outcome, Record, Release};
use crate::release::state::Object;

/// Reads and deletions under way at once.
const MAX_CONCURRENT: usize = 16;

/// Where is pruned, and how much stays.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// How many releases stay, the live one among them.
    pub(crate) keep: NonZeroUsize,
    /// The REST API and its stage.
    pub(crate) api: (&'a str, &'a str),
    /// The functions that the contract has.
    pub(crate) functions: BTreeSet<FunctionName>,
    /// Where the zips lie.
    pub(crate) artifacts: &'a [ArtifactSettings],
}

/// Finds what may go. Nothing is changed.
///
/// # Errors
/// `lease.held` while a stage that shares the bucket is being changed, and when something cannot be read.
pub(crate) async fn look<W: StagePort, S: Store + Clone>(
    stage: &StageName,
    store: &S,
    port: &W,
    job: &Job<'_>,
) -> Result<Prune> {
    let ledger = Ledger::new(store.clone(), stage.clone());
    let own = async { try_join!(records(&ledger), ledger.pruned()) };
    let ((records, pruned), others) = try_join!(own, others(stage, store))?;
    let api = (job.api.0.to_owned(), job.api.1.to_owned());
    let known = Known { records, pruned, others, api };
    let read = |what: &'static str| move |failure: Failure| unreadable(what, failure);
    let (deployments, stages, versions, zips, definitions) = try_join!(
        port.deployments().map_err(read("the API's deployments")),
        port.stages().map_err(read("the API's stages")),
        versions(port, &known, job),
        zips(store, &known, job).map_err(read("the artifact bucket")),
        definitions(store, &ledger).map_err(read("the artifact bucket")),
    )?;
    let found = Found { deployments, stages, versions, zips, definitions };
    Ok(prune::plan(job.keep, &known, &found))
}

async fn records<S: Store>(ledger: &Ledger<S>) -> Result<Vec<Record>> {
    let numbers = ledger.numbers().await?;
    stream::iter(numbers).map(|number| ledger.record(number)).buffered(MAX_CONCURRENT).try_collect().await
}

/// What the other stages in the bucket can still go back to, or are about to go to.
async fn others<S: Store + Clone>(stage: &StageName, store: &S) -> Result<Vec<Release>> {
    let keys = store.keys(PREFIX).await.map_err(|failure| unreadable("the artifact bucket", failure))?;
    let names = keys.iter().filter_map(|key| key.strip_prefix(PREFIX)?.split_once('/')?.0.parse().ok());
    let names: BTreeSet<StageName> = names.filter(|name: &StageName| name != stage).collect();
    let each = names.into_iter().map(|name| async move {
        let found = Lease::peek(store, &name).await?;
        found.must_be_free(&name)?;
        let ledger = Ledger::new(store.clone(), name);
        let (records, pruned) = try_join!(records(&ledger), ledger.pruned())?;
        let alive = records
            .into_iter()
            .filter(|record| record.outcome == Outcome::Live && !pruned.contains(&record.number));
        let intent = found.document.and_then(|document| document.intent);
        Ok::<_, Error>(alive.chain(intent).map(|record| record.release).collect::<Vec<_>>())
    });
    Ok(try_join_all(each).await?.concat())
}

async fn versions<W: StagePort>(
    port: &W,
    known: &Known,
    job: &Job<'_>,
) -> Result<BTreeMap<FunctionName, Vec<crate::release::state::VersionState>>> {
    let recorded = known.records.iter().flat_map(|record| record.release.functions.values());
    let names: BTreeSet<FunctionName> =
        recorded.map(|function| function.name.clone()).chain(job.functions.iter().cloned()).collect();
    let reads = stream::iter(names).map(|name| async move {
        let found = port.versions(&name).await;
        let found = found.map_err(|failure| unreadable(&format!("function {name}"), failure))?;
        Ok::<_, Error>(found.map(|versions| (name, versions)))
    });
    let found: Vec<_> = reads.buffer_unordered(MAX_CONCURRENT).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The objects that the ledger says are zips, and those whose keys are made as the zips' are.
async fn zips<S: Store>(store: &S, known: &Known, job: &Job<'_>) -> Result<Vec<Object>, Failure> {
    let recorded = known.records.iter().flat_map(|record| record.release.artifacts.values());
    let keys: BTreeSet<&str> = recorded.map(|artifact| artifact.key.as_str()).collect();
    let folder = |key: &str| key.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let made = job.artifacts.iter().filter_map(|artifact| artifact.key.split_once("{version}"));
    let mut prefixes: BTreeSet<String> =
        keys.iter().map(|key| folder(key)).chain(made.map(|(prefix, _)| folder(prefix))).collect();
    // A folder inside another is listed with it.
    let all = prefixes.clone();
    prefixes.retain(|prefix| !all.iter().any(|other| other != prefix && prefix.starts_with(other.as_str())));
    let objects = try_join_all(prefixes.iter().map(|prefix| store.objects(prefix))).await?.concat();
    let is_zip = |key: &str| {
        let made = |artifact: &ArtifactSettings| artifact.version_of(key).is_some();
        !key.starts_with(PREFIX) && (keys.contains(key) || job.artifacts.iter().any(made))
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
    /// Deletes what was `shown` and may still go.
    ///
    /// # Errors
    /// As [`look`]; `prune.incomplete` when AWS refuses something, `interrupted` between two deletions. What runs is
    /// unchanged, and a repetition goes on where this one ended.
    pub(crate) async fn prune<W: StagePort>(&self, port: &W, job: &Job<'_>, shown: &Prune) -> Result<Prune> {
        let StageContext { stage, events, .. } = self.context;
        self.head(port).await?;
        let look = look(stage, &self.store, port, job);
        let prune = unless_interrupted(&self.context.cancel, look).await?.within(shown);
        // First, so that no rollback chooses a release that is about to be deleted.
        self.ledger.mark_pruned(&prune.pruned_records).await?;
        events.step("delete", self.delete(port, &prune)).await?;
        Ok(prune)
    }

    async fn delete<W: StagePort>(&self, port: &W, prune: &Prune) -> Result<()> {
        let mut refused = Vec::new();
        let deployments = prune.deployments.iter().map(|id| port.delete_deployment(id));
        self.each(deployments, &mut refused).await?;
        let versions = prune.versions.iter();
        let versions = versions.map(|old| port.delete_version(&old.function, &old.version));
        self.each(versions, &mut refused).await?;
        let objects: Vec<Object> = prune.objects.iter().cloned().collect();
        self.each([self.store.delete(&objects)].into_iter().take(objects.len()), &mut refused).await?;
        let Some(first) = refused.first() else { return Ok(()) };
        let message = format!("{} of the deletions were refused", refused.len());
        Err(incomplete(message, first.clone()))
    }

    /// Makes all `calls`, unless deployctl is interrupted or AWS cannot be reached; keeps what AWS refuses.
    async fn each(
        &self,
        calls: impl Iterator<Item = impl Future<Output = Result<(), Failure>>>,
        refused: &mut Vec<Failure>,
    ) -> Result<()> {
        let cancel = &self.context.cancel;
        let calls = calls.map(|call| async move {
            if cancel.is_cancelled() {
                return Err(interrupted());
            }
            // Whoever has the stage now may go back to what is old here.
            let live = "some of what was shown is deleted, and nothing more";
            self.lease.must_be_current().await.map_err(|unconfirmed| unconfirmed.into_error(live))?;
            match with_grace(cancel, call).await.ok_or_else(interrupted)? {
                Err(failure) if matches!(failure.meaning, Meaning::Rejected | Meaning::Busy) => {
                    Ok(Some(failure))
                }
                Err(failure) => Err(incomplete("not everything could be deleted".to_owned(), failure)),
                Ok(()) => Ok(None),
            }
        });
        let answers: Vec<_> = stream::iter(calls).buffer_unordered(MAX_CONCURRENT).try_collect().await?;
        refused.extend(answers.into_iter().flatten());
        Ok(())
    }
}

fn incomplete(message: String, failure: Failure) -> Error {
    Error::new(Kind::OldReleaseServes, ErrorId::PruneIncomplete, message).because(failure).hint(
        "what is live is unchanged, and what could be deleted is gone; run the command again for the rest",
    )
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; what is live is unchanged")
        .hint("some of it is deleted; run the command again for the rest")
}
