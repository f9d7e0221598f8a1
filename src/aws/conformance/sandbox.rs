//! The API, the function and the objects of the checks: their creation, the calls, and their deletion.
//!
//! The API is created first and deleted last, so as long as anything is left, the API is too, and its name gives
//! the name of the rest.

use std::time::Duration;

use aws_sdk_apigateway::operation::create_deployment::CreateDeploymentOutput;
use aws_sdk_apigateway::types::{EndpointConfiguration, EndpointType, IntegrationType, RestApi};
use aws_sdk_lambda::operation::update_function_code::builders::UpdateFunctionCodeFluentBuilder;
use aws_sdk_lambda::types::{
    ApplicationLogLevel, FunctionCode, LogFormat, LoggingConfig, Runtime, State, SystemLogLevel,
};
use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio_util::sync::CancellationToken;

use super::{Check, Observation, Stop};
use crate::artifact::archive::{self, Archive, Entry};
use crate::aws::Aws;
use crate::documents::conformance::Leftover;
use crate::engine::failure::{Failure, Meaning};
use crate::platform::unique_id;
use crate::release::model::FunctionName;

/// The first part of every name, the tag, and the prefix in the artifact bucket.
const MARK: &str = "deployctl-conformance";

pub(super) const STAGE: &str = "checks";

/// How long a call may take after the command was interrupted. The deletion comes after it.
const GRACE: Duration = Duration::from_secs(10);

const CREATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Leftovers of other runs are deleted after this time. A run takes minutes.
const DAY: i64 = 86_400;

/// What the sandbox uses of the stage.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The ARN of the role of the sandbox's function.
    pub(crate) role: String,
    /// The artifact bucket; without one, the checks of S3 are not tried.
    pub(crate) bucket: Option<String>,
}

/// An API deployment and the function version that its route calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) deployment: String,
    pub(super) version: String,
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(super) aws: Aws,
    plan: Plan,
    /// The name of the API, the function, the tag's value, and the end of the prefix.
    pub(crate) name: String,
    cancel: CancellationToken,
    pub(super) api: String,
    /// The URL of the sandbox's stage.
    pub(super) url: String,
    /// The resource `/f`.
    resource: String,
    /// The two zips of the function.
    pub(super) zips: [Archive; 2],
    /// The CodeSha256 with which the function was created.
    pub(super) created_sha256: String,
    /// What the stage serves first, and what it is switched to.
    pub(super) old: Served,
    pub(super) new: Served,
    /// A version with the code of `new` and another configuration.
    pub(super) third: Option<String>,
    pub(super) switched: bool,
    pub(super) canary: bool,
    /// What one check observed for another.
    observed: Vec<(Check, Observation)>,
}

/// A function that returns its version, and the stage variable `mark`.
fn zip(word: &str) -> Result<Archive, Failure> {
    let source = format!(
        "import json\n\n\ndef handler(event, context):\n    variables = event.get(\"stageVariables\") or {{}}\n    \
         body = {{\"version\": context.function_version, \"mark\": variables.get(\"mark\"), \"code\": \
         \"{word}\"}}\n    return {{\"statusCode\": 200, \"body\": json.dumps(body)}}\n"
    );
    let entry = Entry { name: "code.py", bytes: source.as_bytes(), executable: false };
    archive::zip(MARK, &[entry]).map_err(|error| Failure::rejected("zip", MARK, error.to_string()))
}

impl Sandbox {
    /// Prepares a sandbox; nothing is created.
    ///
    /// # Errors
    /// When its zips cannot be made.
    pub(crate) fn new(aws: Aws, plan: Plan, cancel: CancellationToken) -> Result<Self, Failure> {
        Ok(Self {
            aws,
            plan,
            name: format!("{MARK}-{}", unique_id()),
            cancel,
            api: String::new(),
            url: String::new(),
            resource: String::new(),
            zips: [zip("old")?, zip("new")?],
            created_sha256: String::new(),
            old: Served::default(),
            new: Served::default(),
            third: None,
            switched: false,
            canary: false,
            observed: Vec::new(),
        })
    }

