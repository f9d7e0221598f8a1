//! What an installed set consists of, compared each time it is used: a file that was changed, half written or added
//! since is not run.
//!
//! Names, sizes and times of change are compared, and not the bytes: that costs milliseconds, and whoever can forge
//! all three can write as this user anyway. What Python itself compiles beside its sources may be added.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::artifact::digest::Sha256;

/// Why a set is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// Somebody else owns the folder, or may write into it.
    OpenToOthers,
    /// A file cannot be read, or is not as it was installed.
    Changed,
}

/// The digest of all files below `dir`, by name, size and time of change.
pub(super) fn digest(dir: &Path) -> std::io::Result<Sha256> {
    let mut list = String::new();
    collect(dir, &mut list)?;
    Ok(Sha256::of(list.as_bytes()))
}

/// Whether `dir` is as it was when its `expected` digest was taken, and nobody else may change it.
pub(super) fn verify(dir: &Path, expected: &str) -> Result<(), Untrusted> {
    let metadata = dir.metadata().map_err(|_| Untrusted::Changed)?;
    let owner = metadata.uid();
    let ours = owner == nix::unistd::geteuid().as_raw() || owner == 0;
    if !ours || metadata.mode() & 0o022 != 0 {
        return Err(Untrusted::OpenToOthers);
    }
    let found = digest(dir).map_err(|_| Untrusted::Changed)?;
    if found.to_string() == expected { Ok(()) } else { Err(Untrusted::Changed) }
}

fn collect(dir: &Path, list: &mut String) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        let name = entry.file_name();
        if kind.is_dir() {
            // Written by Python itself when a module is first imported.
            if name != "__pycache__" {
                collect(&entry.path(), list)?;
            }
            continue;
        }
        let metadata = entry.metadata()?;
        let target = if kind.is_symlink() { entry.path().read_link()? } else { std::path::PathBuf::new() };
        // Writing into a String cannot fail.
        let _ = writeln!(
            list,
            "{:?} {} {} {} {:o} {:?}",
            entry.path().strip_prefix(dir).unwrap_or(&entry.path()),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.mode(),
            target
        );
    }
    // The name of the folder itself, so that a file cannot move from one to another.
    let _ = writeln!(list, "{:?}", dir.file_name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_set_that_was_changed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("set");
        std::fs::create_dir_all(dir.join("lib/__pycache__")).unwrap();
        std::fs::write(dir.join("lib/module.py"), "print(1)").unwrap();
        std::os::unix::fs::symlink("module.py", dir.join("lib/link.py")).unwrap();
        let installed = digest(&dir).unwrap().to_string();
        assert_eq!(verify(&dir, &installed), Ok(()));
        // Python compiles what it imports.
        std::fs::write(dir.join("lib/__pycache__/module.pyc"), "compiled").unwrap();
        assert_eq!(verify(&dir, &installed), Ok(()));

        let change = |change: &dyn Fn(&Path), undo: &dyn Fn(&Path)| {
            change(&dir);
            assert_eq!(verify(&dir, &installed), Err(Untrusted::Changed));
            undo(&dir);
            assert_eq!(verify(&dir, &installed), Ok(()));
        };
        let added = |dir: &Path| std::fs::write(dir.join("lib/sitecustomize.py"), "print(2)").unwrap();
        change(&added, &|dir| std::fs::remove_file(dir.join("lib/sitecustomize.py")).unwrap());
        let moved = |from: &str, to: &str| {
            let (from, to) = (dir.join(from), dir.join(to));
            move |_: &Path| std::fs::rename(&from, &to).unwrap()
        };
        change(&moved("lib/module.py", "module.py"), &moved("module.py", "lib/module.py"));
        std::fs::write(dir.join("lib/module.py"), "print(2)").unwrap();
        assert_eq!(verify(&dir, &installed), Err(Untrusted::Changed), "the same size, another time");

        let installed = digest(&dir).unwrap().to_string();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(verify(&dir, &installed), Err(Untrusted::OpenToOthers));
        assert_eq!(verify(&folder.path().join("gone"), &installed), Err(Untrusted::Changed));
    }
}
