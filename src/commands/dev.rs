//! `deployctl dev`: builds and serves each saved change on the local stage, and shows the logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::context::Context;
use super::{confirm, logs};
use crate::delivery::approval::Consent;
use crate::delivery::dev::{self, Scope};
use crate::delivery::watched::Watched;
use crate::documents::{Body as _, DevBody};
use crate::engine::dev::Served;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::event::{Event, Events};
use crate::project::contract::Contract;
use crate::project::session::Session;

/// Build and serve each saved change on the local stage, and show the logs, until Ctrl-C
///
/// Sources of functions are built with the stage's cargo profile and served without a release: no ledger record is
/// written. Layers are applied when their files change. While the build is broken, the earlier code serves. Ctrl-C ends
/// it with exit code 0; the stage keeps serving, and the next `deployctl release` replaces what `dev` served.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl dev")]
pub(crate) struct Args {}

pub(super) async fn run(context: &Context, Args {}: &Args) -> Result<()> {
    let settings = context.settings()?;
    if settings.stage.local.is_none() {
        let message = format!(
            "refused: stage {} is not local, and dev serves code without a release",
            settings.stage.name
        );
        return Err(Error::usage(ErrorId::LocalNotLocal, message)
            .hint("nothing was changed; name a stage that has `local = true` in deployctl.toml, or use `deployctl release`"));
    }
    let mut session = context.session().await?;
    let shows_all = Arc::new(AtomicBool::new(true));
    session.events = brief(&context.events, &shows_all);
    session.aws = session.aws.at_once();
    let dev = Dev { context, session: &session, shows_all };
    dev::begin(&session);
    let mut watched = Watched::of(&session).await?;
    let mut scope = Some(dev::needed(&session).await?);
    let mut has_served = false;
    loop {
        let Some(contract) = dev.first(&mut watched, &mut scope, has_served).await? else { return Ok(()) };
        has_served = true;
        let follow = async {
            if let Err(error) = logs::follow(context, &session, &contract).await {
                context.events.warn(format!("the logs are not shown: {error}"));
            }
            std::future::pending::<()>().await;
        };
        // After a change of the layers, the functions may be others.
        let is_over = tokio::select! {
            is_over = dev.until_layers_change(&mut watched, &mut scope) => is_over,
            () = follow => true,
        };
        if is_over {
            return Ok(());
        }
    }
}

/// The events of a change of code only would be a page for each saved file.
fn brief(events: &Events, shows_all: &Arc<AtomicBool>) -> Events {
    let (events, shows_all) = (events.clone(), Arc::clone(shows_all));
    Events::new(move |event| {
        let is_of_interest = matches!(event, Event::ProgramLine { .. } | Event::Warning(_));
        if is_of_interest || shows_all.load(Ordering::Relaxed) {
            events.emit(event);
        }
    })
}

struct Dev<'a> {
    context: &'a Context,
    session: &'a Session,
    shows_all: Arc<AtomicBool>,
}

impl Dev<'_> {
    /// Serves what `scope` says, and tries again at each change until it does; `None` after Ctrl-C.
    ///
    /// # Errors
    /// Nothing `has_served` yet, and no change of the sources or layers would help.
    async fn first(
        &self,
        watched: &mut Watched,
        scope: &mut Option<Scope>,
        has_served: bool,
    ) -> Result<Option<Contract>> {
        loop {
            let wanted = scope.unwrap_or(Scope::Code);
            match self.serve(wanted).await {
                Ok(contract) => {
                    *scope = None;
                    return Ok(Some(contract));
                }
                Err(_) if self.session.cancel.is_cancelled() => return Ok(None),
                Err(error) => {
                    let is_of_files = error.id == ErrorId::ArtifactBuild || error.kind == Kind::Terraform;
                    if !has_served && !is_of_files {
                        return Err(error);
                    }
                    self.context.report.fail(&error);
                }
            }
            let Some(changed) = self.changed(watched).await else { return Ok(None) };
            *scope = Some(wanted.max(changed));
        }
    }

    /// Serves each change of code. Returns true after Ctrl-C, and false when files of the layers have changed.
    async fn until_layers_change(&self, watched: &mut Watched, scope: &mut Option<Scope>) -> bool {
        loop {
            let Some(changed) = self.changed(watched).await else { return true };
            if changed == Scope::Infrastructure {
                *scope = Some(changed);
                return false;
            }
            if let Err(error) = self.serve(Scope::Code).await {
                if self.session.cancel.is_cancelled() {
                    return true;
                }
                self.context.report.fail(&error);
            }
        }
    }

    async fn changed(&self, watched: &mut Watched) -> Option<Scope> {
        tokio::select! {
            changed = watched.changed(self.session) => Some(changed),
            () = self.session.cancel.cancelled() => None,
        }
    }

    async fn serve(&self, scope: Scope) -> Result<Contract> {
        let begun = Instant::now();
        let (context, session) = (self.context, self.session);
        self.shows_all.store(scope == Scope::Infrastructure, Ordering::Relaxed);
        let ask = |listed| confirm::destructions(context, &session.settings.stage.name, listed).boxed_local();
        let consent = Consent { approved: None, ask: &ask };
        let (served, contract) = dev::serve(session, scope, &consent).await?;
        self.say(&served, session.url(&contract), begun.elapsed());
        Ok(contract)
    }

    fn say(&self, Served { changed, deployed }: &Served, url: String, took: Duration) {
        let functions: Vec<String> = changed.iter().map(ToString::to_string).collect();
        let mut what = functions.clone();
        what.extend(deployed.then(|| "the API".to_owned()));
        let what =
            if what.is_empty() { "nothing new".to_owned() } else { format!("new: {}", what.join(", ")) };
        let seconds = took.as_secs_f64();
        let text = format!("serving {url} ({what}) after {seconds:.1} s\n");
        self.context.report.line(&DevBody { url, functions, deployed: *deployed, seconds }.document(), &text);
    }
}
