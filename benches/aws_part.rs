//! The part of a command that is not Terraform: `cargo bench --bench aws_part`.
//!
//! A local stage is reached through a proxy that delays each request by 60 ms, and that answers with 429, as Lambda does,
//! to more than 15 calls a second. Each row compares, in one run, the time with what the requests take that must
//! follow each other, or with what the calls take at that rate.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use support::counted_stage::{CountedStage, Run};
use support::minimal_project::SETTINGS;
use support::proxy::ProxyCounts;

const LATENCY: Duration = Duration::from_millis(60);

/// What Lambda allows an account in a second.
const RATE: usize = 15;

/// How long a version of the local stage is pending.
const PENDING: Duration = Duration::from_secs(1);

const ROUNDS: usize = 3;

struct Stage {
    counted: CountedStage,
    releases: usize,
}

impl Stage {
    /// Whether deployctl keeps to the rates of an account.
    fn pacing(&self, is_on: bool) {
        let local = format!("local = true\npacing = {is_on}\n");
        let settings = SETTINGS.replacen("local = true\n", &local, 1);
        self.counted.fake.project.write("deployctl.toml", settings);
    }

    /// Releases other bytes than ever before, without Terraform if `code_only`.
    async fn release(&mut self, code_only: bool, limit: usize) -> Run {
        self.releases += 1;
        let version = format!("1.0.{}", self.releases);
        self.counted.fake.project.build(&version);
        let release = ["release", "--version", &version];
        let code_only: &[&str] = if code_only { &["--code-only"] } else { &[] };
        self.run(&[&release[..], code_only].concat(), limit).await
    }

    async fn run(&self, args: &[&str], limit: usize) -> Run {
        self.counted.proxy.delay(LATENCY);
        self.counted.proxy.limit(limit);
        let run = self.counted.run(args).await;
        Run { output: run.output.exit(0), ..run }
    }
}

/// The run of the median time.
fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.time);
    runs.swap_remove(runs.len() / 2)
}

fn row(command: &str, functions: usize, run: &Run, least: Duration) {
    let Run { time, counts, memory, .. } = run;
    println!(
        "| {command} | {functions} | {} | {} | {:.2} s | {:.2} s | {:.2} | {} MB |",
        counts.requests,
        counts.rounds,
        least.as_secs_f64(),
        time.as_secs_f64(),
        time.as_secs_f64() / least.as_secs_f64(),
        memory / 1024
    );
}

fn serial(counts: ProxyCounts) -> Duration {
    LATENCY * u32::try_from(counts.rounds).unwrap()
}

#[tokio::main]
async fn main() {
    let mut stage = Stage { counted: CountedStage::new().await, releases: 0 };
    println!("| command | functions | requests | round trips | at least | time | ratio | memory |");
    println!("|---|---|---|---|---|---|---|---|");
    for functions in [6, 25, 75] {
        stage.counted.fake.create_functions(functions).await;
        stage.pacing(false);
        // Terraform runs once, so that code alone can be released, and the way is remembered.
        stage.release(false, 0).await;
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            runs.push(stage.release(true, 0).await);
        }
        let run = median(runs);
        row("`release --code-only`", functions, &run, serial(run.counts) + PENDING);
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            runs.push(stage.run(&["rollback"], 0).await);
        }
        let run = median(runs);
        row("`rollback`", functions, &run, serial(run.counts));
    }
    stage.pacing(true);
    let run = stage.release(true, RATE).await;
    let calls = f64::from(u32::try_from(run.counts.lambda).unwrap());
    let least = Duration::from_secs_f64(calls / f64::from(u32::try_from(RATE).unwrap())) + PENDING;
    row("`release --code-only`, 15 calls/s", 75, &run, least);
    println!("\n{} calls of Lambda, and {} refused with 429", run.counts.lambda, run.counts.refused);
}
