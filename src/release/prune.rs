//! What may be deleted: decided from values alone, shown, and then obeyed.
//!
//! A release holds on to its API deployment, its function versions, its zips and the definition of its API. Kept are
//! the live release, the last ones, the targets of a rollback, whatever any stage or canary of the API points to, and all that the
//! ledgers of other stages in the bucket can still go back to. What is newer than everything that is kept is left
//! alone, too: it may belong to a release that is being prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::Serialize;

use super::deployment_description::DeploymentDescription;
use super::model::{DeploymentId, FunctionName, FunctionVersion, Version};
use super::record::{Outcome, Record, Release};
use crate::artifact::Sha256;
use crate::release::state::{Deployment, Object, StageUse, VersionState};

/// What the ledgers say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The records of the stage, oldest first.
    pub(crate) records: Vec<Record>,
    /// The numbers of those that earlier prunes gave up.
    pub(crate) pruned: BTreeSet<u64>,
    /// What the other stages in the bucket can still go back to.
    pub(crate) others: Vec<Release>,
    /// The API, and its stage.
    pub(crate) api: (String, String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The deployments of the API.
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) stages: Vec<StageUse>,
    /// The published versions of the functions, as far as those are there.
    pub(crate) versions: BTreeMap<FunctionName, Vec<VersionState>>,
    /// Objects that are zips of this project.
    pub(crate) zips: Vec<Object>,
    /// The kept definitions of the stage's API.
    pub(crate) definitions: Vec<(Sha256, Object)>,
}

/// What is kept and what is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Prune {
    /// The releases that can still be gone back to, newest first.
    pub(crate) kept: Vec<Version>,
    /// The numbers of the records that cannot be gone back to any more.
    pub(crate) pruned_records: BTreeSet<u64>,
    /// The API deployments to delete.
    pub(crate) deployments: BTreeSet<DeploymentId>,
    /// The function versions to delete.
    pub(crate) versions: BTreeSet<OldVersion>,
    /// The zips and kept definitions to delete.
    pub(crate) objects: BTreeSet<Object>,
    /// Stages of the API whose ledger is not in this bucket: nobody knows what they could go back to.
    pub(crate) unmanaged_stages: BTreeSet<String>,
}

/// A function version to delete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub(crate) struct OldVersion {
    /// The function.
    pub(crate) function: FunctionName,
    /// The version.
    pub(crate) version: FunctionVersion,
    /// The size of its zip.
    pub(crate) bytes: u64,
}

impl Prune {
    /// Whether there is nothing to delete.
    pub(crate) fn is_empty(&self) -> bool {
        self.deployments.is_empty() && self.versions.is_empty() && self.objects.is_empty()
    }

    /// Only what is in `shown` as well: nothing is deleted that was not shown.
    #[must_use]
    pub(crate) fn within(self, shown: &Self) -> Self {
        Self {
            deployments: &self.deployments & &shown.deployments,
            versions: &self.versions & &shown.versions,
            objects: &self.objects & &shown.objects,
            ..self
        }
    }

    /// The bytes that are gained: in Lambda's storage, and in the bucket.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (
            self.versions.iter().map(|version| version.bytes).sum(),
            self.objects.iter().map(|object| object.bytes).sum(),
        )
    }
}

/// All that must stay.
#[derive(Debug, Default)]
struct Held<'a> {
    deployments: BTreeSet<&'a str>,
    versions: BTreeSet<(&'a str, &'a str)>,
    keys: BTreeSet<&'a str>,
    fingerprints: BTreeSet<Sha256>,
}

impl<'a> Held<'a> {
    fn hold(&mut self, release: &'a Release, api: &str) {
        if release.api.id == api {
            self.deployments.insert(release.api.deployment_id.as_str());
        }
        self.fingerprints.insert(release.api.fingerprint);
        self.keys.extend(release.artifacts.values().map(|artifact| artifact.key.as_str()));
        let versions = release.functions.values();
        self.versions.extend(versions.map(|function| (function.name.as_str(), function.version.as_str())));
    }

