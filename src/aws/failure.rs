//! Converts the SDK's errors to [`Failure`]. No other module inspects them.

use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use super::answers;
use super::http::Unreached;
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
        // Of the request for the credentials.
        let unreached = Unreached::of(error);
        let message = match (service.and_then(|service| service.message()), unanswered, unreached) {
            (Some(message), _, _) => message.to_owned(),
            (None, Some(call), _) => call.to_string(),
            (None, None, Some(unreached)) => unreached.to_string(),
            (None, None, None) => error.raw_response().and_then(describe).unwrap_or_else(|| chain(error)),
        };
        let is_page = error.raw_response().is_some_and(is_page);
        let request_id = error.raw_response().and_then(|response| response.request_id()).map(Box::from);
        let meaning = match error {
            _ if unanswered.is_none() && unreached.is_some() => Meaning::Unreachable,
            SdkError::ConstructionFailure(_) => construction(&message),
            _ if unanswered.is_some_and(|call| !call.sent || call.given_up) => Meaning::Unreachable,
            // The status is the proxy's, and says nothing about the resource.
            _ if is_page && matches!(status, Some(300..=499)) => Meaning::Rejected,
            _ => answers::meaning(status, code.as_deref(), &message),
        };
        let advice = if is_page { Some(PROXY) } else { answers::advice(status, code.as_deref(), &message) };
        let message = match error.raw_response().and_then(bucket_region) {
            Some(region) => format!("{message} (the bucket is in {region})"),
            None => message,
        };
        Self { operation, subject: subject.into().into(), meaning, code, message, request_id, advice }
    }
}

pub(super) const PROXY: &str = "check the proxy (HTTPS_PROXY) and the network between this machine and AWS";

/// Whether an answer is not AWS's, but a page for a browser, such as those of proxies.
fn is_page(response: &HttpResponse) -> bool {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let body = body.trim_start().to_ascii_lowercase();
    let is_html = response.headers().get("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    body.starts_with("<!doctype html") || body.starts_with("<html") || body.is_empty() && is_html
}

/// Describes an answer without a code and a message.
fn describe(response: &HttpResponse) -> Option<String> {
    let status = response.status().as_u16();
    if is_page(response) {
        return Some(format!("HTTP {status} with an HTML page, which is not an answer of AWS"));
    }
    // As of every answer to HEAD.
    response.body().bytes()?.is_empty().then(|| format!("HTTP {status} without an explanation"))
}

/// The region that S3 names when a request for a bucket went to another one.
fn bucket_region(response: &HttpResponse) -> Option<&str> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 307 | 308 | 400);
    response.headers().get("x-amz-bucket-region").filter(|_| is_redirect)
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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

/// The meaning of a request that was never sent: it lacks credentials, or is invalid.
fn construction(message: &str) -> Meaning {
    if message.contains("credential") { Meaning::Unauthenticated } else { Meaning::Rejected }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

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
