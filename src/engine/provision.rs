//! Makes the versions of a release warm before the switch: provisioned concurrency where the contract says so, and
//! invocations elsewhere.
//!
//! AWS charges provisioned concurrency until it is deleted. So the lease lists each version that deployctl gave some,
//! from before the call until it is deleted. The live release and the one before it keep theirs.

use std::collections::BTreeSet;

use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::{unless_interrupted, with_grace};
use crate::engine::lease::{NOT_MOVED, Versioned};
use crate::engine::ledger::Head;
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store, Tried};
use crate::engine::prepare::not_switched;
use crate::engine::verify::LiveChecks;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::FunctionPhase;
use crate::release::model::FunctionKey;
use crate::release::plan::{Observed, Plan};
use crate::release::record::{FunctionRecord, Record, Release};
use crate::release::state::{Allocation, Provisioned};

/// Lambda may need several minutes for many environments, so it may take longer than a version that is published.
const TIMEOUT_FACTOR: u32 = 3;

/// The versions of a release that have provisioned concurrency, and how much.
fn provisioned(release: &Release) -> impl Iterator<Item = (&FunctionKey, &FunctionRecord, u16)> {
    let all = release.functions.iter();
    all.filter_map(|(key, function)| Some((key, function, function.provisioned?.get())))
}