    fn has(&self, release: &Release) -> bool {
        let versions = &self.versions;
        self.deployments.contains(release.api.deployment_id.as_str())
            && release
                .functions
                .values()
                .all(|function| versions.contains(&(function.name.as_str(), function.version.as_str())))
    }
}

/// Decides what may go, when the live release and `keep` releases in all are to stay.
pub(crate) fn plan(keep: NonZeroUsize, known: &Known, found: &Found) -> Prune {
    let (api, stage) = (&known.api.0, &known.api.1);
    let alive = |record: &&Record| record.outcome == Outcome::Live && !known.pruned.contains(&record.number);
    let live: Vec<&Record> = known.records.iter().rev().filter(alive).collect();
    let mut held = Held::default();
    let mut kept: Vec<Version> = Vec::new();
    for record in &live {
        let version = &record.release.version;
        if kept.len() < keep.get() && !kept.contains(version) {
            kept.push(version.clone());
            held.hold(&record.release, api);
        }
    }
    // The target of a rollback: after a redeploy it is the same version with the API before.
    if let Some(current) = live.first() {
        let back = live.iter().find(|record| Some(record.number) == current.before.record);
        held.hold(&current.release, api);
        if let Some(back) = back {
            held.hold(&back.release, api);
            if !kept.contains(&back.release.version) {
                kept.push(back.release.version.clone());
            }
        }
    }
    for release in &known.others {
        held.hold(release, api);
    }
    hold_stages(&mut held, known, found);
    let pruned_records: BTreeSet<u64> = {
        let gone = live.iter().filter(|record| !held.has(&record.release));
        gone.map(|record| record.number).collect()
    };
    // What shares all it runs with a kept one can come back as well, so its zips stay with it.
    for record in live.iter().filter(|record| !pruned_records.contains(&record.number)) {
        held.hold(&record.release, api);
    }
    let unmanaged_stages = unmanaged_stages(known, found, stage);
    let own = Own::of(known, unmanaged_stages.is_empty());
    let (deployments, fingerprints) = deployments(&held, &own, found);
    held.fingerprints.extend(fingerprints);
    let definitions =
        found.definitions.iter().filter(|(fingerprint, _)| !held.fingerprints.contains(fingerprint));
    let objects =
        definitions.map(|(_, object)| object.clone()).chain(zips(&held, &own, live.first(), found)).collect();
    Prune {
        kept,
        pruned_records,
        deployments,
        versions: versions(&held, &own, found),
        objects,
        unmanaged_stages,
    }
}

/// Whatever a stage or a canary of the API uses now, whoever put it there.
fn hold_stages<'a>(held: &mut Held<'a>, known: &'a Known, found: &'a Found) {
    let all = known.records.iter().map(|record| &record.release).chain(&known.others);
    let names: BTreeSet<(&str, &str)> = all
        .flat_map(|release| &release.functions)
        .map(|(key, function)| (key.as_str(), function.name.as_str()))
        .collect();
    for stage in &found.stages {
        held.deployments.extend(stage.deployments.iter().map(DeploymentId::as_str));
        for (variable, value) in &stage.variables {
            let named = names.iter().filter(|(key, _)| key == variable);
            held.versions.extend(named.map(|(_, name)| (*name, value.as_str())));
        }
    }
}

/// The stages of the API that no ledger in this bucket tells of.
fn unmanaged_stages(known: &Known, found: &Found, stage: &str) -> BTreeSet<String> {
    let known_names: BTreeSet<&str> = known
        .others
        .iter()
        .filter(|release| release.api.id == known.api.0)
        .map(|release| release.api.stage.as_str())
        .chain([stage])
        .collect();
    let names = found.stages.iter().map(|stage| stage.name.clone());
    names.filter(|name| !known_names.contains(name.as_str())).collect()
}

