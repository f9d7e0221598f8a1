//! Where a stage was when a command last read its contract, in a file on this machine. What is there can then be
//! read beside the contract, and is used only if the contract still says the same.

use std::path::PathBuf;

use futures::future::{Either, select};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::platform::{atomic_file, private};
use crate::project::contract::Contract;
use crate::project::session::Session;

/// The location of a stage, as far as it is needed to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownStage {
    pub(crate) artifact_bucket: String,
    pub(crate) rest_api_id: String,
    pub(crate) stage_name: String,
}

impl KnownStage {
    fn of(contract: &Contract) -> Self {
        let Contract { artifact_bucket, rest_api_id, stage_name, .. } = contract;
        Self {
            artifact_bucket: artifact_bucket.clone(),
            rest_api_id: rest_api_id.clone(),
            stage_name: stage_name.clone(),
        }
    }
}

impl Session {
    /// Reads the contract of a stage that a command changes, and `early` meanwhile, which may only read. What
    /// `early` has read is returned if it succeeded, and if the stage is where it was.
    ///
    /// # Errors
    /// As [`Session::contract_to_change`].
    pub(crate) async fn contract_and<T>(
        &self,
        early: impl AsyncFnOnce(&KnownStage) -> Result<T>,
    ) -> Result<(Contract, Option<T>)> {
        let known = self.known_stage();
        let contract = Box::pin(self.contract_to_change());
        let early = Box::pin(async {
            match &known {
                Some(known) => early(known).await.ok(),
                None => None,
            }
        });
        let (contract, early) = match select(contract, early).await {
            Either::Left((contract, early)) => (contract?, Either::Left(early)),
            Either::Right((early, contract)) => (contract.await?, Either::Right(early)),
        };
        if known.as_ref() != Some(&KnownStage::of(&contract)) {
            self.remember(&contract);
            // What is read elsewhere is not waited for.
            return Ok((contract, None));
        }
        let early = match early {
            Either::Left(early) => early.await,
            Either::Right(early) => early,
        };
        Ok((contract, early))
    }

    fn known_stage_file(&self) -> PathBuf {
        self.settings.work_dir().join("stages").join(format!("{}.json", self.settings.stage.name))
    }

    fn known_stage(&self) -> Option<KnownStage> {
        serde_json::from_slice(&std::fs::read(self.known_stage_file()).ok()?).ok()
    }

    /// Remembers where the stage of `contract` is.
    pub(crate) fn remember(&self, contract: &Contract) {
        let file = self.known_stage_file();
        let write = || {
            private::create_dir_all(file.parent()?).ok()?;
            let stage = serde_json::to_vec(&KnownStage::of(contract)).ok()?;
            atomic_file::write_private(&file, &stage).ok()
        };
        // Without the file, the next command only takes one round trip more.
        let _written: Option<()> = write();
    }
}
