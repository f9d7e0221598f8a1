//! deployctl releases serverless APIs on AWS.

pub mod artifact;
pub mod error;
pub mod event;
pub mod process;
pub mod terraform;
pub mod toolbox;
