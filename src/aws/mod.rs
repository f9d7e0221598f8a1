//! AWS as deployctl uses it: one configuration, a client for each service, and each call in the words of a release.
//!
//! - [`failure`] reads the SDK's errors; nothing else does.
//! - [`retry`] is the one table of what is tried again, and [`timeouts`] of how long an attempt may take.
//! - `s3`, `lambda` and `api_gateway` hold the calls.

pub(crate) mod api_gateway;
pub(crate) mod cleanup;
mod definition;
pub(crate) mod failure;
pub(crate) mod inspect;
pub(crate) mod invoke;
pub(crate) mod lambda;
pub(crate) mod logs;
pub(crate) mod retry;
pub(crate) mod s3;
pub(crate) mod timeouts;
mod trace;

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::Credentials;

use crate::error::{Error, ErrorId, Result};
use crate::release::model::{AccountId, StageName};

use crate::engine::failure::Failure;
use retry::Table;

/// The account and region that calls go to, and how they are made.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The stage's name, for messages.
    pub(crate) stage: StageName,
    /// The account; every command refuses another one.
    pub(crate) account: AccountId,
    pub(crate) region: String,
    /// The profile of the AWS configuration with the credentials, where it is not the caller's own.
    pub(crate) profile: Option<String>,
    /// The local AWS emulator; `None` for AWS.
    pub(crate) emulator: Option<Emulator>,
    /// Whether calls are kept below the account's API rates.
    pub(crate) pacing: bool,
    /// How long an attempt of a call may take, but for uploads and invocations.
    pub(crate) call_timeout: Duration,
}

/// The local AWS emulator (MiniStack). It has one secret for all accounts; the key id selects the account.
#[derive(Clone)]
pub(crate) struct Emulator {
    pub(crate) endpoint: String,
    /// Its secret access key.
    pub(crate) secret: String,
}

/// The secret is not shown.
impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The clients of one account and region.
#[derive(Debug, Clone)]
pub(crate) struct Aws {
    target: Target,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) api_gateway: aws_sdk_apigateway::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    iam: aws_sdk_iam::Client,
    pub(crate) rate_limiter: retry::RateLimiter,
}

/// Who is calling AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) account: AccountId,
    /// The ARN of the user or of the assumed role.
    pub(crate) arn: String,
}

impl Aws {
    pub(crate) async fn connect(target: Target) -> Self {
        Self::connect_with(target, retry::config()).await
    }

    /// The same with another schedule of retries: `doctor` does not wait long for what may be out of reach.
    pub(crate) async fn connect_with(target: Target, retries: RetryConfig) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(target.region.clone()))
            .retry_config(retries)
            .timeout_config(timeouts::config(target.call_timeout))
            .identity_cache(IdentityCache::lazy().load_timeout(timeouts::CREDENTIALS).build())
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(timeouts::STALLED).build(),
            );
        if let Some(profile) = &target.profile {
            // Asked for by name, so it comes before keys in the environment.
            let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
            loader = loader.profile_name(profile).credentials_provider(credentials);
        }
        if let Some(Emulator { endpoint, secret }) = &target.emulator {
            let account = target.account.as_str();
            let credentials = Credentials::new(account, secret, None, None, "deployctl local stage");
            loader = loader.endpoint_url(endpoint).credentials_provider(credentials);
        }
        let config = loader.load().await;
        let answers = timeouts::Answers::new(target.call_timeout);
        // The services' builders have no type in common.
        macro_rules! client {
            ($service:ident) => {
                $service::Client::from_conf(
                    $service::config::Builder::from(&config)
                        .retry_classifier(Table::CALL)
                        .interceptor(answers.clone())
                        .interceptor(trace::Requests)
                        .build(),
                )
            };
        }
        Self {
            s3: client!(aws_sdk_s3),
            lambda: client!(aws_sdk_lambda),
            api_gateway: client!(aws_sdk_apigateway),
            logs: client!(aws_sdk_cloudwatchlogs),
            sts: client!(aws_sdk_sts),
            iam: client!(aws_sdk_iam),
            rate_limiter: retry::RateLimiter::new(target.pacing),
            target,
        }
    }

    /// Asks AWS who we are, and refuses any account but the stage's.
    ///
    /// # Errors
    /// `aws.unreachable`, `aws.credentials` when there are none or they are not accepted, `aws.wrong_account`; exit
    /// code 10.
    pub(crate) async fn identify(&self) -> Result<Identity> {
        let Target { stage, account: expected, .. } = &self.target;
        let answer = self.sts.get_caller_identity().send().await.map_err(|error| {
            let failure = Failure::new("GetCallerIdentity", "the credentials", &error);
            if failure::is_unanswered(&error) {
                return unreachable(failure);
            }
            Error::preflight(ErrorId::AwsCredentials, "failed to authenticate: AWS does not accept the credentials, or there are none")
                .because(failure)
                .hint("set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws sts get-caller-identity` must answer")
        })?;
        let account = answer.account().unwrap_or_default();
        if account != expected.as_str() {
            return Err(Error::preflight(
                ErrorId::AwsWrongAccount,
                format!("the credentials are for account {account}, but stage {stage} lives in {expected}"),
            )
            .hint("nothing was changed; switch the credentials, or correct `account` in deployctl.toml"));
        }
        Ok(Identity { account: expected.clone(), arn: answer.arn().unwrap_or_default().to_owned() })
    }
}

/// The error of a command whose first call got no answer.
pub(crate) fn unreachable(failure: Failure) -> Error {
    Error::preflight(ErrorId::AwsUnreachable, failure.message)
        .hint("nothing was changed; look at the network, the proxy and the stage's region")
}

#[cfg(test)]
mod tests;
