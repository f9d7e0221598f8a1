//! Runs Terraform or OpenTofu and returns typed results.
//!
//! ```text
//! Layer ─► init (if its inputs changed) ─► plan ─┬─► no changes: one process
//!                                                └─► Plan as data ─► guard ─► apply of the same plan file
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`version`] | the program, its version and its features |
//! | [`commands`] | the arguments of each command, as data |
//! | `backend` | where states are stored |
//! | `environment` | the variables that the driver sets or removes, with reasons |
//! | [`driver`], [`observer`] | running commands: messages while they run, typed failures |
//! | `inputs` | digests of what a plan reads on this machine |
//! | `init`, `mirror`, `lock_file` | when `init` is needed, and where providers are installed from |
//! | [`messages`] | the `-json` stream |
//! | [`plan`], [`guard`] | a plan as data, and the changes that are refused |
//! | `render`, `progress` | a plan as text and Markdown, and the progress of an apply |
//! | `signals` | whether exit code, messages and state agree |
//! | `source` | parsed `.tf` files with positions, for `init` and `doctor` |
//! | [`outputs`] | a layer's outputs; sensitive values are hidden |
//! | `variables` | the values of variables in files |
//! | [`layers`] | dependency order |
//! | [`failure`], `classify`, `advice` | reasons for failures, how they are recognised, and hints |

mod advice;
pub(crate) mod backend;
mod classify;
pub mod commands;
pub mod driver;
mod environment;
pub mod failure;
pub mod guard;
mod init;
pub(crate) mod inputs;
pub mod layers;
mod lock_file;
pub mod messages;
mod mirror;
pub mod observer;
pub mod outputs;
pub mod plan;
pub(crate) mod progress;
pub(crate) mod render;
mod signals;
pub(crate) mod source;
mod validation;
pub(crate) mod variables;
pub mod version;

pub use crate::platform::process::ProcessError;
pub use backend::Backend;
pub use commands::{PlanMode, PlanOptions, Shared, Subcommand};
pub use driver::{Driver, PlanOutcome, PlannedLayer};
pub use environment::Environment;
pub use failure::{Failure, Reason};
pub(crate) use init::folders;
pub use layers::Layer;
pub use observer::{Activity, Observer};
pub use outputs::{Output, Outputs};
pub use version::Terraform;
