//! The calls to Lambda that read, update, publish and invoke functions.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::operation::update_function_code::UpdateFunctionCodeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{AliasRoutingConfiguration, LastUpdateStatus, LogType, PackageType, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api_gateway::AwsStage;
use super::logs;
use super::members::{Body, meaning};
use super::retry::Table;
use super::timeouts;
use crate::artifact::Architecture;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::Tried;
use crate::release::check::Invoked;
use crate::release::definition::canonical_digest;
use crate::release::model::{AliasName, FunctionName, FunctionVersion, Qualifier};
use crate::release::state::{
    Activity, AliasState, AliasTarget, Code, FunctionState, Published, PublishedState, Start,
};

/// The time limit for an update of a function: functions in a VPC can need minutes.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(300);

/// The pause between two reads of a function that is being updated.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time that API Gateway waits for a function, unless the quota of the account was raised.
const LONGEST_INTEGRATION: Duration = Duration::from_secs(29);

impl AwsStage {
    /// Reads a function's `$LATEST`, and waits until no update is in progress.
    pub(super) async fn read_function(&self, name: &FunctionName) -> Result<FunctionState, Failure> {
        let deadline = Instant::now() + UPDATE_TIMEOUT;
        let (mut configuration, mut answer) = self.configuration(name, None).await?;
        // A failure or timeout shows in the state that is read last, and the plan decides.
        while is_updating(&configuration) && Instant::now() < deadline {
            sleep(UPDATE_INTERVAL).await;
            (configuration, answer) = self.configuration(name, None).await?;
        }
        let failed = (configuration.last_update_status() == Some(&LastUpdateStatus::Failed)).then(|| {
            format!(
                "{}: {}",
                configuration.last_update_status_reason_code().map_or("Failed", |code| code.as_str()),
                configuration.last_update_status_reason().unwrap_or("no reason given")
            )
        });
        Ok(FunctionState {
            code_sha256: configuration.code_sha256().unwrap_or_default().to_owned(),
            config_sha256: canonical_digest(&frozen(&configuration, &answer)),
            aws_config_sha256: configuration.config_sha256().map(str::to_owned),
            architecture: configuration.architectures().first().and_then(architecture),
            revision: configuration.revision_id().unwrap_or_default().to_owned(),
            failed,
            start: Start {
                runtime: configuration.runtime().map(|runtime| runtime.as_str().to_owned()),
                handler: configuration.handler().map(str::to_owned),
                has_layers: !configuration.layers().is_empty(),
                is_image: configuration.package_type() == Some(&PackageType::Image),
                memory_mb: configuration.memory_size().and_then(|memory| u32::try_from(memory).ok()),
            },
        })
    }

