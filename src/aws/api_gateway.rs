//! The API of one stage, and the switch.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_apigateway::config::Config;
use aws_sdk_apigateway::types::{CanarySettings, Op, PatchOperation};
use jiff::Timestamp;
use serde_json::Value;

use super::failure;
use super::http::Unreached;
use super::retry::Table;
use super::timeouts::{CONNECT, FunctionTimeouts};
use super::{Aws, Target};
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::{ProbeResult, StagePort, Tried};
use crate::platform::variables;
use crate::release::calls::Location;
use crate::release::check::{Answer, HttpRequest, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{AliasName, DeploymentId, FunctionName, FunctionVersion, Pointer};
use crate::release::monitor::{AlarmState, Compared, FunctionReading};
use crate::release::patch::Operation;
use crate::release::state::{
    AliasState, AliasTarget, Caches, Code, Codes, Deployment, FunctionState, Percent, Provisioned, Published,
    PublishedState, StageCanary, StageState, StageUse, VersionState,
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
    pub(super) stage_name: String,
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
        let caller = self.target.trust.caller();
        let http = caller
            .and_then(|caller| caller.timeout(PROBE_TIMEOUT).connect_timeout(CONNECT).build())
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

/// An operation of a patch, as the SDK sends it.
pub(super) fn patch_operation(operation: &Operation<'_>) -> PatchOperation {
    let value = operation.value();
    let op = if value.is_some() { Op::Replace } else { Op::Remove };
    PatchOperation::builder().op(op).path(operation.path()).set_value(value).build()
}

/// The canary of a stage.
fn canary(settings: &CanarySettings) -> Option<StageCanary> {
    let variables = settings.stage_variable_overrides().into_iter().flatten();
    Some(StageCanary {
        deployment_id: settings.deployment_id()?.to_owned(),
        percent: Percent::of(settings.percent_traffic()),
        variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
    })
}

// The future of a call to AWS is large. In a box, it does not make those of a release large, too.
impl StagePort for AwsStage {
    fn location(&self) -> Location {
        let Target { account, region, .. } = &self.aws.target;
        Location { account: account.clone(), region: region.clone() }
    }

    async fn function(&self, name: &FunctionName) -> Result<FunctionState, Failure> {
        Box::pin(self.read_function(name)).await
    }

    async fn version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<Option<PublishedState>, Failure> {
        Box::pin(self.read_version(name, version)).await
    }

    async fn update_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> Result<Published, Failure> {
        Box::pin(self.send_code(name, code, revision)).await
    }

    async fn publish(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> Result<Published, Failure> {
        Box::pin(self.publish_latest(name, code_sha256, revision)).await
    }

    async fn set_latest(&self, name: &FunctionName, code: &Code, revision: &str) -> Result<(), Failure> {
        Box::pin(self.send_unpublished(name, code, revision)).await
    }

    async fn alias(&self, name: &FunctionName, alias: &AliasName) -> Result<Option<AliasState>, Failure> {
        Box::pin(self.read_alias(name, alias)).await
    }

    async fn move_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        target: &AliasTarget,
        revision: &str,
    ) -> Result<(), Failure> {
        Box::pin(self.update_alias(name, alias, target, revision)).await
    }

    async fn provisioned(
        &self,
        name: &FunctionName,
        qualifier: &str,
    ) -> Result<Option<Provisioned>, Failure> {
        Box::pin(self.read_provisioned(name, qualifier)).await
    }

    async fn provision(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        count: u16,
    ) -> Result<(), Failure> {
        Box::pin(self.put_provisioned(name, version, count)).await
    }

    async fn unprovision(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        Box::pin(self.delete_provisioned(name, version)).await
    }

    async fn wake(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        Box::pin(self.wake_version(name, version)).await
    }

    async fn definition(&self) -> Result<Definition, Failure> {
        Box::pin(super::definition::read(&self.aws, &self.rest_api_id)).await
    }

    async fn deployed(&self) -> Result<Definition, Failure> {
        Box::pin(self.export()).await
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
            canary: answer.canary_settings().and_then(canary),
            cached: answer.cache_cluster_enabled(),
        })
    }

    async fn stages(&self) -> Result<Vec<StageUse>, Failure> {
        Box::pin(self.read_stages()).await
    }

    async fn versions(&self, name: &FunctionName) -> Result<Option<Vec<VersionState>>, Failure> {
        Box::pin(self.read_versions(name)).await
    }

    async fn codes(&self, names: &[FunctionName]) -> Result<BTreeMap<FunctionName, Codes>, Failure> {
        Box::pin(self.read_codes(names)).await
    }

    async fn delete_version(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        Box::pin(self.remove_version(name, version)).await
    }

    async fn delete_deployment(&self, id: &DeploymentId) -> Result<(), Failure> {
        Box::pin(self.remove_deployment(id)).await
    }

    async fn update_stage(&self, operations: &[Operation<'_>]) -> Result<(), Failure> {
        self.gateway()
            .update_stage()
            .rest_api_id(&self.rest_api_id)
            .stage_name(&self.stage_name)
            .set_patch_operations(Some(operations.iter().map(patch_operation).collect()))
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
            Err(error) => ProbeResult::Unreachable(match Unreached::of_caller(&error) {
                Some(unreached) => unreached.to_string(),
                None => failure::chain(&error.without_url()),
            }),
        }
    }

    async fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> Result<Invoked, Failure> {
        Box::pin(self.invoke_version(name, version, payload)).await
    }

    async fn invoke_once(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
        limit: Option<Duration>,
    ) -> Result<Tried, Failure> {
        Box::pin(self.invoke_version_once(name, version, payload, limit)).await
    }

    async fn log(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        since: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        Box::pin(self.aws.log_of_version(name, version, since)).await
    }

    async fn alarms(&self, names: &[String]) -> Result<BTreeMap<String, AlarmState>, Failure> {
        Box::pin(self.aws.alarm_states(names)).await
    }

    async fn metrics(
        &self,
        functions: &[Compared],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<FunctionReading>, Failure> {
        Box::pin(self.aws.metrics_of_versions(functions, since, until)).await
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

    #[test]
    fn the_operations_of_a_patch() {
        let id = "d2".parse().unwrap();
        let operations = [Operation::Deployment(&id), Operation::Set("f", "2"), Operation::Remove("gone")];
        let lines = operations.iter().map(patch_operation).map(|operation| {
            let (op, path) = (operation.op().unwrap().as_str(), operation.path().unwrap());
            format!("{op} {path} {}", operation.value().unwrap_or("-"))
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            ["replace /deploymentId d2", "replace /variables/f 2", "remove /variables/gone -"]
        );
    }
}
