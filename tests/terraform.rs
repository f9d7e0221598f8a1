//! The driver against the real Terraform, with `terraform_data` only: no provider, no network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deployctl::event::{Event, Events};
use deployctl::terraform::messages::Message;
use deployctl::terraform::{
    Backend, Driver, Failure, Layer, PlanMode, PlanOptions, PlanOutcome, PlannedLayer, Reason, Shared,
    Subcommand, Terraform,
};
use tokio_util::sync::CancellationToken;

struct Project {
    dir: tempfile::TempDir,
    driver: Driver,
    layer: Layer,
    /// What was heard: one line per event.
    heard: Arc<Mutex<Vec<String>>>,
    /// Where the counting wrapper around terraform notes each process.
    calls: PathBuf,
}

impl Project {
    async fn new(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layer = Layer { name: "app".into(), dir: dir.path().join("layer"), depends_on: Vec::new() };
        std::fs::create_dir(&layer.dir).unwrap();
        std::fs::write(layer.dir.join("main.tf"), configuration).unwrap();
        let cancel = CancellationToken::new();
        let terraform = Terraform::locate(Path::new("terraform"), dir.path(), &cancel).await;
        let mut terraform = terraform.expect("these tests need terraform on PATH");
        let calls = dir.path().join("calls");
        terraform.program = counting(dir.path(), &terraform.program, &calls);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hear = Arc::clone(&heard);
        let driver = Driver {
            terraform,
            stage: "dev".into(),
            data_root: dir.path().join("data"),
            env: BTreeMap::new(),
            backend: Backend::default(),
            variables: BTreeMap::new(),
            provider_mirror: None,
            shared: Shared::default(),
            log_file: None,
            events: Events::new(move |event| hear.lock().unwrap().push(told(event))),
            cancel,
        };
        Self { dir, driver, layer, heard, calls }
    }

    /// A project that is initialised.
    async fn ready(configuration: &str) -> Self {
        let project = Self::new(configuration).await;
        project.driver.init_if_needed(&project.layer).await.unwrap();
        project.calls();
        project
    }

    fn set(&mut self, name: &str, value: &str) {
        self.driver.variables.insert(name.into(), value.into());
    }

    async fn plan(&self) -> Result<PlanOutcome, Failure> {
        self.driver.plan(&self.layer, PlanOptions::default()).await
    }

    async fn planned(&self) -> PlannedLayer {
        match self.plan().await.unwrap() {
            PlanOutcome::Changes(planned) => planned,
            PlanOutcome::NoChanges => panic!("no changes"),
        }
    }

    async fn apply(&self) {
        self.driver.apply(&self.layer, self.planned().await).await.unwrap();
    }

    /// The Terraform commands that were run since the last time.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.calls).unwrap_or_default();
        drop(std::fs::remove_file(&self.calls));
        text.lines().map(|line| line.to_owned()).collect()
    }

    fn lock_file(&self) -> PathBuf {
        self.layer.dir.join(".terraform.tfstate.lock.info")
    }

    fn plan_files(&self) -> usize {
        let entries = std::fs::read_dir(self.driver.data_dir(&self.layer)).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("plan-")).count()
    }
}

/// A program that notes each run and becomes `program`.
fn counting(dir: &Path, program: &Path, calls: &Path) -> PathBuf {
    let path = dir.join("counting-terraform");
    let script =
        format!("#!/bin/sh\necho \"$1\" >>'{}'\nexec '{}' \"$@\"\n", calls.display(), program.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn told(event: &Event<'_>) -> String {
    match event {
        Event::Terraform { message: Message::Progress(progress), .. } => {
            format!(
                "{:?} {:?} {}",
                progress.operation,
                progress.phase,
                progress.output.clone().unwrap_or_default()
            )
        }
        other => format!("{other:?}"),
    }
}

const CONFIGURATION: &str = r#"
variable "name" {
  type = string
}
variable "secret" {
  type      = string
  sensitive = true
  default   = "correct horse"
}
resource "terraform_data" "one" {
  input = var.name
}
output "name" {
  value = terraform_data.one.output
}
output "secret" {
  value     = var.secret
  sensitive = true
}
"#;

#[tokio::test]
async fn a_run_without_changes_costs_one_process() {
    let mut project = Project::new(CONFIGURATION).await;
    project.set("name", "x");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    project.apply().await;
    assert_eq!(project.calls(), ["init", "plan", "show", "apply"]);

    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());
    assert!(matches!(project.plan().await.unwrap(), PlanOutcome::NoChanges));
    assert_eq!(project.calls(), ["plan"]);
    assert_eq!(project.plan_files(), 0);
}

#[tokio::test]
async fn init_runs_again_when_what_it_depends_on_changes_and_only_then() {
    let mut project = Project::ready(CONFIGURATION).await;
    let file = project.layer.dir.join("main.tf");
    let with = |text: &str| std::fs::write(&file, format!("{CONFIGURATION}\n{text}")).unwrap();
    with("# a comment\noutput \"more\" { value = 1 }\n");
    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());
    with("terraform {\n  required_version = \">= 1.5\"\n}\n");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());

    let module = project.layer.dir.join("module");
    std::fs::create_dir(&module).unwrap();
    std::fs::write(module.join("main.tf"), "").unwrap();
    with("module \"m\" {\n  source = \"./module\"\n}\n");
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    std::fs::write(module.join("main.tf"), "terraform {\n  required_version = \">= 1.4\"\n}\n").unwrap();
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());

    project.driver.backend.settings.insert("path".into(), "other.tfstate".into());
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
}

