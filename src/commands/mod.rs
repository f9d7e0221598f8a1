//! One file per verb. [`run`] is the front door: it makes the report, runs the verb, and turns what comes back
//! into an exit code.

mod bootstrap;
mod build;
mod completions;
mod confirm;
mod destroy;
mod diff;
mod doctor;
mod explain;
mod history;
mod init;
mod invoke;
mod local;
mod logs;
mod output;
mod plan;
mod promote;
mod prune;
mod redeploy;
mod release;
mod rollback;
mod schema;
mod status;
mod terraform;
mod unlock;

use std::path::PathBuf;

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Global, Verb};
use crate::contract::Contract;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::report::document::ErrorDocument;
use crate::report::{Document, Report};
use crate::schema::documents::Failure;
use crate::session::{Session, unless_interrupted};
use crate::settings::{Overrides, Settings};

/// What a verb works with.
#[derive(Debug)]
struct Context {
    overrides: Overrides,
    report: Report,
    /// Where the timeline goes, if it is wanted; empty for the usual place.
    timings: Option<PathBuf>,
    events: Events,
    cancel: CancellationToken,
}

impl Context {
    fn settings(&self) -> Result<Settings> {
        Settings::load(&self.overrides)
    }

    async fn session(&self) -> Result<Session> {
        self.session_of(self.settings()?).await
    }

    /// The settings of another stage of the same project.
    fn settings_of(&self, stage: &str) -> Result<Settings> {
        Settings::load(&Overrides { stage: Some(stage.to_owned()), ..self.overrides.clone() })
    }

    /// A session of a command that only looks, and does not ask who it is.
    async fn session_to_look(&self) -> Result<Session> {
        Session::connect(self.settings()?, self.events.clone(), self.cancel.clone()).await
    }

    /// A session and the contract of its stage, both asked for at once.
    async fn session_of_released(&self) -> Result<(Session, Contract)> {
        let mut session = self.session_to_look().await?;
        let (identity, contract) = futures::join!(session.identify(), session.contract());
        session.identity = Some(identity?);
        Ok((session, contract?))
    }

    /// Writes the timeline, if it is wanted.
    fn leave_timings(&self, headline: &str, code: u8) {
        let Some(file) = &self.timings else { return };
        let usual = || self.settings().map_or_else(|_| ".deployctl".into(), |settings| settings.work_dir());
        let file = if file.as_os_str().is_empty() { usual().join("timings.html") } else { file.clone() };
        self.report.timings(&file, headline, code);
    }

    /// Does `work` until it is done or the command is interrupted.
    async fn until_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        unless_interrupted(&self.cancel, work).await
    }

    async fn session_of(&self, settings: Settings) -> Result<Session> {
        Session::open(settings, self.events.clone(), self.cancel.clone()).await
    }
}

/// What the command line says over the file.
fn overrides(cli: &Cli) -> Overrides {
    let Global { config, stage, .. } = cli.global.clone();
    let mut overrides = Overrides { config, stage, ..Overrides::default() };
    if let Verb::Release { allow_destroy, .. }
    | Verb::Plan { allow_destroy, .. }
    | Verb::Promote { allow_destroy, .. } = &cli.verb
    {
        overrides.allow_destroy.clone_from(allow_destroy);
    }
    if let Verb::Release { artifacts: Some(folder), .. } | Verb::Plan { artifacts: Some(folder), .. } =
        &cli.verb
    {
        // As the shell sees it; paths in the settings begin at the project.
        overrides.artifacts = std::path::absolute(folder).ok();
    }
    if let Verb::Release { lease, .. }
    | Verb::Redeploy { lease, .. }
    | Verb::Rollback { lease, .. }
    | Verb::Promote { lease, .. }
    | Verb::Prune { lease, .. }
    | Verb::Destroy { lease, .. } = &cli.verb
    {
        overrides.wait = lease.wait;
    }
    if let Verb::Promote { to, .. } = &cli.verb {
        overrides.stage = Some(to.clone());
    }
    overrides
}

