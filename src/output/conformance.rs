//! The table of `conformance`.

use std::fmt::Write as _;

use super::harmless::clean;
use super::theme::{ATTENTION, DIM, SUCCESS};
use crate::documents::conformance::{ConformanceBody, Verdict};

/// One line per check, with what was observed; the assumption below a check that did not pass.
pub(crate) fn text(body: &ConformanceBody) -> String {
    let mut text = String::new();
    let width = body.checks.iter().map(|checked| checked.check.len()).max().unwrap_or_default();
    for checked in &body.checks {
        let (style, mark, verdict) = match checked.verdict {
            Verdict::Passed => (SUCCESS, '✓', "passed"),
            Verdict::Differs => (ATTENTION, '✗', "differs"),
            Verdict::NotTried => (DIM, '?', "not tried"),
        };
        let observed = clean(&checked.observed).replace('\n', " ");
        let time = checked.milliseconds.map_or_else(String::new, |time| format!(" ({time} ms)"));
        let check = checked.check;
        let _ = writeln!(text, "{style}{mark} {verdict:<9}{style:#} {check:<width$}  {observed}{time}");
        if checked.verdict != Verdict::Passed {
            let _ = writeln!(text, "  {DIM}assumed: {}{DIM:#}", checked.assumption);
        }
    }
    let count = |verdict| body.count(verdict);
    let _ = writeln!(
        text,
        "{} ({}, {}): {} passed, {} differ, {} not tried",
        body.stage,
        body.account,
        body.region,
        count(Verdict::Passed),
        count(Verdict::Differs),
        count(Verdict::NotTried),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::conformance::{Checked, Conformance};

    #[test]
    fn a_check_that_differs_shows_what_was_assumed() {
        let checked = |check, verdict| Checked {
            check,
            assumption: "A holds.",
            verdict,
            observed: "B\x1b[2J".to_owned(),
            milliseconds: (verdict == Verdict::Passed).then_some(12),
        };
        let body = ConformanceBody {
            outcome: Conformance::Differs,
            stage: "dev".to_owned(),
            account: "1".to_owned(),
            region: "r".to_owned(),
            sandbox: String::new(),
            checks: vec![checked("one", Verdict::Passed), checked("longer", Verdict::Differs)],
            left: Vec::new(),
        };
        let plain = anstream::adapter::strip_str(&text(&body)).to_string();
        assert_eq!(
            plain,
            "✓ passed    one     B (12 ms)\n✗ differs   longer  B\n  assumed: A holds.\ndev (1, r): 1 passed, 1 differ, 0 \
             not tried\n"
        );
    }
}
