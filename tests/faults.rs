//! The real program with a proxy before AWS that lets requests go wrong, and what commands cost.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod faults {
    mod answers;
    mod cost;
    mod proxy;
    mod requests;
}
