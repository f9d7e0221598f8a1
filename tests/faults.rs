//! Every request of a rollback goes wrong, in every way, and every request of a redeployment in the worst ways; one at a
//! time. Afterwards the stage serves exactly one release, the next command finds everything in order, and the ledger
//! says what the stage shows.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/program.rs"]
mod program;
#[path = "support/project.rs"]
mod project;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sdk.rs"]
mod sdk;
#[path = "support/view.rs"]
mod view;

use std::io::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use program::Ended;
use project::Project;
use proxy::{Fault, Proxy};
use view::View;

const ALL: [Fault; 7] = [
    Fault::Refused,
    Fault::Swallowed,
    Fault::Cut,
    Fault::Status(500),
    Fault::Status(503),
    Fault::KilledBefore,
    Fault::KilledAfter,
];

/// The three after which nobody knows whether the request took effect. A redeployment shares all but the taking of the
/// snapshot with a rollback, and four minutes more would buy little.
const UNKNOWN: [Fault; 3] = [Fault::Swallowed, Fault::KilledBefore, Fault::KilledAfter];

/// No command makes this many requests.
const FAR: usize = 200;

#[tokio::test]
async fn any_request_may_go_wrong_in_any_way() {
    let suite = Suite::new().await;
    suite.every_request_of(&["rollback"], &ALL).await;
    suite.every_request_of(&["redeploy"], &UNKNOWN).await;
}

/// Said at once and not captured: a test of some minutes must not look dead, and its counts are to be read.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "faults: {line}").ok();
}

/// A stage with two releases, and a proxy in front of it.
struct Suite {
    project: Project,
    view: View,
    proxy: Proxy,
    stage: Value,
}

impl Suite {
    async fn new() -> Self {
        let project = Project::new();
        let first = project.json(&["release", "--version", "1.0.0"]).await;
        // The same program as other bytes: what follows an executable is not loaded.
        let mut bytes = std::fs::read(project::built("users")).unwrap();
        bytes.extend_from_slice(b"another release");
        std::fs::create_dir_all(project.dir.join("dist")).unwrap();
        std::fs::write(project.dir.join("dist/bootstrap"), bytes).unwrap();
        project.edit(
            "deployctl.toml",
            "[artifacts.users]\npackage = \"users\"",
            "[artifacts.users]\npath = \"dist/bootstrap\"",
        );
        let second = project.json(&["release", "--version", "1.1.0"]).await;
        assert_ne!(first["functions"], second["functions"]);
        let view = View::of(second["url"].as_str().unwrap());
        let stage: Value = serde_json::from_slice(&std::fs::read(file(&project)).unwrap()).unwrap();
        let port = stage["port"].as_u64().unwrap().try_into().unwrap();
        Self { project, view, proxy: Proxy::start(port).await, stage }
    }

    /// Lets deployctl find the stage behind the proxy, or directly.
    fn behind(&self, port: &Value) {
        let mut stage = self.stage.clone();
        stage["port"] = port.clone();
        std::fs::write(file(&self.project), stage.to_string()).unwrap();
    }

    async fn every_request_of(&self, command: &[&str], faults: &[Fault]) {
        let start = Instant::now();
        let (mut points, mut served, mut unharmed, mut refused, mut killed) = (0, 0, 0, 0, 0);
        for &fault in faults {
            for number in 1..FAR {
                let before = self.view.pointer().await;
                self.proxy.arm(number, fault);
                self.behind(&json!(self.proxy.port));
                let child = self.project.program.command(command).spawn().unwrap();
                self.proxy.aim(child.id().unwrap());
                let ended = Ended::of(child.wait_with_output().await.unwrap());
                let fired = self.proxy.disarm();
                self.behind(&self.stage["port"]);
                match ended.code {
                    Some(0) => unharmed += 1,
                    Some(10 | 30) => refused += 1,
                    None => killed += 1,
                    _ => panic!("{fault:?} of request {number}: {ended:?}"),
                }
                served += self.check(&ended, &before).await;
                if !fired {
                    ended.exit(0).says(&["switch"]);
                    break;
                }
                points += 1;
                assert!(number + 1 < FAR, "{command:?} makes more requests than expected");
            }
        }
        tell(&format!(
            "{}: {points} points ({} of 7 faults at every request): {unharmed} succeeded all the same, {refused} refused, \
             {killed} killed; {served} requests served, 0 mixed, 0 releases lost; {:.0} s",
            command.join(" "),
            faults.len(),
            start.elapsed().as_secs_f64()
        ));
    }

    /// Exactly one release is served, and the next command finds everything in order.
    async fn check(&self, ended: &Ended, before: &Value) -> usize {
        let after = self.view.pointer().await;
        let told = || format!("{ended:?}\nbefore {before:#}\nafter  {after:#}");
        let moved = after != *before;
        assert!(
            moved || ended.code != Some(0),
            "it says that it moved the stage, which is where it was: {}",
            told()
        );
        let served = self.view.serves_one_release().await;
        let next = self.project.run(&["redeploy", "--if-stale", "--output", "json"]).await;
        assert_eq!(next.code, Some(0), "the next command: {next:?}\n{}", told());
        assert_eq!(next.json()["outcome"], "unchanged", "{}", told());
        assert_eq!(self.view.pointer().await, after, "{}", told());
        let lease = self.view.lease().await;
        assert_eq!((&lease["holder"], &lease["intent"]), (&Value::Null, &Value::Null), "{}", told());
        let newest = self.view.newest_live_record().await;
        assert_eq!(newest["pointer"], after, "the ledger: {newest:#}\n{}", told());
        served
    }
}

fn file(project: &Project) -> std::path::PathBuf {
    project.dir.join(".deployctl/local/stage.json")
}
