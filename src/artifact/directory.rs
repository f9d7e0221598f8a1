//! The directory of a zip, checked for everything that programs read in different ways: deployctl must check
//! the files that Lambda unpacks.
//!
//! The `zip` crate returns the last of two entries with one name, and other programs the first. Some programs
//! drop `./` and `/` at the start of a name. Some read the headers of the files, and others the directory.

use std::collections::BTreeSet;

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LENGTH: usize = 46;
const FILE: &[u8] = b"PK\x03\x04";
const FILE_LENGTH: usize = 30;
/// The sizes of a file that was written as a stream follow its content.
const MAX_DESCRIPTOR_LENGTH: usize = 24;
const ENCRYPTED: usize = 1;
/// The name in UTF-8, from Info-ZIP.
const UNICODE_NAME: usize = 0x7075;

const UNREADABLE: &str = "not a readable zip: its directory is damaged";

const HIDDEN: &str = "the zip contains files that are not in its directory";

/// One entry of the directory.
struct Entry<'a> {
    name: &'a str,
    /// The name in the extra field, if it has another one.
    unicode_name: Option<&'a [u8]>,
    is_encrypted: bool,
    /// The file type of Unix; 0 if there is none.
    file_type: usize,
    /// The position of the file's own header.
    header: usize,
    compressed_size: usize,
}

/// Refuses a zip that not every program unpacks to the same files.
pub(super) fn check(zip: &[u8]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::new();
    let entries = entries(zip)?;
    for entry in &entries {
        let name = entry.name;
        let path = name.strip_suffix('/').unwrap_or(name);
        check_name(name, path)?;
        check_kind(entry)?;
        if name_in_header(zip, entry.header) != Some(name.as_bytes()) {
            return Err(format!("the zip has another name for {name:?} at the file than in its directory"));
        }
        if !names.insert(path) {
            return Err(format!("the zip has two entries named {path:?}"));
        }
        if path == name {
            files.insert(path);
        }
    }
    check_gaps(zip, &entries)?;
    let mut parents = names.iter().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]));
    match parents.find(|parent| files.contains(parent)) {
        Some(both) => Err(format!("the zip has {both:?} as a file and as a folder")),
        None => Ok(()),
    }
}

fn check_name(name: &str, path: &str) -> Result<(), String> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.split('/').all(is_plain) && !path.contains(['\\', '\0']) {
        return Ok(());
    }
    Err(format!(
        "the zip has an entry named {name:?}: a name must not begin with \"/\" or contain \"./\", \"../\", \
         \"//\", a backslash or a NUL"
    ))
}

fn check_kind(entry: &Entry<'_>) -> Result<(), String> {
    let Entry { name, unicode_name, is_encrypted, file_type, .. } = entry;
    if unicode_name.is_some_and(|other| other != name.as_bytes()) {
        return Err(format!("the zip has two names for the entry {name:?}"));
    }
    if *is_encrypted {
        return Err(format!("{name:?} is encrypted in the zip"));
    }
    let is_folder = name.ends_with('/');
    match file_type {
        0 => Ok(()),
        0o100_000 if !is_folder => Ok(()),
        0o040_000 if is_folder => Ok(()),
        0o120_000 => Err(format!("{name:?} is a symbolic link in the zip; zip the file that it points to")),
        _ => Err(format!("{name:?} is neither a file nor a folder in the zip")),
    }
}