/// What is this stage's to delete.
struct Own<'a> {
    deployments: BTreeSet<&'a str>,
    versions: BTreeSet<(&'a str, &'a str)>,
    /// The first version of each function that deployctl knows: those before were published by others.
    first: BTreeMap<&'a str, u64>,
    keys: BTreeSet<&'a str>,
    /// Whether also what no ledger knows is, left by releases that failed.
    leftovers: bool,
}

impl<'a> Own<'a> {
    fn of(known: &'a Known, leftovers: bool) -> Self {
        let mut own = Self {
            deployments: BTreeSet::new(),
            versions: BTreeSet::new(),
            first: BTreeMap::new(),
            keys: BTreeSet::new(),
            leftovers,
        };
        for release in known.records.iter().map(|record| &record.release) {
            own.deployments.insert(release.api.deployment_id.as_str());
            own.keys.extend(release.artifacts.values().map(|artifact| artifact.key.as_str()));
            for function in release.functions.values() {
                let (name, version) = (function.name.as_str(), &function.version);
                own.versions.insert((name, version.as_str()));
                let first = own.first.entry(name).or_insert(u64::MAX);
                *first = (*first).min(number(version));
            }
        }
        own
    }
}

fn number(version: &FunctionVersion) -> u64 {
    version.as_str().parse().unwrap_or(u64::MAX)
}

/// The deployments to delete, and the fingerprints of all that stay. Terraform's own, and those made by hand, have no
/// note of deployctl, and stay.
fn deployments(held: &Held<'_>, own: &Own<'_>, found: &Found) -> (BTreeSet<DeploymentId>, Vec<Sha256>) {
    let is_held = |deployment: &&Deployment| held.deployments.contains(deployment.id.as_str());
    let newest = found.deployments.iter().filter(is_held).map(|deployment| deployment.created).max();
    let mut old = BTreeSet::new();
    let mut fingerprints = Vec::new();
    for deployment in &found.deployments {
        let Ok(note) = deployment.description.parse::<DeploymentDescription>() else { continue };
        let ours = own.leftovers || own.deployments.contains(deployment.id.as_str());
        if ours && !is_held(&deployment) && Some(deployment.created) <= newest {
            old.insert(deployment.id.clone());
        } else {
            fingerprints.push(note.fingerprint);
        }
    }
    (old, fingerprints)
}

fn versions(held: &Held<'_>, own: &Own<'_>, found: &Found) -> BTreeSet<OldVersion> {
    let mut old = BTreeSet::new();
    for (name, versions) in &found.versions {
        let is_held =
            |state: &&VersionState| held.versions.contains(&(name.as_str(), state.version.as_str()));
        let newest = versions.iter().filter(is_held).map(|state| number(&state.version)).max();
        let Some(first) = own.first.get(name.as_str()) else { continue };
        for state in versions.iter().filter(|state| !is_held(state) && !state.aliased) {
            let known = own.versions.contains(&(name.as_str(), state.version.as_str()));
            let number = number(&state.version);
            // A function that no kept release has any more keeps none.
            let settled = newest.is_none_or(|newest| number < newest);
            if settled && (known || own.leftovers && number >= *first) {
                let (function, version) = (name.clone(), state.version.clone());
                old.insert(OldVersion { function, version, bytes: state.bytes });
            }
        }
    }
    old
}

fn zips<'a>(
    held: &'a Held<'_>,
    own: &'a Own<'_>,
    current: Option<&'a &Record>,
    found: &'a Found,
) -> impl Iterator<Item = Object> + 'a {
    let current: BTreeSet<&str> = current
        .into_iter()
        .flat_map(|record| record.release.artifacts.values().map(|artifact| artifact.key.as_str()))
        .collect();
    let live = found.zips.iter().filter(move |object| current.contains(object.key.as_str()));
    let since = live.map(|object| object.modified).min();
    let old = move |object: &&Object| {
        let key = object.key.as_str();
        !held.keys.contains(key) && (own.keys.contains(key) || own.leftovers && Some(object.modified) < since)
    };
    found.zips.iter().filter(old).cloned()
}
