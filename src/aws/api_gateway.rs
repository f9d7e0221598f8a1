//! The API of one stage, and the switch.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_apigateway::config::Config;
use aws_sdk_apigateway::types::{Op, PatchOperation};
use serde_json::Value;

use super::Aws;
use super::retry::Table;
use super::timeouts::{CONNECT, FunctionTimeouts};
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::{ProbeResult, StagePort};
use crate::platform::variables;
use crate::release::check::{Answer, HttpRequest, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{DeploymentId, FunctionName, FunctionVersion, Pointer};
use crate::release::state::{
    Caches, Code, Codes, Deployment, FunctionState, Published, StageState, StageUse, VersionState,
};

/// The time limit of one probe. Integrations of API Gateway may take 29 s, but a slow probe is better
/// repeated.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The attempts of a CreateDeployment whose answer was lost and that had no effect.
const DEPLOYMENT_ATTEMPTS: u32 = 3;

/// The location of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiStage<'a> {
    pub(crate) artifact_bucket: &'a str,
    pub(crate) rest_api_id: &'a str,
    pub(crate) stage_name: &'a str,
    pub(crate) url: &'a str,
}

/// The functions and the API of one stage in AWS.
#[derive(Debug, Clone)]
pub(crate) struct AwsStage {
    pub(super) aws: Aws,
    pub(super) bucket: String,
    pub(super) rest_api_id: String,
    stage_name: String,
    url: String,
    http: reqwest::Client,
    pub(super) function_timeouts: FunctionTimeouts,
}