    pub(super) async fn read_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<Option<PublishedState>, Failure> {
        match self.configuration(name, Some(version)).await {
            Ok((configuration, answer)) => Ok(Some(PublishedState {
                code_sha256: configuration.code_sha256().unwrap_or_default().to_owned(),
                config_sha256: canonical_digest(&frozen(&configuration, &answer)),
                activity: activity(
                    (configuration.state(), configuration.state_reason()),
                    (configuration.last_update_status(), configuration.last_update_status_reason()),
                ),
                shared: (
                    configuration.role().unwrap_or_default().to_owned(),
                    configuration.dead_letter_config().and_then(|it| it.target_arn()).map(str::to_owned),
                ),
            })),
            Err(failure) if failure.meaning == Meaning::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The configuration as the SDK reads it, and as Lambda sent it.
    async fn configuration(
        &self,
        name: &FunctionName,
        version: Option<&FunctionVersion>,
    ) -> Result<(GetFunctionConfigurationOutput, Value), Failure> {
        let call = |config| async move {
            let body = Body::default();
            let configuration = self
                .aws
                .lambda
                .get_function_configuration()
                .function_name(name.as_str())
                .set_qualifier(version.map(|version| version.to_string()))
                .customize()
                .config_override(config)
                .interceptor(body.clone())
                .send()
                .await
                .map_err(|error| Failure::new("GetFunctionConfiguration", subject(name, version), &error))?;
            Ok((configuration, body))
        };
        let (configuration, body) = self.aws.rate_limiter.paced(call).await?;
        self.function_timeouts.record(name, configuration.timeout());
        let answer = body.json();
        // Values are compared as texts, so an unknown one is no doubt.
        self.aws.inspector.inspect("GetFunctionConfiguration", ("lambda", "FunctionConfiguration"), &answer);
        Ok((configuration, answer))
    }

    pub(super) async fn send_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> Result<Published, Failure> {
        let answer = self.update_function_code(name, code, revision, true).await?;
        let activity = activity(
            (answer.state(), answer.state_reason()),
            (answer.last_update_status(), answer.last_update_status_reason()),
        );
        published("UpdateFunctionCode", name, answer.version(), answer.code_sha256(), activity)
    }

    /// Sends code without publishing it.
    pub(super) async fn send_unpublished(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> Result<(), Failure> {
        self.update_function_code(name, code, revision, false).await.map(drop)
    }

    async fn update_function_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
        publish: bool,
    ) -> Result<UpdateFunctionCodeOutput, Failure> {
        let update = |config| async move {
            let call = self.aws.lambda.update_function_code().function_name(name.as_str());
            let call = if code.image {
                call.image_uri(&code.key)
            } else {
                let call = call.s3_bucket(&self.bucket).s3_key(&code.key);
                call.set_s3_object_version(code.s3_version.clone())
            };
            call.set_architectures(code.architecture.map(|change| vec![change.to.as_str().into()]))
                .revision_id(revision)
                .publish(publish)
                .customize()
                .config_override(config)
                .send()
                .await
                .map_err(|error| Failure::new("UpdateFunctionCode", name.as_str(), &error))
        };
        self.aws.rate_limiter.paced(update).await
    }

    pub(super) async fn read_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
    ) -> Result<Option<AliasState>, Failure> {
        self.aws.rate_limiter.lambda().await;
        let call = self.aws.lambda.get_alias().function_name(name.as_str()).name(alias.as_str());
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::new("GetAlias", format!("{name}:{alias}"), &error);
                return if failure.meaning == Meaning::NotFound { Ok(None) } else { Err(failure) };
            }
        };
        let parsed = |version: &str| {
            version.parse::<Qualifier>().map_err(|error| {
                Failure::rejected(
                    "GetAlias",
                    format!("{name}:{alias}"),
                    format!("it has no version: {error}"),
                )
            })
        };
        let version = parsed(answer.function_version().unwrap_or_default())?;
        let weights = answer.routing_config().and_then(|routing| routing.additional_version_weights());
        let second = weights.into_iter().flatten().next();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a weight is from 0 to 1"
        )]
        let second = second.map(|(version, weight)| Ok((parsed(version)?, (weight * 100.0).round() as u8)));
        let target = AliasTarget { version, second: second.transpose()? };
        Ok(Some(AliasState { target, revision: answer.revision_id().unwrap_or_default().to_owned() }))
    }

    /// Made once: the SDK would repeat it with a revision that the first attempt may have changed. An absent
    /// second version is stated, too: weights that a call leaves out stay.
    pub(super) async fn update_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        target: &AliasTarget,
        revision: &str,
    ) -> Result<(), Failure> {
        self.aws.rate_limiter.lambda().await;
        let once = aws_sdk_lambda::config::Config::builder().retry_config(RetryConfig::disabled());
        let weights = target.second.iter();
        let weights =
            weights.map(|(version, percent)| (version.to_string(), f64::from(*percent) / 100.0)).collect();
        let routing = AliasRoutingConfiguration::builder().set_additional_version_weights(Some(weights));
        let call = self.aws.lambda.update_alias().function_name(name.as_str()).name(alias.as_str());
        call.function_version(target.version.as_str())
            .routing_config(routing.build())
            .revision_id(revision)
            .customize()
            .config_override(once)
            .send()
            .await
            .map(drop)
            .map_err(|error| Failure::new("UpdateAlias", format!("{name}:{alias}"), &error))
    }

    pub(super) async fn publish_latest(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> Result<Published, Failure> {
        let call = |config| async move {
            self.aws
                .lambda
                .publish_version()
                .function_name(name.as_str())
                .code_sha256(code_sha256)
                .set_revision_id(revision.map(str::to_owned))
                .customize()
                .config_override(config)
                .send()
                .await
                .map_err(|error| Failure::new("PublishVersion", name.as_str(), &error))
        };
        let answer = self.aws.rate_limiter.paced(call).await?;
        let activity = activity(
            (answer.state(), answer.state_reason()),
            (answer.last_update_status(), answer.last_update_status_reason()),
        );
        published("PublishVersion", name, answer.version(), answer.code_sha256(), activity)
    }

    pub(super) async fn invoke_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> Result<Invoked, Failure> {
        let answer = self
            .aws
            .lambda
            .invoke()
            .function_name(name.as_str())
            .qualifier(version.as_str())
            .payload(Blob::new(payload.to_string()))
            .customize()
            .config_override(
                aws_sdk_lambda::config::Config::builder()
                    .timeout_config(timeouts::invoke(self.function_timeouts.of(name)))
                    .retry_classifier(Table::LONG),
            )
            .send()
            .await
            .map_err(|error| Failure::new("Invoke", subject(name, Some(version)), &error))?;
        Ok(invoked(answer.function_error(), answer.payload()))
    }

    /// Invokes a version that may run at most once. Without a limit it waits as long as API Gateway does.
    pub(super) async fn invoke_version_once(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
        limit: Option<Duration>,
    ) -> Result<Tried, Failure> {
        let limit = limit.unwrap_or(LONGEST_INTEGRATION);
        let timeout = self.function_timeouts.of(name).map_or(limit, |timeout| timeout.min(limit));
        let answer = self
            .aws
            .lambda
            .invoke()
            .function_name(name.as_str())
            .qualifier(version.as_str())
            .log_type(LogType::Tail)
            .payload(Blob::new(payload.to_string()))
            .customize()
            .config_override(
                aws_sdk_lambda::config::Config::builder()
                    .timeout_config(timeouts::invoke(Some(timeout)))
                    .retry_classifier(Table::ONCE),
            )
            .send()
            .await
            .map_err(|error| Failure::new("Invoke", subject(name, Some(version)), &error))?;
        let tail = answer.log_result().and_then(|tail| STANDARD.decode(tail).ok()).unwrap_or_default();
        Ok(Tried {
            invoked: invoked(answer.function_error(), answer.payload()),
            log: logs::last_lines(String::from_utf8_lossy(&tail).lines()),
        })
    }

    /// Invokes an inactive version once, without retries: the invocation fails, and a later one would run the
    /// function. The event names no route, because a version that became active meanwhile gets it. An
    /// asynchronous invocation would be repeated by Lambda, and a dry run wakes nothing.
    pub(super) async fn wake_version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<(), Failure> {
        let event = json!({ "source": "deployctl", "detail-type": "wake" });
        self.aws
            .lambda
            .invoke()
            .function_name(name.as_str())
            .qualifier(version.as_str())
            .payload(Blob::new(event.to_string()))
            .customize()
            .config_override(aws_sdk_lambda::config::Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::new("Invoke", subject(name, Some(version)), &error))
    }
}

