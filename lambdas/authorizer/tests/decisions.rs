//! The authorizer's decisions for events of API Gateway, with a Redis server.

use std::time::{Duration, Instant};

use authorizer::authorizer::{Authorizer, AuthorizerError};
use authorizer::secret;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::aws_secret::SecretClient;
use shared::log::LogContext;
use shared::redis_settings::RedisSettings;
use test_support::TestResult;
use test_support::redis_server::{RedisServer, free_port};

const STAGE: &str = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/prd";

fn authorizer(port: u16) -> TestResult<Authorizer> {
    Ok(Authorizer::new(&RedisSettings::plain("127.0.0.1", port), SecretClient::from_env(|_| None))?)
}

fn event(authorization: Option<&str>) -> Value {
    let headers = authorization.map(|value| json!({ "authorization": value, "Host": "api.example" }));
    json!({ "type": "REQUEST", "methodArn": format!("{STAGE}/DELETE/demo/users"), "headers": headers, "path": "/demo/users" })
}

fn add_user(redis: &RedisServer, name: &str, allow: &Value) -> TestResult {
    let record = json!({ "secret": secret::hash("s3cret", b"0123456789abcdef")?, "allow": allow });
    redis.command::<()>(&["SET", &format!("auth_user_{name}"), &record.to_string()])
}

fn reads_users() -> Value {
    json!([{ "methods": ["GET"], "path": "/demo/users" }])
}

fn message(error: Option<AuthorizerError>) -> Option<String> {
    error.map(|error| Diagnostic::from(error).error_message)
}

#[tokio::test]
async fn a_known_user_gets_a_policy_with_either_scheme() -> TestResult {
    let redis = RedisServer::start()?;
    add_user(&redis, "ada", &reads_users())?;
    let authorizer = authorizer(redis.port)?;
    for header in ["Basic YWRhOnMzY3JldA==", "Bearer ada.s3cret"] {
        let answer =
            serde_json::to_value(authorizer.decide(event(Some(header)), LogContext::default()).await?)?;
        assert_eq!(answer["principalId"], "ada");
        assert_eq!(answer["context"], json!({ "user": "ada" }));
        let statements = &answer["policyDocument"]["Statement"];
        let resources = ["GET", "HEAD"].map(|method| format!("{STAGE}/{method}/demo/users"));
        let allow = json!([{ "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": resources }]);
        assert_eq!(*statements, allow);
    }
    Ok(())
}

#[tokio::test]
async fn a_user_without_rights_is_known_and_denied() -> TestResult {
    let redis = RedisServer::start()?;
    add_user(&redis, "eve", &json!([]))?;
    let answer = serde_json::to_value(
        authorizer(redis.port)?.decide(event(Some("Bearer eve.s3cret")), LogContext::default()).await?,
    )?;
    assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny");
    Ok(())
}

#[tokio::test]
async fn strangers_are_unauthorized_whatever_is_wrong() -> TestResult {
    let redis = RedisServer::start()?;
    add_user(&redis, "ada", &reads_users())?;
    let authorizer = authorizer(redis.port)?;
    for header in [
        None,
        Some("Bearer ada.wrong"),
        Some("Bearer nobody.s3cret"),
        Some("Basic x"),
        Some("Bearer a*.s3cret"),
    ] {
        let error = authorizer.decide(event(header), LogContext::default()).await.err();
        assert_eq!(message(error).as_deref(), Some("Unauthorized"), "{header:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_wrong_secret() -> TestResult {
    let redis = RedisServer::start()?;
    add_user(&redis, "ada", &reads_users())?;
    let authorizer = authorizer(redis.port)?;
    // The fastest of several runs, to exclude delays by other processes.
    let mut fastest = [Duration::MAX; 2];
    for round in 0..5 {
        for (best, name) in fastest.iter_mut().zip(["ada", "nobody"]) {
            let header = format!("Bearer {name}.wrong{round}");
            let started = Instant::now();
            assert!(authorizer.decide(event(Some(&header)), LogContext::default()).await.is_err());
            *best = (*best).min(started.elapsed());
        }
    }
    let [known, unknown] = fastest;
    assert!(unknown > known / 2 && known > unknown / 2, "known {known:?}, unknown {unknown:?}");
    Ok(())
}

#[tokio::test]
async fn the_same_wrong_credentials_are_hashed_once_and_never_refuse_the_right_ones() -> TestResult {
    let redis = RedisServer::start()?;
    add_user(&redis, "ada", &reads_users())?;
    let authorizer = authorizer(redis.port)?;
    authorizer.connect().await;
    let duration = async |header: &str| {
        let started = Instant::now();
        let refused = authorizer.decide(event(Some(header)), LogContext::default()).await.is_err();
        (refused, started.elapsed())
    };
    for header in ["Bearer ada.later", "Bearer nobody.s3cret"] {
        let (refused, first) = duration(header).await;
        let mut again = Duration::MAX;
        for _ in 0..20 {
            again = again.min(duration(header).await.1);
        }
        assert!(refused && again < first / 4, "{header}: {first:?}, then {again:?}");
    }
    // Nobody else is affected, and what was refused becomes valid at once.
    assert!(!duration("Bearer ada.s3cret").await.0);
    add_user(&redis, "nobody", &reads_users())?;
    assert!(!duration("Bearer nobody.s3cret").await.0);
    let record = json!({ "secret": secret::hash("later", b"0123456789abcdef")?, "allow": reads_users() });
    redis.command::<()>(&["SET", "auth_user_ada", &record.to_string()])?;
    assert!(!duration("Bearer ada.later").await.0);
    assert!(duration("Bearer ada.s3cret").await.0);
    Ok(())
}

#[tokio::test]
async fn a_damaged_record_is_an_error_and_no_decision() -> TestResult {
    let redis = RedisServer::start()?;
    let authorizer = authorizer(redis.port)?;
    for record in [
        "{",
        "[]",
        r#"{"secret":"s3cret","allow":[]}"#,
        r#"{"secret":"x","allow":[{"methods":["GET"],"path":"/*"}]}"#,
    ] {
        redis.command::<()>(&["SET", "auth_user_ada", record])?;
        let error = authorizer.decide(event(Some("Bearer ada.s3cret")), LogContext::default()).await.err();
        assert_eq!(message(error).as_deref(), Some("a user's record is damaged"), "{record}");
    }
    Ok(())
}

#[tokio::test]
async fn other_events_are_errors() -> TestResult {
    let authorizer = authorizer(free_port()?)?;
    for other in [
        json!({}),
        json!([]),
        json!(["arn", null, null]),
        json!(null),
        json!({ "methodArn": 7 }),
        json!({ "httpMethod": "GET" }),
    ] {
        let error = authorizer.decide(other, LogContext::default()).await.err();
        assert_eq!(message(error).as_deref(), Some("not an event of a REQUEST authorizer"));
    }
    Ok(())
}

#[tokio::test]
async fn without_redis_there_is_an_error_in_time() -> TestResult {
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    for port in [free_port()?, silent.local_addr()?.port()] {
        let started = Instant::now();
        let error =
            authorizer(port)?.decide(event(Some("Bearer ada.s3cret")), LogContext::default()).await.err();
        assert_eq!(message(error).as_deref(), Some("storage is unavailable"));
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    Ok(())
}