impl Aws {
    /// A stage of a REST API with its functions.
    ///
    /// # Errors
    /// When the HTTP client for probes cannot be created.
    pub(crate) fn aws_stage(&self, stage: &ApiStage<'_>) -> Result<AwsStage, Failure> {
        let ApiStage { artifact_bucket, rest_api_id, stage_name, url } = *stage;
        let http = reqwest::Client::builder()
            .timeout(PROBE_TIMEOUT)
            .connect_timeout(CONNECT)
            .user_agent(concat!("deployctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::rejected("probe", url, error.to_string()))?;
        Ok(AwsStage {
            aws: self.clone(),
            bucket: artifact_bucket.to_owned(),
            rest_api_id: rest_api_id.to_owned(),
            stage_name: stage_name.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
            http,
            function_timeouts: FunctionTimeouts::default(),
        })
    }
}

impl AwsStage {
    fn about_stage(&self) -> String {
        format!("stage {} of API {}", self.stage_name, self.rest_api_id)
    }

    pub(super) fn gateway(&self) -> &aws_sdk_apigateway::Client {
        &self.aws.api_gateway
    }
}

/// The patch that moves a stage: the deployment and every variable of the target in one call, so that a
/// request sees one release or the other. Values that `from` has as well are sent, too: if another caller
/// moved the stage meanwhile, a patch of the differences would leave a mixture of two releases. `from` only
/// determines what to remove.
fn patch(from: &Pointer, to: &Pointer) -> Vec<PatchOperation> {
    let operation = |op: Op, path: String, value: Option<&str>| {
        PatchOperation::builder().op(op).path(path).set_value(value.map(str::to_owned)).build()
    };
    let mut operations =
        vec![operation(Op::Replace, "/deploymentId".into(), Some(to.deployment_id.as_str()))];
    let set = to.variables.iter();
    operations.extend(set.map(|(name, value)| operation(Op::Replace, variable(name), Some(value))));
    let removed = from.variables.keys().filter(|name| !to.variables.contains_key(*name));
    operations.extend(removed.map(|name| operation(Op::Remove, variable(name), None)));
    operations
}

fn variable(name: &str) -> String {
    format!("/variables/{name}")
}

impl StagePort for AwsStage {
    async fn function(&self, name: &FunctionName) -> Result<FunctionState, Failure> {
        self.read_function(name).await
    }

    async fn version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<Option<String>, Failure> {
        self.read_version(name, version).await
    }

    async fn update_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> Result<Published, Failure> {
        self.send_code(name, code, revision).await
    }

    async fn publish(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> Result<Published, Failure> {
        self.publish_latest(name, code_sha256, revision).await
    }

    async fn wait_active(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        self.wait_until_active(name, version).await
    }

    async fn definition(&self) -> Result<Definition, Failure> {
        super::definition::read(self.gateway(), &self.rest_api_id).await
    }

    async fn create_deployment(&self, description: &str) -> Result<DeploymentId, Failure> {
        let mut attempt = 1;
        loop {
            match self.create_deployment_once(description).await {
                // CreateDeployment has no idempotency token, so a retry by the SDK could create a second
                // deployment.
                Err(failure) if failure.may_have_happened() && attempt < DEPLOYMENT_ATTEMPTS => {
                    let deployments = self.deployments().await.map_err(|_| failure)?;
                    let mut deployments = deployments.into_iter();
                    if let Some(created) =
                        deployments.find(|deployment| deployment.description == description)
                    {
                        return Ok(created.id);
                    }
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn deployments(&self) -> Result<Vec<Deployment>, Failure> {
        let mut deployments = Vec::new();
        let mut position: Option<String> = None;
        loop {
            let page = self
                .gateway()
                .get_deployments()
                .rest_api_id(&self.rest_api_id)
                .limit(500)
                .set_position(position)
                .send()
                .await
                .map_err(|error| {
                    Failure::new("GetDeployments", format!("API {}", self.rest_api_id), &error)
                })?;
            deployments.extend(page.items().iter().filter_map(|item| {
                let id = item.id()?.parse().ok()?;
                let description = item.description().unwrap_or_default().to_owned();
                let created = item.created_date().map_or(0, aws_smithy_types::DateTime::secs);
                Some(Deployment { id, description, created })
            }));
            position = page.position().map(str::to_owned);
            if position.is_none() {
                return Ok(deployments);
            }
        }
    }

    async fn deployment(&self, id: &DeploymentId) -> Result<Option<Deployment>, Failure> {
        let answer = self
            .gateway()
            .get_deployment()
            .rest_api_id(&self.rest_api_id)
            .deployment_id(id.as_str())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Some(Deployment {
                id: id.clone(),
                description: answer.description().unwrap_or_default().to_owned(),
                created: answer.created_date().map_or(0, aws_smithy_types::DateTime::secs),
            })),
            Err(error) => {
                let failure = Failure::new("GetDeployment", id.as_str(), &error);
                if failure.meaning == Meaning::NotFound { Ok(None) } else { Err(failure) }
            }
        }
    }

    async fn stage(&self) -> Result<StageState, Failure> {
        let about = self.about_stage();
        let answer = self
            .gateway()
            .get_stage()
            .rest_api_id(&self.rest_api_id)
            .stage_name(&self.stage_name)
            .send()
            .await
            .map_err(|error| Failure::new("GetStage", &about, &error))?;
        let deployment_id = answer
            .deployment_id()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Failure::rejected("GetStage", about, "the stage has no deployment"))?;
        let variables: BTreeMap<String, String> =
            answer.variables().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(StageState {
            pointer: Pointer { deployment_id, variables },
            canary: answer.canary_settings().and_then(|canary| canary.deployment_id()).map(str::to_owned),
            cached: answer.cache_cluster_enabled(),
        })
    }

    async fn stages(&self) -> Result<Vec<StageUse>, Failure> {
        self.read_stages().await
    }

    async fn versions(&self, name: &FunctionName) -> Result<Option<Vec<VersionState>>, Failure> {
        self.read_versions(name).await
    }

    async fn codes(&self, names: &[FunctionName]) -> Result<BTreeMap<FunctionName, Codes>, Failure> {
        self.read_codes(names).await
    }

    async fn delete_version(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        self.remove_version(name, version).await
    }

    async fn delete_deployment(&self, id: &DeploymentId) -> Result<(), Failure> {
        self.remove_deployment(id).await
    }

    async fn switch(&self, from: &Pointer, to: &Pointer) -> Result<(), Failure> {
        self.gateway()
            .update_stage()
            .rest_api_id(&self.rest_api_id)
            .stage_name(&self.stage_name)
            .set_patch_operations(Some(patch(from, to)))
            .customize()
            .config_override(Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::new("UpdateStage", self.about_stage(), &error))
    }

    async fn flush_caches(&self, caches: Caches) -> Result<(), Failure> {
        if caches.authorizer_seconds > 0 {
            self.gateway()
                .flush_stage_authorizers_cache()
                .rest_api_id(&self.rest_api_id)
                .stage_name(&self.stage_name)
                .send()
                .await
                .map_err(|error| Failure::new("FlushStageAuthorizersCache", self.about_stage(), &error))?;
        }
        if caches.responses {
            self.gateway()
                .flush_stage_cache()
                .rest_api_id(&self.rest_api_id)
                .stage_name(&self.stage_name)
                .send()
                .await
                .map_err(|error| Failure::new("FlushStageCache", self.about_stage(), &error))?;
        }
        Ok(())
    }

    async fn send(&self, http_request: &HttpRequest) -> ProbeResult {
        match self.request(http_request).await {
            Ok(answer) => ProbeResult::Answer(answer),
            Err(error) => ProbeResult::Unreachable(error.without_url().to_string()),
        }
    }

    async fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> Result<Invoked, Failure> {
        self.invoke_version(name, version, payload).await
    }
}

impl AwsStage {
    /// One CreateDeployment, which is not retried once it may have taken effect.
    async fn create_deployment_once(&self, description: &str) -> Result<DeploymentId, Failure> {
        let about = format!("API {}", self.rest_api_id);
        self.aws.rate_limiter.deployment().await;
        // No stage name: with one, the call would move the stage, or create it if the name is misspelt.
        let answer = self
            .gateway()
            .create_deployment()
            .rest_api_id(&self.rest_api_id)
            .description(description)
            .customize()
            .config_override(Config::builder().retry_classifier(Table::ONCE))
            .send()
            .await
            .map_err(|error| Failure::new("CreateDeployment", &about, &error))?;
        answer
            .id()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Failure::rejected("CreateDeployment", about, "the answer has no id"))
    }

    async fn request(&self, http_request: &HttpRequest) -> reqwest::Result<Answer> {
        let mut headers: BTreeMap<String, String> = http_request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        if let (false, Ok(credentials)) =
            (headers.contains_key("authorization"), std::env::var(variables::PROBE_AUTHORIZATION))
        {
            headers.insert("authorization".to_owned(), credentials);
        }
        let method = http_request.method.parse().unwrap_or_default();
        let mut request = self.http.request(method, format!("{}{}", self.url, http_request.path));
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        if let Some(body) = &http_request.body {
            if !headers.contains_key("content-type") {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body.to_string());
        }
        let start = std::time::Instant::now();
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            method = http_request.method,
            path = http_request.path,
            status,
            milliseconds,
            "probe"
        );
        let headers = answer
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let body = answer.bytes().await?.to_vec();
        Ok(Answer { status, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(deployment: &str, variables: &[(&str, &str)]) -> Pointer {
        Pointer {
            deployment_id: deployment.parse().unwrap(),
            variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn the_patch_states_the_whole_target_and_reverses() {
        let old = pointer("d1", &[("release", "1"), ("gone", "4"), ("same", "2")]);
        let new = pointer("d2", &[("release", "2"), ("added", "1"), ("same", "2")]);
        let lines = |operations: Vec<PatchOperation>| -> Vec<String> {
            operations
                .iter()
                .map(|o| {
                    format!("{} {} {}", o.op().unwrap().as_str(), o.path().unwrap(), o.value().unwrap_or("-"))
                })
                .collect()
        };
        assert_eq!(
            lines(patch(&old, &new)),
            [
                "replace /deploymentId d2",
                "replace /variables/added 1",
                "replace /variables/release 2",
                "replace /variables/same 2",
                "remove /variables/gone -",
            ]
        );
        assert_eq!(
            lines(patch(&new, &old)),
            [
                "replace /deploymentId d1",
                "replace /variables/gone 4",
                "replace /variables/release 1",
                "replace /variables/same 2",
                "remove /variables/added -",
            ]
        );
        // Equal values are sent, too: another caller may have moved the stage meanwhile.
        assert_eq!(patch(&new, &new).len(), 4);
    }
}
