//! The provider mirror of a machine that cannot reach the registry, for projects that have no lock file.

use std::path::{Path, PathBuf};

use deployctl::terraform::{Driver, Layer, Terraform};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
"#;

/// The mirror that `DEPLOYCTL_PROVIDER_MIRROR` names, or that deployctl finds by the hashes in the lock files of this
/// repository. `None` where the registry can be reached.
pub(crate) async fn provider_mirror() -> Option<PathBuf> {
    static FOUND: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    match std::env::var_os("DEPLOYCTL_PROVIDER_MIRROR") {
        Some(given) => Some(given.into()),
        None => FOUND.get_or_init(find).await.clone(),
    }
}

async fn find() -> Option<PathBuf> {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer {
        name: "app".into(),
        dir: dir.path().join("layer"),
        depends_on: Vec::new(),
        var_files: Vec::new(),
    };
    std::fs::create_dir(&layer.dir).unwrap();
    std::fs::write(layer.dir.join("main.tf"), CONFIGURATION).unwrap();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/app/.terraform.lock.hcl");
    std::fs::copy(lock, layer.dir.join(".terraform.lock.hcl")).unwrap();
    let terraform = Terraform::locate(Path::new("terraform"), dir.path(), &CancellationToken::new()).await;
    let terraform = terraform.expect("these tests need terraform on PATH");
    let driver = Driver::new(terraform, "test", dir.path().join("data"));
    driver.init_if_needed(&layer).await.unwrap();
    let files = std::fs::read_dir(&driver.data_root).unwrap().map(|file| file.unwrap().path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "rc"))?;
    let text = std::fs::read_to_string(file).unwrap();
    let path = text.lines().find_map(|line| line.trim().strip_prefix("path")?.split('"').nth(1)).unwrap();
    Some(path.into())
}
