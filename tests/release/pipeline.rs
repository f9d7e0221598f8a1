//! The pipeline: what GitHub would run, run here; and what AWS would allow, compared with what is asked of it.

mod build;
pub(crate) mod calls;
mod comment;
mod expression;
pub(super) mod github;
mod lint;
pub(super) mod model;
mod packages;
mod permissions;
pub(crate) mod policy;
mod publish;
pub(crate) mod recorder;
mod rules;
mod setup;
mod supply;
mod trust;
pub(crate) mod two_stage_project;
mod workflows;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of the programs that check workflows and dependencies.
async fn tools() -> PathBuf {
    crate::support::python_tools::install("checks", include_str!("pipeline/requirements.txt")).await
}
