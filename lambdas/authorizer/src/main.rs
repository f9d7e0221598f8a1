//! Starts the authorizer. It connects to Redis before it polls for the first event.

use std::process::ExitCode;

use authorizer::authorizer::Authorizer;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::aws_secret::SecretClient;
use shared::init_error;
use shared::log::{self, LogContext};
use shared::redis_settings::RedisSettings;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            init_error::report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve() -> Result<(), Error> {
    log::log_panics();
    let variable = |name: &str| std::env::var(name).ok();
    let redis = RedisSettings::from_env(variable)?;
    if let Some(level) = variable("LOG_LEVEL").filter(|level| !level.is_empty()) {
        log::set_level(level.parse()?);
    }
    let authorizer = &Authorizer::new(&redis, SecretClient::from_env(variable))?;
    authorizer.connect().await;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let log_context =
            LogContext::for_invocation(&event.context.request_id, event.context.xray_trace_id.as_deref());
        authorizer.decide(event.payload, log_context).await
    }))
    .await
}