#[tokio::test]
async fn a_plan_file_is_private_and_goes_with_the_plan() {
    use std::os::unix::fs::PermissionsExt;
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let planned = project.planned().await;
    let data_dir = project.driver.data_dir(&project.layer);
    let folders = std::fs::read_dir(&data_dir).unwrap().flatten().map(|entry| entry.path());
    let folder = folders.into_iter().find(|path| path.to_string_lossy().contains("/plan-")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data_dir), mode(&folder), mode(&folder.join("plan"))), (0o700, 0o700, 0o600));
    drop(planned);
    assert!(!folder.exists());
}

#[tokio::test]
async fn changed_outputs_alone_are_changes() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let file = project.layer.dir.join("main.tf");
    std::fs::write(file, format!("{CONFIGURATION}\noutput \"more\" {{ value = 1 }}\n")).unwrap();
    let planned = project.planned().await;
    assert!(planned.plan.changes.is_empty());
    assert_eq!(planned.plan.outputs.keys().collect::<Vec<_>>(), ["more"]);
}

#[tokio::test]
async fn outputs_are_the_same_from_the_program_and_from_the_state() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let outputs = project.driver.outputs(&project.layer).await.unwrap();
    let state = project.driver.run(&project.layer, &Subcommand::StatePull).await.unwrap();
    assert_eq!(outputs, deployctl::terraform::outputs::from_state(state.as_bytes()).unwrap());
    assert_eq!(outputs.get("name").unwrap().value, "x");
    assert_eq!(outputs.get("secret").unwrap().value, "correct horse");
    let heard = project.heard.lock().unwrap().join("\n");
    assert!(!heard.contains("correct horse"), "{heard}");
}

#[tokio::test]
async fn a_plan_that_the_world_has_overtaken_is_stale() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let first = project.planned().await;
    project.apply().await;
    let failure = project.driver.apply(&project.layer, first).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::StalePlan), "{failure:?}");
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    let project = Project::ready(CONFIGURATION).await;
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(&*failure.reason, Reason::MissingVariables(names) if names == &["name"]), "{failure:?}");
    assert_eq!(failure.to_string(), "terraform app: no value for name");
    assert_eq!(project.plan_files(), 0);
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_file_and_line() {
    let project = Project::ready("").await;
    std::fs::write(project.layer.dir.join("more.tf"), "\noutput \"x\" { value = nothing.here }\n").unwrap();
    let error = deployctl::error::Error::from(project.plan().await.unwrap_err());
    assert!(error.causes()[0].contains("(more.tf:2)"), "{error:?}");
}

#[tokio::test]
async fn everything_can_be_destroyed_again() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    project.apply().await;
    let options = PlanOptions { mode: PlanMode::Destroy, ..PlanOptions::default() };
    let PlanOutcome::Changes(planned) = project.driver.plan(&project.layer, options).await.unwrap() else {
        panic!("nothing to destroy");
    };
    project.driver.apply(&project.layer, planned).await.unwrap();
    assert_eq!(
        project.driver.run(&project.layer, &Subcommand::StateList { addresses: vec![] }).await.unwrap(),
        ""
    );
}

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
async fn a_state_that_is_locked_by_another_process_is_told_with_its_holder() {
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
    assert!(!project.lock_file().exists());
    assert_eq!(project.plan_files(), 0);
    assert!(project.dir.path().exists());
}
