//! Property tests: for any event the result is a policy, `Unauthorized` or another error, never a panic, and never a policy
//! without a stored record.

use authorizer::authorizer::{Authorizer, AuthorizerError};
use authorizer::credentials::{Credentials, Event};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::aws_secret::SecretClient;
use shared::log::LogContext;
use shared::redis_settings::RedisSettings;

fn credentials(event: Value) -> Option<(String, String)> {
    let event: Event = serde_json::from_value(event).ok()?;
    Credentials::from_event(&event).map(|found| (found.name.to_string(), found.secret))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,16}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("methodArn|headers|[aA]uthorization|[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_sends_is_what_is_read(name in "[A-Za-z0-9_.-]{1,64}", secret in "\\PC{1,200}") {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{secret}")));
        let read = credentials(json!({ "headers": { "Authorization": basic } }));
        prop_assert_eq!(read, Some((name, secret)));
    }

    #[test]
    fn a_bearer_token_is_divided_at_its_last_dot(name in "[A-Za-z0-9_.-]{1,64}", secret in "[A-Za-z0-9~+/=-]{1,100}") {
        let read = credentials(json!({ "headers": { "authorization": format!("Bearer {name}.{secret}") } }));
        prop_assert_eq!(read, Some((name, secret)));
    }

    #[test]
    fn two_headers_never_count(one in "\\PC{0,40}", two in "\\PC{0,40}") {
        let both = json!({ "multiValueHeaders": { "Authorization": [one], "AUTHORIZATION": [two] } });
        prop_assert_eq!(credentials(both), None);
    }

    #[test]
    fn any_header_is_read_or_not(header in "(Basic |Bearer |basic|BEARER  )?\\PC{0,200}") {
        if let Some((name, secret)) = credentials(json!({ "headers": { "Authorization": header } })) {
            prop_assert!((1..=64).contains(&name.len()) && (1..=1024).contains(&secret.len()));
            prop_assert!(!name.contains(['*', ':', '/', ' ']));
        }
    }

    #[test]
    fn any_event_without_a_known_user_is_refused(event in any_json()) {
        // Redis cannot be reached, so no policy can be returned.
        let unreachable = RedisSettings::plain("127.0.0.1", 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(async {
            let authorizer = Authorizer::new(&unreachable, SecretClient::from_env(|_| None)).unwrap();
            authorizer.decide(event, LogContext::default()).await.err()
        });
        prop_assert!(
            matches!(refused, Some(AuthorizerError::InvalidEvent | AuthorizerError::Unauthorized | AuthorizerError::Storage(_))),
            "{refused:?}"
        );
    }
}
