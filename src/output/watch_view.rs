//! A text that is redrawn in the same place of a terminal.

use std::io::Write as _;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use super::redraw::redraw;

/// Redraws text over the text before it.
#[derive(Debug, Default)]
pub(crate) struct WatchView {
    /// The rows of the last text.
    lines: usize,
}

impl WatchView {
    /// Draws `text`. Does not use anstream, which without colours would also
    /// remove the movements of the cursor.
    pub(super) fn draw(&mut self, text: &str) -> std::io::Result<()> {
        let mut stdout = std::io::stdout();
        let plain = AutoStream::choice(&stdout) == ColorChoice::Never;
        let text = if plain { strip_str(text).to_string() } else { text.to_owned() };
        stdout.write_all(self.redrawn(&text).as_bytes()).and_then(|()| stdout.flush())
    }

    /// Long lines are not wrapped, and rows that do not fit are left out: otherwise the cursor could not
    /// return to the first row.
    fn redrawn(&mut self, text: &str) -> String {
        let height = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let lines: Vec<&str> = text.lines().take(height.saturating_sub(1)).collect();
        let frame = redraw(self.lines, "", &lines, true);
        self.lines = lines.len();
        // Disables line wrapping while the frame is drawn.
        format!("\x1b[?7l{frame}\x1b[?7h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_text_replaces_the_first() {
        let mut view = WatchView::default();
        assert_eq!(view.redrawn("a\nb\n"), "\x1b[?7l\ra\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(view.redrawn("c\n"), "\x1b[?7l\r\x1b[2Ac\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(view.redrawn("d"), "\x1b[?7l\r\x1b[1Ad\x1b[K\n\x1b[J\x1b[?7h");
    }
}
