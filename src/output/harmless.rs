//! Makes text from outside harmless, for each kind of output. No other file of `output` does.
//!
//! Text from outside is what AWS, Terraform, a function, the lease, the ledger and files say. It can contain
//! what a terminal, the runner of a CI job, a Markdown renderer or a browser would obey. Text for people is
//! filtered where it is written, after it is composed, so that no part of it can be forgotten. Markdown and
//! HTML have their own markup, so their parts are escaped where they are put in.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstream::adapter::strip_str;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The end of a style.
const RESET: &str = "\x1b[0m";

/// The parameters of a style that pass: bold, dimmed, italic, underlined, and bright colours of the text.
/// Others could hide text.
const STYLES: [&str; 17] =
    ["0", "1", "2", "3", "4", "31", "32", "33", "34", "35", "36", "91", "92", "93", "94", "95", "96"];

/// Text for a terminal, or for a file or a pipe that may be shown in one. Styles pass; every other control
/// character is replaced by a visible one.
pub(super) fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut styled = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(style) = style(rest) {
            safe.push_str(style);
            styled = style != RESET;
            rest = &rest[style.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c != '\r' || !rest.starts_with('\n') {
            safe.push(visible(c));
        }
    }
    if styled {
        safe.push_str(RESET);
    }
    safe
}

/// Text for the log of a GitHub job.
///
/// The runner executes `::name key=value::text` at the beginning of a line, also after white space, and the
/// older `##[name]text` anywhere in a line.
pub(super) fn github(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for line in terminal(text).split_inclusive('\n') {
        // Styles are removed from what is not written to a terminal, so they must not divide a command.
        let bare = strip_str(line).to_string();
        if is_command(&bare) {
            safe.push_str(&bare.replace("##[", "## [").replacen("::", ": :", 1));
        } else {
            safe.push_str(line);
        }
    }
    safe
}

/// Whether the runner of a GitHub job would execute a line of `text`, which need not be harmless.
pub(super) fn has_command(text: &str) -> bool {
    text.split(['\r', '\n']).any(is_command)
}

fn is_command(line: &str) -> bool {
    line.contains("##[") || line.trim_start().starts_with("::")
}

/// JSON whose text stays the same, without characters that a terminal or the runner of a GitHub job would
/// obey. No line of it begins with a colon.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    // A document can be large, so it is copied only if it must be changed.
    if !text.contains("##[") && text.chars().all(|c| visible(c) == c) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if visible(c) == c {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(safe.replace("##[", "##\\u005b"))
}

/// One text from outside, without escape sequences and control characters except `\n`.
pub(super) fn clean(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = control_sequence(rest) {
            rest = &rest[sequence.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => safe.push(c),
            // The text of such a sequence stays visible.
            '\x1b' => {}
            c if c.is_control() => safe.push(' '),
            c => safe.push(visible(c)),
        }
    }
    safe
}

/// The text or a property of a command to the runner of a GitHub job.
pub(super) fn github_data(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    clean(&text).replace("##[", "## [").replace('%', "%25").replace('\n', "%0A")
}

