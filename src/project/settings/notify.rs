//! `[notify]`: where the ledger records of a stage are sent.

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};

/// An HTTPS URL that gets each new record of the ledger as a CloudEvent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    /// The URL; https, or http to this machine.
    url: String,
    /// The name of the environment variable with the secret that signs the events.
    secret_env: String,
}

/// Where events are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifySettings {
    pub(crate) url: Url,
    /// The name of the environment variable with the secret.
    pub(crate) secret_env: String,
}

impl NotifyFile {
    /// The settings; adds its problems, with `place` as their path.
    pub(super) fn resolve(self, place: &[&str], problems: &mut Vec<Problem>) -> Option<NotifySettings> {
        let Self { url, secret_env } = self;
        let at = |key: &'static str| place.iter().copied().chain([key]).collect::<Vec<_>>();
        if secret_env.is_empty() || secret_env.contains(['=', ' ', '\0']) {
            problems.push(Problem::new(&at("secret_env"), ProblemKind::SecretVariable(secret_env.clone())));
        }
        match Url::parse(&url).ok().filter(is_safe) {
            Some(url) => Some(NotifySettings { url, secret_env }),
            None => {
                problems.push(Problem::new(&at("url"), ProblemKind::NotifyUrl));
                None
            }
        }
    }
}

/// Only HTTPS, or this machine, and without credentials, which the file must not contain.
fn is_safe(url: &Url) -> bool {
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_encrypted = url.scheme() == "https" && url.has_host();
    (is_encrypted || url.scheme() == "http" && is_here)
        && url.username().is_empty()
        && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str, secret_env: &str) -> (Option<NotifySettings>, Vec<String>) {
        let mut problems = Vec::new();
        let file = NotifyFile { url: url.to_owned(), secret_env: secret_env.to_owned() };
        let settings = file.resolve(&["stages", "prd", "notify"], &mut problems);
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_https_or_this_machine_without_credentials() {
        for url in [
            "https://hooks.example.com/a?b=c",
            "http://localhost:8080/x",
            "http://127.0.0.1:9",
            "http://[::1]:9",
        ] {
            assert!(resolve(url, "SECRET").0.is_some(), "{url}");
        }
        for url in [
            "http://hooks.example.com",
            "https://user:pw@hooks.example.com",
            "https://user@hooks.example.com",
            "ftp://localhost",
            "hooks.example.com",
            "",
            "http://localhost.example.com",
        ] {
            let (settings, problems) = resolve(url, "SECRET");
            assert!(settings.is_none(), "{url}");
            assert!(problems[0].starts_with("stages.prd.notify.url: "), "{problems:?}");
            assert!(!problems[0].contains("pw"), "{problems:?}");
        }
        assert_eq!(resolve("https://hooks.example.com", "").1.len(), 1);
    }
}
