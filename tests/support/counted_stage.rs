//! A stage behind a proxy that counts the requests of commands, and what a command costs there.

use std::time::{Duration, Instant};

use super::fake_released_stage::FakeReleasedStage;
use super::program::CommandOutput;
use super::proxy::{Proxy, ProxyCounts};
use super::stage_file::StageFile;

/// The stage. What the proxy does with requests is up to the caller.
pub(crate) struct CountedStage {
    pub(crate) fake: FakeReleasedStage,
    pub(crate) proxy: Proxy,
    stage: StageFile,
}

/// One run of a command.
pub(crate) struct Run {
    pub(crate) output: CommandOutput,
    pub(crate) time: Duration,
    pub(crate) counts: ProxyCounts,
    /// The most memory that the command had, in KiB.
    pub(crate) memory: usize,
}

impl CountedStage {
    pub(crate) async fn new() -> Self {
        let fake = FakeReleasedStage::new().await;
        let stage = fake.project.stage_file();
        Self { proxy: Proxy::start(stage.port()).await, stage, fake }
    }

    /// Runs a command behind the proxy, which then lets everything pass again.
    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        self.stage.point_at(self.proxy.port);
        let start = Instant::now();
        let child = self.fake.project.program.command(args).spawn().unwrap();
        let pid = child.id().unwrap();
        self.proxy.aim(pid);
        let mut memory = 0;
        let watch = async {
            loop {
                memory = memory.max(peak(pid));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let output = tokio::select! {
            output = child.wait_with_output() => output.unwrap(),
            () = watch => unreachable!("it watches for ever"),
        };
        let time = start.elapsed();
        self.stage.restore();
        Run { output: CommandOutput::of(output), time, counts: self.proxy.disarm(), memory }
    }
}

/// The most memory that a process has had so far, in KiB.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
