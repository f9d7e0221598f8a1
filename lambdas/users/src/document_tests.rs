//! Tests of `document`: the examples of RFC 7396, values that must not change, and invalid bodies.

use super::*;

type TestResult = Result<(), Failure>;

fn id() -> UserId {
    UserId::new_random()
}

fn patched(stored: &str, patch: &str) -> Result<String, Failure> {
    JsonBody::parse(patch)?.patch(&id(), stored)
}

fn reason(body: &str) -> Option<(u16, String)> {
    JsonBody::parse(body).err().map(|failure| (failure.status(), failure.to_string()))
}

#[test]
fn the_examples_of_rfc_7396_hold() -> Result<(), Box<dyn std::error::Error>> {
    // The examples of appendix A whose target and patch are objects.
    for (target, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let expected: Value = serde_json::from_str(result)?;
        assert_eq!(serde_json::from_str::<Value>(&patched(target, patch)?)?, expected, "{target} + {patch}");
    }
    Ok(())
}

#[test]
fn members_that_are_not_in_the_patch_keep_their_text() -> TestResult {
    let stored = r#"{"big": 123456789012345678901234567890, "empty": [], "e": 1.10e2, "text": "\u00e4\/"}"#;
    let user = patched(stored, r#"{"x": 0.1000000000000000055511151231257827}"#)?;
    for kept in [
        "123456789012345678901234567890",
        "[]",
        "1.10e2",
        r#""\u00e4\/""#,
        "0.1000000000000000055511151231257827",
    ] {
        assert!(user.contains(kept), "{kept} in {user}");
    }
    Ok(())
}

#[test]
fn a_repeated_patch_changes_nothing() -> TestResult {
    let patch = r#"{"b":{"x":null,"y":[1, 2]},"a":"ä"}"#;
    let once = patched(r#"{"b": {"x": 1}}"#, patch)?;
    assert_eq!(patched(&once, patch)?, once);
    Ok(())
}

#[test]
fn the_server_sets_the_id_of_a_new_user() -> Result<(), Box<dyn std::error::Error>> {
    let id = id();
    let user: Value = serde_json::from_str(&JsonBody::parse(r#"{"id":"mine","name":"a"}"#)?.into_user(&id)?)?;
    assert_eq!(user, serde_json::json!({ "id": id.as_str(), "name": "a" }));
    Ok(())
}

#[test]
fn a_patch_may_repeat_the_id_but_not_change_it() -> TestResult {
    let id = id();
    let check = |value: &str| JsonBody::parse(&format!(r#"{{"id":{value}}}"#))?.check_id(&id);
    check(&format!("\"{id}\""))?;
    for other in ["null", "7", r#""x""#, "{}", r#"["a"]"#] {
        assert_eq!(check(other).err().map(|failure| failure.status()), Some(400), "{other}");
    }
    Ok(())
}

#[test]
fn a_body_that_is_not_an_object_is_refused_with_the_reason() {
    assert!(
        reason("{")
            .is_some_and(|(status, why)| status == 400 && why.starts_with("the body is not JSON: EOF"))
    );
    for unreadable in
        [r#"{"\ud800":1}"#, r#"{"a":{"\ud800":1}}"#, r#"{"a":["\ud800"]}"#, r#"{"a":1e999}"#, r#"{"a":NaN}"#]
    {
        assert!(reason(unreadable).is_some_and(|(status, _)| status == 400), "{unreadable}");
    }
    for other in ["[]", " null", "7", r#""{}""#, "true"] {
        assert_eq!(reason(other), Some((400, "the body must be a JSON object".to_owned())), "{other}");
    }
}

#[test]
fn nesting_has_a_limit_and_strings_do_not_count() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    assert_eq!(reason(&nested(64)), None);
    assert_eq!(reason(&nested(65)).map(|(status, _)| status), Some(400));
    // Deep enough to exhaust the stack of a recursive parser.
    assert_eq!(reason(&nested(50_000)).map(|(status, _)| status), Some(400));
    assert_eq!(reason(&format!(r#"{{"a":"\"{}"}}"#, "[{".repeat(100))), None);
}

#[test]
fn a_stored_user_is_an_object_or_damaged() {
    assert_eq!(stored_user(b" {\"a\": 1}".to_vec()).as_deref(), Some(" {\"a\": 1}"));
    for bad in [&b"{\"a\":"[..], b"", b"[]", b"{} {}", b"{\"a\":NaN}", b"{\"a\":\"\xff\"}"] {
        assert_eq!(stored_user(bad.to_vec()), None, "{bad:?}");
    }
    assert_eq!(patched("[1]", "{}").err().map(|failure| failure.status()), Some(500));
}

#[test]
fn a_user_cannot_be_patched_beyond_the_size_of_a_body() {
    let half = "x".repeat(MAX_BODY_SIZE / 2);
    let outcome = patched(&format!(r#"{{"a":"{half}"}}"#), &format!(r#"{{"b":"{half}"}}"#));
    assert_eq!(outcome.err().map(|failure| failure.status()), Some(413));
}
