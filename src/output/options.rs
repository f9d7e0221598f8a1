//! The arguments that select what is printed, and in which format.

use crate::platform::variables;
use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Format of the result on stdout
    #[arg(long, short, global = true, env = variables::OUTPUT, value_enum, default_value_t = Output::Human)]
    pub(crate) output: Output,
    /// Format of progress on stderr
    #[arg(long, global = true, env = variables::PROGRESS, value_enum, default_value_t = ProgressMode::Auto, value_name = "FORMAT")]
    pub(crate) progress: ProgressMode,
    /// Print only errors on stderr; like --progress quiet, and overrides --progress and --log-format
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Also log requests to AWS with their ids, and the programs that run
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Format of every line on stderr; json is the same as --progress json
    #[arg(long, global = true, env = variables::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text
    Human,
    /// One JSON document
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Live lines on a terminal, details in a CI log, one line per step in a pipe
    Auto,
    /// One line per event, with details
    Plain,
    /// One line of JSON per event
    Json,
    /// No progress
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text
    Text,
    /// One JSON object per line
    Json,
}
