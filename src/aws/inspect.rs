//! Reads for `doctor`: the configuration of buckets, functions, the API and the account. Two writes whose
//! condition cannot hold test whether they would be allowed.

use std::collections::BTreeSet;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::BucketVersioningStatus;

use super::Aws;
use crate::engine::failure::{Failure, Meaning};
use crate::release::model::AccountId;

/// The configuration of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketFacts {
    /// Its region, if S3 returns it.
    pub(crate) region: Option<String>,
    pub(crate) versioned: bool,
    /// Whether it has an encryption configuration.
    pub(crate) encrypted: bool,
    /// Whether all public access is blocked.
    pub(crate) private: bool,
}

/// The configuration of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionFacts {
    /// Such as `provided.al2023`; empty for a container image.
    pub(crate) runtime: String,
    pub(crate) architecture: String,
    /// Lambda's reason, if the function or its last update failed.
    pub(crate) trouble: Option<String>,
}

/// The Lambda quotas of an account and their use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LambdaLimits {
    /// The bytes of stored code.
    pub(crate) code_used: i64,
    /// The quota for stored code, in bytes.
    pub(crate) code_limit: i64,
    /// The quota for concurrent executions.
    pub(crate) concurrency: i32,
}

/// API Gateway's settings of an account in a region.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatewayAccount {
    /// The requests per second and the burst of all APIs, if limited.
    pub(crate) throttle: Option<(f64, i32)>,
    /// The role with which API Gateway writes logs.
    pub(crate) logs_role: Option<String>,
}

/// A decision of the IAM policy simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) action: String,
    /// Such as `implicitDeny`.
    pub(crate) decision: String,
}