    /// Creates the API, the function, and a stage that serves its first version. `url` is the URL of a stage.
    ///
    /// # Errors
    /// Those of AWS, and [`Stop::Interrupted`]. [`Sandbox::delete`] deletes what was created.
    pub(crate) async fn create(&mut self, url: impl Fn(&str, &str) -> String) -> Result<(), Stop> {
        let root = self.create_api().await?;
        self.url = url(&self.api, STAGE);
        self.create_function().await?;
        self.resource = self.route(&root, "f", "old").await?;
        self.route(&root, "absent", "absent").await?;
        self.old.deployment = self.deploy().await?;
        let create = self.aws.api_gateway.create_stage().rest_api_id(&self.api).stage_name(STAGE);
        // `new` is set before there is such a version: only the second deployment refers to it.
        let create =
            create.variables("old", &self.old.version).variables("new", "2").variables("mark", "old");
        let create = create.deployment_id(&self.old.deployment);
        self.gateway("CreateStage", create.send()).await?;
        Ok(())
    }

    /// Returns the id of the root resource.
    async fn create_api(&mut self) -> Result<String, Stop> {
        let regional = EndpointConfiguration::builder().types(EndpointType::Regional).build();
        let create = self.aws.api_gateway.create_rest_api().name(&self.name).tags(MARK, &self.name);
        let create =
            create.description("Checks of deployctl; can be deleted").endpoint_configuration(regional);
        let api = self.gateway("CreateRestApi", create.send()).await?;
        api.id().unwrap_or_default().clone_into(&mut self.api);
        let read = self.aws.api_gateway.get_resources().rest_api_id(&self.api);
        let resources = self.gateway("GetResources", read.send()).await?;
        Ok(resources.items().first().and_then(|root| root.id()).unwrap_or_default().to_owned())
    }

    async fn create_function(&mut self) -> Result<(), Stop> {
        // No lines of the invocations, so normally there is no log group to delete.
        let logging = LoggingConfig::builder()
            .log_format(LogFormat::Json)
            .application_log_level(ApplicationLogLevel::Fatal)
            .system_log_level(SystemLogLevel::Warn)
            .build();
        let create = self
            .aws
            .lambda
            .create_function()
            .function_name(&self.name)
            .tags(MARK, &self.name)
            .role(&self.plan.role)
            .runtime(Runtime::Python313)
            .handler("code.handler")
            .timeout(10)
            .logging_config(logging)
            .code(FunctionCode::builder().zip_file(self.zips[0].bytes.clone().into()).build())
            .publish(true);
        let created = self.lambda("CreateFunction", create.send()).await?;
        created.code_sha256().unwrap_or_default().clone_into(&mut self.created_sha256);
        created.version().unwrap_or_default().clone_into(&mut self.old.version);
        let start = std::time::Instant::now();
        while self.state(&self.old.version).await? == State::Pending {
            if start.elapsed() > CREATION_TIMEOUT {
                return Err(Failure::rejected("CreateFunction", &self.name, "it stays Pending").into());
            }
            self.pause(Duration::from_millis(500)).await?;
        }
        self.allow(&self.old.version).await
    }

    /// Allows the sandbox API to invoke a version.
    pub(super) async fn allow(&self, version: &str) -> Result<(), Stop> {
        let source = format!(
            "arn:{}:execute-api:{}:{}:{}/*",
            self.partition(),
            self.aws.target.region,
            self.aws.target.account,
            self.api
        );
        let add = self.aws.lambda.add_permission().function_name(&self.name).qualifier(version);
        let add =
            add.statement_id(format!("version-{version}")).action("lambda:InvokeFunction").source_arn(source);
        self.lambda("AddPermission", add.principal("apigateway.amazonaws.com").send()).await?;
        Ok(())
    }

    /// Creates `GET /part`, which calls the function version in the stage variable `variable`.
    async fn route(&self, root: &str, part: &str, variable: &str) -> Result<String, Stop> {
        let create = self.aws.api_gateway.create_resource().rest_api_id(&self.api).parent_id(root);
        let created = self.gateway("CreateResource", create.path_part(part).send()).await?;
        let id = created.id().unwrap_or_default().to_owned();
        let put = self.aws.api_gateway.put_method().rest_api_id(&self.api).resource_id(&id);
        self.gateway("PutMethod", put.http_method("GET").authorization_type("NONE").send()).await?;
        self.integrate(&id, variable).await?;
        Ok(id)
    }

