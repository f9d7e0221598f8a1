//! What every command on a stage begins with: the settings, the embedded AWS where the stage is one, the
//! clients, and the proof that they reach the right account.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::aws::api_gateway::Site;
use crate::aws::failure::{Failure, Meaning};
use crate::aws::s3::Bucket;
use crate::aws::{Aws, Identity, unreachable};
use crate::clock::Clock;
use crate::contract::{Contract, string_output};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::local::{self, LocalConfig, LocalStage};
use crate::release::model::Version;
use crate::release::record::Who;
use crate::settings::{OutputName, Settings};
use crate::stage::{Actor, unreadable};
use crate::terraform::version::Feature;
use crate::terraform::{Backend, Driver, Outputs, Terraform, outputs};
use crate::toolbox::Toolbox;
use crate::world::{Store as _, Stored};

/// A command's view of its stage.
#[derive(Debug)]
pub struct Session {
    /// What deployctl.toml says.
    pub settings: Settings,
    /// The embedded AWS.
    pub local: Option<LocalStage>,
    /// The clients.
    pub aws: Aws,
    /// Who we are. Nobody can take a stage without being asked (I9).
    pub identity: Option<Identity>,
    /// Who is told.
    pub events: Events,
    /// Whether to stop.
    pub cancel: CancellationToken,
}

impl Session {
    /// Connects to the stage, starting the embedded AWS where the stage is one, and asks who we are there.
    ///
    /// # Errors
    /// What `local::up` and [`Aws::identify`] return; nothing was changed.
    pub async fn open(settings: Settings, events: Events, cancel: CancellationToken) -> Result<Self> {
        let mut session = Self::connect(settings, events, cancel).await?;
        session.identity = Some(session.identify().await?);
        Ok(session)
    }

    /// Asks AWS who we are, and refuses any account but the stage's.
    ///
    /// # Errors
    /// As [`Aws::identify`].
    pub async fn identify(&self) -> Result<Identity> {
        unless_interrupted(&self.cancel, self.aws.identify(&self.settings.stage)).await
    }

    /// Connects to the stage without asking who we are: enough to look at it.
    ///
    /// # Errors
    /// What `local::up` returns.
    pub async fn connect(settings: Settings, events: Events, cancel: CancellationToken) -> Result<Self> {
        let local = match &settings.stage.local {
            None => None,
            Some(config) => {
                let config = LocalConfig { port: config.port, region: settings.stage.region.clone() };
                Some(local::up(&settings.root, &config, &Toolbox::from_env()?, &events, &cancel).await?)
            }
        };
        let aws = Aws::connect(&settings.stage, local.as_ref()).await;
        Ok(Self { settings, local, aws, identity: None, events, cancel })
    }

    /// Who does this, to which stage.
    ///
    /// # Errors
    /// Only in a command that forgot to ask who it is.
    pub fn actor(&self) -> Result<Actor> {
        let identity =
            self.identity.as_ref().ok_or_else(|| Error::bug("a command that changes a stage is nobody"))?;
        Ok(Actor {
            stage: self.settings.stage.name.clone(),
            who: Who { arn: identity.arn.clone(), run_url: ci_run_url() },
            probe: self.settings.probe.clone(),
            checks: self.settings.checks.clone(),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            wait: self.settings.wait,
            clock: Clock::since_boot(),
        })
    }

    /// The functions and the API behind `contract`.
    ///
    /// # Errors
    /// Only when no HTTP client can be made.
    pub fn site(&self, contract: &Contract) -> Result<Site> {
        self.aws.site(contract, &self.url(contract)).map_err(|failure| Error::bug(failure.to_string()))
    }

    /// The bucket of the Terraform state.
    pub fn state_bucket(&self) -> Bucket {
        self.aws.bucket(&self.settings.stage.state_bucket)
    }

    /// The S3 key of a layer's state.
    pub fn state_key(&self, layer: &str) -> String {
        format!("{}/{layer}.tfstate", self.settings.stage.state_prefix(&self.settings.project))
    }

