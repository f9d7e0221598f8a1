//! The text of `history`: one line for each record.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr as _;

use super::theme::{DIM, ago};
use crate::release::record::{Action, Outcome, Record};

const HEADER: [&str; 7] = ["number", "when", "action", "outcome", "version", "commit", "by"];

/// A table of the records. `pruned` are the numbers of those whose releases cannot be restored.
pub(crate) fn text(records: &[Record], pruned: &BTreeSet<u64>, now: Timestamp) -> String {
    if records.is_empty() {
        return "the ledger has no records\n".to_owned();
    }
    let rows: Vec<[String; 7]> =
        records.iter().map(|record| cells(record, pruned.contains(&record.number), now)).collect();
    let mut widths = HEADER.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = format!("{DIM}{}{DIM:#}\n", line(&HEADER, &widths));
    for row in &rows {
        let _ = writeln!(text, "{}", line(&row.each_ref().map(String::as_str), &widths));
    }
    text
}

fn line(cells: &[&str; 7], widths: &[usize; 7]) -> String {
    let mut line = String::new();
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let room = " ".repeat(width.saturating_sub(cell.width()));
        // Numbers end at the same column; the last cell can be long, and needs no room behind it.
        match place {
            0 => _ = write!(line, "{room}{cell}"),
            6 => _ = write!(line, "  {cell}"),
            _ => _ = write!(line, "  {cell}{room}"),
        }
    }
    line
}

fn cells(record: &Record, pruned: bool, now: Timestamp) -> [String; 7] {
    let action = match record.action {
        Action::Release => "release".to_owned(),
        Action::Redeploy => "redeploy".to_owned(),
        Action::Rollback => "rollback".to_owned(),
        Action::Promote => match &record.release.promoted_from {
            Some(stage) => format!("promote from {stage}"),
            None => "promote".to_owned(),
        },
    };
    let is_release = matches!(record.action, Action::Release | Action::Promote);
    let is_unplanned = record.infrastructure.as_ref().is_some_and(|infrastructure| !infrastructure.planned);
    let unplanned = if is_release && is_unplanned { ", infrastructure not planned" } else { "" };
    let outcome = match record.outcome {
        Outcome::Live if pruned => "pruned".to_owned(),
        outcome => outcome.to_string(),
    };
    [
        record.number.to_string(),
        ago(record.at, now),
        action + unplanned,
        outcome,
        record.release.version.to_string(),
        record.release.git.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        record.who.run_url.as_deref().unwrap_or(&record.who.arn).to_owned(),
    ]
}
