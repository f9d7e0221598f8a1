//! Files and folders that no other user can read or change, whatever the umask.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The permissions of the group and of all others.
const OTHERS: u32 = 0o077;

/// Whether only this user and root can change a file or a folder: none of the bits in `open` is set.
pub(crate) fn is_trusted(metadata: &Metadata, open: u32) -> bool {
    let is_owned = metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw();
    is_owned && metadata.mode() & open == 0
}

/// Creates a folder and its missing parents with mode 0700.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file for appending and gives it mode 0600. A file that is not regular, such as a pipe, keeps its mode.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Creates a file with mode 0600, or empties it.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = append(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Removes the permissions of other users from a folder, if it exists, and from everything below it. Programs
/// that deployctl runs write there with the user's umask.
///
/// # Errors
/// If the folder itself stays open to others. Below it, files of another user are left as they are.
pub(crate) fn restrict(folder: &Path) -> io::Result<()> {
    match folder.canonicalize() {
        Ok(folder) => {
            restrict_one(&folder)?;
            restrict_below(&folder);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn restrict_one(path: &Path) -> io::Result<()> {
    let mode = path.symlink_metadata()?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700))
}

fn restrict_below(folder: &Path) {
    // Another command may delete what is listed here.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        // What a link leads to is not deployctl's.
        if kind.is_symlink() {
            continue;
        }
        drop(restrict_one(&entry.path()));
        if kind.is_dir() {
            restrict_below(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    fn open(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn new_files_and_folders_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_dir_all(&folder).unwrap();
        assert_eq!((mode(&dir.path().join("a")), mode(&folder)), (0o700, 0o700));
        let file = folder.join("log");
        drop(append(&file).unwrap());
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn an_existing_file_becomes_private_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        std::fs::write(&file, "earlier").unwrap();
        open(&file, 0o644);
        drop(append(&file).unwrap());
        assert_eq!((mode(&file), std::fs::read_to_string(&file).unwrap().as_str()), (0o600, "earlier"));
        open(&file, 0o644);
        drop(create(&file).unwrap());
        assert_eq!((mode(&file), std::fs::read_to_string(&file).unwrap().as_str()), (0o600, ""));
    }

    #[test]
    fn everything_below_a_folder_is_restricted_except_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("inner")).unwrap();
        std::fs::write(root.join("inner/program"), "").unwrap();
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("inner/link")).unwrap();
        open(&root, 0o777);
        open(&root.join("inner"), 0o777);
        open(&root.join("inner/program"), 0o755);
        open(&outside, 0o644);
        restrict(&root).unwrap();
        assert_eq!([mode(&root), mode(&root.join("inner"))], [0o700, 0o700]);
        assert_eq!([mode(&root.join("inner/program")), mode(&outside)], [0o700, 0o644]);
        restrict(&dir.path().join("missing")).unwrap();
    }
}
