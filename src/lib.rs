//! deployctl releases serverless APIs on AWS. This crate is the program, and one library: [`terraform`],
//! which runs Terraform or OpenTofu and returns typed results, as python-terraform does for Python.
//!
//! ```
//! use std::path::Path;
//!
//! use deployctl::terraform::{Driver, Failure, Layer, PlanOptions, PlanOutcome, Terraform};
//! use tokio_util::sync::CancellationToken;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path().join("app");
//! # std::fs::create_dir(&dir)?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let source = r#"
//!     resource "terraform_data" "site" { input = "https://example.com" }
//!     output "url" { value = terraform_data.site.output }
//! "#;
//! std::fs::write(dir.join("main.tf"), source)?;
//! let work = folder.path().join("work");
//! # runtime.block_on(async {
//! let terraform = Terraform::locate(Path::new("terraform"), &work, &CancellationToken::new()).await?;
//! let driver = Driver::new(terraform, "dev", work.join("dev"));
//! let layer = Layer { name: "app".into(), dir, depends_on: Vec::new(), var_files: Vec::new() };
//!
//! driver.init_if_needed(&layer).await?;
//! // `apply` applies the plan file, and deletes it.
//! if let PlanOutcome::Changes(planned) = driver.plan(&layer, PlanOptions::default()).await? {
//!     driver.apply(&layer, planned).await?;
//! }
//! let outputs = driver.outputs(&layer).await?;
//! assert_eq!(outputs.get("url").unwrap().value, "https://example.com");
//! # Ok::<_, Failure>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/architecture.md` describes the modules of the program.

mod artifact;
mod aws;
mod commands;
mod delivery;
mod documents;
mod engine;
pub mod error;
mod event;
mod fleet;
mod local;
mod output;
mod platform;
mod project;
mod release;
pub mod terraform;

/// Runs the program: the command line, the command, its exit code.
#[doc(hidden)]
pub fn main() -> std::process::ExitCode {
    commands::main()
}

/// Runs the example of the guide as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-python-terraform.md")]
mod guide {}
