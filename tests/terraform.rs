//! The driver against the real Terraform, with `terraform_data` only: no provider, no network. A Terraform
//! that misbehaves is a script in its place.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod terraform {
    mod backends;
    mod commands;
    mod failures;
    mod interrupts;
    mod parsers;
    mod project;
    mod providers;
    mod runs;
    mod signals;
    mod versions;
}
