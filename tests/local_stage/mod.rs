//! The local stage itself, the clients that use it, and what a new project does first.

mod adoption;
mod content;
mod docs_sessions;
mod init;
mod lifecycle;
mod python_tools;
mod semantics;
