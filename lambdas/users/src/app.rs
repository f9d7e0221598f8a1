//! From an event to a response, whatever happens: the method is checked, the deadline kept, a failure worded and logged.

use std::error::Error;
use std::time::Duration;

use redis::RedisResult;
use tokio::time::timeout;

use crate::event::Request;
use crate::failure::Failure;
use crate::log;
use crate::response::Response;
use crate::routes;
use crate::settings::{Handler, Settings};
use crate::store::Store;

/// The most that a request may wait for Redis, everything included.
const DEADLINE: Duration = Duration::from_secs(2);

/// One function of the six, ready to serve.
#[derive(Debug)]
pub struct App {
    handler: Handler,
    store: Store,
    function_version: Option<String>,
}

impl App {
    /// Puts the function together. Redis need not be there.
    pub fn new(settings: &Settings) -> RedisResult<Self> {
        Ok(Self {
            handler: settings.handler,
            store: Store::new(&settings.redis)?,
            function_version: settings.function_version.clone(),
        })
    }

    /// Connects to Redis ahead of the first request.
    pub async fn connect(&self) {
        self.store.connect().await;
    }

    /// Answers one event, given as its JSON text.
    pub async fn answer(&self, event: &str) -> Response {
        let request = match Request::from_event(event) {
            Ok(request) => request,
            Err(failure) => return Response::of_failure(&failure),
        };
        let response = self.serve(&request).await.unwrap_or_else(|failure| {
            if failure.status() >= 500 {
                log::error("a request failed", failure.source().unwrap_or(&failure));
            }
            Response::of_failure(&failure)
        });
        // These two tell `deployctl`, and everyone else, which release answered.
        match &request.release {
            None => response,
            release => response
                .with_header("X-Release", release.as_deref())
                .with_header("X-Function-Version", self.function_version.as_deref()),
        }
    }

    async fn serve(&self, request: &Request) -> Result<Response, Failure> {
        let serves = self.handler.method();
        if request.method != serves {
            return Err(Failure::WrongMethod { serves });
        }
        timeout(DEADLINE, routes::serve(self.handler, &self.store, request))
            .await
            .unwrap_or(Err(Failure::Unanswered))
    }
}
