//! The AWS adapters: one configuration, a client for each service, and the calls behind the ports of the
//! engine.
//!
//! - [`failure`] converts the SDK's errors.
//! - [`http`] has the HTTP clients: proxies, certificates, failed connections.
//! - `members` compares answers with the members that deployctl knows.
//! - [`retry`] is the table of retries, and [`timeouts`] has the time limits of calls.
//! - `s3`, `lambda` and `api_gateway` make the calls.

mod answers;
pub(crate) mod api_gateway;
mod at_once;
pub(crate) mod cleanup;
mod cloudwatch;
pub(crate) mod conformance;
mod definition;
mod export;
pub(crate) mod failure;
pub(crate) mod http;
pub(crate) mod inspect;
pub(crate) mod invoke;
pub(crate) mod lambda;
pub(crate) mod logs;
mod members;
mod preview;
mod profile;
mod provisioned;
pub(crate) mod retry;
pub(crate) mod s3;
mod stage_by_id;
pub(crate) mod timeouts;
mod trace;

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::Credentials;

use crate::error::{Error, ErrorId, Result};
use crate::event::Events;
use crate::release::model::{AccountId, StageName};

use crate::engine::failure::{Failure, Meaning};
use retry::Table;

/// The account and region of the calls, and how they are made.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The stage's name, for messages.
    pub(crate) stage: StageName,
    /// The expected account; every command refuses another one.
    pub(crate) account: AccountId,
    /// The account that must own the artifact bucket.
    pub(crate) artifact_bucket_account: AccountId,
    pub(crate) region: String,
    /// The AWS profile with the credentials; `None` for the default credentials.
    pub(crate) profile: Option<String>,
    /// The local AWS emulator (MiniStack); `None` for AWS.
    pub(crate) emulator: Option<Emulator>,
    /// Whether the rate limiter is enabled.
    pub(crate) pacing: bool,
    /// The time limit of an attempt of a call, except for uploads and invocations.
    pub(crate) call_timeout: Duration,
    pub(crate) trust: http::Trust,
}

/// The local AWS emulator (MiniStack). All accounts have the same secret; the access key id selects the
/// account.
#[derive(Clone)]
pub(crate) struct Emulator {
    pub(crate) endpoint: String,
    pub(crate) secret: String,
}

/// Omits the secret.
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
    cloudwatch: aws_sdk_cloudwatch::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    iam: aws_sdk_iam::Client,
    pub(crate) rate_limiter: retry::RateLimiter,
    inspector: members::Inspector,
}

