//! Finds what refers to an uploaded zip. One that nothing refers to may be replaced by another build.

use std::collections::BTreeSet;
use std::fmt;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::held::HeldStage;
use super::lease::{Lease, describe};
use super::ledger::{Ledger, PREFIX, unreadable};
use super::ports::Store;
use crate::engine::MAX_CONCURRENT;
use crate::error::{Error, Result};
use crate::release::model::StageName;
use crate::release::record::Record;

/// Why a zip must stay as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A record of a ledger, also of a release that was switched back.
    Record { stage: StageName, number: u64 },
    /// The intended record of an interrupted command.
    Intent { stage: StageName },
    /// A command that is changing another stage: what it has uploaded or copied is in no record yet.
    Running { stage: StageName, holder: String },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { stage, number } => write!(f, "record {number} of stage {stage} refers to it"),
            Self::Intent { stage } => write!(f, "an interrupted command on stage {stage} refers to it"),
            Self::Running { stage, holder } => {
                write!(f, "a command that is changing stage {stage} may refer to it: {holder}")
            }
        }
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// What refers to the zip `key`, in the ledgers and leases of all stages in the bucket.
    ///
    /// # Errors
    /// Those of reading ledgers and leases.
    pub(crate) async fn reference_to(&self, key: &str) -> Result<Option<Reference>> {
        for stage in self.stages_of_bucket().await? {
            let found = match self.reference_of_lease(&stage, key).await? {
                None => self.reference_of_ledger(&stage, key).await?,
                found => found,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The stages with a ledger or a lease.
    async fn stages_of_bucket(&self) -> Result<BTreeSet<StageName>> {
        let keys = self.store.keys(PREFIX).await.map_err(unreadable)?;
        let stage = |key: &String| key.strip_prefix(PREFIX)?.split_once('/')?.0.parse().ok();
        Ok(keys.iter().filter_map(stage).collect())
    }

    async fn reference_of_lease(&self, stage: &StageName, key: &str) -> Result<Option<Reference>> {
        let snapshot = Lease::peek(&self.store, stage).await?;
        let document = snapshot.document.as_ref();
        if document.and_then(|document| document.intent.as_ref()).is_some_and(|intent| names(intent, key)) {
            return Ok(Some(Reference::Intent { stage: stage.clone() }));
        }
        let holder = document.and_then(|document| document.holder.as_ref());
        let running =
            holder.filter(|_| *stage != self.context.stage && snapshot.must_be_free(stage).is_err());
        Ok(running.map(|holder| Reference::Running { stage: stage.clone(), holder: describe(holder) }))
    }

    async fn reference_of_ledger(&self, stage: &StageName, key: &str) -> Result<Option<Reference>> {
        let ledger = Ledger::new(self.store.clone(), stage.clone());
        let found: Vec<u64> = stream::iter(ledger.numbers().await?.into_iter().rev())
            .map(|number| {
                let ledger = &ledger;
                async move { Ok::<_, Error>(names(&ledger.record(number).await?, key).then_some(number)) }
            })
            .buffered(MAX_CONCURRENT)
            .try_filter_map(async |found| Ok(found))
            .take(1)
            .try_collect()
            .await?;
        Ok(found.first().map(|&number| Reference::Record { stage: stage.clone(), number }))
    }
}

fn names(record: &Record, key: &str) -> bool {
    record.release.artifacts.values().any(|artifact| artifact.key == key)
}
