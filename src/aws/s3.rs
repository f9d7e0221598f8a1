//! The artifact bucket, and the bucket of the Terraform state.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::{Config, Region};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode,
    CreateBucketConfiguration, Delete, ObjectIdentifier, PublicAccessBlockConfiguration,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, VersioningConfiguration,
};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::{Aws, timeouts};
use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::{Store, Stored, UploadError, Uploaded, Written};
use crate::release::model::AccountId;
use crate::release::record::ArtifactRecord;
use crate::release::state::Object;

/// The assumed size of a copied artifact: Lambda accepts zips of up to 250 MB unpacked.
const MAX_ARTIFACT_BYTES: u64 = 250 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    s3: aws_sdk_s3::Client,
    name: String,
    /// The account that must own the bucket. S3 refuses each call if another one does: bucket names are
    /// global, and somebody else may have taken the name.
    owner: AccountId,
}

impl Aws {
    /// The artifact bucket `name` of the stage.
    pub(crate) fn bucket(&self, name: &str) -> Bucket {
        self.bucket_of(&self.target.artifact_bucket_account, name)
    }

    /// The bucket `name`, which must belong to the account `owner`.
    pub(crate) fn bucket_of(&self, owner: &AccountId, name: &str) -> Bucket {
        Bucket { s3: self.s3.clone(), name: name.to_owned(), owner: owner.clone() }
    }

    /// The same in another region, with this stage's credentials. S3 answers only in the bucket's own region.
    pub(crate) fn bucket_in(&self, region: &str, owner: &AccountId, name: &str) -> Bucket {
        let config = self.s3.config().to_builder().region(Region::new(region.to_owned())).build();
        Bucket { s3: aws_sdk_s3::Client::from_conf(config), ..self.bucket_of(owner, name) }
    }
}

impl Bucket {
    fn about(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    async fn put(&self, key: &str, body: &[u8], etag: Option<&str>) -> Result<Written, Failure> {
        let request = self
            .s3
            .put_object()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .key(key)
            .content_type("application/json")
            .body(ByteStream::from(body.to_vec()));
        let request = match etag {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        match request.send().await {
            Ok(answer) => Ok(Written::Done(answer.e_tag().unwrap_or_default().to_owned())),
            Err(error) => {
                let failure = Failure::new("PutObject", self.about(key), &error);
                // With If-Match, a missing object answers 404.
                let refused = failure.meaning == Meaning::Precondition
                    || (etag.is_some() && failure.code.as_deref() == Some("NoSuchKey"));
                if refused { Ok(Written::Refused) } else { Err(failure) }
            }
        }
    }

    /// Whether the bucket is versioned, so that overwritten or deleted objects can be restored.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn is_versioned(&self) -> Result<bool, Failure> {
        let answer = self
            .s3
            .get_bucket_versioning()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .send()
            .await;
        let answer = answer
            .map_err(|error| Failure::new("GetBucketVersioning", format!("s3://{}", self.name), &error))?;
        Ok(answer.status() == Some(&BucketVersioningStatus::Enabled))
    }

    /// Creates the bucket of the Terraform state in `account`: versioned, encrypted, private. Repeating it
    /// changes nothing. Returns whether it was created. A bucket of another account must exist, and stays as
    /// it is.
    ///
    /// # Errors
    /// Those of AWS, in particular a name that another account than the expected one owns.
    pub(crate) async fn ensure_state_bucket(
        &self,
        region: &str,
        account: &AccountId,
    ) -> Result<bool, Failure> {
        let is_own = self.owner == *account;
        let about = format!("s3://{}", self.name);
        let created = match self
            .s3
            .head_bucket()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .send()
            .await
        {
            Ok(_) => false,
            Err(error) => {
                let failure = Failure::new("HeadBucket", &about, &error);
                if failure.meaning != Meaning::NotFound || !is_own {
                    return Err(failure);
                }
                // S3 rejects us-east-1 as a location constraint.
                let location = (region != "us-east-1").then(|| {
                    CreateBucketConfiguration::builder()
                        .location_constraint(BucketLocationConstraint::from(region))
                        .build()
                });
                self.s3
                    .create_bucket()
                    .bucket(&self.name)
                    .set_create_bucket_configuration(location)
                    .send()
                    .await
                    .map_err(|error| Failure::new("CreateBucket", &about, &error))?;
                true
            }
        };
        // Even if the bucket existed: an earlier attempt may have ended after creating it.
        if is_own {
            self.harden(&about).await?;
        }
        Ok(created)
    }

    async fn harden(&self, about: &str) -> Result<(), Failure> {
        let build_error = |error: aws_sdk_s3::error::BuildError| {
            Failure::rejected("PutBucketEncryption", about, error.to_string())
        };
        let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.s3
            .put_bucket_versioning()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .versioning_configuration(versioning)
            .send()
            .await
            .map_err(|error| Failure::new("PutBucketVersioning", about, &error))?;
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::Aes256)
            .build()
            .map_err(build_error)?;
        let rule =
            ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
        let encryption =
            ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(build_error)?;
        self.s3
            .put_bucket_encryption()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .server_side_encryption_configuration(encryption)
            .send()
            .await
            .map_err(|error| Failure::new("PutBucketEncryption", about, &error))?;
        let private = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .block_public_policy(true)
            .ignore_public_acls(true)
            .restrict_public_buckets(true)
            .build();
        self.s3
            .put_public_access_block()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .public_access_block_configuration(private)
            .send()
            .await
            .map_err(|error| Failure::new("PutPublicAccessBlock", about, &error))?;
        Ok(())
    }

