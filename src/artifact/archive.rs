//! Reproducible zips: the same files give the same bytes, regardless of time, order and machine. Releasing
//! the same source twice therefore changes nothing.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write as _};

use zip::read::ZipFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use super::digest::Sha256;
use super::directory;
use super::error::ArtifactError;

pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// Lambda's limit for the unpacked size, in bytes. (The limit of 50 MB for the zip applies to direct uploads
/// only; artifacts are uploaded to S3.)
pub(crate) const UNZIPPED_LIMIT: u64 = 262_144_000;

/// One file of an artifact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The path inside the zip.
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) executable: bool,
}

/// A zip in memory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: Sha256,
    pub(crate) unzipped_size: u64,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({}, {} bytes)", self.sha256, self.bytes.len())
    }
}

/// The smallest zips. (Level 10 and above use Zopfli: 3 % smaller, 80 times slower.)
const SMALL: i64 = 9;

/// The level that takes the least time.
const QUICK: i64 = 1;

/// Zips `entries` for the artifact `name`: sorted, with a fixed time and fixed modes, deflated by flate2.
pub(crate) fn zip(name: &str, entries: &[Entry<'_>]) -> Result<Archive, ArtifactError> {
    zip_at(SMALL, name, entries)
}

/// The same in less time, for a zip that is not sent far.
pub(crate) fn zip_quickly(name: &str, entries: &[Entry<'_>]) -> Result<Archive, ArtifactError> {
    zip_at(QUICK, name, entries)
}

fn zip_at(level: i64, name: &str, entries: &[Entry<'_>]) -> Result<Archive, ArtifactError> {
    let unzipped_size = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    within_limit(name, unzipped_size)?;
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| entry.name);
    let bytes = write(level, &sorted)
        .map_err(|error| ArtifactError::Zip { artifact: name.to_owned(), reason: error.to_string() })?;
    Ok(Archive { sha256: Sha256::of(&bytes), bytes, unzipped_size })
}

fn write(level: i64, entries: &[Entry<'_>]) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(level))
            .last_modified_time(DateTime::DEFAULT)
            // The default is the host's system: other systems would write other bytes, and drop the modes.
            .system(System::Unix)
            .unix_permissions(if entry.executable { 0o755 } else { 0o644 });
        writer.start_file(entry.name, options)?;
        writer.write_all(entry.bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// An existing zip.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) archive: Archive,
    /// The names of its files.
    pub(crate) files: BTreeSet<String>,
    /// The file that a runtime `provided.*` starts. Managed runtimes need none.
    pub(crate) bootstrap: Option<Vec<u8>>,
}

/// Whether `bytes` are a zip, by how they begin.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Accepts an existing zip unchanged, and returns its bootstrap for checks.
pub(crate) fn open(name: &str, bytes: Vec<u8>) -> Result<Opened, ArtifactError> {
    let invalid = |reason: String| ArtifactError::Zip { artifact: name.to_owned(), reason };
    directory::check(&bytes).map_err(invalid)?;
    let mut archive =
        ZipArchive::new(Cursor::new(&bytes)).map_err(|e| invalid(format!("not a readable zip: {e}")))?;
    let mut unzipped_size: u64 = 0;
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|e| invalid(format!("not a readable zip: {e}")))?;
        unzipped_size = unzipped_size.saturating_add(file.size());
    }
    within_limit(name, unzipped_size)?;
    let files = archive.file_names().filter(|name| !name.ends_with('/')).map(str::to_owned).collect();
    let bootstrap = match archive.by_name(BOOTSTRAP) {
        Ok(file) => Some(read_bootstrap(name, file)?),
        Err(_) => None,
    };
    drop(archive);
    let archive = Archive { sha256: Sha256::of(&bytes), bytes, unzipped_size };
    Ok(Opened { archive, files, bootstrap })
}

fn read_bootstrap(name: &str, file: ZipFile<'_, impl Read>) -> Result<Vec<u8>, ArtifactError> {
    let invalid = |reason: String| ArtifactError::Zip { artifact: name.to_owned(), reason };
    if file.unix_mode().is_none_or(|mode| mode & 0o111 == 0) {
        return Err(invalid(format!(
            "{BOOTSTRAP} is not executable inside the zip: Lambda could not start it"
        )));
    }
    let mut bootstrap = Vec::new();
    // The declared size may be false, so the unpacked size is limited.
    file.take(UNZIPPED_LIMIT + 1)
        .read_to_end(&mut bootstrap)
        .map_err(|e| invalid(format!("failed to unpack {BOOTSTRAP}: {e}")))?;
    within_limit(name, bootstrap.len() as u64)?;
    Ok(bootstrap)
}

/// Refuses a size that Lambda would refuse after the upload.
pub(super) fn within_limit(name: &str, size: u64) -> Result<(), ArtifactError> {
    if size <= UNZIPPED_LIMIT {
        return Ok(());
    }
    Err(ArtifactError::TooLarge { artifact: name.to_owned(), size, limit: UNZIPPED_LIMIT })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Entry<'static> = Entry { name: "bootstrap", bytes: b"program", executable: true };
    const DATA: Entry<'static> = Entry { name: "data/a.json", bytes: b"{}", executable: false };

    #[test]
    fn the_same_files_give_the_same_bytes_in_any_order() {
        let one = zip("users", &[BOOT, DATA]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(zip("users", &[DATA, BOOT]).unwrap(), one);
        assert_ne!(zip("users", &[BOOT]).unwrap().sha256, one.sha256);
        assert_eq!(one.unzipped_size, 9);
        // If this value changes, all artifacts change with the next release of deployctl: mention it in the
        // changelog.
        assert_eq!(one.sha256.short(), "5cd5a9deaeb5");
    }

    #[test]
    fn modes_and_times_are_fixed() {
        let bytes = zip("users", &[DATA, BOOT]).unwrap().bytes;
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut modes = Vec::new();
        for index in 0..archive.len() {
            let file = archive.by_index(index).unwrap();
            assert_eq!(file.last_modified(), Some(DateTime::DEFAULT));
            modes.push((file.name().to_owned(), file.unix_mode().unwrap() & 0o777));
        }
        assert_eq!(modes, [("bootstrap".to_owned(), 0o755), ("data/a.json".to_owned(), 0o644)]);
    }

    #[test]
    fn a_byte_over_the_limit_is_refused_with_both_numbers() {
        let bytes = vec![0; usize::try_from(UNZIPPED_LIMIT).unwrap() + 1];
        let error = zip("users", &[Entry { bytes: &bytes, ..BOOT }]).unwrap_err();
        assert_eq!(error.to_string(), "users: 262144001 bytes unzipped, but Lambda takes at most 262144000");
        within_limit("users", UNZIPPED_LIMIT).unwrap();
    }

    #[test]
    fn an_existing_zip_is_used_unchanged() {
        let original = zip("users", &[BOOT, DATA]).unwrap();
        let opened = open("users", original.bytes.clone()).unwrap();
        assert_eq!(opened.archive, original);
        assert_eq!(opened.bootstrap.as_deref(), Some(&b"program"[..]));
        assert_eq!(opened.files, ["bootstrap", "data/a.json"].map(str::to_owned).into());
        // A zip for a managed runtime.
        assert_eq!(open("users", zip("z", &[DATA]).unwrap().bytes).unwrap().bootstrap, None);
    }

    #[test]
    fn a_zip_that_lambda_could_not_start_is_refused() {
        let cases = [
            (zip("z", &[Entry { executable: false, ..BOOT }]).unwrap().bytes, "not executable"),
            (b"#!/bin/sh\n".to_vec(), "not a readable zip"),
        ];
        for (bytes, expected) in cases {
            let error = open("z", bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
