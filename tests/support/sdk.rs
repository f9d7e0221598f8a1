//! AWS SDK clients of the local stage.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient};

/// A client without TLS.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

/// The configuration of clients of `account` at `endpoint`.
pub(crate) fn config(endpoint: &str, account: &str) -> aws_types::SdkConfig {
    let credentials = Credentials::new(account, secret(endpoint), None, None, "test");
    aws_types::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .http_client(http_client())
        .build()
}

/// The secret of the local stage that answers at `endpoint`, itself or through a proxy that its `stage.json` names:
/// its server works in its folder, and its own user can look there.
pub(crate) fn secret(endpoint: &str) -> String {
    let port = endpoint.rsplit(':').next().unwrap_or_default().trim_end_matches('/');
    let marker = format!("GATEWAY_PORT={port}");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if !variables.clone().any(|variable| variable.starts_with(b"GATEWAY_PORT=")) {
            continue;
        }
        let Ok(folder) = std::fs::read_link(process.path().join("cwd")) else { continue };
        let state = std::fs::read(folder.join("stage.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
        let own = variables.any(|variable| variable == marker.as_bytes());
        if let Some(secret) = state["secret"].as_str()
            && (own || state["port"].as_u64() == port.parse().ok())
        {
            return secret.to_owned();
        }
    }
    // What an AWS that checks no signatures is given.
    "local".to_owned()
}
