//! Every request of a release, a promotion, a rollback and a redeployment goes wrong, in every way, one at a time,
//! and so does every one of a prune that may change something.
//! Afterwards the stage serves exactly one release, the next command finds everything in order, the ledger says what
//! the stage shows, and the command that failed succeeds when it is run again.
//!
//! Terraform is real where the stages are made. In front of the points it is a program that finds nothing to change,
//! at once: its requests are not deployctl's, and a thousand real plans would take hours.

mod stalls;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::caller::Caller;
use crate::support::deployed_stage::DeployedStage;
use crate::support::example_project::ExampleProject;
use crate::support::program::{CommandOutput, Program};
use crate::support::progress;
use crate::support::proxy::{Fault, Proxy, ProxyCounts};
use crate::support::stage_file::StageFile;
use crate::support::traffic::{self, ReleaseMarks};

const ALL: [Fault; 14] = [
    Fault::KilledAfter,
    Fault::KilledBefore,
    Fault::Swallowed,
    Fault::Interrupted,
    Fault::Terminated,
    Fault::Refused,
    Fault::Cut,
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(429),
    Fault::Delayed,
    Fault::SilentAfter,
    Fault::SilentBefore,
    Fault::Conflict(2),
];

/// Seconds that a call may take. Whoever gets no answer is to notice in the time of a test, and no call is to be late on
/// a machine that is busy.
const CALL_TIMEOUT: &str = "4";

/// No command makes this many requests.
const MAX_REQUESTS: usize = 200;

/// What the users API says its answers are.
const TYPE: &str = "application/json";

/// The two releases between which each stage goes back and forth.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// What fits into a minute or two for each command: a fault for each request, or for each third one, in turn.
#[tokio::test]
async fn requests_go_wrong() {
    let suite = Suite::new().await;
    let commands = [
        // First, because it reads every record of the source's ledger, which grows with the others.
        (Command::Promote, 3),
        (Command::Rollback, 1),
        (Command::Redeploy, 1),
        (Command::Release, 3),
        (Command::Prune, 1),
    ];
    for (command, each) in commands {
        let fault = |number: usize| (number % each == 1 % each).then(|| ALL[number / each % ALL.len()]);
        suite.requests_of(command, |number| fault(number).into_iter().collect()).await;
    }
    for command in stalls::STALLED {
        suite.stalls(command, |number| number % 13 == 6).await;
    }
    suite.many_at_once(2).await;
    suite.many_at_once(10).await;
    suite.moves_under_traffic(10).await;
}

#[tokio::test]
#[ignore = "30 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn commands_stall_at_every_request_while_another_one_releases() {
    let suite = Suite::new().await;
    for command in stalls::STALLED {
        suite.stalls(command, |_| true).await;
    }
}

#[tokio::test]
#[ignore = "5 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn every_fault_at_every_request_of_a_rollback() {
    Suite::new().await.requests_of(Command::Rollback, |_| ALL.to_vec()).await;
}

#[tokio::test]
#[ignore = "10 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn every_fault_at_every_request_of_a_redeployment() {
    Suite::new().await.requests_of(Command::Redeploy, |_| ALL.to_vec()).await;
}

#[tokio::test]
#[ignore = "40 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn every_fault_at_every_request_of_a_release() {
    Suite::new().await.requests_of(Command::Release, |_| ALL.to_vec()).await;
}

#[tokio::test]
#[ignore = "40 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn every_fault_at_every_request_of_a_promotion() {
    Suite::new().await.requests_of(Command::Promote, |_| ALL.to_vec()).await;
}

#[tokio::test]
#[ignore = "5 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn every_fault_at_every_write_of_a_prune() {
    Suite::new().await.requests_of(Command::Prune, |_| ALL.to_vec()).await;
}

#[tokio::test]
#[ignore = "3 minutes: cargo test --test stages faults -- --ignored --nocapture"]
async fn fifty_releases_and_rollbacks_under_traffic() {
    Suite::new().await.moves_under_traffic(50).await;
}

/// What is done to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Release,
    Promote,
    Rollback,
    Redeploy,
    Prune,
}

