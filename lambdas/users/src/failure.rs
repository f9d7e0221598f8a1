//! The failures of a request, each with the HTTP status, the error code and the message of the response.

use redis::RedisError;
use thiserror::Error;

/// A failed request. `Display` is the message in the response: it contains no host names and no internal details.
#[derive(Debug, Error)]
pub enum Failure {
    /// The request is invalid.
    #[error("{0}")]
    BadRequest(String),
    /// There is no user with this id.
    #[error("there is no such user")]
    NotFound,
    /// The route has the wrong function as its integration. Checked because two of the functions delete users.
    #[error("this function serves {allowed} requests only")]
    WrongMethod {
        /// The method of this function.
        allowed: &'static str,
    },
    /// The request or the response is too large.
    #[error("{0}")]
    TooLarge(String),
    /// Concurrent requests changed the user in every attempt.
    #[error("the user is being changed by too many requests at once; try again")]
    Contended,
    /// The stored user is not a JSON object.
    #[error("the stored user is damaged")]
    Damaged,
    /// Redis cannot be reached or returned an error. The cause is logged.
    #[error("storage is unavailable")]
    Storage(#[source] RedisError),
    /// Redis did not answer in time, or its answer was lost. It may have executed the commands.
    #[error("storage is unavailable")]
    NoAnswer,
    /// A defect: JSON could not be serialised.
    #[error("internal error")]
    Internal(#[source] serde_json::Error),
}

impl Failure {
    /// The HTTP status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound => 404,
            Self::WrongMethod { .. } => 405,
            Self::TooLarge(_) => 413,
            Self::Damaged | Self::Storage(_) | Self::NoAnswer | Self::Internal(_) => 500,
            Self::Contended => 503,
        }
    }

    /// The error code of the response. Unlike the message, it is stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::NotFound => "not_found",
            Self::WrongMethod { .. } => "wrong_method",
            Self::TooLarge(_) => "too_large",
            Self::Contended => "contended",
            Self::Damaged => "damaged",
            Self::Storage(_) | Self::NoAnswer => "storage_unavailable",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Storage(error)
    }
}
