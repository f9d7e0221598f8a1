//! AWS as deployctl uses it: one configuration, a client for each service, and each call in the words of a release.
//!
//! - [`failure`] reads the SDK's errors; nothing else does.
//! - [`retry`] is the one table of what is tried again, and [`timeouts`] of how long an attempt may take.
//! - `s3`, `lambda` and `api_gateway` hold the calls.

pub mod api_gateway;
pub mod cleanup;
mod definition;
pub mod failure;
pub mod inspect;
pub mod invoke;
pub mod lambda;
pub mod logs;
pub mod retry;
pub mod s3;
pub mod timeouts;
mod trace;

use aws_config::identity::IdentityCache;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::Credentials;

use crate::error::{Error, Result};
use crate::local::LocalStage;
use crate::release::model::AccountId;
use crate::settings::Stage;

use failure::Failure;
use retry::Table;

/// The clients of one account and region.
#[derive(Debug, Clone)]
pub struct Aws {
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) api_gateway: aws_sdk_apigateway::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    iam: aws_sdk_iam::Client,
    pub(crate) pace: retry::Pace,
}

/// Who is calling AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The ARN of the user or of the assumed role.
    pub arn: String,
}

impl Aws {
    /// Clients for `stage`; `local` is the embedded AWS where the stage is one.
    pub async fn connect(stage: &Stage, local: Option<&LocalStage>) -> Self {
        Self::connect_with(stage, local, retry::config()).await
    }

    /// The same with another schedule of retries: who only wants to know does not wait long.
    pub async fn connect_with(stage: &Stage, local: Option<&LocalStage>, retries: RetryConfig) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(stage.region.clone()))
            .retry_config(retries)
            .timeout_config(timeouts::config(stage.call_timeout))
            .identity_cache(IdentityCache::lazy().load_timeout(timeouts::CREDENTIALS).build())
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(timeouts::STALLED).build(),
            );
        if let Some(profile) = &stage.profile {
            // Asked for by name, so it comes before keys in the environment.
            let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
            loader = loader.profile_name(profile).credentials_provider(credentials);
        }
        if let Some(local) = local {
            // The embedded AWS has one secret for all accounts; the key id selects the account.
            let account = stage.account.as_str();
            loader = loader.endpoint_url(&local.endpoint).credentials_provider(Credentials::new(
                account,
                &local.secret,
                None,
                None,
                "deployctl local stage",
            ));
        }
        let config = loader.load().await;
        let answers = timeouts::Answers::new(stage.call_timeout);
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
            pace: retry::Pace::new(stage.pacing),
        }
    }

    /// Asks AWS who we are, and refuses any account but the stage's (I9).
    ///
    /// # Errors
    /// `aws.unreachable`, `aws.credentials` when there are none or they are not accepted, `aws.wrong_account`; exit
    /// code 10.
    pub async fn identify(&self, stage: &Stage) -> Result<Identity> {
        let answer = self.sts.get_caller_identity().send().await.map_err(|error| {
            let failure = Failure::new("GetCallerIdentity", "the credentials", &error);
            if failure::is_unanswered(&error) {
                return unreachable(failure);
            }
            Error::preflight("aws.credentials", "AWS does not accept the credentials, or there are none")
                .because(failure)
                .hint("set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws sts get-caller-identity` must answer")
        })?;
        let account = answer.account().unwrap_or_default();
        if account != stage.account.as_str() {
            return Err(Error::preflight(
                "aws.wrong_account",
                format!(
                    "the credentials are for account {account}, but stage {} lives in {}",
                    stage.name, stage.account
                ),
            )
            .hint("nothing was changed; switch the credentials, or correct `account` in deployctl.toml"));
        }
        Ok(Identity { account: stage.account.clone(), arn: answer.arn().unwrap_or_default().to_owned() })
    }
}

/// The error of a command whose first call got no answer.
pub fn unreachable(failure: Failure) -> Error {
    Error::preflight("aws.unreachable", failure.message)
        .hint("nothing was changed; look at the network, the proxy and the stage's region")
}
