//! Adds the last log lines of a failing function to the error of a release that was switched back.

use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{sleep, timeout};

use crate::engine::failure::Failure;
use crate::engine::held::HeldStage;
use crate::engine::ports::{StagePort, Store};
use crate::engine::verify::Unverified;
use crate::error::Error;
use crate::release::check::HttpRequest;
use crate::release::record::{FunctionRecord, Record};

/// How long to wait for lines: CloudWatch shows them some seconds after they were written. Callers do not wait: the
/// stage has been switched back.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The clock of this machine may differ from that of CloudWatch. A new version was not called before.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_secs(60);

impl<S: Store + Clone> HeldStage<'_, S> {
    /// The error, with what the functions of the failed request have logged since the switch, if that can be
    /// read.
    pub(super) async fn with_log(
        &self,
        port: &impl StagePort,
        record: &Record,
        switched: Timestamp,
        why: Unverified,
    ) -> Error {
        let Unverified { mut error, request } = why;
        let Some(request) = request else { return error };
        let since = switched - CLOCK_DIFFERENCE;
        let read = async {
            let functions = self.needed(record, &request).await;
            join_all(functions.into_iter().map(|function| log(port, function, since))).await.concat()
        };
        tokio::select! {
            log = read => error.message.push_str(&log),
            () = self.context.cancel.cancelled() => {}
        }
        error
    }

    /// The functions that a request of the release needs; if some of them are new, only those.
    async fn needed<'r>(&self, record: &'r Record, request: &HttpRequest) -> Vec<&'r FunctionRecord> {
        let Record { release, before, .. } = record;
        let Ok(Some(definition)) = self.ledger.definition(&release.api.fingerprint).await else {
            return Vec::new();
        };
        let Some(route) = definition.route_of(&request.method, &request.path) else { return Vec::new() };
        let needed = definition.needed_by(&route, release.functions.keys());
        let versions = needed.into_iter().filter_map(|key| release.functions.get_key_value(key));
        let (new, kept): (Vec<_>, Vec<_>) = versions.partition(|(key, function)| {
            before.pointer.variables.get(key.as_str()).map(String::as_str) != Some(function.version.as_str())
        });
        let chosen = if new.is_empty() { kept } else { new };
        chosen.into_iter().map(|(_, function)| function).collect()
    }
}

/// The last lines of a version, as the end of a message.
async fn log(port: &impl StagePort, function: &FunctionRecord, since: Timestamp) -> String {
    let FunctionRecord { name, version, .. } = function;
    let lines = async {
        loop {
            let lines = port.log(name, version, since).await?;
            if !lines.is_empty() {
                return Ok::<_, Failure>(lines);
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    match timeout(LOG_TIMEOUT, lines).await {
        Ok(Ok(lines)) => format!("\n  the log of {name}:{version} ends with\n    {}", lines.join("\n    ")),
        Ok(Err(failure)) => format!("\n  the log of {name}:{version} was not read: {failure}"),
        Err(_) => format!(
            "\n  no line of {name}:{version} was in its log after {} s; see `deployctl logs`",
            LOG_TIMEOUT.as_secs()
        ),
    }
}
