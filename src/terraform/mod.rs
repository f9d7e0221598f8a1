//! The Terraform driver.
pub mod messages;
