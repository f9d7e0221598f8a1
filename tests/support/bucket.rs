//! A bucket, as a release needs it.

use aws_sdk_s3::types::{BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration};

/// Makes a bucket in the client's region, which keeps old versions of its objects.
pub async fn make(s3: &aws_sdk_s3::Client, name: &str) {
    let region = s3.config().region().unwrap().as_ref();
    // The oldest region is where buckets are that say nothing, and only those.
    let place = (region != "us-east-1")
        .then(|| CreateBucketConfiguration::builder().location_constraint(region.into()).build());
    s3.create_bucket().bucket(name).set_create_bucket_configuration(place).send().await.unwrap();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = s3.put_bucket_versioning().bucket(name).versioning_configuration(enabled);
    put.send().await.unwrap();
}
