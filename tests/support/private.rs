//! Which files other users can read or change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A folder and all below it that has permissions for other users, with its mode. Links have none of their own.
pub(crate) fn open_to_others(path: &Path) -> Vec<String> {
    let metadata = path.symlink_metadata().unwrap();
    if metadata.is_symlink() {
        return Vec::new();
    }
    let mode = metadata.permissions().mode() & 0o777;
    let is_open = mode & 0o077 != 0;
    let mut found: Vec<String> =
        is_open.then(|| format!("{mode:o} {}", path.display())).into_iter().collect();
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.flat_map(|entry| open_to_others(&entry)));
    }
    found
}
