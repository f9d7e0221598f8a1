//! Reads for `doctor`: how buckets, functions, the API and the account are set up. And two writes that cannot succeed,
//! which tell whether they would be allowed.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::BucketVersioningStatus;

use super::Aws;
use crate::engine::failure::{Failure, Meaning};

/// How a bucket is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketFacts {
    /// Its region, where S3 tells it.
    pub(crate) region: Option<String>,
    /// Whether it keeps old versions of its objects.
    pub(crate) versioned: bool,
    /// Whether it says how its objects are encrypted.
    pub(crate) encrypted: bool,
    /// Whether everything public is blocked.
    pub(crate) private: bool,
}

/// How a function is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionFacts {
    /// Such as `provided.al2023`; empty for a container image.
    pub(crate) runtime: String,
    pub(crate) architecture: String,
    /// What stands in the way of an update, in Lambda's words.
    pub(crate) trouble: Option<String>,
}

/// What an account has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LambdaLimits {
    /// Bytes of code that are stored.
    pub(crate) code_used: i64,
    /// Bytes of code that may be stored.
    pub(crate) code_limit: i64,
    /// Functions that may run at the same time.
    pub(crate) concurrency: i32,
}

/// A call that API Gateway makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Who makes it, such as `GET /users`.
    pub(crate) from: String,
    pub(crate) uri: String,
}

/// Whether an action would be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) action: String,
    /// IAM's answer, such as `implicitDeny`.
    pub(crate) decision: String,
}

impl Aws {
    /// How a bucket is set up.
    pub(crate) async fn bucket_facts(&self, name: &str) -> Result<BucketFacts, Failure> {
        let about = format!("s3://{name}");
        let fail = &about;
        let head = async {
            let head = self.s3.head_bucket().bucket(name).send().await;
            head.map_err(|error| Failure::new("HeadBucket", fail, &error))
        };
        let versioning = async {
            let answer = self.s3.get_bucket_versioning().bucket(name).send().await;
            answer.map_err(|error| Failure::new("GetBucketVersioning", fail, &error))
        };
        let encryption = async {
            let answer = self.s3.get_bucket_encryption().bucket(name).send().await;
            absent(answer.map_err(|error| Failure::new("GetBucketEncryption", fail, &error)))
        };
        let block = async {
            let answer = self.s3.get_public_access_block().bucket(name).send().await;
            absent(answer.map_err(|error| Failure::new("GetPublicAccessBlock", fail, &error)))
        };
        let head = head.await?;
        let (versioning, encryption, block) = futures::try_join!(versioning, encryption, block)?;
        let block = block.and_then(|block| block.public_access_block_configuration);
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

    /// How a function is set up.
    pub(crate) async fn function_facts(&self, name: &str) -> Result<FunctionFacts, Failure> {
        let found = self
            .lambda
            .get_function_configuration()
            .function_name(name)
            .send()
            .await
            .map_err(|error| Failure::new("GetFunctionConfiguration", name, &error))?;
        let state = found.state().map_or("Active", |state| state.as_str());
        let update = found.last_update_status().map_or("Successful", |status| status.as_str());
        let trouble = match (state, update) {
            ("Failed", _) => found.state_reason().or(Some("no reason given")),
            (_, "Failed") => found.last_update_status_reason().or(Some("no reason given")),
            _ => None,
        };
        Ok(FunctionFacts {
            runtime: found.runtime().map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
            architecture: found.architectures().first().map_or("x86_64", |found| found.as_str()).to_owned(),
            trouble: trouble.map(str::to_owned),
        })
    }

    /// What Lambda has left for the account.
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

    /// API Gateway's requests per second and burst for the account and region, where it has such a limit.
    pub(crate) async fn gateway_throttle(&self) -> Result<Option<(f64, i32)>, Failure> {
        let answer = self.api_gateway.get_account().send().await;
        let answer = answer.map_err(|error| Failure::new("GetAccount", "the account", &error))?;
        Ok(answer.throttle_settings().map(|found| (found.rate_limit(), found.burst_limit())))
    }

    /// The calls of Lambda functions in the live definition of an API, authorizers included.
    pub(crate) async fn lambda_calls(&self, api: &str) -> Result<Vec<Call>, Failure> {
        let about = format!("API {api}");
        let mut calls = Vec::new();
        let mut pages = self
            .api_gateway
            .get_resources()
            .rest_api_id(api)
            .embed("methods")
            .limit(500)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Failure::new("GetResources", &about, &error))?;
            for resource in page.items() {
                let path = resource.path().unwrap_or_default();
                for (verb, method) in resource.resource_methods().into_iter().flatten() {
                    let uri = method.method_integration().and_then(|integration| integration.uri());
                    calls.extend(uri.map(|uri| Call { from: format!("{verb} {path}"), uri: uri.to_owned() }));
                }
            }
        }
        let answer = self.api_gateway.get_authorizers().rest_api_id(api).limit(500).send().await;
        let answer = answer.map_err(|error| Failure::new("GetAuthorizers", &about, &error))?;
        for authorizer in answer.items() {
            let from = format!("authorizer {}", authorizer.name().unwrap_or_default());
            calls.extend(authorizer.authorizer_uri().map(|uri| Call { from, uri: uri.to_owned() }));
        }
        calls.retain(|call| call.uri.contains(":lambda:path/"));
        calls.sort_by(|a, b| a.from.cmp(&b.from));
        Ok(calls)
    }

    /// Asks IAM whether `principal` may do `actions` on `resource`, and returns what it may not.
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

    /// The ARN of a role by its name, with its path.
    pub(crate) async fn role_arn(&self, name: &str) -> Result<String, Failure> {
        let answer = self.iam.get_role().role_name(name).send().await;
        let answer = answer.map_err(|error| Failure::new("GetRole", name, &error))?;
        Ok(answer.role().map(|role| role.arn().to_owned()).unwrap_or_default())
    }

    /// Whether an object could be written: asked by a write whose condition cannot hold.
    pub(crate) async fn may_put(&self, bucket: &str, key: &str) -> Result<bool, Failure> {
        let answer = self
            .s3
            .put_object()
            .bucket(bucket)
            .key(key)
            // No object has it.
            .if_match("\"00000000000000000000000000000000\"")
            .body(ByteStream::from_static(b""))
            .send()
            .await;
        refused(
            answer
                .map(drop)
                .map_err(|error| Failure::new("PutObject", format!("s3://{bucket}/{key}"), &error)),
        )
    }

    /// Whether a function's code could be updated: asked by a dry run for a revision that does not exist.
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
        refused(answer.map(drop).map_err(|error| Failure::new("UpdateFunctionCode", function, &error)))
    }
}

/// A call that is refused for its condition was allowed.
fn refused(answer: Result<(), Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(true),
        Err(failure) => match failure.meaning {
            Meaning::Denied => Ok(false),
            Meaning::Precondition | Meaning::NotFound | Meaning::Rejected => Ok(true),
            Meaning::Busy | Meaning::Unreachable | Meaning::Unknown => Err(failure),
        },
    }
}

/// A setting that was never made is answered with an error.
fn absent<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.meaning == Meaning::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
