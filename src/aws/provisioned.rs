//! The calls to Lambda that read, set and delete provisioned concurrency.

use aws_sdk_lambda::types::ProvisionedConcurrencyStatusEnum as Status;

use super::api_gateway::AwsStage;
use crate::engine::failure::{Failure, Meaning};
use crate::release::model::{FunctionName, FunctionVersion};
use crate::release::state::{Allocation, Provisioned};

impl AwsStage {
    /// The provisioned concurrency of a version or an alias; `None` if it has none.
    pub(super) async fn read_provisioned(
        &self,
        name: &FunctionName,
        qualifier: &str,
    ) -> Result<Option<Provisioned>, Failure> {
        self.aws.rate_limiter.lambda().await;
        let call = self.aws.lambda.get_provisioned_concurrency_config();
        let answer = match call.function_name(name.as_str()).qualifier(qualifier).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let subject = format!("{name}:{qualifier}");
                let failure = Failure::new("GetProvisionedConcurrencyConfig", subject, &error);
                return if failure.meaning == Meaning::NotFound { Ok(None) } else { Err(failure) };
            }
        };
        let requested = answer.requested_provisioned_concurrent_executions().unwrap_or_default();
        let reason = || answer.status_reason().unwrap_or("no reason given").to_owned();
        Ok(Some(Provisioned {
            requested: u16::try_from(requested).unwrap_or(u16::MAX),
            allocation: match answer.status() {
                Some(Status::Ready) => Allocation::Ready,
                Some(Status::Failed) => Allocation::Failed(reason()),
                _ => Allocation::InProgress,
            },
        }))
    }

    pub(super) async fn put_provisioned(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        count: u16,
    ) -> Result<(), Failure> {
        let put = |config| async move {
            let call = self.aws.lambda.put_provisioned_concurrency_config().function_name(name.as_str());
            call.qualifier(version.as_str())
                .provisioned_concurrent_executions(i32::from(count))
                .customize()
                .config_override(config)
                .send()
                .await
                .map(drop)
                .map_err(|error| {
                    Failure::new("PutProvisionedConcurrencyConfig", format!("{name}:{version}"), &error)
                })
        };
        self.aws.rate_limiter.paced(put).await
    }

    pub(super) async fn delete_provisioned(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<(), Failure> {
        let delete = |config| async move {
            let call = self.aws.lambda.delete_provisioned_concurrency_config().function_name(name.as_str());
            let answer = call.qualifier(version.as_str()).customize().config_override(config).send().await;
            answer.map(drop).map_err(|error| {
                Failure::new("DeleteProvisionedConcurrencyConfig", format!("{name}:{version}"), &error)
            })
        };
        self.aws.rate_limiter.paced(delete).await
    }
}
