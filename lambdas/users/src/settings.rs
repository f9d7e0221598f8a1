//! What the environment says: which function this is and where Redis is. Anything wrong here fails the start, with
//! the variable's name, because no request could be answered rightly.

use std::str::FromStr;

use thiserror::Error;

use crate::address::{Address, AddressError};

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
    /// Where Redis is (`REDIS_DNS`, `REDIS_PORT`).
    pub redis: Address,
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
    Redis(#[from] AddressError),
}

impl Settings {
    /// Reads the settings through `lookup`, which is the process environment in production and a map in tests.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        Ok(Self {
            handler: lookup("_HANDLER").ok_or(SettingsError::NoHandler)?.parse()?,
            redis: Address::from_env(&lookup)?,
            function_version: lookup("AWS_LAMBDA_FUNCTION_VERSION"),
        })
    }
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
            assert_eq!(handler.method(), method);
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
    fn a_missing_variable_is_named() {
        assert_eq!(settings(&[("REDIS_DNS", "r")]), Err(SettingsError::NoHandler));
        let no_redis = settings(&[("_HANDLER", "user_get")]).err().map(|error| error.to_string());
        assert_eq!(no_redis.as_deref(), Some("the environment variable REDIS_DNS is not set"));
    }
}
