//! The parts of the benchmark of the peers that compute: `benches/peers`.

use std::time::Duration;

#[path = "../../benches/peers/memory.rs"]
mod memory;
#[path = "../../benches/peers/table.rs"]
mod table;

use memory::Peak;
use table::{HEAD, Run, goal, median, missing, ratio, row};

fn run(milliseconds: u64) -> Run {
    Run {
        time: Duration::from_millis(milliseconds),
        requests: 12,
        lambda: 6,
        refused: 0,
        rounds_to_switch: 3,
        own: 2048,
        tree: 4096,
    }
}

#[test]
fn the_median_is_the_run_in_the_middle() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![run(30), run(10), run(20)]), Some(run(20)));
    assert_eq!(median(vec![run(30), run(10)]), Some(run(30)));
}

#[test]
fn a_row_compares_with_deployctl() {
    let base = Some(Duration::from_secs(1));
    assert_eq!(
        row("release", "SAM", &run(1500), base),
        "| release | SAM | 1.5 s | 1.50 | 12 | 2 MB | 4 MB |"
    );
    let refused = Run { refused: 2, ..run(1500) };
    assert_eq!(
        row("rate", "SAM", &refused, None),
        "| rate | SAM | 1.5 s | – | 12, 2 refused | 2 MB | 4 MB |"
    );
}

#[test]
fn all_rows_have_the_cells_of_the_head() {
    let cells = |line: &str| line.matches('|').count();
    let expected = cells(&row("release", "SAM", &run(1), None));
    assert!(HEAD.lines().all(|line| cells(line) == expected), "{HEAD}");
    assert_eq!(cells(&missing("release", "SAM", "no disk")), expected);
}

#[test]
fn a_tool_that_did_not_run_says_why_in_one_line() {
    let row = missing("release", "SAM", "no\nsuch | thing");
    assert_eq!(row, "| release | SAM | did not run: no such \\| thing | | | | |");
    assert!(missing("release", "SAM", &"x".repeat(10_000)).len() < 400);
}

#[test]
fn a_goal_is_reached_up_to_its_limit() {
    assert_eq!(ratio(Duration::from_secs(1), Duration::from_secs(4)), 0.25);
    assert_eq!(goal("a", 0.9, 0.9), "goal: a: at most 0.90, measured 0.90: reached");
    assert_eq!(goal("a", 0.91, 0.9), "goal: a: at most 0.90, measured 0.91: not reached");
}

#[tokio::test]
async fn memory_counts_the_processes_that_a_process_started() {
    let mut command = tokio::process::Command::new("sh");
    let mut child = command.args(["-c", "sleep 10 & sleep 10"]).process_group(0).spawn().unwrap();
    let pid = child.id().unwrap();
    let mut peak = Peak::default();
    let long = Duration::from_millis(350);
    tokio::time::timeout(long, memory::watch(pid, &mut peak)).await.unwrap_err();
    assert!(peak.own > 0 && peak.tree > peak.own, "{peak:?}");
    let group = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
}
