//! Installs providers from a filesystem mirror: from `DEPLOYCTL_PROVIDER_MIRROR`, or, if the registry is
//! unreachable, from a mirror on this machine whose packages have the hashes of the layer's lock file.
//!
//! A provider runs with the stage's credentials, so no other mirror is used. Mirrors that Terraform itself is
//! configured with, or looks for, need nothing here: Terraform uses them before it fails.
//!
//! A CLI configuration in the stage's data folder names the mirror. Only the driver's processes use it. That
//! of a mirror with the right hashes stays, so that later commands do not wait for the registry again, and is
//! used only with the lock file whose hashes were compared.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::lock_file::{self, LockedProvider};
use super::observer::Observer;
use super::version::Flavour;
use crate::platform::private;

pub(super) struct Mirrors<'a> {
    /// The folder of the CLI configurations.
    pub data_root: &'a Path,
    /// The folder of the layer, with its lock file.
    pub layer_dir: &'a Path,
    /// The mirror in `DEPLOYCTL_PROVIDER_MIRROR`.
    pub given: Option<&'a Path>,
    /// The folder in which mirrors are searched.
    pub search_root: &'a Path,
    pub flavour: Flavour,
    pub observer: &'a Observer,
    pub cancel: &'a CancellationToken,
}

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// A CLI configuration that the failed `init` did not use.
    Configured,
    /// No mirror can be used. These have the providers, but not with the hashes of the lock file.
    Refused(Vec<PathBuf>),
}

/// The name of the CLI configuration for the mirror in `DEPLOYCTL_PROVIDER_MIRROR`.
const GIVEN: &str = "terraform.rc";

/// Limits of the search: packages and images have their mirror near the root.
const MAX_DEPTH: usize = 6;
const MAX_SEARCH_TIME: Duration = Duration::from_secs(15);

/// The number of mirrors that an error names.
const MAX_REFUSED: usize = 3;

/// Large folders without mirrors.
const SKIPPED: &[&str] = &["proc", "sys", "dev", "run", "node_modules", ".git", ".terraform", "target"];

/// Layers that are initialised at the same time search, and hash a provider, only once.
static SEARCH: Mutex<()> = Mutex::const_new(());

impl Mirrors<'_> {
    /// The CLI configuration to use, if there is one. One that other users could have written is ignored.
    pub(super) fn configuration(&self) -> Option<PathBuf> {
        let file = std::path::absolute(self.file()?).ok()?;
        let metadata = file.symlink_metadata().ok()?;
        (metadata.is_file() && private::is_trusted(&metadata, 0o022)).then_some(file)
    }

    fn file(&self) -> Option<PathBuf> {
        if self.given.is_some() {
            return Some(self.data_root.join(GIVEN));
        }
        // Another lock file has other hashes.
        let lock = std::fs::read(self.layer_dir.join(lock_file::FILE)).ok()?;
        let name = format!("terraform-{}-{}.rc", host(self.flavour), lock_file::sha256(&lock));
        Some(self.data_root.join(name))
    }

    /// Writes the CLI configuration for the mirror in `DEPLOYCTL_PROVIDER_MIRROR`.
    pub(super) fn use_given(&self) -> Result<(), Failure> {
        let Some(mirror) = self.given else { return Ok(()) };
        let host = host(self.flavour);
        let why = "DEPLOYCTL_PROVIDER_MIRROR names this mirror";
        self.write(&text(why, mirror, host, &providers(&mirror.join(host))))
    }

    /// Searches for a mirror with the providers of the lock file, and writes its CLI configuration.
    /// `required`: the providers that the configuration names, which matter if there is no lock file.
    /// `was_configured`: whether the failed `init` used a CLI configuration.
    pub(super) async fn use_found(
        &self,
        required: BTreeSet<String>,
        was_configured: bool,
    ) -> Result<Search, Failure> {
        if self.given.is_some() || was_configured {
            return Ok(Search::Refused(Vec::new()));
        }
        let _one_at_a_time = SEARCH.lock().await;
        if self.configuration().is_some() {
            return Ok(Search::Configured);
        }
        let lock = std::fs::read_to_string(self.layer_dir.join(lock_file::FILE)).unwrap_or_default();
        let host = host(self.flavour);
        let wanted =
            Wanted { host, required, locked: lock_file::providers(&lock, host), platform: platform() };
        let names = wanted.names();
        let root = self.search_root.to_owned();
        // Reading folders blocks, and an interrupt must not wait for it.
        let search = tokio::task::spawn_blocking(move || find(&root, &wanted));
        let found = tokio::select! {
            found = search => found.unwrap_or_else(|_| Err(Vec::new())),
            () = self.cancel.cancelled() => Err(Vec::new()),
        };
        let mirror = match found {
            Ok(mirror) => mirror,
            Err(refused) => return Ok(Search::Refused(refused)),
        };
        let why =
            "the provider registry could not be reached, and the lock file names the hashes of this mirror";
        self.write(&text(why, &mirror, host, &names))?;
        let note = format!(
            "the provider registry is unreachable: installing providers from {}, whose packages have the hashes \
             of {}",
            mirror.display(),
            lock_file::FILE
        );
        self.observer.note(note);
        Ok(Search::Configured)
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let Some(file) = self.file() else { return Ok(()) };
        let write = || {
            private::create_dir_all(self.data_root)?;
            if self.configuration().is_some() && std::fs::read_to_string(&file)? == text {
                return Ok(());
            }
            // Another layer's Terraform may read the file at the same time. A temporary file has the mode 0600.
            let mut written = tempfile::NamedTempFile::new_in(self.data_root)?;
            written.write_all(text.as_bytes())?;
            written.persist(&file)?;
            Ok(())
        };
        write().map_err(|e| Failure::io(format!("write {}", file.display()), e))
    }
}

