//! The files that `deployctl dev` watches: the sources of the functions' packages and of the local packages that
//! they depend on, the manifests, and the folders of the Terraform layers.
//!
//! The system says that something has happened in one of their folders; what has changed is found by reading the
//! files. Editors replace files in many ways, and builds and Terraform write next to them: the contents are the same
//! however they got there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::dev::Scope;
use crate::artifact::{ArtifactError, Origin, Sha256};
use crate::error::Result;
use crate::platform::process::Command;
use crate::project::session::Session;
use crate::project::settings::Settings;
use crate::terraform;

/// A change is taken up when nothing more has changed for so long.
const QUIET: Duration = Duration::from_millis(40);

/// Changes that do not end are taken up after so many looks: what changes later is a further change.
const LOOKS: usize = 25;

/// Files are read so often without a word from the system, which says nothing about network drives.
const UNASKED: Duration = Duration::from_secs(2);

/// A file that was written so recently may be written again with the same time.
const RECENT: Duration = Duration::from_secs(1);

/// Folders of a package that a build of its binary does not read.
const NOT_BUILT: [&str; 5] = ["target", "tests", "benches", "examples", "node_modules"];

/// The files and folders to watch. All that is in a folder counts.
#[derive(Debug, Default)]
struct Roots {
    code: BTreeSet<PathBuf>,
    infrastructure: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    modified: SystemTime,
    size: u64,
    sha256: Sha256,
}

type Files = BTreeMap<PathBuf, File>;

/// What is at the roots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    code: Files,
    infrastructure: Files,
    /// The folders in which something can happen.
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Watched {
    roots: Roots,
    /// As it was when it was last taken up.
    seen: Look,
    folders: BTreeSet<PathBuf>,
    happened: Arc<Notify>,
    /// `None` where the system cannot watch.
    watcher: Option<RecommendedWatcher>,
}

impl Watched {
    /// # Errors
    /// Those of `cargo metadata`.
    pub(crate) async fn of(session: &Session) -> Result<Self> {
        Ok(Self::new(Roots::of(session).await?))
    }

    fn new(roots: Roots) -> Self {
        let happened = Arc::new(Notify::new());
        let wake = Arc::clone(&happened);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To read a file is an event, too.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                wake.notify_one();
            }
        });
        let seen = roots.look(&Look::default());
        let mut watched = Self { roots, seen, folders: BTreeSet::new(), happened, watcher: watcher.ok() };
        watched.watch_folders();
        watched
    }

    /// Watches the folders of the last look, and no others.
    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        // One that cannot be watched is looked at now and then, as all are.
        for folder in self.folders.difference(&self.seen.folders) {
            drop(watcher.unwatch(folder));
        }
        let mut is_new = false;
        for folder in self.seen.folders.difference(&self.folders) {
            is_new |= watcher.watch(folder, RecursiveMode::NonRecursive).is_ok();
        }
        self.folders.clone_from(&self.seen.folders);
        if is_new {
            // Something may have happened in them before they were watched.
            self.happened.notify_one();
        }
    }

    /// Waits until the contents of files have changed.
    pub(crate) async fn changed(&mut self, session: &Session) -> Scope {
        let (scope, has_other_roots) = self.next().await;
        // While the manifests are broken, what they said before counts.
        if has_other_roots && let Ok(roots) = Roots::of(session).await {
            self.replace_roots(roots);
        }
        scope
    }

    /// What has changed next, and whether other files may matter now.
    async fn next(&mut self) -> (Scope, bool) {
        loop {
            drop(timeout(UNASKED, self.happened.notified()).await);
            let now = self.settled().await;
            let before = std::mem::replace(&mut self.seen, now);
            self.watch_folders();
            let code = changed(&before.code, &self.seen.code);
            if !changed(&before.infrastructure, &self.seen.infrastructure).is_empty() {
                return (Scope::Infrastructure, true);
            }
            if !code.is_empty() {
                return (Scope::Code, code.iter().any(|path| path.ends_with("Cargo.toml")));
            }
        }
    }

    /// The files, when nothing more happens to them.
    async fn settled(&self) -> Look {
        let mut now = self.roots.look(&self.seen);
        for _ in 0..LOOKS {
            sleep(QUIET).await;
            let later = self.roots.look(&now);
            if later == now {
                break;
            }
            now = later;
        }
        now
    }

    /// A file that was watched before is not read: a change of it would be taken as seen.
    fn replace_roots(&mut self, roots: Roots) {
        let mut now = roots.look(&self.seen);
        for (files, before) in
            [(&mut now.code, &self.seen.code), (&mut now.infrastructure, &self.seen.infrastructure)]
        {
            for (path, file) in files {
                if let Some(before) = before.get(path) {
                    file.clone_from(before);
                }
            }
        }
        (self.roots, self.seen) = (roots, now);
        self.watch_folders();
    }
}