    /// Deletes every version of every object under `prefixes`, and returns their number.
    ///
    /// # Errors
    /// Those of AWS; the deletions before it are done.
    pub(crate) async fn purge(&self, prefixes: &[String]) -> Result<usize, Failure> {
        let mut deleted = 0;
        for prefix in prefixes {
            let objects = self.all_versions(prefix).await?;
            self.delete(&objects).await?;
            deleted += objects.len();
        }
        Ok(deleted)
    }

    /// All versions and delete markers of the objects whose keys begin with `prefix`.
    async fn all_versions(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        let about = self.about(prefix);
        let mut objects = Vec::new();
        let mut next: (Option<String>, Option<String>) = (None, None);
        loop {
            let call = self
                .s3
                .list_object_versions()
                .bucket(&self.name)
                .expected_bucket_owner(self.owner.as_str())
                .prefix(prefix);
            let call = call.set_key_marker(next.0).set_version_id_marker(next.1);
            let page =
                call.send().await.map_err(|error| Failure::new("ListObjectVersions", &about, &error))?;
            let object = |key: Option<&str>, version: Option<&str>, bytes: i64, at: Option<&DateTime>| {
                Some(Object {
                    key: key?.to_owned(),
                    s3_version: version.map(str::to_owned),
                    bytes: bytes.try_into().unwrap_or_default(),
                    modified: at.map_or(0, DateTime::secs),
                })
            };
            let versions = page.versions().iter();
            objects.extend(versions.filter_map(|version| {
                object(
                    version.key(),
                    version.version_id(),
                    version.size().unwrap_or_default(),
                    version.last_modified(),
                )
            }));
            let markers = page.delete_markers().iter();
            objects.extend(
                markers.filter_map(|marker| {
                    object(marker.key(), marker.version_id(), 0, marker.last_modified())
                }),
            );
            if !page.is_truncated().unwrap_or_default() {
                return Ok(objects);
            }
            let owned = |text: Option<&str>| text.map(str::to_owned);
            next = (owned(page.next_key_marker()), owned(page.next_version_id_marker()));
        }
    }

