//! Every way in which a request can fail, with the status, the code and the words that the caller gets.

use redis::RedisError;
use thiserror::Error;

/// What went wrong with a request. `Display` is what the caller reads, so it names no host and no internals.
#[derive(Debug, Error)]
pub enum Failure {
    /// The request cannot be understood, and why.
    #[error("{0}")]
    BadRequest(String),
    /// There is no user with this id.
    #[error("there is no such user")]
    NotFound,
    /// The route is wired to the wrong function. Answered, because two of the functions delete.
    #[error("this function serves {serves} requests only")]
    WrongMethod {
        /// The method it does serve.
        serves: &'static str,
    },
    /// The request, or the answer to it, is larger than can be carried.
    #[error("{0}")]
    TooLarge(String),
    /// Others changed the user faster than this request could.
    #[error("the user is being changed by too many requests at once; try again")]
    Contended,
    /// What is stored under this id is not a JSON object.
    #[error("the stored user is damaged")]
    Damaged,
    /// Redis cannot be reached or refuses; the cause is for the log.
    #[error("storage is unavailable")]
    Storage(#[source] RedisError),
    /// Redis did not answer, in time or at all, and what it did is not known.
    #[error("storage is unavailable")]
    Unanswered,
    /// A defect of ours: JSON that we made ourselves could not be written.
    #[error("internal error")]
    Internal(#[source] serde_json::Error),
}

impl Failure {
    /// The HTTP status that the caller gets.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound => 404,
            Self::WrongMethod { .. } => 405,
            Self::TooLarge(_) => 413,
            Self::Damaged | Self::Storage(_) | Self::Unanswered | Self::Internal(_) => 500,
            Self::Contended => 503,
        }
    }

    /// What a program can go by: unlike the words, it does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::NotFound => "not_found",
            Self::WrongMethod { .. } => "wrong_method",
            Self::TooLarge(_) => "too_large",
            Self::Contended => "contended",
            Self::Damaged => "damaged",
            Self::Storage(_) | Self::Unanswered => "storage_unavailable",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Storage(error)
    }
}
