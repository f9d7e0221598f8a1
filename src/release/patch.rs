//! The patch of one `UpdateStage` call, which moves a stage from one pointer to another, or changes its canary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::model::{DeploymentId, Pointer};

/// The most operations of a patch. AWS refuses larger ones and does not document its limit; other tools send
/// at most this many.
pub(crate) const MAX_OPERATIONS: usize = 80;

/// An operation on a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Deployment(&'a DeploymentId),
    Set(&'a str, &'a str),
    Remove(&'a str),
    /// The share of the requests that the canary gets.
    CanaryPercent(u8),
    CanaryDeployment(&'a DeploymentId),
    CanarySet(&'a str, &'a str),
    RemoveCanary,
}

impl Operation<'_> {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Deployment(_) => "/deploymentId".to_owned(),
            Self::Set(name, _) | Self::Remove(name) => format!("/variables/{name}"),
            Self::CanaryPercent(_) => "/canarySettings/percentTraffic".to_owned(),
            Self::CanaryDeployment(_) => "/canarySettings/deploymentId".to_owned(),
            Self::CanarySet(name, _) => format!("/canarySettings/stageVariableOverrides/{name}"),
            Self::RemoveCanary => "/canarySettings".to_owned(),
        }
    }

    /// What replaces the value at the path; `None` if it is removed.
    pub(crate) fn value(&self) -> Option<String> {
        match self {
            Self::Deployment(id) | Self::CanaryDeployment(id) => Some(id.to_string()),
            Self::Set(_, value) | Self::CanarySet(_, value) => Some((*value).to_owned()),
            Self::CanaryPercent(percent) => Some(format!("{percent}.0")),
            Self::Remove(_) | Self::RemoveCanary => None,
        }
    }
}

/// The patch that moves a stage: the deployment and every variable of the target in one call, so that a
/// request sees one release or the other. Values that `from` has as well are sent, too: if another caller
/// moved the stage meanwhile, a patch of the differences would leave a mixture of two releases. `from` only
/// determines what to remove.
///
/// Only a patch that would be too large is one of the differences. Then `from` must be the stage as it is
/// now.
pub(crate) fn patch<'a>(from: &'a Pointer, to: &'a Pointer) -> Vec<Operation<'a>> {
    patch_beside(from, to, 0)
}

/// The same beside `others` operations in one call.
pub(crate) fn patch_beside<'a>(from: &'a Pointer, to: &'a Pointer, others: usize) -> Vec<Operation<'a>> {
    let whole = whole(from, to);
    if whole.len() + others > MAX_OPERATIONS { operations(from, to, false) } else { whole }
}

/// The patch that states the whole target, even if it is too large for one call.
pub(crate) fn whole<'a>(from: &'a Pointer, to: &'a Pointer) -> Vec<Operation<'a>> {
    operations(from, to, true)
}

fn operations<'a>(from: &'a Pointer, to: &'a Pointer, whole: bool) -> Vec<Operation<'a>> {
    let mut operations = vec![Operation::Deployment(&to.deployment_id)];
    let set = to.variables.iter().filter(|(name, value)| whole || from.variables.get(*name) != Some(*value));
    operations.extend(set.map(|(name, value)| Operation::Set(name, value)));
    let removed = from.variables.keys().filter(|name| !to.variables.contains_key(*name));
    operations.extend(removed.map(|name| Operation::Remove(name)));
    operations
}

/// Whether the whole target is too large for one call.
pub(crate) fn is_too_large(from: &Pointer, to: &Pointer) -> bool {
    Size::of(&from.variables, to.variables.keys().map(String::as_str)).operations() > MAX_OPERATIONS
}

/// The size of a patch that states the whole target. The patch back has the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    set: usize,
    removed: usize,
    /// Whether the patch also ends a canary.
    canary: bool,
}

