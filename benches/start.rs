//! The time to start: `cargo bench --bench start`. The goals are 10 ms for `--help` and 20 ms for
//! completions, including the process start.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::process::{Command, Stdio};

use criterion::{Criterion, criterion_group, criterion_main};

fn start(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("start");
    group.sample_size(50);
    for args in [&["--help"][..], &["release", "--help"], &["completions", "bash"], &["completions", "zsh"]] {
        group.bench_function(args.join(" "), |bencher| {
            bencher.iter(|| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_deployctl"));
                let status = command.args(args).stdout(Stdio::null()).status().expect("deployctl starts");
                assert!(status.success());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, start);
criterion_main!(benches);