/// The files that are only in one of both, or have other contents.
fn changed<'a>(before: &'a Files, now: &'a Files) -> Vec<&'a Path> {
    let contents = |files: &Files, path: &PathBuf| files.get(path).map(|file| file.sha256);
    let all: BTreeSet<&PathBuf> = before.keys().chain(now.keys()).collect();
    let differ = all.into_iter().filter(|path| contents(before, path) != contents(now, path));
    differ.map(PathBuf::as_path).collect()
}

impl Roots {
    async fn of(session: &Session) -> Result<Self> {
        let settings = &session.settings;
        let mut roots = Self { code: BTreeSet::new(), infrastructure: of_layers(settings) };
        let mut packages: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for artifact in &settings.artifacts {
            match &artifact.recipe.origin {
                Origin::Package { package, workspace } => {
                    packages.entry(settings.root.join(workspace)).or_default().push(package.clone());
                }
                Origin::Path(path) => _ = roots.code.insert(settings.root.join(path)),
                Origin::Image(_) => {}
            }
        }
        for (workspace, packages) in packages {
            let text = Command::new("cargo", "read the packages of the workspace")
                .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
                .dir(&workspace)
                .output(&session.cancel)
                .await
                .map_err(ArtifactError::from)?;
            roots.code.extend(folders(&text, &packages));
            let names = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"];
            roots.code.extend(names.map(|name| workspace.join(name)));
        }
        Ok(roots)
    }

    /// What is there now. Files that are as in `before` by time and size are not read.
    fn look(&self, before: &Look) -> Look {
        let mut look = Look::default();
        let Look { code, infrastructure, folders } = &mut look;
        let both = [
            (&self.code, code, &before.code),
            (&self.infrastructure, infrastructure, &before.infrastructure),
        ];
        for (roots, files, before) in both {
            for root in roots {
                if !root.is_dir() {
                    folders.extend(root.parent().map(Path::to_owned));
                }
                add(root, before, files, folders);
            }
        }
        look
    }
}

/// What Terraform reads for the layers, and the folders in which a new file would count.
fn of_layers(settings: &Settings) -> BTreeSet<PathBuf> {
    let of_layer = |layer| {
        let read = terraform::inputs::paths(layer).unwrap_or_default();
        read.into_iter().chain(terraform::folders(&layer.dir)).chain([layer.dir.clone()])
    };
    settings.layers.iter().flat_map(of_layer).collect()
}

/// Adds a file, or what is in a folder, but for hidden files and what is written by builds and Terraform.
fn add(path: &Path, before: &Files, files: &mut Files, folders: &mut BTreeSet<PathBuf>) {
    let Ok(entry) = std::fs::metadata(path) else { return };
    if entry.is_file() {
        let modified = entry.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        files.extend(file(path, modified, entry.len(), before.get(path)).map(|file| (path.to_owned(), file)));
        return;
    }
    folders.insert(path.to_owned());
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_watched(&name.to_string_lossy()) && !(is_link && entry.path().is_dir()) {
            add(&entry.path(), before, files, folders);
        }
    }
}

/// `None` if the file is gone by now.
fn file(path: &Path, modified: SystemTime, size: u64, before: Option<&File>) -> Option<File> {
    let is_recent = modified.elapsed().map_or(true, |age| age < RECENT);
    let known = before.filter(|before| !is_recent && (before.modified, before.size) == (modified, size));
    let sha256 = match known {
        Some(known) => known.sha256,
        None => Sha256::of(&std::fs::read(path).ok()?),
    };
    Some(File { modified, size, sha256 })
}

/// Whether a file or folder of this name, inside a watched one, matters. Editors write next to a file.
fn is_watched(name: &str) -> bool {
    let is_of_editor = name.starts_with('.') || name.starts_with('#') || name.ends_with('~');
    let is_state = name.contains(".tfstate") || name == "crash.log";
    !is_of_editor && !is_state && !NOT_BUILT.contains(&name)
}