impl Size {
    /// The size of the patch from a stage with the variables `from` to one with the variables `to`.
    pub(crate) fn of<'a>(from: &BTreeMap<String, String>, to: impl Iterator<Item = &'a str>) -> Self {
        let to: BTreeSet<&str> = to.collect();
        let removed = from.keys().filter(|name| !to.contains(name.as_str())).count();
        Self { set: to.len(), removed, canary: false }
    }

    /// The size of the same patch if it also ends a canary. No step of the canary is larger.
    pub(crate) fn with_canary(self) -> Self {
        Self { canary: true, ..self }
    }

    pub(crate) fn operations(self) -> usize {
        1 + self.set + self.removed + usize::from(self.canary)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, removed, canary } = self;
        let canary = if *canary { ", the end of the canary" } else { "" };
        write!(
            f,
            "{} patch operations (the deployment, {set} stage variables to set, {removed} to remove{canary})",
            self.operations()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(deployment: &str, variables: &[(&str, &str)]) -> Pointer {
        Pointer {
            deployment_id: deployment.parse().unwrap(),
            variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    /// A stage with `count` functions at `version`.
    fn large(deployment: &str, count: usize, version: &str) -> Pointer {
        let names = (0..count).map(|number| (format!("f{number:02}"), version.to_owned()));
        Pointer { deployment_id: deployment.parse().unwrap(), variables: names.collect() }
    }

    fn lines(operations: &[Operation<'_>]) -> Vec<String> {
        let line = |operation: &Operation<'_>| match operation {
            Operation::Deployment(id) => format!("deployment {id}"),
            Operation::Set(name, value) => format!("set {name} {value}"),
            Operation::Remove(name) => format!("remove {name}"),
            other => format!("{other:?}"),
        };
        operations.iter().map(line).collect()
    }

    #[test]
    fn the_patch_states_the_whole_target_and_reverses() {
        let old = pointer("d1", &[("release", "1"), ("gone", "4"), ("same", "2")]);
        let new = pointer("d2", &[("release", "2"), ("added", "1"), ("same", "2")]);
        assert_eq!(
            lines(&patch(&old, &new)),
            ["deployment d2", "set added 1", "set release 2", "set same 2", "remove gone"]
        );
        assert_eq!(
            lines(&patch(&new, &old)),
            ["deployment d1", "set gone 4", "set release 1", "set same 2", "remove added"]
        );
        // Equal values are sent, too: another caller may have moved the stage meanwhile.
        assert_eq!(patch(&new, &new).len(), 4);
    }

    #[test]
    fn only_a_patch_of_more_than_80_operations_is_one_of_the_differences() {
        let (from, mut to) = (large("d1", 79, "1"), large("d2", 79, "1"));
        to.variables.insert("f00".into(), "2".into());
        assert_eq!(patch(&from, &to).len(), MAX_OPERATIONS, "the whole target");
        assert_eq!(lines(&patch_beside(&from, &to, 1)), ["deployment d2", "set f00 2"]);

        let (mut from, mut to) = (large("d1", 90, "1"), large("d2", 90, "1"));
        from.variables.insert("added".into(), "1".into());
        to.variables.insert("f00".into(), "2".into());
        assert_eq!(lines(&patch(&from, &to)), ["deployment d2", "set f00 2", "remove added"]);
        assert_eq!(lines(&patch(&to, &from)), ["deployment d1", "set added 1", "set f00 1"]);
        assert_eq!(lines(&patch(&from, &from)), ["deployment d1"], "a patch is never empty");
    }

    #[test]
    fn the_size_counts_what_the_patch_sends_in_both_directions() {
        let mut old = large("d1", 60, "1");
        old.variables.insert("gone".into(), "4".into());
        let new = large("d2", 70, "2");
        let size =
            |from: &Pointer, to: &Pointer| Size::of(&from.variables, to.variables.keys().map(String::as_str));
        assert_eq!(size(&old, &new), Size { set: 70, removed: 1, canary: false });
        assert_eq!(size(&old, &new).operations(), patch(&old, &new).len());
        assert_eq!(size(&old, &new).operations(), size(&new, &old).operations());
        assert_eq!(
            size(&old, &new).to_string(),
            "72 patch operations (the deployment, 70 stage variables to set, 1 to remove)"
        );
    }
}
