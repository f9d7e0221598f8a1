//! `deployctl local`: starts, stops and describes the local AWS emulator (MiniStack).

use super::context::Context;
use crate::artifact::python_tools::PythonTools;
use crate::documents::{Body as _, LocalDownBody, LocalResetBody, LocalStatusBody, LocalUpBody};
use crate::error::{Error, ErrorId, Result};
use crate::local::{self, LocalConfig};
use crate::project::session::not_running;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Start the local stage, unless it is running
    #[command(after_help = "Example:\n  deployctl local up")]
    Up,
    /// Stop the local stage, and keep what it holds
    #[command(after_help = "Example:\n  deployctl local down")]
    Down,
    /// Stop the local stage and delete what it holds
    #[command(after_help = "Example:\n  deployctl local reset")]
    Reset,
    /// Say whether the local stage runs, and where
    #[command(after_help = "Example:\n  deployctl local status")]
    Status,
    /// Print shell exports with which the AWS CLI, Terraform and the SDKs use the local stage
    #[command(after_help = "Example:\n  eval \"$(deployctl local env)\" && aws apigateway get-rest-apis")]
    Env,
    /// Print the program that stands in for ElastiCache
    #[command(hide = true)]
    FindRedis,
}

pub(super) async fn run(context: &Context, verb: &Verb) -> Result<()> {
    if matches!(verb, Verb::FindRedis) {
        let program = local::find_redis(&PythonTools::from_env()?, &context.events, &context.cancel).await?;
        context.report.raw(&format!("{}\n", program.display()));
        return Ok(());
    }
    let settings = context.settings()?;
    let Some(config) = settings.stage.local else {
        return Err(Error::usage(
            ErrorId::LocalNotLocal,
            format!("stage {} is not local", settings.stage.name),
        )
        .hint("name a stage that has `local = true` in deployctl.toml"));
    };
    let config = LocalConfig { port: config.port, region: settings.stage.region.clone() };
    match verb {
        Verb::Up => {
            let stage = local::up(
                &settings.root,
                &config,
                &PythonTools::from_env()?,
                &context.events,
                &context.cancel,
            )
            .await?;
            context.report.show(
                &LocalUpBody { endpoint: stage.endpoint.clone(), snapshot: stage.snapshot }.document(),
                &format!("the local stage answers at {}\n", stage.endpoint),
            );
        }
        Verb::Down => {
            let stopped = local::down(&settings.root, &context.events).await?;
            let text = if stopped { "is stopped, and keeps what it holds" } else { "was not running" };
            context.report.show(&LocalDownBody { stopped }.document(), &format!("the local stage {text}\n"));
        }
        Verb::Reset => {
            let (stopped, deleted) = local::reset(&settings.root, &context.events).await?;
            let text = match (stopped, deleted) {
                (true, _) => "is stopped, and what it held is deleted",
                (false, true) => "was not running; what it held is deleted",
                (false, false) => "was not running, and held nothing",
            };
            let body = LocalResetBody { stopped, deleted };
            context.report.show(&body.document(), &format!("the local stage {text}\n"));
        }
        Verb::Status => {
            let stage = local::find(&settings.root, &config, &context.events).await?;
            let text = match &stage {
                Some(stage) => format!("the local stage answers at {}\n", stage.endpoint),
                None => "the local stage is not running\n".to_owned(),
            };
            let endpoint = stage.map(|stage| stage.endpoint);
            let body = LocalStatusBody { running: endpoint.is_some(), endpoint };
            context.report.show(&body.document(), &text);
        }
        Verb::Env => {
            let stage = local::find(&settings.root, &config, &context.events)
                .await?
                .ok_or_else(|| not_running(&settings))?;
            context.report.raw(&stage.shell());
        }
        Verb::FindRedis => {}
    }
    Ok(())
}
