//! The data in Redis: the layout of the replaced Python program, expiry, damaged users, and connection failures.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Api, RedisServer, TestResult, json_of};
use serde_json::json;

const SIX_MONTHS: i64 = 15_552_000;
const FIRST: &str = "11111111-1111-4111-8111-111111111111";
const SECOND: &str = "22222222-2222-4222-8222-222222222222";
const THIRD: &str = "33333333-3333-4333-8333-333333333333";

fn store(redis: &RedisServer, id: &str, text: &str) -> TestResult {
    redis.command::<()>(&["SET", &format!("user_{id}"), text, "EX", "15552000"])?;
    redis.command::<()>(&["SADD", "users", id])
}

#[tokio::test]
async fn users_stored_by_python_are_served_and_new_ones_have_the_same_form() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    // The format of Python's json.dumps: spaces, ASCII escapes, numbers.
    let python = format!(
        r#"{{"name": "J\u00fcrgen", "age": 41, "score": 1e+16, "big": 36893488147419103232, "id": "{FIRST}"}}"#
    );
    store(&redis, FIRST, &python)?;
    assert_eq!(api.get(FIRST).await.body, python);
    assert_eq!(api.list().await.body, format!("[{python}]"));
    assert_eq!(api.patch(FIRST, r#"{"age":42}"#).await.status_code, 200);
    assert!(api.get(FIRST).await.body.contains("36893488147419103232"));

    let id = api.new_user(r#"{"name":"Ada"}"#).await?;
    let raw: String = redis.command(&["GET", &format!("user_{id}")])?;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&raw)?, json!({ "id": id, "name": "Ada" }));
    let ids: BTreeSet<String> = redis.command(&["SMEMBERS", "users"])?;
    assert_eq!(ids, BTreeSet::from([FIRST.to_owned(), id]));
    Ok(())
}

#[tokio::test]
async fn a_creation_refreshes_both_expiries_and_a_patch_neither() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let ttl = |key: &str| redis.command::<i64>(&["TTL", key]);
    let id = api.new_user("{}").await?;
    let key = format!("user_{id}");
    assert!((SIX_MONTHS - 5..=SIX_MONTHS).contains(&ttl(&key)?));
    assert!((SIX_MONTHS - 5..=SIX_MONTHS).contains(&ttl("users")?));

    redis.command::<()>(&["EXPIRE", &key, "1000"])?;
    redis.command::<()>(&["EXPIRE", "users", "1000"])?;
    assert_eq!(api.patch(&id, r#"{"a":1}"#).await.status_code, 200);
    assert!((995..=1000).contains(&ttl(&key)?));
    assert!((995..=1000).contains(&ttl("users")?));

    api.create("{}").await;
    assert!((995..=1000).contains(&ttl(&key)?));
    assert!((SIX_MONTHS - 5..=SIX_MONTHS).contains(&ttl("users")?));
    Ok(())
}

#[tokio::test]
async fn the_list_takes_one_command_for_the_ids_and_one_for_512_users() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    for id in [THIRD, FIRST, SECOND] {
        store(&redis, id, &format!(r#"{{"id":"{id}"}}"#))?;
    }
    redis.command::<()>(&["DEL", &format!("user_{SECOND}")])?; // As if it had expired.
    api.list().await; // Opens the connection.
    for mgets in [1, 2] {
        redis.command::<()>(&["CONFIG", "RESETSTAT"])?;
        let list = api.list().await;
        let stats: String = redis.command(&["INFO", "commandstats"])?;
        let calls = |command: &str, times: usize| {
            stats.lines().any(|line| line.starts_with(&format!("cmdstat_{command}:calls={times},")))
        };
        assert!(calls("smembers", 1) && calls("mget", mgets), "{stats}");
        assert!(!stats.contains("cmdstat_get:"), "{stats}");
        assert_eq!(list.body, format!(r#"[{{"id":"{FIRST}"}},{{"id":"{THIRD}"}}]"#));
        // Adds 512 ids whose users have expired.
        let others: Vec<String> = (0..512).map(|number| format!("x{number}")).collect();
        let command =
            [&["SADD", "users"][..], &others.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        redis.command::<()>(&command)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_user_spoils_neither_the_list_nor_its_own_deletion() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let good = format!(r#"{{"id":"{FIRST}"}}"#);
    store(&redis, FIRST, &good)?;
    store(&redis, SECOND, r#"{"name":"#)?;
    store(&redis, THIRD, "[]")?;
    assert_eq!(api.list().await.body, format!("[{good}]"));
    for damaged in [api.get(SECOND).await, api.patch(SECOND, "{}").await, api.get(THIRD).await] {
        assert_eq!(
            (damaged.status_code, json_of(&damaged)?),
            (500, json!({ "code": "damaged", "error": "the stored user is damaged" }))
        );
    }
    let deleted = api.delete(SECOND).await;
    assert_eq!((deleted.status_code, json_of(&deleted)?), (200, json!({ "id": SECOND })));
    assert_eq!(api.get(SECOND).await.status_code, 404);
    Ok(())
}

#[tokio::test]
async fn a_list_that_lambda_could_not_carry_is_an_error() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(250 * 1024));
    for _ in 0..26 {
        assert_eq!(api.create(&large).await.status_code, 201);
    }
    let list = api.list().await;
    assert_eq!(list.status_code, 413);
    assert_eq!(
        json_of(&list)?["error"],
        "the list of users is larger than the 6 MB that can be sent at once: read it in pages, with ?limit="
    );
    Ok(())
}

#[tokio::test]
async fn without_redis_every_route_fails_in_time_without_details() -> TestResult {
    // One port refuses connections; the other accepts them and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    for port in [crate::support::free_port()?, silent.local_addr()?.port()] {
        let api = Api::on(port)?;
        let started = Instant::now();
        let responses = tokio::join!(
            api.list(),
            api.create("{}"),
            api.delete_all(),
            api.get(FIRST),
            api.patch(FIRST, "{}"),
            api.delete(FIRST)
        );
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        for response in [responses.0, responses.1, responses.2, responses.3, responses.4, responses.5] {
            assert_eq!(
                (response.status_code, json_of(&response)?),
                (500, json!({ "code": "storage_unavailable", "error": "storage is unavailable" }))
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_redis_that_falls_silent_is_given_up_in_time() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let id = api.new_user("{}").await?;
    assert_eq!(api.get(&id).await.status_code, 200);
    redis.command::<()>(&["CLIENT", "PAUSE", "2500", "ALL"])?;
    let started = Instant::now();
    assert_eq!(api.get(&id).await.status_code, 500);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(api.get(&id).await.status_code, 200);
    Ok(())
}

#[tokio::test]
async fn the_first_request_after_redis_came_back_succeeds() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let id = api.new_user("{}").await?;
    assert_eq!(api.get(&id).await.status_code, 200);
    assert_eq!(api.delete(FIRST).await.status_code, 404);

    // The server closes the connection while the execution environment is frozen: the next request succeeds.
    redis.command::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    assert_eq!(api.get(&id).await.status_code, 200);
    assert_eq!(api.list().await.status_code, 200);
    assert_eq!(api.create("{}").await.status_code, 201);

    // Redis restarts without data: requests succeed as soon as it is back.
    let port = redis.port;
    drop(redis);
    assert_eq!(api.get(&id).await.status_code, 500);
    let _redis = RedisServer::start_on(port)?;
    assert_eq!(api.get(&id).await.status_code, 404);
    assert_eq!(api.list().await.status_code, 200);
    Ok(())
}