    async fn integrate(&self, resource: &str, variable: &str) -> Result<(), Stop> {
        let (partition, region) = (self.partition(), &self.aws.target.region);
        let uri = format!(
            "arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/arn:{partition}:lambda:{region}:{}:\
             function:{}:${{stageVariables.{variable}}}/invocations",
            self.aws.target.account, self.name
        );
        let put = self.aws.api_gateway.put_integration().rest_api_id(&self.api).resource_id(resource);
        let put = put.http_method("GET").r#type(IntegrationType::AwsProxy).integration_http_method("POST");
        self.gateway("PutIntegration", put.uri(uri).send()).await?;
        Ok(())
    }

    /// Makes `GET /f` call the version in the stage variable `new`, once the API is deployed again.
    pub(super) async fn change_api(&self) -> Result<(), Stop> {
        self.integrate(&self.resource, "new").await
    }

    pub(super) async fn deploy(&self) -> Result<String, Stop> {
        self.aws.rate_limiter.deployment().await;
        let create = self.aws.api_gateway.create_deployment().rest_api_id(&self.api);
        let created: CreateDeploymentOutput = self.gateway("CreateDeployment", create.send()).await?;
        Ok(created.id().unwrap_or_default().to_owned())
    }

    /// The state of a version.
    pub(super) async fn state(&self, version: &str) -> Result<State, Stop> {
        let read = self.aws.lambda.get_function_configuration().function_name(&self.name).qualifier(version);
        let configuration = self.lambda("GetFunctionConfiguration", read.send()).await?;
        Ok(configuration.state().cloned().unwrap_or(State::Active))
    }

    pub(super) fn update_code(&self, zip: &Archive) -> UpdateFunctionCodeFluentBuilder {
        let update = self.aws.lambda.update_function_code().function_name(&self.name);
        update.zip_file(zip.bytes.clone().into())
    }

    fn partition(&self) -> &str {
        self.plan.role.split(':').nth(1).unwrap_or("aws")
    }

    pub(super) fn bucket(&self) -> Option<&str> {
        self.plan.bucket.as_deref()
    }

    /// The account that must own the bucket.
    pub(super) fn owner(&self) -> &str {
        self.aws.target.artifact_bucket_account.as_str()
    }

    /// The prefix of its objects.
    pub(crate) fn prefix(&self) -> String {
        prefix(&self.name)
    }

    /// The key of an object of the sandbox.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", prefix(&self.name))
    }

    /// Keeps what one check has observed for another.
    pub(super) fn observed(&mut self, check: Check, observation: Observation) {
        self.observed.push((check, observation));
    }

    /// What an earlier check has observed for this one.
    pub(super) fn take_observed(&mut self, check: Check) -> Observation {
        let place = self.observed.iter().position(|(known, _)| *known == check);
        place.map_or_else(
            || Observation::not_tried("the check that observes it has failed"),
            |place| self.observed.swap_remove(place).1,
        )
    }

    pub(super) async fn gateway<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Stop>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.aws.rate_limiter.gateway().await;
        self.call(operation, call).await
    }

    pub(super) async fn lambda<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Stop>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.aws.rate_limiter.lambda().await;
        self.call(operation, call).await
    }

    /// Makes a call, unless the command is interrupted before it. A call in progress is waited for: what it
    /// creates must be known to the deletion.
    pub(super) async fn call<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Stop>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.go_on()?;
        let late = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let answer = tokio::select! {
            biased;
            answer = Box::pin(call) => answer,
            () = late => return Err(Stop::Interrupted),
        };
        answer.map_err(|error| Failure::new(operation, &self.name, &error).into())
    }

    pub(super) fn go_on(&self) -> Result<(), Stop> {
        if self.cancel.is_cancelled() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    pub(super) async fn pause(&self, time: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.cancel.cancelled() => Err(Stop::Interrupted),
        }
    }

    /// Deletes everything that this run may have created, also after an interrupt. Returns what is left.
    pub(crate) async fn delete(&self) -> Vec<Leftover> {
        delete(&self.aws, &self.name, self.bucket()).await
    }
}

/// The answer of a call that AWS is expected to refuse. A missing permission is no refusal.
pub(super) fn refusal<T>(answer: Result<T, Stop>) -> Result<Result<T, Failure>, Stop> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Failed(failure))
            if !matches!(failure.meaning, Meaning::Denied | Meaning::Unreachable | Meaning::Unknown) =>
        {
            Ok(Err(failure))
        }
        Err(stop) => Err(stop),
    }
}

