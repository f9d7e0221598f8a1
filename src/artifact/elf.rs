//! Checks before the upload that a binary starts on Lambda. Otherwise a wrong architecture, or a glibc newer
//! than the runtime's, would fail at the first request.

use std::fmt;
use std::str::FromStr;

use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{LittleEndian, elf};

use super::error::ArtifactError;

type Header = elf::FileHeader64<LittleEndian>;

/// Machines that Lambda runs functions on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub(crate) enum Architecture {
    /// Intel and AMD: Lambda's default.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// AWS Graviton, Rust's `aarch64`.
    #[serde(rename = "arm64", alias = "aarch64")]
    Arm64,
}

impl Architecture {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The Rust target.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    const fn machine(self) -> u16 {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Arm64 => elf::EM_AARCH64,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of the GNU C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Glibc {
    pub(crate) major: u16,
    pub(crate) minor: u16,
}

impl Glibc {
    pub(crate) const AL2023: Self = Self { major: 2, minor: 34 };
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a glibc version such as 2.34")]
pub(crate) struct NotGlibc(String);

impl FromStr for Glibc {
    type Err = NotGlibc;

    /// Such as `2.34`. A third number, as in `2.2.5`, is ignored.
    fn from_str(text: &str) -> Result<Self, NotGlibc> {
        let mut numbers = text.split('.').map(str::parse::<u16>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if numbers.all(|number| number.is_ok()) => {
                Ok(Self { major, minor })
            }
            _ => Err(NotGlibc(text.to_owned())),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElfFacts {
    pub(crate) architecture: Architecture,
    /// The newest glibc version that it requires; `None` for a static binary.
    pub(crate) glibc: Option<Glibc>,
}

/// Checks a `bootstrap`. One that is a script needs no architecture and no glibc.
pub(crate) fn check_bootstrap(
    artifact: &str,
    bytes: &[u8],
    architecture: Architecture,
    glibc: Glibc,
) -> Result<Option<ElfFacts>, ArtifactError> {
    if bytes.starts_with(b"#!") { Ok(None) } else { check(artifact, bytes, architecture, glibc).map(Some) }
}

/// Checks the `bootstrap` of `artifact`.
pub(crate) fn check(
    artifact: &str,
    bytes: &[u8],
    architecture: Architecture,
    runtime: Glibc,
) -> Result<ElfFacts, ArtifactError> {
    let not_elf = |reason: String| ArtifactError::NotElf { artifact: artifact.to_owned(), reason };
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(not_elf(describe(bytes)));
    }
    let header = Header::parse(bytes).map_err(|error| not_elf(error.to_string()))?;
    let endian = header.endian().map_err(|_| not_elf("its byte order is big-endian".to_owned()))?;
    let machine = header.e_machine(endian);
    if machine != architecture.machine() {
        let found = match machine {
            elf::EM_X86_64 => "x86_64".to_owned(),
            elf::EM_AARCH64 => "arm64".to_owned(),
            other => format!("machine {other}"),
        };
        return Err(ArtifactError::Architecture {
            artifact: artifact.to_owned(),
            found,
            needed: architecture,
        });
    }
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err(not_elf("it is an object file, not linked".to_owned()));
    }
    let glibc = needed_glibc(header, endian, bytes).map_err(not_elf)?;
    match glibc {
        Some(found) if found > runtime => {
            Err(ArtifactError::Glibc { artifact: artifact.to_owned(), found, runtime })
        }
        _ => Ok(ElfFacts { architecture, glibc }),
    }
}

/// The newest `GLIBC_x.y` in the binary's version table.
fn needed_glibc(header: &Header, endian: LittleEndian, bytes: &[u8]) -> Result<Option<Glibc>, String> {
    let text = |error: object::Error| error.to_string();
    let sections = header.sections(endian, bytes).map_err(text)?;
    let mut newest = None;
    let mut has_versions = false;
    for section in sections.iter() {
        let Some((mut needs, strings)) = section.gnu_verneed(endian, bytes).map_err(text)? else { continue };
        has_versions = true;
        let strings = sections.strings(endian, bytes, strings).map_err(text)?;
        while let Some((_library, mut versions)) = needs.next().map_err(text)? {
            while let Some(version) = versions.next().map_err(text)? {
                // The loader accepts a missing weak version.
                if version.vna_flags.get(endian) & elf::VER_FLG_WEAK == 0 {
                    let name = version.name(endian, strings).map_err(text)?;
                    newest = newest.max(glibc_of(name));
                }
            }
        }
    }
    // Without section headers, a dynamic binary looks like a static one.
    if !has_versions && has_version_requirements(header, endian, bytes).map_err(text)? {
        return Err(
            "its section headers are stripped, and with them the glibc version that it needs".to_owned()
        );
    }
    Ok(newest)
}

/// The glibc that introduced the version `name`; `None` for versions of other libraries.
fn glibc_of(name: &[u8]) -> Option<Glibc> {
    match name {
        // Packed relocations, which loaders before 2.36 do not support.
        b"GLIBC_ABI_DT_RELR" => Some(Glibc { major: 2, minor: 36 }),
        _ => std::str::from_utf8(name.strip_prefix(b"GLIBC_")?).ok()?.parse().ok(),
    }
}

fn has_version_requirements(header: &Header, endian: LittleEndian, bytes: &[u8]) -> object::Result<bool> {
    for segment in header.program_headers(endian, bytes)? {
        if let Some(entries) = segment.dynamic(endian, bytes)?
            && entries.iter().any(|entry| entry.d_tag(endian) == elf::DT_VERNEED)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The kind of a file that is not ELF, from its first bytes.
fn describe(bytes: &[u8]) -> String {
    match bytes {
        [] => "it is empty".to_owned(),
        [b'#', b'!', ..] => {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let shown = &line[..line.len().min(60)];
            format!("it is a script that begins with {:?}", String::from_utf8_lossy(shown))
        }
        [b'P', b'K', 3, 4, ..] => "it is a zip".to_owned(),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "it is a macOS program".to_owned(),
        [b'M', b'Z', ..] => "it is a Windows program".to_owned(),
        _ => "it has no ELF header".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Glibc = Glibc { major: 9, minor: 0 };

    /// The executable of these tests.
    #[cfg(target_os = "linux")]
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    mod on_linux {
        use super::*;

        fn message(bytes: &[u8], architecture: Architecture, runtime: Glibc) -> String {
            check("users", bytes, architecture, runtime).unwrap_err().to_string()
        }

        #[test]
        fn architecture_and_glibc_of_a_binary_are_read() {
            let facts = check("users", &own(), Architecture::X86_64, NEWEST).unwrap();
            assert_eq!(facts.architecture, Architecture::X86_64);
            assert!(facts.glibc.is_some_and(|glibc| glibc > Glibc { major: 2, minor: 3 }), "{facts:?}");
        }

        #[test]
        fn a_glibc_newer_than_the_runtimes_is_refused_with_both_versions() {
            let found = check("users", &own(), Architecture::X86_64, NEWEST).unwrap().glibc.unwrap();
            check("users", &own(), Architecture::X86_64, found).unwrap();
            let older = Glibc { minor: found.minor - 1, ..found };
            assert_eq!(
                message(&own(), Architecture::X86_64, older),
                format!("users: its bootstrap needs glibc {found}, but the runtime has {older}")
            );
        }

        #[test]
        fn another_architecture_is_refused_both_ways() {
            assert_eq!(
                message(&own(), Architecture::Arm64, NEWEST),
                "users: its bootstrap is for x86_64, but the function runs on arm64"
            );
            let mut arm = own();
            arm[18..20].copy_from_slice(&elf::EM_AARCH64.to_le_bytes());
            assert_eq!(
                message(&arm, Architecture::X86_64, NEWEST),
                "users: its bootstrap is for arm64, but the function runs on x86_64"
            );
            assert_eq!(
                check("users", &arm, Architecture::Arm64, NEWEST).unwrap().architecture,
                Architecture::Arm64
            );
        }

        #[test]
        fn stripped_section_headers_are_not_taken_for_static_linking() {
            let mut bytes = own();
            bytes[0x28..0x30].fill(0); // e_shoff
            bytes[0x3c..0x40].fill(0); // e_shnum, e_shstrndx
            assert!(message(&bytes, Architecture::X86_64, NEWEST).contains("section headers are stripped"));
        }

        #[test]
        fn any_cut_or_flipped_header_is_an_error_or_a_fact_never_a_panic() {
            let whole = own();
            let bytes = &whole[..whole.len().min(4096)];
            for index in 4..64 {
                let mut changed = bytes.to_vec();
                changed[index] ^= 0xff;
                let _either = check("users", &changed, Architecture::X86_64, NEWEST);
                let _either = check("users", &bytes[..index], Architecture::X86_64, NEWEST);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_elf_is_refused_by_name() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "it is empty"),
            (b"#!/bin/sh\necho", "it is a script that begins with \"#!/bin/sh\""),
            (b"PK\x03\x04", "it is a zip"),
            (b"\xcf\xfa\xed\xfe", "it is a macOS program"),
            (b"\x7fELF\x01\x01\x01", "users: its bootstrap is not a 64-bit Linux executable"),
            (b"hello", "no ELF header"),
        ];
        for (bytes, expected) in cases {
            let error = check("users", bytes, Architecture::X86_64, NEWEST).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text: &str| text.parse::<Glibc>().unwrap();
        assert!(version("2.4") < version("2.34"));
        assert_eq!(version("2.2.5"), Glibc { major: 2, minor: 2 });
        assert_eq!(glibc_of(b"GLIBC_ABI_DT_RELR"), Some(version("2.36")));
        assert_eq!(glibc_of(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc_of(b"GCC_3.0"), None);
        for text in ["", "2", "2.x", "two.three", "2.34.x"] {
            assert!(text.parse::<Glibc>().is_err(), "{text}");
        }
    }
}
