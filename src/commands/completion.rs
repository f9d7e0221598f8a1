//! What the shell completes: stages and layers of `deployctl.toml`, versions and functions that earlier commands
//! have seen. A completion reads files of the project only: AWS would take too long, and need credentials.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::platform::{atomic_file, private};
use crate::project::settings;

/// The most versions that are remembered of a stage.
const MAX_VERSIONS: usize = 100;

/// What a stage had when a command last looked.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Newest first.
    #[serde(default)]
    pub(super) versions: Vec<String>,
    #[serde(default)]
    pub(super) functions: BTreeSet<String>,
}

impl Seen {
    /// Adds what `earlier` has.
    fn and(mut self, earlier: Self) -> Self {
        for version in earlier.versions {
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
        }
        self.versions.truncate(MAX_VERSIONS);
        // A function that is gone is forgotten, if the command saw any.
        if self.functions.is_empty() {
            self.functions = earlier.functions;
        }
        self
    }
}

/// Remembers what a command has seen of a stage. A failure is no failure of the command.
pub(super) fn remember(context: &Context, stage: &str, seen: Seen) {
    let Ok(settings) = context.settings() else { return };
    let folder = folder(&settings.root);
    let file = folder.join(format!("{stage}.json"));
    let earlier = read(&file);
    let seen = seen.and(read(&file));
    if seen != earlier
        && private::create_dir_all(&folder).is_ok()
        && let Ok(text) = serde_json::to_vec(&seen)
    {
        drop(atomic_file::write(&file, &text));
    }
}

fn folder(root: &Path) -> PathBuf {
    root.join(".deployctl/completion")
}

fn read(file: &Path) -> Seen {
    std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

pub(super) fn stages() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| starting_with(current, table("stages")))
}

pub(super) fn layers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| starting_with(current, table("layers")))
}

pub(super) fn versions() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        starting_with(current, all_seen().into_iter().flat_map(|seen| seen.versions))
    })
}

pub(super) fn functions() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        starting_with(current, all_seen().into_iter().flat_map(|seen| seen.functions))
    })
}

/// The candidates that begin with the word so far, each once.
fn starting_with(current: &OsStr, names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let mut known = BTreeSet::new();
    let names = names.into_iter().filter(|name| name.starts_with(current) && known.insert(name.clone()));
    names.map(CompletionCandidate::new).collect()
}

/// The names of the tables below `key` in `deployctl.toml`.
fn table(key: &str) -> Vec<String> {
    let Some(file) = settings::file_for_completion() else { return Vec::new() };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Ok(file) = text.parse::<toml::Table>() else { return Vec::new() };
    let names = file.get(key).and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect());
    names.unwrap_or_default()
}

/// What commands have seen of all stages: a completion does not know which stage is meant.
fn all_seen() -> Vec<Seen> {
    let root = settings::file_for_completion().and_then(|file| Some(file.parent()?.to_owned()));
    let entries = root.and_then(|root| std::fs::read_dir(folder(&root)).ok());
    entries.into_iter().flatten().flatten().map(|entry| read(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(versions: &[&str], functions: &[&str]) -> Seen {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Seen { versions: owned(versions), functions: owned(functions).into_iter().collect() }
    }

    #[test]
    fn versions_are_collected_and_functions_replaced() {
        let both = seen(&["3", "2"], &["a"]).and(seen(&["2", "1"], &["b"]));
        assert_eq!(both, seen(&["3", "2", "1"], &["a"]));
        assert_eq!(seen(&["3"], &[]).and(seen(&[], &["b"])), seen(&["3"], &["b"]));
    }

    #[test]
    fn candidates_begin_with_the_word() {
        let names = || ["dev", "prd", "dev"].map(str::to_owned);
        assert_eq!(starting_with(OsStr::new("d"), names()).len(), 1);
        assert_eq!(starting_with(OsStr::new(""), names()).len(), 2);
        assert!(starting_with(OsStr::new("x"), names()).is_empty());
    }
}