/// Two stages, each of which knows both releases, and a proxy in front of them.
struct Suite {
    project: ExampleProject,
    /// deployctl where Terraform has nothing to do.
    program: Program,
    local: DeployedStage,
    caller: Caller,
    next: DeployedStage,
    proxy: Proxy,
    stage: StageFile,
    /// The sha256 of each zip, by its key.
    hashes: BTreeMap<String, String>,
}

/// What became of the points of one command.
#[derive(Debug, Default)]
struct Counts {
    points: usize,
    unharmed: usize,
    refused: usize,
    interrupted: usize,
    killed: usize,
    served: usize,
}

impl Suite {
    async fn new() -> Self {
        let project = ExampleProject::new();
        project.edit(
            "deployctl.toml",
            "# A real account looks like this:",
            "[stages.next]\nlocal = true\nvariables = { artifact_bucket_force_destroy = true, authorization = \"none\", redis_transit_encryption = \"off\" }\n",
        );
        // Builds the Lambdas, and makes the first stage. What follows deals with bytes, and not with cargo.
        project.json(&["release", "--version", "0.1.0"]).await;
        for name in ["users", "authorizer"] {
            let (from, to) = (
                format!("[artifacts.{name}]\npackage = \"{name}\""),
                format!("[artifacts.{name}]\npath = \"dist/{name}\""),
            );
            project.edit("deployctl.toml", &from, &to);
        }
        let program = project.program.clone().with("DEPLOYCTL_TERRAFORM", nothing_to_change(&project));
        let mut stages = Vec::new();
        for (number, version) in VERSIONS.into_iter().enumerate() {
            build(&project, version);
            let release = ["release", "--version", version, "--output", "json"];
            stages.push(program.run(&release).await.exit(0).json());
            let promote =
                ["promote", "--version", version, "--from", "local", "--to", "next", "--output", "json"];
            let terraform = if number == 0 { &project.program } else { &program };
            stages.push(terraform.run(&promote).await.exit(0).json());
        }
        let mut hashes = BTreeMap::new();
        let (local, next) = (DeployedStage::of(&stages[2]).await, DeployedStage::of(&stages[3]).await);
        for view in [&local, &next] {
            for number in 1..=view.numbers().await {
                let record = view.record(number).await;
                for artifact in record["release"]["artifacts"].as_object().unwrap().values() {
                    let sha256 = crate::support::digest::base64_of_hex(artifact["sha256"].as_str().unwrap());
                    let known = hashes.insert(artifact["key"].as_str().unwrap().to_owned(), sha256.clone());
                    assert!(known.is_none_or(|known| known == sha256), "both stages have the same bytes");
                }
            }
        }
        let stage = StageFile::of(&project.dir);
        let caller = Caller::of(&stages[2]);
        Self { program, local, caller, next, proxy: Proxy::start(stage.port()).await, stage, hashes, project }
    }

    fn view(&self, command: Command) -> &DeployedStage {
        if command == Command::Promote { &self.next } else { &self.local }
    }

