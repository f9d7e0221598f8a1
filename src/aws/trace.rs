//! Traces each attempt of each request for `--verbose`, with the request id that AWS support asks for. Never
//! headers or bodies: they contain credentials, code and environment variables.

use std::time::Instant;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

/// Logs every attempt with `tracing`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requests;

/// The start of an attempt.
#[derive(Debug)]
struct Started(Instant);

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "deployctl requests"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Started(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let metadata = config.load::<Metadata>();
        let response = context.response();
        let headers = response.map(|response| response.headers());
        // S3 names the header differently.
        let id = headers.and_then(|all| all.get("x-amzn-requestid").or_else(|| all.get("x-amz-request-id")));
        let took = config.load::<Started>().map_or(0, |started| started.0.elapsed().as_millis());
        tracing::debug!(
            service = metadata.map_or("", Metadata::service),
            operation = metadata.map_or("", Metadata::name),
            status = response.map_or(0, |response| response.status().as_u16()),
            id = id.unwrap_or_default(),
            attempt = config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts),
            milliseconds = u64::try_from(took).unwrap_or(u64::MAX),
            "request"
        );
        Ok(())
    }
}
