//! The memory of a process, and of all processes that it has started.

use std::collections::HashMap;
use std::time::Duration;

/// The most memory that was seen, in KiB.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Peak {
    pub(crate) own: usize,
    /// Pages that several processes share count once for each.
    pub(crate) tree: usize,
}

/// Looks at the processes of `root` ten times a second, for as long as it is polled.
pub(crate) async fn watch(root: u32, peak: &mut Peak) {
    loop {
        peak.own = peak.own.max(field(root, "VmHWM:"));
        peak.tree = peak.tree.max(descendants(root).into_iter().map(|pid| field(pid, "VmRSS:")).sum());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A field of a process's status, in KiB; 0 if the process has ended.
fn field(pid: u32, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A process and all that it has started, directly or not.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
