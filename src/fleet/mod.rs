//! Releases of many projects that depend on each other: who is released, in which order, and what became of it.
//!
//! [`file`], [`graph`] and [`plan`] are plain values. [`run`] stores the results of a run in the coordination
//! bucket, and [`token`] shares an account's rate of API deployments there.

pub(crate) mod file;
pub(crate) mod graph;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod token;
