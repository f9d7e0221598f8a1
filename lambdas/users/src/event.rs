//! The event of an API Gateway REST proxy integration (payload format 1.0).
//!
//! Fields may be absent or null, and unknown fields are ignored. Only `httpMethod` is required: without it, the event is not
//! from API Gateway, and the functions that delete users must not run for an event such as `{}`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;

/// The maximum size of a request body and of a stored user.
pub const MAX_BODY_SIZE: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    http_method: Option<String>,
    path_parameters: Option<BTreeMap<String, Option<String>>>,
    query_string_parameters: Option<BTreeMap<String, Option<String>>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Option<Vec<String>>>>,
    stage_variables: Option<BTreeMap<String, Option<String>>>,
    request_context: Option<Context>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
struct Context {
    authorizer: Option<BTreeMap<String, Value>>,
}

/// One request to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// `{userId}` of the path, not validated.
    pub user_id: Option<String>,
    /// The query parameters, not validated.
    pub query: Query,
    /// The user name from the authorizer or the user pool, if there is one.
    pub caller: Option<String>,
    /// The release, from the stage variable `release`.
    pub release: Option<String>,
    body: Option<String>,
    is_base64_encoded: bool,
}

/// The query parameters of the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `limit`: the maximum number of users on a page.
    pub limit: Option<String>,
    /// `cursor`: the start of the page.
    pub cursor: Option<String>,
    /// The name of a parameter that the request has more than once. API Gateway passes only the last value, so the request
    /// is ambiguous.
    pub duplicate: Option<&'static str>,
}

impl Request {
    /// Reads an event's JSON text.
    pub fn from_event(text: &str) -> Result<Self, Failure> {
        let not_an_event =
            |why: &str| Failure::BadRequest(format!("not an API Gateway proxy event (payload 1.0): {why}"));
        // Serde also accepts an array, as the fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(not_an_event("it is no JSON object"));
        }
        let event: Event = serde_json::from_str(text).map_err(|error| not_an_event(&error.to_string()))?;
        let Event {
            http_method,
            path_parameters,
            query_string_parameters,
            multi_value_query_string_parameters,
            stage_variables,
            request_context,
            body,
            is_base64_encoded,
        } = event;
        let values = multi_value_query_string_parameters.unwrap_or_default();
        let count = |name: &str| values.get(name).and_then(Option::as_ref).map_or(0, Vec::len);
        let duplicate = ["cursor", "limit"].into_iter().find(|name| count(name) > 1);
        let mut query = query_string_parameters.unwrap_or_default();
        let mut parameter = |name: &str| query.remove(name).flatten();
        let query = Query { limit: parameter("limit"), cursor: parameter("cursor"), duplicate };
        let context = request_context.and_then(|context| context.authorizer);
        // The Lambda authorizer passes the name itself; for a user pool, API Gateway passes the claims of the token.
        let caller = context.and_then(|mut all| {
            let claim = all.get("claims").and_then(|claims| claims.get("cognito:username")).cloned();
            all.remove("user").or(claim)
        });
        Ok(Self {
            method: http_method.ok_or_else(|| not_an_event("it has no httpMethod"))?,
            user_id: path_parameters.and_then(|mut all| all.remove("userId")).flatten(),
            query,
            caller: caller.and_then(|user| user.as_str().map(str::to_owned)),
            release: stage_variables.and_then(|mut all| all.remove("release")).flatten(),
            body,
            is_base64_encoded: is_base64_encoded.unwrap_or(false),
        })
    }

    /// The body as text, decoded.
    pub fn body(&self) -> Result<Cow<'_, str>, Failure> {
        let bad = |why: &str| Failure::BadRequest(why.to_owned());
        let text =
            self.body.as_deref().filter(|body| !body.is_empty()).ok_or_else(|| bad("the body is missing"))?;
        if !self.is_base64_encoded {
            return Ok(Cow::Borrowed(within_limit(text)?));
        }
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| bad("the body is not valid base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| bad("the body is not UTF-8 text"))?;
        within_limit(&text)?;
        Ok(Cow::Owned(text))
    }
}

