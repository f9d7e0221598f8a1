//! The speed of parsing Terraform's event stream: `cargo bench --bench terraform_messages`. The goal is 200
//! MB/s.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deployctl::terraform::messages::Message;

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/fixtures/terraform/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the recorded streams are part of the repository")
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for name in ["apply", "noplan", "locked"] {
        // About a megabyte, which does not fit into the L1 cache.
        let once = recorded(name);
        let stream = once.repeat(1_000_000 / once.len() + 1);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                stream
                    .lines()
                    .map(|line| usize::from(Message::parse(black_box(line)).is_some()))
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
