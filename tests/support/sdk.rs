//! AWS's own clients for the local stage, past deployctl.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};

/// What all clients of `account` at `endpoint` are made from.
pub fn config(endpoint: &str, account: &str) -> aws_types::SdkConfig {
    let credentials = Credentials::new(account, "local", None, None, "test");
    aws_types::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build()
}
