//! What the users functions and the authorizer have in common: the connection to Redis with its settings and its AUTH
//! token, the log, and the report of a failed start.
//!
//! It is a library and no artifact of its own. A change of this crate changes both zips; a change of one of the two
//! programs changes only its own zip.

pub mod aws_secret;
pub mod connection;
pub mod init_error;
pub mod log;
pub mod redis_settings;
