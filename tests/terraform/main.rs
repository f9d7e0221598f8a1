//! The driver against the real Terraform, with `terraform_data` only: no provider, no network. A Terraform
//! that misbehaves is a script in its place.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod failures;
mod interrupts;
mod parsers;
mod project;
mod providers;
mod runs;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod versions;