/// Refuses files that are in the zip and not in its directory.
fn check_gaps(zip: &[u8], entries: &[Entry<'_>]) -> Result<(), String> {
    let mut places: Vec<(usize, usize)> =
        entries.iter().map(|entry| (entry.header, entry.compressed_size)).collect();
    places.sort_unstable();
    let directory = end_record(zip).and_then(|end| number(zip, end + 16, 4)).unwrap_or_default();
    let mut position = 0;
    for (header, compressed_size) in places {
        let gap = header.checked_sub(position);
        let content = content_start(zip, header);
        let (Some(0..=MAX_DESCRIPTOR_LENGTH), Some(content)) = (gap, content) else {
            return Err(HIDDEN.to_owned());
        };
        position = content.saturating_add(compressed_size);
    }
    match directory.checked_sub(position) {
        Some(0..=MAX_DESCRIPTOR_LENGTH) => Ok(()),
        _ => Err(HIDDEN.to_owned()),
    }
}

fn content_start(zip: &[u8], header: usize) -> Option<usize> {
    Some(header + FILE_LENGTH + number(zip, header + 26, 2)? + number(zip, header + 28, 2)?)
}

/// The entries of the directory, which must end where the zip's end record begins.
fn entries(zip: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let damaged = || UNREADABLE.to_owned();
    let end = end_record(zip).ok_or_else(damaged)?;
    let count = number(zip, end + 10, 2).ok_or_else(damaged)?;
    let mut position = number(zip, end + 16, 4).ok_or_else(damaged)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (entry, next) = entry(zip, position).ok_or_else(damaged)?;
        entries.push(entry.map_err(|bytes| {
            format!("the zip has a name that is not UTF-8: {:?}", String::from_utf8_lossy(bytes))
        })?);
        position = next;
    }
    if position == end { Ok(entries) } else { Err(damaged()) }
}

/// The position of the only record that can be the end of the zip.
fn end_record(zip: &[u8]) -> Option<usize> {
    let first = zip.len().saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let is_end = |position: &usize| {
        zip[*position..].starts_with(END)
            && number(zip, position + 20, 2)
                .is_some_and(|comment| position + END_LENGTH + comment == zip.len())
    };
    let mut ends = (first..zip.len()).filter(is_end);
    let end = ends.next()?;
    ends.next().is_none().then_some(end)
}

/// The entry at `position`, or its name if that is not UTF-8, and the position of the next one.
fn entry(zip: &[u8], position: usize) -> Option<(Result<Entry<'_>, &[u8]>, usize)> {
    if !zip.get(position..)?.starts_with(ENTRY) {
        return None;
    }
    let field = |offset, length| number(zip, position + offset, length);
    let (name_length, extra_length, comment_length) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
    let name_end = position + ENTRY_LENGTH + name_length;
    let extra_end = name_end + extra_length;
    let name = zip.get(position + ENTRY_LENGTH..name_end)?;
    let extra = zip.get(name_end..extra_end)?;
    let (is_encrypted, compressed_size) = (field(8, 2)? & ENCRYPTED != 0, field(20, 4)?);
    let (attributes, header) = (field(38, 4)?, field(42, 4)?);
    let entry = std::str::from_utf8(name).map_err(|_| name).map(|name| Entry {
        name,
        unicode_name: unicode_name(extra),
        is_encrypted,
        file_type: (attributes >> 16) & 0o170_000,
        header,
        compressed_size,
    });
    Some((entry, extra_end + comment_length))
}

fn unicode_name(mut extra: &[u8]) -> Option<&[u8]> {
    while let (Some(id), Some(length)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let content = extra.get(4..4 + length)?;
        if id == UNICODE_NAME {
            // A version and a checksum precede the name.
            return content.get(5..);
        }
        extra = &extra[4 + length..];
    }
    None
}

fn name_in_header(zip: &[u8], position: usize) -> Option<&[u8]> {
    if !zip.get(position..)?.starts_with(FILE) {
        return None;
    }
    let length = number(zip, position + 26, 2)?;
    zip.get(position + FILE_LENGTH..position + FILE_LENGTH + length)
}

