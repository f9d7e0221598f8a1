//! deployctl releases serverless APIs on AWS.

pub mod artifact;
pub mod error;
pub mod event;
pub mod file_lock;
pub mod local;
pub mod process;
pub mod terraform;
pub mod toolbox;
