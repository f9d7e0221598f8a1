//! The pipeline of a release: artifacts, Terraform layers, and the stage. [`pipeline::run_release`] is shared
//! by `release` and `promote`; [`plan`] computes what it would do.

pub(crate) mod approval;
mod build;
pub(crate) mod code_only;
pub(crate) mod dev;
mod existing;
pub(crate) mod git;
pub(crate) mod layers;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod promotion;
pub(crate) mod source;
pub(crate) mod stage_variables;
mod store_error;
pub(crate) mod watched;
