//! Installs providers from a filesystem mirror: from `DEPLOYCTL_PROVIDER_MIRROR`, or from a mirror on this
//! machine if the registry is unreachable.
//!
//! A CLI configuration in the stage's data folder names the mirror. Only the driver's processes use it. It
//! stays, so that later commands do not wait for the registry again.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::observer::Observer;
use super::version::Flavour;

pub(super) struct Mirrors<'a> {
    /// The folder of the CLI configuration.
    pub data_root: &'a Path,
    /// The mirror in `DEPLOYCTL_PROVIDER_MIRROR`.
    pub given: Option<&'a Path>,
    pub flavour: Flavour,
    pub observer: &'a Observer,
    pub cancel: &'a CancellationToken,
}

/// The name of the CLI configuration in the stage's data folder.
const FILE: &str = "terraform.rc";

/// Limits of the search: packages and images have their mirror near the root.
const MAX_DEPTH: usize = 6;
const MAX_SEARCH_TIME: Duration = Duration::from_secs(15);

/// Large folders without mirrors.
const SKIPPED: &[&str] = &["proc", "sys", "dev", "run", "node_modules", ".git", ".terraform", "target"];

/// The CLI configuration, if it exists.
pub(super) fn configuration(data_root: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(data_root.join(FILE)).ok()?;
    file.exists().then_some(file)
}

/// Writes the CLI configuration for the mirror in `DEPLOYCTL_PROVIDER_MIRROR`.
pub(super) fn use_given(mirrors: &Mirrors<'_>) -> Result<(), Failure> {
    match mirrors.given {
        Some(path) => write(mirrors, path),
        None => Ok(()),
    }
}

/// Searches for a mirror with the providers `needed` and writes its CLI configuration. Returns whether there is
/// one that the failed init did not use; `was_configured`: whether it used one.
pub(super) async fn use_found(
    mirrors: &Mirrors<'_>,
    needed: BTreeSet<String>,
    was_configured: bool,
) -> Result<bool, Failure> {
    if mirrors.given.is_some() || was_configured {
        return Ok(false);
    }
    let host = host(mirrors.flavour);
    // Reading folders blocks, and an interrupt must not wait for it.
    let search = tokio::task::spawn_blocking(move || find(Path::new("/"), host, &needed));
    let found = tokio::select! {
        found = search => found.ok().flatten(),
        () = mirrors.cancel.cancelled() => None,
    };
    // The init of another layer may have found one meanwhile.
    if configuration(mirrors.data_root).is_some() {
        return Ok(true);
    }
    let Some(path) = found else { return Ok(false) };
    write(mirrors, &path)?;
    let note = format!("the provider registry is unreachable: installing providers from {}", path.display());
    mirrors.observer.note(note);
    Ok(true)
}

const fn host(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Terraform => "registry.terraform.io",
        Flavour::OpenTofu => "registry.opentofu.org",
    }
}

/// The folder nearest to `root` that is a mirror of `host` and has all `needed` providers.
///
/// A provider runs with the stage's credentials: the search skips folders that other users can write to.
fn find(root: &Path, host: &str, needed: &BTreeSet<String>) -> Option<PathBuf> {
    let start = Instant::now();
    let device = std::fs::metadata(root).ok()?.dev();
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        if start.elapsed() > MAX_SEARCH_TIME {
            return None;
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
                || !is_trusted(&metadata)
            {
                continue;
            }
            // The `providers` folder of a TF_DATA_DIR looks like a mirror, but may be deleted at any time.
            let is_data_dir = folder.file_name().is_some_and(|name| name == "providers");
            if name == host && !is_data_dir && needed.is_subset(&providers(&entry.path())) {
                return Some(folder);
            }
            if depth < MAX_DEPTH {
                folders.push_back((entry.path(), depth + 1));
            }
        }
    }
    None
}

fn is_trusted(folder: &std::fs::Metadata) -> bool {
    let is_owned = folder.uid() == 0 || folder.uid() == nix::unistd::geteuid().as_raw();
    is_owned && folder.mode() & 0o002 == 0
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

fn write(mirrors: &Mirrors<'_>, mirror: &Path) -> Result<(), Failure> {
    let file = mirrors.data_root.join(FILE);
    let host = host(mirrors.flavour);
    let text = text(mirror, host, &providers(&mirror.join(host)));
    let write = || {
        std::fs::create_dir_all(mirrors.data_root)?;
        if std::fs::read_to_string(&file).is_ok_and(|existing| existing == text) {
            return Ok(());
        }
        // Another layer's Terraform may read the file at the same time. A temporary file has the mode 0600.
        let mut written = tempfile::NamedTempFile::new_in(mirrors.data_root)?;
        written.write_all(text.as_bytes())?;
        written.persist(&file)?;
        Ok(())
    };
    write().map_err(|e| Failure::io(format!("write {}", file.display()), e))
}

/// The mirror's providers are installed from the mirror, all others from the registry.
fn text(mirror: &Path, host: &str, providers: &BTreeSet<String>) -> String {
    let names: Vec<String> = providers.iter().map(|name| format!("{:?}", format!("{host}/{name}"))).collect();
    let names = names.join(", ");
    let path = mirror.to_string_lossy();
    format!(
        "# Written by deployctl: the provider registry could not be reached, or DEPLOYCTL_PROVIDER_MIRROR was set.\n\
         # Delete this file to try the registry again.\n\
         provider_installation {{\n  filesystem_mirror {{\n    path    = {path:?}\n    include = [{names}]\n  }}\n  \
         direct {{\n    exclude = [{names}]\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn needed(name: &str) -> BTreeSet<String> {
        [name.to_owned()].into()
    }

    #[test]
    fn a_mirror_is_found_by_its_providers() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(root.path().join(path)).unwrap();
        make("opt/mirror/registry.example/hashicorp/aws/5.0.0");
        make("a/registry.example/hashicorp/null");
        make("data/providers/registry.example/hashicorp/random");
        make("open/registry.example/hashicorp/time");
        std::fs::set_permissions(root.path().join("open"), PermissionsExt::from_mode(0o777)).unwrap();
        let found = |name: &str| find(root.path(), "registry.example", &needed(name));
        assert_eq!(found("hashicorp/aws"), Some(root.path().join("opt/mirror")));
        assert_eq!(found("hashicorp/null"), Some(root.path().join("a")));
        assert_eq!(found("hashicorp/random"), None, "a Terraform data folder");
        assert_eq!(found("hashicorp/time"), None, "other users can write to it");
        assert_eq!(found("hashicorp/tls"), None);
    }

    #[test]
    fn the_configuration_lists_the_providers_of_the_mirror() {
        let text = text(Path::new("/a \"b\""), "registry.example", &needed("hashicorp/aws"));
        let body = hcl::parse(&text).unwrap();
        assert_eq!(body.blocks().count(), 1);
        assert!(text.contains(r#"path    = "/a \"b\"""#), "{text}");
        assert!(text.contains(r#"include = ["registry.example/hashicorp/aws"]"#), "{text}");
        assert!(text.contains(r#"exclude = ["registry.example/hashicorp/aws"]"#), "{text}");
    }
}
