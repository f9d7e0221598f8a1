//! A layer in a folder of its own, its driver, and what was heard and run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use deployctl::event::{Event, Events};
use deployctl::terraform::messages::Message;
use deployctl::terraform::{Driver, Failure, Layer, PlanOptions, PlanOutcome, PlannedLayer, Terraform};
use tokio_util::sync::CancellationToken;

pub struct Project {
    /// Holds everything, and goes with the project unless it is somebody else's.
    pub dir: PathBuf,
    _owned: Option<tempfile::TempDir>,
    pub driver: Driver,
    pub layer: Layer,
    /// What was heard: one line per event.
    pub heard: Arc<Mutex<Vec<String>>>,
    /// Where the counting wrapper around terraform notes each process.
    calls: PathBuf,
}

impl Project {
    pub async fn new(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        std::fs::create_dir(path.join("layer")).unwrap();
        std::fs::write(path.join("layer/main.tf"), configuration).unwrap();
        Self { _owned: Some(dir), ..Self::open(path).await }
    }

    pub async fn open(dir: PathBuf) -> Self {
        let layer = Layer { name: "app".into(), dir: dir.join("layer"), depends_on: Vec::new() };
        let terraform = Terraform::locate(Path::new("terraform"), &dir, &CancellationToken::new()).await;
        let mut terraform = terraform.expect("these tests need terraform on PATH");
        let calls = dir.join("calls");
        terraform.program = counting(&dir, &terraform.program, &calls);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hear = Arc::clone(&heard);
        let events = Events::new(move |event| hear.lock().unwrap().push(told(event)));
        let driver = Driver { events, ..Driver::new(terraform, "dev", dir.join("data")) };
        Self { dir, _owned: None, driver, layer, heard, calls }
    }

    /// A project that is initialised.
    pub async fn ready(configuration: &str) -> Self {
        let project = Self::new(configuration).await;
        project.driver.init_if_needed(&project.layer).await.unwrap();
        project.calls();
        project
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.driver.variables.insert(name.into(), value.into());
    }

    pub async fn plan(&self) -> Result<PlanOutcome, Failure> {
        self.driver.plan(&self.layer, PlanOptions::default()).await
    }

    pub async fn planned(&self) -> PlannedLayer {
        match self.plan().await.unwrap() {
            PlanOutcome::Changes(planned) => planned,
            PlanOutcome::NoChanges => panic!("no changes"),
        }
    }

    pub async fn apply(&self) {
        self.driver.apply(&self.layer, self.planned().await).await.unwrap();
    }

    /// The Terraform commands that were run since the last time.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.calls).unwrap_or_default();
        drop(std::fs::remove_file(&self.calls));
        text.lines().map(|line| line.to_owned()).collect()
    }

    pub fn lock_file(&self) -> PathBuf {
        self.layer.dir.join(".terraform.tfstate.lock.info")
    }

    pub fn plan_files(&self) -> usize {
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

pub fn told(event: &Event<'_>) -> String {
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

pub const CONFIGURATION: &str = r#"
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

/// Replaces Terraform by a script.
pub fn pretend(project: &Project, script: &str) {
    std::fs::write(&project.driver.terraform.program, format!("#!/bin/sh\n{script}\n")).unwrap();
}
