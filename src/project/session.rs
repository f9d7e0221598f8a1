//! The session of a command: settings, local stage, AWS clients, and the verified account.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifact::python_tools::PythonTools;
use crate::aws::api_gateway::{ApiStage, AwsStage};
use crate::aws::http::Trust;
use crate::aws::s3::Bucket;
use crate::aws::{Aws, Emulator, Identity, Target};
use crate::engine::activate::Polling;
use crate::engine::appended::Appended;
use crate::engine::held::StageContext;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::Events;
use crate::local::{self, LocalConfig, LocalStage};
use crate::platform::clock::Clock;
use crate::project::contract::Contract;
use crate::project::known_stage::KnownStage;
use crate::project::settings::{Settings, Stage};
use crate::project::states::ProvenBuckets;
use crate::release::partition;
use crate::release::record::Who;

/// What a command may do to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only read. A local stage must be running.
    Read,
    /// Change the stage. A local stage is started if it does not run.
    Change,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) settings: Settings,
    pub(crate) local: Option<LocalStage>,
    pub(crate) aws: Aws,
    /// The caller. A stage cannot be changed without it.
    pub(crate) identity: Option<Identity>,
    /// Whether the command may start a local stage, and create the bucket of its Terraform state.
    pub(crate) access: Access,
    pub(crate) proven_buckets: ProvenBuckets,
    /// Held while Terraform reads outputs: two `init` of one layer would disturb each other.
    pub(crate) terraform_reads: tokio::sync::Mutex<()>,
    /// The lineage and serial of each layer's state when it was last read.
    pub(crate) state_serials: Mutex<BTreeMap<String, String>>,
    /// What this command has appended to the ledger.
    pub(crate) appended: Appended,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
}

impl Session {
    /// Connects to the stage and asks AWS for the caller's identity.
    pub(crate) async fn open(
        settings: Settings,
        access: Access,
        events: Events,
        cancel: CancellationToken,
    ) -> Result<Self> {
        let mut session = Self::connect(settings, access, events, cancel).await?;
        session.identity = Some(session.identify().await?);
        Ok(session)
    }

    /// Reads the caller's identity, and refuses any account but the stage's.
    pub(crate) async fn identify(&self) -> Result<Identity> {
        unless_interrupted(&self.cancel, self.aws.identify()).await
    }

    /// Connects to the stage without reading the caller's identity: enough for commands that only read.
    pub(crate) async fn connect(
        settings: Settings,
        access: Access,
        events: Events,
        cancel: CancellationToken,
    ) -> Result<Self> {
        let local = match &settings.stage.local {
            None => None,
            Some(config) => {
                let config = LocalConfig { port: config.port, region: settings.stage.region.clone() };
                let root = &settings.root;
                Some(match access {
                    Access::Change => {
                        local::up(root, &config, &PythonTools::from_env()?, &events, &cancel).await?
                    }
                    Access::Read => {
                        local::find(root, &config, &events).await?.ok_or_else(|| not_running(&settings))?
                    }
                })
            }
        };
        let aws = Aws::connect(target(&settings.stage, local.as_ref())?).await.warning(events.clone());
        aws.require_profile()?;
        Ok(Self {
            settings,
            local,
            aws,
            identity: None,
            access,
            proven_buckets: ProvenBuckets::default(),
            terraform_reads: tokio::sync::Mutex::default(),
            state_serials: Mutex::default(),
            appended: Appended::default(),
            events,
            cancel,
        })
    }

    pub(crate) fn stage_context(&self) -> Result<StageContext> {
        let identity = self
            .identity
            .as_ref()
            .ok_or_else(|| Error::bug("a command changes a stage without an identity"))?;
        Ok(StageContext {
            stage: self.settings.stage.name.clone(),
            who: Who { arn: identity.arn.clone(), run_url: ci_run_url() },
            probe: self.settings.probe.clone(),
            checks: self.settings.checks.clone(),
            delivery: self.settings.delivery.clone(),
            preparations: self.settings.preparations.clone(),
            appended: self.appended.clone(),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            wait: self.settings.wait,
            clock: Clock::since_boot(),
            polling: Polling::LAMBDA,
        })
    }

