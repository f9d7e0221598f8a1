//! What Linux says about processes, in `/proc`.

use std::path::Path;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub(super) fn machine() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", read(BOOT_ID), namespace.display())
}

pub(super) fn host() -> String {
    read("/proc/sys/kernel/hostname")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The pids of the session of `leader` that work inside `folder`.
pub(super) fn session(leader: i32, folder: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.session == leader))
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

/// The boot id and the clock ticks since that boot; `None` for a zombie.
pub(super) fn started(pid: i32) -> Option<String> {
    let stat = stat(pid)?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    // Ticks count from the boot, so the boot id distinguishes reboots.
    let boot = std::fs::read_to_string(BOOT_ID).ok()?;
    Some(format!("{}:{}", boot.trim(), stat.start))
}

struct Stat {
    state: char,
    session: i32,
    start: String,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 3, 6 and 22 of proc(5). The name, field 2, may contain brackets and spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        session: fields.get(3)?.parse().ok()?,
        start: (*fields.get(19)?).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_parsed() {
        let text = "42 (a) b (c) S 1 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.session, stat.start.as_str()), ('S', 41, "987654"));
        assert!(parse_stat("42 (a").is_none());
        assert!(parse_stat("42 (a) S 1").is_none());
    }
}
