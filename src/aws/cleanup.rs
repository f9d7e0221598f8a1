//! Lists and deletes a function's versions and the API's deployments.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_lambda::types::FunctionVersion as Which;
use futures::future::try_join_all;

use super::api_gateway::AwsStage;
use crate::engine::failure::{Failure, Meaning};
use crate::release::model::{DeploymentId, FunctionName, FunctionVersion};
use crate::release::state::{Codes, StageUse, VersionState};

/// A listed version of a function: its number or `$LATEST`, its CodeSha256, its size.
type Listed = (String, String, u64);

/// The stored code of an account in a region, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CodeStorage {
    /// The quota.
    pub(crate) limit: i64,
    pub(crate) used: i64,
}

impl AwsStage {
    /// The stored code of the account. Lambda may count deleted code for a while.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn code_storage(&self) -> Result<CodeStorage, Failure> {
        self.aws.rate_limiter.lambda().await;
        let answer = self.aws.lambda.get_account_settings().send().await;
        let answer = answer.map_err(|error| Failure::new("GetAccountSettings", "the account", &error))?;
        Ok(CodeStorage {
            limit: answer.account_limit().map_or(0, |limit| limit.total_code_size()),
            used: answer.account_usage().map_or(0, |usage| usage.total_code_size()),
        })
    }

    pub(super) async fn read_stages(&self) -> Result<Vec<StageUse>, Failure> {
        let about = format!("API {}", self.rest_api_id);
        let answer = self.gateway().get_stages().rest_api_id(&self.rest_api_id).send().await;
        let answer = answer.map_err(|error| Failure::new("GetStages", about, &error))?;
        let stages = answer.item().iter().map(|stage| {
            let canary = stage.canary_settings();
            let ids = [stage.deployment_id(), canary.and_then(|canary| canary.deployment_id())];
            let overrides = canary.and_then(|canary| canary.stage_variable_overrides());
            let variables = stage.variables().into_iter().chain(overrides).flatten();
            StageUse {
                name: stage.stage_name().unwrap_or_default().to_owned(),
                description: stage.description().unwrap_or_default().to_owned(),
                deployments: ids.into_iter().flatten().filter_map(|id| id.parse().ok()).collect(),
                variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            }
        });
        Ok(stages.collect())
    }

    pub(super) async fn read_versions(
        &self,
        name: &FunctionName,
    ) -> Result<Option<Vec<VersionState>>, Failure> {
        let Some(listed) = self.listed(name).await? else { return Ok(None) };
        let aliased = self.aliased(name).await?;
        let numbered = listed.into_iter().filter_map(|(version, _, bytes)| {
            let aliased = aliased.contains(&version);
            Some(VersionState { version: version.parse().ok()?, bytes, aliased })
        });
        Ok(Some(numbered.collect()))
    }

    /// One request if all versions of all functions of the account fit into one page, and else one for each
    /// function.
    pub(super) async fn read_codes(
        &self,
        names: &[FunctionName],
    ) -> Result<BTreeMap<FunctionName, Codes>, Failure> {
        let mut codes: BTreeMap<FunctionName, Codes> = BTreeMap::new();
        let mut add = |name: &FunctionName, (version, sha256, _): Listed| {
            let function = codes.entry(name.clone()).or_default();
            match version.parse() {
                Ok(version) => drop(function.versions.insert(version, sha256)),
                Err(_) => function.latest = sha256,
            }
        };
        if let Some(all) = self.listed_at_once().await? {
            for (name, listed) in all {
                if let Some(name) = names.iter().find(|candidate| candidate.as_str() == name) {
                    add(name, listed);
                }
            }
        } else {
            let each = names.iter().map(|name| async move { Ok((name, self.listed(name).await?)) });
            for (name, listed) in try_join_all(each).await? {
                listed.into_iter().flatten().for_each(|listed| add(name, listed));
            }
        }
        Ok(codes)
    }

    /// All versions of all functions, by name; `None` if they are more than a page, or the caller may not
    /// list them.
    async fn listed_at_once(&self) -> Result<Option<Vec<(String, Listed)>>, Failure> {
        self.aws.rate_limiter.lambda().await;
        let page = match self.aws.lambda.list_functions().function_version(Which::All).send().await {
            Ok(page) => page,
            Err(error) => {
                let failure = Failure::new("ListFunctions", "the account", &error);
                return if failure.meaning == Meaning::Denied { Ok(None) } else { Err(failure) };
            }
        };
        if page.next_marker().is_some_and(|marker| !marker.is_empty()) {
            return Ok(None);
        }
        let all = page.functions().iter().map(|configuration| {
            let name = configuration.function_name().unwrap_or_default().to_owned();
            (name, listed(configuration))
        });
        Ok(Some(all.collect()))
    }

    /// All versions of a function, `$LATEST` first; `None` if it does not exist.
    async fn listed(&self, name: &FunctionName) -> Result<Option<Vec<Listed>>, Failure> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            self.aws.rate_limiter.lambda().await;
            let call = self.aws.lambda.list_versions_by_function().function_name(name.as_str());
            let page = match call.set_marker(marker).send().await {
                Ok(page) => page,
                Err(error) => {
                    let failure = Failure::new("ListVersionsByFunction", name.as_str(), &error);
                    return if failure.meaning == Meaning::NotFound { Ok(None) } else { Err(failure) };
                }
            };
            all.extend(page.versions().iter().map(listed));
            marker = page.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(Some(all));
            }
        }
    }

    /// The versions that aliases send requests to.
    async fn aliased(&self, name: &FunctionName) -> Result<BTreeSet<String>, Failure> {
        let mut all = BTreeSet::new();
        let mut marker: Option<String> = None;
        loop {
            self.aws.rate_limiter.lambda().await;
            let call = self.aws.lambda.list_aliases().function_name(name.as_str()).set_marker(marker);
            let page =
                call.send().await.map_err(|error| Failure::new("ListAliases", name.as_str(), &error))?;
            for alias in page.aliases() {
                let weights = alias.routing_config().and_then(|routing| routing.additional_version_weights());
                all.extend(alias.function_version().map(str::to_owned));
                all.extend(weights.into_iter().flatten().map(|(version, _)| version.clone()));
            }
            marker = page.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn remove_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<(), Failure> {
        self.aws.rate_limiter.lambda().await;
        // Without a qualifier, the call would delete the function.
        let call = self.aws.lambda.delete_function().function_name(name.as_str());
        match call.qualifier(version.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                ignore_not_found(Failure::new("DeleteFunction", format!("{name}:{version}"), &error))
            }
        }
    }

    pub(super) async fn remove_deployment(&self, id: &DeploymentId) -> Result<(), Failure> {
        self.aws.rate_limiter.gateway().await;
        let call = self.gateway().delete_deployment().rest_api_id(&self.rest_api_id);
        match call.deployment_id(id.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => ignore_not_found(Failure::new("DeleteDeployment", id.as_str(), &error)),
        }
    }
}

/// A deletion of what does not exist succeeds.
pub(super) fn ignore_not_found(failure: Failure) -> Result<(), Failure> {
    if failure.meaning == Meaning::NotFound { Ok(()) } else { Err(failure) }
}

fn listed(configuration: &aws_sdk_lambda::types::FunctionConfiguration) -> Listed {
    (
        configuration.version().unwrap_or_default().to_owned(),
        configuration.code_sha256().unwrap_or_default().to_owned(),
        configuration.code_size().try_into().unwrap_or_default(),
    )
}
