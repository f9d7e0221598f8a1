//! The results of a run, in the coordination bucket. Each is one object, written only on the condition that it is
//! new or unchanged since it was last read, so that a job that runs again finds what it has done.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::graph::waves_of;
use crate::documents::fleet::{FleetMember, MemberState, PlannedMember, Serving};
use crate::engine::conditional::write_unless_changed;
use crate::engine::failure::Failure;
use crate::engine::ports::{Store, Written};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::model::Version;

/// How many results are read at the same time.
const MAX_CONCURRENT: usize = 16;

/// The schema version of the objects that this tool writes, and the newest it reads.
const SCHEMA: u32 = 1;

/// The id of a run, which becomes part of S3 keys: it has the characters of a version.
pub(crate) type RunId = Version;

/// What a run releases. It is written once, by the first job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) schema: u32,
    pub(crate) run: RunId,
    /// What the source was compared with to find the members.
    pub(crate) changed_since: Option<String>,
    pub(crate) members: BTreeMap<String, PlannedMember>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberResult {
    pub(crate) schema: u32,
    pub(crate) run: RunId,
    pub(crate) member: String,
    pub(crate) state: MemberState,
    pub(crate) version: Version,
    /// What the stage served before the first job of the member.
    pub(crate) before: Option<Serving>,
    pub(crate) released: Option<Serving>,
    pub(crate) url: Option<String>,
    /// The id of the error that the job ended with.
    pub(crate) error: Option<String>,
    /// When this was written, by the clock of the job.
    pub(crate) at: Timestamp,
}

/// A result as it was read, with the condition of the next write.
#[derive(Debug, Clone)]
pub(crate) struct StoredResult {
    pub(crate) result: MemberResult,
    etag: String,
}

impl Run {
    pub(crate) fn new(run: RunId, changed_since: Option<String>, waves: Vec<Vec<PlannedMember>>) -> Self {
        let members = waves.into_iter().flatten().map(|planned| (planned.member.clone(), planned)).collect();
        Self { schema: SCHEMA, run, changed_since, members }
    }

    /// # Errors
    /// `fleet.not_in_run`.
    pub(crate) fn member(&self, name: &str) -> Result<&PlannedMember> {
        self.members.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.members.keys().map(String::as_str).collect();
            Error::usage(
                ErrorId::FleetNotInRun,
                format!("member {name:?} is not released by run {}", self.run),
            )
            .hint(format!("nothing was changed; the run has: {}", known.join(", ")))
        })
    }

    /// The names of the members, each after those that it needs.
    pub(crate) fn order(&self) -> Vec<&str> {
        let needs = |name: &str| self.members.get(name).map_or(&[][..], |planned| planned.needs.as_slice());
        waves_of(&self.members.keys().map(String::as_str).collect(), &needs).into_iter().flatten().collect()
    }

    /// A member with what became of it.
    pub(crate) fn describe(&self, planned: &PlannedMember, result: Option<&MemberResult>) -> FleetMember {
        let PlannedMember { member, stage, account, region, .. } = planned.clone();
        let state = result.map_or(MemberState::Waiting, |result| result.state);
        let of = |get: fn(&MemberResult) -> Option<Serving>| result.and_then(get);
        FleetMember {
            member,
            stage,
            account,
            region,
            state,
            version: result.map(|result| result.version.to_string()),
            before: of(|result| result.before.clone()),
            released: of(|result| result.released.clone()),
            url: result.and_then(|result| result.url.clone()),
            error: result.and_then(|result| result.error.clone()),
        }
    }
}

impl MemberResult {
    /// The result of a job that begins.
    pub(crate) fn begun(run: &RunId, member: &str, version: Version, before: Option<Serving>) -> Self {
        Self {
            schema: SCHEMA,
            run: run.clone(),
            member: member.to_owned(),
            state: MemberState::Running,
            version,
            before,
            released: None,
            url: None,
            error: None,
            at: Timestamp::now(),
        }
    }

    /// Whether `live` is what the run has released. A job that was killed may have released it without a result.
    pub(crate) fn has_released(&self, live: &Serving) -> bool {
        match &self.released {
            Some(released) => {
                released.deployment_id == live.deployment_id && released.version == live.version
            }
            None => {
                live.version == self.version.as_str()
                    && live.record > self.before.as_ref().map_or(0, |before| before.record)
            }
        }
    }

