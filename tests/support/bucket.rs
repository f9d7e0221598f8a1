//! The bucket of a small project.

/// The bucket that the layers tell of, as a release needs it.
pub async fn make(s3: &aws_sdk_s3::Client) {
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
    s3.create_bucket().bucket("small-artifacts").send().await.unwrap();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = s3.put_bucket_versioning().bucket("small-artifacts").versioning_configuration(enabled);
    put.send().await.unwrap();
}