/// The versions that keep their provisioned concurrency.
fn kept(head: &Head) -> BTreeSet<Versioned> {
    let before = head.rollback_target();
    let releases = head.current.iter().chain(&before).map(|record| &record.release);
    let versions = releases.flat_map(provisioned);
    versions.map(|(_, function, _)| (function.name.clone(), function.version.clone())).collect()
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Refuses provisioned concurrency for a version of which an alias has some: Lambda allows only one of both.
    ///
    /// # Errors
    /// `release.refused`, `aws.read`.
    pub(super) async fn must_be_provisionable(&self, port: &impl StagePort, plan: &Plan) -> Result<()> {
        let aliases = plan.functions.values().filter_map(|step| {
            let alias = step.target.alias.as_ref()?;
            step.target.provisioned.map(|_| (&step.target.name, alias))
        });
        let reads = aliases.map(|(name, alias)| async move {
            let state = port.provisioned(name, alias.as_str()).await;
            let state = state.map_err(|failure| unreadable(&format!("alias {alias} of function {name}"), failure))?;
            if state.is_none() {
                return Ok(());
            }
            let message = format!(
                "refused: alias {alias} of {name} has provisioned concurrency, and Lambda allows it either for an \
                 alias or for its version"
            );
            Err(Error::preflight(ErrorId::ReleaseRefused, message).hint(
                "nothing was published; remove it from the alias (aws_lambda_provisioned_concurrency_config in \
                 Terraform), or remove `provisioned` from the function in the contract",
            ))
        });
        try_join_all(reads).await.map(drop)
    }

    /// Makes a release warm: no request waits for the start of these functions after the switch.
    ///
    /// # Errors
    /// `release.not_switched` with Lambda's reason if it cannot allocate; `interrupted`.
    pub(super) async fn warm_up(
        &self,
        port: &impl StagePort,
        release: &Release,
        (plan, observed): (&Plan, &Observed),
    ) -> Result<()> {
        let wanted: Vec<_> = provisioned(release).collect();
        if !wanted.is_empty() {
            self.note_cost(&wanted, observed);
            self.record_provisioned(&wanted).await?;
            let each = wanted.iter().map(|(key, function, count)| self.allocate(port, key, function, *count));
            let all = async { try_join_all(each).await.map(drop) };
            let all = unless_interrupted(&self.context.cancel, all);
            self.context.events.step("provision concurrency", all).await?;
        }
        let warm = plan.functions.iter().filter_map(|(key, step)| {
            let function = release.functions.get(key).filter(|function| function.provisioned.is_none())?;
            Some((function, step.target.warm?.get()))
        });
        let warm: Vec<_> = warm.collect();
        if !warm.is_empty() {
            let all = async {
                self.invoke_all(port, &warm).await;
                Ok(())
            };
            let all = unless_interrupted(&self.context.cancel, all);
            self.context.events.step("warm functions", all).await?;
        }
        Ok(())
    }

    /// Invokes each version so many times at once. What it answers does not count.
    async fn invoke_all(&self, port: &impl StagePort, warm: &[(&FunctionRecord, u16)]) {
        let event = serde_json::json!({ "deployctl": "warm" });
        let each = warm.iter().flat_map(|(function, count)| (0..*count).map(move |_| function));
        let each = each.map(|function| port.invoke_once(&function.name, &function.version, &event, None));
        let answers: Vec<std::result::Result<Tried, Failure>> = join_all(each).await;
        let failures: Vec<&Failure> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        if let Some(first) = failures.first() {
            self.context.events.warn(format!(
                "{} of {} invocations that warm functions failed: {first}",
                failures.len(),
                answers.len()
            ));
        }
    }

    /// Says what Lambda charges.
    fn note_cost(&self, wanted: &[(&FunctionKey, &FunctionRecord, u16)], observed: &Observed) {
        let memory = |key: &FunctionKey| observed.functions.get(key).and_then(|state| state.start.memory_mb);
        let each = wanted.iter().map(|(key, _, count)| match memory(key) {
            Some(memory) => format!("{key} {count} x {memory} MB"),
            None => format!("{key} {count}"),
        });
        let megabytes =
            wanted.iter().map(|(key, _, count)| Some(u64::from(*count) * u64::from(memory(key)?)));
        let total = megabytes.sum::<Option<u64>>().map_or_else(String::new, |total| {
            let (whole, hundredths) = (total / 1024, total % 1024 * 100 / 1024);
            format!(" = {whole}.{hundredths:02} GB, {} GB-seconds an hour", total * 3600 / 1024)
        });
        self.context.events.note(format!(
            "provisioned concurrency: {}{total}, charged from now on whether it is used or not; the previous release \
             keeps its own until the next release. The price of a GB-second depends on region and architecture: \
             https://aws.amazon.com/lambda/pricing/",
            each.collect::<Vec<_>>().join(", ")
        ));
    }

    /// Lists the versions in the lease, before they get provisioned concurrency.
    async fn record_provisioned(&self, wanted: &[(&FunctionKey, &FunctionRecord, u16)]) -> Result<()> {
        let versions =
            wanted.iter().map(|(_, function, _)| (function.name.clone(), function.version.clone()));
        let recorded = self.lease.record_provisioned(versions.collect()).await;
        recorded.map_err(|unconfirmed| unconfirmed.into_error(NOT_MOVED))
    }

    /// Gives a version provisioned concurrency, and waits until it is allocated.
    async fn allocate(
        &self,
        port: &impl StagePort,
        key: &FunctionKey,
        function: &FunctionRecord,
        count: u16,
    ) -> Result<()> {
        self.context.events.function(key.as_str(), FunctionPhase::Waiting);
        let result = self.wait_for_allocation(port, function, count).await;
        let FunctionRecord { name, version, .. } = function;
        let phase =
            if result.is_ok() { FunctionPhase::Done(version.as_str()) } else { FunctionPhase::Failed };
        self.context.events.function(key.as_str(), phase);
        result.map_err(|failure| {
            not_switched(&format!("failed to provision concurrency for {name}:{version}"), failure)
        })
    }

    async fn wait_for_allocation(
        &self,
        port: &impl StagePort,
        function: &FunctionRecord,
        count: u16,
    ) -> Result<(), Failure> {
        let FunctionRecord { name, version, .. } = function;
        let failed = |reason: String| {
            Failure::rejected("PutProvisionedConcurrencyConfig", format!("{name}:{version}"), reason)
        };
        let polling = &self.context.polling;
        let deadline = Instant::now() + polling.timeout * TIMEOUT_FACTOR;
        let mut interval = polling.interval;
        let mut sent = false;
        loop {
            let state = {
                let _permit = self.requests.acquire().await;
                port.provisioned(name, version.as_str()).await?
            };
            let is_allocating = match state {
                Some(Provisioned { requested, allocation: Allocation::Ready }) if requested == count => {
                    return Ok(());
                }
                Some(Provisioned { allocation: Allocation::Failed(reason), .. }) if sent => {
                    return Err(failed(reason));
                }
                // Lambda refuses another request meanwhile.
                Some(Provisioned { allocation: Allocation::InProgress, .. }) => true,
                // What an earlier command or another count has left.
                _ => sent,
            };
            if !is_allocating {
                match port.provision(name, version, count).await {
                    // Sent again if the next read does not show it.
                    Err(failure) if failure.is_transient() => {}
                    answer => {
                        answer?;
                        sent = true;
                    }
                }
            }
            if Instant::now() + interval > deadline {
                return Err(failed("it was not allocated in time".to_owned()));
            }
            sleep(interval).await;
            interval = (interval * 3 / 2).min(polling.interval * 8);
        }
    }

    /// Gives the versions of a release that a rollback has moved to provisioned concurrency again where it is missing.
    /// A failure is a warning: the release is live.
    pub(super) async fn provision_again(&self, port: &impl StagePort, release: &Release) {
        let wanted: Vec<_> = provisioned(release).collect();
        if wanted.is_empty() {
            return;
        }
        let each = wanted.iter().map(|(_, function, count)| async move {
            let FunctionRecord { name, version, .. } = function;
            match port.provisioned(name, version.as_str()).await? {
                Some(Provisioned { requested, allocation }) if requested == *count => {
                    Ok(!matches!(allocation, Allocation::Failed(_)))
                }
                _ => Ok::<_, Failure>(false),
            }
        });
        let work = async {
            let there = try_join_all(each).await.map_err(|failure| failure.to_string())?;
            let missing = wanted.iter().copied().zip(there).filter(|(_, is_there)| !is_there);
            let missing: Vec<_> = missing.map(|(wanted, _)| wanted).collect();
            if missing.is_empty() {
                return Ok(());
            }
            self.record_provisioned(&missing).await.map_err(|error| error.to_string())?;
            let calls = missing.iter().map(|(_, FunctionRecord { name, version, .. }, count)| {
                port.provision(name, version, *count)
            });
            try_join_all(calls).await.map(drop).map_err(|failure| failure.to_string())
        };
        let result =
            with_grace(&self.context.cancel, work).await.unwrap_or_else(|| Err("interrupted".to_owned()));
        if let Err(reason) = result {
            self.context.events.warn(format!(
                "release {} is live, but not all of its functions have their provisioned concurrency ({reason}); a \
                 release of it sets it again",
                release.version
            ));
        }
    }

    /// Deletes what deployctl provisioned for releases that are neither live nor the target of a rollback. A failure is
    /// a warning: the next release tries again.
    pub(super) async fn trim_provisioned(&self, port: &impl StagePort, head: &Head) {
        let kept = kept(head);
        let listed = self.lease.provisioned().await;
        let old: Vec<Versioned> = listed.into_iter().filter(|versioned| !kept.contains(versioned)).collect();
        if old.is_empty() {
            return;
        }
        let deletions =
            async { join_all(old.iter().map(|versioned| self.unprovision(port, versioned))).await };
        let results = with_grace(&self.context.cancel, deletions).await;
        let failure = match results {
            Some(results) => results.into_iter().find_map(Result::err).map(|failure| failure.to_string()),
            None => Some("interrupted".to_owned()),
        };
        if let Some(reason) = failure {
            self.context.events.warn(format!(
                "provisioned concurrency of earlier versions was not deleted, and AWS charges it ({reason}); the next \
                 release tries again"
            ));
        }
    }

    /// Does that after a move of the stage, unless it is not known what the stage serves.
    pub(super) async fn trim_after(
        &self,
        port: &impl StagePort,
        before: Head,
        moved: std::result::Result<&Record, &Error>,
    ) {
        match moved {
            Ok(record) => self.trim_provisioned(port, &before.after(record)).await,
            Err(error) if matches!(error.kind, Kind::Held | Kind::Stuck) => {}
            Err(_) => self.trim_provisioned(port, &before).await,
        }
    }

    /// The switch of a rollback, and what follows it.
    ///
    /// # Errors
    /// As [`HeldStage::switch_over`].
    pub(super) async fn switch_and_provision(
        &self,
        port: &impl StagePort,
        record: Record,
        head: Head,
        checks: &LiveChecks<'_>,
    ) -> Result<Record> {
        let before = head.clone();
        let record = self.switch_over(port, record, head, checks).await?;
        self.provision_after_rollback(port, before, &record).await;
        Ok(record)
    }

    /// Provisions what a rollback went to, and deletes what no longer counts. A rollback switches first.
    pub(super) async fn provision_after_rollback(&self, port: &impl StagePort, head: Head, record: &Record) {
        self.provision_again(port, &record.release).await;
        self.trim_provisioned(port, &head.after(record)).await;
    }

    /// Deletes the provisioned concurrency of a version, if deployctl set it.
    pub(super) async fn unprovision(
        &self,
        port: &impl StagePort,
        versioned: &Versioned,
    ) -> Result<(), Failure> {
        if !self.lease.provisioned().await.contains(versioned) {
            return Ok(());
        }
        let (name, version) = versioned;
        match port.unprovision(name, version).await {
            // The version or the function was deleted.
            Err(failure) if failure.meaning != Meaning::NotFound => Err(failure),
            _ => {
                self.lease.forget_provisioned(versioned).await;
                Ok(())
            }
        }
    }
}
