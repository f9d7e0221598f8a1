//! The Terraform driver: everything that deployctl knows about running Terraform or OpenTofu.
//!
//! ```text
//! Layer ─► init (only when its inputs changed) ─► plan ─┬─► no changes: one process, done
//!                                                        └─► Plan as data ─► guard ─► apply of that very file
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`version`] | finding the program, its version, what it can do |
//! | [`commands`] | each command's arguments, as data |
//! | `environment` | the variables we own, each with its reason |
//! | [`driver`], [`observer`] | running it: what it reports while it runs, typed failures back |
//! | `init`, `mirror` | when `init` is needed, and where providers come from |
//! | [`messages`] | the `-json` stream |
//! | [`plan`], [`guard`] | a plan as data, and what it may not do |
//! | `render`, `progress` | a plan for people, and how far an apply is |
//! | `source` | what the files say, with places, for `init` and `doctor` |
//! | [`outputs`] | a layer's outputs, secrets kept secret |
//! | [`layers`] | dependency order |
//! | [`failure`], `classify`, `advice` | what can go wrong, how it is recognised, what to do about it |

mod advice;
mod classify;
pub mod commands;
pub mod driver;
mod environment;
pub mod failure;
pub mod guard;
mod init;
pub mod layers;
pub mod messages;
mod mirror;
pub mod observer;
pub mod outputs;
pub mod plan;
pub(crate) mod progress;
pub(crate) mod render;
pub(crate) mod source;
mod validation;
pub mod version;

pub use crate::platform::process::ProcessError;
pub use commands::{PlanMode, PlanOptions, Shared, Subcommand};
pub use driver::{Backend, Driver, PlanOutcome, PlannedLayer};
pub use environment::Environment;
pub use failure::{Failure, Reason};
pub use layers::Layer;
pub use observer::{Activity, Observer};
pub use outputs::{Output, Outputs};
pub use version::Terraform;
