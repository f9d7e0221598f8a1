//! The plan of a prune, computed from values alone.
//!
//! A release references its API deployment, its function versions, its zips and the definition of its API.
//! Kept are the live release, the last ones, the target of a rollback, whatever a stage or canary of the API
//! points to, and what the ledgers of the other stages in the bucket can still restore. Whatever is newer
//! than everything kept stays, too: it may belong to a release in progress.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::Serialize;

use super::deployment_description::DeploymentDescription;
use super::model::{DeploymentId, FunctionName, FunctionVersion, Version};
use super::preview::Preview;
use super::record::{Outcome, Record, Release};
use crate::artifact::Sha256;
use crate::release::state::{Deployment, Object, StageUse, VersionState};

/// What the ledgers have recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    /// The records of the stage, oldest first.
    pub(crate) records: Vec<Record>,
    /// The numbers of the records that earlier prunes deleted.
    pub(crate) pruned: BTreeSet<u64>,
    /// The restorable releases of the other stages in the bucket.
    pub(crate) others: Vec<Release>,
    /// The API, and its stage.
    pub(crate) api: (String, String),
}

/// What exists in AWS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Existing {
    /// The deployments of the API.
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) stages: Vec<StageUse>,
    /// The published versions of the functions that exist.
    pub(crate) versions: BTreeMap<FunctionName, Vec<VersionState>>,
    /// The zips of this project.
    pub(crate) zips: Vec<Object>,
    /// The stored definitions of the stage's API.
    pub(crate) definitions: Vec<(Sha256, Object)>,
}

/// What is kept and what is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Prune {
    /// The releases that can still be restored, newest first.
    pub(crate) kept: Vec<Version>,
    /// The numbers of the records whose releases can no longer be restored.
    pub(crate) pruned_records: BTreeSet<u64>,
    /// The API deployments to delete.
    pub(crate) deployments: BTreeSet<DeploymentId>,
    /// The function versions to delete.
    pub(crate) versions: BTreeSet<OldVersion>,
    /// The zips and stored definitions to delete.
    pub(crate) objects: BTreeSet<Object>,
    /// Stages of the API without a ledger in this bucket: it is unknown what they need.
    pub(crate) unmanaged_stages: BTreeSet<String>,
}

/// A function version to delete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub(crate) struct OldVersion {
    /// The name of the Lambda function.
    pub(crate) function: FunctionName,
    /// The published version of the function.
    pub(crate) version: FunctionVersion,
    /// The size of its zip.
    pub(crate) bytes: u64,
}

impl Prune {
    /// Whether there is nothing to delete.
    pub(crate) fn is_empty(&self) -> bool {
        self.deployments.is_empty() && self.versions.is_empty() && self.objects.is_empty()
    }

    /// The part of this plan that is in `shown` as well: nothing is deleted that was not shown.
    #[must_use]
    pub(crate) fn within(self, shown: &Self) -> Self {
        Self {
            deployments: &self.deployments & &shown.deployments,
            versions: &self.versions & &shown.versions,
            objects: &self.objects & &shown.objects,
            ..self
        }
    }

    /// The bytes that are freed: in Lambda's storage, and in the bucket.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (
            self.versions.iter().map(|version| version.bytes).sum(),
            self.objects.iter().map(|object| object.bytes).sum(),
        )
    }
}

/// Everything that must not be deleted.
#[derive(Debug, Default)]
struct Kept<'a> {
    deployments: BTreeSet<&'a str>,
    versions: BTreeSet<(&'a str, &'a str)>,
    keys: BTreeSet<&'a str>,
    fingerprints: BTreeSet<Sha256>,
}

impl<'a> Kept<'a> {
    fn add(&mut self, release: &'a Release, api: &str) {
        if release.api.id == api {
            self.deployments.insert(release.api.deployment_id.as_str());
        }
        self.fingerprints.insert(release.api.fingerprint);
        self.keys.extend(release.artifacts.values().map(|artifact| artifact.key.as_str()));
        let versions = release.functions.values();
        self.versions.extend(versions.map(|function| (function.name.as_str(), function.version.as_str())));
    }

    /// Whether the release can be restored.
    fn has(&self, release: &Release) -> bool {
        let versions = &self.versions;
        self.deployments.contains(release.api.deployment_id.as_str())
            && release
                .functions
                .values()
                .all(|function| versions.contains(&(function.name.as_str(), function.version.as_str())))
    }
}

