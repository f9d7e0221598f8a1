//! Which members of a fleet a change affects, and the waves in which they are released.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::file::{Fleet, Member, join};
use super::graph::{dependents, waves};
use crate::documents::fleet::PlannedMember;

/// The most jobs of one matrix in GitHub Actions.
pub(crate) const MAX_JOBS: usize = 256;

/// The files that have changed, as paths from the root of the repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changed {
    /// The folder of `fleet.toml` in the repository; empty for its root.
    pub(crate) prefix: String,
    pub(crate) files: BTreeSet<String>,
}

impl Changed {
    /// A changed file that is `path`, or is below it.
    fn under(&self, path: &str) -> Option<&String> {
        let path = join(&self.prefix, path);
        if path == "." {
            return self.files.first();
        }
        let folder = format!("{path}/");
        let below = || self.files.range(folder.clone()..).next().filter(|file| file.starts_with(&folder));
        self.files.get(&path).or_else(below)
    }
}

/// The members to release, in waves. Without `changed`, all are.
pub(crate) fn plan(fleet: &Fleet, changed: Option<&Changed>) -> Vec<Vec<PlannedMember>> {
    let reasons = match changed {
        None => fleet.members.keys().map(|name| (name.as_str(), "all are released".to_owned())).collect(),
        Some(changed) => affected(&fleet.members, changed),
    };
    let selected = reasons.keys().copied().collect();
    let planned = |name: &str| {
        let Member { path, stage, account, region, needs, .. } = &fleet.members[name];
        PlannedMember {
            member: name.to_owned(),
            path: path.clone(),
            stage: stage.to_string(),
            account: account.to_string(),
            region: region.clone(),
            needs: needs.iter().filter(|needed| reasons.contains_key(needed.as_str())).cloned().collect(),
            reason: reasons[name].clone(),
        }
    };
    let waves = waves(&fleet.members, &selected).into_iter();
    waves.map(|wave| wave.into_iter().map(planned).collect()).collect()
}

/// The members that `changed` affects, and those that need them, each with the reason.
fn affected<'a>(members: &'a BTreeMap<String, Member>, changed: &Changed) -> BTreeMap<&'a str, String> {
    let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
    for (name, member) in members {
        let mut paths = std::iter::once(&member.path).chain(&member.paths);
        if let Some(file) = paths.find_map(|path| changed.under(path)) {
            reasons.insert(name, format!("{file} has changed"));
        }
    }
    let roots = reasons.keys().copied().collect();
    for (name, needed) in dependents(members, &roots) {
        reasons.insert(name, format!("it needs {needed}"));
    }
    reasons
}

/// One matrix for each wave, in the form that `fromJSON` in a workflow takes. A wave of more than [`MAX_JOBS`]
/// members becomes several, one after another.
pub(crate) fn matrices(waves: &[Vec<PlannedMember>]) -> Vec<Value> {
    let chunks = waves.iter().flat_map(|wave| wave.chunks(MAX_JOBS));
    let job = |member: &PlannedMember| {
        let PlannedMember { member, path, stage, account, region, .. } = member;
        json!({ "member": member, "path": path, "stage": stage, "account": account, "region": region })
    };
    chunks.map(|wave| json!({ "include": wave.iter().map(job).collect::<Vec<_>>() })).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::fleet;
    use super::*;

    fn changed(prefix: &str, files: &[&str]) -> Changed {
        Changed { prefix: prefix.to_owned(), files: files.iter().map(|file| (*file).to_owned()).collect() }
    }

    fn names(waves: &[Vec<PlannedMember>]) -> Vec<Vec<&str>> {
        waves.iter().map(|wave| wave.iter().map(|planned| planned.member.as_str()).collect()).collect()
    }

    const MEMBERS: &str = "base = { path = \"base\" }\nusers = { path = \"services/users\", needs = [\"base\"], \
                           paths = [\"libs/common\", \"../Cargo.lock\"] }\norders = { path = \"services/orders\", \
                           needs = [\"users\"] }\nmail = { path = \"services/mail\" }\n";

    #[test]
    fn a_change_affects_its_member_and_those_that_need_it() {
        let fleet = fleet(MEMBERS).unwrap();
        let all = [vec!["base", "mail"], vec!["users"], vec!["orders"]];
        assert_eq!(names(&plan(&fleet, None)), all);
        let planned = |prefix, files: &[&str]| plan(&fleet, Some(&changed(prefix, files)));
        assert_eq!(names(&planned("", &["base/x"])), [["base"], ["users"], ["orders"]]);
        assert_eq!(names(&planned("", &["services/users-old/x", "README.md"])), [[""; 0]; 0]);
        let common = planned("", &["libs/common/src/lib.rs"]);
        assert_eq!(names(&common), [["users"], ["orders"]]);
        // What is not released is not waited for.
        assert_eq!(common[0][0].needs, [""; 0]);
        assert_eq!(common[1][0].needs, ["users"]);
        assert_eq!(common[0][0].reason, "libs/common/src/lib.rs has changed");
        assert_eq!(common[1][0].reason, "it needs users");
        // A fleet in a folder of the repository.
        assert_eq!(names(&planned("shop/", &["services/mail/x"])), [[""; 0]; 0]);
        assert_eq!(names(&planned("shop/", &["shop/services/mail/x"])), [["mail"]]);
        assert_eq!(names(&planned("shop/", &["Cargo.lock"])), [["users"], ["orders"]]);
    }

    #[test]
    fn a_thousand_members_are_planned_in_matrices_of_256_jobs() {
        let mut members = String::new();
        for number in 0..1000 {
            let needs = if number < 600 {
                String::new()
            } else {
                format!("\"m{}\", \"m{}\"", number - 600, number - 400)
            };
            members.push_str(&format!("m{number} = {{ path = \"services/{number}\", needs = [{needs}] }}\n"));
        }
        let fleet = fleet(&members).unwrap();
        let waves = plan(&fleet, None);
        let matrices = matrices(&waves);
        let sizes = |waves: &[Vec<PlannedMember>]| waves.iter().map(Vec::len).collect::<Vec<_>>();
        // 800 to 999 need one of 400 to 599, which need nothing.
        assert_eq!(sizes(&waves), [600, 400]);
        let jobs = |matrix: &Value| matrix["include"].as_array().unwrap().len();
        assert_eq!(matrices.iter().map(jobs).collect::<Vec<_>>(), [256, 256, 88, 256, 144]);
        let one = plan(&fleet, Some(&changed("", &["services/599/src/main.rs"])));
        assert_eq!(names(&one), [["m599"], ["m999"]]);
    }
}
