//! Starts the authorizer, and connects to Redis while the first event is on its way.

use std::process::ExitCode;
use std::sync::Arc;

use authorizer::{address::Address, authorizer::Authorizer, startup};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            startup::report_init_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve() -> Result<(), Error> {
    let address = Address::from_env(|name| std::env::var(name).ok())?;
    let authorizer = Arc::new(Authorizer::new(&address)?);
    let early = Arc::clone(&authorizer);
    tokio::spawn(async move { early.connect().await });
    let authorizer = authorizer.as_ref();
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        authorizer.decide(event.payload).await
    }))
    .await
}
