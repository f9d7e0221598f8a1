//! Interrupts, kills and locks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deployctl::terraform::{Observer, PlanOutcome, Reason, Subcommand};

use crate::support::test_process;

use super::project::{CONFIGURATION, Project, told};

const SLOW: &str = r#"
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "echo started; sleep 60"
  }
}
"#;

/// Waits until the provisioner of `SLOW` has started.
async fn started(project: &Project) {
    for _ in 0..600 {
        if project.heard.lock().unwrap().iter().any(|line| line == "Provision Progress started") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the provisioner never started: {:?}", project.heard.lock().unwrap());
}

#[tokio::test]
async fn the_error_for_a_locked_state_names_the_holder() {
    let project = Project::ready(SLOW).await;
    let planned = project.planned().await;
    let meanwhile = async {
        started(&project).await;
        let failure = project.plan().await.unwrap_err();
        project.driver.cancel.cancel();
        failure
    };
    let (applied, failure) = tokio::join!(project.driver.apply(&project.layer, planned), meanwhile);
    assert!(applied.is_err());
    let Reason::StateLocked(lock) = &*failure.reason else { panic!("{failure:?}") };
    assert_eq!(lock.operation, "apply");
    assert_eq!(lock.id.len(), 36);
}

#[tokio::test]
async fn an_interrupted_apply_leaves_no_lock_and_no_plan_file() {
    let project = Project::ready(SLOW).await;
    let planned = project.planned().await;
    let interrupt = async {
        started(&project).await;
        assert!(project.lock_file().exists());
        project.driver.cancel.cancel();
    };
    let (applied, ()) = tokio::join!(project.driver.apply(&project.layer, planned), interrupt);
    let failure = applied.unwrap_err();
    assert!(matches!(*failure.reason, Reason::Interrupted { killed: false }), "{failure:?}");
    assert!(!project.lock_file().exists(), "{:?}", project.heard);
    assert_eq!(project.plan_files(), 0);
}

/// Which folder the deployctl of another process works in: set, `another_deployctl` is that process.
const FOLDER: &str = "DEPLOYCTL_TEST_FOLDER";

/// Not a test of its own, but the process that the tests below start and kill: it applies the project in
/// `FOLDER`, stops when asked to by a line on its standard input, and prints how it went.
#[tokio::test]
async fn another_deployctl() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut project = Project::open(folder.into()).await;
    project.driver.terraform.program = project.dir.join("terraform");
    project.driver.observer = Observer::new(|event| {
        if told(event).contains("started") {
            std::fs::write(Path::new(&std::env::var_os(FOLDER).unwrap()).join("started"), "").unwrap();
        }
    });
    let cancel = project.driver.cancel.clone();
    tokio::task::spawn_blocking(move || {
        std::io::stdin().read_line(&mut String::new()).unwrap();
        cancel.cancel();
    });
    let outcome = async {
        let PlanOutcome::Changes(planned) = project.plan().await? else { panic!("no changes") };
        project.driver.apply(&project.layer, planned).await
    };
    let error = outcome.await.map_err(deployctl::error::Error::from).unwrap_err();
    std::fs::write(project.dir.join("outcome"), format!("{} {:?}", error.kind.exit_code(), error.hint))
        .unwrap();
}

/// Starts `another_deployctl` on `project` and waits until it says that it has started.
async fn start_another(project: &Project) -> std::process::Child {
    let child = test_process::of(module_path!(), "another_deployctl")
        .env(FOLDER, &project.dir)
        // The grace time is then the short one.
        .env("GITHUB_ACTIONS", "true")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait("the other deployctl has started", || project.dir.join("started").exists()).await;
    child
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not so: {what}");
}

/// A link to Terraform that only processes of this project have in their command line.
fn own_terraform(project: &Project) -> PathBuf {
    let own = project.dir.join("terraform");
    std::os::unix::fs::symlink(&project.counting.terraform, &own).unwrap();
    own
}

/// How many processes have `text` in their command line.
fn processes_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").contains(text)).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_deployctl_that_is_killed_leaves_neither_processes_nor_a_lock() {
    let slow = SLOW.replace("sleep 60", "sleep 60.0625");
    let project = Project::ready(&slow).await;
    let own = own_terraform(&project).to_string_lossy().into_owned();
    let mut other = start_another(&project).await;
    assert!(project.lock_file().exists());
    wait("the provisioner has started", || processes_with("sleep 60.0625") > 0).await;
    project.driver.needs_init(&project.layer).unwrap();
    assert_eq!(project.plan_files(), 1, "the plan of a command that runs stays");
    other.kill().unwrap();
    other.wait().unwrap();
    wait("Terraform has ended", || processes_with(&own) == 0).await;
    wait("the provisioner has ended", || processes_with("sleep 60.0625") == 0).await;
    assert!(!project.lock_file().exists());
    assert_eq!(project.plan_files(), 1, "a killed process deletes nothing");
    project.driver.needs_init(&project.layer).unwrap();
    assert_eq!(project.plan_files(), 0, "the next command deletes the plan");
    let state =
        project.driver.run(&project.layer, &Subcommand::StateList { addresses: vec![] }).await.unwrap();
    assert_eq!(state, "terraform_data.slow\n", "what was done is recorded");
}

#[tokio::test]
async fn a_terraform_that_ignores_the_interrupt_is_killed_and_the_lock_is_mentioned() {
    use std::io::Write;
    let project = Project::ready(CONFIGURATION).await;
    let deaf = project.dir.join("terraform");
    std::fs::write(&deaf, "#!/bin/sh\ntrap '' INT\necho started\nwhile :; do sleep 1; done\n").unwrap();
    std::fs::set_permissions(&deaf, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut other = start_another(&project).await;
    writeln!(other.stdin.take().unwrap(), "stop").unwrap();
    assert!(other.wait().unwrap().success());
    let outcome = std::fs::read_to_string(project.dir.join("outcome")).unwrap();
    assert!(outcome.starts_with("130 "), "{outcome}");
    assert!(outcome.contains("deployctl terraform app --stage dev -- force-unlock"), "{outcome}");
}
