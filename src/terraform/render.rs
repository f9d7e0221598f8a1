//! A plan as text. [`Plan`] itself serialises to JSON.

use std::fmt::Write;

use serde_json::Value;

use super::plan::{Action, Invocation, Plan, ResourceChange, ValueChange};

/// Longer values are cut: a policy document does not fit into a summary.
const MAX_VALUE_CHARS: usize = 60;

/// The characters before a difference that are shown if a value is cut at the front.
const CONTEXT_CHARS: usize = 15;

/// Further attributes are only counted.
const MAX_ATTRIBUTES: usize = 8;

/// The numbers, such as `1 to add, 2 to change, 1 to destroy`. A replacement is one to add and one to
/// destroy.
pub(crate) fn numbers(plan: &Plan) -> String {
    let replaced = plan.count(Action::Replace);
    let kept = plan.count(Action::ForgetAndCreate);
    let (add, destroy) =
        (plan.count(Action::Create) + replaced + kept, plan.count(Action::Delete) + replaced);
    let change = plan.count(Action::Update);
    let mut parts = Vec::new();
    if add + change + destroy > 0 {
        parts.push(format!("{add} to add, {change} to change, {destroy} to destroy"));
    }
    let forget = plan.count(Action::Forget) + kept;
    for (count, words) in [
        (forget, "to forget"),
        (plan.count(Action::Unknown), "with an unknown action"),
        (plan.invocations.len(), "to invoke"),
    ] {
        parts.extend((count > 0).then(|| format!("{count} {words}")));
    }
    match plan.outputs.len() {
        0 => {}
        1 => parts.push("1 output changes".to_owned()),
        outputs => parts.push(format!("{outputs} outputs change")),
    }
    if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
}

/// A line per resource, and one per attribute that differs.
pub(crate) fn summary(plan: &Plan) -> String {
    let mut text = String::new();
    for change in plan.changes.iter().filter(|change| change.action != Action::Read) {
        line(&mut text, format_args!("{} {}", sign(change.action), headline(change)));
        // All attributes of a created or destroyed resource change.
        if matches!(change.action, Action::Update | Action::Replace | Action::ForgetAndCreate) {
            attributes(&mut text, change);
        }
    }
    for Invocation { address, resource, event } in &plan.invocations {
        let because = match (resource, event) {
            (Some(resource), Some(event)) => format!(": {event} of {resource}"),
            _ => String::new(),
        };
        line(&mut text, format_args!("! invoke {address}{because}"));
    }
    for (name, change) in &plan.outputs {
        line(&mut text, format_args!("  output {name}: {}", arrow(change)));
    }
    for change in &plan.drift {
        let names: Vec<&str> = change.attributes.keys().map(String::as_str).collect();
        line(&mut text, format_args!("! {} changed outside Terraform: {}", change.address, names.join(", ")));
    }
    text
}

const fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Delete | Action::Replace => "-",
        Action::Update | Action::ForgetAndCreate => "!",
        Action::Read | Action::Forget | Action::NoOp | Action::Unknown => " ",
    }
}

fn headline(change: &ResourceChange) -> String {
    let ResourceChange { address, action, replace_paths, previous_address, import, .. } = change;
    let mut text = match action {
        Action::Create => format!("create {address}"),
        Action::Update => format!("update {address}"),
        Action::Delete => format!("destroy {address}"),
        Action::Replace => format!("replace {address}"),
        Action::ForgetAndCreate => {
            format!("forget {address}, which continues to exist, and create another one")
        }
        Action::Read => format!("read {address}"),
        Action::Forget => format!("forget {address}"),
        Action::NoOp => format!("keep {address}"),
        Action::Unknown => format!("unknown action on {address}"),
    };
    if !replace_paths.is_empty() {
        write_to(&mut text, format_args!(" because of {}", replace_paths.join(", ")));
    }
    if let Some(previous) = previous_address {
        write_to(&mut text, format_args!(" (moved from {previous})"));
    }
    if *import {
        text.push_str(" (imported)");
    }
    text
}

fn attributes(text: &mut String, change: &ResourceChange) {
    for (name, value) in change.attributes.iter().take(MAX_ATTRIBUTES) {
        line(text, format_args!("    {name}: {}", arrow(value)));
    }
    let more = change.attributes.len().saturating_sub(MAX_ATTRIBUTES);
    if more > 0 {
        line(text, format_args!("    and {more} more"));
    }
}

fn arrow(change: &ValueChange) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let (before, after) = (before.to_string(), after.to_string());
            let start = difference(&before, &after);
            format!("{} → {}", cut(&before, start), cut(&after, start))
        }
        (None, Some(after)) => short(after),
        (Some(before), None) => format!("{} → nothing", short(before)),
        (None, None) => "nothing".to_owned(),
    }
}

fn short(value: &Value) -> String {
    cut(&value.to_string(), 0)
}

/// Where two values are cut at the front, in characters: 0 if the difference would be seen anyway.
fn difference(before: &str, after: &str) -> usize {
    let same = before.chars().zip(after.chars()).take_while(|(before, after)| before == after).count();
    if same + CONTEXT_CHARS < MAX_VALUE_CHARS { 0 } else { same - CONTEXT_CHARS }
}

/// At most [`MAX_VALUE_CHARS`] of `text` from the character `start` on.
fn cut(text: &str, start: usize) -> String {
    let rest: String = text.chars().skip(start).collect();
    let front = if start > 0 { "…" } else { "" };
    match rest.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{front}{}…", &rest[..end]),
        None => format!("{front}{rest}"),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    write_to(text, line);
    text.push('\n');
}

fn write_to(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _cannot_fail = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replan() -> Plan {
        Plan::parse(include_bytes!("../../tests/fixtures/terraform/show-replan.json")).unwrap()
    }

    #[test]
    fn a_summary_lists_changes_with_reasons() {
        assert_eq!(
            summary(&replan()),
            "! update terraform_data.one\n\
            \u{20}   input: \"x\" → \"y\"\n\
            \u{20}   output: \"x\" → \"(known after apply)\"\n\
             - replace terraform_data.two because of triggers_replace\n\
            \u{20}   id: \"c707bd3b-a0f0-ef27-72fc-b0635c8a252c\" → \"(known after apply)\"\n\
            \u{20}   output: \"(sensitive)\" → \"(known after apply)\"\n\
            \u{20}   triggers_replace: [\"x\"] → [\"y\"]\n\
            \u{20} output name: \"x\" → \"(known after apply)\"\n"
        );
    }

    #[test]
    fn a_cut_shows_where_two_values_differ() {
        let uri = |end: &str| {
            Value::from(format!("arn:aws:apigateway:us-east-1:lambda:path/{}/{end}", "x".repeat(60)))
        };
        let change = |before: &str, after: &str| {
            arrow(&ValueChange { before: Some(uri(before)), after: Some(uri(after)) })
        };
        assert_eq!(change("a", "b"), "…xxxxxxxxxxxxxx/a\" → …xxxxxxxxxxxxxx/b\"");
        assert_eq!(
            change(&format!("a{}", "y".repeat(80)), ""),
            format!("…xxxxxxxxxxxxxx/a{}… → …xxxxxxxxxxxxxx/\"", "y".repeat(44))
        );
        let value = |text: &str| Some(Value::from(text));
        assert_eq!(arrow(&ValueChange { before: value("a"), after: value("b") }), "\"a\" → \"b\"");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let value = Value::from("ä".repeat(1000));
        assert_eq!(short(&value).chars().count(), MAX_VALUE_CHARS + 1);
    }
}
