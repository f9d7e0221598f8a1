//! What can be wrong with an artifact, each with its remedy. All of it is found before anything changes.

use std::path::PathBuf;

use super::elf::{Architecture, Glibc};
use crate::error::{Error, Kind};
use crate::process::{Failure, ProcessError};
use crate::toolbox::ToolboxError;

/// An artifact that cannot be built, or that would not run on Lambda.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The folder holds no cargo workspace, or one that cannot be read.
    #[error("cannot read the cargo workspace's manifest {}: {reason}", path.display())]
    Manifest {
        /// The `Cargo.toml`.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// cargo does not work in folders whose path is not UTF-8.
    #[error("cargo cannot build in {}: the folder's path is not UTF-8", path.display())]
    NotUtf8 {
        /// The folder.
        path: PathBuf,
    },
    /// The workspace has no build profile for Lambda.
    #[error("{} has no [profile.{profile}]", path.display())]
    NoProfile {
        /// The `Cargo.toml`.
        path: PathBuf,
        /// The profile's name.
        profile: String,
    },
    /// The Rust toolchain has no standard library for the target.
    #[error("the Rust toolchain cannot build for {target}: its standard library is not installed")]
    NoTarget {
        /// The target, such as `aarch64-unknown-linux-gnu`.
        target: String,
    },
    /// The tools that build could not be set up.
    #[error(transparent)]
    Tools(#[from] ToolboxError),
    /// cargo or rustc could not be run, or failed.
    #[error(transparent)]
    Build(#[from] ProcessError),
    /// cargo succeeded, but there is no binary of the package's name.
    #[error("the package {package} has no binary named {package}")]
    NoBinary {
        /// The cargo package.
        package: String,
    },
    /// The file is no executable for Lambda at all.
    #[error("{artifact}: its bootstrap is not a 64-bit Linux executable: {reason}")]
    NotElf {
        /// The artifact's name.
        artifact: String,
        /// What it is instead.
        reason: String,
    },
    /// The executable is for other machines.
    #[error("{artifact}: its bootstrap is for {found}, but the function runs on {needed}")]
    Architecture {
        /// The artifact's name.
        artifact: String,
        /// What the file says.
        found: String,
        /// What the function needs.
        needed: Architecture,
    },
    /// The executable needs a newer C library than the runtime has.
    #[error("{artifact}: its bootstrap needs glibc {found}, but the runtime has {runtime}")]
    Glibc {
        /// The artifact's name.
        artifact: String,
        /// The newest version that it asks for.
        found: Glibc,
        /// What the runtime has.
        runtime: Glibc,
    },
    /// More bytes than Lambda unpacks.
    #[error("{artifact}: {size} bytes unzipped, but Lambda takes at most {limit}")]
    TooLarge {
        /// The artifact's name.
        artifact: String,
        /// Bytes of all its files.
        size: u64,
        /// Lambda's limit in bytes.
        limit: u64,
    },
    /// A zip that cannot be read or written, or that Lambda could not run.
    #[error("{artifact}: {reason}")]
    Zip {
        /// The artifact's name.
        artifact: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl ArtifactError {
    /// The stable name of the error.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "artifact.manifest",
            Self::NotUtf8 { .. } => "artifact.path",
            Self::NoProfile { .. } => "artifact.profile",
            Self::NoTarget { .. } => "artifact.target",
            Self::Tools(_) => "artifact.tools",
            Self::Build(_) | Self::NoBinary { .. } => "artifact.build",
            Self::NotElf { .. } => "artifact.not_elf",
            Self::Architecture { .. } => "artifact.arch",
            Self::Glibc { .. } => "artifact.glibc",
            Self::TooLarge { .. } => "artifact.too_large",
            Self::Zip { .. } => "artifact.zip",
            Self::Io { .. } => "artifact.io",
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProfile { profile, .. } => format!(
                "add these lines to it:\n\n[profile.{profile}]\ninherits = \"release\"\nopt-level = \"s\"\n\
                 lto = \"fat\"\ncodegen-units = 1\nstrip = true"
            ),
            Self::NotUtf8 { .. } => {
                "move the project, or build elsewhere and name the finished file with `path`; all the rest works here"
                    .to_owned()
            }
            Self::NoTarget { target } => format!("install it: rustup target add {target}"),
            Self::NoBinary { package } => format!(
                "an artifact is the binary named after its package: add a src/main.rs, or a [[bin]] with name = {package:?}"
            ),
            Self::NotElf { .. } => {
                "name the compiled program, not a script or an archive of another kind".to_owned()
            }
            Self::Architecture { needed, .. } => format!(
                "build it for {}, or set the function's architecture in Terraform and deployctl.toml to the file's",
                needed.target()
            ),
            Self::Glibc { runtime, .. } => format!(
                "let deployctl build it, or build it with cargo zigbuild --target <triple>.{runtime}, or link statically (musl)"
            ),
            Self::TooLarge { .. } => {
                "strip the binary, and move data that it carries to S3 or a layer".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<ArtifactError> for Error {
    fn from(error: ArtifactError) -> Self {
        let interrupted = match &error {
            ArtifactError::Build(process) => matches!(process.failure, Failure::Interrupted { .. }),
            ArtifactError::Tools(tools) => tools.is_interrupted(),
            _ => false,
        };
        if interrupted {
            return Self::new(Kind::Interrupted, "interrupted", "interrupted while building the artifacts")
                .hint("nothing was changed: what is live stays live");
        }
        if let ArtifactError::Tools(tools) = error {
            return tools.into();
        }
        let made = Self::preflight(error.id(), error.to_string());
        match error.hint() {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }
}
