//! The identity of a process: its pid and its start time, because a pid may be reused. Signals are sent only
//! to a process with both.

#[cfg(target_os = "linux")]
mod linux;
// On Linux, only its tests use it.
#[cfg(any(test, not(target_os = "linux")))]
mod unix;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use self::linux as system;
#[cfg(not(target_os = "linux"))]
use self::unix as system;

/// A process, distinct from earlier and later processes with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: i32,
    /// The start time, for comparison only: on Linux, the boot id and the clock ticks since that boot.
    pub(crate) started: String,
}

impl ProcessIdentity {
    /// The current process with this pid; `None` for a zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        system::started(pid).map(|started| Self { pid, started })
    }

    pub(crate) fn is_alive(&self) -> bool {
        system::started(self.pid).is_some_and(|now| now == self.started)
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // The process may end in between.
            let _ended = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends SIGTERM, and SIGKILL after `grace`. Returns when the process has ended.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        let mut killed = false;
        loop {
            // A child stays a zombie until it is waited for; for other processes this has no effect.
            let _not_a_child = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
            if !self.is_alive() {
                return;
            }
            if !killed && start.elapsed() > grace {
                killed = true;
                self.signal(Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A process on any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineProcess {
    /// The machine: an id of its boot, a space, and the pid namespace. Either is empty if it is unknown.
    pub(crate) machine: String,
    /// The host name, for messages.
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// The start time, for comparison only: a pid may be reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<String>,
}

impl MachineProcess {
    pub(crate) fn current() -> Self {
        Self {
            machine: system::machine(),
            host: system::host(),
            pid: std::process::id(),
            started: system::started(std::process::id().cast_signed()),
        }
    }

    /// Whether this process ran on this machine, in this pid namespace, and has ended. A process that is
    /// missing in /proc has not necessarily ended: /proc may hide processes of other users.
    pub(crate) fn is_gone(&self) -> bool {
        let here = Self::current();
        let (boot, namespace) = here.machine.split_once(' ').unwrap_or_default();
        if boot.is_empty() || namespace.is_empty() || here.machine != self.machine {
            return false;
        }
        let Ok(pid) = i32::try_from(self.pid) else { return true };
        match kill(Pid::from_raw(pid), None) {
            Err(Errno::ESRCH) => true,
            // Also EPERM: the process exists and belongs to another user.
            _ => self.started.is_some() && system::started(pid).is_some_and(|now| Some(now) != self.started),
        }
    }
}

/// The remaining processes of the session of `leader` that work inside `folder`. Session and folder together
/// identify them after the leader has ended.
pub(crate) fn remaining_processes(leader: i32, folder: &Path) -> Vec<ProcessIdentity> {
    system::session(leader, folder).into_iter().filter_map(ProcessIdentity::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_others_with_its_pid_are_not() {
        let own = ProcessIdentity::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessIdentity { started: "another time".to_owned(), ..own.clone() }.is_alive());
        assert!(ProcessIdentity::of(i32::MAX).is_none());
    }

    #[test]
    fn only_a_process_that_has_certainly_ended_is_gone() {
        let own = MachineProcess::current();
        assert!(own.started.is_some() && !own.is_gone());
        // The pid was reused.
        assert!(MachineProcess { started: Some("another time".into()), ..own.clone() }.is_gone());
        // Older versions of deployctl did not store the start time.
        assert!(!MachineProcess { started: None, ..own.clone() }.is_gone());
        assert!(!MachineProcess { pid: 1, started: None, ..own.clone() }.is_gone());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = MachineProcess { pid: child.id(), started: None, ..own.clone() };
        child.wait().unwrap();
        assert!(ended.is_gone());
        // On another machine, or without a boot id, no process counts as gone.
        assert!(!MachineProcess { machine: "another machine".into(), ..ended.clone() }.is_gone());
        assert!(!MachineProcess { machine: " ".into(), ..ended }.is_gone());
    }

    #[tokio::test]
    async fn a_reused_pid_gets_no_signal() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let earlier = ProcessIdentity { pid, started: "before".to_owned() };
        earlier.stop(Duration::ZERO).await;
        assert!(child.try_wait().unwrap().is_none(), "another process was ended");
        ProcessIdentity::of(pid).unwrap().stop(Duration::from_secs(5)).await;
        assert!(ProcessIdentity::of(pid).is_none());
    }
}
