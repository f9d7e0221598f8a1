//! One file for each command. [`run`] runs a command and turns its result into an exit code.

mod bootstrap;
mod build;
mod canary;
mod cli;
mod completion;
mod completions;
mod confirm;
mod conformance;
mod context;
mod destroy;
mod dev;
mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
mod fleet;
mod help;
mod history;
pub(crate) mod init;
mod invoke;
mod local;
mod logs;
mod output;
mod plan;
mod preview;
mod promote;
mod prune;
mod redeploy;
mod redeploy_by_id;
mod release;
mod rollback;
pub(crate) mod schema;
mod signals;
mod status;
mod terraform;
mod unlock;
mod url;
mod validate;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use tokio_util::sync::CancellationToken;

use self::cli::{Cli, Global, Verb};
use self::context::Context;
use crate::documents::Failure;
use crate::documents::result::{Document, ErrorDocument};
use crate::error::{EXIT_CHANGES, Result};
use crate::output::Report;
use crate::project::settings::Overrides;

/// The program: reads the command line, runs the command, and returns its exit code.
pub(crate) fn main() -> ExitCode {
    crate::platform::proxy::unify();
    // The shell asks for completions by a variable. Then this call prints them, and does not return.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let parsed = help::grouped(Cli::command()).try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(crate::output::usage(&error)),
    };
    // One thread is enough: deployctl mostly waits for AWS and Terraform.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(1),
    };
    let code = runtime.block_on(async {
        let cancel = CancellationToken::new();
        signals::cancel_on_signal(cancel.clone());
        run(cli, cancel).await
    });
    // A blocked background read must not keep a finished command alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// The settings of deployctl.toml that the command line overrides.
fn overrides(cli: &Cli) -> Overrides {
    let Global { config, stage, .. } = cli.global.clone();
    let mut overrides = Overrides { config, stage, ..Overrides::default() };
    match &cli.verb {
        Verb::Release(args) => args.overrides(&mut overrides),
        Verb::Plan(args) => args.overrides(&mut overrides),
        Verb::Promote(args) => args.overrides(&mut overrides),
        Verb::Preview(preview::Verb::Up(args)) => args.overrides(&mut overrides),
        Verb::Redeploy(redeploy::Args { lease, canary, .. }) => {
            overrides.wait = lease.wait;
            overrides.canary = canary.replacement();
        }
        Verb::Rollback(rollback::Args { lease, .. })
        | Verb::Prune(prune::Args { lease, .. })
        | Verb::Destroy(destroy::Args { lease, .. }) => overrides.wait = lease.wait,
        Verb::Canary(verb) => overrides.wait = verb.lease().and_then(|lease| lease.wait),
        _ => {}
    }
    overrides
}

async fn run(cli: Cli, cancel: CancellationToken) -> u8 {
    let report = Report::new(&cli.global.output);
    let context = &Context::new(overrides(&cli), report, cli.global.timings.clone(), cancel);
    let code = run_verb(cli.verb, context).await;
    // Every command that takes the lease may have recorded what an earlier one did.
    context.notify().await;
    context.restrict_work_dir();
    context.report.exit_code(code)
}

