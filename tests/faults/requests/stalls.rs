//! A command stalls in one of its requests for longer than its lease's term, another one takes the stage over and
//! releases, and the first one goes on.
//!
//! Nobody waits 90 s for that: the second command sees dates of S3 that are 100 s later, so that the first one's lease
//! seems old to it, while the first one's own clock has noticed nothing. That is the harder case: a command whose clock
//! goes on knows itself that it is late.

use std::collections::BTreeSet;

use super::*;

/// Longer than a lease's term.
const AHEAD: i64 = 100;

/// What stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stalled {
    Release,
    /// A release that does not pass its checks.
    FailingRelease,
    Redeploy,
    Rollback,
}

/// All of it.
pub(crate) const STALLED: [Stalled; 4] =
    [Stalled::Release, Stalled::FailingRelease, Stalled::Redeploy, Stalled::Rollback];

#[derive(Debug, Default)]
struct Counts {
    points: usize,
    done: usize,
    lost: usize,
    refused: usize,
    late: usize,
    served: usize,
}

impl Suite {
    /// Lets `command` stall in each request that `which` picks: the request is held before it takes effect, or the
    /// whole command is stopped after it.
    pub(crate) async fn stalls(&self, command: Stalled, which: impl Fn(usize) -> bool) {
        let start = Instant::now();
        let second = Proxy::start(self.stage.port()).await;
        second.shift_date(AHEAD);
        std::fs::write(self.failing(), self.failing_settings()).unwrap();
        let mut counts = Counts::default();
        'requests: for number in (1..MAX_REQUESTS).filter(|number| which(*number)) {
            for fault in [Fault::Held, Fault::Stopped] {
                if !self.stall(command, fault, number, &second, &mut counts).await {
                    break 'requests;
                }
            }
        }
        let Counts { points, done, lost, refused, late, served } = counts;
        assert!(points > 0 && lost > 0, "{command:?}: {counts:?}");
        progress::print(
            "faults",
            &format!(
                "{command:?} stalls while another command releases: {points} points: {lost} told that the stage was lost, {done} done, \
             {refused} refused, {late} calls came late; {served} requests served, 0 mixed, 0 operations missing in the ledger; {:.0} s",
                start.elapsed().as_secs_f64()
            ),
        );
    }

    /// One stall; `false` when the command made fewer requests.
    async fn stall(
        &self,
        command: Stalled,
        fault: Fault,
        number: usize,
        second: &Proxy,
        counts: &mut Counts,
    ) -> bool {
        let before = self.local.numbers().await;
        let (first_version, second_version) =
            (format!("5.{number}.{before}"), format!("6.{number}.{before}"));
        build(&self.project, &first_version);
        let failing = self.failing();
        let args: Vec<&str> = match command {
            Stalled::Release => vec!["release", "--version", &first_version],
            Stalled::FailingRelease => {
                vec!["release", "--version", &first_version, "--config", failing.to_str().unwrap()]
            }
            Stalled::Redeploy => vec!["redeploy"],
            Stalled::Rollback => vec!["rollback"],
        };
        self.proxy.arm(number, fault);
        self.stage.point_at(self.proxy.port);
        let first = self.program.command(&args).spawn().unwrap();
        self.proxy.aim(first.id().unwrap());
        let first = tokio::spawn(async move { CommandOutput::of(first.wait_with_output().await.unwrap()) });
        let ended_first = tokio::select! {
            () = self.proxy.fired() => false,
            () = async { while !first.is_finished() { tokio::time::sleep(std::time::Duration::from_millis(20)).await } } => true,
        };
        if ended_first {
            self.proxy.disarm();
            self.stage.restore();
            first.await.unwrap();
            return false;
        }
        build(&self.project, &second_version);
        self.stage.point_at(second.port);
        let other = self.program.run(&["release", "--version", &second_version]).await;
        self.proxy.let_go();
        let first = first.await.unwrap();
        self.proxy.disarm();
        self.stage.restore();

        let place = format!("{fault:?} of request {number} of {args:?}");
        other.exit(0);
        counts.points += 1;
        match first.code {
            Some(0) => counts.done += 1,
            Some(75) => {
                assert!(first.stderr.contains("another command"), "{place}: {first:?}");
                counts.lost += 1;
            }
            Some(10 | 30) => counts.refused += 1,
            _ => panic!("{place}: {first:?}"),
        }
        counts.served += self.local.serves_one_release().await;
        let now = self.local.pointer_record().await;
        if now["variables"]["release"] != second_version.as_str() {
            counts.late += 1;
        }
        self.ledger_tells_all(before, &second_version, &now, &place).await;
        // Whoever comes next finds everything in order.
        let next = self.program.run(&["redeploy", "--if-stale", "--output", "json"]).await;
        assert_eq!(next.code, Some(0), "{place}: {next:?}");
        assert_eq!(self.local.pointer_record().await, now, "{place}: {next:?}");
        true
    }

    /// Each operation has one record, and what was released and what serves is among them.
    async fn ledger_tells_all(&self, before: usize, version: &str, now: &Value, place: &str) {
        let last = self.local.numbers().await;
        let mut operations = BTreeSet::new();
        let mut records = Vec::new();
        for number in before.max(1)..=last {
            let record = self.local.record(number).await;
            let operation = (record["at"].to_string(), record["release"]["version"].to_string());
            assert!(operations.insert(operation), "{place}: record {number} repeats another: {record:#}");
            records.push(record);
        }
        assert!(
            records
                .iter()
                .any(|record| record["release"]["version"] == version && record["outcome"] == "live"),
            "{place}: the ledger does not tell of {version}: {records:#?}"
        );
        let told =
            records.iter().any(|record| record["pointer"] == *now || record["before"]["pointer"] == *now);
        assert!(told, "{place}: the ledger does not tell what serves: {now:#}, {records:#?}");
    }

    fn failing(&self) -> PathBuf {
        self.project.dir.join("failing.toml")
    }

    /// The project with a check that no release passes.
    fn failing_settings(&self) -> String {
        let settings = std::fs::read_to_string(self.project.dir.join("deployctl.toml")).unwrap();
        format!("{settings}\n[[checks]]\nrequest = \"GET /demo/users\"\nstatus = 299\n")
    }
}
