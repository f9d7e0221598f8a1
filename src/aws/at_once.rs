//! For `deployctl dev`: a function and its versions are ready at once. The local stage imitates AWS's times
//! otherwise; AWS does not know the header.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Sends it with each call.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtOnce;

impl Intercept for AtOnce {
    fn name(&self) -> &'static str {
        "deployctl's calls without AWS's times"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("x-deployctl-at-once", "1");
        Ok(())
    }
}
