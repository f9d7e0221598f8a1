//! What a command costs: its requests with seven functions, and its memory with as many as a stage can hold.

use std::io::Write as _;

use serde_json::{Value, json};

use super::bare::Bare;
use super::program::Ended;
use super::proxy::{Fault, Proxy, Told};

/// A request that no command gets to: nothing goes wrong.
const NEVER: usize = usize::MAX;

/// As many as there are stage variables, but for the one that names the release.
const MOST: usize = 99;

#[tokio::test]
async fn what_commands_cost() {
    let site = Site::new().await;
    site.bare.has_functions(7).await;
    site.release("1.0.0").await;
    let (_, told, _) = site.release("1.1.0").await;
    tell(&format!("release of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));

    let (rollback, told, _) = site.through_the_proxy(&["rollback"]).await;
    assert_eq!(rollback["version"], "1.0.0");
    tell(&format!("rollback of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));
    assert!(told.requests <= 20, "a rollback of 7 functions takes {} requests", told.requests);
    let told = site.slowly(&["rollback"]).await;
    tell(&format!(
        "rollback of 7 functions: {} round trips to its switch, {} in all",
        told.rounds_to_switch, told.rounds
    ));
    assert!((1..=4).contains(&told.rounds_to_switch), "{told:?}");
    // And forth again.
    site.through_the_proxy(&["rollback"]).await;

    let (status, told, _) = site.through_the_proxy(&["status"]).await;
    assert_eq!((&status["version"], &status["drift"]), (&json!("1.0.0"), &json!([])));
    tell(&format!("status of 7 functions: {} requests, at most {} at once", told.requests, told.at_once));
    assert!(told.requests <= 10, "the status of 7 functions takes {} requests", told.requests);

    // Code that deployctl knows nothing of: the ledger is read for it.
    let bytes = deployctl::artifact::archive::zip(
        "hand",
        &[deployctl::artifact::archive::Entry { name: "bootstrap", bytes: b"by hand", executable: true }],
    );
    let update = site.bare.lambda.update_function_code().function_name("small-3");
    update.zip_file(bytes.unwrap().bytes.into()).send().await.unwrap();
    let (status, told, _) = site.through_the_proxy(&["status"]).await;
    assert_eq!(status["drift"].as_array().map(Vec::len), Some(1), "{status:#}");
    tell(&format!("status where code was changed by hand: {} requests", told.requests));

    let before = site.versions(7).await;
    for _ in 0..2 {
        let (again, told, _) = site.through_the_proxy(&["release", "--version", "1.1.0"]).await;
        assert_eq!(again["outcome"], "released");
        tell(&format!("the same release again: {} requests", told.requests));
    }
    assert_eq!(site.versions(7).await, before, "nothing has changed, so nothing is published");

    site.bare.has_functions(MOST).await;
    let (many, told, memory) = site.release("2.0.0").await;
    assert_eq!(many["functions"].as_object().unwrap().len(), MOST);
    tell(&format!(
        "release of {MOST} functions: {} requests, at most {} at once, {memory} KiB of memory at most",
        told.requests, told.at_once
    ));
    assert!(told.at_once >= 8, "functions are released beside each other");
    assert!(memory < 200 * 1024, "{memory} KiB");
}

/// Said at once and not captured: the numbers are to be read.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "cost: {line}").ok();
}

/// A site behind a proxy that counts.
struct Site {
    bare: Bare,
    proxy: Proxy,
    stage: Value,
}

impl Site {
    async fn new() -> Self {
        let bare = Bare::new().await;
        let file = bare.small.path().join(".deployctl/local/stage.json");
        let stage: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let port = stage["port"].as_u64().unwrap().try_into().unwrap();
        Self { proxy: Proxy::start(port).await, stage, bare }
    }

    /// Releases other bytes than ever before.
    async fn release(&self, version: &str) -> (Value, Told, usize) {
        self.bare.build(version);
        self.through_the_proxy(&["release", "--version", version]).await
    }

    /// Runs a command behind the proxy: its document, what the proxy saw, and the most memory it had, in KiB.
    async fn through_the_proxy(&self, args: &[&str]) -> (Value, Told, usize) {
        self.proxy.arm(NEVER, Fault::Refused);
        self.run(args).await
    }

    /// The same where the way to the cloud is long: what the proxy saw.
    async fn slowly(&self, args: &[&str]) -> Told {
        self.proxy.slow();
        self.run(args).await.1
    }

    async fn run(&self, args: &[&str]) -> (Value, Told, usize) {
        let file = self.bare.small.path().join(".deployctl/local/stage.json");
        let mut stage = self.stage.clone();
        stage["port"] = json!(self.proxy.port);
        std::fs::write(&file, stage.to_string()).unwrap();
        let child = self.bare.small.program.command(&[args, &["--output", "json"]].concat()).spawn().unwrap();
        let pid = child.id().unwrap();
        self.proxy.aim(pid);
        let mut most = 0;
        let watch = async {
            loop {
                most = most.max(memory(pid));
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let output = tokio::select! {
            output = child.wait_with_output() => output.unwrap(),
            () = watch => unreachable!("it watches for ever"),
        };
        std::fs::write(&file, self.stage.to_string()).unwrap();
        (Ended::of(output).exit(0).json(), self.proxy.disarm(), most)
    }

    /// How many versions each function has.
    async fn versions(&self, count: usize) -> Vec<usize> {
        let mut versions = Vec::new();
        for number in 0..count {
            let name = format!("small-{number}");
            let found =
                self.bare.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
            versions.push(found.versions().len());
        }
        versions
    }
}

/// The most memory that a process has had so far, in KiB.
fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
