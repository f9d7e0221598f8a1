//! The colours of deployctl. anstream decides whether they are shown (`NO_COLOR`, `CLICOLOR_FORCE`, a
//! terminal or not).

use anstyle::{AnsiColor, Style};
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

/// The duration of something that is running.
pub(super) fn clock(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds:02}s"),
    }
}

/// The duration of something that has ended.
pub(super) fn duration(time: std::time::Duration) -> String {
    if time.as_secs() < 60 { format!("{:.1} s", time.as_secs_f64()) } else { clock(time) }
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
    fn text_is_cut_by_columns_and_not_by_letters() {
        assert_eq!(fit("terraform", 20), "terraform");
        assert_eq!(fit("terraform", 6), "terra…");
        assert_eq!(fit("日本語テキスト", 7), "日本語…");
        assert_eq!(fit("日本語テキスト", 6), "日本…");
        assert_eq!((fit("abc", 1), fit("abc", 0)), ("…".to_owned(), String::new()));
    }
}
