//! Creates, changes and deletes the stages of previews.

use std::collections::HashMap;

use aws_sdk_apigateway::types::{Op, PatchOperation};

use super::api_gateway::{AwsStage, patch_operation};
use super::cleanup::ignore_not_found;
use crate::engine::failure::Failure;
use crate::engine::preview::PreviewPort;
use crate::release::model::Pointer;
use crate::release::patch::patch_beside;
use crate::release::preview::PreviewDescription;

/// The tag of a preview's stage; its value is the stage in deployctl.toml.
const TAG: &str = "deployctl:preview";

impl PreviewPort for AwsStage {
    async fn create_stage(
        &self,
        name: &str,
        pointer: &Pointer,
        description: &PreviewDescription,
    ) -> Result<(), Failure> {
        self.aws.rate_limiter.gateway().await;
        let variables: HashMap<String, String> = pointer.variables.clone().into_iter().collect();
        self.gateway()
            .create_stage()
            .rest_api_id(&self.rest_api_id)
            .stage_name(name)
            .deployment_id(pointer.deployment_id.as_str())
            .description(description.to_string())
            .set_variables(Some(variables))
            .tags(TAG, description.parent.as_str())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::new("CreateStage", self.about(name), &error))
    }

    async fn update_preview(
        &self,
        name: &str,
        (from, to): (&Pointer, &Pointer),
        description: &PreviewDescription,
    ) -> Result<(), Failure> {
        self.aws.rate_limiter.gateway().await;
        let described = PatchOperation::builder().op(Op::Replace).path("/description");
        let described = described.value(description.to_string()).build();
        let operations = patch_beside(from, to, 1).iter().map(patch_operation).chain([described]).collect();
        self.gateway()
            .update_stage()
            .rest_api_id(&self.rest_api_id)
            .stage_name(name)
            .set_patch_operations(Some(operations))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::new("UpdateStage", self.about(name), &error))
    }

    async fn delete_stage(&self, name: &str) -> Result<(), Failure> {
        self.aws.rate_limiter.gateway().await;
        let call = self.gateway().delete_stage().rest_api_id(&self.rest_api_id).stage_name(name);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => ignore_not_found(Failure::new("DeleteStage", self.about(name), &error)),
        }
    }
}

impl AwsStage {
    fn about(&self, stage: &str) -> String {
        format!("stage {stage} of API {}", self.rest_api_id)
    }
}
