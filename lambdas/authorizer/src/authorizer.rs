//! The decision for one event: a policy or an error.

use std::time::{Duration, Instant};

use lambda_runtime::Diagnostic;
use redis::{RedisError, pipe};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::credentials::{Credentials, Event, UserName};
use crate::policy::{AuthorizerResponse, policy};
use crate::refusals::Refusals;
use crate::rights::Record;
use crate::secret::{self, SecretError};
use shared::aws_secret::SecretClient;
use shared::connection::{Connection, ConnectionError};
use shared::log::{LogContext, milliseconds_since};
use shared::redis_settings::RedisSettings;

/// How long a decision may wait for Redis.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// The authorizer returns no policy. API Gateway answers 401 to the message `Unauthorized` and 500 to any other.
#[derive(Debug, Error)]
pub enum AuthorizerError {
    /// Missing or wrong credentials. API Gateway requires exactly this message.
    #[error("Unauthorized")]
    Unauthorized,
    /// The event is not that of a REQUEST authorizer.
    #[error("not an event of a REQUEST authorizer")]
    InvalidEvent,
    /// Redis cannot be reached or returned an error.
    #[error("storage is unavailable")]
    Storage(#[source] RedisError),
    /// Redis did not answer in time.
    #[error("storage is unavailable")]
    Timeout,
    /// The user's record cannot be parsed.
    #[error("a user's record is damaged")]
    DamagedRecord(#[source] serde_json::Error),
    /// The hash in the user's record cannot be used.
    #[error("a user's record is damaged")]
    DamagedSecret(#[source] SecretError),
}

impl From<AuthorizerError> for Diagnostic {
    fn from(error: AuthorizerError) -> Self {
        let error_type =
            if matches!(error, AuthorizerError::Unauthorized) { "Unauthorized" } else { "AuthorizerError" };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// The authorizer of one Lambda execution environment.
#[derive(Debug)]
pub struct Authorizer {
    connection: Connection,
    refusals: Refusals,
}

impl Authorizer {
    /// Creates the authorizer without connecting to Redis.
    pub fn new(redis: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        Ok(Self { connection: Connection::new(redis, secrets)?, refusals: Refusals::default() })
    }

    /// Connects ahead of the first request, if Redis can be reached.
    pub async fn connect(&self) {
        self.connection.connect().await;
    }

    /// Decides on one event and logs the outcome, without the user's name.
    pub async fn decide(
        &self,
        event: Value,
        mut log_context: LogContext,
    ) -> Result<AuthorizerResponse, AuthorizerError> {
        let started = Instant::now();
        log_context.release = event["stageVariables"]["release"].as_str().map(str::to_owned);
        let decision = self.policy_for(event).await;
        let outcome = match &decision {
            Ok(_) => "known",
            Err(AuthorizerError::Unauthorized) => "unauthorized",
            Err(error) => {
                log_context.error("the authorizer cannot decide", error);
                "undecided"
            }
        };
        log_context
            .info("decision", json!({ "outcome": outcome, "milliseconds": milliseconds_since(started) }));
        decision
    }

    async fn policy_for(&self, event: Value) -> Result<AuthorizerResponse, AuthorizerError> {
        // Serde also accepts an array, as the fields in order.
        let event = Some(event).filter(Value::is_object).ok_or(AuthorizerError::InvalidEvent)?;
        let event: Event = serde_json::from_value(event).map_err(|_| AuthorizerError::InvalidEvent)?;
        let method_arn = event.method_arn.as_deref().ok_or(AuthorizerError::InvalidEvent)?;
        let credentials = Credentials::from_event(&event).ok_or(AuthorizerError::Unauthorized)?;
        let record = self.record(&credentials.name).await?;
        let stored = record.as_ref().map(|record| record.secret.as_str());
        if self.refusals.contain(&credentials, stored) {
            return Err(AuthorizerError::Unauthorized);
        }
        let matches = match stored {
            Some(stored) => secret::verify(&credentials.secret, stored),
            // An unknown name takes as long as a wrong secret, so that the time does not reveal which names exist.
            None => secret::verify_unknown_user(&credentials.secret),
        };
        match (matches.map_err(AuthorizerError::DamagedSecret)?, record) {
            (true, Some(record)) => {
                policy(&credentials.name, method_arn, &record.allow).ok_or(AuthorizerError::InvalidEvent)
            }
            (_, record) => {
                self.refusals.add(credentials, record.map(|record| record.secret));
                Err(AuthorizerError::Unauthorized)
            }
        }
    }

    async fn record(&self, name: &UserName) -> Result<Option<Record>, AuthorizerError> {
        let mut read = pipe();
        read.get(record_key(name));
        let reply = timeout(REDIS_TIMEOUT, self.connection.send(&read))
            .await
            .map_err(|_| AuthorizerError::Timeout)?;
        let (record,): (Option<Vec<u8>>,) = reply.map_err(AuthorizerError::Storage)?.value;
        record.map(|json| serde_json::from_slice(&json).map_err(AuthorizerError::DamagedRecord)).transpose()
    }
}

/// The Redis key of a user's record.
pub fn record_key(name: &UserName) -> String {
    format!("auth_user_{name}")
}
