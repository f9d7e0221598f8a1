//! Terraform's `-json` stream.

/// One message of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {}
