//! The command lines of deployctl in a page: what stands in its blocks for a shell, and in running text.

use crate::support::markdown::Page;

/// Each as its words, "deployctl" first. Those with `…` or `[` are patterns and not command lines.
pub(crate) fn of_deployctl(page: &Page) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for block in &page.blocks {
        match block.language() {
            "sh" | "bash" | "shell" | "yaml" | "yml" => found.extend(in_shell(&block.text)),
            "console" => {
                let session = crate::support::markdown::commands(&block.text);
                found.extend(session.iter().flat_map(|(command, _)| in_shell(command)));
            }
            _ => {}
        }
    }
    found.extend(page.spans.iter().flat_map(|span| in_shell(span)));
    found
}

fn in_shell(text: &str) -> Vec<Vec<String>> {
    let mut outer = text.replace("\\\n", " ");
    let mut lines = Vec::new();
    while let Some(start) = outer.rfind("$(") {
        let end = outer[start..].find(')').map_or(outer.len(), |end| start + end + 1);
        lines.push(outer[start + 2..end].trim_end_matches(')').to_owned());
        outer.replace_range(start..end, "value");
    }
    lines.extend(outer.lines().map(str::to_owned));
    lines.iter().flat_map(|line| split(line)).filter_map(|command| words(&command)).collect()
}

/// Where one command of a line ends and the next begins, roughly as a shell sees it.
fn split(line: &str) -> Vec<String> {
    let (mut commands, mut current) = (Vec::new(), String::new());
    let (mut quote, mut before) = (None, ' ');
    for c in line.chars() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => break,
            (None, ';' | '|' | '&' | '(' | ')') => commands.push(std::mem::take(&mut current)),
            _ => {
                if quote == Some(c) {
                    quote = None;
                } else if quote.is_none() && (c == '"' || c == '\'') {
                    quote = Some(c);
                }
                current.push(c);
            }
        }
        before = c;
    }
    commands.push(current);
    commands
}

fn words(command: &str) -> Option<Vec<String>> {
    // In a list of examples, three blanks come before what an example does.
    let command = command.trim().split("   ").next()?;
    let start = match command.find("cargo run -- ") {
        Some(0) => command.replacen("cargo run -- ", "deployctl ", 1),
        _ => command.to_owned(),
    };
    if !start.contains("deployctl ") || start.contains(['…', '[']) {
        return None;
    }
    let words = shlex::split(&placeholders(&start))?;
    let leads = |word: &String| {
        let is_variable = word.split_once('=').is_some_and(|(name, _)| {
            name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        });
        is_variable || ["-", "run:", "exec", "time"].contains(&word.as_str())
    };
    let words: Vec<String> = words.into_iter().skip_while(leads).collect();
    let argument = |word: &String| !word.starts_with(['>', '<']) && !word.starts_with("2>");
    let words: Vec<String> = words.into_iter().take_while(argument).filter(|word| word != "$@").collect();
    (words.len() > 1 && words[0] == "deployctl" && words[1] != PLACEHOLDER).then_some(words)
}

const PLACEHOLDER: &str = "PLACEHOLDER";

/// `<exit code or error>` is one word.
fn placeholders(command: &str) -> String {
    let mut text = command.to_owned();
    while let Some(start) = text.find('<')
        && let Some(length) = text[start..].find('>')
    {
        text.replace_range(start..=start + length, PLACEHOLDER);
    }
    text
}

#[test]
fn command_lines_are_found() {
    let found = |text: &str| in_shell(text).iter().map(|words| words.join(" ")).collect::<Vec<_>>();
    assert_eq!(found("cargo build && deployctl status > out # deployctl no"), ["deployctl status"]);
    assert_eq!(found("URL=$(deployctl output url) \\\n  true"), ["deployctl output url"]);
    assert_eq!(found("curl \"$(deployctl status | grep -o x)/y\""), ["deployctl status"]);
    assert_eq!(found("eval \"$(deployctl local env)\""), ["deployctl local env"]);
    assert_eq!(found("  - run: exec deployctl rollback \"$@\""), ["deployctl rollback"]);
    assert_eq!(
        found("cargo run -- release --version 1; STAGE=x deployctl plan"),
        ["deployctl release --version 1", "deployctl plan"]
    );
    assert_eq!(found("deployctl explain <an error> > out"), ["deployctl explain PLACEHOLDER"]);
    assert_eq!(found("the program deployctl is, deployctl release [--stage S]"), [""; 0]);
}
