//! Property tests: for any event, the response is neither a panic nor a 5xx.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Function, RedisServer, function};

const HANDLERS: [&str; 6] =
    ["users_get", "users_post", "users_delete", "user_get", "user_patch", "user_delete"];

/// Any small JSON value.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A valid value of a field, any other value, or no value.
fn field(good: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![4 => good.prop_map(Some), 1 => any_json().prop_map(Some), 1 => Just(None)]
}

fn text(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![3 => prop::sample::select(values).prop_map(Value::from), 1 => "\\PC{0,40}".prop_map(Value::from)]
}

/// An object with one field that has one of these texts, or any other text.
fn map(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    text(values).prop_map(move |value| json!({ name: value }))
}

/// An event that is valid or nearly valid.
fn near_event() -> impl Strategy<Value = Value> {
    let fields = [
        ("httpMethod", field(text(&["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"])).boxed()),
        (
            "pathParameters",
            field(map("userId", &["00000000-0000-4000-8000-000000000000", "42", "", "../x"])).boxed(),
        ),
        ("queryStringParameters", field(map("limit", &["1", "1000", "0", "-1", "x"])).boxed()),
        ("multiValueQueryStringParameters", field(Just(json!({ "limit": ["1"] }))).boxed()),
        ("stageVariables", field(map("release", &["1.4.2", "a b", "\r\nX: y"])).boxed()),
        ("requestContext", field(map("stage", &["prd"])).boxed()),
        ("headers", field(map("Accept", &["*/*"])).boxed()),
        ("multiValueHeaders", field(Just(json!({ "Accept": ["a", "b"] }))).boxed()),
        ("body", field(text(&["{}", "{\"a\":null}", "[]", "{", "", "e30=", "eyJhIjoiXHVkODAwIn0="])).boxed()),
        ("isBase64Encoded", field(any::<bool>().prop_map(Value::from)).boxed()),
        ("version", field(text(&["1.0", "2.0"])).boxed()),
    ];
    let fields = fields.map(|(name, value)| value.prop_map(move |value| (name, value)));
    fields.to_vec().prop_map(|fields: Vec<(&str, Option<Value>)>| {
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Value>()
    })
}

/// The properties of every response.
async fn check(function: &Function, handler: &str, event: &str) -> Result<(), TestCaseError> {
    let response = function.answer(event).await;
    prop_assert!((200..500).contains(&response.status_code), "{handler} {event}: {}", response.body);
    if response.status_code == 204 {
        prop_assert_eq!(&response.body, "");
    } else if !response.body.is_empty() {
        let body: Value =
            serde_json::from_str(&response.body).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let is_failure = body["error"].is_string() && body["code"].is_string();
        prop_assert_eq!(is_failure, response.status_code >= 400, "{}: {}", event, body);
    }
    for (name, value) in &response.headers {
        prop_assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{name}: {value:?}");
    }
    // The caller parses the response as JSON.
    prop_assert!(serde_json::to_string(&response).is_ok());
    Ok(())
}

fn run(cases: u32, strategy: &impl Strategy<Value = String>) {
    let redis = RedisServer::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let functions: Vec<_> =
        HANDLERS.iter().map(|handler| (*handler, function(handler, redis.port).unwrap())).collect();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let tried = runner.run(strategy, |event| {
        runtime.block_on(async {
            for (handler, function) in &functions {
                check(function, handler, &event).await?;
            }
            Ok(())
        })
    });
    tried.unwrap();
}

#[test]
fn events_that_are_nearly_right_are_answered() {
    run(500, &near_event().prop_map(|event| event.to_string()));
}

#[test]
fn any_other_json_and_any_text_is_answered() {
    run(300, &prop_oneof![any_json().prop_map(|json| json.to_string()), "\\PC{0,200}"]);
}
