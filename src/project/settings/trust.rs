//! Whose `deployctl.toml` is obeyed: one that is found in a folder above decides which programs run, so it must belong to
//! this user or to root. Otherwise whoever may write into a parent folder, such as `/tmp`, runs code as everybody who
//! works below it (the kind of git's CVE-2022-24765). A file that is named with `--config` is the caller's own choice.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use crate::error::{Error, ErrorId, Result};
use crate::platform::variables::TRUSTED_DIRS;

/// Refuses a configuration that another user than `own` may have put there.
///
/// # Errors
/// `config.untrusted`, exit code 2.
pub(super) fn must_be_ours(file: &Path, own: u32) -> Result<()> {
    let unreadable = |source| {
        Error::usage(ErrorId::ConfigMissing, format!("failed to read {}", file.display())).because(source)
    };
    // What is read in the end, and where it lies, and the link that leads there.
    let real = file.canonicalize().map_err(unreadable)?;
    let folders = [file.parent(), real.parent()];
    let trusted = std::env::var_os(TRUSTED_DIRS).unwrap_or_default();
    if folders.iter().flatten().all(|folder| is_listed(folder, std::env::split_paths(&trusted))) {
        return Ok(());
    }
    let owners = owners(own, std::env::var("SUDO_UID").ok().as_deref());
    for path in folders.into_iter().flatten().chain([file, real.as_path()]) {
        for owner in [path.symlink_metadata(), path.metadata()] {
            let owner = owner.map_err(unreadable)?.uid();
            if !owners.contains(&owner) {
                return Err(untrusted(file, path, owner, &[file, real.as_path()]));
            }
        }
    }
    Ok(())
}

/// The users whose files are trusted: this one, root, and the one who runs deployctl with sudo.
fn owners(own: u32, sudo: Option<&str>) -> Vec<u32> {
    let sudo = sudo.filter(|_| own == 0).and_then(|uid| uid.parse().ok());
    [own, 0].into_iter().chain(sudo).collect()
}

fn is_listed(folder: &Path, mut listed: impl Iterator<Item = PathBuf>) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    listed.any(|entry| entry.is_absolute() && entry.canonicalize().is_ok_and(|entry| entry == folder))
}

fn untrusted(file: &Path, path: &Path, owner: u32, files: &[&Path]) -> Error {
    // The folder of a link and that of the file it leads to.
    let mut folders: Vec<String> =
        files.iter().filter_map(|file| Some(file.parent()?.display().to_string())).collect();
    folders.dedup();
    let name = User::from_uid(Uid::from_raw(owner)).ok().flatten().map(|user| user.name);
    let owner = name.unwrap_or_else(|| format!("user {owner}"));
    Error::usage(
        ErrorId::ConfigUntrusted,
        format!("{} is not used: {} belongs to {owner}", file.display(), path.display()),
    )
    .hint(format!(
        "nothing was run; if you trust it, allow its folder: export {TRUSTED_DIRS}={}, or name the file with --config",
        crate::platform::process::quoted(&folders.join(":"))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_obeys_whom_it_acts_for_and_nobody_else_does() {
        assert_eq!(owners(1000, None), [1000, 0]);
        assert_eq!(owners(1000, Some("1001")), [1000, 0], "anybody can set a variable");
        assert_eq!(owners(0, Some("1001")), [0, 0, 1001]);
        assert_eq!(owners(0, Some("x")), [0, 0]);
    }

    #[test]
    fn only_whole_absolute_folders_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let listed = |entry: &Path| is_listed(&below, [entry.to_owned()].into_iter());
        assert!(listed(&below) && listed(&below.join(".")));
        assert!(!listed(folder.path()) && !listed(Path::new("below")) && !listed(Path::new("*")));
    }

    #[test]
    fn what_is_ours_is_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deployctl.toml");
        std::fs::write(&file, "").unwrap();
        let own = nix::unistd::geteuid().as_raw();
        must_be_ours(&file, own).unwrap();
        // A link of ours to a file of root's is as good as the file.
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        must_be_ours(&link, own).unwrap();

        // Refused by name: another user's file, and one's own file in another user's folder.
        let other = if own == 0 { 65534 } else { own };
        let reader = if own == 0 { 0 } else { own + 1 };
        for path in [file.as_path(), folder.path()] {
            if own == 0 {
                std::os::unix::fs::chown(path, Some(other), None).unwrap();
            }
            let error = must_be_ours(&file, reader).unwrap_err();
            assert_eq!((error.kind.exit_code(), error.id), (2, ErrorId::ConfigUntrusted));
            assert!(error.hint.unwrap().contains("DEPLOYCTL_TRUSTED_DIRS="));
            if own == 0 {
                std::os::unix::fs::chown(path, Some(0), None).unwrap();
            }
        }
    }
}
