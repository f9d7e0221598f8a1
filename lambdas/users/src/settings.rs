//! The settings from the environment: handler, Redis, CORS origin and log level. An invalid setting fails the start with the
//! name of the variable.

use std::str::FromStr;

use thiserror::Error;

use shared::log::Level;
use shared::redis_settings::{RedisSettings, RedisSettingsError};

/// The six functions of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// `GET /demo/users`
    ListUsers,
    /// `POST /demo/users`
    CreateUser,
    /// `DELETE /demo/users`
    DeleteUsers,
    /// `GET /demo/users/{userId}`
    GetUser,
    /// `PATCH /demo/users/{userId}`
    PatchUser,
    /// `DELETE /demo/users/{userId}`
    DeleteUser,
}

/// Every handler with its name in the handler setting and its HTTP method.
const HANDLERS: [(Handler, &str, &str); 6] = [
    (Handler::ListUsers, "users_get", "GET"),
    (Handler::CreateUser, "users_post", "POST"),
    (Handler::DeleteUsers, "users_delete", "DELETE"),
    (Handler::GetUser, "user_get", "GET"),
    (Handler::PatchUser, "user_patch", "PATCH"),
    (Handler::DeleteUser, "user_delete", "DELETE"),
];

impl Handler {
    /// The HTTP method of this function.
    pub fn method(self) -> &'static str {
        HANDLERS.iter().find(|(handler, ..)| *handler == self).map_or("", |(_, _, method)| method)
    }

    /// Its name in the handler setting.
    pub fn name(self) -> &'static str {
        HANDLERS.iter().find(|(handler, ..)| *handler == self).map_or("", |(_, name, _)| name)
    }

    /// The value of the `Allow` header: the methods of the resource that this function belongs to.
    pub fn methods_of_resource(self) -> &'static str {
        match self {
            Self::ListUsers | Self::CreateUser | Self::DeleteUsers => "GET, HEAD, OPTIONS, POST, DELETE",
            Self::GetUser | Self::PatchUser | Self::DeleteUser => "GET, HEAD, OPTIONS, PATCH, DELETE",
        }
    }
}

impl FromStr for Handler {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, SettingsError> {
        HANDLERS.iter().find(|(_, known, _)| *known == name).map(|(handler, ..)| *handler).ok_or_else(|| {
            SettingsError::UnknownHandler { name: name.to_owned(), known: HANDLERS.map(|h| h.1).join(", ") }
        })
    }
}

/// The settings of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The function (`_HANDLER`).
    pub handler: Handler,
    /// How to connect to Redis (`REDIS_DNS` and the other variables of `RedisSettings`).
    pub redis: RedisSettings,
    /// The origin that may call the API from a browser (`CORS_ALLOW_ORIGIN`): `*` or one origin. Without it, there are no
    /// CORS headers.
    pub cors_origin: Option<String>,
    /// The log level (`LOG_LEVEL`).
    pub log_level: Level,
    /// The published version of the function (`AWS_LAMBDA_FUNCTION_VERSION`), for a response header.
    pub function_version: Option<String>,
}

/// An invalid setting.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// `_HANDLER` is missing.
    #[error("the environment variable _HANDLER is not set")]
    MissingHandler,
    /// `_HANDLER` is not the name of a function of this program.
    #[error("unknown handler '{name}' in _HANDLER; this artifact has: {known}")]
    UnknownHandler {
        /// The value.
        name: String,
        /// The valid values.
        known: String,
    },
    /// A Redis setting is invalid.
    #[error(transparent)]
    Redis(#[from] RedisSettingsError),
    /// `CORS_ALLOW_ORIGIN` is not an origin. A browser compares the exact text.
    #[error("CORS_ALLOW_ORIGIN is '{0}', which is neither '*' nor an origin such as https://example.com")]
    InvalidOrigin(String),
    /// `LOG_LEVEL` is not a level.
    #[error("{0}")]
    InvalidLogLevel(String),
}

impl Settings {
    /// Reads the settings through `lookup`, which is the process environment in production and a map in tests.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let variable = |name| lookup(name).filter(|value| !value.is_empty());
        let level = variable("LOG_LEVEL").map(|level| level.parse().map_err(SettingsError::InvalidLogLevel));
        let origin = variable("CORS_ALLOW_ORIGIN").map(|origin| {
            if is_origin(&origin) { Ok(origin) } else { Err(SettingsError::InvalidOrigin(origin)) }
        });
        Ok(Self {
            handler: lookup("_HANDLER").ok_or(SettingsError::MissingHandler)?.parse()?,
            redis: RedisSettings::from_env(&lookup)?,
            cors_origin: origin.transpose()?,
            log_level: level.transpose()?.unwrap_or_default(),
            function_version: lookup("AWS_LAMBDA_FUNCTION_VERSION"),
        })
    }
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'))
    };
    text == "*" || host.is_some_and(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_handler_name_is_understood() {
        for (handler, name, method) in HANDLERS {
            assert_eq!(name.parse(), Ok(handler));
            assert_eq!((handler.method(), handler.name()), (method, name));
            assert!(handler.methods_of_resource().contains(method));
        }
    }

    #[test]
    fn an_unknown_handler_is_named_beside_the_known_ones() {
        let error = settings(&[("_HANDLER", "users.get"), ("REDIS_DNS", "r")]).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some(
                "unknown handler 'users.get' in _HANDLER; this artifact has: users_get, users_post, users_delete, \
                 user_get, user_patch, user_delete"
            )
        );
    }

    #[test]
    fn a_misspelt_setting_fails_the_start_with_its_name() {
        let with = |name, value| settings(&[("_HANDLER", "user_get"), ("REDIS_DNS", "r"), (name, value)]);
        let origin = |value| with("CORS_ALLOW_ORIGIN", value).map(|settings| settings.cors_origin);
        assert_eq!(origin(""), Ok(None));
        for good in ["*", "https://example.com", "http://localhost:3000"] {
            assert_eq!(origin(good), Ok(Some(good.to_owned())));
        }
        for bad in [
            "example.com",
            "https://a.example/",
            "https://a.example, https://b.example",
            "https://",
            "a\r\nb",
        ] {
            assert_eq!(origin(bad), Err(SettingsError::InvalidOrigin(bad.to_owned())));
        }
        let level = |value| with("LOG_LEVEL", value).map(|settings| settings.log_level);
        assert_eq!((level(""), level("debug")), (Ok(Level::Info), Ok(Level::Debug)));
        assert!(level("loud").is_err_and(|error| error.to_string().starts_with("LOG_LEVEL is 'loud'")));
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(settings(&[("REDIS_DNS", "r")]), Err(SettingsError::MissingHandler));
        let no_redis = settings(&[("_HANDLER", "user_get")]).err().map(|error| error.to_string());
        assert_eq!(no_redis.as_deref(), Some("the environment variable REDIS_DNS is not set"));
    }
}
