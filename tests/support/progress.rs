//! Lines that a test prints at once, past the capture of its output: a test of some minutes must not look dead, and the
//! numbers that it measures are to be read.

use std::io::Write as _;

/// Prints a line of `test` to stderr.
pub(crate) fn print(test: &str, line: &str) {
    writeln!(std::io::stderr(), "{test}: {line}").ok();
}
