//! The Redis settings from the environment: host, port, encryption in transit and AUTH token.

use std::path::PathBuf;

use thiserror::Error;

use crate::aws_secret::SecretArn;

/// The port if `REDIS_PORT` is not set.
const DEFAULT_PORT: u16 = 6379;

/// How to connect to Redis. The database is always 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Host name (`REDIS_DNS`).
    pub host: String,
    /// Port (`REDIS_PORT`, 6379 if absent).
    pub port: u16,
    /// Encryption in transit (`REDIS_TLS`, `REDIS_TLS_CA_FILE`), off if absent.
    pub tls: Option<RootCertificates>,
    /// The secret that contains the AUTH token (`REDIS_AUTH_SECRET_ARN`). If absent, the client does not authenticate.
    pub auth: Option<SecretArn>,
}

/// The certificate authorities that the client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// Mozilla's list, compiled in. It includes the authority of `ElastiCache`.
    Mozilla,
    /// Only the authorities in this PEM file.
    File(PathBuf),
}

/// An invalid Redis setting.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RedisSettingsError {
    /// `REDIS_DNS` is missing.
    #[error("the environment variable REDIS_DNS is not set")]
    MissingHost,
    /// `REDIS_PORT` is not a port number.
    #[error("REDIS_PORT is '{0}', which is not a port number")]
    InvalidPort(String),
    /// `REDIS_TLS` is neither `true` nor `false`.
    #[error("REDIS_TLS is '{0}', which is neither 'true' nor 'false'")]
    InvalidTls(String),
    /// `REDIS_TLS_CA_FILE` is set without `REDIS_TLS`.
    #[error("REDIS_TLS_CA_FILE is set, but REDIS_TLS is not 'true'")]
    CaFileWithoutTls,
    /// `REDIS_AUTH_SECRET_ARN` is not an ARN of a supported service.
    #[error(
        "REDIS_AUTH_SECRET_ARN is neither the ARN of a Secrets Manager secret nor that of an SSM parameter"
    )]
    InvalidSecretArn,
}

impl RedisSettings {
    /// Settings without encryption and without a token.
    pub fn plain(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: None, auth: None }
    }

    /// Reads the settings through `lookup`, which is the process environment in production.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, RedisSettingsError> {
        let variable = |name| lookup(name).filter(|value| !value.is_empty());
        let host = variable("REDIS_DNS").ok_or(RedisSettingsError::MissingHost)?;
        let port = match variable("REDIS_PORT") {
            None => DEFAULT_PORT,
            Some(text) => {
                text.parse().ok().filter(|port| *port != 0).ok_or(RedisSettingsError::InvalidPort(text))?
            }
        };
        let tls = match (variable("REDIS_TLS").as_deref(), variable("REDIS_TLS_CA_FILE")) {
            (None | Some("false"), None) => None,
            (None | Some("false"), Some(_)) => return Err(RedisSettingsError::CaFileWithoutTls),
            (Some("true"), None) => Some(RootCertificates::Mozilla),
            (Some("true"), Some(file)) => Some(RootCertificates::File(file.into())),
            (Some(other), _) => return Err(RedisSettingsError::InvalidTls(other.to_owned())),
        };
        let auth = variable("REDIS_AUTH_SECRET_ARN")
            .map(|arn| SecretArn::parse(&arn).ok_or(RedisSettingsError::InvalidSecretArn))
            .transpose()?;
        Ok(Self { host, port, tls, auth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<RedisSettings, RedisSettingsError> {
        RedisSettings::from_env(|name| {
            let all = [&[("REDIS_DNS", "r")], variables].concat();
            all.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_port_has_a_default_and_must_be_a_port() {
        let port = |port: &str| settings(&[("REDIS_PORT", port)]).map(|settings| settings.port);
        assert_eq!(port(""), Ok(6379));
        assert_eq!(port("7000"), Ok(7000));
        for bad in ["0", "65536", "redis", "-1"] {
            assert_eq!(port(bad), Err(RedisSettingsError::InvalidPort(bad.to_owned())));
        }
    }

    #[test]
    fn the_host_must_be_given() {
        assert_eq!(RedisSettings::from_env(|_| None), Err(RedisSettingsError::MissingHost));
    }

    #[test]
    fn encryption_is_on_off_or_an_error() {
        let tls = |value: &str, file: &str| {
            settings(&[("REDIS_TLS", value), ("REDIS_TLS_CA_FILE", file)]).map(|a| a.tls)
        };
        assert_eq!(tls("", ""), Ok(None));
        assert_eq!(tls("false", ""), Ok(None));
        assert_eq!(tls("true", ""), Ok(Some(RootCertificates::Mozilla)));
        assert_eq!(tls("true", "/ca.pem"), Ok(Some(RootCertificates::File("/ca.pem".into()))));
        assert_eq!(tls("", "/ca.pem"), Err(RedisSettingsError::CaFileWithoutTls));
        for bad in ["True", "1", "yes"] {
            assert_eq!(tls(bad, ""), Err(RedisSettingsError::InvalidTls(bad.to_owned())));
        }
    }

    #[test]
    fn a_token_is_kept_by_one_of_two_services() {
        let auth =
            |arn: &str| settings(&[("REDIS_AUTH_SECRET_ARN", arn)]).map(|settings| settings.auth.is_some());
        assert_eq!(auth(""), Ok(false));
        assert_eq!(auth("arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-AbCdEf"), Ok(true));
        assert_eq!(auth("arn:aws:s3:::bucket"), Err(RedisSettingsError::InvalidSecretArn));
    }
}