    /// Whether `live` is what the stage served before the run.
    pub(crate) fn was_served_by(&self, live: &Serving) -> bool {
        self.before.as_ref().is_some_and(|before| {
            before.deployment_id == live.deployment_id && before.version == live.version
        })
    }
}

/// The coordination bucket.
#[derive(Debug, Clone)]
pub(crate) struct Coordination<S> {
    pub(crate) store: S,
}

impl<S: Store> Coordination<S> {
    /// Reads a run; `None` before its first job.
    ///
    /// # Errors
    /// `fleet.store`.
    pub(crate) async fn find_run(&self, run: &RunId) -> Result<Option<Run>> {
        Ok(self.read(&run_key(run)).await?.map(|(run, _)| run))
    }

    /// Reads a run.
    ///
    /// # Errors
    /// `fleet.unknown_run`, `fleet.store`.
    pub(crate) async fn run(&self, run: &RunId) -> Result<Run> {
        self.find_run(run).await?.ok_or_else(|| {
            Error::usage(ErrorId::FleetUnknownRun, format!("there is no run {run} in {}", self.store.name()))
                .hint("nothing was changed; a run begins with its first `deployctl fleet run`")
        })
    }

    /// Stores a run that begins. If another job was first, its run is returned.
    ///
    /// # Errors
    /// `fleet.store`.
    pub(crate) async fn begin(&self, run: Run) -> Result<Run> {
        let key = run_key(&run.run);
        match self.store.create(&key, &body(&run)?).await {
            Ok(Written::Done(_)) => Ok(run),
            Err(failure) if !failure.may_have_happened() => Err(unusable(failure)),
            Ok(Written::Refused) | Err(_) => self.run(&run.run).await,
        }
    }

    /// Reads the result of a member; `None` before its first job.
    ///
    /// # Errors
    /// `fleet.store`.
    pub(crate) async fn result(&self, run: &RunId, member: &str) -> Result<Option<StoredResult>> {
        let stored = self.read(&result_key(run, member)).await?;
        Ok(stored.map(|(result, etag)| StoredResult { result, etag }))
    }

    /// The results of members, in their order, some read at once.
    ///
    /// # Errors
    /// `fleet.store`.
    pub(crate) async fn results<'a>(
        &self,
        run: &RunId,
        members: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Option<StoredResult>>> {
        let reads = members.into_iter().map(|member| self.result(run, member));
        stream::iter(reads).buffered(MAX_CONCURRENT).try_collect().await
    }

    /// Writes a result, if the stored one is still `former`.
    ///
    /// # Errors
    /// `fleet.another_job` when another job wrote it, `fleet.store`.
    pub(crate) async fn write(
        &self,
        result: MemberResult,
        former: Option<&StoredResult>,
    ) -> Result<StoredResult> {
        let (key, body) = (result_key(&result.run, &result.member), body(&result)?);
        let etag = former.map(|former| former.etag.as_str());
        if let Some(etag) = write_unless_changed(&self.store, &key, &body, etag).await.map_err(unusable)? {
            return Ok(StoredResult { result, etag });
        }
        let message = format!("another job of run {} works on member {}", result.run, result.member);
        Err(Error::new(Kind::Held, ErrorId::FleetAnotherJob, message).hint(
            "this command has not stored its result; `deployctl fleet status` shows what the other one does",
        ))
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, String)>> {
        let Some(stored) = self.store.read(key).await.map_err(unusable)? else { return Ok(None) };
        let damaged = |problem: &str| {
            let message = format!("failed to read {key} in {}: {problem}", self.store.name());
            Error::preflight(ErrorId::FleetStore, message)
                .hint("no stage was changed; use another id for the run")
        };
        let value: serde_json::Value =
            serde_json::from_slice(&stored.body).map_err(|problem| damaged(&problem.to_string()))?;
        if value["schema"].as_u64().is_some_and(|schema| schema > u64::from(SCHEMA)) {
            return Err(damaged("a newer deployctl wrote it"));
        }
        let read = serde_json::from_value(value).map_err(|problem| damaged(&problem.to_string()))?;
        Ok(Some((read, stored.etag)))
    }
}

