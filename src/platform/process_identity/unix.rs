//! What a Unix other than Linux says about processes, through its programs. Linux has most of them too, so this is
//! compiled and tested there.

use std::path::Path;
use std::process::Command;

/// macOS has an id for each boot, and no pid namespaces. Where the id is missing, no process counts as gone.
pub(super) fn machine() -> String {
    output("sysctl", &["-n", "kern.bootsessionuuid"])
        .map_or_else(|| " ".to_owned(), |boot| format!("{boot} {}", std::env::consts::OS))
}

pub(super) fn host() -> String {
    output("uname", &["-n"]).unwrap_or_default()
}

/// Nothing: only the local stage asks, and it is for Linux.
pub(super) fn session(_leader: i32, _folder: &Path) -> Vec<i32> {
    Vec::new()
}

/// The start time to the second; `None` for a zombie.
pub(super) fn started(pid: i32) -> Option<String> {
    let text = output("ps", &["-o", "state=,lstart=", "-p", &pid.to_string()])?;
    let (state, started) = text.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// What the program prints, if it succeeds and prints something.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_a_start_time_and_a_zombie_has_none() {
        let own = std::process::id().cast_signed();
        let first = started(own).unwrap();
        assert!(first.contains(':'), "{first}");
        assert_eq!(started(own), Some(first));
        assert_eq!(started(i32::MAX), None);
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(started(pid).is_some());
        // It ends with its standard input, and stays a zombie until it is waited for.
        drop(child.stdin.take());
        let zombie = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            started(pid).is_none()
        });
        child.wait().unwrap();
        assert!(zombie);
    }

    #[test]
    fn the_machine_has_a_name_and_at_most_one_boot() {
        assert!(!host().is_empty() && !host().contains('\n'), "{}", host());
        let machine = machine();
        let (boot, namespace) = machine.split_once(' ').unwrap();
        assert_eq!(boot.is_empty(), namespace.is_empty(), "{machine}");
        assert!(session(1, Path::new("/")).is_empty());
    }
}
