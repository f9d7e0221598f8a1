//! From an event to a response, whatever happens: the method is checked, the deadline kept, a failure worded and logged.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::event::Request;
use crate::failure::Failure;
use crate::response::Response;
use crate::routes;
use crate::settings::{Handler, Settings};
use crate::store::Store;
use shared::aws_secret::SecretClient;
use shared::connection::ConnectionError;
use shared::log::{Scope, milliseconds_since};

/// The most that a request may wait for Redis, everything included.
const DEADLINE: Duration = Duration::from_secs(2);

/// One function of the six, ready to serve.
#[derive(Debug)]
pub struct App {
    handler: Handler,
    store: Store,
    cors_origin: Option<String>,
    function_version: Option<String>,
}

impl App {
    /// Puts the function together. Redis need not be there.
    pub fn new(settings: &Settings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        Ok(Self {
            handler: settings.handler,
            store: Store::new(&settings.redis, secrets)?,
            cors_origin: settings.cors_origin.clone(),
            function_version: settings.function_version.clone(),
        })
    }

    /// Connects to Redis ahead of the first request.
    pub async fn connect(&self) {
        self.store.connect().await;
    }

    /// Answers one event, given as its JSON text, and logs one line about it.
    pub async fn answer(&self, event: &str, mut scope: Scope) -> Response {
        let started = Instant::now();
        let (request, outcome) = match Request::from_event(event) {
            Err(failure) => (None, Err(failure)),
            Ok(request) => {
                scope.release.clone_from(&request.release);
                let outcome = self.serve(&request, &scope).await;
                (Some(request), outcome)
            }
        };
        let response = self.dress(outcome, request.as_ref(), &scope);
        let facts = serde_json::json!({
            "function": self.handler.name(),
            "method": request.as_ref().map(|request| known_method(&request.method)),
            "status": response.status_code,
            "bytes": response.body.len(),
            "milliseconds": milliseconds_since(started),
        });
        scope.info("request", facts);
        response
    }

    async fn serve(&self, request: &Request, scope: &Scope) -> Result<Response, Failure> {
        let serves = self.handler.method();
        match request.method.as_str() {
            method if method == serves => {}
            "HEAD" if serves == "GET" => {}
            "OPTIONS" => return Ok(Response::of_options(self.handler.methods_of_resource())),
            _ => return Err(Failure::WrongMethod { serves }),
        }
        timeout(DEADLINE, routes::serve(self.handler, &self.store, request, scope))
            .await
            .unwrap_or(Err(Failure::Unanswered))
    }

    /// The response as it is sent: failures in words, HEAD without a body, and the headers that every response has.
    fn dress(
        &self,
        outcome: Result<Response, Failure>,
        request: Option<&Request>,
        scope: &Scope,
    ) -> Response {
        let response = outcome.unwrap_or_else(|failure| {
            if failure.status() >= 500 {
                scope.error("a request failed", failure.source().unwrap_or(&failure));
            }
            Response::of_failure(&failure)
        });
        let response = match &self.cors_origin {
            Some(origin) => response.with_cors(origin),
            None => response,
        };
        let Some(request) = request else { return response };
        let response = if request.method == "HEAD" { response.without_body() } else { response };
        // So that a caller can see whose rights it has used.
        let response = response.with_header("X-Caller", request.caller.as_deref());
        // These two tell `deployctl`, and everyone else, which release answered.
        match &request.release {
            None => response,
            release => response
                .with_header("X-Release", release.as_deref())
                .with_header("X-Function-Version", self.function_version.as_deref()),
        }
    }
}

/// For the log: what a direct invocation says instead of a method could be anything.
fn known_method(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}
