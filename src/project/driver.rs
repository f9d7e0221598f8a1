//! The Terraform driver of a stage: its backend, variables and environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Result;
use crate::event::{Event, Events};
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::StateBackend;
use crate::release::model::{UNRELEASED, Version};
use crate::terraform::version::Feature;
use crate::terraform::{Activity, Driver, Layer, Observer, Terraform};

pub(crate) const LOCKFILE: Feature =
    Feature { name: "use_lockfile of the S3 backend", terraform: Some((1, 10)), opentofu: Some((1, 10)) };

impl Session {
    /// The driver for commands other than releases: `var.release_version` is the live version.
    pub(crate) async fn driver_for_live(&self) -> Result<Driver> {
        let live = self.live_version().await?;
        let version = live.map_or_else(|| UNRELEASED.parse().ok(), Some);
        self.driver_for(version.as_ref()).await
    }

    pub(crate) async fn driver(&self) -> Result<Driver> {
        self.driver_for(None).await
    }

    /// The driver of a release: `var.release_version` is its version.
    pub(crate) async fn driver_for(&self, version: Option<&Version>) -> Result<Driver> {
        self.require_own_state_buckets().await?;
        let work = self.settings.work_dir();
        let program =
            std::env::var_os(variables::TERRAFORM).map_or_else(|| PathBuf::from("terraform"), PathBuf::from);
        let terraform = Terraform::locate(&program, &work.join("terraform"), &self.cancel).await?;
        let stage = &self.settings.stage;
        let has_own_backend = matches!(stage.backend, StateBackend::Own { .. });
        if !has_own_backend {
            terraform.require(LOCKFILE)?;
        }
        let mut env: BTreeMap<String, Option<OsString>> = BTreeMap::new();
        env.insert("AWS_REGION".into(), Some(stage.region.clone().into()));
        if let Some(profile) = &stage.profile {
            // Keys in the environment take precedence over a profile.
            let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
            env.extend(keys.map(|name| (name.to_owned(), None)));
            env.insert("AWS_PROFILE".into(), Some(profile.into()));
        }
        if let Some(local) = &self.local {
            env.extend(local.unset().into_iter().map(|name| (name, None)));
            env.extend(local.env().into_iter().map(|(name, value)| (name, Some(value.into()))));
        }
        Ok(Driver {
            terraform,
            stage: stage.name.to_string(),
            data_root: work.join("terraform").join(stage.name.as_str()),
            env,
            backend: self.settings.backend(),
            variables: self.settings.variables(version),
            provider_mirror: std::env::var_os(variables::PROVIDER_MIRROR).map(PathBuf::from),
            mirror_search_root: PathBuf::from("/"),
            // In another workspace, the stage would have another state.
            workspace: Some(stage.workspace.clone()),
            shared: self.settings.terraform.clone(),
            log_file: std::env::var_os(variables::TERRAFORM_LOG).map(PathBuf::from),
            observer: observer(&self.events),
            cancel: self.cancel.clone(),
        })
    }
}

pub(crate) fn observer(events: &Events) -> Observer {
    let events = events.clone();
    Observer::new(move |activity| match activity {
        Activity::Message { layer, dir, message } => events.emit(&Event::Terraform { layer, dir, message }),
        Activity::Line(line) => events.emit(&Event::ProgramLine { program: "terraform", line }),
        Activity::Note(text) => events.note(text.as_str()),
    })
}

/// Runs `init` of a layer, as a step, if its inputs have changed.
pub(crate) async fn init_if_needed(events: &Events, driver: &Driver, layer: &Layer) -> Result<()> {
    if driver.needs_init(layer)? {
        events.step(&format!("terraform init {}", layer.name), driver.init(layer)).await?;
    }
    Ok(())
}
