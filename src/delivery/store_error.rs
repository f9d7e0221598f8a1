//! The error of an artifact that cannot be stored in the bucket, which `release` and `promote` share.

use crate::engine::ports::UploadError;
use crate::engine::references::Reference;
use crate::error::{Error, ErrorId};
use crate::release::model::Version;

/// `reference` is what keeps the stored zip from being replaced.
pub(super) fn store_error(version: &Version, error: UploadError, reference: Option<Reference>) -> Error {
    match error {
        UploadError::OtherBytes { .. } => {
            let reference = reference.map(|reference| format!(", and {reference}")).unwrap_or_default();
            let message = format!(
                "refused to overwrite version {version}: it was uploaded with other bytes{reference}"
            );
            Error::preflight(ErrorId::ArtifactOtherBytes, message).because(error).hint(
                "nothing was changed; choose a new version, or build the same source with the same tools",
            )
        }
        error => {
            let live = "what is live is unchanged";
            let otherwise = "allow the caller s3:PutObject and s3:GetObject on the artifact bucket";
            let hint = match &error {
                UploadError::Aws(failure) => failure.hint(live, otherwise),
                _ => format!("{live}; {otherwise}"),
            };
            Error::preflight(ErrorId::ArtifactUpload, "failed to upload an artifact")
                .because(error)
                .hint(hint)
        }
    }
}
