//! `terraform test` in each layer, in a copy of it with a state of its own.

use std::path::Path;

use deployctl::terraform::{Driver, Layer, Subcommand, Terraform};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{files, folder, parsed};

/// `terraform init` into one plugin cache: Terraform has no lock for it.
static INIT: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn base_keeps_its_rules() {
    passes("base").await;
}

#[tokio::test]
async fn app_keeps_its_rules() {
    passes("app").await;
}

#[tokio::test]
async fn account_keeps_its_rules() {
    passes("account").await;
}

#[tokio::test]
async fn dns_keeps_its_rules() {
    passes("dns").await;
}

async fn passes(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer {
        name: name.to_owned(),
        dir: dir.path().join(name),
        depends_on: Vec::new(),
        var_files: Vec::new(),
    };
    copy(&folder(name), &layer.dir);
    let runs = runs(&layer.dir.join("tests"));
    let driver = driver(dir.path()).await;
    {
        let _alone = INIT.lock().await;
        driver.init_if_needed(&layer).await.unwrap();
    }
    let test = Subcommand::Raw(vec!["test".into(), "-no-color".into()]);
    let said = driver.run(&layer, &test).await.unwrap();
    assert!(said.contains(&format!("Success! {runs} passed, 0 failed.")), "{runs} runs are written:\n{said}");
}

/// The layer's files and tests, with a local state in place of the stage's.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("tests")).unwrap();
    for (folder, ending) in [("", ".tf"), ("", ".terraform.lock.hcl"), ("tests", ".tftest.hcl")] {
        for file in files(&from.join(folder), ending) {
            std::fs::copy(&file, to.join(folder).join(file.file_name().unwrap())).unwrap();
        }
    }
    std::fs::write(to.join("backend_override.tf"), "terraform {\n  backend \"local\" {}\n}\n").unwrap();
}

fn runs(tests: &Path) -> usize {
    let runs = |file: &std::path::PathBuf| {
        parsed(file).blocks().filter(|block| block.identifier.as_str() == "run").count()
    };
    files(tests, ".tftest.hcl").iter().map(runs).sum()
}

async fn driver(dir: &Path) -> Driver {
    let cancel = CancellationToken::new();
    let terraform = Terraform::locate(Path::new("terraform"), dir, &cancel).await;
    let plugins = Path::new(env!("CARGO_TARGET_TMPDIR")).join("terraform-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let terraform = terraform.expect("these tests need terraform on PATH");
    let mut driver = Driver::new(terraform, "test", dir.join("data"));
    driver.env.insert("TF_PLUGIN_CACHE_DIR".to_owned(), Some(plugins.into()));
    driver.provider_mirror = std::env::var_os("DEPLOYCTL_PROVIDER_MIRROR").map(Into::into);
    driver
}
