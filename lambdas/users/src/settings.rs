//! What the environment says: which function this is, where Redis is, which pages may call, how much is logged. Anything wrong here fails the start, with
//! the variable's name, because no request could be answered rightly.

use std::str::FromStr;

use thiserror::Error;

use shared::log::Level;
use shared::redis_settings::{RedisSettings, RedisSettingsError};

/// The six functions that this one bootstrap can be.
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

/// Every handler with the name that the function's handler setting carries and the one method it serves.
const HANDLERS: [(Handler, &str, &str); 6] = [
    (Handler::ListUsers, "users_get", "GET"),
    (Handler::CreateUser, "users_post", "POST"),
    (Handler::DeleteUsers, "users_delete", "DELETE"),
    (Handler::GetUser, "user_get", "GET"),
    (Handler::PatchUser, "user_patch", "PATCH"),
    (Handler::DeleteUser, "user_delete", "DELETE"),
];

impl Handler {
    /// The HTTP method that this function serves.
    pub fn method(self) -> &'static str {
        HANDLERS.iter().find(|(handler, ..)| *handler == self).map_or("", |(_, _, method)| method)
    }

    /// The handler setting's name for it.
    pub fn name(self) -> &'static str {
        HANDLERS.iter().find(|(handler, ..)| *handler == self).map_or("", |(_, name, _)| name)
    }

    /// The methods of the resource that this function is a part of, as `Allow` lists them.
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

/// The resolved environment of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which of the six functions this is (`_HANDLER`).
    pub handler: Handler,
    /// Where Redis is (`REDIS_DNS` and the others of `RedisSettings`).
    pub redis: RedisSettings,
    /// Whose pages may call the API from a browser (`CORS_ALLOW_ORIGIN`): `*` or one origin. No CORS headers without it.
    pub cors_origin: Option<String>,
    /// How much is logged (`LOG_LEVEL`).
    pub log_level: Level,
    /// The published version that runs (`AWS_LAMBDA_FUNCTION_VERSION`), for the response header.
    pub function_version: Option<String>,
}

/// Why the function cannot start.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// There is no handler setting.
    #[error("the environment variable _HANDLER is not set")]
    NoHandler,
    /// The handler setting names none of the six functions.
    #[error("unknown handler '{name}' in _HANDLER; this artifact has: {known}")]
    UnknownHandler {
        /// What the setting says.
        name: String,
        /// What it may say.
        known: String,
    },
    /// It is not said where Redis is.
    #[error(transparent)]
    Redis(#[from] RedisSettingsError),
    /// The origin is none: a browser compares it to the letter.
    #[error("CORS_ALLOW_ORIGIN is '{0}', which is neither '*' nor an origin such as https://example.com")]
    BadOrigin(String),
    /// The level is none.
    #[error("{0}")]
    BadLevel(String),
}

impl Settings {
    /// Reads the settings through `lookup`, which is the process environment in production and a map in tests.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let level = set("LOG_LEVEL").map(|level| level.parse().map_err(SettingsError::BadLevel));
        let origin = set("CORS_ALLOW_ORIGIN").map(|origin| {
            if is_origin(&origin) { Ok(origin) } else { Err(SettingsError::BadOrigin(origin)) }
        });
        Ok(Self {
            handler: lookup("_HANDLER").ok_or(SettingsError::NoHandler)?.parse()?,
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
    fn what_is_misspelt_fails_the_start_with_its_name() {
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
            assert_eq!(origin(bad), Err(SettingsError::BadOrigin(bad.to_owned())));
        }
        let level = |value| with("LOG_LEVEL", value).map(|settings| settings.log_level);
        assert_eq!((level(""), level("debug")), (Ok(Level::Info), Ok(Level::Debug)));
        assert!(level("loud").is_err_and(|error| error.to_string().starts_with("LOG_LEVEL is 'loud'")));
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(settings(&[("REDIS_DNS", "r")]), Err(SettingsError::NoHandler));
        let no_redis = settings(&[("_HANDLER", "user_get")]).err().map(|error| error.to_string());
        assert_eq!(no_redis.as_deref(), Some("the environment variable REDIS_DNS is not set"));
    }
}
