//! The colours of deployctl. anstream decides whether they are shown (`NO_COLOR`, `CLICOLOR_FORCE`, a
//! terminal or not).

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

pub(super) const SUCCESS: Style = AnsiColor::Green.on_default();
pub(super) const FAILURE: Style = AnsiColor::Red.on_default().bold();
pub(super) const ATTENTION: Style = AnsiColor::Yellow.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
/// For the most important part of a line.
pub(super) const STRONG: Style = Style::new().bold();

/// The colours of functions in a log.
pub(super) const PALETTE: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::BrightRed,
];

/// A duration in whole seconds, for something that is running.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The duration of something that has ended.
pub(super) fn duration(time: Duration) -> String {
    let rounded = (time.as_secs_f64() * 10.0).round() / 10.0;
    if rounded < 60.0 { format!("{rounded:.1} s") } else { clock(time.max(Duration::from_mins(1))) }
}

/// The same for a number of seconds.
pub(super) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How long ago `at` was. A clock that differs a little makes nothing happen in the future.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s ago"),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (1, ..) => "1 day ago".to_owned(),
        (days @ 2..60, ..) => format!("{days} days ago"),
        _ => at.strftime("%Y-%m-%d").to_string(),
    }
}

/// `text`, cut to `width` columns with an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut cut: String = text
        .chars()
        .take_while(|c| {
            let wide = c.width().unwrap_or_default();
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        })
        .collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_one_form() {
        let shown = |milliseconds| duration(Duration::from_millis(milliseconds));
        assert_eq!(["0.0 s", "1.2 s", "59.9 s"], [shown(4), shown(1_249), shown(59_940)]);
        assert_eq!(["1 min 0 s", "1 min 23 s"], [shown(59_960), shown(83_400)]);
        assert_eq!(clock(Duration::from_secs(3_900)), "1 h 5 min");
        let now: Timestamp = "2026-11-25T16:00:00Z".parse().unwrap();
        for (at, text) in [
            ("2026-11-25T16:00:09Z", "0 s ago"),
            ("2026-11-25T15:59:20Z", "40 s ago"),
            ("2026-11-25T15:00:01Z", "59 min ago"),
            ("2026-11-24T16:00:01Z", "23 h ago"),
            ("2026-11-24T16:00:00Z", "1 day ago"),
            ("2026-10-25T16:00:00Z", "31 days ago"),
            ("2026-01-25T16:00:00Z", "2026-01-25"),
        ] {
            assert_eq!(ago(at.parse().unwrap(), now), text, "{at}");
        }
    }

    #[test]
    fn text_is_cut_by_columns_and_not_by_letters() {
        assert_eq!(fit("terraform", 20), "terraform");
        assert_eq!(fit("terraform", 6), "terra…");
        assert_eq!(fit("日本語テキスト", 7), "日本語…");
        assert_eq!(fit("日本語テキスト", 6), "日本…");
        assert_eq!((fit("abc", 1), fit("abc", 0)), ("…".to_owned(), String::new()));
    }
}
