//! A layer in a folder of its own, its driver, and what was heard and run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::counting_terraform::CountingTerraform;
use deployctl::terraform::messages::Message;
use deployctl::terraform::{
    Activity, Driver, Failure, Layer, Observer, PlanOptions, PlanOutcome, PlannedLayer, Terraform,
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Project {
    /// Holds everything, and goes with the project unless it is somebody else's.
    pub(crate) dir: PathBuf,
    _owned: Option<tempfile::TempDir>,
    pub(crate) driver: Driver,
    pub(crate) layer: Layer,
    /// What was heard: one line per event.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
    pub(crate) counting: CountingTerraform,
}

impl Project {
    pub(crate) async fn new(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        std::fs::create_dir(path.join("layer")).unwrap();
        std::fs::write(path.join("layer/main.tf"), configuration).unwrap();
        Self { _owned: Some(dir), ..Self::open(path).await }
    }

    pub(crate) async fn open(dir: PathBuf) -> Self {
        let layer = Layer {
            name: "app".into(),
            dir: dir.join("layer"),
            depends_on: Vec::new(),
            var_files: Vec::new(),
        };
        let terraform = Terraform::locate(Path::new("terraform"), &dir, &CancellationToken::new()).await;
        let mut terraform = terraform.expect("these tests need terraform on PATH");
        let counting = CountingTerraform::new(&dir, &terraform.program);
        terraform.program.clone_from(&counting.program);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hear = Arc::clone(&heard);
        let observer = Observer::new(move |activity| hear.lock().unwrap().push(told(activity)));
        let driver = Driver { observer, ..Driver::new(terraform, "dev", dir.join("data")) };
        Self { dir, _owned: None, driver, layer, heard, counting }
    }

    /// A project that is initialised.
    pub(crate) async fn ready(configuration: &str) -> Self {
        let project = Self::new(configuration).await;
        project.driver.init_if_needed(&project.layer).await.unwrap();
        project.calls();
        project
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.driver.variables.insert(name.into(), value.into());
    }

    pub(crate) async fn plan(&self) -> Result<PlanOutcome, Failure> {
        self.driver.plan(&self.layer, PlanOptions::default()).await
    }

    pub(crate) async fn planned(&self) -> PlannedLayer {
        match self.plan().await.unwrap() {
            PlanOutcome::Changes(planned) => planned,
            PlanOutcome::NoChanges { .. } => panic!("no changes"),
        }
    }

    pub(crate) async fn apply(&self) {
        self.driver.apply(&self.layer, self.planned().await).await.unwrap();
    }

    /// The Terraform commands that were run since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.counting.calls();
        calls.iter().filter_map(|call| call.split(' ').nth(1)).map(str::to_owned).collect()
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.layer.dir.join(".terraform.tfstate.lock.info")
    }

    pub(crate) fn plan_files(&self) -> usize {
        let entries = std::fs::read_dir(self.driver.data_dir(&self.layer)).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("plan-")).count()
    }
}

pub(crate) fn told(activity: &Activity<'_>) -> String {
    match activity {
        Activity::Message { message: Message::Progress(progress), .. } => {
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

pub(crate) const CONFIGURATION: &str = r#"
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
pub(crate) fn pretend(project: &Project, script: &str) {
    std::fs::write(&project.driver.terraform.program, format!("#!/bin/sh\n{script}\n")).unwrap();
}
