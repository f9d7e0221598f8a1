//! What the tests and benchmarks of the Lambdas share. No Lambda depends on this crate.

pub mod python;
pub mod redis_server;

/// The result of a test or of a test helper.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;
