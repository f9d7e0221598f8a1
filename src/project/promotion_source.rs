//! What a promotion must know of its source stage, in an object next to the stage's Terraform states. Whoever
//! promotes need not read the states, which contain secrets.

use serde::{Deserialize, Serialize};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::Store as _;
use crate::error::{Error, ErrorId, Result};
use crate::project::session::{Session, unless_interrupted};
use crate::project::settings::{ArtifactBucket, StateBackend};

const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct PromotionSource {
    schema: u32,
    artifact_bucket: String,
}

impl Session {
    fn promotion_key(&self) -> String {
        format!("{}/promotion.json", self.settings.stage.state_prefix(&self.settings.project))
    }

    /// Writes the object of a stage with this artifact bucket, unless it says so already. A release does not
    /// fail for it.
    pub(crate) async fn write_promotion_source(&self, artifact_bucket: &str) {
        // Of another backend, the bucket belongs to the project, and may not be S3's.
        if self.settings.stage.backend != StateBackend::Deployctl {
            return;
        }
        if let Err(failure) = self.put_promotion_source(artifact_bucket).await {
            self.events.warn(format!(
                "promotions from this stage must read its Terraform state, because s3://{}/{} is not up to \
                 date: {failure}",
                self.settings.stage.state_bucket,
                self.promotion_key()
            ));
        }
    }

    async fn put_promotion_source(&self, artifact_bucket: &str) -> Result<(), Failure> {
        let (bucket, key) = (self.state_bucket(), self.promotion_key());
        let source = PromotionSource { schema: SCHEMA, artifact_bucket: artifact_bucket.to_owned() };
        let body = serde_json::to_vec(&source)
            .map_err(|error| Failure::rejected("PutObject", key.as_str(), error.to_string()))?;
        // If another command writes at the same time, it writes the same.
        match bucket.read(&key).await? {
            Some(stored) if stored.body == body => Ok(()),
            Some(stored) => bucket.replace(&key, &body, &stored.etag).await.map(drop),
            None => bucket.create(&key, &body).await.map(drop),
        }
    }

    /// The artifact bucket of a stage that is promoted from. The stage's state is read only if the bucket is not in
    /// deployctl.toml and the object does not exist: its last release was made by an older version, or its states are
    /// in a backend of the project.
    ///
    /// # Errors
    /// As [`Session::contract`].
    pub(crate) async fn artifact_bucket_to_promote_from(&self) -> Result<String> {
        if let ArtifactBucket::Named(name) = &self.settings.bucket {
            return Ok(name.clone());
        }
        if self.settings.stage.backend != StateBackend::Deployctl {
            return Ok(self.contract().await?.artifact_bucket);
        }
        let key = self.promotion_key();
        let read = async { Ok(self.state_bucket().read(&key).await) };
        let denied = match unless_interrupted(&self.cancel, read).await? {
            Ok(stored) => {
                let source = stored.and_then(|stored| serde_json::from_slice(&stored.body).ok());
                if let Some(PromotionSource { schema: SCHEMA, artifact_bucket }) = source {
                    return Ok(artifact_bucket);
                }
                false
            }
            // S3 also answers so if the object does not exist and the caller may not list the bucket.
            Err(failure) => failure.meaning == Meaning::Denied,
        };
        let contract = self.contract().await.map_err(|error| {
            if denied && error.id == ErrorId::StateUnreadable {
                self.cannot_promote_from(error, &key)
            } else {
                error
            }
        })?;
        Ok(contract.artifact_bucket)
    }

    fn cannot_promote_from(&self, error: Error, key: &str) -> Error {
        let stage = &self.settings.stage;
        error.hint(format!(
            "nothing was changed; the bucket {} must belong to account {}, and the caller needs s3:GetObject on \
             its object {key}, which a release of {} writes",
            stage.state_bucket, stage.state_bucket_account, stage.name
        ))
    }
}
