//! The command line. Doc comments here are the help texts; there is no logic.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Nothing on stderr but the error: short for --progress quiet, and stronger
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Also tell what is done underneath: requests to AWS with their ids, programs that are run
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// The form of every line on stderr; json is --progress json, under the name that other tools give it
    #[arg(long, global = true, env = "DEPLOYCTL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    pub log_format: LogFormat,
    /// Write a timeline of the command as an HTML page; by default to .deployctl/timings.html
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "FILE")]
    pub timings: Option<PathBuf>,
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

/// The form of the lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What a command does where another one holds the stage.
#[derive(Debug, Clone, Copy, Args)]
pub struct LeaseArgs {
    /// Wait this long for a stage that another command holds, such as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| "a time has a number and a unit, such as 90s, 10m or 1h".to_owned())?;
    let day = Duration::from_secs(86_400);
    Duration::try_from(duration)
        .ok()
        .filter(|time| *time <= day)
        .ok_or_else(|| "a time is from 0s to 24h".to_owned())
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
        /// Zips that `deployctl build` has left there, released as they are: nothing is compiled
        #[arg(long, env = "DEPLOYCTL_ARTIFACTS", value_name = "DIR")]
        artifacts: Option<PathBuf>,
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
    },
    /// Print everything a release would do, Terraform included, and change nothing
    #[command(
        after_help = "Examples:\n  deployctl plan --version 1.4.2 --stage dev\n  deployctl plan --exit-code --markdown > comment.md"
    )]
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
        /// Zips that `deployctl build` has left there, released as they are: nothing is compiled
        #[arg(long, env = "DEPLOYCTL_ARTIFACTS", value_name = "DIR")]
        artifacts: Option<PathBuf>,
    },
    /// Build and check the zips, and nothing else: needs no credentials, no Terraform and no stage
    #[command(
        after_help = "Example:\n  deployctl build --into dist && deployctl release --version 1.4.2 --artifacts dist"
    )]
    Build {
        /// Where the zips go, each by the name of its artifact
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// Make a new API deployment of the current release; functions and variables stay as they are
    #[command(after_help = "Example:\n  deployctl redeploy --if-stale --stage dev")]
    Redeploy {
        /// Only when the API has changed since its deployment was made
        #[arg(long)]
        if_stale: bool,
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
    },
    /// Switch back to the release that served before, or to an earlier one
    #[command(
        after_help = "Examples:\n  deployctl rollback --stage prd\n  deployctl rollback --stage prd --to 1.4.1"
    )]
    Rollback {
        /// The version to go to, by the ledger
        #[arg(long, value_name = "V")]
        to: Option<String>,
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
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
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
    },
    /// What runs, whether it is stale, and who holds the stage
    #[command(
        after_help = "Examples:\n  deployctl status --stage prd\n  deployctl status --watch --interval 2\n  deployctl status --exit-code --output json"
    )]
    Status {
        /// Exit with 3 when the stage is stale or was changed behind deployctl's back
        #[arg(long)]
        exit_code: bool,
        /// Look again and again, until Ctrl-C: redrawn in place on a terminal, printed when it has changed otherwise
        #[arg(long, short, conflicts_with = "exit_code")]
        watch: bool,
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        interval: u64,
    },
    /// What was done to the stage
    #[command(after_help = "Example:\n  deployctl history --stage prd")]
    History,
    /// Two releases side by side: functions, bytes, API and configuration
    #[command(after_help = "Example:\n  deployctl diff 1.4.1 1.4.2 --stage prd")]
    Diff {
        /// The one version
        #[arg(value_name = "A")]
        from: String,
        /// The other
        #[arg(value_name = "B")]
        to: String,
        /// Exit with 3 when they differ in what they run
        #[arg(long)]
        exit_code: bool,
    },
    /// Delete the function versions, API deployments and zips that nothing references any more
    #[command(after_help = "Example:\n  deployctl prune --keep 10 --stage dev")]
    Prune {
        /// How many releases stay: the live one, and those that were live last
        #[arg(long, value_name = "N")]
        keep: std::num::NonZeroUsize,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
    },
    /// The outputs of all Terraform layers, as one JSON with --output json
    #[command(
        after_help = "Examples:\n  deployctl output --output json\n  deployctl output --layer base artifact_bucket"
    )]
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
    #[command(
        after_help = "Examples:\n  deployctl destroy --stage dev\n  deployctl destroy --stage local --yes --delete-releases"
    )]
    Destroy {
        /// Do not ask for the stage's name
        #[arg(long)]
        yes: bool,
        /// Delete zips and ledger from the artifact bucket, so that it can be destroyed
        #[arg(long)]
        delete_releases: bool,
        #[command(flatten)]
        #[doc(hidden)]
        lease: LeaseArgs,
    },
    /// Make the bucket of the Terraform state where it is missing: versioned, encrypted, private
    #[command(after_help = "Example:\n  deployctl bootstrap --stage dev")]
    Bootstrap,
    /// Free a stage whose holder is dead
    #[command(after_help = "Example:\n  deployctl unlock --stage dev")]
    Unlock {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Set deployctl up in a Terraform project: write deployctl.toml, print what to change as a patch
    ///
    /// Nothing but deployctl.toml is written, and that only where there is none. The patch goes to stdout, what was
    /// found and what is left to do by hand to stderr.
    #[command(
        after_help = "Examples:\n  deployctl init                     see what would change\n  deployctl init | git apply         change it\n  deployctl init --example users     a whole project in an empty folder"
    )]
    Init {
        /// Write the users API, a project that can be released at once, into DIR, which must be empty
        #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with_all = ["patch", "force"])]
        example: Option<PathBuf>,
        /// Write the patch to FILE instead of stdout
        #[arg(long, value_name = "FILE")]
        patch: Option<PathBuf>,
        /// Replace a deployctl.toml that is there
        #[arg(long)]
        force: bool,
    },
    /// Check tools, credentials, permissions, buckets, ownership, artifacts and limits, and change nothing
    ///
    /// Exit code 10 when there is a problem; warnings do not count.
    #[command(after_help = "Example:\n  deployctl doctor --stage dev")]
    Doctor,
    /// The embedded AWS of the local stage
    #[command(subcommand, after_help = "Example:\n  deployctl local up && eval \"$(deployctl local env)\"")]
    Local(LocalVerb),
    /// The logs of all functions in one stream, in the order of their time
    ///
    /// Read from CloudWatch Logs. With --follow it goes on until Ctrl-C, which ends it with exit code 0.
    #[command(
        after_help = "Examples:\n  deployctl logs --since 1h\n  deployctl logs --follow --function users_get\n  deployctl logs --release 1.4.2 --output json | jq -r .message"
    )]
    Logs(Logs),
    /// Invoke a function and print its result: the version that is live, or that of a release in the ledger
    ///
    /// Exit code 3 when the function itself answered with an error; its result is printed all the same.
    #[command(
        after_help = "Examples:\n  deployctl invoke users_get --payload '{\"httpMethod\":\"GET\",\"path\":\"/demo/users\"}'\n  deployctl invoke users_get --payload @event.json --release 1.4.1\n  echo '{}' | deployctl invoke users_get --payload - --log-tail"
    )]
    Invoke(Invoke),
    /// What an exit code or an error means, what is live then, and what to do; without an argument, all of them
    #[command(after_help = "Examples:\n  deployctl explain lease.held\n  deployctl explain 30")]
    Explain {
        /// An exit code, or the name of an error, as it stands in brackets before its message
        what: Option<String>,
    },
    /// The JSON Schema of deployctl.toml or of a document that --output json prints; without an argument, their names
    #[command(
        after_help = "Examples:\n  deployctl schema config > deployctl.schema.json\n  deployctl schema release"
    )]
    Schema {
        /// Its name, or that of a command
        name: Option<String>,
    },
    /// Completions for a shell
    #[command(
        after_help = "Examples:\n  deployctl completions bash > ~/.local/share/bash-completion/completions/deployctl\n  deployctl completions fish > ~/.config/fish/completions/deployctl.fish"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Man pages: that of deployctl, or one file for each command
    #[command(
        after_help = "Examples:\n  deployctl man | man -l -\n  deployctl man --dir ~/.local/share/man/man1"
    )]
    Man {
        /// The folder to write all pages to
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Which logs are shown.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on with what is logged from now on, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Only this function: its key, or its full name (may be given several times)
    #[arg(long, value_name = "KEY")]
    pub function: Vec<String>,
    /// From when on: a length of time such as 10m, 2h or 1d, or a point in time such as 2026-11-25T16:00:00Z
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub since: String,
    /// Only what the function versions of this release logged, by the ledger
    #[arg(long, value_name = "V")]
    pub release: Option<String>,
}

/// What is invoked.
#[derive(Debug, Args)]
pub struct Invoke {
    /// The function: its key, or its full name
    pub function: String,
    /// What it gets: JSON, @FILE, or - for standard input
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    pub payload: String,
    /// The release whose version is invoked, by the ledger; the live one by default
    #[arg(long, value_name = "V")]
    pub release: Option<String>,
    /// Also print the last 4 KB of what it logged, on stderr
    #[arg(long)]
    pub log_tail: bool,
}

/// The commands of the embedded AWS.
#[derive(Debug, Subcommand)]
pub enum LocalVerb {
    /// Start it, unless it runs already
    #[command(after_help = "Example:\n  deployctl local up")]
    Up,
    /// Stop it; it forgets everything
    #[command(after_help = "Example:\n  deployctl local down")]
    Down,
    /// Print the shell exports with which the AWS CLI, Terraform and the SDKs reach it
    #[command(after_help = "Example:\n  eval \"$(deployctl local env)\" && aws apigateway get-rest-apis")]
    Env,
}
