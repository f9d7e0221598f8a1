//! The Terraform program, its version and its features.
//!
//! The version is cached while the program file keeps its path, size and modification time: `terraform
//! version` would cost a process on every run.

use std::fmt;
use std::path::{Path, PathBuf};

pub use semver::Version;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, Reason};
use crate::platform::private;
use crate::platform::process::Command;

/// Terraform or OpenTofu.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// The program of HashiCorp.
    Terraform,
    /// The fork of the Linux Foundation.
    OpenTofu,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terraform => "Terraform",
            Self::OpenTofu => "OpenTofu",
        })
    }
}

/// Parses a version with or without a leading `v`; build metadata is dropped.
fn parse(text: &str) -> Option<Version> {
    let text = text.trim();
    let version = Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
    Some(Version { build: semver::BuildMetadata::EMPTY, ..version })
}

/// A Terraform or OpenTofu program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terraform {
    /// The path of the program.
    pub program: PathBuf,
    /// Whether it is Terraform or OpenTofu.
    pub flavour: Flavour,
    /// The version that it prints.
    pub version: Version,
}

/// A feature that some versions do not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The feature as it appears in messages, such as `init -json`.
    pub name: &'static str,
    /// The first version of Terraform with it, as major and minor. `None`: no version.
    pub terraform: Option<(u64, u64)>,
    /// The first version of OpenTofu with it, as major and minor. `None`: no version.
    pub opentofu: Option<(u64, u64)>,
}

impl Terraform {
    /// Older versions differ in the `-json` streams, `terraform_data` or the state format. OpenTofu starts at
    /// 1.6.
    const OLDEST: [(Flavour, Version); 2] =
        [(Flavour::Terraform, Version::new(1, 5, 0)), (Flavour::OpenTofu, Version::new(1, 6, 0))];

    /// Finds `program` (a path, or a name on `PATH`) and its version, which is cached in a file in
    /// `cache_dir`.
    ///
    /// # Errors
    /// [`Reason::NotFound`], [`Reason::NotTerraform`], [`Reason::TooOld`] and [`Reason::Interrupted`].
    pub async fn locate(
        program: &Path,
        cache_dir: &Path,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        let path = which::which(program).map_err(|_| Failure::new(Reason::NotFound(program.to_owned())))?;
        let cache = cache_dir.join("terraform-version.json");
        let stamp = Stamp::of(&path);
        let cached =
            std::fs::read(&cache).ok().and_then(|bytes| serde_json::from_slice::<Cached>(&bytes).ok());
        let terraform = match cached {
            Some(cached) if cached.terraform.program == path && Some(&cached.stamp) == stamp.as_ref() => {
                cached.terraform
            }
            _ => {
                let terraform = Self::run_version(path, cancel).await?;
                if let Some(stamp) = stamp {
                    // Without the cache, the next run starts a process again.
                    drop(Cached { stamp, terraform: terraform.clone() }.write(&cache));
                }
                terraform
            }
        };
        terraform.supported()
    }

    /// Reads the text and not the JSON: in JSON, OpenTofu has the name Terraform.
    async fn run_version(program: PathBuf, cancel: &CancellationToken) -> Result<Self, Failure> {
        let text = Command::new(&program, "read the version of Terraform")
            .arg("version")
            // Otherwise the program checks for a new version over the network.
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env_remove("TF_LOG")
            .env_remove("TF_CLI_ARGS")
            .env_remove("TF_CLI_ARGS_version")
            .output(cancel)
            .await?;
        let found = text.lines().find_map(|line| {
            let (name, version) = line.trim().split_once(' ')?;
            let flavour = match name {
                "Terraform" => Flavour::Terraform,
                "OpenTofu" => Flavour::OpenTofu,
                _ => return None,
            };
            Some((flavour, parse(version)?))
        });
        let Some((flavour, version)) = found else {
            return Err(Failure::new(Reason::NotTerraform(program)));
        };
        Ok(Self { program, flavour, version })
    }

    fn supported(self) -> Result<Self, Failure> {
        let oldest = Self::OLDEST.into_iter().find(|(flavour, _)| *flavour == self.flavour);
        match oldest {
            Some((_, minimum)) if self.version < minimum => {
                Err(Failure::new(Reason::TooOld { found: self.version, minimum }))
            }
            _ => Ok(self),
        }
    }

