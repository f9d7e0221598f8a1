//! The settings of previews.

use std::time::Duration;

use super::file::PreviewsFile;
use super::problem::{Problem, ProblemKind};

/// What previews of a stage may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PreviewSettings {
    /// How long a preview stays after its last change.
    pub(crate) lifetime: Duration,
    /// The most previews at a time.
    pub(crate) max: usize,
}

impl PreviewsFile {
    pub(super) fn resolve(&self, stage: &str, problems: &mut Vec<Problem>) -> PreviewSettings {
        let lifetime = lifetime(&self.expires).unwrap_or_else(|rule| {
            let path = ["stages", stage, "previews", "expires"];
            problems.push(Problem::new(&path, ProblemKind::Lifetime(rule)));
            Duration::ZERO
        });
        PreviewSettings { lifetime, max: self.max }
    }
}

/// A time such as `90m`, `12h` or `7d`.
///
/// # Errors
/// The rule that the text violates.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let rule = || "a lifetime is a number from 1 to 9999 and m, h or d, such as 12h or 7d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(rule)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(rule()),
    };
    let number: u64 = number.parse().map_err(|_| rule())?;
    if (1..=9999).contains(&number) { Ok(Duration::from_secs(number * seconds)) } else { Err(rule()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "d", "0h", "7", "7w", "-1d", "10000d", "1.5h", "ü"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
