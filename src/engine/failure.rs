//! A failed call of a port: the call, its subject, the answer, and whether the call may have taken effect all
//! the same. `aws::failure` converts the SDK's errors to it.

use std::fmt;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The resource does not exist.
    NotFound,
    /// A condition of the call did not hold: another caller was first, or the resource exists already.
    Precondition,
    /// Another change of the resource is in progress; the call may be tried again later.
    Busy,
    /// The caller lacks the permission.
    Denied,
    /// The credentials are missing, invalid or expired.
    Unauthenticated,
    /// AWS rejects the request as it is.
    Rejected,
    /// There was no connection, or no call of this command has been answered yet. An attempt before the last
    /// one may have taken effect.
    Unreachable,
    /// No answer, or a server error: the call may or may not have taken effect.
    Unknown,
}

/// A call to AWS that failed after all its retries.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) struct Failure {
    /// The API's name of the call, such as `UpdateStage`.
    pub(crate) operation: &'static str,
    /// The resource of the call.
    pub(crate) subject: Box<str>,
    pub(crate) meaning: Meaning,
    /// AWS's error code, if there was an answer.
    pub(crate) code: Option<String>,
    /// The message of AWS or of the transport.
    pub(crate) message: String,
    /// The request id, which AWS support asks for.
    pub(crate) request_id: Option<Box<str>>,
    /// What the user can do about it; it completes a hint. `None`: the caller of the port knows better.
    pub(crate) advice: Option<&'static str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, subject, code, message, request_id, .. } = self;
        write!(f, "{operation} of {subject} failed: ")?;
        if let Some(code) = code {
            write!(f, "{code}: ")?;
        }
        f.write_str(message)?;
        if let Some(id) = request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl Failure {
    /// A failure that deployctl, and not AWS, detects in an answer.
    pub(crate) fn rejected(
        operation: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            subject: subject.into().into(),
            meaning: Meaning::Rejected,
            code: None,
            message: message.into(),
            request_id: None,
            advice: None,
        }
    }

    /// The hint of an error: what is `live`, and what to do next. Without advice for this failure, that is
    /// `otherwise`.
    pub(crate) fn hint(&self, live: &str, otherwise: &str) -> String {
        format!("{live}; {}", self.advice.unwrap_or(otherwise))
    }

    /// Whether the same call may succeed in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self.meaning {
            Meaning::Unknown | Meaning::Unreachable => true,
            Meaning::Busy => {
                self.code.as_deref() != Some("ConflictException") || is_try_again_later(&self.message)
            }
            _ => false,
        }
    }

    /// Whether the failed call may have taken effect, so that the resource must be read before another
    /// attempt.
    pub(crate) fn may_have_happened(&self) -> bool {
        matches!(
            self.meaning,
            Meaning::Unknown | Meaning::Unreachable | Meaning::Precondition | Meaning::Busy
        )
    }
}

/// Whether a ConflictException is about a change in progress. API Gateway's other conflicts are permanent.
pub(crate) fn is_try_again_later(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("try again later") || message.contains("in progress")
}
