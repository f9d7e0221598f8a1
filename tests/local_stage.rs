//! The local stage itself, the clients that use it, and what a new project does first.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod local_stage {
    mod adoption;
    mod content;
    mod docs_sessions;
    mod init;
    mod lifecycle;
    mod python_tools;
    mod semantics;
}