    /// Whether this version supports `feature`.
    pub fn has(&self, feature: Feature) -> bool {
        let since = match self.flavour {
            Flavour::Terraform => feature.terraform,
            Flavour::OpenTofu => feature.opentofu,
        };
        since.is_some_and(|(major, minor)| (self.version.major, self.version.minor) >= (major, minor))
    }

    /// Refuses a feature that this version does not support.
    ///
    /// # Errors
    /// [`Reason::OptionTooNew`] with the versions that support it.
    pub fn require(&self, feature: Feature) -> Result<(), Failure> {
        if self.has(feature) {
            return Ok(());
        }
        let since = [("Terraform", feature.terraform), ("OpenTofu", feature.opentofu)]
            .into_iter()
            .filter_map(|(name, since)| since.map(|(major, minor)| format!("{name} {major}.{minor}")))
            .collect::<Vec<_>>()
            .join(" or ");
        Err(Failure::new(Reason::OptionTooNew { option: feature.name, since, found: self.version.clone() }))
    }
}

#[derive(Serialize, Deserialize)]
struct Cached {
    stamp: Stamp,
    terraform: Terraform,
}

impl Cached {
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        private::create_dir_all(dir)?;
        // A rename: other processes never read an incomplete file.
        let file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&file, self)?;
        file.persist(path)?;
        Ok(())
    }
}

/// Changes when the program file is replaced.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified_nanos: u128,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self { size: metadata.len(), modified_nanos: modified.as_nanos() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed_and_compared() {
        let version = |text| parse(text).unwrap();
        assert_eq!(version("v1.11.4"), Version::new(1, 11, 4));
        assert!(version("1.9.0") < version("1.10.0-beta1"));
        assert!(version("1.10.0-beta1") < version("1.10.0"));
        assert_eq!(version("1.10.0-beta1+metadata").to_string(), "1.10.0-beta1");
        for bad in ["", "1", "1.2", "a.b.c", "terraform"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_unsupported_feature_is_refused_with_the_versions_that_support_it() {
        let feature = Feature { name: "init -json", terraform: Some((1, 9)), opentofu: Some((1, 7)) };
        let terraform = |flavour, version| Terraform { program: "terraform".into(), flavour, version };
        assert!(terraform(Flavour::OpenTofu, Version::new(1, 7, 0)).require(feature).is_ok());
        let refused = terraform(Flavour::Terraform, Version::new(1, 8, 5)).require(feature).unwrap_err();
        let error = crate::error::Error::from(refused);
        assert_eq!(error.to_string(), "version 1.8.5 does not support init -json");
        assert_eq!(error.hint.unwrap(), "use Terraform 1.9 or OpenTofu 1.7 or later, or leave it out");
    }

    #[tokio::test]
    async fn the_version_of_an_unchanged_program_is_cached() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("fake");
        let script = |version: &str| {
            format!("#!/bin/sh\necho asked >>{}/calls\necho '{version}'\n", dir.path().display())
        };
        let write = |text: String| {
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        let calls = || std::fs::read_to_string(dir.path().join("calls")).unwrap().lines().count();
        let cancel = CancellationToken::new();
        let locate = || Terraform::locate(&program, dir.path(), &cancel);

        write(script("OpenTofu v1.8.2"));
        assert_eq!(locate().await.unwrap().flavour, Flavour::OpenTofu);
        assert_eq!(locate().await.unwrap().version, Version::new(1, 8, 2));
        assert_eq!(calls(), 1);

        write(script("Terraform v1.4.7-dev"));
        assert!(matches!(*locate().await.unwrap_err().reason, Reason::TooOld { .. }));
        assert_eq!(calls(), 2);

        write(script("Pulumi v3.0.0 of course"));
        assert!(matches!(*locate().await.unwrap_err().reason, Reason::NotTerraform(_)));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let name = Path::new("no-such-terraform");
        let failure =
            Terraform::locate(name, Path::new("/nowhere"), &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(*failure.reason, Reason::NotFound(path) if path == name));
    }
}
