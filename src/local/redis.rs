//! Finds `redis-server` on PATH, or installs it from Debian's packages where deployctl may.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use crate::event::{Event, Events};
use crate::platform::process::Command;

/// Debian runs this script before it starts the service of a package; exit code 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// Returns the program. Installs it if it is missing and deployctl runs as root on Debian.
pub(crate) async fn find_or_install(
    events: &Events,
    cancel: &CancellationToken,
) -> Result<PathBuf, LocalError> {
    if let Some(program) = on_path("redis-server") {
        return Ok(program);
    }
    if !nix::unistd::geteuid().is_root() || on_path("apt-get").is_none() {
        return Err(LocalError::NoRedis);
    }
    events.step("install redis-server", install(events, cancel)).await?;
    on_path("redis-server").ok_or(LocalError::NoRedis)
}

/// The path of `redis-server`, and whether deployctl could install it.
pub(crate) fn status() -> (Option<PathBuf>, bool) {
    let can_install = nix::unistd::geteuid().is_root() && on_path("apt-get").is_some();
    (on_path("redis-server"), can_install)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Also the folders of the packages: the PATH of a service manager or cron may lack them.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")]);
    which::which_in(name, Some(std::env::join_paths(folders).ok()?), "/").ok()
}

async fn install(events: &Events, cancel: &CancellationToken) -> Result<(), LocalError> {
    // The package would start a server on port 6379.
    let _no_service = Policy::forbid(Path::new(POLICY))?;
    for command in commands() {
        let exit = command
            .run(cancel, |_, line| events.emit(&Event::ProgramLine { program: "apt-get", line }))
            .await?;
        command.success(exit)?;
    }
    Ok(())
}

fn commands() -> [Command; 2] {
    let apt = || Command::new("apt-get", "install redis-server").env("DEBIAN_FRONTEND", "noninteractive");
    [
        apt().args(["update", "-q"]),
        apt().args(["install", "-q", "-y", "--no-install-recommends", "redis-server"]),
    ]
}

/// Forbids starting services until it is dropped. An existing policy of the machine is kept.
struct Policy {
    created: Option<PathBuf>,
}

impl Policy {
    fn forbid(path: &Path) -> Result<Self, LocalError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
        match file {
            Ok(mut file) => {
                let policy = Self { created: Some(path.to_owned()) };
                file.write_all(FORBID.as_bytes())
                    .map_err(|e| LocalError::Io { path: path.to_owned(), source: e })?;
                Ok(policy)
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { created: None }),
            Err(e) => Err(LocalError::Io { path: path.to_owned(), source: e }),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.created {
            // It may have been removed.
            let _gone = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_removed_after_the_installation_and_an_existing_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        let policy = Policy::forbid(&path).unwrap();
        let status = std::process::Command::new("sh").arg(&path).status().unwrap();
        assert_eq!(status.code(), Some(101));
        drop(Policy::forbid(&path).unwrap());
        assert!(path.exists(), "an existing policy was removed");
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn packages_are_installed_without_questions_or_extras() {
        let [update, install] = commands().map(|command| command.to_string());
        assert_eq!(update, "apt-get update -q");
        assert_eq!(install, "apt-get install -q -y --no-install-recommends redis-server");
    }
}
