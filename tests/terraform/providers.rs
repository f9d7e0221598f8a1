//! Where providers come from. `init` installs a provider without running it, so a script will do.

use std::path::{Path, PathBuf};

use deployctl::terraform::Reason;

use super::project::{CONFIGURATION, Project};

const PROVIDER: &str = r#"
terraform {
  required_providers {
    fake = {
      source  = "deployctl-tests/fake"
      version = "1.0.0"
    }
  }
}
"#;

/// A mirror with one provider. `init` installs it without running it.
fn mirror(dir: &Path) -> PathBuf {
    let mirror = dir.join("mirror");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let os = if os == "macos" { "darwin" } else { os };
    let arch = if arch == "x86_64" { "amd64" } else { "arm64" };
    let package = mirror.join(format!("registry.terraform.io/deployctl-tests/fake/1.0.0/{os}_{arch}"));
    std::fs::create_dir_all(&package).unwrap();
    let program = package.join("terraform-provider-fake_v1.0.0");
    std::fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    mirror
}

#[tokio::test]
async fn providers_come_from_the_mirror_that_is_given() {
    let mut project = Project::new(PROVIDER).await;
    project.driver.provider_mirror = Some(mirror(&project.dir));
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    assert!(!project.driver.init_if_needed(&project.layer).await.unwrap());
    assert_eq!(project.calls(), ["init"]);
}

#[tokio::test]
async fn an_unreachable_registry_is_an_error_with_a_hint() {
    let mut project = Project::new(PROVIDER).await;
    for name in ["HTTPS_PROXY", "https_proxy"] {
        project.driver.env.insert(name.into(), Some("http://127.0.0.1:1".into()));
    }
    let failure = project.driver.init_if_needed(&project.layer).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::RegistryUnreachable), "{failure:?}");
    let error = deployctl::error::Error::from(failure);
    assert!(error.hint.unwrap().contains("DEPLOYCTL_PROVIDER_MIRROR"));
}

#[tokio::test]
async fn a_plan_without_init_fails_and_the_next_run_initialises() {
    let mut project = Project::ready(CONFIGURATION).await;
    std::fs::write(project.layer.dir.join("more.tf"), PROVIDER).unwrap();
    project.set("name", "x");
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::NotInitialised), "{failure:?}");
    std::fs::remove_file(project.layer.dir.join("more.tf")).unwrap();
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
}

#[tokio::test]
async fn secrets_do_not_belong_into_the_backend_s_settings() {
    let mut project = Project::new(CONFIGURATION).await;
    project.driver.backend.settings.insert("secret_key".into(), "hunter2".into());
    let failure = project.driver.init_if_needed(&project.layer).await.unwrap_err();
    assert!(matches!(&*failure.reason, Reason::SecretInBackend(name) if name == "secret_key"));
    assert_eq!(project.calls(), [""; 0]);
}
