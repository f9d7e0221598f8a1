//! Previews: further stages of the same REST API, which serve code that is not released.
//!
//! The name of the stage begins with [`PREFIX`], so that an IAM policy can name previews and nothing else. Its
//! description says whose preview it is: UpdateStage can change it in the same call as the rest, and GetStages
//! returns it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::deployment_description::{DeploymentDescription, ForeignDescription};
use super::model::{Malformed, Pointer, PreviewName, StageName, Version};
use super::state::StageUse;
use crate::artifact::Sha256;

/// What the names of previews' stages begin with, and their versions.
pub(crate) const PREFIX: &str = "preview-";

/// The name of a preview's stage.
pub(crate) fn stage_name(name: &PreviewName) -> String {
    [PREFIX, name.as_str()].concat()
}

/// The version of a preview with the artifacts `digest`. Other bytes have another version, so that no zip is ever
/// replaced.
///
/// # Errors
/// None for a valid name: it is a part of a valid version.
pub(crate) fn version(name: &PreviewName, digest: &Sha256) -> Result<Version, Malformed> {
    format!("{PREFIX}{name}-{}", digest.short()).parse()
}

/// Whether a deployment of the API was created for a preview.
pub(crate) fn is_of_preview(description: &str) -> bool {
    let description = description.parse::<DeploymentDescription>();
    description.is_ok_and(|description| description.version.as_str().starts_with(PREFIX))
}

/// The description of a preview's stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviewDescription {
    /// The stage that it is a preview of.
    pub(crate) parent: StageName,
    pub(crate) expires: Timestamp,
    pub(crate) commit: Option<String>,
    /// Unique to the call that wrote it.
    pub(crate) nonce: String,
}

const NO_COMMIT: &str = "none";

impl fmt::Display for PreviewDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parent, expires, commit, nonce } = self;
        let commit = commit.as_deref().unwrap_or(NO_COMMIT);
        write!(f, "deployctl preview of={parent} expires={expires} commit={commit} id={nonce}")
    }
}

impl FromStr for PreviewDescription {
    type Err = ForeignDescription;

    fn from_str(text: &str) -> Result<Self, ForeignDescription> {
        let rest = text.strip_prefix("deployctl preview ").ok_or(ForeignDescription)?;
        let mut words = rest.split(' ');
        let mut field =
            |name: &str| words.next().and_then(|word| word.strip_prefix(name)).ok_or(ForeignDescription);
        let parent = field("of=")?.parse().map_err(|_| ForeignDescription)?;
        let expires = field("expires=")?.parse().map_err(|_| ForeignDescription)?;
        let commit = Some(field("commit=")?).filter(|commit| *commit != NO_COMMIT).map(str::to_owned);
        let nonce = field("id=")?.to_owned();
        Ok(Self { parent, expires, commit, nonce })
    }
}

/// A preview that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Preview {
    /// The name of the preview, such as `pr-123`.
    pub(crate) name: PreviewName,
    /// The stage in deployctl.toml that it is a preview of.
    pub(crate) parent: StageName,
    /// When it may be closed by any later `preview` command.
    pub(crate) expires: Timestamp,
    /// The git commit of its source; null if it was not in a git repository.
    pub(crate) commit: Option<String>,
    /// The deployment and variables of its stage.
    pub(crate) pointer: Pointer,
}

impl Preview {
    /// The preview that a stage is; `None` for any other stage.
    pub(crate) fn of(stage: &StageUse) -> Option<Self> {
        let description: PreviewDescription = stage.description.parse().ok()?;
        Some(Self {
            name: stage.name.strip_prefix(PREFIX)?.parse().ok()?,
            parent: description.parent,
            expires: description.expires,
            commit: description.commit,
            pointer: Pointer {
                deployment_id: stage.deployments.first()?.clone(),
                variables: stage.variables.iter().cloned().collect(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_and_others_are_foreign() {
        for commit in [None, Some("abc".to_owned())] {
            let description = PreviewDescription {
                parent: "dev".parse().unwrap(),
                expires: "2026-12-05T10:00:00Z".parse().unwrap(),
                commit,
                nonce: "n".into(),
            };
            assert_eq!(description.to_string().parse(), Ok(description));
        }
        for other in ["", "deployctl preview", "deployctl preview of=dev expires=soon commit=none id=n"] {
            assert_eq!(other.parse::<PreviewDescription>(), Err(ForeignDescription), "{other}");
        }
    }

    #[test]
    fn the_longest_name_makes_a_valid_version_and_marks_its_deployment() {
        let name: PreviewName = "9".repeat(32).parse().unwrap();
        let version = version(&name, &Sha256::of(b"zip")).unwrap();
        let of = |version: Version| {
            let nonce = "n".to_owned();
            DeploymentDescription { version, fingerprint: Sha256::of(b""), nonce }.to_string()
        };
        assert!(is_of_preview(&of(version)));
        assert!(!is_of_preview(&of("1.0".parse().unwrap())) && !is_of_preview("by hand"));
    }
}
