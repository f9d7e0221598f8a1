//! Where Redis is, as the environment says. The authorizer compiles this same file.

use thiserror::Error;

/// Port that Redis listens on when `REDIS_PORT` is not set.
const DEFAULT_PORT: u16 = 6379;

/// Host and port of Redis; its database is always 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name (`REDIS_DNS`).
    pub host: String,
    /// Port (`REDIS_PORT`, 6379 if absent).
    pub port: u16,
}

/// Why it is not known where Redis is.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// The host must be given.
    #[error("the environment variable REDIS_DNS is not set")]
    NoHost,
    /// The port is not a port.
    #[error("REDIS_PORT is '{0}', which is not a port number")]
    BadPort(String),
}

impl Address {
    /// Reads the address through `lookup`, which is the process environment in production.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let host = set("REDIS_DNS").ok_or(AddressError::NoHost)?;
        let port = match set("REDIS_PORT") {
            None => DEFAULT_PORT,
            Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or(AddressError::BadPort(text))?,
        };
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_has_a_default_and_must_be_a_port() {
        let port = |port: &str| {
            let value =
                |name: &str| Some(if name == "REDIS_PORT" { port.to_owned() } else { "r".to_owned() });
            Address::from_env(value).map(|address| address.port)
        };
        assert_eq!(port(""), Ok(6379));
        assert_eq!(port("7000"), Ok(7000));
        for bad in ["0", "65536", "redis", "-1"] {
            assert_eq!(port(bad), Err(AddressError::BadPort(bad.to_owned())));
        }
    }

    #[test]
    fn the_host_must_be_given() {
        assert_eq!(Address::from_env(|_| None), Err(AddressError::NoHost));
    }
}