    /// A layer's outputs, read from its state: one request instead of a Terraform process. `None` before the
    /// first apply. The local stage makes its bucket for states when it is first missed.
    ///
    /// # Errors
    /// `state.missing` without a state bucket, `state.unreadable`.
    pub async fn outputs(&self, layer: &str) -> Result<Option<Outputs>> {
        let stored = unless_interrupted(&self.cancel, self.state(layer)).await?;
        let Some(stored) = stored else { return Ok(None) };
        match outputs::from_state(&stored.body) {
            Ok(outputs) => Ok(Some(outputs)),
            // Encrypted by OpenTofu, or of a later form: Terraform itself can read it.
            Err(_) => {
                let driver = self.driver().await?;
                let layer = self.settings.layer(layer)?;
                driver.init_if_needed(layer).await?;
                Ok(Some(driver.outputs(layer).await?))
            }
        }
    }

    async fn state(&self, layer: &str) -> Result<Option<Stored>> {
        let bucket = self.state_bucket();
        match bucket.read(&self.state_key(layer)).await {
            Err(failure) if is_no_bucket(&failure) && self.local.is_some() => {
                let made = bucket.ensure_state_bucket(&self.settings.stage.region).await;
                made.map_err(|failure| unreadable("the bucket of the Terraform state", failure))?;
                Ok(None)
            }
            read => read.map_err(|failure| self.no_state(failure)),
        }
    }

    fn no_state(&self, failure: Failure) -> Error {
        if is_no_bucket(&failure) {
            let name = &self.settings.stage.name;
            return Error::preflight(
                "state.missing",
                format!(
                    "stage {name} has no bucket for the Terraform state ({})",
                    self.settings.stage.state_bucket
                ),
            )
            .because(failure)
            .hint(format!("nothing was changed; make it with `deployctl bootstrap --stage {name}`"));
        }
        if failure.meaning == Meaning::Unreachable {
            return unreachable(failure);
        }
        Error::preflight("state.unreadable", "the Terraform state cannot be read")
            .because(failure)
            .hint("nothing was changed; the caller needs s3:GetObject and s3:ListBucket on the state bucket")
    }

    /// The artifact bucket's name, once the layer that makes it has been applied.
    ///
    /// # Errors
    /// As [`Session::outputs`], and `contract.*` when the layer was applied without the output.
    pub async fn artifact_bucket(&self) -> Result<Option<Bucket>> {
        let output = &self.settings.bucket;
        let Some(outputs) = self.outputs(&output.layer).await? else { return Ok(None) };
        if outputs.is_empty() {
            // Destroyed, or never fully applied.
            return Ok(None);
        }
        let name =
            string_output(output, outputs.get(&output.output).map(|found| &found.value), &names(&outputs))?;
        Ok(Some(self.aws.bucket(&name)))
    }

    /// The contract of a stage that has been applied.
    ///
    /// # Errors
    /// `stage.empty` before the first release, and as [`Session::outputs`] and [`Contract::read`].
    pub async fn contract(&self) -> Result<Contract> {
        self.applied_contract().await?.ok_or_else(|| crate::stage::empty(&self.settings.stage.name))
    }

    /// The contract, if the layer that has it was applied.
    ///
    /// # Errors
    /// As [`Session::outputs`] and [`Contract::read`].
    pub async fn applied_contract(&self) -> Result<Option<Contract>> {
        let output: &OutputName = &self.settings.contract;
        let outputs = self.outputs(&output.layer).await?.filter(|outputs| !outputs.is_empty());
        let Some(outputs) = outputs else { return Ok(None) };
        let found = outputs.get(&output.output).map(|found| &found.value);
        Contract::read(output, found, &names(&outputs)).map(Some)
    }

    /// The version that the stage serves, if it was released to.
    ///
    /// # Errors
    /// As [`Session::applied_contract`], or when the stage cannot be read.
    pub async fn live_version(&self) -> Result<Option<Version>> {
        let Some(contract) = self.applied_contract().await? else { return Ok(None) };
        let site = self.site(&contract)?;
        Ok(unless_interrupted(&self.cancel, crate::stage::stage(&site)).await?.pointer.release())
    }

    /// The driver for work beside releases: layers see the version that is live.
    ///
    /// # Errors
    /// As [`Session::driver_for`] and [`Session::live_version`].
    pub async fn driver_for_live(&self) -> Result<Driver> {
        let live = self.live_version().await?;
        let version = live.map_or_else(|| UNRELEASED.parse().ok(), Some);
        self.driver_for(version.as_ref()).await
    }

    /// Where the stage answers.
    pub fn url(&self, contract: &Contract) -> String {
        match &self.local {
            Some(local) => local.url(&contract.rest_api_id, &contract.stage_name),
            None => contract.invoke_url.clone(),
        }
    }

