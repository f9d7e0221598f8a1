//! Everything that has a stage. It is one test program, because these tests wait for their stages most of the time, and only
//! the tests of one program run beside each other. The longest test is in `faults`, which comes first.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod faults;
mod infrastructure;
mod local_stage;
mod release;
mod support;
