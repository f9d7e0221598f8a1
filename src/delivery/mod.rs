//! The pipeline of a release: artifacts, Terraform layers, and the stage. [`pipeline::run_release`] is the story that
//! `release` and `promote` share; [`plan`] computes what it would do.

mod build;
pub(crate) mod git;
pub(crate) mod layers;
mod not_stored;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod promotion;
pub(crate) mod source;