/// Text within a line of Markdown: without line breaks, markup and HTML.
pub(super) fn markdown(text: &str) -> String {
    let mut safe = String::new();
    for c in clean(text).chars() {
        match c {
            '\n' => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Text as code within a line of Markdown. A name in it notifies nobody.
pub(super) fn markdown_code(text: &str) -> String {
    let text = clean(text).replace('\n', " ");
    if text.trim().is_empty() {
        return String::new();
    }
    if text.contains('`') {
        let runs = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
        let fence = "`".repeat(runs + 1);
        return format!("{fence} {text} {fence}");
    }
    format!("`{text}`")
}

/// A block of code in Markdown.
pub(super) fn markdown_block(kind: &str, text: &str) -> String {
    format!("```{kind}\n{}\n```\n", clean(text).trim_end_matches('\n').replace("```", "'''"))
}

/// What a URL must not contain in Markdown. All that is not ASCII is encoded, too.
const IN_URL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'<').add(b'>').add(b'"').add(b'`').add(b'\\').add(b'[').add(b']').add(b'|');

/// A link to a web page in Markdown. Any other URL becomes text.
pub(super) fn markdown_link(url: &str) -> String {
    if ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
        format!("<{}>", utf8_percent_encode(url, IN_URL))
    } else {
        markdown(url)
    }
}

/// The name of a bar of a Mermaid diagram.
pub(super) fn mermaid(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_./".contains(c) { c } else { ' ' }).collect()
}

/// Text in HTML, also in an attribute.
pub(super) fn html(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// The control sequence (CSI) at the beginning of `text`.
fn control_sequence(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.bytes().position(|byte| !(0x20..0x40).contains(&byte))?;
    (0x40..0x7f).contains(&parameters.as_bytes()[end]).then(|| &text[..2 + end + 1])
}

/// The style at the beginning of `text`.
fn style(text: &str) -> Option<&str> {
    let sequence = control_sequence(text)?;
    let parameters = sequence.strip_prefix("\x1b[")?.strip_suffix('m')?;
    parameters.split(';').all(|parameter| STYLES.contains(&parameter)).then_some(sequence)
}

/// A character that neither controls a terminal nor changes the order of others.
fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        c if c.is_control() || is_invisible(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Separators of lines, the controls of bidirectional text, and tags.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_pass_and_end_and_no_other_control_does() {
        assert_eq!(terminal("\x1b[1m\x1b[31mred\x1b[0m\r\nb\tc\x07"), "\x1b[1m\x1b[31mred\x1b[0m\nb\tc␇");
        assert_eq!(terminal("\x1b[33mopen"), "\x1b[33mopen\x1b[0m");
        for (hostile, shown) in [
            ("\x1b[2J", "␛[2J"),
            ("\x1b[8mhidden", "␛[8mhidden"),
            ("\x1b[1;8m", "␛[1;8m"),
            ("\x1b[m\x1b[", "␛[m␛["),
            ("\x1b]0;title\x07", "␛]0;title␇"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("a\rb", "a␍b"),
            ("\u{202e}gpj.exe", "\u{fffd}gpj.exe"),
        ] {
            assert_eq!(terminal(hostile), shown);
        }
        assert_eq!(clean("a\x1b[31mred\x1b[0m\rb\tc\x07"), "ared b c ");
        assert_eq!(clean("two\nlines \x1b]0;title"), "two\nlines ]0;title");
    }

    #[test]
    fn text_from_outside_is_never_a_command() {
        let hostile = "::error::x\n  \t::set-output name=a::b\nfine :: here\nx ##[error]y\na\r::error::z\n";
        assert_eq!(
            github(hostile),
            ": :error::x\n  \t: :set-output name=a::b\nfine :: here\nx ## [error]y\na␍::error::z\n"
        );
        // A no-break space is white space for the runner, and anstream removes styles.
        assert_eq!(github("\u{a0}::debug::x"), "\u{a0}: :debug::x");
        assert_eq!(github("\x1b[2m  ::\x1b[0mdebug::x"), "  : :debug::x");
        assert_eq!(github("#\x1b[0m#[debug]x"), "## [debug]x");
        assert!(has_command("a\r ::debug::x") && has_command("a ##[debug]") && !has_command("a::b"));
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a": "##[error] \u{9b} \u{202e} \u{7f} \u{e0041} é \x1b" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let safe = json(&text);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
            assert!(!safe.contains("##[") && safe.chars().all(|c| c == '\n' || visible(c) == c), "{safe}");
        }
    }

    #[test]
    fn markdown_has_no_markup_from_outside() {
        assert_eq!(markdown("# a\n<b> [c](d) `e`"), "\\# a &lt;b&gt; \\[c\\](d) \\`e\\`");
        assert_eq!(markdown_code("@team"), "`@team`");
        assert_eq!(markdown_code("a``b"), "``` a``b ```");
        assert_eq!(markdown_code(" "), "");
        assert_eq!(markdown_block("diff", "+ a\n```\n# b\n"), "```diff\n+ a\n'''\n# b\n```\n");
        assert_eq!(
            markdown_link("https://x/a b><img src=\"\u{202e}"),
            "<https://x/a%20b%3E%3Cimg%20src=%22%E2%80%AE>"
        );
        assert_eq!(markdown_link("javascript:alert(1)"), "javascript:alert(1)");
        assert_eq!(html("<a b='\"'>&\x1b[2J"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;");
        assert_eq!(mermaid("a:b\n%%c"), "a b   c");
    }
}
