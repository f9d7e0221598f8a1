//! The zips of a release: how each is built, and its key in the bucket.

use crate::artifact::{Origin, Recipe};
use crate::release::model::Version;

/// An artifact to build and upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArtifactSettings {
    pub(crate) recipe: Recipe,
    /// Its S3 key; `{version}` stands for the release's version. For an image, its URI.
    pub(crate) key: String,
}

impl ArtifactSettings {
    /// Whether it is a container image, which is not uploaded.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self.recipe.origin, Origin::Image(_))
    }

    /// The key of the zip of `version`.
    pub(crate) fn key(&self, version: &Version) -> String {
        self.key.replace("{version}", version.as_str())
    }

    /// The version whose zip has this key.
    pub(crate) fn version_of(&self, key: &str) -> Option<Version> {
        let (prefix, _) = self.key.split_once("{version}")?;
        let rest = key.strip_prefix(prefix)?;
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        let versions = ends.filter_map(|end| rest.get(..end)?.parse().ok());
        versions.into_iter().find(|version| self.key(version) == key)
    }
}