    /// The command line that moves the stage on.
    async fn args(&self, command: Command) -> Vec<String> {
        let pointer = self.view(command).pointer_record().await;
        let live = pointer["variables"]["release"].as_str().unwrap();
        let other = VERSIONS.into_iter().find(|version| *version != live).unwrap();
        let words = match command {
            Command::Rollback => vec!["rollback"],
            Command::Redeploy => vec!["redeploy"],
            Command::Prune => {
                // Leaves a deployment behind that nothing refers to.
                self.program.run(&["redeploy"]).await.exit(0);
                vec!["prune", "--keep", "2", "--yes"]
            }
            Command::Release => {
                build(&self.project, other);
                vec!["release", "--version", other]
            }
            Command::Promote => vec!["promote", "--version", other, "--from", "local", "--to", "next"],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// Lets each request go wrong, in the ways that `faults` tells for its number.
    async fn requests_of(&self, command: Command, faults: impl Fn(usize) -> Vec<Fault>) {
        let start = Instant::now();
        let mut counts = Counts::default();
        'requests: for number in 1.. {
            assert!(number < MAX_REQUESTS, "{command:?} makes more requests than expected");
            for fault in faults(number) {
                if !self.point(command, fault, number, &mut counts).await {
                    break 'requests;
                }
            }
        }
        let Counts { points, unharmed, refused, interrupted, killed, served } = counts;
        let ProxyCounts { requests, at_once, .. } = self.proxy.disarm();
        let what = if command == Command::Prune { "writes" } else { "requests" };
        progress::print(
            "faults",
            &format!(
                "{command:?}: {requests} {what}, at most {at_once} at once; {points} points: {unharmed} succeeded all the \
             same, {refused} refused, {interrupted} stopped when told to, {killed} killed; {served} requests served, 0 mixed, 0 releases lost; {:.0} s",
                start.elapsed().as_secs_f64()
            ),
        );
    }

    /// One fault at one request; `false` when the command made fewer.
    async fn point(&self, command: Command, fault: Fault, number: usize, counts: &mut Counts) -> bool {
        let view = self.view(command);
        let args = self.args(command).await;
        let before = view.pointer_record().await;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if let Command::Release | Command::Promote = command {
            view.forget_zips().await;
        }
        match command {
            // What it reads grows with the ledger, and so with every point.
            Command::Prune => self.proxy.arm_writes(number, fault),
            _ => self.proxy.arm(number, fault),
        }
        self.stage.point_at(self.proxy.port);
        let program = self.program.clone().with("DEPLOYCTL_CALL_TIMEOUT", CALL_TIMEOUT);
        let child = program.command(&args).spawn().unwrap();
        self.proxy.aim(child.id().unwrap());
        let ended = CommandOutput::of(child.wait_with_output().await.unwrap());
        let fired = self.proxy.disarm().fired;
        self.stage.restore();

        let place = format!("{fault:?} of request {number} of {args:?}");
        match ended.code {
            Some(0) => counts.unharmed += 1,
            Some(10 | 30) => counts.refused += 1,
            Some(130) => {
                assert!(matches!(fault, Fault::Interrupted | Fault::Terminated), "{place}: {ended:?}");
                counts.interrupted += 1;
            }
            None => counts.killed += 1,
            _ => panic!("{place}: {ended:?}"),
        }
        counts.served += self.check(view, &ended, (command, &before), &place).await;
        if !fired {
            ended.exit(0).says(&[if command == Command::Prune { "delete" } else { "switch" }]);
            return false;
        }
        counts.points += 1;
        // What did not come to its end does so when it is run again.
        if view.pointer_record().await == before {
            let again = self.program.run(&args).await;
            assert_eq!(again.code, Some(0), "{place}, run again: {again:?}");
            if command == Command::Prune {
                let rest = self.program.run(&["prune", "--keep", "2"]).await;
                assert!(rest.stdout.contains("nothing to delete"), "{place}, run again: {rest:?}");
            } else {
                assert_ne!(view.pointer_record().await, before, "{place}, run again");
            }
            counts.served += view.serves_one_release().await;
        }
        true
    }

    /// Exactly one release is served, and the next command finds everything in order.
    async fn check(
        &self,
        view: &DeployedStage,
        ended: &CommandOutput,
        (command, before): (Command, &Value),
        place: &str,
    ) -> usize {
        let after = view.pointer_record().await;
        let told = || format!("{place}: {ended:?}\nbefore {before:#}\nafter  {after:#}");
        let moved = after != *before;
        if command == Command::Prune {
            assert!(!moved, "a prune moved the stage: {}", told());
        } else {
            assert!(
                moved || ended.code != Some(0),
                "it says that it moved the stage, which is where it was: {}",
                told()
            );
        }
        let nothing_moved = matches!(ended.code, Some(10 | 30 | 130));
        assert!(!moved || !nothing_moved, "it says that nothing was moved: {}", told());
        if ended.code == Some(130) {
            let says = ["the stage serves what it served", "what is live is unchanged"];
            assert!(says.iter().any(|words| ended.stderr.contains(words)), "what is live? {}", told());
        }
        let served = view.serves_one_release().await;
        view.zips_are(&self.hashes).await;
        let args = ["redeploy", "--if-stale", "--stage", &view.stage, "--output", "json"];
        let next = self.program.run(&args).await;
        assert_eq!(next.code, Some(0), "the next command: {next:?}\n{}", told());
        assert_eq!(next.json()["outcome"], "unchanged", "{}", told());
        assert_eq!(view.pointer_record().await, after, "{}", told());
        let lease = view.lease().await;
        assert_eq!((&lease["holder"], &lease["intent"]), (&Value::Null, &Value::Null), "{}", told());
        let newest = view.newest_live_record().await;
        assert_eq!(newest["pointer"], after, "the ledger: {newest:#}\n{}", told());
        assert_eq!(newest, lease["head"]["current"], "what the lease says of the ledger: {}", told());
        served
    }

    /// Releases that are started at once: who holds the stage works, the others are told, and none interleave.
    async fn many_at_once(&self, count: usize) {
        let from = self.local.numbers().await;
        build(&self.project, VERSIONS[0]);
        let starts = (0..count).map(|number| {
            let version = format!("2.{count}.{number}");
            let program = self.program.clone();
            async move { program.run(&["release", "--version", &version]).await }
        });
        let ended = futures::future::join_all(starts).await;
        let won = ended.iter().filter(|ended| ended.code == Some(0)).count();
        for ended in &ended {
            match ended.code {
                Some(0) => {}
                Some(75) => assert!(ended.stderr.contains("another command holds stage local"), "{ended:?}"),
                _ => panic!("{ended:?}"),
            }
        }
        assert!(won >= 1, "nobody won");
        let served = self.local.serves_one_release().await;
        let to = self.local.numbers().await;
        assert_eq!(to - from, won, "each winner has one record, and nobody else has");
        let mut before = self.local.record(from).await["pointer"].clone();
        for number in from + 1..=to {
            let record = self.local.record(number).await;
            assert_eq!(
                record["before"]["pointer"], before,
                "record {number} did not begin where the last one ended"
            );
            before = record["pointer"].clone();
        }
        assert_eq!(self.local.pointer_record().await, before);
        progress::print(
            "faults",
            &format!(
                "{count} releases started at once: {won} went live one after the other, {} were told who holds the stage; \
             {served} requests served, 0 mixed",
                count - won
            ),
        );
    }
}

impl Suite {
    /// Clients who ask all the while that the stage is released to and rolled back.
    async fn moves_under_traffic(&self, count: usize) {
        let stop = CancellationToken::new();
        let moves = async {
            let mut releases =
                vec![ReleaseMarks::of(&self.program.run(&["status", "--output", "json"]).await.json(), TYPE)];
            for number in 0..count {
                let version = format!("3.0.{number}");
                let args = match number % 2 {
                    0 => {
                        build(&self.project, &version);
                        vec!["release", "--version", &version, "--output", "json"]
                    }
                    _ => vec!["rollback", "--output", "json"],
                };
                releases.push(ReleaseMarks::of(&self.program.run(&args).await.exit(0).json(), TYPE));
            }
            stop.cancel();
            releases
        };
        let (releases, seen) = tokio::join!(moves, traffic::drive(&self.caller, &stop));
        let counts = traffic::assert_consistent(&seen, &releases);
        progress::print("faults", &format!("{count} releases and rollbacks under traffic: {counts}"));
    }
}

/// Makes the executables of `version`: the same programs as other bytes, since what follows one is not loaded.
fn build(project: &ExampleProject, version: &str) {
    let folder = project.dir.join("dist");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["users", "authorizer"] {
        let mut bytes = std::fs::read(project.built(name)).unwrap();
        bytes.extend_from_slice(version.as_bytes());
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A Terraform that finds nothing to change, and is real for everything but plans.
fn nothing_to_change(project: &ExampleProject) -> PathBuf {
    let lines = concat!(
        r#"{"@level":"info","@message":"Terraform 1.11.4","type":"version","terraform":"1.11.4","ui":"1.2"}"#,
        "\n",
        r#"{"@level":"info","@message":"Plan: 0 to add","type":"change_summary","changes":{"add":0,"change":0,"import":0,"remove":0,"operation":"plan"}}"#
    );
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = plan ]; then\ncat <<'END'\n{lines}\nEND\nexit 0\nfi\nexec terraform \"$@\"\n"
    );
    let path = project.dir.join("nothing-to-change");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
