//! The errors of artifacts, each with its remedy. All of them are found before anything changes.

use std::path::PathBuf;

use super::elf::{Architecture, Glibc};
use crate::artifact::python_tools::PythonToolsError;
use crate::error::{Error, ErrorId, Kind};
use crate::platform::process::{Failure, ProcessError};

/// An artifact that cannot be built, or that would not run on Lambda.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// The folder holds no cargo workspace, or one that cannot be read.
    #[error("failed to read the manifest of the cargo workspace, {}: {reason}", path.display())]
    Manifest { path: PathBuf, reason: String },
    /// cargo does not work in folders whose path is not UTF-8.
    #[error("failed to build in {}: cargo needs a path in UTF-8", path.display())]
    NotUtf8 { path: PathBuf },
    /// The workspace has no build profile for Lambda.
    #[error("{} has no [profile.{profile}]", path.display())]
    NoProfile { path: PathBuf, profile: String },
    /// The Rust toolchain has no standard library for the target.
    #[error("failed to build for {target}: the Rust toolchain has no standard library for it")]
    NoTarget {
        /// The target, such as `aarch64-unknown-linux-gnu`.
        target: String,
    },
    /// The build tools could not be installed.
    #[error(transparent)]
    Tools(#[from] PythonToolsError),
    /// cargo or rustc could not be run, or failed.
    #[error(transparent)]
    Build(#[from] ProcessError),
    /// cargo succeeded, but there is no binary of the package's name.
    #[error("the package {package} has no binary named {package}")]
    NoBinary { package: String },
    /// The file is not a Linux executable.
    #[error("{artifact}: its bootstrap is not a 64-bit Linux executable: {reason}")]
    NotElf { artifact: String, reason: String },
    /// The executable is for another architecture.
    #[error("{artifact}: its bootstrap is for {found}, but the function runs on {needed}")]
    Architecture { artifact: String, found: String, needed: Architecture },
    /// The executable needs a newer glibc than the runtime has.
    #[error("{artifact}: its bootstrap needs glibc {found}, but the runtime has {runtime}")]
    Glibc { artifact: String, found: Glibc, runtime: Glibc },
    /// The artifact exceeds Lambda's limit.
    #[error("{artifact}: {size} bytes unzipped, but Lambda takes at most {limit}")]
    TooLarge {
        artifact: String,
        /// In bytes, unpacked.
        size: u64,
        limit: u64,
    },
    /// The zip is not readable or writable, or Lambda could not start it.
    #[error("{artifact}: {reason}")]
    Zip { artifact: String, reason: String },
    /// A file is not readable or writable.
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

impl ArtifactError {
    pub(crate) const fn id(&self) -> ErrorId {
        match self {
            Self::Manifest { .. } => ErrorId::ArtifactManifest,
            Self::NotUtf8 { .. } => ErrorId::ArtifactPath,
            Self::NoProfile { .. } => ErrorId::ArtifactProfile,
            Self::NoTarget { .. } => ErrorId::ArtifactTarget,
            Self::Tools(_) => ErrorId::ArtifactTools,
            Self::Build(_) | Self::NoBinary { .. } => ErrorId::ArtifactBuild,
            Self::NotElf { .. } => ErrorId::ArtifactNotElf,
            Self::Architecture { .. } => ErrorId::ArtifactArch,
            Self::Glibc { .. } => ErrorId::ArtifactGlibc,
            Self::TooLarge { .. } => ErrorId::ArtifactTooLarge,
            Self::Zip { .. } => ErrorId::ArtifactZip,
            Self::Io { .. } => ErrorId::ArtifactIo,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoProfile { profile, .. } => format!(
                "add these lines to it:\n\n[profile.{profile}]\ninherits = \"release\"\nopt-level = \"s\"\n\
                 lto = \"fat\"\ncodegen-units = 1\nstrip = true"
            ),
            Self::NotUtf8 { .. } => {
                "move the project, or build it in another folder and set `path` to the finished file"
                    .to_owned()
            }
            Self::NoTarget { target } => format!("install it: rustup target add {target}"),
            Self::NoBinary { package } => format!(
                "an artifact is the binary named after its package: add a src/main.rs, or a [[bin]] with name = {package:?}"
            ),
            Self::NotElf { .. } => {
                "set `path` to the compiled program, or to a zip that contains it as `bootstrap`".to_owned()
            }
            Self::Architecture { needed, .. } => format!(
                "build it for {}, or set the function's architecture in Terraform and deployctl.toml to the file's",
                needed.target()
            ),
            Self::Glibc { runtime, .. } => format!(
                "let deployctl build it, or build it with cargo zigbuild --target <triple>.{runtime}, or link statically (musl)"
            ),
            Self::TooLarge { .. } => {
                "strip the binary, and move embedded data to S3 or a Lambda layer".to_owned()
            }
            Self::Zip { .. } => {
                "zip the files again, in their folder: zip -X -r ../artifact.zip .".to_owned()
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
            return Self::new(
                Kind::Interrupted,
                ErrorId::Interrupted,
                "interrupted while building the artifacts",
            )
            .hint("nothing was changed; what is live is unchanged");
        }
        if let ArtifactError::Tools(tools) = error {
            return tools.into();
        }
        let preflight = Self::preflight(error.id(), error.to_string());
        match error.hint() {
            Some(hint) => preflight.hint(hint),
            None => preflight,
        }
    }
}
