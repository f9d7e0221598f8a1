//! deployctl releases serverless APIs on AWS. Terraform owns what exists; deployctl owns what runs.
//!
//! A *release* is one immutable set (zips, Lambda versions, one API Gateway deployment) that goes live, and
//! back, in one API call.
//!
//! ```text
//! args, env, deployctl.toml ─► settings ─► session ─┬─► artifact: build + zip + sha256 ─┐
//!                                                   └─► terraform: plan ► guard         │
//!                                                             apply ◄── upload ◄────────┘
//!            observe (reads AWS) ─► release::plan (pure) ─► execute: prepare ─► switch ─► verify ─► ledger
//!                                               events ─► report
//! ```
//!
//! **Does**: run Terraform layer by layer, build and upload Lambda zips, publish versions, deploy the API,
//! switch a stage to all of it at once, check it, record it, and undo it.
//! **Does not**: create infrastructure by itself, shift traffic by percentages, keep state outside the stage's
//! own account.
//!
//! The rooms: [`commands`] has a file for each verb, and `commands/release.rs` is the story of a release.
//! [`release`] is pure. [`world`] is the port that [`execute`] works through and [`aws`] implements. Only
//! [`report`] prints.

pub mod artifact;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod contract;
pub mod doctor;
pub mod error;
pub mod event;
pub mod execute;
pub mod explain;
pub mod file_lock;
pub mod git;
pub mod infrastructure;
pub mod init;
pub mod lease;
pub mod ledger;
pub mod local;
pub mod process;
pub mod release;
pub mod report;
pub mod schema;
pub mod session;
pub mod settings;
pub mod stage;
pub mod terraform;
pub mod toolbox;
pub mod world;

/// The guide's example is compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-python-terraform.md")]
mod guide {}