/// The little-endian number of `length` bytes at `position`.
fn number(bytes: &[u8], position: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(position..position.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip(names: &[&str]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            let options = SimpleFileOptions::default().unix_permissions(0o755);
            match name.strip_suffix('/') {
                Some(folder) => writer.add_directory(folder, options).unwrap(),
                None => writer.start_file(*name, options).unwrap(),
            }
            writer.write_all(if name.ends_with('/') { b"" } else { b"x" }).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// The zip with one name written over another of the same length, everywhere or only in the directory.
    fn renamed(mut zip: Vec<u8>, from: &str, to: &str, everywhere: bool) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = zip
            .windows(from.len())
            .enumerate()
            .filter(|(_, at)| *at == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert_eq!(places.len(), 2, "{from} is in a header and in the directory");
        for place in places.into_iter().skip(usize::from(!everywhere)) {
            zip[place..place + to.len()].copy_from_slice(to.as_bytes());
        }
        zip
    }

    fn symlink() -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_symlink("bootstrap", "/bin/sh", SimpleFileOptions::default()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    /// A zip with a second file that its directory does not name.
    fn hidden() -> Vec<u8> {
        let (whole, shown) = (zip(&["bootstrap", "bootstrip"]), zip(&["bootstrap"]));
        let start = |zip: &[u8]| zip.windows(4).position(|at| at == ENTRY).unwrap();
        let mut bytes = [&whole[..start(&whole)], &shown[start(&shown)..]].concat();
        let directory = u32::try_from(start(&whole)).unwrap().to_le_bytes();
        let end = bytes.len() - END_LENGTH;
        bytes[end + 16..end + 20].copy_from_slice(&directory);
        bytes
    }

    fn encrypted() -> Vec<u8> {
        let mut bytes = zip(&["bootstrap"]);
        let directory = bytes.windows(4).position(|at| at == ENTRY).unwrap();
        bytes[directory + 8] |= 1;
        bytes
    }

    #[test]
    fn files_and_folders_with_plain_names_are_accepted() {
        check(&zip(&["bootstrap", "data/", "data/a.json", "data/ü.json", "..data/.b", "bootstrap.d/x"]))
            .unwrap();
    }

    #[test]
    fn what_programs_read_differently_is_refused() {
        let two = renamed(zip(&["bootstrap", "bootstrip"]), "bootstrip", "bootstrap", true);
        let folder = renamed(zip(&["bootstrap", "bootstrip/x"]), "bootstrip/x", "bootstrap/x", true);
        let cases = [
            (two, "two entries named \"bootstrap\""),
            (folder, "\"bootstrap\" as a file and as a folder"),
            (renamed(zip(&["bootstrap"]), "bootstrap", "bootstrip", false), "another name"),
            (renamed(zip(&["X/bootstrap"]), "X/bootstrap", "./bootstrap", true), "named \"./bootstrap\""),
            (renamed(zip(&["XX/bootstrap"]), "XX/bootstrap", "../bootstrap", true), "named \"../bootstrap\""),
            (renamed(zip(&["a/XX/b"]), "a/XX/b", "a/../b", true), "named \"a/../b\""),
            (renamed(zip(&["Xbootstrap"]), "Xbootstrap", "/bootstrap", true), "named \"/bootstrap\""),
            (renamed(zip(&["aX/b"]), "aX/b", "a//b", true), "named \"a//b\""),
            (renamed(zip(&["aXb"]), "aXb", "a\\b", true), "backslash"),
            (symlink(), "\"bootstrap\" is a symbolic link"),
            (encrypted(), "encrypted"),
            (hidden(), "files that are not in its directory"),
        ];
        for (bytes, expected) in cases {
            let error = check(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_second_directory_or_other_damage_is_refused() {
        let whole = zip(&["bootstrap"]);
        // A comment that is a zip of its own: programs that search from the end find another directory.
        let mut nested = whole.clone();
        let inner = zip(&["other"]);
        let comment = nested.len() - 2;
        nested[comment..].copy_from_slice(&u16::try_from(inner.len()).unwrap().to_le_bytes());
        nested.extend_from_slice(&inner);
        assert_eq!(check(&nested).unwrap_err(), UNREADABLE);
        for length in 0..whole.len() {
            assert!(check(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
        let prefixed = [b"PK\x03\x04".to_vec(), whole].concat();
        assert!(check(&prefixed).is_err());
    }
}
