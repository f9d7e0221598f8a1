//! Starts the function that the handler setting names, and connects to Redis while the first event is on its way.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use users::{app::App, settings::Settings, startup};

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
    let settings = Settings::from_env(|name| std::env::var(name).ok())?;
    let app = Arc::new(App::new(&settings)?);
    let early = Arc::clone(&app);
    tokio::spawn(async move { early.connect().await });
    let app = app.as_ref();
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        Ok::<_, Error>(app.answer(event.payload.get()).await)
    }))
    .await
}