/// The AWS identity of the caller.
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

    /// The same with another retry configuration: `doctor` gives up early.
    pub(crate) async fn connect_with(target: Target, retries: RetryConfig) -> Self {
        let (region, http) = (Region::new(target.region.clone()), target.trust.sdk());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region.clone())
            .http_client(http.clone())
            .retry_config(retries)
            .timeout_config(timeouts::config(target.call_timeout))
            .identity_cache(IdentityCache::lazy().load_timeout(timeouts::CREDENTIALS).build())
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(timeouts::STALLED).build(),
            );
        if let Some(profile) = &target.profile {
            // The stage's profile takes precedence over keys in the environment.
            let config = ProviderConfig::without_region().with_region(Some(region)).with_http_client(http);
            let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile);
            let credentials = credentials.configure(&config).build();
            loader = loader.profile_name(profile).credentials_provider(credentials);
        }
        if let Some(Emulator { endpoint, secret }) = &target.emulator {
            let account = target.account.as_str();
            let credentials = Credentials::new(account, secret, None, None, "deployctl local stage");
            // The emulator has no other endpoints, whatever the environment asks for.
            loader = loader.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
            loader = loader.credentials_provider(credentials);
        }
        let config = loader.load().await;
        let tracker = timeouts::AnswerTracker::new(target.call_timeout);
        let rate_limiter = retry::RateLimiter::new(target.pacing);
        // The services' builders have no common type.
        macro_rules! client {
            ($service:ident $(, $interceptor:expr)?) => {
                $service::Client::from_conf(
                    $service::config::Builder::from(&config)
                        .retry_classifier(Table::CALL)
                        .interceptor(tracker.clone())
                        .interceptor(trace::Requests)
                        $(.interceptor($interceptor))?
                        .build(),
                )
            };
        }
        Self {
            s3: client!(aws_sdk_s3),
            lambda: client!(aws_sdk_lambda, rate_limiter.throttled()),
            api_gateway: client!(aws_sdk_apigateway),
            cloudwatch: client!(aws_sdk_cloudwatch),
            logs: client!(aws_sdk_cloudwatchlogs),
            sts: client!(aws_sdk_sts),
            iam: client!(aws_sdk_iam),
            rate_limiter,
            inspector: members::Inspector::new(Events::silent()),
            target,
        }
    }

    /// Warnings about answers go to `events`.
    #[must_use]
    pub(crate) fn warning(mut self, events: Events) -> Self {
        self.inspector = members::Inspector::new(events);
        self
    }

    /// What its calls create on a local stage is ready at once.
    #[must_use]
    pub(crate) fn at_once(mut self) -> Self {
        let config = self.lambda.config().to_builder().interceptor(at_once::AtOnce).build();
        self.lambda = aws_sdk_lambda::Client::from_conf(config);
        self
    }

    /// The credentials of the calls, by name.
    fn credentials(&self, var: impl Fn(&str) -> Option<String>) -> String {
        if let Some(profile) = &self.target.profile {
            return format!("the credentials of profile {profile:?}, or it has none");
        }
        if var("AWS_ACCESS_KEY_ID").is_some() {
            return "the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned();
        }
        if let Some(profile) = var("AWS_PROFILE") {
            return format!("the credentials of profile {profile:?} (AWS_PROFILE), or it has none");
        }
        "the credentials, or none are configured".to_owned()
    }

    pub(crate) fn trust(&self) -> &http::Trust {
        &self.target.trust
    }

    /// Checks that the profile that would be used exists.
    ///
    /// # Errors
    /// `aws.credentials` with the profile.
    pub(crate) fn require_profile(&self) -> Result<()> {
        if self.target.emulator.is_some() {
            return Ok(());
        }
        profile::require(self.target.profile.as_deref())
    }

    /// Reads the identity of the caller, and refuses another account than the stage's.
    ///
    /// # Errors
    /// `aws.unreachable`, `aws.credentials` when there are none or they are not accepted,
    /// `aws.wrong_account`; exit code 10.
    pub(crate) async fn identify(&self) -> Result<Identity> {
        let Target { stage, account: expected, .. } = &self.target;
        let caller = self.caller().await?;
        if caller.account != *expected {
            return Err(Error::preflight(
                ErrorId::AwsWrongAccount,
                format!(
                    "refused: the credentials are for account {}, but stage {stage} is in {expected}",
                    caller.account
                ),
            )
            .hint("nothing was changed; use other credentials, or correct `account` in deployctl.toml"));
        }
        Ok(caller)
    }

    /// Reads the identity of the caller, in whichever account.
    ///
    /// # Errors
    /// As [`Aws::identify`], without `aws.wrong_account`.
    async fn caller(&self) -> Result<Identity> {
        let answer = self.sts.get_caller_identity().send().await.map_err(|error| {
            let failure = Failure::new("GetCallerIdentity", "the credentials", &error);
            if failure::is_unanswered(&error)
                || failure.meaning == Meaning::Unreachable
                || failure.advice == Some(failure::PROXY)
            {
                return unreachable(failure);
            }
            let message = format!(
                "failed to authenticate: AWS does not accept {}",
                self.credentials(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            );
            let hint = failure.hint(
                "nothing was changed",
                "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, until \
                 `aws sts get-caller-identity` succeeds",
            );
            Error::preflight(ErrorId::AwsCredentials, message).because(failure).hint(hint)
        })?;
        let account = answer.account().unwrap_or_default().parse().map_err(|problem| {
            Error::preflight(ErrorId::AwsCredentials, "failed to read the account of the credentials")
                .because(problem)
                .hint("nothing was changed; `aws sts get-caller-identity` shows the answer of AWS")
        })?;
        Ok(Identity { account, arn: answer.arn().unwrap_or_default().to_owned() })
    }
}

/// The error of a command whose first call was not answered.
pub(crate) fn unreachable(failure: Failure) -> Error {
    let is_page = failure.advice == Some(failure::PROXY);
    let error = match is_page {
        true => Error::preflight(ErrorId::AwsUnreachable, "cannot reach AWS").because(failure),
        false => Error::preflight(ErrorId::AwsUnreachable, failure.message),
    };
    error.hint(
        "nothing was changed; check the network, the proxy (HTTPS_PROXY, NO_PROXY) and the stage's region",
    )
}

#[cfg(test)]
mod tests;