    /// The Terraform driver for this stage.
    ///
    /// # Errors
    /// `terraform.*` when Terraform is missing or too old.
    pub async fn driver(&self) -> Result<Driver> {
        self.driver_for(None).await
    }

    /// The driver of a release: layers see its version as `var.release_version`.
    ///
    /// # Errors
    /// As [`Session::driver`].
    pub async fn driver_for(&self, version: Option<&Version>) -> Result<Driver> {
        let work = self.settings.work_dir();
        let program =
            std::env::var_os("DEPLOYCTL_TERRAFORM").map_or_else(|| PathBuf::from("terraform"), PathBuf::from);
        let terraform = Terraform::locate(&program, &work.join("terraform"), &self.cancel).await?;
        terraform.require(LOCKFILE)?;
        let stage = &self.settings.stage;
        let mut variables = stage.variables.clone();
        let mut set = |name: &str, value: &str| {
            variables.insert(name.to_owned(), value.into());
        };
        set("project", &self.settings.project);
        set("stage", stage.name.as_str());
        set("region", &stage.region);
        set("state_bucket", &stage.state_bucket);
        set("state_prefix", &stage.state_prefix(&self.settings.project));
        if let Some(version) = version {
            set("release_version", version.as_str());
        }
        let mut env: BTreeMap<String, Option<OsString>> = BTreeMap::new();
        env.insert("AWS_REGION".into(), Some(stage.region.clone().into()));
        if let Some(profile) = &stage.profile {
            // Keys in the environment would come first.
            let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
            env.extend(keys.map(|name| (name.to_owned(), None)));
            env.insert("AWS_PROFILE".into(), Some(profile.into()));
        }
        if let Some(local) = &self.local {
            env.extend(local.unset().into_iter().map(|name| (name, None)));
            env.extend(local.env().into_iter().map(|(name, value)| (name, Some(value.into()))));
        }
        let settings = [
            ("bucket", stage.state_bucket.as_str()),
            ("region", stage.region.as_str()),
            ("encrypt", "true"),
            ("use_lockfile", "true"),
        ];
        Ok(Driver {
            terraform,
            stage: stage.name.to_string(),
            data_root: work.join("terraform").join(stage.name.as_str()),
            env,
            backend: Backend {
                settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                key: Some(self.state_key("{layer}")),
            },
            variables,
            provider_mirror: std::env::var_os("DEPLOYCTL_PROVIDER_MIRROR").map(PathBuf::from),
            // States are told apart by their keys. Another workspace would be another state of the same stage.
            workspace: Some("default".to_owned()),
            shared: self.settings.terraform.clone(),
            log_file: std::env::var_os("DEPLOYCTL_TERRAFORM_LOG").map(PathBuf::from),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        })
    }
}

/// How long work that notices an interrupt itself has for coming to its end.
const GRACE: Duration = Duration::from_secs(1);

/// Does `work` until it is done, or until the command is interrupted: what waits for an answer is given up then.
/// Not for work that must be undone.
///
/// # Errors
/// Those of `work`, and `interrupted`.
pub async fn unless_interrupted<T>(
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
        () = late => Err(Error::new(Kind::Interrupted, "interrupted", "interrupted; what runs is unchanged")),
    }
}

/// The version that layers see where nothing has been released.
pub const UNRELEASED: &str = "unreleased";

/// What locks the states.
pub(crate) const LOCKFILE: Feature =
    Feature { name: "use_lockfile of the S3 backend", terraform: Some((1, 10)), opentofu: Some((1, 10)) };

fn is_no_bucket(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("NoSuchBucket")
}

fn names(outputs: &Outputs) -> Vec<String> {
    outputs.iter().map(|(name, _)| name.to_owned()).collect()
}

/// The page of the CI run that this command belongs to.
fn ci_run_url() -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(server), Some(repository), Some(run)) =
        (var("GITHUB_SERVER_URL"), var("GITHUB_REPOSITORY"), var("GITHUB_RUN_ID"))
    {
        // A run that is started again keeps its number.
        let attempt = var("GITHUB_RUN_ATTEMPT").filter(|attempt| attempt != "1");
        let attempt = attempt.map(|attempt| format!("/attempts/{attempt}")).unwrap_or_default();
        return Some(format!("{server}/{repository}/actions/runs/{run}{attempt}"));
    }
    var("CI_JOB_URL")
}
