//! The cursor movements that draw lines in the place of earlier ones.

use std::fmt::Write as _;

/// The text that replaces the last `up` rows of the terminal by `lines`, with `printed` above them. It erases
/// only behind what it has written, so that nothing flickers. The cursor ends below the last line if
/// `ends_line`, otherwise in it.
pub(super) fn redraw<S: AsRef<str>>(up: usize, printed: &str, lines: &[S], ends_line: bool) -> String {
    let mut text = String::from("\r");
    if up > 0 {
        let _ = write!(text, "\x1b[{up}A");
    }
    if !printed.is_empty() {
        text.push_str("\x1b[J");
        text.push_str(printed);
    }
    for (place, line) in lines.iter().enumerate() {
        text.push_str(line.as_ref());
        text.push_str(if ends_line || place + 1 < lines.len() { "\x1b[K\n" } else { "\x1b[K" });
    }
    text.push_str("\x1b[J");
    text
}
