//! Converts the SDK's errors to [`Failure`]. No other module inspects them.

use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use super::timeouts::Unanswered;
use crate::engine::failure::{Failure, Meaning};

impl Failure {
    /// Converts the SDK's error of `operation` on `subject`.
    pub(crate) fn new<E>(
        operation: &'static str,
        subject: impl Into<String>,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let service = error.as_service_error();
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = service.and_then(|service| service.code()).map(str::to_owned);
        let unanswered = unanswered(error);
        let message = match (service.and_then(|service| service.message()), unanswered) {
            (Some(message), _) => message.to_owned(),
            (None, Some(call)) => call.to_string(),
            (None, None) => chain(error),
        };
        let request_id = error.raw_response().and_then(|response| response.request_id()).map(str::to_owned);
        let meaning = match error {
            SdkError::ConstructionFailure(_) => construction(&message),
            _ if unanswered.is_some_and(|call| !call.sent || call.given_up) => Meaning::Unreachable,
            _ => meaning(status, code.as_deref()),
        };
        Self { operation, subject: subject.into(), meaning, code, message, request_id }
    }
}

fn unanswered<E>(error: &SdkError<E, HttpResponse>) -> Option<&Unanswered> {
    match error {
        SdkError::DispatchFailure(failure) => Unanswered::of(failure.as_connector_error()?),
        _ => None,
    }
}

/// Whether AWS has not answered at all.
pub(super) fn is_unanswered<E>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(error, SdkError::TimeoutError(_)) || unanswered(error).is_some()
}

/// An error and its causes in one line, each once. The SDK's own format is a dump of its structures.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Maps HTTP status and error code to a meaning. An error code that is not listed is judged by its status.
fn meaning(status: Option<u16>, code: Option<&str>) -> Meaning {
    match code {
        Some("ResourceConflictException" | "ConflictException" | "TooManyRequestsException") => Meaning::Busy,
        Some("ConditionalRequestConflict") => Meaning::Precondition,
        Some(
            "NoSuchKey" | "NoSuchBucket" | "ResourceNotFoundException" | "NotFoundException" | "NotFound",
        ) => Meaning::NotFound,
        _ => match status {
            Some(404) => Meaning::NotFound,
            Some(412) => Meaning::Precondition,
            Some(401 | 403) => Meaning::Denied,
            Some(429) => Meaning::Busy,
            Some(400..=499) => Meaning::Rejected,
            _ => Meaning::Unknown,
        },
    }
}

/// The meaning of a request that was never sent: it lacks credentials, or is invalid.
fn construction(message: &str) -> Meaning {
    if message.contains("credential") { Meaning::Denied } else { Meaning::Rejected }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    #[test]
    fn the_code_beats_the_status_and_no_answer_is_unknown() {
        assert_eq!(meaning(Some(409), Some("ResourceConflictException")), Meaning::Busy);
        assert_eq!(meaning(Some(409), Some("ConditionalRequestConflict")), Meaning::Precondition);
        assert_eq!(meaning(Some(412), Some("PreconditionFailed")), Meaning::Precondition);
        assert_eq!(meaning(Some(404), None), Meaning::NotFound);
        assert_eq!(meaning(Some(403), Some("AccessDenied")), Meaning::Denied);
        assert_eq!(meaning(Some(400), Some("BadRequestException")), Meaning::Rejected);
        assert_eq!(meaning(Some(500), Some("ServiceException")), Meaning::Unknown);
        assert_eq!(meaning(None, None), Meaning::Unknown);
        assert_eq!(meaning(Some(409), Some("ConflictException")), Meaning::Busy);
    }

    #[test]
    fn a_call_without_an_answer_may_have_happened() {
        type Error = aws_sdk_apigateway::operation::update_stage::UpdateStageError;
        let silent: SdkError<Error, HttpResponse> = SdkError::timeout_error("nothing came");
        let cut = ConnectorError::io("the connection was closed".into());
        for error in [silent, SdkError::dispatch_failure(cut)] {
            let failure = Failure::new("UpdateStage", "stage v1", &error);
            assert_eq!(failure.meaning, Meaning::Unknown);
            assert!(failure.may_have_happened(), "{failure}");
        }
    }
}
