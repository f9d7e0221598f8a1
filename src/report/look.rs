//! What is shown again and again in the same place of a terminal.

use std::io::Write as _;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

/// How much of the terminal the last look took.
#[derive(Debug, Default)]
pub struct Look {
    lines: usize,
}

impl Look {
    /// Draws `text`; false when nobody reads it any more. Without colours the cursor is moved all the same, so the
    /// stream that leaves them out must not see how.
    pub(super) fn draw(&mut self, text: &str) -> bool {
        let mut stdout = std::io::stdout();
        let plain = AutoStream::choice(&stdout) == ColorChoice::Never;
        let text = if plain { strip_str(text).to_string() } else { text.to_owned() };
        stdout.write_all(self.redrawn(&text).as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// `text` in the place of the text before it, in one write, so that nothing flickers. The terminal cuts lines that
    /// are too long, and what is too high for it is left out: only so can the cursor find its way back.
    fn redrawn(&mut self, text: &str) -> String {
        let height = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let lines: Vec<&str> = text.lines().take(height.saturating_sub(1)).collect();
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        self.lines = lines.len();
        // Without wrapping, each line is erased to its end after it was written, and the rest at last.
        let body: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        format!("\x1b[?7l\r{up}{body}\x1b[J\x1b[?7h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_goes_back_over_the_first() {
        let mut look = Look::default();
        assert_eq!(look.redrawn("a\nb\n"), "\x1b[?7l\ra\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(look.redrawn("c\n"), "\x1b[?7l\r\x1b[2Ac\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(look.redrawn("d"), "\x1b[?7l\r\x1b[1Ad\x1b[K\n\x1b[J\x1b[?7h");
    }
}
