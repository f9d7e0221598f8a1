//! Handles one event: checks the method, applies the timeout, and turns failures into responses and log lines.

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
use shared::log::{LogContext, milliseconds_since};

/// How long one request may wait for Redis in total.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// One of the six functions.
#[derive(Debug)]
pub struct App {
    handler: Handler,
    store: Store,
    cors_origin: Option<String>,
    function_version: Option<String>,
}

impl App {
    /// Creates the function without connecting to Redis.
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

    /// Handles one event, given as JSON text, and logs one line about it.
    pub async fn answer(&self, event: &str, mut log_context: LogContext) -> Response {
        let started = Instant::now();
        let (request, outcome) = match Request::from_event(event) {
            Err(failure) => (None, Err(failure)),
            Ok(request) => {
                log_context.release.clone_from(&request.release);
                let outcome = self.serve(&request, &log_context).await;
                (Some(request), outcome)
            }
        };
        let response = self.finish_response(outcome, request.as_ref(), &log_context);
        let fields = serde_json::json!({
            "function": self.handler.name(),
            "method": request.as_ref().map(|request| known_method(&request.method)),
            "status": response.status_code,
            "bytes": response.body.len(),
            "milliseconds": milliseconds_since(started),
        });
        log_context.info("request", fields);
        response
    }

    async fn serve(&self, request: &Request, log_context: &LogContext) -> Result<Response, Failure> {
        let allowed = self.handler.method();
        match request.method.as_str() {
            method if method == allowed => {}
            "HEAD" if allowed == "GET" => {}
            "OPTIONS" => return Ok(Response::for_options(self.handler.methods_of_resource())),
            _ => return Err(Failure::WrongMethod { allowed }),
        }
        timeout(REDIS_TIMEOUT, routes::serve(self.handler, &self.store, request, log_context))
            .await
            .unwrap_or(Err(Failure::NoAnswer))
    }

    /// Completes the response: turns a failure into a response, removes the body for HEAD, and adds the common headers.
    fn finish_response(
        &self,
        outcome: Result<Response, Failure>,
        request: Option<&Request>,
        log_context: &LogContext,
    ) -> Response {
        let response = outcome.unwrap_or_else(|failure| {
            if failure.status() >= 500 {
                log_context.error("a request failed", failure.source().unwrap_or(&failure));
            }
            Response::from_failure(&failure)
        });
        let response = match &self.cors_origin {
            Some(origin) => response.with_cors(origin),
            None => response,
        };
        let Some(request) = request else { return response };
        let response = if request.method == "HEAD" { response.without_body() } else { response };
        // Tells the caller which user's permissions applied.
        let response = response.with_header("X-Caller", request.caller.as_deref());
        // Tells deployctl and other callers which release answered.
        match &request.release {
            None => response,
            release => response
                .with_header("X-Release", release.as_deref())
                .with_header("X-Function-Version", self.function_version.as_deref()),
        }
    }
}

/// The method for the log. A direct invocation may contain any text as its method.
fn known_method(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}