/// Decides what to delete when `keep` releases stay, the live one included.
pub(crate) fn plan(keep: NonZeroUsize, recorded: &Recorded, existing: &Existing) -> Prune {
    let (api, stage) = (&recorded.api.0, &recorded.api.1);
    let is_restorable =
        |record: &&Record| record.outcome == Outcome::Live && !recorded.pruned.contains(&record.number);
    let restorable: Vec<&Record> = recorded.records.iter().rev().filter(is_restorable).collect();
    let mut kept = Kept::default();
    let mut kept_versions: Vec<Version> = Vec::new();
    for record in &restorable {
        let version = &record.release.version;
        if kept_versions.len() < keep.get() && !kept_versions.contains(version) {
            kept_versions.push(version.clone());
            kept.add(&record.release, api);
        }
    }
    if let Some(current) = restorable.first() {
        kept.add(&current.release, api);
        let target = rollback_target(current, &recorded.records);
        if let Some(target) = target.filter(|record| !recorded.pruned.contains(&record.number)) {
            kept.add(&target.release, api);
            if !kept_versions.contains(&target.release.version) {
                kept_versions.push(target.release.version.clone());
            }
        }
    }
    for release in &recorded.others {
        kept.add(release, api);
    }
    keep_stages(&mut kept, recorded, existing);
    let pruned_records: BTreeSet<u64> = {
        let pruned = restorable.iter().filter(|record| !kept.has(&record.release));
        pruned.map(|record| record.number).collect()
    };
    // A release whose versions and deployment are all kept can be restored as well, so its zips stay, too.
    for record in restorable.iter().filter(|record| !pruned_records.contains(&record.number)) {
        kept.add(&record.release, api);
    }
    let unmanaged_stages = unmanaged_stages(recorded, existing, stage);
    let owned = Owned::of(recorded, unmanaged_stages.is_empty());
    let (deployments, fingerprints) = deployments(&kept, &owned, existing);
    kept.fingerprints.extend(fingerprints);
    let definitions =
        existing.definitions.iter().filter(|(fingerprint, _)| !kept.fingerprints.contains(fingerprint));
    let objects = definitions
        .map(|(_, object)| object.clone())
        .chain(zips(&kept, &owned, restorable.first(), existing))
        .collect();
    let versions = versions(&kept, &owned, existing);
    Prune { kept: kept_versions, pruned_records, deployments, versions, objects, unmanaged_stages }
}

/// The target of a rollback: the newest earlier release that differs from the live one. After a redeploy it
/// can be the same version with the previous API deployment.
fn rollback_target<'a>(current: &Record, records: &'a [Record]) -> Option<&'a Record> {
    let numbered = |number| records.iter().find(|record| record.number == number);
    let mut next = current.preceding();
    while let Some(record) = next.and_then(numbered) {
        if record.is_rollback_target(&current.release) {
            return Some(record);
        }
        next = record.preceding();
    }
    None
}

/// Keeps whatever a stage or a canary of the API uses now, even without a record.
fn keep_stages<'a>(kept: &mut Kept<'a>, recorded: &'a Recorded, existing: &'a Existing) {
    let all = recorded.records.iter().map(|record| &record.release).chain(&recorded.others);
    let names: BTreeSet<(&str, &str)> = all
        .flat_map(|release| &release.functions)
        .map(|(key, function)| (key.as_str(), function.name.as_str()))
        .collect();
    for stage in &existing.stages {
        kept.deployments.extend(stage.deployments.iter().map(DeploymentId::as_str));
        for (variable, value) in &stage.variables {
            let named = names.iter().filter(|(key, _)| key == variable);
            kept.versions.extend(named.map(|(_, name)| (*name, value.as_str())));
        }
    }
}

/// The stages of the API without a ledger in this bucket.
fn unmanaged_stages(recorded: &Recorded, existing: &Existing, stage: &str) -> BTreeSet<String> {
    let managed: BTreeSet<&str> = recorded
        .others
        .iter()
        .filter(|release| release.api.id == recorded.api.0)
        .map(|release| release.api.stage.as_str())
        .chain([stage])
        .collect();
    // A preview needs no rollback, and what it serves is kept.
    let lasting = existing.stages.iter().filter(|stage| Preview::of(stage).is_none());
    let names = lasting.map(|stage| stage.name.clone());
    names.filter(|name| !managed.contains(name.as_str())).collect()
}