/// The prefix of all objects of a fleet.
pub(super) const PREFIX: &str = "fleet/";

fn run_key(run: &RunId) -> String {
    format!("{PREFIX}runs/{run}/run.json")
}

fn result_key(run: &RunId, member: &str) -> String {
    format!("{PREFIX}runs/{run}/members/{member}.json")
}

fn body(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::bug(error.to_string()))
}

/// The error of a coordination bucket that cannot be read or written.
pub(super) fn unusable(failure: Failure) -> Error {
    let hint = failure.hint(
        "no stage was changed by this call",
        "the caller needs s3:GetObject, s3:PutObject and s3:ListBucket for `fleet/` in the coordination bucket",
    );
    Error::preflight(ErrorId::FleetStore, "failed to use the coordination bucket").because(failure).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::cloud::{Cloud, FAULTS, Fault};

    fn result(state: MemberState) -> MemberResult {
        let run = "r1".parse().unwrap();
        let begun = MemberResult::begun(&run, "users", "1.0.0".parse().unwrap(), None);
        MemberResult { state, at: Timestamp::UNIX_EPOCH, ..begun }
    }

    fn serving(record: u64, version: &str, deployment: &str) -> Serving {
        Serving { record, version: version.to_owned(), deployment_id: deployment.to_owned() }
    }

    #[tokio::test]
    async fn a_result_is_stored_once_whatever_becomes_of_the_calls() {
        for fault in
            FAULTS.into_iter().filter(|fault| !matches!(fault, Fault::KilledBefore | Fault::KilledAfter))
        {
            for call in 0..4 {
                let cloud = Cloud::new(&[]);
                let coordination = Coordination { store: cloud.clone() };
                cloud.arm(&[(call, fault)]);
                let work = async {
                    let begun = coordination.write(result(MemberState::Running), None).await?;
                    coordination.write(result(MemberState::Succeeded), Some(&begun)).await
                };
                let ended = work.await;
                cloud.arm(&[]);
                let stored = coordination.result(&"r1".parse().unwrap(), "users").await.unwrap();
                if ended.is_ok() {
                    assert_eq!(stored.unwrap().result, result(MemberState::Succeeded), "{fault:?} of {call}");
                }
            }
        }
    }

    #[tokio::test]
    async fn of_two_jobs_one_stores_its_result() {
        let coordination = Coordination { store: Cloud::new(&[]) };
        let begun = coordination.write(result(MemberState::Running), None).await.unwrap();
        let error = coordination.write(result(MemberState::Failed), None).await.unwrap_err();
        assert_eq!((error.id, error.kind.exit_code()), (ErrorId::FleetAnotherJob, 75));
        coordination.write(result(MemberState::Succeeded), Some(&begun)).await.unwrap();
        assert!(coordination.write(result(MemberState::Failed), Some(&begun)).await.is_err());
        let stored = coordination.result(&"r1".parse().unwrap(), "users").await.unwrap().unwrap();
        assert_eq!(stored.result.state, MemberState::Succeeded);
    }

    #[tokio::test]
    async fn the_first_job_says_what_the_run_releases() {
        let coordination = Coordination { store: Cloud::new(&[]) };
        let run = |since: &str| Run::new("r1".parse().unwrap(), Some(since.to_owned()), Vec::new());
        let error = coordination.run(&"r1".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.id, ErrorId::FleetUnknownRun);
        coordination.begin(run("a")).await.unwrap();
        assert_eq!(coordination.begin(run("b")).await.unwrap().changed_since.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_live_is_compared_by_version_and_deployment() {
        let mut result = result(MemberState::Running);
        result.before = Some(serving(3, "0.9.0", "d3"));
        // The job was killed before it stored what it released.
        assert!(
            result.has_released(&serving(4, "1.0.0", "d4"))
                && !result.has_released(&serving(3, "0.9.0", "d3"))
        );
        result.released = Some(serving(4, "1.0.0", "d4"));
        assert!(!result.has_released(&serving(5, "1.0.0", "d5")), "released again by somebody else");
        assert!(result.was_served_by(&serving(6, "0.9.0", "d3")), "a rollback has a record of its own");
    }
}
