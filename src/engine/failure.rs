//! A call of a port that failed: which call on what, what was answered, and whether the call may have taken effect all
//! the same. `aws::failure` reads the SDK's errors into it.

use std::fmt;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The thing is not there.
    NotFound,
    /// A condition of the call did not hold: another caller was first, or the resource exists already.
    Precondition,
    /// AWS is busy with the thing; it may be tried again once that is over.
    Busy,
    /// The caller may not do this, or has no credentials.
    Denied,
    /// AWS will not do this as it was asked.
    Rejected,
    /// There was no connection, or nothing has answered the command yet. The call may have taken effect all the same, in
    /// an attempt before the last one.
    Unreachable,
    /// No answer, or a server error: the call may or may not have taken effect.
    Unknown,
}

/// A call to AWS that failed after all its retries.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) struct Failure {
    /// The API's name for the call, such as `UpdateStage`.
    pub(crate) operation: &'static str,
    /// What the call was about.
    pub(crate) subject: String,
    pub(crate) meaning: Meaning,
    /// AWS's error code, if there was an answer.
    pub(crate) code: Option<String>,
    /// AWS's words, or the transport's.
    pub(crate) message: String,
    /// AWS's id of the request, for its support.
    pub(crate) request_id: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, subject, meaning: _, code, message, request_id } = self;
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
    /// A failure that deployctl found in an answer, rather than AWS.
    pub(crate) fn rejected(
        operation: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            subject: subject.into(),
            meaning: Meaning::Rejected,
            code: None,
            message: message.into(),
            request_id: None,
        }
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

    /// The call may have taken effect although it failed: look before trying again.
    pub(crate) fn may_have_happened(&self) -> bool {
        matches!(
            self.meaning,
            Meaning::Unknown | Meaning::Unreachable | Meaning::Precondition | Meaning::Busy
        )
    }
}

/// Whether a ConflictException is about a change under way, which will be over soon. API Gateway's other conflicts are
/// for good.
pub(crate) fn is_try_again_later(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("try again later") || message.contains("in progress")
}
