//! Concurrent requests and failures of Redis: no acknowledged change is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Api, RedisServer, TestResult, event, free_port, function, json_of};

/// Redis writes to disk before it answers, so that a crash loses no acknowledged change.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_of_one_user_under_load_lose_no_field() -> TestResult {
    const FUNCTIONS: usize = 16;
    const EACH: usize = 25;
    let redis = RedisServer::start()?;
    let id = Api::on(redis.port)?.new_user("{}").await?;
    let mut running = JoinSet::new();
    for number in 0..FUNCTIONS {
        // Each task has a function of its own, like an execution environment of Lambda. They share only Redis.
        let (patch, id) = (function("user_patch", redis.port)?, id.clone());
        running.spawn(async move {
            for field in 0..EACH {
                let body = format!(r#"{{"f{number}":{{"n{field}":{field}}},"counter{field}":{number}}}"#);
                let event = event("PATCH", Some(&id), Some(&body));
                // 503 is allowed: the client retries. Any other status fails the test.
                loop {
                    let response = patch.answer(&event).await;
                    match response.status_code {
                        200 => break,
                        503 => {}
                        other => panic!("{other} {}", response.body),
                    }
                }
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done?;
    }
    let user = json_of(&Api::on(redis.port)?.get(&id).await)?;
    for number in 0..FUNCTIONS {
        for field in 0..EACH {
            assert_eq!(user[format!("f{number}")][format!("n{field}")], field, "{number} {field}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_all_and_creating_at_once_leaves_no_incomplete_user() -> TestResult {
    let redis = RedisServer::start()?;
    let mut running = JoinSet::new();
    for _ in 0..4 {
        let create = function("users_post", redis.port)?;
        running.spawn(async move {
            for _ in 0..150 {
                assert_eq!(create.answer(&event("POST", None, Some("{}"))).await.status_code, 201);
            }
        });
    }
    let delete = function("users_delete", redis.port)?;
    running.spawn(async move {
        for _ in 0..60 {
            assert_eq!(delete.answer(&event("DELETE", None, None)).await.status_code, 200);
        }
    });
    while let Some(done) = running.join_next().await {
        done?;
    }
    let ids: BTreeSet<String> = redis.command(&["SMEMBERS", "users"])?;
    let keys: BTreeSet<String> = redis.command(&["KEYS", "user_*"])?;
    assert_eq!(keys, ids.iter().map(|id| format!("user_{id}")).collect());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_under_load_loses_nothing_acknowledged() -> TestResult {
    let mut redis = RedisServer::start_with(free_port()?, &DURABLE)?;
    let port = redis.port;
    let over = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for number in 0..4 {
        let (create, patch) = (function("users_post", port)?, function("user_patch", port)?);
        let over = Arc::clone(&over);
        running.spawn(async move {
            let (mut kept, mut failed, mut round) = (BTreeMap::new(), 0, 0);
            while !over.load(Ordering::Relaxed) {
                round += 1;
                let body = json!({ "by": number, "round": round }).to_string();
                let created = create.answer(&event("POST", None, Some(&body))).await;
                if created.status_code != 201 {
                    failed += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let mut user: Value = serde_json::from_str(&created.body).unwrap();
                let id = user["id"].as_str().unwrap().to_owned();
                let patched = patch.answer(&event("PATCH", Some(&id), Some(r#"{"patched":true}"#))).await;
                if patched.status_code == 200 {
                    user["patched"] = json!(true);
                }
                kept.insert(id, user);
            }
            (kept, failed)
        });
    }
    // Twice: the second time, the functions use connections that they have reopened.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis.restart(Duration::from_millis(300))?;
    }
    let back = Instant::now();
    tokio::time::sleep(Duration::from_millis(700)).await;
    over.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut failed) = (BTreeMap::new(), 0);
    while let Some(done) = running.join_next().await {
        let (kept, failures) = done?;
        acknowledged.extend(kept);
        failed += failures;
    }
    assert!(failed > 0, "the load did not notice: nothing was shown");
    assert!(back.elapsed() < Duration::from_secs(5));

    // Every acknowledged change is stored. A patch whose response was lost may be stored, too.
    let stored = json_of(&Api::on(port)?.list().await)?;
    let stored: BTreeMap<&str, &Value> = stored
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|user| Some((user["id"].as_str()?, user)))
        .collect();
    for (id, user) in &acknowledged {
        let found = stored.get(id.as_str()).copied().cloned().unwrap_or_default();
        for (name, value) in user.as_object().into_iter().flatten() {
            assert_eq!(found[name], *value, "{name} of {id} is lost");
        }
    }
    // The same functions succeed again: four of them created users after the last restart.
    assert!(acknowledged.len() > 100, "only {} users", acknowledged.len());
    Ok(())
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left() -> TestResult {
    let (redis, other) = (RedisServer::start()?, RedisServer::start()?);
    let api = Api::on(redis.port)?;
    api.new_user("{}").await?;
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()])?;
    // No server accepts writes at this address: both attempts are rejected.
    redis.command::<()>(&["CONFIG", "RESETSTAT"])?;
    assert_eq!(api.create("{}").await.status_code, 500);
    let connections: String = redis.command(&["INFO", "stats"])?;
    let received = connections.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    // The connection of this query, and the one that the function reopened.
    assert_eq!(received, Some("2"), "{connections}");
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"])?;
    assert_eq!(api.create("{}").await.status_code, 201);
    Ok(())
}
