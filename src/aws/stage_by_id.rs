//! A stage without a project: the caller's account, what the stage serves (GetExport), and the move of its
//! deployment alone.

use std::collections::BTreeMap;

use aws_config::Region;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_sdk_apigateway::types::{Op, PatchOperation};
use serde_json::Value;

use super::{Aws, Identity, Target, export, http, timeouts};
use crate::engine::failure::Failure;
use crate::error::{Error, ErrorId, Result};
use crate::event::Events;
use crate::release::definition::Definition;
use crate::release::model::{AccountId, DeploymentId};

/// What an export has that differs between two deployments of the same API.
const VOLATILE: [&str; 4] = ["info", "servers", "host", "basePath"];

impl Aws {
    /// The clients for the caller's own account, and the caller. `region` and `profile` are by default those of
    /// the environment.
    ///
    /// # Errors
    /// `usage` when no region is known, and those of [`Aws::identify`].
    pub(crate) async fn of_caller(
        region: Option<String>,
        profile: Option<String>,
        events: Events,
    ) -> Result<(Self, Identity)> {
        let region = match region {
            Some(region) => region,
            None => {
                region_of(profile.as_deref()).await.map(|region| region.to_string()).ok_or_else(|| {
                    Error::usage(ErrorId::Usage, "the region is not known")
                        .hint("nothing was changed; name it with --region, AWS_REGION, or in the AWS profile")
                })?
            }
        };
        // Until the caller is known.
        let unknown: AccountId =
            "000000000000".parse().map_err(|_| Error::bug("an account of twelve digits is invalid"))?;
        let target = Target {
            stage: "aws".parse().map_err(|_| Error::bug("a name of a stage is invalid"))?,
            account: unknown.clone(),
            artifact_bucket_account: unknown,
            region,
            profile,
            emulator: None,
            pacing: true,
            call_timeout: timeouts::CALL,
            trust: http::Trust::from_env()?,
        };
        let mut aws = Self::connect(target).await.warning(events);
        aws.require_profile()?;
        let identity = aws.caller().await?;
        aws.target.account = identity.account.clone();
        aws.target.artifact_bucket_account = identity.account.clone();
        Ok((aws, identity))
    }

    pub(crate) fn region(&self) -> &str {
        &self.target.region
    }

    /// What the stage serves, as far as API Gateway exports it.
    ///
    /// # Errors
    /// Those of API Gateway, which cannot export some models, and a document that is no JSON.
    pub(crate) async fn exported(&self, api: &str, stage: &str) -> std::result::Result<Definition, Failure> {
        let document = export::get_export(&self.api_gateway, api, stage).await?;
        Ok(parts(&document))
    }

    /// Moves the stage to a deployment, and changes nothing else of it.
    ///
    /// # Errors
    /// Those of API Gateway.
    pub(crate) async fn move_stage(
        &self,
        api: &str,
        stage: &str,
        to: &DeploymentId,
    ) -> std::result::Result<(), Failure> {
        let operation = PatchOperation::builder().op(Op::Replace).path("/deploymentId").value(to.as_str());
        let update = self.api_gateway.update_stage().rest_api_id(api).stage_name(stage);
        let answer = update.patch_operations(operation.build()).send().await;
        answer
            .map(drop)
            .map_err(|error| Failure::new("UpdateStage", format!("stage {stage} of API {api}"), &error))
    }
}

/// The region of the environment, or else of the profile.
async fn region_of(profile: Option<&str>) -> Option<Region> {
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return Some(region);
    }
    let mut file = ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        file = file.profile_name(profile);
    }
    file.build().region().await
}

/// The parts of an `OpenAPI` document: routes, components and the rest, each under its displayed name.
fn parts(document: &Value) -> Definition {
    let mut parts = BTreeMap::new();
    for (name, value) in document.as_object().into_iter().flatten() {
        match name.as_str() {
            "paths" => {
                for (path, item) in value.as_object().into_iter().flatten() {
                    parts.extend(routes(path, item));
                }
            }
            "components" => {
                for (kind, items) in value.as_object().into_iter().flatten() {
                    let items = items.as_object().into_iter().flatten();
                    parts.extend(items.map(|(name, item)| (format!("{kind} {name}"), item.clone())));
                }
            }
            "openapi" => {}
            name if VOLATILE.contains(&name) => {}
            name => drop(parts.insert(name.to_owned(), value.clone())),
        }
    }
    Definition::new(parts)
}

fn routes(path: &str, item: &Value) -> Vec<(String, Value)> {
    let members = item.as_object().into_iter().flatten();
    let named = members.map(|(member, value)| {
        (export::route(path, member).unwrap_or_else(|| format!("{path} {member}")), value.clone())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_export_is_compared_by_routes_and_without_what_always_differs() {
        let export = |version: &str, timeout: u32, more: &str| {
            let integration = json!({ "x-amazon-apigateway-integration": { "timeoutInMillis": timeout } });
            parts(&json!({
                "openapi": "3.0.1",
                "info": { "title": "users", "version": version },
                "servers": [{ "url": version }],
                "paths": { "/users": { "get": integration, more: {} } },
                "components": { "schemas": { "User": { "type": "object" } } },
            }))
        };
        let before = export("2026-11-01T00:00:00Z", 29_000, "post");
        assert_eq!(before.changes(&export("2026-11-02T00:00:00Z", 29_000, "post")), Vec::<String>::new());
        assert_eq!(
            before.changes(&export("2026-11-02T00:00:00Z", 5_000, "x-amazon-apigateway-any-method")),
            [
                "ANY /users: added",
                "GET /users: x-amazon-apigateway-integration timeoutInMillis 29000 -> 5000",
                "POST /users: removed",
            ]
        );
    }
}
