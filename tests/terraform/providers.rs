//! Where providers come from. `init` installs a provider without running it, so a script will do.

use std::path::{Path, PathBuf};

use deployctl::terraform::{Failure, Reason};

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
async fn a_provider_that_was_half_copied_is_installed_again() {
    let mut project = Project::new(PROVIDER).await;
    project.driver.provider_mirror = Some(mirror(&project.dir));
    project.driver.init_if_needed(&project.layer).await.unwrap();
    let data_dir = project.driver.data_dir(&project.layer);
    let versions = data_dir.join("providers/registry.terraform.io/deployctl-tests/fake/1.0.0");
    let package = std::fs::read_dir(versions).unwrap().next().unwrap().unwrap().path();
    let program = package.join("terraform-provider-fake_v1.0.0");
    let whole = std::fs::read(&program).unwrap();
    // Instead of the link to the mirror, as after the download of a zip.
    std::fs::remove_file(&package).unwrap();
    std::fs::create_dir(&package).unwrap();
    std::fs::write(&program, &whole[..4]).unwrap();
    std::fs::remove_file(data_dir.join("deployctl-init")).unwrap();
    assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
    assert_eq!(std::fs::read(&program).unwrap(), whole);
}

fn make_registry_unreachable(project: &mut Project) {
    for name in ["HTTPS_PROXY", "https_proxy"] {
        project.driver.env.insert(name.into(), Some("http://127.0.0.1:1".into()));
    }
    // Only there is a mirror searched.
    project.driver.mirror_search_root.clone_from(&project.dir);
}

/// The mirrors that an error names as not used.
#[track_caller]
fn refused(result: Result<bool, Failure>) -> Vec<PathBuf> {
    let failure = result.unwrap_err();
    let message = failure.to_string();
    match *failure.reason {
        Reason::RegistryUnreachable { refused } => {
            assert!(refused.iter().all(|path| message.contains(&*path.to_string_lossy())), "{message}");
            refused
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mirror_that_is_found_is_used_only_if_the_lock_file_names_its_hashes() {
    let mut project = Project::new(PROVIDER).await;
    make_registry_unreachable(&mut project);
    let mirror = mirror(&project.dir);
    let init = async |project: &Project| project.driver.init_if_needed(&project.layer).await;
    assert_eq!(refused(init(&project).await), std::slice::from_ref(&mirror), "there is no lock file");

    // Terraform itself writes the lock file.
    project.driver.provider_mirror = Some(mirror.clone());
    assert!(init(&project).await.unwrap());
    project.driver.provider_mirror = None;
    std::fs::remove_dir_all(&project.driver.data_root).unwrap();
    assert!(init(&project).await.unwrap());
    let heard = project.heard.lock().unwrap().join("\n");
    assert!(heard.contains(&format!("installing providers from {}", mirror.display())), "{heard}");
    assert!(!init(&project).await.unwrap(), "the mirror stays configured");

    let programs = project.driver.data_dir(&project.layer).join("providers");
    assert!(programs.exists());
    std::fs::remove_dir_all(&project.driver.data_root).unwrap();
    let package = std::fs::read_dir(mirror.join("registry.terraform.io/deployctl-tests/fake/1.0.0")).unwrap();
    let program = package.last().unwrap().unwrap().path().join("terraform-provider-fake_v1.0.0");
    std::fs::write(program, "#!/bin/sh\necho other\n").unwrap();
    assert_eq!(refused(init(&project).await), [mirror], "the package has other bytes");
    assert!(!programs.exists(), "nothing was installed");
}

#[tokio::test]
async fn the_mirrors_that_terraform_knows_are_left_to_terraform() {
    let implied = async |project: &Project| {
        assert!(project.driver.init_if_needed(&project.layer).await.unwrap());
        let files = std::fs::read_dir(&project.driver.data_root).unwrap().map(|file| file.unwrap().path());
        assert!(!files.into_iter().any(|file| file.extension().is_some_and(|ending| ending == "rc")));
    };
    let mut project = Project::new(PROVIDER).await;
    make_registry_unreachable(&mut project);
    let plugins = project.layer.dir.join("terraform.d");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::rename(mirror(&project.dir), plugins.join("plugins")).unwrap();
    implied(&project).await;

    let mut project = Project::new(PROVIDER).await;
    make_registry_unreachable(&mut project);
    let mirror = mirror(&project.dir);
    let settings =
        format!("provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n");
    std::fs::write(project.dir.join(".terraformrc"), settings).unwrap();
    project.driver.env.insert("HOME".into(), Some(project.dir.clone().into()));
    project.driver.env.insert("TF_CLI_CONFIG_FILE".into(), None);
    implied(&project).await;
}

#[tokio::test]
async fn an_unreachable_registry_is_an_error_with_a_hint() {
    let mut project = Project::new(PROVIDER).await;
    make_registry_unreachable(&mut project);
    let failure = project.driver.init_if_needed(&project.layer).await.unwrap_err();
    assert!(matches!(&*failure.reason, Reason::RegistryUnreachable { refused } if refused.is_empty()));
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
