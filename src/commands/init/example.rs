//! The users API as a project of its own, as `deployctl init --example` writes it.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorId, Result};

/// Its files: their paths, and what they say. `build.rs` collects them.
pub(crate) const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/example.rs"));

/// Writes it into `folder`, which must be empty or not be there; returns the files.
///
/// # Errors
/// `init.not_empty`, or `init.write`; a folder that had something in it is left as it was.
pub(crate) fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let unwritable = |path: &Path, error: std::io::Error| {
        Error::usage(ErrorId::InitWrite, format!("failed to write {}", path.display())).because(error)
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
    let entries = std::fs::read_dir(folder).map_err(|error| unwritable(folder, error))?;
    // A repository that was just made is empty for this purpose.
    let others = entries.flatten().map(|entry| entry.file_name()).find(|name| name != ".git");
    if let Some(name) = others {
        let message = format!("{} is not empty: it has {}", folder.display(), name.to_string_lossy());
        return Err(Error::usage(ErrorId::InitNotEmpty, message)
            .hint("nothing was written; name an empty folder, or one that is not there yet"));
    }
    let mut written = Vec::new();
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| unwritable(&path, error))?;
        written.push(PathBuf::from(name));
    }
    Ok(written)
}
