//! Paths as text: nothing is read, so a link counts as a folder.

use std::path::{Component, Path, PathBuf};

/// The path without `.` and `..`.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            component => normal.push(component),
        }
    }
    normal
}

/// `path` from `root`, with `..` where it is outside. Both are without `.` and `..`.
pub(crate) fn relative(root: &Path, path: &Path) -> PathBuf {
    let shared = root.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = root.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normal_and_relative_without_reading_it() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
        for (path, expected) in [("/a/b/c", "c"), ("/a/d", "../d"), ("/e", "../../e"), ("/a/b", "")] {
            assert_eq!(relative(Path::new("/a/b"), Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
