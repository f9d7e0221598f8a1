//! The result, on stdout.

use std::io::{self, Write as _};

use super::harmless;
use crate::error::{Error, ErrorId, Kind};

pub(super) fn write_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    write_out(&harmless::json(&text))
}

/// Writes text as it is, and flushes it: the error of a full disk may come only then.
pub(super) fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// The error of a result that was not written. A closed pipe is none: its reader, such as `head`, wants no
/// more.
pub(super) fn unwritten(result: io::Result<()>) -> Option<Error> {
    let error = result.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)?;
    let message = "failed to write the result to stdout";
    Some(Error::new(Kind::Unwritten, ErrorId::ResultUnwritten, message).because(error).hint(
        "the command itself has succeeded, and what it changed stays changed; `deployctl status` shows what is \
         live; make room where stdout is written to",
    ))
}
