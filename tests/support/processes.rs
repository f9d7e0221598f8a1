//! The processes of this machine, by the folder that they work in.

use std::path::{Path, PathBuf};

/// Every process that works inside `folder`: the servers of its local stage and all Lambdas.
pub(crate) fn inside(folder: &Path) -> Vec<i32> {
    let folder = folder.canonicalize().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| working_folder(*pid).is_some_and(|cwd| cwd.starts_with(&folder))).collect()
}

/// Kills every process that works inside `folder`.
pub(crate) fn kill_inside(folder: &Path) {
    for pid in inside(folder) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
    }
}

fn working_folder(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Whether a process has ended. One that nobody has waited for yet has ended, too.
pub(crate) fn has_ended(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The state follows the name, which may contain brackets itself.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}
