//! Checks the owner of a `deployctl.toml` that was found in a parent folder. The file decides which programs
//! run, so it must belong to this user or to root. Otherwise a user who can write to a parent folder, such as
//! `/tmp`, could run code as every user who works below it (compare CVE-2022-24765 of git). A file named with
//! `--config` is not checked.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use crate::error::{Error, ErrorId, Result};
use crate::platform::variables::TRUSTED_DIRS;

/// Refuses a configuration that another user than `own` could have written.
///
/// # Errors
/// `config.untrusted`, exit code 2.
pub(super) fn check_owner(file: &Path, own: u32) -> Result<()> {
    let unreadable = |source| {
        Error::usage(ErrorId::ConfigMissing, format!("failed to read {}", file.display())).because(source)
    };
    // A link and its target: both files and both folders are checked.
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

/// The trusted owners: this user, root, and the user who runs deployctl with sudo.
fn owners(own: u32, sudo: Option<&str>) -> Vec<u32> {
    let sudo = sudo.filter(|_| own == 0).and_then(|uid| uid.parse().ok());
    [own, 0].into_iter().chain(sudo).collect()
}

fn is_listed(folder: &Path, mut listed: impl Iterator<Item = PathBuf>) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    listed.any(|entry| entry.is_absolute() && entry.canonicalize().is_ok_and(|entry| entry == folder))
}

fn untrusted(file: &Path, path: &Path, owner: u32, files: &[&Path]) -> Error {
    let mut folders: Vec<String> =
        files.iter().filter_map(|file| Some(file.parent()?.display().to_string())).collect();
    folders.dedup();
    let name = User::from_uid(Uid::from_raw(owner)).ok().flatten().map(|user| user.name);
    let owner = name.unwrap_or_else(|| format!("user {owner}"));
    Error::usage(
        ErrorId::ConfigUntrusted,
        format!("refused: {} is not used, because {} belongs to {owner}", file.display(), path.display()),
    )
    .hint(format!(
        "nothing was run; if you trust the file, allow its folder: export {TRUSTED_DIRS}={}, or name the file with --config",
        crate::platform::process::quoted(&folders.join(":"))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_trusts_the_user_of_sudo_and_other_users_do_not() {
        assert_eq!(owners(1000, None), [1000, 0]);
        assert_eq!(owners(1000, Some("1001")), [1000, 0], "any user can set a variable");
        assert_eq!(owners(0, Some("1001")), [0, 0, 1001]);
        assert_eq!(owners(0, Some("x")), [0, 0]);
    }

    #[test]
    fn only_absolute_folders_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let listed = |entry: &Path| is_listed(&below, [entry.to_owned()].into_iter());
        assert!(listed(&below) && listed(&below.join(".")));
        assert!(!listed(folder.path()) && !listed(Path::new("below")) && !listed(Path::new("*")));
    }

    #[test]
    fn own_files_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deployctl.toml");
        std::fs::write(&file, "").unwrap();
        let own = nix::unistd::geteuid().as_raw();
        check_owner(&file, own).unwrap();
        // An own link to a file of root.
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink("/etc/hosts", &link).unwrap();
        check_owner(&link, own).unwrap();

        // Refused: a file of another user, and an own file in a folder of another user.
        let other = if own == 0 { 65534 } else { own };
        let reader = if own == 0 { 0 } else { own + 1 };
        for path in [file.as_path(), folder.path()] {
            if own == 0 {
                std::os::unix::fs::chown(path, Some(other), None).unwrap();
            }
            let error = check_owner(&file, reader).unwrap_err();
            assert_eq!((error.kind.exit_code(), error.id), (2, ErrorId::ConfigUntrusted));
            assert!(error.hint.unwrap().contains("DEPLOYCTL_TRUSTED_DIRS="));
            if own == 0 {
                std::os::unix::fs::chown(path, Some(0), None).unwrap();
            }
        }
    }
}
