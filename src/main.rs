//! The program: a runtime, the signals, and the exit code. Everything else is the library.

use std::process::ExitCode;

use clap::Parser;
use deployctl::cli::Cli;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(deployctl::report::usage(&error)),
    };
    // One thread: deployctl waits more than it computes.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(1),
    };
    let code = runtime.block_on(async {
        let cancel = CancellationToken::new();
        drop(tokio::spawn(deployctl::commands::cancel_on_signal(cancel.clone())));
        deployctl::commands::run(cli, cancel).await
    });
    // A blocked background read must not keep a finished command alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}
