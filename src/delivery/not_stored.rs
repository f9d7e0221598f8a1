//! The error of an artifact that cannot be stored in the bucket.

use crate::engine::ports::UploadError;
use crate::error::{Error, ErrorId};
use crate::release::model::Version;

/// The error of an artifact that does not get into the bucket.
pub(super) fn not_stored(version: &Version, error: UploadError) -> Error {
    match error {
        UploadError::OtherBytes { .. } => {
            Error::preflight(ErrorId::ArtifactOtherBytes, format!("version {version} was uploaded before, with other bytes"))
                .because(error)
                .hint("nothing was changed; a version is released once: choose a new one, or build the same source with the same tools")
        }
        error => Error::preflight(ErrorId::ArtifactUpload, "failed to upload an artifact")
            .because(error)
            .hint("what is live is unchanged; the caller needs s3:PutObject and s3:GetObject on the artifact bucket"),
    }
}
