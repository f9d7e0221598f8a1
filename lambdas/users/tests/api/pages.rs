//! Pagination while users are created and deleted; HEAD and OPTIONS requests.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Api, RedisServer, TestResult, event, function_with, json_of};

/// A canonical UUID; ids sort by their number.
fn id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

fn store(redis: &RedisServer, number: usize, text: &str) -> TestResult {
    redis.command::<()>(&["SET", &format!("user_{}", id(number)), text])?;
    redis.command::<()>(&["SADD", "users", &id(number)])
}

fn ids_of(page: &Value) -> Vec<String> {
    let users = page["users"].as_array().into_iter().flatten();
    users.filter_map(|user| Some(user["id"].as_str()?.to_owned())).collect()
}

/// Reads all pages; `between` runs after each page.
async fn all_pages(
    api: &Api,
    limit: usize,
    mut between: impl FnMut(usize) -> TestResult,
) -> TestResult<Vec<String>> {
    let (mut seen, mut query) = (Vec::new(), json!({ "limit": limit.to_string() }));
    for number in 0.. {
        let response = api.page(&query).await;
        assert_eq!(response.status_code, 200, "{}", response.body);
        let page = json_of(&response)?;
        assert!(ids_of(&page).len() <= limit);
        seen.extend(ids_of(&page));
        match page["cursor"].as_str() {
            Some(cursor) => query["cursor"] = json!(cursor),
            None => break,
        }
        between(number)?;
    }
    Ok(seen)
}

#[tokio::test]
async fn pages_hold_every_user_once_and_the_plain_list_stays_a_list() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    for number in 0..25 {
        store(&redis, number, &json!({ "id": id(number) }).to_string())?;
    }
    let all: Vec<String> = (0..25).map(id).collect();
    for limit in [1, 7, 24, 25, 26, 1000] {
        assert_eq!(all_pages(&api, limit, |_| Ok(())).await?, all, "{limit}");
    }
    assert_eq!(json_of(&api.list().await)?.as_array().map(Vec::len), Some(25));

    // Only a cursor: the default page size. An expired id is skipped, and the next page starts at the right id.
    redis.command::<()>(&["DEL", &format!("user_{}", id(3))])?;
    let first = json_of(&api.page(&json!({ "limit": "4" })).await)?;
    assert_eq!(ids_of(&first), all[..3]);
    let rest = json_of(&api.page(&json!({ "cursor": first["cursor"] })).await)?;
    assert_eq!((ids_of(&rest), &rest["cursor"]), (all[4..].to_vec(), &Value::Null));

    redis.command::<()>(&["FLUSHALL"])?;
    let none = api.page(&json!({ "limit": "1" })).await;
    assert_eq!(none.body, r#"{"users":[],"cursor":null}"#);
    for (query, why) in [
        (json!({ "limit": "0" }), "limit must be a number from 1 to 1000"),
        (json!({ "cursor": "x" }), "the cursor is none that this API gave"),
    ] {
        let refused = api.page(&query).await;
        assert_eq!(
            (refused.status_code, json_of(&refused)?),
            (400, json!({ "code": "bad_request", "error": why }))
        );
    }
    Ok(())
}

#[tokio::test]
async fn pages_stay_right_while_users_come_and_go() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    // Users with even numbers exist the whole time; those with odd numbers are created and deleted before and after the
    // reader's position.
    for number in (0..200).step_by(2) {
        store(&redis, number, &json!({ "id": id(number) }).to_string())?;
    }
    let seen = all_pages(&api, 7, |page| {
        for odd in (1..200).step_by(2) {
            if (odd + page) % 3 == 0 {
                redis.command::<()>(&["SREM", "users", &id(odd)])?;
                redis.command::<()>(&["DEL", &format!("user_{}", id(odd))])?;
            } else if (odd + page) % 5 == 0 {
                store(&redis, odd, &json!({ "id": id(odd) }).to_string())?;
            }
        }
        Ok(())
    })
    .await?;
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "a user is on two pages");
    for number in (0..200).step_by(2) {
        assert!(once.contains(&id(number)), "{number} is on no page");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_beyond_six_megabytes_can_be_read_in_pages() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let large = "x".repeat(250 * 1024);
    for number in 0..60 {
        store(&redis, number, &json!({ "id": id(number), "a": large }).to_string())?;
    }
    assert_eq!(api.list().await.status_code, 413);
    // Each page is small enough for Lambda, although the limit would allow all users.
    let mut pages = 1;
    let seen = all_pages(&api, 1000, |_| {
        pages += 1;
        Ok(())
    })
    .await?;
    assert_eq!((seen, pages), ((0..60).map(id).collect(), 3));
    Ok(())
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_lists_the_methods() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    let id = api.new_user("{}").await?;
    for (handler, path, status) in [
        ("users_get", None, 200),
        ("user_get", Some(id.as_str()), 200),
        ("user_get", Some("nobody"), 404),
        ("users_post", None, 405),
        ("user_delete", Some(&id), 405),
    ] {
        let function = function_with(handler, redis.port, &[])?;
        let head = function.answer(&event("HEAD", path, None)).await;
        assert_eq!((head.status_code, head.body.as_str()), (status, ""), "{handler}");
        let get = function.answer(&event("GET", path, None)).await;
        assert_eq!((get.status_code, &get.headers), (head.status_code, &head.headers), "{handler}");
        assert_eq!(head.headers.get("Allow").map(String::as_str).is_some(), status == 405);
    }
    for (handler, method) in [("users_get", "DELETE"), ("user_patch", "PATCH")] {
        let function = function_with(handler, redis.port, &[("CORS_ALLOW_ORIGIN", "https://a.example")])?;
        let options = function.answer(&event("OPTIONS", Some(&id), None)).await;
        assert_eq!((options.status_code, options.body.as_str()), (204, ""));
        for name in ["Allow", "Access-Control-Allow-Methods"] {
            assert!(options.headers[name].contains(method), "{name}");
        }
        assert_eq!(options.headers["Access-Control-Allow-Origin"], "https://a.example");
    }
    // The response to a repeated parameter has the usual headers, and no body for HEAD.
    for (method, body) in [("GET", "more than one 'limit'"), ("HEAD", "")] {
        let mut twice: Value = serde_json::from_str(&event(method, None, None))?;
        twice["multiValueQueryStringParameters"] = json!({ "limit": ["1", "1"] });
        let refused = function_with("users_get", redis.port, &[])?.answer(&twice.to_string()).await;
        assert_eq!((refused.status_code, refused.headers["X-Release"].as_str()), (400, "1.4.2"));
        assert!(
            refused.body.contains(body) && refused.body.is_empty() == body.is_empty(),
            "{}",
            refused.body
        );
    }
    assert_eq!(api.get(&id).await.status_code, 200, "asking changed nothing");
    assert!(!api.list().await.headers.keys().any(|name| name.starts_with("Access-Control")));
    Ok(())
}

#[tokio::test]
async fn the_authorizers_context_reaches_the_functions() -> TestResult {
    let redis = RedisServer::start()?;
    let mut call: Value = serde_json::from_str(&event("GET", None, None))?;
    let function = function_with("users_get", redis.port, &[])?;
    assert!(!function.answer(&call.to_string()).await.headers.contains_key("X-Caller"));
    call["requestContext"]["authorizer"] = json!({ "user": "ada", "principalId": "ada" });
    assert_eq!(function.answer(&call.to_string()).await.headers["X-Caller"], "ada");
    Ok(())
}
