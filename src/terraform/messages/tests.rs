//! The streams are recorded: see tests/fixtures/terraform/README.md.

use super::*;

fn recorded(name: &str) -> Vec<Message> {
    let path = format!("{}/tests/fixtures/terraform/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| Message::parse(line).unwrap_or_else(|| panic!("not a message: {line}"));
    text.lines().map(parse).collect()
}

#[test]
fn all_recorded_messages_are_known() {
    for name in ["init", "missing", "plan", "noplan", "replan", "apply", "stale", "locked", "sigint"] {
        let messages = recorded(name);
        assert_eq!(messages[0], Message::Version { version: "1.11.4".into(), ui: "1.2".into() });
        let unknown: Vec<_> = messages.iter().filter(|m| matches!(m, Message::Other { .. })).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn a_plan_has_changes_with_reasons() {
    let messages = recorded("replan");
    let changes: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::PlannedChange(change) => {
                Some((change.address.as_str(), change.action.as_str(), change.reason.as_deref()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        changes,
        [("terraform_data.one", "update", None), ("terraform_data.two", "replace", Some("cannot_update"))]
    );
    let summary = Summary { add: 1, change: 1, import: 0, remove: 1, operation: "plan".into() };
    assert!(messages.contains(&Message::ChangeSummary(summary)));
}

#[test]
fn an_apply_has_the_progress_of_each_resource() {
    let phases: Vec<_> = recorded("apply")
        .into_iter()
        .filter_map(|message| match message {
            Message::Progress(progress) if progress.address == "terraform_data.two" => {
                Some((progress.operation, progress.phase, progress.output))
            }
            _ => None,
        })
        .collect();
    let executing = "Executing: [\"/bin/sh\" \"-c\" \"echo hello; sleep 0.2\"]";
    assert_eq!(
        phases,
        [
            (Operation::Apply, Phase::Start, None),
            (Operation::Provision, Phase::Start, None),
            (Operation::Provision, Phase::Progress, Some(executing.into())),
            (Operation::Provision, Phase::Progress, Some("hello".into())),
            (Operation::Provision, Phase::Complete, None),
            (Operation::Apply, Phase::Complete, None),
        ]
    );
}

#[test]
fn a_diagnostic_has_a_range_and_a_snippet() {
    let messages = recorded("missing");
    let error = messages.iter().find_map(Message::error).unwrap();
    assert_eq!(error.summary, "No value for required variable");
    let range = error.range.as_ref().unwrap();
    assert_eq!((range.filename.as_str(), range.start.line), ("main.tf", 2));
    assert_eq!(error.snippet.as_ref().unwrap().code, r#"variable "name" { type = string }"#);
}

#[test]
fn values_of_outputs_are_not_kept() {
    let outputs = recorded("apply").into_iter().find(|message| matches!(message, Message::Outputs { .. }));
    let text = serde_json::to_string(&outputs.unwrap()).unwrap();
    assert!(text.contains("secret") && !text.contains("value") && !text.contains("hunter2"), "{text}");
}

#[test]
fn an_unknown_message_is_kept_unchanged() {
    let line = r#"{"@message":"x","type":"from_the_future","a":[1,{"b":null}]}"#;
    let Some(Message::Other { kind, json }) = Message::parse(line) else { panic!() };
    assert_eq!(kind, "from_the_future");
    assert_eq!(json, serde_json::from_str::<Value>(line).unwrap());
    // A known type with other fields, and a message without a type.
    let strange = r#"{"type":"apply_start","hook":{"resource":7}}"#;
    assert!(matches!(Message::parse(strange), Some(Message::Other { kind, .. }) if kind == "apply_start"));
    assert!(matches!(Message::parse("{}"), Some(Message::Other { kind, .. }) if kind.is_empty()));
}

#[test]
fn other_lines_are_not_messages() {
    for line in ["", "text", "[1]", "{", r#"{"type":"log","@message":"cut"#, "\u{fffd}"] {
        assert_eq!(Message::parse(line), None, "{line}");
    }
}

#[test]
fn the_version_of_opentofu_is_read() {
    let line = r#"{"@level":"info","@message":"OpenTofu 1.8.2","tofu":"1.8.2","type":"version","ui":"1.2"}"#;
    assert_eq!(Message::parse(line), Some(Message::Version { version: "1.8.2".into(), ui: "1.2".into() }));
}

#[test]
fn a_list_that_is_null_is_empty() {
    let line = r#"{"type":"diagnostic","diagnostic":{"severity":"error","summary":"s","detail":"",
        "snippet":{"context":null,"code":"c","start_line":1,"values":null}}}"#;
    assert!(Message::parse(line).unwrap().error().is_some());
}

#[test]
fn a_diagnostic_is_shown_with_a_path_from_here_and_its_source() {
    let here = std::env::current_dir().unwrap();
    let diagnostic = Diagnostic {
        severity: "error".into(),
        summary: "Unsupported argument".into(),
        detail: "An argument named \"foo\" is not expected here.".into(),
        range: Some(Range {
            filename: "bad.tf".into(),
            start: Position { line: 4, column: 3 },
            end: Position { line: 4, column: 6 },
        }),
        snippet: Some(Snippet { code: "  foo = 1".into(), start_line: 4, ..Snippet::default() }),
        address: None,
    };
    assert_eq!(
        diagnostic.whole(Some(&here.join("terraform/app"))),
        "Unsupported argument (terraform/app/bad.tf:4): An argument named \"foo\" is not expected here.\n   4 |   foo = 1"
    );
    assert!(
        diagnostic.line(std::path::Path::new("/elsewhere")).contains("(/elsewhere/bad.tf:4): An argument")
    );
    let bare = Diagnostic { summary: "Cycle".into(), detail: "a, b".into(), ..Diagnostic::default() };
    assert_eq!(bare.whole(None), "Cycle: a, b");
    let addressed = Diagnostic { address: Some("aws_x.y".into()), ..bare };
    assert_eq!(addressed.whole(None), "Cycle in aws_x.y: a, b");
}