    async fn delete_batch(&self, about: &str, objects: Vec<ObjectIdentifier>) -> Result<(), Failure> {
        if objects.is_empty() {
            return Ok(());
        }
        let batch = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(|error| Failure::rejected("DeleteObjects", about, error.to_string()))?;
        let answer = self
            .s3
            .delete_objects()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .delete(batch)
            .send()
            .await;
        let answer = answer.map_err(|error| Failure::new("DeleteObjects", about, &error))?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => {
                let text =
                    format!("{}: {}", error.key().unwrap_or_default(), error.message().unwrap_or_default());
                Err(Failure::rejected("DeleteObjects", about, text))
            }
        }
    }

    /// The sha256 of the object `key`: S3's checksum, or computed from the bytes if it was uploaded without
    /// one.
    async fn digest(&self, key: &str, s3_version: Option<&str>) -> Result<Digest, Failure> {
        let head = self
            .s3
            .head_object()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .key(key)
            .set_version_id(s3_version.map(str::to_owned))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|error| Failure::new("HeadObject", self.about(key), &error))?;
        let s3_version = head.version_id().map(str::to_owned);
        let etag = head.e_tag().unwrap_or_default().to_owned();
        let sha256 = match head.checksum_sha256() {
            Some(checksum) => checksum.to_owned(),
            None => {
                let bytes = self.get(key, s3_version.as_deref()).await?.map(|object| object.body);
                Sha256::of(&bytes.unwrap_or_default()).base64()
            }
        };
        Ok(Digest { sha256, s3_version, etag })
    }

    /// Whether the object `key` exists.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn has(&self, key: &str) -> Result<bool, Failure> {
        match self
            .s3
            .head_object()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .key(key)
            .send()
            .await
        {
            Ok(_) => Ok(true),
            Err(error) => {
                let failure = Failure::new("HeadObject", self.about(key), &error);
                if failure.meaning == Meaning::NotFound { Ok(false) } else { Err(failure) }
            }
        }
    }

    /// Verifies that the artifact of a record still has the recorded bytes, and returns its ETag.
    ///
    /// # Errors
    /// The object has other bytes, does not exist, or cannot be read.
    pub(crate) async fn verify_artifact(&self, artifact: &ArtifactRecord) -> Result<String, UploadError> {
        let stored = self.digest(&artifact.key, artifact.s3_version.as_deref()).await?;
        stored.must_be(&artifact.key, &artifact.sha256)?;
        Ok(stored.etag)
    }

    /// Copies a verified artifact of `from` to `key` within S3, unless `key` already has the same bytes. Bytes
    /// that are there are never overwritten, even by an S3 that ignores the condition of CopyObject.
    ///
    /// # Errors
    /// `key` has other bytes, or those of AWS.
    pub(crate) async fn copy(
        &self,
        from: &Self,
        artifact: &ArtifactRecord,
        etag: &str,
        key: &str,
    ) -> Result<Uploaded, UploadError> {
        if from.name == self.name && artifact.key == key {
            return Ok(Uploaded { s3_version: artifact.s3_version.clone(), existed: true });
        }
        match self.digest(key, None).await {
            Ok(stored) => {
                stored.must_be(key, &artifact.sha256)?;
                return Ok(Uploaded { s3_version: stored.s3_version, existed: true });
            }
            Err(failure) if failure.meaning == Meaning::NotFound => {}
            Err(failure) => return Err(failure.into()),
        }
        let version = artifact.s3_version.as_ref().map(|version| format!("?versionId={version}"));
        let source = format!("{}/{}{}", from.name, encoded(&artifact.key), version.unwrap_or_default());
        let sent = self
            .s3
            .copy_object()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .key(key)
            .copy_source(source)
            .expected_source_bucket_owner(from.owner.as_str())
            .copy_source_if_match(etag)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .if_none_match("*")
            .customize()
            // S3 answers only after the copy is complete.
            .config_override(Config::builder().timeout_config(timeouts::upload(MAX_ARTIFACT_BYTES)))
            .send()
            .await;
        let existed = match sent {
            Ok(_) => false,
            Err(error) => {
                let failure = Failure::new("CopyObject", self.about(key), &error);
                // The key exists by now; its bytes are compared below.
                if failure.meaning != Meaning::Precondition {
                    return Err(failure.into());
                }
                true
            }
        };
        let stored = self.digest(key, None).await?;
        stored.must_be(key, &artifact.sha256)?;
        Ok(Uploaded { s3_version: stored.s3_version, existed })
    }

    async fn get(&self, key: &str, s3_version: Option<&str>) -> Result<Option<Stored>, Failure> {
        let request =
            self.s3.get_object().bucket(&self.name).expected_bucket_owner(self.owner.as_str()).key(key);
        let date = AnswerDate::default();
        let request = request.set_version_id(s3_version.map(str::to_owned));
        let answer = match request.customize().interceptor(date.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::new("GetObject", self.about(key), &error);
                let absent = failure.code.as_deref() == Some("NoSuchKey");
                return if absent { Ok(None) } else { Err(failure) };
            }
        };
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        // Both by S3's clock, so that the clocks of this and other machines do not matter.
        let age = date.get().zip(answer.last_modified()).map(|(date, modified)| {
            Duration::from_secs((date.secs() - modified.secs()).max(0).unsigned_abs())
        });
        let body = answer.body.collect().await.map_err(|error| Failure {
            operation: "GetObject",
            subject: self.about(key).into(),
            meaning: Meaning::Unknown,
            code: None,
            message: error.to_string(),
            request_id: None,
            advice: None,
        })?;
        Ok(Some(Stored { body: body.to_vec(), etag, age }))
    }
}