async fn run_verb(verb: Verb, context: &Context) -> u8 {
    match verb {
        Verb::Release(args) => document(context, "release", Box::pin(release::run(context, &args))).await,
        Verb::Build(args) => plain(context, "build", build::run(context, &args).await),
        Verb::Redeploy(args) if args.rest_api_id.is_some() => {
            match Box::pin(redeploy_by_id::run(context, &args)).await {
                Ok(found) => document(context, "redeploy", std::future::ready(Ok(found))).await,
                // There is no project, and so no stage of one.
                Err(error) => {
                    let mut document = Document::new("redeploy", "");
                    document.stage = None;
                    document.fail(&error);
                    context.report.finish(&document, Some(&error))
                }
            }
        }
        Verb::Redeploy(args) => document(context, "redeploy", Box::pin(redeploy::run(context, &args))).await,
        Verb::Rollback(args) => document(context, "rollback", Box::pin(rollback::run(context, &args))).await,
        Verb::Canary(verb) => document(context, "canary", Box::pin(canary::run(context, verb))).await,
        Verb::Promote(args) => document(context, "promote", Box::pin(promote::run(context, &args))).await,
        Verb::Status(args) if args.watch => match Box::pin(status::watch(context, &args)).await {
            Ok(()) => 0,
            Err(error) => document(context, "status", std::future::ready(Err(error))).await,
        },
        Verb::Status(args) => {
            let outcome = context.until_interrupted(Box::pin(status::run(context))).await;
            let changed = args.exit_code && outcome.as_ref().is_ok_and(status::needs_attention);
            let code = document(context, "status", std::future::ready(outcome)).await;
            if code == 0 && changed { EXIT_CHANGES } else { code }
        }
        Verb::Plan(args) => {
            let changes = Box::pin(plan::run(context, &args)).await;
            changed(context, "plan", args.exit_code, changes)
        }
        Verb::Diff(args) => {
            let differs = Box::pin(diff::run(context, &args)).await;
            changed(context, "diff", args.exit_code, differs)
        }
        Verb::Url(_) => interruptible(context, "url", url::run(context)).await,
        Verb::Validate(_) => plain(context, "validate", Box::pin(validate::run(context)).await),
        Verb::Output(args) => interruptible(context, "output", output::run(context, &args)).await,
        Verb::Terraform(args) => match Box::pin(terraform::run(context, &args)).await {
            Ok(code) => code,
            Err(error) => context.report.fail(&error),
        },
        Verb::Dev(args) => plain(context, "dev", Box::pin(dev::run(context, &args)).await),
        Verb::Destroy(args) => plain(context, "destroy", Box::pin(destroy::run(context, &args)).await),
        Verb::Preview(verb) => plain(context, verb.command(), Box::pin(preview::run(context, &verb)).await),
        Verb::Prune(args) => plain(context, "prune", Box::pin(prune::run(context, &args)).await),
        Verb::History(args) => {
            plain(context, "history", context.until_interrupted(history::run(context, &args)).await)
        }
        Verb::Init(args) => plain(context, "init", init::run(context, &args).await),
        Verb::Doctor => {
            coded(context, "doctor", context.until_interrupted(Box::pin(doctor::run(context))).await)
        }
        Verb::Conformance(args) => {
            coded(context, "conformance", Box::pin(conformance::run(context, &args)).await)
        }
        Verb::Bootstrap => interruptible(context, "bootstrap", bootstrap::run(context)).await,
        Verb::Unlock(args) => interruptible(context, "unlock", unlock::run(context, &args)).await,
        Verb::Logs(args) => plain(context, "logs", Box::pin(logs::run(context, &args)).await),
        Verb::Invoke(args) => coded(context, "invoke", Box::pin(invoke::run(context, &args)).await),
        Verb::Explain(args) => plain(context, "explain", explain::run(context, &args)),
        Verb::Schema(args) => plain(context, "schema", schema::run(context, &args)),
        Verb::Completions(args) => plain(context, "completions", completions::run(context, &args)),
        Verb::Man(args) => plain(context, "man", completions::man(context, Cli::command(), &args)),
        Verb::Fleet(verb) => coded(context, verb.command(), Box::pin(fleet::run(context, &verb)).await),
        Verb::Local(verb) => plain(context, "local", local::run(context, &verb).await),
    }
}

/// Ends a command that reports whether there are changes: exit code 3 if `exit_code` is set.
fn changed(context: &Context, command: &'static str, exit_code: bool, changes: Result<bool>) -> u8 {
    match changes {
        Ok(true) if exit_code => EXIT_CHANGES,
        result => plain(context, command, result.map(drop)),
    }
}

/// Ends a command that returns an exit code.
fn coded(context: &Context, command: &'static str, code: Result<u8>) -> u8 {
    code.unwrap_or_else(|error| plain(context, command, Err(error)))
}

/// Runs a verb that returns a document. A failure prints the same document, with the error.
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
    context.notify().await;
    document.steps = context.events.times();
    if let Some(stage) = document.stage.as_deref().filter(|_| error.is_none()) {
        let versions = document.version.iter().chain(&document.previous).cloned().collect();
        let functions = document.functions.keys().cloned().collect();
        completion::remember(context, stage, completion::Seen { versions, functions });
    }
    let code = context.report.finish(&document, error.as_ref());
    let parts = [Some(command), document.version.as_deref(), document.stage.as_deref()];
    context.write_timings(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "), code);
    code
}

/// Runs a verb that can be interrupted at any point.
async fn interruptible(
    context: &Context,
    command: &'static str,
    verb: impl Future<Output = Result<()>>,
) -> u8 {
    plain(context, command, context.until_interrupted(verb).await)
}

/// Ends a verb that printed its own result. A failure prints a [`Failure`] document.
fn plain(context: &Context, command: &'static str, result: Result<()>) -> u8 {
    let Err(error) = result else {
        context.write_timings(command, 0);
        return 0;
    };
    let failure = Failure::of(Some(command), ErrorDocument::of(&error));
    context.report.show(&failure, "");
    let code = context.report.fail(&error);
    context.write_timings(command, code);
    code
}

#[cfg(test)]
mod reference_tests;
