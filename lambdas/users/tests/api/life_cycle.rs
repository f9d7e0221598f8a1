//! The six routes with a Redis server, from the view of a client of the API.

use crate::support::{Api, RedisServer, TestResult, event, function, json_of};
use serde_json::json;

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

#[tokio::test]
async fn a_user_lives_through_all_six_routes() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;

    let nobody = api.list().await;
    assert_eq!((nobody.status_code, nobody.body.as_str()), (200, "[]"));

    let created = api.create(r#"{"id":"mine","name":"Ada","address":{"city":"London","zip":"N1"}}"#).await;
    assert_eq!(created.status_code, 201);
    let user = json_of(&created)?;
    let id = user["id"].as_str().ok_or("no id")?.to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id)?.get_version_num(), 4);
    assert_eq!(user["name"], "Ada");

    let read = api.get(&id).await;
    assert_eq!((read.status_code, json_of(&read)?), (200, user.clone()));

    let patched = api.patch(&id, r#"{"name":null,"address":{"zip":"W1"},"tags":[]}"#).await;
    let expected = json!({ "id": id, "address": { "city": "London", "zip": "W1" }, "tags": [] });
    assert_eq!((patched.status_code, json_of(&patched)?), (200, expected.clone()));
    assert_eq!(json_of(&api.list().await)?, json!([expected]));

    let deleted = api.delete(&id).await;
    assert_eq!((deleted.status_code, json_of(&deleted)?), (200, expected));
    for gone in [api.get(&id).await, api.delete(&id).await, api.patch(&id, "{}").await] {
        assert_eq!(
            (gone.status_code, json_of(&gone)?),
            (404, json!({ "code": "not_found", "error": "there is no such user" }))
        );
    }
    assert_eq!(redis.command::<usize>(&["DBSIZE"])?, 0);

    api.create("{}").await;
    api.create("{}").await;
    let emptied = api.delete_all().await;
    assert_eq!((emptied.status_code, emptied.body.as_str()), (200, "[]"));
    assert_eq!(api.list().await.body, "[]");
    assert_eq!(redis.command::<usize>(&["DBSIZE"])?, 0);
    Ok(())
}

#[tokio::test]
async fn every_response_is_json_and_names_its_release() -> TestResult {
    let redis = RedisServer::start()?;
    let api = Api::on(redis.port)?;
    for response in [api.list().await, api.create("{}").await, api.get(UNKNOWN).await, api.create("no").await]
    {
        let headers: Vec<_> = response.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            headers,
            [("Content-Type", "application/json"), ("X-Function-Version", "7"), ("X-Release", "1.4.2")]
        );
    }
    let without_a_release = function("users_get", redis.port)?.answer(r#"{"httpMethod":"GET"}"#).await;
    assert_eq!(without_a_release.headers.keys().copied().collect::<Vec<_>>(), ["Content-Type"]);
    Ok(())
}

#[tokio::test]
async fn bad_requests_say_why_and_never_reach_redis() -> TestResult {
    // Nothing listens on the port: an attempt to connect to Redis would return 500.
    let api = Api::on(crate::support::free_port()?)?;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(256 * 1024));
    for (response, status, error) in [
        (api.get("a/b").await, 404, "there is no such user"),
        (api.delete("").await, 404, "there is no such user"),
        (api.patch(&"1".repeat(65), "{}").await, 404, "there is no such user"),
        (api.get("42").await, 404, "there is no such user"),
        (api.delete("42").await, 404, "there is no such user"),
        (api.patch("42", "{}").await, 404, "there is no such user"),
        (api.create("").await, 400, "the body is missing"),
        (api.create("[]").await, 400, "the body must be a JSON object"),
        (api.create("{").await, 400, "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        (api.create(&large).await, 413, "the body is larger than 256 KB"),
        (api.patch(UNKNOWN, "7").await, 400, "the body must be a JSON object"),
        (api.patch(UNKNOWN, r#"{"id":"other"}"#).await, 400, "the id of a user cannot be changed"),
    ] {
        let code = match status {
            400 => "bad_request",
            404 => "not_found",
            _ => "too_large",
        };
        assert_eq!(
            (response.status_code, json_of(&response)?),
            (status, json!({ "code": code, "error": error }))
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_function_behind_the_wrong_route_does_nothing() -> TestResult {
    let redis = RedisServer::start()?;
    Api::on(redis.port)?.new_user("{}").await?;
    let delete_all = function("users_delete", redis.port)?;
    for (stray, status) in [(event("GET", None, None), 405), ("{}".to_owned(), 400), ("[]".to_owned(), 400)] {
        assert_eq!(delete_all.answer(&stray).await.status_code, status);
    }
    assert_eq!(redis.command::<usize>(&["SCARD", "users"])?, 1);
    Ok(())
}
