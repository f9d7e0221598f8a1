//! The live lines at the bottom of a terminal: the running steps, their durations and their progress.
//!
//! [`live_lines`] computes them from values. [`Screen`] draws them over the last frame, in one write, and
//! only if something has changed.

use std::fmt::Write as _;
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::harmless::clean;
use super::redraw::redraw;
use super::theme::{clock, fit};
use super::timeline::{State, Step, Timeline, Work};

/// Caps the live area so that the terminal does not jump.
const MAX_LINES: usize = 12;

/// The lines for a terminal of this size, each at most `width - 1` columns wide.
pub(super) fn live_lines(timeline: &Timeline, now: Duration, (width, height): (usize, usize)) -> Vec<String> {
    let width = width.saturating_sub(1);
    let max_lines = height.saturating_sub(1).clamp(1, MAX_LINES);
    let steps: Vec<(usize, &Step)> = timeline.running().collect();
    let mut room = max_lines.saturating_sub(steps.len());
    let mut lines = Vec::new();
    for (place, step) in steps {
        let time = step.span.time(now);
        lines.push(line("  … ", &step.name, &after(timeline, step, time), width));
        let mut works: Vec<&Work> =
            timeline.works_of(place).filter(|work| work.span.state == State::Running).collect();
        works.sort_by_key(|work| work.span.start);
        let shown = if works.len() <= room { works.len() } else { room.saturating_sub(1) };
        for work in &works[..shown] {
            let time = clock(work.span.time(now));
            lines.push(line("      ", &format!("{} {}", work.doing, work.name), &time, width));
        }
        if shown < works.len() && room > 0 {
            lines.push(fit(&format!("      … and {} more", works.len() - shown), width));
        }
        room = room.saturating_sub(works.len());
    }
    lines.truncate(max_lines);
    lines
}

/// The same on one line, for the log of a CI job.
pub(super) fn one_line(timeline: &Timeline, now: Duration) -> String {
    let steps = timeline.running().map(|(_, step)| {
        let time = step.span.time(now);
        format!("{} {}", step.name, after(timeline, step, time))
    });
    steps.collect::<Vec<_>>().join(" · ")
}

/// The time and the progress of a step, which follow its name.
fn after(timeline: &Timeline, step: &Step, time: Duration) -> String {
    let mut text = clock(time);
    if step.name == "build"
        && let Some((done, total, unit)) = &timeline.units
    {
        let _ = write!(text, " {done}/{total} {unit}");
    }
    let layer = step.name.strip_prefix("terraform ").and_then(|rest| rest.split_once(' '));
    if let Some((_, layer)) = layer.filter(|(verb, _)| ["apply", "destroy"].contains(verb))
        && let Some((done, planned)) = timeline.progress(layer)
    {
        let _ = write!(text, " {done}/{planned}");
    }
    text
}

/// A line of at most `width` columns; the name is cut first.
fn line(before: &str, name: &str, after: &str, width: usize) -> String {
    let room = width.saturating_sub(before.width() + after.width() + 1);
    let name = clean(name);
    // A name of a few letters is useless: then the end of the line is cut.
    let name = if room >= 12 { fit(&name, room) } else { name };
    fit(&format!("{before}{name} {}", clean(after)), width)
}

#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The lines of the last frame.
    drawn: Vec<String>,
}

impl Screen {
    /// The text that prints `printed` above the live `lines`; empty if nothing has changed.
    pub(super) fn frame(&mut self, printed: &str, lines: Vec<String>, width: usize) -> String {
        if printed.is_empty() && lines == self.drawn {
            return String::new();
        }
        // A terminal that has become narrower wraps the lines of the last frame.
        let rows: usize = self.drawn.iter().map(|line| line.width().max(1).div_ceil(width.max(1))).sum();
        let frame = redraw(rows.saturating_sub(1), printed, &lines, false);
        // Synchronized output: terminals that support it show the frame at once.
        let text = format!("\x1b[?2026h{frame}\x1b[?2026l");
        self.drawn = lines;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::release;
    use super::*;

    #[test]
    fn the_lines_show_the_running_steps_and_their_progress() {
        let (timeline, now) = release();
        let lines = live_lines(&timeline, timeline.time(now), (80, 24));
        assert_eq!(
            lines,
            ["  … build 16 s 34/120 users", "  … publish versions 3 s", "      wait for users_post 3 s"]
        );
        assert_eq!(one_line(&timeline, timeline.time(now)), "build 16 s 34/120 users · publish versions 3 s");
    }

    #[test]
    fn they_fit_into_any_terminal() {
        let (timeline, now) = release();
        for width in [1, 10, 20, 40] {
            for height in [1, 2, 3, 50] {
                let lines = live_lines(&timeline, timeline.time(now), (width, height));
                assert!(lines.len() < height.max(2), "{lines:?}");
                assert!(lines.iter().all(|line| line.width() < width.max(1) + usize::from(width == 0)));
            }
        }
        assert_eq!(live_lines(&timeline, timeline.time(now), (20, 24))[2], "      wait for use…");
        assert_eq!(live_lines(&timeline, timeline.time(now), (26, 24))[2], "      wait for users… 3 s");
    }

    #[test]
    fn a_frame_replaces_the_last_one_and_no_frame_is_drawn_without_changes() {
        let mut screen = Screen::default();
        let lines = || vec!["one".to_owned(), "two".to_owned()];
        let first = screen.frame("", lines(), 80);
        assert!(!first.contains('A') && first.contains("one\x1b[K\ntwo\x1b[K\x1b[J"), "{first:?}");
        assert_eq!(screen.frame("", lines(), 80), "");
        let second = screen.frame("done\n", lines(), 80);
        assert!(second.contains("\r\x1b[1A\x1b[Jdone\none"), "{second:?}");
        // "one" and "two" take two rows each in a terminal of two columns.
        assert!(screen.frame("", Vec::new(), 2).contains("\r\x1b[3A\x1b[J"));
    }
}
