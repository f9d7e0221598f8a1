//! The CI system that runs deployctl, and the log sections of its steps.
//!
//! Steps overlap, but sections of a log cannot. So the lines of a step are buffered until it ends, and then
//! printed under a headline that can be collapsed. A failed step is not collapsed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::harmless::{self, clean};
use super::{github, gitlab};

/// A supported CI system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ci {
    GitHub,
    GitLab,
}

impl Ci {
    pub(crate) fn of(var: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let is = |name: &str| var(name).is_some_and(|value| value == "true" || value == "1");
        if is("GITHUB_ACTIONS") {
            Some(Self::GitHub)
        } else if is("GITLAB_CI") {
            Some(Self::GitLab)
        } else {
            None
        }
    }
}

/// The buffered lines of a step, and their bytes: a log of a hundred megabytes is not readable.
const MAX_LINES: usize = 20_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The lines of the running steps.
#[derive(Debug, Default)]
pub(super) struct Sections {
    steps: BTreeMap<String, Lines>,
    count: u64,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    bytes: usize,
    omitted: usize,
}

impl Sections {
    pub(crate) fn open(&mut self, step: &str) {
        self.steps.insert(step.to_owned(), Lines::default());
    }

    /// Buffers a line of `step`; returns it if no such step is running.
    pub(crate) fn keep(&mut self, step: Option<&str>, line: String) -> Option<String> {
        let Some(lines) = step.and_then(|step| self.steps.get_mut(step)) else { return Some(line) };
        if lines.lines.len() < MAX_LINES && lines.bytes + line.len() <= MAX_BYTES {
            lines.bytes += line.len();
            lines.lines.push(line);
        } else {
            lines.omitted += 1;
        }
        None
    }

    /// Ends a step and returns its section.
    pub(crate) fn close(&mut self, ci: Ci, step: &str, headline: &str, seconds: f64, ok: bool) -> String {
        let Lines { mut lines, omitted, .. } = self.steps.remove(step).unwrap_or_default();
        if omitted > 0 {
            lines.push(format!("    … and {omitted} more lines"));
        }
        if lines.is_empty() {
            return format!("{headline}\n");
        }
        self.count += 1;
        let title = clean(headline);
        let title = title.trim();
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        match ci {
            // GitHub collapses every group.
            Ci::GitHub if ok => github::group(title, &harmless::github(&body)),
            Ci::GitHub => format!("{headline}\n{}", harmless::github(&body)),
            Ci::GitLab => {
                let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let start = end.saturating_sub(Duration::from_secs_f64(seconds.max(0.0)));
                let name = format!("deployctl_{}_{}", std::process::id(), self.count);
                let body = harmless::terminal(&body);
                gitlab::section(&name, start.as_secs(), end.as_secs(), title, &body, ok)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ci_system_is_known_by_its_variable() {
        let with = |set: &'static str| Ci::of(move |name| (name == set).then(|| "true".to_owned()));
        assert_eq!(with("GITHUB_ACTIONS"), Some(Ci::GitHub));
        assert_eq!(with("GITLAB_CI"), Some(Ci::GitLab));
        assert_eq!(with("CI"), None);
        assert_eq!(Ci::of(|_| Some("false".to_owned())), None);
    }

    #[test]
    fn steps_that_overlap_come_out_one_after_the_other() {
        let mut sections = Sections::default();
        sections.open("build");
        sections.open("plan");
        for (step, line) in [("build", "b1"), ("plan", "p1"), ("build", "::error::b2")] {
            assert_eq!(sections.keep(Some(step), line.to_owned()), None);
        }
        assert_eq!(sections.keep(Some("other"), "free".to_owned()), Some("free".to_owned()));
        assert_eq!(
            sections.close(Ci::GitHub, "plan", "  ✓ plan 1.0 s", 1.0, true),
            "::group::✓ plan 1.0 s\np1\n::endgroup::\n"
        );
        // A failed step is not collapsed.
        assert_eq!(
            sections.close(Ci::GitHub, "build", "  ✗ build 2.0 s", 2.0, false),
            "  ✗ build 2.0 s\nb1\n: :error::b2\n"
        );
        assert_eq!(sections.close(Ci::GitHub, "none", "  ✓ none", 0.0, true), "  ✓ none\n");
    }

    #[test]
    fn a_flood_is_cut() {
        let mut sections = Sections::default();
        sections.open("build");
        for _ in 0..MAX_LINES + 5 {
            sections.keep(Some("build"), "x".to_owned());
        }
        assert!(
            sections
                .close(Ci::GitHub, "build", "b", 0.0, true)
                .ends_with("… and 5 more lines\n::endgroup::\n")
        );
        sections.open("build");
        for _ in 0..60 {
            sections.keep(Some("build"), "x".repeat(1024 * 1024));
        }
        let section = sections.close(Ci::GitLab, "build", "b", 0.0, true);
        assert!(section.len() < MAX_BYTES + 1024 && section.contains("… and 56 more lines\n"));
    }
}