const fn host(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Terraform => "registry.terraform.io",
        Flavour::OpenTofu => "registry.opentofu.org",
    }
}

/// The platform of this program, as mirrors name it.
fn platform() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        arch => arch,
    };
    format!("{os}_{arch}")
}

/// What a mirror must have.
struct Wanted {
    host: &'static str,
    /// The providers that the configuration names, as `namespace/type`.
    required: BTreeSet<String>,
    /// The providers of the lock file, with their hashes.
    locked: Vec<LockedProvider>,
    platform: String,
}

impl Wanted {
    fn names(&self) -> BTreeSet<String> {
        if self.locked.is_empty() {
            return self.required.clone();
        }
        self.locked.iter().map(|provider| provider.name.clone()).collect()
    }

    /// Whether all packages in a mirror's folder for the host have the hashes of the lock file.
    fn has_hashes(&self, folder: &Path) -> bool {
        !self.locked.is_empty() && self.locked.iter().all(|provider| provider.is_in(folder, &self.platform))
    }
}

/// The folder nearest to `root` that is a mirror with the wanted packages. Otherwise, the mirrors whose packages
/// have other hashes.
///
/// The search skips folders that other users can write to.
fn find(root: &Path, wanted: &Wanted) -> Result<PathBuf, Vec<PathBuf>> {
    let names = wanted.names();
    let mut refused = Vec::new();
    let start = Instant::now();
    let Ok(device) = std::fs::metadata(root).map(|root| root.dev()) else { return Err(refused) };
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        if names.is_empty() || refused.len() == MAX_REFUSED || start.elapsed() > MAX_SEARCH_TIME {
            break;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut children: Vec<_> = entries.flatten().collect();
        children.sort_by_key(std::fs::DirEntry::file_name);
        for entry in children {
            // Links are not followed: they may form cycles.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !metadata.is_dir()
                || metadata.dev() != device
                || SKIPPED.contains(&&*name)
                || !private::is_trusted(&metadata, 0o002)
            {
                continue;
            }
            // The `providers` folder of a TF_DATA_DIR looks like a mirror, but may be deleted at any time.
            let is_data_dir = folder.file_name().is_some_and(|name| name == "providers");
            if name == wanted.host && !is_data_dir && names.is_subset(&providers(&entry.path())) {
                if wanted.has_hashes(&entry.path()) {
                    return Ok(folder);
                }
                refused.push(folder.clone());
            }
            if depth < MAX_DEPTH {
                folders.push_back((entry.path(), depth + 1));
            }
        }
    }
    Err(refused)
}

