//! The context of a command, and the arguments that several commands share.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::appended::Appended;
use crate::error::{Error, ErrorId, Result};
use crate::event::Events;
use crate::output::Report;
use crate::platform::private;
use crate::project::contract::Contract;
use crate::project::notify;
use crate::project::session::{Access, Session, unless_interrupted};
use crate::project::settings::{CanaryOverride, Overrides, Settings};
use crate::release::model::Version;
use crate::terraform::driver::remove_all_abandoned_plans;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) overrides: Overrides,
    pub(crate) report: Report,
    /// Where to write the timeline, if requested; without a file, to the default path.
    pub(crate) timings: Option<Option<PathBuf>>,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    /// What the command has appended to the ledger.
    appended: Appended,
    settings: OnceCell<Settings>,
}

impl Context {
    pub(crate) fn new(
        overrides: Overrides,
        report: Report,
        timings: Option<Option<PathBuf>>,
        cancel: CancellationToken,
    ) -> Self {
        let events = report.events();
        Self {
            overrides,
            report,
            timings,
            events,
            cancel,
            appended: Appended::default(),
            settings: OnceCell::new(),
        }
    }

    /// The same command on another project.
    pub(crate) fn on(&self, overrides: Overrides) -> Self {
        Self::new(overrides, self.report.clone(), None, self.cancel.clone())
    }

    /// The settings of the stage. The file is read once.
    pub(crate) fn settings(&self) -> Result<Settings> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings.clone());
        }
        let settings = Settings::load(&self.overrides)?;
        tidy(&settings.work_dir())?;
        Ok(self.settings.get_or_init(|| settings).clone())
    }

    /// Removes the permissions of other users from the files that Terraform has created with the user's umask.
    pub(crate) fn restrict_work_dir(&self) {
        if let Some(settings) = self.settings.get() {
            // The next command reports a folder that stays open.
            drop(private::restrict(&settings.work_dir()));
        }
    }

    pub(crate) async fn session(&self) -> Result<Session> {
        self.session_of(self.settings()?).await
    }

    /// For commands that only read: does not start a local stage.
    pub(crate) async fn read_session(&self) -> Result<Session> {
        let mut session = self.unidentified_read_session().await?;
        session.identity = Some(session.identify().await?);
        Ok(session)
    }

    /// The same without a call to STS.
    pub(crate) async fn unidentified_read_session(&self) -> Result<Session> {
        self.connect(Access::Read).await
    }

    async fn connect(&self, access: Access) -> Result<Session> {
        let session = Session::connect(self.settings()?, access, self.events.clone(), self.cancel.clone());
        Ok(Session { appended: self.appended.clone(), ..session.await? })
    }

    /// The settings of another stage of the same project.
    pub(crate) fn settings_of(&self, stage: &str) -> Result<Settings> {
        Settings::load(&Overrides { stage: Some(stage.to_owned()), ..self.overrides.clone() })
    }

    /// Reads identity and contract at the same time.
    pub(crate) async fn session_of_released(&self) -> Result<(Session, Contract)> {
        self.session_and(async |session| session.contract_to_change().await).await
    }

    /// Connects to the stage, and reads the caller's identity and what `read` reads at the same time, unless
    /// Terraform may have to read it.
    pub(crate) async fn session_and<T>(
        &self,
        read: impl AsyncFnOnce(&Session) -> Result<T>,
    ) -> Result<(Session, T)> {
        let mut session = self.connect(Access::Change).await?;
        if session.needs_terraform_to_read() {
            // The `init` of a backend can write, so the account is checked before it.
            session.identity = Some(session.identify().await?);
            let read = read(&session).await?;
            return Ok((session, read));
        }
        let (identity, read) = futures::join!(session.identify(), read(&session));
        session.identity = Some(identity?);
        Ok((session, read?))
    }

    /// Sends the records of the command to the URL of `[notify]`.
    pub(crate) async fn notify(&self) {
        let records = self.appended.take();
        if let (false, Ok(settings)) = (records.is_empty(), self.settings()) {
            notify::send(&settings, &records, &self.events, &self.cancel).await;
        }
    }

    /// Writes the timeline, if requested.
    pub(crate) fn write_timings(&self, headline: &str, code: u8) {
        let Some(file) = &self.timings else { return };
        let default_dir =
            || self.settings().map_or_else(|_| ".deployctl".into(), |settings| settings.work_dir());
        let file = file.clone().unwrap_or_else(|| default_dir().join("timings.html"));
        self.report.timings(&file, headline, code);
    }

    pub(crate) async fn until_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        unless_interrupted(&self.cancel, work).await
    }

    pub(crate) async fn session_of(&self, settings: Settings) -> Result<Session> {
        let session = Session::open(settings, Access::Change, self.events.clone(), self.cancel.clone());
        Ok(Session { appended: self.appended.clone(), ..session.await? })
    }
}

/// Makes `.deployctl` private, and deletes the plans of commands that were killed.
fn tidy(work_dir: &Path) -> Result<()> {
    private::restrict(work_dir).map_err(|error| {
        let message = format!("failed to make {} private", work_dir.display());
        Error::preflight(ErrorId::WorkDirOpen, message)
            .because(error)
            .hint("nothing was run; delete the folder, or make it yours with chown -R and chmod 700")
    })?;
    remove_all_abandoned_plans(&work_dir.join("terraform"));
    Ok(())
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct LeaseArgs {
    /// Wait up to this long while another command holds the stage, such as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

/// How the requests get to a new release.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct CanaryArgs {
    /// First give the new release this share of the requests, in percent, instead of the steps in deployctl.toml
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99), conflicts_with = "no_canary")]
    pub(crate) canary: Option<u8>,
    /// How long it gets that share before the switch, such as 10m, the default
    #[arg(long, value_name = "TIME", requires = "canary", value_parser = duration)]
    pub(crate) bake: Option<Duration>,
    /// Give it all requests at once, whatever deployctl.toml says
    #[arg(long)]
    pub(crate) no_canary: bool,
    /// Start the canary and end; `deployctl canary` or a scheduled job continues it
    #[arg(long, conflicts_with = "no_canary")]
    pub(crate) detach: bool,
}

impl CanaryArgs {
    /// What replaces the steps in deployctl.toml.
    pub(crate) fn replacement(self) -> CanaryOverride {
        match self.canary {
            _ if self.no_canary => CanaryOverride::Never,
            None => CanaryOverride::Settings,
            Some(percent) => CanaryOverride::Once(percent, self.bake.unwrap_or(BAKE)),
        }
    }
}

/// How long a canary takes if the command line does not say so.
const BAKE: Duration = Duration::from_secs(600);

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| "a duration has a number and a unit, such as 90s, 10m or 1h".to_owned())?;
    let day = Duration::from_secs(86_400);
    Duration::try_from(duration)
        .ok()
        .filter(|time| *time <= day)
        .ok_or_else(|| "a duration is from 0s to 24h".to_owned())
}

pub(crate) fn version(text: &str) -> Result<Version> {
    text.parse().map_err(|problem| {
        Error::usage(ErrorId::VersionInvalid, "refused: this is not a valid version").because(problem)
    })
}
