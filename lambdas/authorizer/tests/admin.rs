//! The program that adds users (`examples/add_user.rs`), and the authorizer's decisions for them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use authorizer::authorizer::Authorizer;
use serde_json::{Value, json};
use shared::aws_secret::SecretClient;
use shared::log::LogContext;
use shared::redis_settings::RedisSettings;
use test_support::TestResult;
use test_support::redis_server::RedisServer;

/// Runs the program with the secret on its stdin.
fn add_user(arguments: &[&str], secret: &str, redis: Option<u16>) -> TestResult<Output> {
    let program = Path::new(env!("CARGO_BIN_EXE_authorizer")).with_file_name("examples").join("add_user");
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(port) = redis {
        command.envs([("REDIS_DNS", "127.0.0.1"), ("REDIS_PORT", &port.to_string())]);
    }
    let mut running = command.spawn().map_err(|error| {
        format!(
            "{}: {error}; `cargo test` builds examples, `cargo build --examples` as well",
            program.display()
        )
    })?;
    // A program that rejects its arguments does not read stdin.
    drop(running.stdin.take().map(|mut stdin| stdin.write_all(secret.as_bytes())));
    Ok(running.wait_with_output()?)
}

fn event(header: &str) -> Value {
    let arn = "arn:aws:execute-api:eu-west-1:111111111111:a1b2c3/prd/GET/demo/users";
    json!({ "type": "REQUEST", "methodArn": arn, "headers": { "Authorization": header } })
}

#[tokio::test]
async fn users_are_added_changed_and_removed() -> TestResult {
    let redis = RedisServer::start()?;
    let authorizer =
        Authorizer::new(&RedisSettings::plain("127.0.0.1", redis.port), SecretClient::from_env(|_| None))?;
    let rights = ["ada", "--allow", "GET,POST /demo/users", "--allow", "* /demo/users/{userId}"];
    // The trailing newline is not part of the secret.
    let added = add_user(&rights, "s3cret\n", Some(redis.port))?;
    assert_eq!(String::from_utf8(added.stdout)?, "user ada is stored\n");
    let decide = async |header: &str| authorizer.decide(event(header), LogContext::default()).await;
    let answer = serde_json::to_value(decide("Bearer ada.s3cret").await?)?;
    let resources = answer["policyDocument"]["Statement"][0]["Resource"].as_array().map(Vec::len);
    assert_eq!(resources, Some(3 + 7), "GET, HEAD and POST of one, all of the other");

    // A new secret for the same name replaces the old one. The record contains neither as plain text.
    assert!(add_user(&["ada"], "an.other", Some(redis.port))?.status.success());
    assert!(decide("Bearer ada.s3cret").await.is_err());
    let record: String = redis.command(&["GET", "auth_user_ada"])?;
    assert!(record.contains("$argon2id$") && !record.contains("an.other"), "{record}");
    assert!(decide("Basic YWRhOmFuLm90aGVy").await.is_ok());

    let removed = add_user(&["ada", "--remove"], "", Some(redis.port))?;
    assert_eq!(String::from_utf8(removed.stdout)?, "user ada is removed\n");
    assert!(decide("Basic YWRhOmFuLm90aGVy").await.is_err());
    Ok(())
}

#[test]
fn without_redis_the_command_for_it_is_printed() -> TestResult {
    let printed = add_user(&["ada", "--allow", "GET /demo/users"], "s3cret", None)?;
    let printed = String::from_utf8(printed.stdout)?;
    let record =
        printed.strip_prefix("redis-cli SET auth_user_ada '").and_then(|rest| rest.strip_suffix("'\n"));
    let record: Value = serde_json::from_str(record.ok_or("no command")?)?;
    assert_eq!(record["allow"], json!([{ "methods": ["GET"], "path": "/demo/users" }]));
    let removed = add_user(&["ada", "--remove"], "", None)?;
    assert_eq!(String::from_utf8(removed.stdout)?, "redis-cli DEL auth_user_ada\n");
    Ok(())
}

#[test]
fn an_invalid_body_is_refused_and_nothing_is_stored() -> TestResult {
    let redis = RedisServer::start()?;
    for (arguments, secret, why) in [
        (&[][..], "s3cret", "usage"),
        (&["a b"], "s3cret", "a name is"),
        (&["ada"], "", "the secret on stdin"),
        (&["ada", "--allow"], "s3cret", "usage"),
        (&["ada", "--deny", "GET /"], "s3cret", "usage"),
        (&["ada", "--allow", "GET"], "s3cret", "usage"),
        (&["ada", "--allow", "GET /demo/*"], "s3cret", "is no route"),
        (&["ada", "--allow", "FETCH /demo"], "s3cret", "is no HTTP method"),
        (&["ada", "--remove", "eve"], "", "usage"),
    ] {
        let refused = add_user(arguments, secret, Some(redis.port))?;
        let said = String::from_utf8(refused.stderr)?;
        assert!(!refused.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(redis.command::<usize>(&["DBSIZE"])?, 0);
    Ok(())
}
