//! A fake API Gateway: an HTTP server that converts each request to an event and calls the function of the route.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Function, TestResult, function};

/// A running API.
pub(crate) struct Gateway {
    pub(crate) url: String,
    api: Arc<Functions>,
}

struct Functions {
    functions: BTreeMap<&'static str, Function>,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Gateway {
    pub(crate) async fn start(redis_port: u16) -> TestResult<Self> {
        let mut functions = BTreeMap::new();
        for handler in ["users_get", "users_post", "users_delete", "user_get", "user_patch", "user_delete"] {
            functions.insert(handler, function(handler, redis_port)?);
        }
        let api =
            Arc::new(Functions { functions, answered: AtomicUsize::new(0), failed: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let gateway = Self { url: format!("http://{}", listener.local_addr()?), api: Arc::clone(&api) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = Arc::clone(&api);
                let service = service_fn(move |request| {
                    let api = Arc::clone(&api);
                    async move { Ok::<_, Infallible>(api.answer(request).await) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Ok(gateway)
    }

    /// The number of requests that the functions answered, and the number of 5xx responses among them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.api.answered.load(Ordering::Relaxed), self.api.failed.load(Ordering::Relaxed))
    }
}

impl Functions {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let id = path.strip_prefix("/demo/users/").filter(|id| !id.is_empty() && !id.contains('/'));
        let handler = match (request.method().as_str(), path.as_str(), id) {
            ("GET" | "HEAD" | "OPTIONS", "/demo/users", _) => "users_get",
            ("POST", "/demo/users", _) => "users_post",
            ("DELETE", "/demo/users", _) => "users_delete",
            ("GET" | "HEAD" | "OPTIONS", _, Some(_)) => "user_get",
            ("PATCH", _, Some(_)) => "user_patch",
            ("DELETE", _, Some(_)) => "user_delete",
            _ => return plain(403, r#"{"message":"Missing Authentication Token"}"#.to_owned()),
        };
        let event = event(request, id).await;
        let answer = self.functions[handler].answer(&event.to_string()).await;
        self.answered.fetch_add(1, Ordering::Relaxed);
        if answer.status_code >= 500 {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let mut response = plain(answer.status_code, answer.body);
        for (name, value) in &answer.headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    }
}

fn plain(status: u16, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("Content-Type", "application/json");
    response.body(Full::new(Bytes::from(body))).unwrap()
}

/// The event (payload 1.0). As in API Gateway, `queryStringParameters` has the last value of a repeated parameter.
async fn event(request: Request<Incoming>, id: Option<&str>) -> Value {
    let (parts, body) = request.into_parts();
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        query.entry(decode(name)).or_default().push(decode(&value.replace('+', " ")));
    }
    let last: BTreeMap<&String, Option<&String>> =
        query.iter().map(|(name, values)| (name, values.last())).collect();
    let bytes = body.collect().await.unwrap().to_bytes();
    let (text, is_base64) = match std::str::from_utf8(&bytes) {
        Ok("") => (Value::Null, false),
        Ok(text) => (json!(text), false),
        Err(_) => (json!(BASE64_STANDARD.encode(&bytes)), true),
    };
    json!({
        "httpMethod": parts.method.as_str(),
        "path": parts.uri.path(),
        "pathParameters": id.map(|id| json!({ "userId": decode(id) })),
        "queryStringParameters": if query.is_empty() { Value::Null } else { json!(last) },
        "multiValueQueryStringParameters": if query.is_empty() { Value::Null } else { json!(query) },
        "stageVariables": { "release": "1.4.2" },
        "requestContext": { "stage": "prd" },
        "body": text,
        "isBase64Encoded": is_base64,
    })
}