/// What the ledger of this stage has recorded, and may therefore be deleted.
struct Owned<'a> {
    deployments: BTreeSet<&'a str>,
    versions: BTreeSet<(&'a str, &'a str)>,
    /// The first recorded version of each function: earlier ones were not published by deployctl.
    first: BTreeMap<&'a str, u64>,
    keys: BTreeSet<&'a str>,
    /// Whether what is in no record may be deleted, too: failed releases leave it.
    unrecorded: bool,
}

impl<'a> Owned<'a> {
    fn of(recorded: &'a Recorded, unrecorded: bool) -> Self {
        let mut owned = Self {
            deployments: BTreeSet::new(),
            versions: BTreeSet::new(),
            first: BTreeMap::new(),
            keys: BTreeSet::new(),
            unrecorded,
        };
        for release in recorded.records.iter().map(|record| &record.release) {
            owned.deployments.insert(release.api.deployment_id.as_str());
            owned.keys.extend(release.artifacts.values().map(|artifact| artifact.key.as_str()));
            for function in release.functions.values() {
                let (name, version) = (function.name.as_str(), &function.version);
                owned.versions.insert((name, version.as_str()));
                let first = owned.first.entry(name).or_insert(u64::MAX);
                *first = (*first).min(number(version));
            }
        }
        owned
    }
}

fn number(version: &FunctionVersion) -> u64 {
    version.as_str().parse().unwrap_or(u64::MAX)
}

/// The deployments to delete, and the fingerprints of those that stay. Deployments that deployctl did not
/// create have another description, and stay.
fn deployments(
    kept: &Kept<'_>,
    owned: &Owned<'_>,
    existing: &Existing,
) -> (BTreeSet<DeploymentId>, Vec<Sha256>) {
    let is_kept = |deployment: &&Deployment| kept.deployments.contains(deployment.id.as_str());
    let newest = existing.deployments.iter().filter(is_kept).map(|deployment| deployment.created).max();
    let mut old = BTreeSet::new();
    let mut fingerprints = Vec::new();
    for deployment in &existing.deployments {
        let Ok(description) = deployment.description.parse::<DeploymentDescription>() else { continue };
        let is_owned = owned.unrecorded || owned.deployments.contains(deployment.id.as_str());
        if is_owned && !is_kept(&deployment) && Some(deployment.created) <= newest {
            old.insert(deployment.id.clone());
        } else {
            fingerprints.push(description.fingerprint);
        }
    }
    (old, fingerprints)
}

fn versions(kept: &Kept<'_>, owned: &Owned<'_>, existing: &Existing) -> BTreeSet<OldVersion> {
    let mut old = BTreeSet::new();
    for (name, versions) in &existing.versions {
        let is_kept =
            |state: &&VersionState| kept.versions.contains(&(name.as_str(), state.version.as_str()));
        let newest = versions.iter().filter(is_kept).map(|state| number(&state.version)).max();
        let Some(first) = owned.first.get(name.as_str()) else { continue };
        for state in versions.iter().filter(|state| !is_kept(state) && !state.aliased) {
            let is_recorded = owned.versions.contains(&(name.as_str(), state.version.as_str()));
            let number = number(&state.version);
            // Of a function that no kept release has, all versions are old.
            let is_old = newest.is_none_or(|newest| number < newest);
            if is_old && (is_recorded || owned.unrecorded && number >= *first) {
                let (function, version) = (name.clone(), state.version.clone());
                old.insert(OldVersion { function, version, bytes: state.bytes });
            }
        }
    }
    old
}

fn zips<'a>(
    kept: &'a Kept<'_>,
    owned: &'a Owned<'_>,
    current: Option<&'a &Record>,
    existing: &'a Existing,
) -> impl Iterator<Item = Object> + 'a {
    let current: BTreeSet<&str> = current
        .into_iter()
        .flat_map(|record| record.release.artifacts.values().map(|artifact| artifact.key.as_str()))
        .collect();
    let live = existing.zips.iter().filter(move |object| current.contains(object.key.as_str()));
    let since = live.map(|object| object.modified).min();
    let old = move |object: &&Object| {
        let key = object.key.as_str();
        !kept.keys.contains(key)
            && (owned.keys.contains(key) || owned.unrecorded && Some(object.modified) < since)
    };
    existing.zips.iter().filter(old).cloned()
}
