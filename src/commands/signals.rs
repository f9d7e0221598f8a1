//! The signals that interrupt a command.

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

/// Cancels `cancel` on the first Ctrl-C, SIGTERM or SIGHUP after this returns. Later signals are ignored,
/// because the command is already ending.
///
/// Must be called inside the runtime.
pub(super) fn cancel_on_signal(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    // `nohup` ignores SIGHUP, so that the command continues without the terminal.
    let mut hangup = if crate::platform::process::is_ignored(Signal::SIGHUP) {
        None
    } else {
        signal(SignalKind::hangup()).ok()
    };
    drop(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                Some(_) = async { hangup.as_mut()?.recv().await } => {}
            }
            cancel.cancel();
        }
    }));
}
