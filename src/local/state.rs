//! `.deployctl/local/stage.json`: the process of the local stage and its port.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::LocalError;
use super::server::{LAUNCHER, MINISTACK};
use super::stage::LocalStage;
use crate::artifact::Sha256;
use crate::platform::hex;
use crate::platform::process_identity::ProcessIdentity;

/// Written right after the start of the process, so that an interrupted start can be cleaned up. A stopped stage
/// keeps its port and its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The versions of launcher and packages: see [`version_hash`].
    #[serde(rename = "made_by")]
    pub(crate) version_hash: String,
    /// The secret key that signs requests. Missing in files of older versions.
    #[serde(default)]
    pub(crate) secret: String,
    pub(crate) port: u16,
    pub(crate) ministack: Option<ProcessIdentity>,
    /// Whether the server has responded.
    pub(crate) ready: bool,
    /// The time of the snapshot that it started from; `None` if it started empty.
    #[serde(default)]
    pub(crate) snapshot: Option<String>,
}

impl State {
    /// Reads the state. An invalid file counts as none: it identifies no process.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(folder)).ok()?).ok()
    }

    /// Replaces the file as a whole. Only its owner can read it: temporary files have mode 0600.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), LocalError> {
        let path = path(folder);
        let write = |error| LocalError::io(&path, error);
        let text = serde_json::to_vec_pretty(self).map_err(|e| write(e.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(write)?;
        file.write_all(&text).map_err(write)?;
        file.persist(&path).map(drop).map_err(|error| write(error.error))
    }

    pub(crate) fn forget(folder: &Path) -> Result<(), LocalError> {
        let path = path(folder);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io(&path, e)),
            _ => Ok(()),
        }
    }

    /// What is left of the stage when it is stopped: its port and its secret, for the shells that have them.
    pub(crate) fn stopped(self) -> Self {
        Self { ministack: None, ready: false, snapshot: None, ..self }
    }

    /// Whether the start succeeded and the process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.ready && self.ministack.as_ref().is_some_and(ProcessIdentity::is_alive)
    }

    /// Whether it was started, and has ended without being stopped.
    pub(crate) fn has_died(&self) -> bool {
        self.ready && !self.is_alive()
    }

    /// The stage, if the process was started.
    pub(crate) fn stage(&self, region: &str) -> Option<LocalStage> {
        Some(LocalStage {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            secret: self.secret.clone(),
            port: self.port,
            region: region.to_owned(),
            pid: self.ministack.as_ref()?.pid,
            snapshot: self.snapshot.clone(),
        })
    }
}

/// The hash of the launcher, the guard and the packages: changes if a version of deployctl changes the stage.
pub(crate) fn version_hash() -> String {
    let texts: Vec<&str> = LAUNCHER.iter().map(|(_, text)| *text).chain([MINISTACK.text]).collect();
    Sha256::of(texts.concat().as_bytes()).short()
}

/// A secret that cannot be guessed: 256 bits of the system's randomness, in hexadecimal digits.
pub(crate) fn new_secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(bytes))
}

fn path(folder: &Path) -> PathBuf {
    folder.join("stage.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(folder: &Path) -> State {
        let own = ProcessIdentity::of(std::process::id().cast_signed());
        let state = State {
            version_hash: version_hash(),
            secret: new_secret().unwrap(),
            port: 1,
            ministack: own,
            ready: true,
            snapshot: None,
        };
        state.write(folder).unwrap();
        state
    }

    #[test]
    fn the_state_is_written_read_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        assert_eq!(State::read(dir.path()), Some(state));
        State::forget(dir.path()).unwrap();
        State::forget(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()), None);
    }

    #[test]
    fn a_secret_is_private_and_different_each_time() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let mode = std::fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(state.secret.len(), 64);
        assert_ne!(state.secret, new_secret().unwrap());
    }

    #[test]
    fn an_incomplete_file_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        state(dir.path());
        let text = std::fs::read(path(dir.path())).unwrap();
        std::fs::write(path(dir.path()), &text[..text.len() / 2]).unwrap();
        assert_eq!(State::read(dir.path()), None);
    }

    #[test]
    fn a_stage_that_never_responded_or_lost_its_process_does_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let whole = state(dir.path());
        assert!(whole.is_alive() && !whole.has_died());
        assert!(!State { ready: false, ..whole.clone() }.is_alive());
        let dead = ProcessIdentity { pid: 1, started: "another boot".to_owned() };
        let dead = State { ministack: Some(dead), ..whole };
        assert!(!dead.is_alive() && dead.has_died());
    }

    #[test]
    fn a_stopped_stage_keeps_its_port_and_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let whole = state(dir.path());
        let stopped = whole.clone().stopped();
        assert_eq!((stopped.port, &stopped.secret), (whole.port, &whole.secret));
        assert!(!stopped.is_alive() && !stopped.has_died() && stopped.stage("eu-west-1").is_none());
    }
}