    /// Whether a release gets the requests in steps.
    pub(crate) fn has_canary(&self) -> bool {
        !self.settings.delivery.steps.is_empty()
    }

    /// The functions and the API behind `contract`.
    pub(crate) fn aws_stage(&self, contract: &Contract) -> Result<AwsStage> {
        let Contract { artifact_bucket, rest_api_id, stage_name, .. } = contract;
        let stage = ApiStage { artifact_bucket, rest_api_id, stage_name, url: &self.url(contract) };
        self.aws.aws_stage(&stage).map_err(|failure| Error::bug(failure.to_string()))
    }

    /// A stage where it was, to be read only.
    pub(crate) fn aws_stage_at(&self, known: &KnownStage) -> Result<AwsStage> {
        let KnownStage { artifact_bucket, rest_api_id, stage_name } = known;
        let url = &self.execute_url(rest_api_id, stage_name);
        let stage = ApiStage { artifact_bucket, rest_api_id, stage_name, url };
        self.aws.aws_stage(&stage).map_err(|failure| Error::bug(failure.to_string()))
    }

    /// The bucket of the Terraform states under deployctl's keys.
    pub(crate) fn state_bucket(&self) -> Bucket {
        let Stage { state_bucket, state_bucket_account, .. } = &self.settings.stage;
        self.aws.bucket_of(state_bucket_account, state_bucket)
    }

    /// The URL of a stage of any API in the stage's region.
    pub(crate) fn execute_url(&self, rest_api_id: &str, stage_name: &str) -> String {
        let region = &self.settings.stage.region;
        match &self.local {
            Some(local) => local.url(rest_api_id, stage_name),
            None => partition::execute_url(region, rest_api_id, stage_name),
        }
    }

    /// The URL of the stage.
    pub(crate) fn url(&self, contract: &Contract) -> String {
        match &self.local {
            Some(local) => local.url(&contract.rest_api_id, &contract.stage_name),
            None => contract.invoke_url.clone(),
        }
    }
}

/// The error of a command that needs a running local stage and does not start one.
pub(crate) fn not_running(settings: &Settings) -> Error {
    let name = &settings.stage.name;
    Error::usage(ErrorId::LocalDown, "the local stage is not running").hint(format!(
        "nothing was changed; `deployctl local up --stage {name}` starts it, and so does `deployctl release`"
    ))
}

/// The AWS account or local AWS emulator of `stage`.
///
/// # Errors
/// `aws.ca_bundle`.
pub(crate) fn target(stage: &Stage, local: Option<&LocalStage>) -> Result<Target> {
    // The local stage is not reached by TLS.
    let trust = if local.is_some() { Trust::default() } else { Trust::from_env()? };
    Ok(Target {
        stage: stage.name.clone(),
        account: stage.account.clone(),
        artifact_bucket_account: stage.artifact_bucket_account.clone(),
        region: stage.region.clone(),
        profile: stage.profile.clone(),
        emulator: local
            .map(|local| Emulator { endpoint: local.endpoint.clone(), secret: local.secret.clone() }),
        pacing: stage.pacing,
        call_timeout: stage.call_timeout,
        trust,
    })
}

/// How long work that handles the interrupt itself may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Does `work` until it is done, or until the command is interrupted: what waits for an answer is given up
/// then. Not for work that must be undone.
pub(crate) async fn unless_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = late => Err(Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; what is live is unchanged")),
    }
}

/// The URL of the CI run.
fn ci_run_url() -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(server), Some(repository), Some(run)) =
        (var("GITHUB_SERVER_URL"), var("GITHUB_REPOSITORY"), var("GITHUB_RUN_ID"))
    {
        // A restarted run keeps its id.
        let attempt = var("GITHUB_RUN_ATTEMPT").filter(|attempt| attempt != "1");
        let attempt = attempt.map(|attempt| format!("/attempts/{attempt}")).unwrap_or_default();
        return Some(format!("{server}/{repository}/actions/runs/{run}{attempt}"));
    }
    var("CI_JOB_URL")
}
