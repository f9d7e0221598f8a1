//! Artifacts: zips that are built from a cargo package or given ready-made, and container images.
//!
//! ```text
//! recipes ─► build (one cargo process) ─► elf (checks for Lambda) ─► archive (zip + SHA-256) ─► file
//! ```
//!
//! The same source gives the same bytes, and the name of a file contains its hash. This module does not call
//! AWS: errors in artifacts are found before anything changes.

pub(crate) mod archive;
pub(crate) mod build;
pub(crate) mod digest;
mod directory;
pub(crate) mod elf;
mod error;
pub(crate) mod python_tools;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub(crate) use self::build::{BuildRequest, Built};
pub(crate) use self::digest::Sha256;
pub(crate) use self::elf::{Architecture, Glibc};
pub(crate) use self::error::ArtifactError;
use crate::artifact::python_tools::PythonTools;
use crate::event::Events;
use crate::platform::atomic_file;
use crate::platform::private;

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A cargo package, and the folder of its workspace relative to the project.
    Package { package: String, workspace: PathBuf },
    /// A finished `bootstrap`, or a zip. Relative to the project.
    Path(PathBuf),
    /// A container image in a registry.
    Image(Image),
}

/// A container image, named by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) uri: String,
    pub(crate) digest: Sha256,
}

impl Image {
    /// Reads `REPOSITORY@sha256:DIGEST`; `None` for anything else.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let (repository, digest) = uri.split_once("@sha256:")?;
        let is_digest =
            digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let digest = digest.parse().ok().filter(|_| is_digest && !repository.is_empty())?;
        Some(Self { uri: uri.to_owned(), digest })
    }
}

/// What an artifact consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The names of the files in the zip.
    Zip(BTreeSet<String>),
    Image,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Its name in `deployctl.toml`.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) architecture: Architecture,
    /// The glibc of the Lambda runtime.
    pub(crate) glibc: Glibc,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// Its name in `deployctl.toml`.
    pub(crate) name: String,
    /// The zip; empty for a container image.
    pub(crate) path: PathBuf,
    /// The hash of the zip, as S3 and Lambda must report it, or the digest of the image.
    pub(crate) sha256: Sha256,
    /// The size of the zip, in bytes.
    pub(crate) size: u64,
    /// The size of its files, in bytes.
    pub(crate) unzipped_size: u64,
    pub(crate) contents: Contents,
}

/// Creates the artifacts, in the order of `recipes`, with the cargo profile `profile`, as
/// `.deployctl/artifacts/<name>-<hash>.zip` in `project_dir`, the folder of the cargo workspace.
pub(crate) async fn make(
    project_dir: &Path,
    (recipes, profile): (&[Recipe], &str),
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Vec<Artifact>, ArtifactError> {
    let binaries = build_all(project_dir, (recipes, profile), tools, events, cancel).await?;
    let folder = project_dir.join(".deployctl/artifacts");
    let mut artifacts = Vec::with_capacity(recipes.len());
    for recipe in recipes {
        let source = match &recipe.origin {
            Origin::Path(path) => project_dir.join(path),
            Origin::Package { package, workspace } => binaries
                .get(&(workspace.clone(), recipe.architecture, recipe.glibc, package.clone()))
                .cloned()
                .ok_or_else(|| ArtifactError::NoBinary { package: package.clone() })?,
            Origin::Image(image) => {
                artifacts.push(Artifact {
                    name: recipe.name.clone(),
                    path: PathBuf::new(),
                    sha256: image.digest,
                    size: 0,
                    unzipped_size: 0,
                    contents: Contents::Image,
                });
                continue;
            }
        };
        let (recipe, folder) = (recipe.clone(), folder.clone());
        let is_quick = profile != build::PROFILE && matches!(recipe.origin, Origin::Package { .. });
        let zip = if is_quick { archive::zip_quickly } else { archive::zip };
        // Compressing takes up to a second and must not block the output of Terraform.
        let packed = tokio::task::spawn_blocking(move || pack(&recipe, &source, &folder, zip)).await;
        artifacts.push(packed.map_err(|join| ArtifactError::Io {
            action: "write",
            path: project_dir.to_owned(),
            source: std::io::Error::other(join),
        })??);
    }
    Ok(artifacts)
}

type BinaryKey = (PathBuf, Architecture, Glibc, String);

/// Runs one cargo process for each workspace, architecture and runtime.
async fn build_all(
    project_dir: &Path,
    (recipes, profile): (&[Recipe], &str),
    tools: &PythonTools,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BTreeMap<BinaryKey, PathBuf>, ArtifactError> {
    let mut groups: BTreeMap<(&Path, Architecture, Glibc), Vec<String>> = BTreeMap::new();
    for recipe in recipes {
        if let Origin::Package { package, workspace } = &recipe.origin {
            let packages = groups.entry((workspace, recipe.architecture, recipe.glibc)).or_default();
            if !packages.contains(package) {
                packages.push(package.clone());
            }
        }
    }
    let mut binaries = BTreeMap::new();
    for ((workspace, architecture, glibc), packages) in groups {
        // Without a separator at the end, for messages.
        let workspace_dir = if workspace.as_os_str().is_empty() {
            project_dir.to_owned()
        } else {
            project_dir.join(workspace)
        };
        let request =
            BuildRequest { workspace_dir, packages, architecture, glibc, profile: profile.to_owned() };
        for Built { package, binary } in build::build(&request, tools, events, cancel).await? {
            binaries.insert((workspace.to_owned(), architecture, glibc, package), binary);
        }
    }
    Ok(binaries)
}

/// Checks and zips a bootstrap, or checks a finished zip, and stores the zip in `folder`.
fn pack(
    recipe: &Recipe,
    source: &Path,
    folder: &Path,
    zip: fn(&str, &[archive::Entry<'_>]) -> Result<archive::Archive, ArtifactError>,
) -> Result<Artifact, ArtifactError> {
    let read = |error| io("read", source, error);
    let name = recipe.name.as_str();
    // Checked before reading: the path may name a file of any size.
    archive::within_limit(name, std::fs::metadata(source).map_err(read)?.len())?;
    let bytes = std::fs::read(source).map_err(read)?;
    let check = |bootstrap: &[u8]| elf::check_bootstrap(name, bootstrap, recipe.architecture, recipe.glibc);
    let (archive, files) = if archive::is_zip(&bytes) {
        let archive::Opened { archive, files, bootstrap } = archive::open(name, bytes)?;
        bootstrap.as_deref().map_or(Ok(None), check)?;
        (archive, files)
    } else {
        check(&bytes)?;
        let entry = archive::Entry { name: archive::BOOTSTRAP, bytes: &bytes, executable: true };
        (zip(name, &[entry])?, [archive::BOOTSTRAP.to_owned()].into())
    };
    let path = folder.join(format!("{name}-{}.zip", archive.sha256.short()));
    store(folder, &path, &archive.bytes)?;
    Ok(Artifact {
        name: name.to_owned(),
        path,
        sha256: archive.sha256,
        size: archive.bytes.len() as u64,
        unzipped_size: archive.unzipped_size,
        contents: Contents::Zip(files),
    })
}

fn store(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let write = |error| io("write", path, error);
    private::create_dir_all(folder).map_err(write)?;
    atomic_file::write_private(path, bytes).map_err(write)
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> ArtifactError {
    ArtifactError::Io { action, path: path.to_owned(), source }
}
