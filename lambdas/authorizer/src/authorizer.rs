//! The decision: credentials in, a policy or a refusal out.

use std::time::{Duration, Instant};

use lambda_runtime::Diagnostic;
use redis::{RedisError, pipe};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::credentials::{Credentials, Event, UserName};
use crate::policy::{Answer, policy};
use crate::rights::Record;
use crate::secret::{self, SecretError};
use shared::aws_secret::SecretClient;
use shared::connection::{Connection, ConnectionError};
use shared::log::{Scope, milliseconds_since};
use shared::redis_settings::RedisSettings;

/// The most that a decision may wait for Redis.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why there is no policy. API Gateway answers 401 to `Unauthorized` and 500 to anything else.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Not, or not rightly, said who calls. The text is API Gateway's keyword, to the letter.
    #[error("Unauthorized")]
    Unauthorized,
    /// The event is not one of a REQUEST authorizer.
    #[error("not an event of a REQUEST authorizer")]
    BadEvent,
    /// Redis cannot be reached or refuses.
    #[error("storage is unavailable")]
    Storage(#[source] RedisError),
    /// Redis did not answer in time.
    #[error("storage is unavailable")]
    TooSlow,
    /// The user's record cannot be read.
    #[error("a user's record is damaged")]
    DamagedRecord(#[source] serde_json::Error),
    /// The user's secret cannot be compared.
    #[error("a user's record is damaged")]
    DamagedSecret(#[source] SecretError),
}

impl From<Refusal> for Diagnostic {
    fn from(refusal: Refusal) -> Self {
        let error_type =
            if matches!(refusal, Refusal::Unauthorized) { "Unauthorized" } else { "AuthorizerError" };
        Self { error_type: error_type.to_owned(), error_message: refusal.to_string() }
    }
}

/// The authorizer of one Lambda environment.
#[derive(Debug)]
pub struct Authorizer {
    connection: Connection,
}

impl Authorizer {
    /// Nothing is sent until the first decision.
    pub fn new(redis: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        Ok(Self { connection: Connection::new(redis, secrets)? })
    }

    /// Connects ahead of the first request, if Redis is there.
    pub async fn connect(&self) {
        self.connection.warm_up().await;
    }

    /// Decides on one event, and logs one line about it: what was decided, never on whom.
    pub async fn decide(&self, event: Value, mut scope: Scope) -> Result<Answer, Refusal> {
        let started = Instant::now();
        scope.release = event["stageVariables"]["release"].as_str().map(str::to_owned);
        let decision = self.policy_for(event).await;
        let outcome = match &decision {
            Ok(_) => "known",
            Err(Refusal::Unauthorized) => "unauthorized",
            Err(refusal) => {
                scope.error("the authorizer cannot decide", refusal);
                "undecided"
            }
        };
        scope.info("decision", json!({ "outcome": outcome, "milliseconds": milliseconds_since(started) }));
        decision
    }

    async fn policy_for(&self, event: Value) -> Result<Answer, Refusal> {
        // Serde would read an array as the fields in their order.
        let event = Some(event).filter(Value::is_object).ok_or(Refusal::BadEvent)?;
        let event: Event = serde_json::from_value(event).map_err(|_| Refusal::BadEvent)?;
        let method_arn = event.method_arn.as_deref().ok_or(Refusal::BadEvent)?;
        let Credentials { name, secret } = Credentials::from_event(&event).ok_or(Refusal::Unauthorized)?;
        let Some(record) = self.record(&name).await? else {
            // Nothing may tell an unknown name from a wrong secret, the time it takes included.
            secret::verify_nobody(&secret).map_err(Refusal::DamagedSecret)?;
            return Err(Refusal::Unauthorized);
        };
        if !secret::verify(&secret, &record.secret).map_err(Refusal::DamagedSecret)? {
            return Err(Refusal::Unauthorized);
        }
        policy(&name, method_arn, &record.allow).ok_or(Refusal::BadEvent)
    }

    async fn record(&self, name: &UserName) -> Result<Option<Record>, Refusal> {
        let mut read = pipe();
        read.get(key(name));
        let reply = timeout(DEADLINE, self.connection.send(&read)).await.map_err(|_| Refusal::TooSlow)?;
        let (record,): (Option<Vec<u8>>,) = reply.map_err(Refusal::Storage)?.value;
        record.map(|json| serde_json::from_slice(&json).map_err(Refusal::DamagedRecord)).transpose()
    }
}

/// Where a user's record is.
pub fn key(name: &UserName) -> String {
    format!("auth_user_{name}")
}
