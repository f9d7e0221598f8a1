//! The identity of a process: its pid and its start time, because a pid may be reused. Signals are sent only
//! to a process with both.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

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
        started(pid).map(|started| Self { pid, started })
    }

    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|now| now == self.started)
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
    /// The machine: its boot id and the pid namespace.
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
        let read =
            |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            machine: format!("{} {}", read("/proc/sys/kernel/random/boot_id"), namespace.display()),
            host: read("/proc/sys/kernel/hostname"),
            pid: std::process::id(),
            started: started(std::process::id().cast_signed()),
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
            _ => self.started.is_some() && started(pid).is_some_and(|now| Some(now) != self.started),
        }
    }
}

/// The remaining processes of the session of `leader` that work inside `folder`. Session and folder together
/// identify them after the leader has ended.
#[cfg(target_os = "linux")]
pub(crate) fn remaining_processes(leader: i32, folder: &Path) -> Vec<ProcessIdentity> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.session == leader))
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .filter_map(ProcessIdentity::of)
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn remaining_processes(_leader: i32, _folder: &Path) -> Vec<ProcessIdentity> {
    Vec::new()
}

#[cfg(target_os = "linux")]
struct Stat {
    state: char,
    session: i32,
    start: String,
}

#[cfg(target_os = "linux")]
fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 3, 6 and 22 of proc(5). The name, field 2, may contain brackets and spaces.
#[cfg(target_os = "linux")]
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        session: fields.get(3)?.parse().ok()?,
        start: (*fields.get(19)?).to_owned(),
    })
}

#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = stat(pid)?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    // Ticks count from the boot, so the boot id distinguishes reboots.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{}", boot.trim(), stat.start))
}

#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "state=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.starts_with('Z'))
        .then(|| text.split_once(' ').map_or("", |(_, at)| at).to_owned())
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_with_brackets_and_spaces_is_parsed() {
        let text = "42 (a) b (c) S 1 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.session, stat.start.as_str()), ('S', 41, "987654"));
        assert!(parse_stat("42 (a").is_none());
        assert!(parse_stat("42 (a) S 1").is_none());
    }
}