fn invoked(function_error: Option<&str>, payload: Option<&Blob>) -> Invoked {
    let bytes = payload.map(AsRef::<[u8]>::as_ref).unwrap_or_default();
    let result = serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()));
    Invoked { error: function_error.map(str::to_owned), result }
}

fn is_updating(configuration: &GetFunctionConfigurationOutput) -> bool {
    configuration.last_update_status() == Some(&LastUpdateStatus::InProgress)
        || configuration.state() == Some(&State::Pending)
}

/// Judges a version by its state and last update, each with its reason. Only `Active` is ready; a state that
/// is new or unknown may pass.
fn activity(
    (state, reason): (Option<&State>, Option<&str>),
    (update, update_reason): (Option<&LastUpdateStatus>, Option<&str>),
) -> Activity {
    let text = |state: &str, reason: Option<&str>| match reason {
        Some(reason) if !reason.is_empty() => format!("{state}: {reason}"),
        _ => state.to_owned(),
    };
    // Lambda does not retry a failed update by itself.
    if update == Some(&LastUpdateStatus::Failed) {
        return Activity::Failed(text("the update failed", update_reason));
    }
    let name = text(state.map_or("no state", State::as_str), reason);
    match state {
        Some(State::Active) => Activity::Active,
        Some(State::Inactive) => Activity::Inactive(name),
        Some(State::Failed | State::Deactivated | State::Deleting) => Activity::Failed(name),
        _ => Activity::Pending(name),
    }
}

fn architecture(name: &aws_sdk_lambda::types::Architecture) -> Option<Architecture> {
    [Architecture::X86_64, Architecture::Arm64]
        .into_iter()
        .find(|architecture| architecture.as_str() == name.as_str())
}

fn subject(name: &FunctionName, version: Option<&FunctionVersion>) -> String {
    match version {
        Some(version) => format!("{name}:{version}"),
        None => name.to_string(),
    }
}

