//! The text of `doctor`.

use std::fmt::Write as _;

use super::theme::{ATTENTION, DIM, FAILURE, SUCCESS};
use crate::documents::doctor::{Diagnosis, Severity};

/// One line per finding, with its remedy below.
pub(crate) fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        let (style, mark) = match finding.severity {
            Severity::Ok => (SUCCESS, '✓'),
            Severity::Unchecked => (DIM, '?'),
            Severity::Warning => (ATTENTION, '!'),
            Severity::Problem => (FAILURE, '✗'),
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
