//! Tests of the six functions with a Redis server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod encryption;
mod events;
mod gateway;
mod life_cycle;
mod load;
mod pages;
mod schema;
mod storage;
mod support;
