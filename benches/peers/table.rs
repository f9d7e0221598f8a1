//! What was measured, as rows of a Markdown table.

use std::time::Duration;

/// One run of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// The requests to AWS, without those of the local stage's own endpoints.
    pub(crate) requests: usize,
    /// The requests to Lambda's control plane that were passed on.
    pub(crate) lambda: usize,
    /// Those that were refused for their rate.
    pub(crate) refused: usize,
    /// The requests of which each had to wait for the one before it, up to the switch.
    pub(crate) rounds_to_switch: usize,
    /// The most memory of the command's own process, in KiB.
    pub(crate) own: usize,
    /// The most memory of all its processes at once, in KiB.
    pub(crate) tree: usize,
}

/// The run of the median time; of two, the slower one.
pub(crate) fn median(mut runs: Vec<Run>) -> Option<Run> {
    runs.sort_by_key(|run| run.time);
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle)
}

/// The head of the table.
pub(crate) const HEAD: &str = "| scenario | tool | time | ratio | requests | memory | with its processes |\n\
                               |---|---|---|---|---|---|---|";

/// The row of a tool. `base` is the time of deployctl.
pub(crate) fn row(scenario: &str, tool: &str, run: &Run, base: Option<Duration>) -> String {
    let Run { time, requests, refused, own, tree, .. } = run;
    let ratio = base.map_or_else(|| "–".to_owned(), |base| format!("{:.2}", ratio(*time, base)));
    let refused = if *refused == 0 { String::new() } else { format!(", {refused} refused") };
    format!(
        "| {scenario} | {tool} | {:.1} s | {ratio} | {requests}{refused} | {} MB | {} MB |",
        time.as_secs_f64(),
        own / 1024,
        tree / 1024
    )
}

/// The row of a tool that does not run here, with the reason in one line.
pub(crate) fn missing(scenario: &str, tool: &str, reason: &str) -> String {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let reason: String = reason.chars().take(300).collect();
    format!("| {scenario} | {tool} | did not run: {reason} | | | | |")
}

/// Says whether a number is at most its goal.
pub(crate) fn goal(what: &str, measured: f64, most: f64) -> String {
    let verdict = if measured <= most { "reached" } else { "not reached" };
    format!("goal: {what}: at most {most:.2}, measured {measured:.2}: {verdict}")
}

/// How many times as long as `base` a time is.
pub(crate) fn ratio(time: Duration, base: Duration) -> f64 {
    time.as_secs_f64() / base.as_secs_f64()
}
