//! The arguments that choose what is written, where, and in which form.

use crate::platform::variables;
use clap::{Args, ValueEnum};

/// What every command takes about its output.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How the result is written to stdout; progress goes to stderr
    #[arg(long, short, global = true, env = variables::OUTPUT, value_enum, default_value_t = Output::Human)]
    pub(crate) output: Output,
    /// How progress is written to stderr
    #[arg(long, global = true, env = variables::PROGRESS, value_enum, default_value_t = ProgressMode::Auto, value_name = "FORM")]
    pub(crate) progress: ProgressMode,
    /// Nothing on stderr but the error: short for --progress quiet, and stronger
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Also tell what is done underneath: requests to AWS with their ids, programs that are run
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// The form of every line on stderr; json is --progress json, under the name that other tools give it
    #[arg(long, global = true, env = variables::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    pub(crate) log_format: LogFormat,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Human,
    /// One JSON document
    Json,
}

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
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
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}
