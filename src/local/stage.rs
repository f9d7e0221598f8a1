//! The address of the running local stage, and the environment with which programs reach it.

use std::fmt::Write as _;

use crate::platform::process::quoted;

/// The settings of the local stage in `deployctl.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalConfig {
    /// The port of the emulator. `None`: a free port.
    pub(crate) port: Option<u16>,
    pub(crate) region: String,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { port: None, region: "us-east-1".to_owned() }
    }
}

/// The account of the local stage. MiniStack uses a twelve-digit access key id as the account id.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Variables with which a program would call AWS, or send real credentials to the local stage.
const UNSET: [&str; 14] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    // The SDKs read this file even for plain HTTP, and fail if it is missing.
    "AWS_CA_BUNDLE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
];

/// A running local stage.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LocalStage {
    /// The endpoint of all AWS services, such as `http://127.0.0.1:4566`, without a trailing slash.
    pub(crate) endpoint: String,
    /// The secret key that signs requests, for any account.
    pub(crate) secret: String,
    pub(crate) port: u16,
    pub(crate) region: String,
    /// The supervisor of MiniStack and its Lambdas.
    pub(crate) pid: i32,
    /// The time of the snapshot that it started from; `None` if it started empty.
    pub(crate) snapshot: Option<String>,
}

impl std::fmt::Debug for LocalStage {
    /// Hides the secret from logs and panics.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStage")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("pid", &self.pid)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

impl LocalStage {
    /// The variables with which Terraform, the AWS CLI and the SDKs reach the stage.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        self.env_with(std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).ok().as_deref())
    }

    fn env_with(&self, no_proxy: Option<&str>) -> Vec<(String, String)> {
        let mut direct = no_proxy.unwrap_or_default().to_owned();
        for host in ["127.0.0.1", "localhost"] {
            if !direct.split(',').any(|entry| entry.trim() == host) {
                if !direct.is_empty() {
                    direct.push(',');
                }
                direct.push_str(host);
            }
        }
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCOUNT),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", &self.region),
            ("AWS_DEFAULT_REGION", &self.region),
            // Credentials must not be requested over the network.
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("NO_PROXY", &direct),
            ("no_proxy", &direct),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The variables that must not be set beside those of [`LocalStage::env`]: some by name, and whatever the
    /// environment holds of `AWS_ENDPOINT_URL_<SERVICE>`, which would win over `AWS_ENDPOINT_URL`.
    pub(crate) fn unset(&self) -> Vec<String> {
        unset_with(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
    }

    /// Lines for `eval "$(deployctl local env)"` in any POSIX shell.
    pub(crate) fn shell(&self) -> String {
        shell(&self.unset(), &self.env())
    }

    /// The URL of a stage of a REST API, without a trailing slash.
    pub(crate) fn url(&self, rest_api_id: &str, stage_name: &str) -> String {
        format!("{}/_aws/execute-api/{rest_api_id}/{stage_name}", self.endpoint)
    }
}

fn unset_with(names: impl Iterator<Item = String>) -> Vec<String> {
    // The names are printed for a shell.
    let plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut specific: Vec<String> =
        names.filter(|name| name.starts_with("AWS_ENDPOINT_URL_")).filter(plain).collect();
    specific.sort();
    UNSET.into_iter().map(str::to_owned).chain(specific).collect()
}

fn shell(unset: &[String], env: &[(String, String)]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for name in unset {
        let _ok = writeln!(text, "unset {name}");
    }
    for (name, value) in env {
        let _ok = writeln!(text, "export {name}={}", quoted(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> LocalStage {
        LocalStage {
            endpoint: "http://127.0.0.1:4566".to_owned(),
            secret: "the stage's own".to_owned(),
            port: 4566,
            region: "eu-west-1".to_owned(),
            pid: 1,
            snapshot: None,
        }
    }

    #[test]
    fn a_shell_takes_the_environment_as_it_is() {
        let mut env = stage().env_with(None);
        env.push(("X".to_owned(), "it's $HOME `x`".to_owned()));
        let script = format!(
            "{}printf '%s|' \"$AWS_ENDPOINT_URL\" \"${{AWS_PROFILE-none}}\" \"$X\"",
            shell(&stage().unset(), &env)
        );
        let output = std::process::Command::new("sh")
            .args(["-euc", &script])
            .env("AWS_PROFILE", "production")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "http://127.0.0.1:4566|none|it's $HOME `x`|");
    }

    #[test]
    fn the_proxy_is_bypassed_and_the_users_exceptions_are_kept() {
        let direct = |before| {
            let env = stage().env_with(before);
            env.into_iter().find(|(name, _)| name == "NO_PROXY").unwrap().1
        };
        assert_eq!(direct(None), "127.0.0.1,localhost");
        assert_eq!(direct(Some("localhost,.corp")), "localhost,.corp,127.0.0.1");
    }

    #[test]
    fn endpoints_of_single_services_are_unset() {
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_x;rm", "PATH"];
        let unset = unset_with(names.into_iter().map(str::to_owned));
        assert!(unset.contains(&"AWS_ENDPOINT_URL_S3".to_owned()));
        assert!(!unset.iter().any(|name| name == "AWS_ENDPOINT_URL" || name.contains(';')));
    }

    #[test]
    fn a_url_contains_api_and_stage() {
        assert_eq!(stage().url("abc", "v1"), "http://127.0.0.1:4566/_aws/execute-api/abc/v1");
    }
}