fn published(
    operation: &'static str,
    name: &FunctionName,
    version: Option<&str>,
    code_sha256: Option<&str>,
    activity: Activity,
) -> Result<Published, Failure> {
    let version = version
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| Failure::rejected(operation, name.as_str(), "the answer has no version"))?;
    Ok(Published { version, code_sha256: code_sha256.unwrap_or_default().to_owned(), activity })
}

/// The configuration that publishing freezes with the code. Two `$LATEST`s with the same code and
/// configuration behave alike, so no new version is needed. Fields that change by themselves (revision,
/// dates, states) are left out.
fn frozen(configuration: &GetFunctionConfigurationOutput, answer: &Value) -> Value {
    let environment: Option<BTreeMap<&String, &String>> = configuration
        .environment()
        .and_then(|environment| environment.variables())
        .map(|all| all.iter().collect());
    let mut subnets: Vec<_> =
        configuration.vpc_config().map(|vpc| vpc.subnet_ids().to_vec()).unwrap_or_default();
    let mut groups: Vec<_> =
        configuration.vpc_config().map(|vpc| vpc.security_group_ids().to_vec()).unwrap_or_default();
    subnets.sort();
    groups.sort();
    let file_systems: Vec<_> = configuration
        .file_system_configs()
        .iter()
        .map(|fs| json!([fs.arn(), fs.local_mount_path()]))
        .collect();
    let mut frozen = json!({
        "runtime": configuration.runtime().map(|runtime| runtime.as_str()),
        "handler": configuration.handler(),
        "role": configuration.role(),
        "timeout": configuration.timeout(),
        "memory": configuration.memory_size(),
        "description": configuration.description(),
        "architectures": configuration.architectures().iter().map(|a| a.as_str()).collect::<Vec<_>>(),
        "environment": environment,
        "subnets": subnets,
        "security_groups": groups,
        "dead_letter": configuration.dead_letter_config().and_then(|config| config.target_arn()),
        "kms_key": configuration.kms_key_arn(),
        "tracing": configuration.tracing_config().and_then(|config| config.mode()).map(|mode| mode.as_str()),
        "layers": configuration.layers().iter().map(|layer| layer.arn()).collect::<Vec<_>>(),
        "file_systems": file_systems,
        "ephemeral_storage": configuration.ephemeral_storage().map(|storage| storage.size()),
        "snap_start": configuration.snap_start().and_then(|snap| snap.apply_on()).map(|on| on.as_str()),
        "logging": configuration.logging_config().map(|logging| json!([
            logging.log_format().map(|format| format.as_str()),
            logging.log_group(),
            logging.application_log_level().map(|level| level.as_str()),
            logging.system_log_level().map(|level| level.as_str()),
        ])),
    });
    if let Some(fields) = frozen.as_object_mut() {
        fields.extend(added_later(answer));
    }
    frozen
}

/// What Lambda has added since the first version, some of it unknown to the SDK. Default values are left
/// out: the digest of a function must not change by an update of deployctl or of AWS.
fn added_later(answer: &Value) -> impl Iterator<Item = (String, Value)> {
    let is_not = |default: Value| move |value: &Value| *value != default;
    let file_systems = answer["FileSystemConfigs"].as_array().into_iter().flatten();
    let direct_reads: Vec<Value> = file_systems
        .filter_map(|fs| {
            let mode = meaning(&fs["S3FilesConfig"]["DirectS3Read"]).filter(is_not(json!("AUTO")))?;
            Some(json!([fs["Arn"], mode]))
        })
        .collect();
    [
        ("ipv6", meaning(&answer["VpcConfig"]["Ipv6AllowedForDualStack"]).filter(is_not(json!(false)))),
        ("package", meaning(&answer["PackageType"]).filter(is_not(json!("Zip")))),
        // The order of arguments matters.
        (
            "image",
            meaning(&answer["ImageConfigResponse"]["ImageConfig"])
                .map(|_| answer["ImageConfigResponse"]["ImageConfig"].clone()),
        ),
        ("durable", meaning(&answer["DurableConfig"])),
        ("tenancy", meaning(&answer["TenancyConfig"])),
        ("capacity_provider", meaning(&answer["CapacityProviderConfig"])),
        ("runtime_config", meaning(&answer["RuntimeConfig"])),
        ("accelerator", meaning(&answer["AcceleratorConfig"])),
        ("direct_s3_reads", meaning(&json!(direct_reads))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
}