/// The providers in a mirror's folder for a host, as `namespace/type`.
fn providers(host: &Path) -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let in_namespace = |namespace: String| {
        let types = names(&host.join(&namespace));
        types.into_iter().map(move |provider| format!("{namespace}/{provider}"))
    };
    names(host).into_iter().flat_map(in_namespace).collect()
}

/// The mirror's providers are installed from the mirror, all others from the registry.
fn text(why: &str, mirror: &Path, host: &str, providers: &BTreeSet<String>) -> String {
    let names: Vec<String> = providers.iter().map(|name| format!("{:?}", format!("{host}/{name}"))).collect();
    let names = names.join(", ");
    let path = mirror.to_string_lossy();
    format!(
        "# Written by deployctl: {why}.\n# Delete this file to try the registry again.\n\
         provider_installation {{\n  filesystem_mirror {{\n    path    = {path:?}\n    include = [{names}]\n  }}\n  \
         direct {{\n    exclude = [{names}]\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HOST: &str = "registry.example";

    fn wanted(name: &str, hash: Option<&str>) -> Wanted {
        let lock = hash.map(|hash| {
            format!("provider \"{HOST}/{name}\" {{\n  version = \"5.0.0\"\n  hashes = [\"{hash}\"]\n}}\n")
        });
        let locked = lock_file::providers(&lock.unwrap_or_default(), HOST);
        Wanted { host: HOST, required: [name.to_owned()].into(), locked, platform: "linux_amd64".into() }
    }

    /// The hash of a zip with the bytes `abc`.
    const ABC: &str = "zh:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_mirror_is_found_by_the_hashes_of_its_packages() {
        let root = tempfile::tempdir().unwrap();
        let make = |mirror: &str, name: &str, bytes: &str| {
            let folder = root.path().join(mirror).join(HOST).join("hashicorp").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let zip = format!("terraform-provider-{name}_5.0.0_linux_amd64.zip");
            std::fs::write(folder.join(zip), bytes).unwrap();
            root.path().join(mirror)
        };
        let other = make("a", "aws", "other");
        let right = make("opt/mirror", "aws", "abc");
        make("data/providers", "random", "abc");
        make("open", "time", "abc");
        std::fs::set_permissions(root.path().join("open"), PermissionsExt::from_mode(0o777)).unwrap();
        let found = |name: &str, hash| find(root.path(), &wanted(name, hash));
        assert_eq!(found("hashicorp/aws", Some(ABC)), Ok(right.clone()));
        assert_eq!(found("hashicorp/aws", Some("zh:00")), Err(vec![other.clone(), right.clone()]));
        assert_eq!(found("hashicorp/aws", None), Err(vec![other, right]), "no lock file");
        assert_eq!(found("hashicorp/random", Some(ABC)), Err(vec![]), "a Terraform data folder");
        assert_eq!(found("hashicorp/time", Some(ABC)), Err(vec![]), "other users can write to it");
        assert_eq!(found("hashicorp/tls", Some(ABC)), Err(vec![]));
    }

    #[test]
    fn a_configuration_that_others_can_write_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (observer, cancel) = (Observer::default(), CancellationToken::new());
        let mirrors = Mirrors {
            data_root: &dir.path().join("data"),
            layer_dir: dir.path(),
            given: Some(dir.path()),
            search_root: dir.path(),
            flavour: Flavour::Terraform,
            observer: &observer,
            cancel: &cancel,
        };
        mirrors.use_given().unwrap();
        let file = mirrors.configuration().unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(mirrors.configuration(), None);
        mirrors.use_given().unwrap();
        assert_eq!(mirrors.configuration(), Some(file), "it is written again");
        assert_eq!(
            Mirrors { given: None, ..mirrors }.configuration(),
            None,
            "the variable is not set any more"
        );
    }

    #[test]
    fn the_configuration_lists_the_providers_of_the_mirror() {
        let names = ["hashicorp/aws".to_owned()].into();
        let text = text("a test", Path::new("/a \"b\""), HOST, &names);
        let body = hcl::parse(&text).unwrap();
        assert_eq!(body.blocks().count(), 1);
        assert!(text.contains(r#"path    = "/a \"b\"""#), "{text}");
        assert!(text.contains(r#"include = ["registry.example/hashicorp/aws"]"#), "{text}");
        assert!(text.contains(r#"exclude = ["registry.example/hashicorp/aws"]"#), "{text}");
    }
}