fn prefix(name: &str) -> String {
    format!("{MARK}/{}/", name.trim_start_matches(MARK).trim_start_matches('-'))
}

impl Aws {
    /// The ARN of a function's role.
    ///
    /// # Errors
    /// Those of AWS.
    pub(crate) async fn function_role(&self, name: &FunctionName) -> Result<String, Failure> {
        let answer = self.lambda.get_function_configuration().function_name(name.as_str()).send().await;
        let answer =
            answer.map_err(|error| Failure::new("GetFunctionConfiguration", name.as_str(), &error))?;
        Ok(answer.role().unwrap_or_default().to_owned())
    }
}

/// The names of sandboxes that other runs have left for more than a day.
///
/// # Errors
/// Those of AWS.
pub(crate) async fn leftovers(aws: &Aws) -> Result<Vec<String>, Failure> {
    let yesterday = jiff::Timestamp::now().as_second() - DAY;
    let old = |api: &RestApi| {
        let tagged = api.tags().and_then(|tags| tags.get(MARK)).map(String::as_str) == api.name();
        tagged && api.created_date().is_some_and(|created| created.secs() < yesterday)
    };
    let apis = apis(aws, MARK).await?;
    Ok(apis.iter().filter(|api| old(api)).filter_map(|api| api.name().map(str::to_owned)).collect())
}

/// The APIs whose names begin with `name`.
async fn apis(aws: &Aws, name: &str) -> Result<Vec<RestApi>, Failure> {
    let mut found = Vec::new();
    let mut pages = aws.api_gateway.get_rest_apis().limit(500).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Failure::new("GetRestApis", "the region", &error))?;
        found.extend(
            page.items().iter().filter(|api| api.name().is_some_and(|n| n.starts_with(name))).cloned(),
        );
    }
    Ok(found)
}

/// Deletes the sandbox `name`, the API last. Returns what is left.
pub(crate) async fn delete(aws: &Aws, name: &str, bucket: Option<&str>) -> Vec<Leftover> {
    let mut left = Vec::new();
    let mut keep = |what: String, command: String, failed: Option<Failure>| {
        if let Some(failure) = failed {
            left.push(Leftover { what: format!("{what}: {failure}"), command });
        }
    };
    let region = &aws.target.region;
    keep(
        format!("function {name}"),
        format!("aws lambda delete-function --region {region} --function-name {name}"),
        failed("DeleteFunction", name, aws.lambda.delete_function().function_name(name).send().await),
    );
    let group = format!("/aws/lambda/{name}");
    keep(
        format!("log group {group}, if it exists"),
        format!("aws logs delete-log-group --region {region} --log-group-name {group}"),
        failed("DeleteLogGroup", &group, aws.logs.delete_log_group().log_group_name(&group).send().await),
    );
    if let Some(bucket) = bucket {
        let prefix = prefix(name);
        keep(
            format!("objects s3://{bucket}/{prefix}"),
            format!("aws s3 rm --region {region} --recursive s3://{bucket}/{prefix}"),
            aws.bucket(bucket).purge(&[prefix]).await.err(),
        );
    }
    let command = |id: &str| format!("aws apigateway delete-rest-api --region {region} --rest-api-id {id}");
    match apis(aws, name).await {
        // The name of the API leads a later run to the rest.
        Ok(apis) if !left.is_empty() => left.extend(apis.iter().map(|api| Leftover {
            what: format!("API {name}, until the rest is deleted"),
            command: command(api.id().unwrap_or_default()),
        })),
        Ok(apis) => {
            for id in apis.iter().filter_map(RestApi::id) {
                let answer = aws.api_gateway.delete_rest_api().rest_api_id(id).send().await;
                if let Some(failure) = failed("DeleteRestApi", name, answer) {
                    left.push(Leftover { what: format!("API {name}: {failure}"), command: command(id) });
                }
            }
        }
        Err(failure) => left.push(Leftover {
            what: format!("API {name}, if it exists: {failure}"),
            command: format!(
                "aws apigateway get-rest-apis --region {region} --query \"items[?name=='{name}'].id\", and \
                 delete-rest-api with this id"
            ),
        }),
    }
    left
}

/// The failure of a deletion. What does not exist needs none.
fn failed<T, E>(
    operation: &'static str,
    subject: &str,
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> Option<Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = Failure::new(operation, subject, &answer.err()?);
    (failure.meaning != Meaning::NotFound).then_some(failure)
}
