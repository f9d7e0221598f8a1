//! Where Redis is and how it is spoken to, as the environment says. The authorizer compiles this same file.

use std::path::PathBuf;

use thiserror::Error;

use crate::aws_secret::SecretArn;

/// Port that Redis listens on when `REDIS_PORT` is not set.
const DEFAULT_PORT: u16 = 6379;

/// Host and port of Redis, and what it asks of a client; its database is always 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Host name (`REDIS_DNS`).
    pub host: String,
    /// Port (`REDIS_PORT`, 6379 if absent).
    pub port: u16,
    /// Encryption in transit (`REDIS_TLS`, `REDIS_TLS_CA_FILE`); none if absent.
    pub tls: Option<RootCertificates>,
    /// Where the AUTH token is kept (`REDIS_AUTH_SECRET_ARN`); without it, Redis asks for none.
    pub auth: Option<SecretArn>,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// Mozilla's list of authorities, compiled in. `ElastiCache`'s certificates are signed by one of them.
    Mozilla,
    /// The authorities of this PEM file, and no others.
    File(PathBuf),
}

/// Why it is not known how to reach Redis.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RedisSettingsError {
    /// The host must be given.
    #[error("the environment variable REDIS_DNS is not set")]
    NoHost,
    /// The port is not a port.
    #[error("REDIS_PORT is '{0}', which is not a port number")]
    BadPort(String),
    /// Encryption is on or off; anything else could be a misspelt "on".
    #[error("REDIS_TLS is '{0}', which is neither 'true' nor 'false'")]
    BadTls(String),
    /// A file of authorities has no use without encryption.
    #[error("REDIS_TLS_CA_FILE is set, but REDIS_TLS is not 'true'")]
    AuthoritiesWithoutTls,
    /// The token is kept somewhere that is not understood.
    #[error(
        "REDIS_AUTH_SECRET_ARN is neither the ARN of a Secrets Manager secret nor that of an SSM parameter"
    )]
    BadSecretArn,
}

impl RedisSettings {
    /// Plain Redis without a token.
    pub fn plain(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: None, auth: None }
    }

    /// Reads the address through `lookup`, which is the process environment in production.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, RedisSettingsError> {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let host = set("REDIS_DNS").ok_or(RedisSettingsError::NoHost)?;
        let port = match set("REDIS_PORT") {
            None => DEFAULT_PORT,
            Some(text) => {
                text.parse().ok().filter(|port| *port != 0).ok_or(RedisSettingsError::BadPort(text))?
            }
        };
        let tls = match (set("REDIS_TLS").as_deref(), set("REDIS_TLS_CA_FILE")) {
            (None | Some("false"), None) => None,
            (None | Some("false"), Some(_)) => return Err(RedisSettingsError::AuthoritiesWithoutTls),
            (Some("true"), None) => Some(RootCertificates::Mozilla),
            (Some("true"), Some(file)) => Some(RootCertificates::File(file.into())),
            (Some(other), _) => return Err(RedisSettingsError::BadTls(other.to_owned())),
        };
        let auth = set("REDIS_AUTH_SECRET_ARN")
            .map(|arn| SecretArn::parse(&arn).ok_or(RedisSettingsError::BadSecretArn))
            .transpose()?;
        Ok(Self { host, port, tls, auth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(variables: &[(&str, &str)]) -> Result<RedisSettings, RedisSettingsError> {
        RedisSettings::from_env(|name| {
            let all = [&[("REDIS_DNS", "r")], variables].concat();
            all.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_port_has_a_default_and_must_be_a_port() {
        let port = |port: &str| address(&[("REDIS_PORT", port)]).map(|address| address.port);
        assert_eq!(port(""), Ok(6379));
        assert_eq!(port("7000"), Ok(7000));
        for bad in ["0", "65536", "redis", "-1"] {
            assert_eq!(port(bad), Err(RedisSettingsError::BadPort(bad.to_owned())));
        }
    }

    #[test]
    fn the_host_must_be_given() {
        assert_eq!(RedisSettings::from_env(|_| None), Err(RedisSettingsError::NoHost));
    }

    #[test]
    fn encryption_is_on_off_or_an_error() {
        let tls = |value: &str, file: &str| {
            address(&[("REDIS_TLS", value), ("REDIS_TLS_CA_FILE", file)]).map(|a| a.tls)
        };
        assert_eq!(tls("", ""), Ok(None));
        assert_eq!(tls("false", ""), Ok(None));
        assert_eq!(tls("true", ""), Ok(Some(RootCertificates::Mozilla)));
        assert_eq!(tls("true", "/ca.pem"), Ok(Some(RootCertificates::File("/ca.pem".into()))));
        assert_eq!(tls("", "/ca.pem"), Err(RedisSettingsError::AuthoritiesWithoutTls));
        for bad in ["True", "1", "yes"] {
            assert_eq!(tls(bad, ""), Err(RedisSettingsError::BadTls(bad.to_owned())));
        }
    }

    #[test]
    fn a_token_is_kept_by_one_of_two_services() {
        let auth =
            |arn: &str| address(&[("REDIS_AUTH_SECRET_ARN", arn)]).map(|address| address.auth.is_some());
        assert_eq!(auth(""), Ok(false));
        assert_eq!(auth("arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-AbCdEf"), Ok(true));
        assert_eq!(auth("arn:aws:s3:::bucket"), Err(RedisSettingsError::BadSecretArn));
    }
}
