//! Finds `redis-server` on PATH, or installs it from Debian's packages where deployctl may.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::error::LocalError;
use crate::event::{Event, Events};
use crate::platform::process::Command;

/// Debian asks this script whether a package's service may start; 101 is "no".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// The program, installed first where it is missing and can be installed.
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

/// Where `redis-server` is, and whether it could be installed where it is not.
pub(crate) fn look() -> (Option<PathBuf>, bool) {
    let can_install = nix::unistd::geteuid().is_root() && on_path("apt-get").is_some();
    (on_path("redis-server"), can_install)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The packages' own places, in case a service manager or cron has left PATH short.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")]);
    which::which_in(name, Some(std::env::join_paths(places).ok()?), "/").ok()
}

async fn install(events: &Events, cancel: &CancellationToken) -> Result<(), LocalError> {
    // The package starts a server of its own on 6379; the stage wants a program, not a service.
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

/// Services stay down until this is dropped. A policy that the machine already has is left as it is.
struct Policy {
    ours: Option<PathBuf>,
}

impl Policy {
    fn forbid(path: &Path) -> Result<Self, LocalError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
        match made {
            Ok(mut file) => {
                let policy = Self { ours: Some(path.to_owned()) };
                file.write_all(FORBID.as_bytes())
                    .map_err(|e| LocalError::Io { path: path.to_owned(), source: e })?;
                Ok(policy)
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(e) => Err(LocalError::Io { path: path.to_owned(), source: e }),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            // Removing what is gone already is no loss.
            let _gone = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lasts_as_long_as_the_installation_and_spares_a_foreign_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        let policy = Policy::forbid(&path).unwrap();
        let status = std::process::Command::new("sh").arg(&path).status().unwrap();
        assert_eq!(status.code(), Some(101));
        drop(Policy::forbid(&path).unwrap());
        assert!(path.exists(), "a policy that was there before was removed");
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
