//! The progress of a build, from cargo's output.
//!
//! cargo reports each completed unit as JSON, but the number of units only in its progress bar. The bar
//! shares lines with other output, separated by carriage returns.

use crate::event::{Event, Events};
use crate::platform::process::Stream;

/// The progress of a build.
#[derive(Debug, Default)]
pub(super) struct Units {
    done: usize,
    total: usize,
    unit: String,
    changed: bool,
}

impl Units {
    /// Reads a line of cargo's output, and returns the parts to print.
    pub(super) fn read<'a>(&mut self, stream: Stream, line: &'a str) -> Vec<&'a str> {
        if stream == Stream::Stdout && line.starts_with('{') {
            let unit_reasons = ["{\"reason\":\"compiler-artifact\"", "{\"reason\":\"build-script-executed\""];
            if unit_reasons.iter().any(|start| line.starts_with(start)) {
                self.done += 1;
                self.changed = true;
            }
            return Vec::new();
        }
        let mut kept_lines = Vec::new();
        for part in line.split('\r') {
            if let Some((done, total)) = bar(part) {
                self.done = self.done.max(done);
                self.total = total;
                self.changed = true;
            } else if !is_overwritten(part) && !part.trim().is_empty() {
                if let Some(unit) = part.trim_start().strip_prefix("Compiling ") {
                    self.unit = unit.split(' ').next().unwrap_or_default().to_owned();
                    self.changed = true;
                }
                kept_lines.push(part.trim_end());
            }
        }
        kept_lines
    }

    /// Emits the progress if it has changed.
    pub(super) fn emit(&mut self, events: &Events) {
        if std::mem::take(&mut self.changed) {
            let total = self.total.max(self.done);
            events.emit(&Event::Units { done: self.done, total, unit: &self.unit });
        }
    }
}

/// The numbers in `   Building [====>   ] 12/345: serde, tokio`.
fn bar(part: &str) -> Option<(usize, usize)> {
    let rest = part.trim_start().strip_prefix("Building [")?;
    let (_, rest) = rest.split_once("] ")?;
    let (done, rest) = rest.split_once('/')?;
    let total = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((done.trim().parse().ok()?, total.parse().ok()?))
}

/// Whether cargo overwrites this part with the next one, such as the progress of downloads.
fn is_overwritten(part: &str) -> bool {
    let part = part.trim();
    part.starts_with("Downloading ") && part.contains(" crate") || part.starts_with("Building [")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_is_read_from_cargos_output() {
        let mut units = Units::default();
        let bar = "    Building [             ] 0/3: unicode-width, itoa       \r    Building [====>        ] 1/3: itoa  \r   \
                   Compiling scratch v0.1.0 (/tmp/scratch)";
        assert_eq!(
            units.read(Stream::Stderr, "   Compiling unicode-width v0.2.3"),
            ["   Compiling unicode-width v0.2.3"]
        );
        assert_eq!((units.done, units.total, units.unit.as_str()), (0, 0, "unicode-width"));
        let kept_lines = units.read(Stream::Stderr, bar);
        assert_eq!(kept_lines, ["   Compiling scratch v0.1.0 (/tmp/scratch)"]);
        assert_eq!((units.done, units.total, units.unit.as_str()), (1, 3, "scratch"));
        for reason in ["compiler-artifact", "build-script-executed", "build-finished"] {
            let line = format!("{{\"reason\":\"{reason}\",\"package_id\":\"x\"}}");
            assert!(units.read(Stream::Stdout, &line).is_empty());
        }
        assert_eq!(units.done, 3);
    }

    #[test]
    fn overwritten_parts_are_not_printed() {
        let mut units = Units::default();
        let line = " Downloading 1 crate          \r  Downloaded unicode-width v0.2.3";
        assert_eq!(units.read(Stream::Stderr, line), ["  Downloaded unicode-width v0.2.3"]);
        let error = "    Building [=>  ] 1/3: a\rerror: could not compile `a` (lib) due to 1 previous error";
        assert_eq!(
            units.read(Stream::Stderr, error),
            ["error: could not compile `a` (lib) due to 1 previous error"]
        );
    }
}
