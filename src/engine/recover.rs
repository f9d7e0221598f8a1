//! Completes the operation of a command that was killed, or lost its lease, between its switch and its
//! record.

use std::collections::BTreeMap;

use futures::try_join;

use crate::engine::held::HeldStage;
use crate::engine::lease::PreviousHolder;
use crate::engine::ledger::Head;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::error::Result;
use crate::release::record::Outcome;

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Writes the record of a previous command that did not: if the stage points to its intent, or was being
    /// moved back. Returns the end of the ledger.
    ///
    /// # Errors
    /// When the stage cannot be read, or the ledger cannot be read or written.
    pub(crate) async fn recover_interrupted(
        &self,
        port: &impl StagePort,
        previous: PreviousHolder,
    ) -> Result<Head> {
        let PreviousHolder { intent, canary, head, .. } = previous;
        if let Some(canary) = canary {
            return self.recover_canary(port, canary).await;
        }
        let Some(mut intent) = intent else {
            let head = match head {
                Some(head) => return Ok(head),
                None => self.ledger.head().await?,
            };
            self.repair_latest(port, &head).await;
            self.lease.mark_clean(head.clone()).await;
            return Ok(head);
        };
        let stage =
            async { port.stage().await.map_err(|failure| not_switched("failed to read the stage", failure)) };
        let (stage, mut head) = try_join!(stage, self.ledger.head())?;
        let version = intent.release.version.clone();
        // Even if it was being moved back: the stage decides, because it is what callers get.
        let outcome = if stage.pointer == intent.pointer {
            Some((Outcome::Live, "after it had moved the stage to"))
        } else if intent.outcome != Outcome::SwitchedBack {
            None
        } else if stage.pointer == intent.before.pointer {
            Some((Outcome::SwitchedBack, "while it moved the stage back from"))
        } else {
            Some((Outcome::Superseded, "while it moved the stage back from"))
        };
        match outcome {
            // It was killed after its record, before it released the lease.
            _ if self.ledger.has(&intent, head.last).await? => {}
            Some((outcome, when)) => {
                self.context
                    .events
                    .note(format!("an earlier command was interrupted {when} {version}; recording it now"));
                match outcome {
                    Outcome::Live => self.repair(port, &intent.release, Some(&intent.before.aliases)).await,
                    Outcome::SwitchedBack => {
                        if let Err(failure) = self.put_back(port, &intent).await {
                            self.context.events.warn(format!("failed to put functions back: {failure}"));
                        }
                    }
                    Outcome::Stuck | Outcome::Superseded => {}
                }
                intent.outcome = outcome;
                intent.recovered = true;
                self.append(&mut intent, head.last).await?;
                head = head.after(&intent);
            }
            None => {
                let text =
                    format!("an earlier command was interrupted before it moved the stage to {version}");
                self.context.events.note(text);
                self.repair_latest(port, &head).await;
            }
        }
        self.lease.mark_clean(head.clone()).await;
        Ok(head)
    }

    /// Sends the code of the live release again to the functions that are called without a version: a command
    /// that was killed before its switch may have sent other code.
    async fn repair_latest(&self, port: &impl StagePort, head: &Head) {
        let Some(current) = &head.current else { return };
        if current.release.functions.values().any(|function| function.latest) {
            self.repair(port, &current.release, Some(&BTreeMap::new())).await;
        }
    }
}
