//! The order of members that need each other.

use std::collections::{BTreeMap, BTreeSet};

use super::file::Member;

/// A cycle of needs, with its first member once more at the end.
pub(super) fn cycle(members: &BTreeMap<String, Member>) -> Option<Vec<String>> {
    let all = members.keys().map(String::as_str).collect();
    let ordered: BTreeSet<&str> = waves(members, &all).into_iter().flatten().collect();
    let mut current = members.keys().find(|name| !ordered.contains(name.as_str()))?.as_str();
    // Each member that has no place needs another one, so that this walk comes back.
    let mut walked: Vec<&str> = Vec::new();
    loop {
        if let Some(start) = walked.iter().position(|known| *known == current) {
            let names = walked[start..].iter().chain([&current]);
            return Some(names.map(|name| (*name).to_owned()).collect());
        }
        walked.push(current);
        current = members[current].needs.iter().find(|needed| !ordered.contains(needed.as_str()))?;
    }
}

/// The members of `selected` in waves: each is in the first wave after those that it needs. Members in a cycle
/// are in none.
pub(crate) fn waves<'a>(
    members: &'a BTreeMap<String, Member>,
    selected: &BTreeSet<&'a str>,
) -> Vec<Vec<&'a str>> {
    waves_of(selected, &|name| members.get(name).map_or(&[], |member| member.needs.as_slice()))
}

/// The same for any names; `needs` are those of a name.
pub(super) fn waves_of<'a>(
    selected: &BTreeSet<&'a str>,
    needs: &dyn Fn(&str) -> &'a [String],
) -> Vec<Vec<&'a str>> {
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for name in selected {
        let needed: Vec<&String> =
            needs(name).iter().filter(|needed| selected.contains(needed.as_str())).collect();
        open.insert(name, needed.len());
        for needed in needed {
            dependents.entry(needed).or_default().push(name);
        }
    }
    let mut waves = Vec::new();
    let mut wave: Vec<&str> = selected.iter().copied().filter(|name| open[name] == 0).collect();
    while !wave.is_empty() {
        let mut next = Vec::new();
        for dependent in wave.iter().flat_map(|name| dependents.get(name).into_iter().flatten()) {
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    next.push(*dependent);
                }
            }
        }
        next.sort_unstable();
        waves.push(std::mem::replace(&mut wave, next));
    }
    waves
}

/// The members that need one of `names`, directly or through others: each with the one that it needs.
pub(super) fn dependents<'a>(
    members: &'a BTreeMap<String, Member>,
    names: &BTreeSet<&'a str>,
) -> BTreeMap<&'a str, &'a str> {
    let mut direct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, member) in members {
        for needed in &member.needs {
            direct.entry(needed).or_default().push(name);
        }
    }
    let mut found = BTreeMap::new();
    let mut open: Vec<&str> = names.iter().copied().collect();
    while let Some(needed) = open.pop() {
        for dependent in direct.get(needed).into_iter().flatten() {
            if !names.contains(dependent) && !found.contains_key(dependent) {
                found.insert(*dependent, needed);
                open.push(dependent);
            }
        }
    }
    found
}
