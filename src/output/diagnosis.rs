//! The text of `doctor`.

use std::fmt::Write as _;

use super::theme::{BAD, DIM, GOOD, MILD};
use crate::documents::doctor::{Diagnosis, Severity};

/// The findings, a line each, with what to do below those that ask for it.
pub(crate) fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        let (style, mark) = match finding.severity {
            Severity::Ok => (GOOD, '✓'),
            Severity::Unchecked => (DIM, '?'),
            Severity::Warning => (MILD, '!'),
            Severity::Problem => (BAD, '✗'),
        };
        let message = finding.message.replace('\n', "\n      ");
        let _ = writeln!(text, "{style}{mark}{style:#} {DIM}{:<18}{DIM:#} {message}", finding.check);
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "    {DIM}→{DIM:#} {}", remedy.replace('\n', "\n      "));
        }
    }
    let count = |severity| diagnosis.findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = writeln!(
        text,
        "{}: {} problem(s), {} warning(s), {} not checked, {} fine",
        diagnosis.stage,
        count(Severity::Problem),
        count(Severity::Warning),
        count(Severity::Unchecked),
        count(Severity::Ok)
    );
    text
}