fn within_limit(text: &str) -> Result<&str, Failure> {
    if text.len() > MAX_BODY_SIZE {
        return Err(Failure::TooLarge("the body is larger than 256 KB".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(event: &str) -> Result<String, String> {
        Request::from_event(event)
            .and_then(|request| request.body().map(Cow::into_owned))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_caller_is_the_user_of_the_authorizer_or_of_the_user_pool() {
        let caller = |authorizer: &str| {
            let event = format!(r#"{{"httpMethod":"GET","requestContext":{{"authorizer":{authorizer}}}}}"#);
            Request::from_event(&event).ok().and_then(|request| request.caller)
        };
        assert_eq!(caller(r#"{"user":"ada"}"#).as_deref(), Some("ada"));
        assert_eq!(caller(r#"{"claims":{"cognito:username":"ada","sub":"1"}}"#).as_deref(), Some("ada"));
        assert_eq!(caller(r#"{"claims":{"sub":"1"}}"#), None);
        assert_eq!(caller("null"), None);
    }

    #[test]
    fn nulls_missing_and_unknown_fields_are_tolerated() {
        let request = Request::from_event(
            r#"{"httpMethod":"GET","pathParameters":null,"stageVariables":{"release":"1.4.2","x":null},"new":[{}],
                "queryStringParameters":{"limit":"7","x":null},"requestContext":{"authorizer":{"user":"ada","n":7}}}"#,
        );
        assert_eq!(
            request.ok(),
            Some(Request {
                method: "GET".to_owned(),
                user_id: None,
                query: Query { limit: Some("7".to_owned()), ..Query::default() },
                caller: Some("ada".to_owned()),
                release: Some("1.4.2".to_owned()),
                body: None,
                is_base64_encoded: false,
            })
        );
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_recognized() {
        let duplicate = |values: &str| {
            let event = format!(r#"{{"httpMethod":"GET","multiValueQueryStringParameters":{values}}}"#);
            Request::from_event(&event).map(|request| request.query.duplicate).ok()
        };
        assert_eq!(duplicate(r#"{"limit":["1","1"],"cursor":["x"]}"#), Some(Some("limit")));
        assert_eq!(duplicate(r#"{"limit":null,"cursor":["x","y"]}"#), Some(Some("cursor")));
        assert_eq!(duplicate(r#"{"limit":["1"],"other":["1","2"]}"#), Some(None));
    }

    #[test]
    fn other_events_are_bad_requests() {
        for event in [
            "{}",
            "[]",
            r#"["DELETE",null,null,null,null]"#,
            "null",
            "7",
            r#""text""#,
            r#"{"Records":[{"eventSource":"aws:sqs"}]}"#,
            r#"{"version":"2.0","requestContext":{"http":{"method":"GET"}}}"#,
            r#"{"httpMethod":"POST","body":{"name":"x"}}"#,
            r#"{"httpMethod":"GET","httpMethod":"DELETE"}"#,
            r#"{"httpMethod":"GET","requestContext":"x"}"#,
            r#"{"httpMethod":"GET","isBase64Encoded":"true"}"#,
        ] {
            let failure = Request::from_event(event).err();
            assert_eq!(failure.as_ref().map(Failure::status), Some(400), "{event}");
            assert!(
                failure.is_some_and(|f| f.to_string().starts_with("not an API Gateway proxy event")),
                "{event}"
            );
        }
    }

    #[test]
    fn a_base64_body_is_decoded_and_a_bad_one_refused() {
        assert_eq!(
            body_of(r#"{"httpMethod":"POST","body":"eyJhIjoxfQ==","isBase64Encoded":true}"#),
            Ok(r#"{"a":1}"#.into())
        );
        for (body, why) in [("%%%", "the body is not valid base64"), ("//4=", "the body is not UTF-8 text")] {
            let event = format!(r#"{{"httpMethod":"POST","body":"{body}","isBase64Encoded":true}}"#);
            assert_eq!(body_of(&event), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_missing_or_too_large_body_is_refused() {
        for event in [r#"{"httpMethod":"POST"}"#, r#"{"httpMethod":"POST","body":""}"#] {
            assert_eq!(body_of(event), Err("the body is missing".to_owned()));
        }
        let event = |length| format!(r#"{{"httpMethod":"POST","body":"{}"}}"#, "x".repeat(length));
        assert!(body_of(&event(MAX_BODY_SIZE)).is_ok());
        let too_large =
            Request::from_event(&event(MAX_BODY_SIZE + 1)).and_then(|r| r.body().map(Cow::into_owned));
        assert_eq!(too_large.err().map(|failure| failure.status()), Some(413));
    }
}
