//! Invokes a function for `deployctl invoke`.

use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Aws, timeouts};
use crate::engine::failure::Failure;
use crate::release::model::{FunctionName, FunctionVersion};

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invocation {
    /// Lambda's `FunctionError`, such as `Unhandled`, if the function failed.
    pub(crate) function_error: Option<String>,
    /// The payload that the function returned.
    pub(crate) result: Value,
    /// The last lines that it logged.
    pub(crate) log_tail: Option<String>,
}

impl Aws {
    /// Invokes a version once. A lost answer is not retried: the function may have run.
    ///
    /// # Errors
    /// When Lambda does not run it, or the answer is lost.
    pub(crate) async fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
        log_tail: bool,
    ) -> Result<Invocation, Failure> {
        // The function's own timeout is not known here.
        let once = aws_sdk_lambda::config::Config::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts::invoke(None));
        let answer = self
            .lambda
            .invoke()
            .function_name(name.as_str())
            .qualifier(version.as_str())
            .set_log_type(log_tail.then_some(LogType::Tail))
            .payload(Blob::new(payload.to_string()))
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(|error| Failure::new("Invoke", format!("{name}:{version}"), &error))?;
        let bytes = answer.payload().map(AsRef::<[u8]>::as_ref).unwrap_or_default();
        let result = serde_json::from_slice(bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()));
        let tail = answer.log_result().and_then(|tail| STANDARD.decode(tail).ok());
        Ok(Invocation {
            function_error: answer.function_error().map(str::to_owned),
            result,
            log_tail: tail.map(|tail| String::from_utf8_lossy(&tail).into_owned()),
        })
    }
}