/// The folders of `packages` and of the local packages that they depend on, from cargo's metadata.
fn folders(metadata: &str, packages: &[String]) -> BTreeSet<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        path: Option<PathBuf>,
        kind: Option<String>,
    }
    let Ok(metadata) = serde_json::from_str::<Metadata>(metadata) else { return BTreeSet::new() };
    let known = metadata.packages.iter();
    let known: BTreeMap<&Path, &Package> =
        known.filter_map(|package| Some((package.manifest_path.parent()?, package))).collect();
    let named = |package: &&Package| packages.contains(&package.name);
    let mut waiting: Vec<&Path> =
        known.iter().filter(|(_, package)| named(package)).map(|(folder, _)| *folder).collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = waiting.pop() {
        if !found.insert(folder.to_owned()) {
            continue;
        }
        let dependencies = known.get(folder).into_iter().flat_map(|package| &package.dependencies);
        let built = dependencies.filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        waiting.extend(built.filter_map(|dependency| dependency.path.as_deref()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_dependencies_are_watched_and_those_of_tests_are_not() {
        let package = |name: &str, dependencies: &str| {
            format!(
                r#"{{"name":"{name}","manifest_path":"/w/{name}/Cargo.toml","dependencies":[{dependencies}]}}"#
            )
        };
        let users = r#"{"path":"/w/shared","kind":null},{"path":"/w/support","kind":"dev"},{"kind":null}"#;
        let all = [
            package("users", users),
            package("shared", r#"{"path":"/elsewhere/base","kind":null}"#),
            package("support", ""),
            package("other", ""),
        ];
        let metadata = format!(r#"{{"packages":[{}]}}"#, all.join(","));
        let found = folders(&metadata, &["users".to_owned()]);
        assert_eq!(found, ["/elsewhere/base", "/w/shared", "/w/users"].map(PathBuf::from).into());
    }

    #[test]
    fn what_builds_editors_and_terraform_write_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let not = [
            "target/x",
            "tests/t.rs",
            ".terraform/y",
            "src/.main.rs.swp",
            "src/main.rs~",
            "a.tfstate.backup",
        ];
        for file in not.iter().chain(&["src/main.rs", "main.tf"]) {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        let mut files = Files::new();
        add(dir.path(), &Files::new(), &mut files, &mut BTreeSet::new());
        let names: Vec<_> =
            files.keys().map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["main.tf", "src/main.rs"].map(PathBuf::from));
    }

    /// Watches a source and a layer's folder.
    fn watched(dir: &Path) -> (PathBuf, PathBuf, Watched) {
        let (code, layer) = (dir.join("package"), dir.join("layer"));
        std::fs::create_dir(&code).unwrap();
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(code.join("main.rs"), "1").unwrap();
        let roots = Roots { code: [code.clone()].into(), infrastructure: [layer.clone()].into() };
        (code, layer, Watched::new(roots))
    }

    /// What has changed, if the system said so: without a word, it takes two seconds.
    async fn told(watched: &mut Watched) -> Option<(Scope, bool)> {
        timeout(UNASKED / 2, watched.next()).await.ok()
    }

    #[tokio::test]
    async fn changes_in_quick_succession_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let (code, layer, mut watched) = watched(dir.path());
        let write = async {
            for text in ["12", "123", "1234"] {
                sleep(QUIET / 2).await;
                std::fs::write(code.join("main.rs"), text).unwrap();
            }
        };
        let (changed, ()) = futures::join!(told(&mut watched), write);
        assert_eq!(changed, Some((Scope::Code, false)));
        assert_eq!(told(&mut watched).await, None);
        std::fs::write(layer.join("main.tf"), "1").unwrap();
        assert_eq!(told(&mut watched).await, Some((Scope::Infrastructure, true)));
    }

    #[tokio::test]
    async fn contents_count_and_not_how_they_came_there() {
        let dir = tempfile::tempdir().unwrap();
        let (code, _, mut watched) = watched(dir.path());
        std::fs::write(code.join("main.rs"), "1").unwrap();
        assert_eq!(told(&mut watched).await, None);
        // As editors do it.
        std::fs::write(code.join("new"), "2").unwrap();
        std::fs::rename(code.join("new"), code.join("main.rs")).unwrap();
        assert_eq!(told(&mut watched).await, Some((Scope::Code, false)));
        // A file in a folder that was not there.
        std::fs::create_dir(code.join("deep")).unwrap();
        std::fs::write(code.join("deep/Cargo.toml"), "1").unwrap();
        assert_eq!(told(&mut watched).await, Some((Scope::Code, true)));
        std::fs::write(code.join("deep/mod.rs"), "1").unwrap();
        assert_eq!(told(&mut watched).await, Some((Scope::Code, false)));
    }

    #[tokio::test]
    async fn changes_without_an_end_are_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (code, _, mut watched) = watched(dir.path());
        let write = async {
            for size in 1.. {
                std::fs::write(code.join("main.rs"), "x".repeat(size)).unwrap();
                sleep(QUIET / 2).await;
            }
        };
        tokio::select! {
            (scope, _) = watched.next() => assert_eq!(scope, Scope::Code),
            () = write => {}
            () = sleep(QUIET * 100) => panic!("it waits for an end"),
        }
    }

    #[tokio::test]
    async fn other_roots_keep_what_was_not_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (code, _, mut watched) = watched(dir.path());
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(code.join("main.rs"), "2").unwrap();
        watched.replace_roots(Roots { code: [code, other.clone()].into(), ..Roots::default() });
        assert_eq!(told(&mut watched).await, Some((Scope::Code, false)));
        std::fs::write(other.join("lib.rs"), "1").unwrap();
        assert_eq!(told(&mut watched).await, Some((Scope::Code, false)));
    }
}
