//! Starts the function that the handler setting names. It connects to Redis before it polls for the first event, so that no
//! request waits for the connection where Lambda initialises the execution environment ahead of it.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::aws_secret::SecretClient;
use shared::init_error;
use shared::log::{self, LogContext};
use users::app::App;
use users::settings::Settings;

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
    let settings = Settings::from_env(variable)?;
    log::set_level(settings.log_level);
    let app = Arc::new(App::new(&settings, SecretClient::from_env(variable))?);
    app.connect().await;
    let serving = lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let app = Arc::clone(&app);
        async move {
            let context = &event.context;
            let log_context =
                LogContext::for_invocation(&context.request_id, context.xray_trace_id.as_deref());
            Ok::<_, Error>(app.answer(event.payload.get(), log_context).await)
        }
    }));
    // In a task of its own: as the main future, it is polled one extra time before each wait, three times per event.
    tokio::spawn(serving).await?
}