/// The `Date` header of an answer, which the SDK does not expose.
#[derive(Debug, Clone, Default)]
struct AnswerDate(Arc<Mutex<Option<DateTime>>>);

impl AnswerDate {
    fn get(&self) -> Option<DateTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "date of the answer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

/// A stored object.
struct Digest {
    sha256: String,
    s3_version: Option<String>,
    etag: String,
}

impl Digest {
    fn must_be(&self, key: &str, expected: &Sha256) -> Result<(), UploadError> {
        if self.sha256 == expected.base64() {
            return Ok(());
        }
        let stored = self.sha256.parse::<Sha256>().map_or(self.sha256.clone(), |digest| digest.to_string());
        Err(UploadError::OtherBytes {
            key: key.to_owned(),
            etag: self.etag.clone(),
            stored,
            expected: *expected,
        })
    }
}

/// The characters that are not encoded in the source of a CopyObject.
const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A key as the source of a CopyObject: percent-encoded, except for the slashes.
fn encoded(key: &str) -> PercentEncode<'_> {
    utf8_percent_encode(key, UNRESERVED)
}

impl Store for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, key: &str) -> Result<Option<Stored>, Failure> {
        self.get(key, None).await
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Written, Failure> {
        self.put(key, body, None).await
    }

    async fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Written, Failure> {
        self.put(key, body, Some(etag)).await
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut pages = self
            .s3
            .list_objects_v2()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .prefix(prefix)
            .into_paginator()
            .send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Failure::new("ListObjectsV2", self.about(prefix), &error))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        self.all_versions(prefix).await
    }

    async fn delete(&self, objects: &[Object]) -> Result<(), Failure> {
        for batch in objects.chunks(1000) {
            let about = self.about(batch.first().map_or("", |object| &object.key));
            let batch = batch.iter().filter_map(|object| {
                let version = object.s3_version.clone();
                ObjectIdentifier::builder().key(&object.key).set_version_id(version).build().ok()
            });
            self.delete_batch(&about, batch.collect()).await?;
        }
        Ok(())
    }

    async fn upload(
        &self,
        key: &str,
        file: &Path,
        sha256: &Sha256,
        replaced: Option<&str>,
    ) -> Result<Uploaded, UploadError> {
        let unreadable = |error| UploadError::File(file.to_owned(), error);
        let bytes = tokio::fs::metadata(file).await.map_err(unreadable)?.len();
        let body = ByteStream::from_path(file).await.map_err(|e| unreadable(std::io::Error::other(e)))?;
        // One PutObject, never multipart: only then S3's checksum is the sha256 of the whole zip. Lambda's
        // limits keep a zip far below PutObject's 5 GB.
        let request = self
            .s3
            .put_object()
            .bucket(&self.name)
            .expected_bucket_owner(self.owner.as_str())
            .key(key)
            .content_type("application/zip")
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(sha256.base64());
        let request = match replaced {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        let sent = request
            .body(body)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts::upload(bytes)))
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(Uploaded { s3_version: answer.version_id().map(str::to_owned), existed: false }),
            Err(error) => {
                let failure = Failure::new("PutObject", self.about(key), &error);
                if failure.meaning != Meaning::Precondition {
                    return Err(failure.into());
                }
                let stored = self.digest(key, None).await?;
                stored.must_be(key, sha256)?;
                Ok(Uploaded { s3_version: stored.s3_version, existed: true })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_copy_source_is_encoded_except_for_its_slashes() {
        assert_eq!(encoded("users/users-lambda-1.4.2_x~.zip").to_string(), "users/users-lambda-1.4.2_x~.zip");
        assert_eq!(encoded("a b/ü+?.zip").to_string(), "a%20b/%C3%BC%2B%3F.zip");
    }
}
