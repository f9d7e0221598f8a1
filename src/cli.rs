//! The command line. Doc comments here are the help texts; there is no logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Releases serverless APIs on AWS: Terraform owns what exists, deployctl owns what runs.
///
/// A release is one immutable set (zips, function versions, one API deployment) that goes live, and back, in
/// one API call.
#[derive(Debug, Parser)]
#[command(name = "deployctl", version, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    #[doc(hidden)]
    pub global: Global,
    #[command(subcommand)]
    #[doc(hidden)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  deployctl release --version 1.4.2 --stage local   release to the embedded AWS on this machine
  deployctl status --stage prd --output json        what runs, for a script
  deployctl rollback --stage prd                    back to what served before, in one call

Exit codes: 0 done · 2 usage or configuration · 3 changes (with --exit-code) · 10 preflight or build failed, nothing changed ·
20 Terraform failed · 30 the old release serves · 40 stuck, act now ·
75 another release holds the stage · 130 interrupted · 1 a bug";

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The stage to work on: a [stages.<name>] of deployctl.toml
    #[arg(long, short, global = true, env = "DEPLOYCTL_STAGE", value_name = "NAME")]
    pub stage: Option<String>,
    /// How the result is written to stdout; progress goes to stderr
    #[arg(long, short, global = true, env = "DEPLOYCTL_OUTPUT", value_enum, default_value_t = Output::Human)]
    pub output: Output,
    /// How progress is written to stderr
    #[arg(long, global = true, env = "DEPLOYCTL_PROGRESS", value_enum, default_value_t = ProgressMode::Auto, value_name = "FORM")]
    pub progress: ProgressMode,
    /// The configuration; by default deployctl.toml in this folder or the nearest above it
    #[arg(long, global = true, env = "DEPLOYCTL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Human,
    /// One JSON document
    Json,
}

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A living line on a terminal, details in a CI log, a line for each step in a pipe
    Auto,
    /// Details, a line each
    Plain,
    /// Every event as a line of JSON
    Json,
    /// None
    Quiet,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build, apply Terraform, upload, publish, deploy the API, and switch the stage to the new release
    #[command(after_help = "Example:\n  deployctl release --version 1.4.2 --stage dev")]
    Release {
        /// The version: 1 to 64 letters, digits, '.', '-' and '_'
        #[arg(long, env = "DEPLOYCTL_VERSION", value_name = "V")]
        version: String,
        /// Let Terraform destroy or replace this protected resource (may be given several times)
        #[arg(long, value_name = "ADDRESS")]
        allow_destroy: Vec<String>,
    },
    /// Print everything a release would do, Terraform included, and change nothing
    Plan {
        /// The version to plan for; the live one by default
        #[arg(long, value_name = "V")]
        version: Option<String>,
        /// Exit with 3 when a release would change something
        #[arg(long)]
        exit_code: bool,
        /// Markdown instead of plain text, for a comment on a pull request
        #[arg(long)]
        markdown: bool,
        /// Allow the plan to destroy or replace this protected resource (may be given several times)
        #[arg(long, value_name = "ADDRESS")]
        allow_destroy: Vec<String>,
    },
    /// Make a new API deployment of the current release; functions and variables stay as they are
    Redeploy {
        /// Only when the API has changed since its deployment was made
        #[arg(long)]
        if_stale: bool,
    },
    /// Switch back to the release that served before, or to an earlier one
    Rollback {
        /// The version to go to, by the ledger
        #[arg(long, value_name = "V")]
        to: Option<String>,
    },
    /// Release on another stage the very bytes that one stage runs, proven by hash, without building
    #[command(after_help = "Example:\n  deployctl promote --version 1.4.2 --from dev --to prd")]
    Promote {
        /// The version: it must have been live on the stage that it comes from
        #[arg(long, env = "DEPLOYCTL_VERSION", value_name = "V")]
        version: String,
        /// The stage that it comes from
        #[arg(long, value_name = "STAGE")]
        from: String,
        /// The stage that it goes to
        #[arg(long, value_name = "STAGE", conflicts_with = "stage")]
        to: String,
        /// Let Terraform destroy or replace this protected resource (may be given several times)
        #[arg(long, value_name = "ADDRESS")]
        allow_destroy: Vec<String>,
    },
    /// What runs, whether it is stale, and who holds the stage
    Status {
        /// Exit with 3 when the stage is stale or was changed behind deployctl's back
        #[arg(long)]
        exit_code: bool,
    },
    /// What was done to the stage
    History,
    /// The outputs of all Terraform layers, as one JSON with --output json
    Output {
        /// Only this layer's
        #[arg(long, value_name = "LAYER")]
        layer: Option<String>,
        /// Show secrets as well
        #[arg(long)]
        show_sensitive: bool,
        /// Only this output, bare
        name: Option<String>,
    },
    /// Run any Terraform command in a layer, with the stage's state, variables and environment
    ///
    /// The terminal, the output and the exit code are Terraform's own, whatever --output says. No guard and no lease
    /// stand before it. A workspace that is selected here counts for what is run here: releases use the default one.
    #[command(after_help = "Example:\n  deployctl terraform app --stage dev -- state list")]
    Terraform {
        /// The layer
        layer: String,
        /// Terraform's own arguments
        #[arg(last = true, required = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Destroy everything of a stage, last layer first
    Destroy {
        /// Do not ask for the stage's name
        #[arg(long)]
        yes: bool,
        /// Delete zips and ledger from the artifact bucket, so that it can be destroyed
        #[arg(long)]
        delete_releases: bool,
    },
    /// Make the bucket of the Terraform state where it is missing: versioned, encrypted, private
    Bootstrap,
    /// Free a stage whose holder is dead
    Unlock {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// The embedded AWS of the local stage
    #[command(subcommand)]
    Local(LocalVerb),
}

/// The commands of the embedded AWS.
#[derive(Debug, Subcommand)]
pub enum LocalVerb {
    /// Start it, unless it runs already
    Up,
    /// Stop it; it forgets everything
    Down,
    /// Print the shell exports with which the AWS CLI, Terraform and the SDKs reach it
    #[command(after_help = "Example:\n  eval \"$(deployctl local env)\" && aws apigateway get-rest-apis")]
    Env,
}
