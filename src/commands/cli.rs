//! The command line. Doc comments here are the help texts; there is no logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    build, canary, completion, completions, conformance, destroy, dev, diff, explain, fleet, history, init,
    invoke, local, logs, output, plan, preview, promote, prune, redeploy, release, rollback, schema, status,
    terraform, unlock, url, validate,
};
use crate::output::Options;
use crate::platform::variables;

/// Releases serverless APIs on AWS with Terraform, Lambda and API Gateway.
///
/// A release is one immutable set (zips, function versions, one API deployment) that goes live, and back, in
/// one API call.
#[derive(Debug, Parser)]
#[command(name = "deployctl", version, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    #[doc(hidden)]
    pub(crate) global: Global,
    #[command(subcommand)]
    #[doc(hidden)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  deployctl release 1.4.2 --stage local             release to the local AWS emulator
  deployctl status --stage prd --output json        what runs, as JSON
  deployctl rollback --stage prd                    switch back to the previous release

Exit codes: 0 done · 2 usage or configuration · 3 changes (with --exit-code) · 10 preflight or build failed, nothing changed ·
20 Terraform failed · 30 the old release serves · 40 stuck, act now · 74 done, but the result was not written ·
75 another release holds the stage · 130 interrupted · 1 a bug";

/// Arguments of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The stage to work on: a [stages.<name>] of deployctl.toml
    #[arg(long, short, global = true, env = variables::STAGE, value_name = "NAME", add = completion::stages())]
    pub(crate) stage: Option<String>,
    #[command(flatten)]
    #[doc(hidden)]
    pub(crate) output: Options,
    /// Write a timeline of the command as an HTML page, by default to .deployctl/timings.html
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, value_name = "FILE")]
    pub(crate) timings: Option<Option<PathBuf>>,
    /// The configuration file; by default deployctl.toml in this folder or the nearest one above
    #[arg(long, global = true, env = variables::CONFIG, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(visible_alias = "deploy")]
    Release(release::Args),
    Plan(plan::Args),
    Build(build::Args),
    Redeploy(redeploy::Args),
    Rollback(rollback::Args),
    /// Show, promote or abort the canary of a release
    #[command(subcommand, after_help = "Example:\n  deployctl canary abort --stage prd")]
    Canary(canary::Verb),
    Promote(promote::Args),
    /// Show code that is not released at a URL of its own, and close such previews
    #[command(subcommand, after_help = "Example:\n  deployctl preview up --name pr-123 --stage dev")]
    Preview(preview::Verb),
    Dev(dev::Args),
    Status(status::Args),
    /// Plan, release and roll back many projects that need each other, each by itself
    #[command(subcommand, after_help = "Example:\n  deployctl fleet plan --changed-since origin/main")]
    Fleet(fleet::Verb),
    Url(url::Args),
    History(history::Args),
    Diff(diff::Args),
    Prune(prune::Args),
    Output(output::Args),
    Terraform(terraform::Args),
    Destroy(destroy::Args),
    /// Create the bucket of the Terraform state if it is missing: versioned, encrypted, private
    #[command(after_help = "Example:\n  deployctl bootstrap --stage dev")]
    Bootstrap,
    Unlock(unlock::Args),
    Init(init::Args),
    /// Check tools, credentials, permissions, buckets, ownership, artifacts and limits; change nothing
    ///
    /// Exit code 10 if there is a problem. Warnings do not change the exit code.
    #[command(after_help = "Example:\n  deployctl doctor --stage dev")]
    Doctor,
    Validate(validate::Args),
    Conformance(conformance::Args),
    /// Start, stop and describe the local AWS emulator (MiniStack)
    #[command(subcommand, after_help = "Example:\n  deployctl local up && eval \"$(deployctl local env)\"")]
    Local(local::Verb),
    Logs(logs::Args),
    Invoke(invoke::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}
