//! A short shell script that outlives deployctl and stops its program.

use std::os::fd::AsFd;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdout};

use super::grace;

/// Ends a program if deployctl dies or drops its run.
pub(super) struct Guard {
    /// Closes when deployctl ends. A line on it dismisses the guard.
    lifeline: tokio::process::ChildStdin,
}

impl Guard {
    /// `$1` is the pid and process group of the program, `$2` the grace time in seconds. Standard output and
    /// error are the reading ends of the program's pipes, if it has pipes. A program in deployctl's own
    /// process group gets no SIGKILL. A zombie counts as ended: in a container, it may never be waited for.
    const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _ && exit 0
cat <&1 >/dev/null 2>/dev/null & out=$!
cat <&2 >/dev/null 2>/dev/null & err=$!
kill -s INT "$1" 2>/dev/null
left=$(($2 * 10))
alive() {
  kill -0 "$1" 2>/dev/null || return 1
  read -r stat <"/proc/$1/stat" || return 0
  case "$stat" in *') Z '*) return 1 ;; esac
}
while [ "$left" -gt 0 ] && alive "$1"; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "-$1" 2>/dev/null
kill "$out" "$err" 2>/dev/null
"#;

    pub(super) fn of_pipes(pid: u32, stdout: &ChildStdout, stderr: &ChildStderr) -> std::io::Result<Self> {
        Self::watch(
            pid,
            stdout.as_fd().try_clone_to_owned()?.into(),
            stderr.as_fd().try_clone_to_owned()?.into(),
        )
    }

    pub(super) fn watch(pid: u32, stdout: Stdio, stderr: Stdio) -> std::io::Result<Self> {
        let mut std = std::process::Command::new("sh");
        std.args(["-c", Self::SCRIPT, "deployctl-guard", &pid.to_string(), &grace().as_secs().to_string()])
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr);
        // A signal to the process group of deployctl or of the program must not end the guard.
        std::os::unix::process::CommandExt::process_group(&mut std, 0);
        let mut child = tokio::process::Command::from(std).spawn()?;
        let lifeline = child.stdin.take().ok_or_else(|| std::io::Error::other("the guard has no pipe"))?;
        Ok(Self { lifeline })
    }

    /// Ends the guard after the program has ended.
    pub(super) async fn dismiss(mut self) {
        // An error means that the guard has already ended.
        drop(self.lifeline.write_all(b"\n").await);
    }
}