impl Aws {
    /// The ids and names of the REST APIs with one of `names`.
    ///
    /// # Errors
    /// The caller may not list the APIs.
    pub(crate) async fn apis_named(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        let mut pages = self.api_gateway.get_rest_apis().limit(500).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Failure::new("GetRestApis", "the region", &error))?;
            found.extend(page.items().iter().filter_map(|api| {
                let name = api.name().filter(|name| names.contains(*name))?;
                Some((api.id()?.to_owned(), name.to_owned()))
            }));
        }
        Ok(found)
    }

    /// Reads the configuration of a bucket.
    ///
    /// # Errors
    /// The bucket does not exist, or the caller may not read it.
    pub(crate) async fn bucket_facts(&self, owner: &AccountId, name: &str) -> Result<BucketFacts, Failure> {
        let about = format!("s3://{name}");
        let fail = &about;
        let head = async {
            let head = self.s3.head_bucket().bucket(name).expected_bucket_owner(owner.as_str()).send().await;
            head.map_err(|error| Failure::new("HeadBucket", fail, &error))
        };
        let versioning = async {
            let answer = self
                .s3
                .get_bucket_versioning()
                .bucket(name)
                .expected_bucket_owner(owner.as_str())
                .send()
                .await;
            answer.map_err(|error| Failure::new("GetBucketVersioning", fail, &error))
        };
        let encryption = async {
            let answer = self
                .s3
                .get_bucket_encryption()
                .bucket(name)
                .expected_bucket_owner(owner.as_str())
                .send()
                .await;
            optional(answer.map_err(|error| Failure::new("GetBucketEncryption", fail, &error)))
        };
        let public_access = async {
            let answer = self
                .s3
                .get_public_access_block()
                .bucket(name)
                .expected_bucket_owner(owner.as_str())
                .send()
                .await;
            optional(answer.map_err(|error| Failure::new("GetPublicAccessBlock", fail, &error)))
        };
        let head = head.await?;
        let (versioning, encryption, public_access) =
            futures::try_join!(versioning, encryption, public_access)?;
        let block = public_access.and_then(|block| block.public_access_block_configuration);
        let private = block.is_some_and(|block| {
            [
                block.block_public_acls,
                block.block_public_policy,
                block.ignore_public_acls,
                block.restrict_public_buckets,
            ]
            .iter()
            .all(|blocked| *blocked == Some(true))
        });
        Ok(BucketFacts {
            region: head.bucket_region().map(str::to_owned),
            versioned: versioning.status() == Some(&BucketVersioningStatus::Enabled),
            encrypted: encryption.is_some(),
            private,
        })
    }

    /// Reads the configuration of a function.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn function_facts(&self, name: &str) -> Result<FunctionFacts, Failure> {
        let configuration = self
            .lambda
            .get_function_configuration()
            .function_name(name)
            .send()
            .await
            .map_err(|error| Failure::new("GetFunctionConfiguration", name, &error))?;
        let state = configuration.state().map_or("Active", |state| state.as_str());
        let update = configuration.last_update_status().map_or("Successful", |status| status.as_str());
        let trouble = match (state, update) {
            ("Failed", _) => configuration.state_reason().or(Some("no reason given")),
            (_, "Failed") => configuration.last_update_status_reason().or(Some("no reason given")),
            _ => None,
        };
        Ok(FunctionFacts {
            runtime: configuration.runtime().map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
            architecture: configuration
                .architectures()
                .first()
                .map_or("x86_64", |architecture| architecture.as_str())
                .to_owned(),
            trouble: trouble.map(str::to_owned),
        })
    }

    /// Reads the Lambda quotas of the account.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn lambda_limits(&self) -> Result<LambdaLimits, Failure> {
        let answer = self.lambda.get_account_settings().send().await;
        let answer = answer.map_err(|error| Failure::new("GetAccountSettings", "the account", &error))?;
        let limit = answer.account_limit();
        Ok(LambdaLimits {
            code_used: answer.account_usage().map_or(0, |usage| usage.total_code_size()),
            code_limit: limit.map_or(0, |limit| limit.total_code_size()),
            concurrency: limit.map_or(0, |limit| limit.concurrent_executions()),
        })
    }

    /// API Gateway's settings of the account and region.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn gateway_account(&self) -> Result<GatewayAccount, Failure> {
        let answer = self.api_gateway.get_account().send().await;
        let answer = answer.map_err(|error| Failure::new("GetAccount", "the account", &error))?;
        let throttle = answer.throttle_settings();
        Ok(GatewayAccount {
            throttle: throttle.map(|throttle| (throttle.rate_limit(), throttle.burst_limit())),
            logs_role: answer.cloudwatch_role_arn().map(str::to_owned),
        })
    }

    /// Simulates `actions` of `principal` on `resource`, and returns those that are denied.
    ///
    /// # Errors
    /// Those of AWS: many callers may not simulate policies.
    pub(crate) async fn simulate(
        &self,
        principal: &str,
        actions: &[&str],
        resource: &str,
    ) -> Result<Vec<Verdict>, Failure> {
        let answer = self
            .iam
            .simulate_principal_policy()
            .policy_source_arn(principal)
            .set_action_names(Some(actions.iter().map(|&action| action.to_owned()).collect()))
            .resource_arns(resource)
            .send()
            .await
            .map_err(|error| Failure::new("SimulatePrincipalPolicy", principal, &error))?;
        let results = answer.evaluation_results().iter();
        if results.len() == 0 {
            return Err(Failure::rejected("SimulatePrincipalPolicy", principal, "the answer has no results"));
        }
        Ok(results
            .filter(|result| result.eval_decision().as_str() != "allowed")
            .map(|result| Verdict {
                action: result.eval_action_name().to_owned(),
                decision: result.eval_decision().as_str().to_owned(),
            })
            .collect())
    }

    /// The ARN of a role, which includes its path.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn role_arn(&self, name: &str) -> Result<String, Failure> {
        let answer = self.iam.get_role().role_name(name).send().await;
        let answer = answer.map_err(|error| Failure::new("GetRole", name, &error))?;
        Ok(answer.role().map(|role| role.arn().to_owned()).unwrap_or_default())
    }

    /// Whether the caller may write an object, tested by a write whose condition cannot hold.
    ///
    /// # Errors
    /// Neither allowed nor denied.
    pub(crate) async fn may_put(&self, owner: &AccountId, bucket: &str, key: &str) -> Result<bool, Failure> {
        let answer = self
            .s3
            .put_object()
            .bucket(bucket)
            .expected_bucket_owner(owner.as_str())
            .key(key)
            // No object has this ETag.
            .if_match("\"00000000000000000000000000000000\"")
            .body(ByteStream::from_static(b""))
            .send()
            .await;
        is_allowed(
            answer
                .map(drop)
                .map_err(|error| Failure::new("PutObject", format!("s3://{bucket}/{key}"), &error)),
        )
    }

    /// Whether the caller may update a function's code, tested by a dry run for a revision that does not
    /// exist.
    ///
    /// # Errors
    /// Neither allowed nor denied.
    pub(crate) async fn may_update_code(&self, function: &str, bucket: &str) -> Result<bool, Failure> {
        let answer = self
            .lambda
            .update_function_code()
            .function_name(function)
            .s3_bucket(bucket)
            .s3_key("deployctl/doctor")
            .revision_id("00000000-0000-0000-0000-000000000000")
            .dry_run(true)
            .send()
            .await;
        is_allowed(answer.map(drop).map_err(|error| Failure::new("UpdateFunctionCode", function, &error)))
    }
}

/// A call that fails only for its condition is allowed.
fn is_allowed(answer: Result<(), Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(true),
        Err(failure) => match failure.meaning {
            Meaning::Denied => Ok(false),
            Meaning::Precondition | Meaning::NotFound | Meaning::Rejected => Ok(true),
            Meaning::Busy | Meaning::Unauthenticated | Meaning::Unreachable | Meaning::Unknown => {
                Err(failure)
            }
        },
    }
}

/// AWS answers with an error for a setting that was never made.
fn optional<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.meaning == Meaning::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