/// Runs a command to its end and returns the exit code.
pub async fn run(cli: Cli, cancel: CancellationToken) -> u8 {
    let report = Report::new(&cli.global);
    let (timings, overrides, events) = (cli.global.timings.clone(), overrides(&cli), report.events());
    let context = Context { overrides, report, timings, events, cancel };
    match cli.verb {
        Verb::Release { version, .. } => {
            document(&context, "release", release::run(&context, &version)).await
        }
        Verb::Build { into } => plain(&context, "build", build::run(&context, &into).await),
        Verb::Redeploy { if_stale, .. } => {
            document(&context, "redeploy", redeploy::run(&context, if_stale)).await
        }
        Verb::Rollback { to, .. } => {
            document(&context, "rollback", rollback::run(&context, to.as_deref())).await
        }
        Verb::Promote { version, from, .. } => {
            document(&context, "promote", promote::run(&context, &version, &from)).await
        }
        Verb::Status { watch: true, interval, .. } => {
            match Box::pin(status::watch(&context, std::time::Duration::from_secs(interval))).await {
                Ok(()) => 0,
                Err(error) => document(&context, "status", std::future::ready(Err(error))).await,
            }
        }
        Verb::Status { exit_code, .. } => {
            let outcome = context.until_interrupted(status::run(&context)).await;
            let changed = exit_code && outcome.as_ref().is_ok_and(status::needs_attention);
            let code = document(&context, "status", std::future::ready(outcome)).await;
            if code == 0 && changed { crate::error::EXIT_CHANGES } else { code }
        }
        Verb::Plan { version, exit_code, markdown, .. } => {
            match Box::pin(plan::run(&context, version.as_deref(), markdown)).await {
                Ok(true) if exit_code => crate::error::EXIT_CHANGES,
                result => plain(&context, "plan", result.map(drop)),
            }
        }
        Verb::Output { layer, show_sensitive, name } => {
            let request = output::Request { layer: layer.as_deref(), name: name.as_deref(), show_sensitive };
            waiting(&context, "output", output::run(&context, request)).await
        }
        Verb::Terraform { layer, args } => match Box::pin(terraform::run(&context, &layer, &args)).await {
            Ok(code) => code,
            Err(error) => context.report.fail(&error),
        },
        Verb::Destroy { yes, delete_releases, .. } => {
            plain(&context, "destroy", Box::pin(destroy::run(&context, yes, delete_releases)).await)
        }
        Verb::Diff { from, to, exit_code } => match Box::pin(diff::run(&context, &from, &to)).await {
            Ok(true) if exit_code => crate::error::EXIT_CHANGES,
            result => plain(&context, "diff", result.map(drop)),
        },
        Verb::Prune { keep, yes, .. } => {
            plain(&context, "prune", Box::pin(prune::run(&context, keep, yes)).await)
        }
        Verb::History => plain(&context, "history", context.until_interrupted(history::run(&context)).await),
        Verb::Init { example: Some(folder), .. } => plain(&context, "init", init::example(&context, &folder)),
        Verb::Init { example: None, patch, force } => {
            plain(&context, "init", init::run(&context, patch.as_deref(), force).await)
        }
        Verb::Doctor => match context.until_interrupted(Box::pin(doctor::run(&context))).await {
            Ok(code) => code,
            Err(error) => plain(&context, "doctor", Err(error)),
        },
        Verb::Bootstrap => waiting(&context, "bootstrap", bootstrap::run(&context)).await,
        Verb::Unlock { yes } => waiting(&context, "unlock", unlock::run(&context, yes)).await,
        Verb::Logs(request) => plain(&context, "logs", Box::pin(logs::run(&context, &request)).await),
        Verb::Invoke(request) => match Box::pin(invoke::run(&context, &request)).await {
            Ok(code) => code,
            Err(error) => plain(&context, "invoke", Err(error)),
        },
        Verb::Explain { what } => plain(&context, "explain", explain::run(&context, what.as_deref())),
        Verb::Schema { name } => plain(&context, "schema", schema::run(&context, name.as_deref())),
        Verb::Completions { shell } => {
            plain(&context, "completions", completions::completions(&context, shell))
        }
        Verb::Man { dir } => plain(&context, "man", completions::man(&context, dir.as_deref())),
        Verb::Local(verb) => plain(&context, "local", local::run(&context, &verb).await),
    }
}

/// Runs a verb whose result is the document; a failure has one too.
async fn document(
    context: &Context,
    command: &'static str,
    verb: impl Future<Output = Result<Document>>,
) -> u8 {
    let (mut document, error) = match Box::pin(verb).await {
        Ok(document) => (document, None),
        Err(error) => {
            let mut document = Document::new(command, "");
            let configured = || context.settings().ok().map(|settings| settings.stage.name.to_string());
            document.stage = context.overrides.stage.clone().or_else(configured);
            document.fail(&error);
            (document, Some(error))
        }
    };
    document.steps = context.events.times();
    if let Some(api) = document.api.as_mut().filter(|api| api.changes.is_empty()) {
        api.changes = context.report.api_changes();
    }
    let code = context.report.finish(&document, error.as_ref());
    let parts = [Some(command), document.version.as_deref(), document.stage.as_deref()];
    context.leave_timings(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "), code);
    code
}

/// Runs a verb that only waits for answers, until it is interrupted, and ends it.
async fn waiting(context: &Context, command: &'static str, verb: impl Future<Output = Result<()>>) -> u8 {
    plain(context, command, context.until_interrupted(verb).await)
}

/// Ends a verb that has shown its own result; a failure has a document here, too.
fn plain(context: &Context, command: &'static str, result: Result<()>) -> u8 {
    let Err(error) = result else {
        context.leave_timings(command, 0);
        return 0;
    };
    let failure = Failure::of(Some(command), ErrorDocument::of(&error));
    context.report.show(&failure, "");
    let code = context.report.fail(&error);
    context.leave_timings(command, code);
    code
}

/// Cancels `cancel` on the first Ctrl-C, SIGTERM or SIGHUP, and keeps doing so: later signals change nothing,
/// since what is under way is already ending in the quickest safe way.
pub async fn cancel_on_signal(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    // Whoever has started deployctl with `nohup` wants it to outlive the terminal.
    let mut hangup =
        if crate::process::is_ignored(Signal::SIGHUP) { None } else { signal(SignalKind::hangup()).ok() };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            Some(_) = async { hangup.as_mut()?.recv().await } => {}
        }
        cancel.cancel();
    }
}

/// Reads a version from the command line.
fn version(text: &str) -> Result<crate::release::model::Version> {
    text.parse()
        .map_err(|problem| Error::usage("version.invalid", "this cannot be a version").because(problem))
}
