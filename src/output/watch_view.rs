//! A text that is redrawn in the same place of a terminal.

use std::io::Write as _;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use super::redraw::redraw;

/// How much of the terminal the last look took.
#[derive(Debug, Default)]
pub(crate) struct WatchView {
    lines: usize,
}

impl WatchView {
    /// Draws `text`; false when stdout is closed. Without colours the cursor is moved all the same, so the
    /// stream that leaves them out must not see how.
    pub(super) fn draw(&mut self, text: &str) -> bool {
        let mut stdout = std::io::stdout();
        let plain = AutoStream::choice(&stdout) == ColorChoice::Never;
        let text = if plain { strip_str(text).to_string() } else { text.to_owned() };
        stdout.write_all(self.redrawn(&text).as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// `text` in the place of the text before it, in one write, so that nothing flickers. The terminal cuts lines that
    /// are too long, and what is too high for it is left out: otherwise the cursor could not return.
    fn redrawn(&mut self, text: &str) -> String {
        let height = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let lines: Vec<&str> = text.lines().take(height.saturating_sub(1)).collect();
        let frame = redraw(self.lines, "", &lines, true);
        self.lines = lines.len();
        // Without wrapping.
        format!("\x1b[?7l{frame}\x1b[?7h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_goes_back_over_the_first() {
        let mut look = WatchView::default();
        assert_eq!(look.redrawn("a\nb\n"), "\x1b[?7l\ra\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(look.redrawn("c\n"), "\x1b[?7l\r\x1b[2Ac\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(look.redrawn("d"), "\x1b[?7l\r\x1b[1Ad\x1b[K\n\x1b[J\x1b[?7h");
    }
}
