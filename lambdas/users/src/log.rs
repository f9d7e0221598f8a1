//! The log: one line of JSON on stderr per thing that an operator should know, never with personal data.
//!
//! Callers pass fixed words and errors of ours or of the Redis client, which carry no user's content. The
//! authorizer compiles this same file (see its `lib.rs`).

use std::error::Error;
use std::io::Write;

/// Something failed: `message` says what, `cause` why (with its chain of sources).
pub fn error(message: &str, cause: &dyn Error) {
    write(&line(message, cause));
}

/// One entry: `{"cause":"…","level":"ERROR","message":"…"}`.
fn line(message: &str, cause: &dyn Error) -> String {
    let mut causes = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        let text = source.to_string();
        // Many errors repeat their source in their own text; once is enough.
        if !causes.contains(&text) {
            causes.push_str(": ");
            causes.push_str(&text);
        }
        next = source.source();
    }
    serde_json::json!({ "level": "ERROR", "message": message, "cause": causes }).to_string()
}

/// A log that cannot be written is no reason to fail the request.
fn write(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn an_entry_is_one_line_of_json_whatever_the_text() {
        let text = line("storage is unavailable", &std::io::Error::other("line\nbreak \"quoted\""));
        assert_eq!(
            text,
            r#"{"cause":"line\nbreak \"quoted\"","level":"ERROR","message":"storage is unavailable"}"#
        );
    }
}
