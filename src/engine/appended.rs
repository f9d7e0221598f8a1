//! The records that a command has appended to the ledger, for what is told to others after it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::held::HeldStage;
use crate::engine::ports::Store;
use crate::error::Result;
use crate::release::record::Record;

/// Clones share the records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Appended(Arc<Mutex<Vec<Record>>>);

impl Appended {
    fn add(&self, record: &Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
    }

    /// Takes the records, in the order in which they were appended.
    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Appends a record to the ledger.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) async fn append(&self, record: &mut Record, last: u64) -> Result<u64> {
        let number = self.ledger.append(record, last).await?;
        self.context.appended.add(record);
        Ok(number)
    }
}
