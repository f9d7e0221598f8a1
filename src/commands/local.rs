//! `deployctl local`: the embedded AWS, by hand.

use super::Context;
use crate::cli::LocalVerb;
use crate::error::{Error, Result};
use crate::local::{self, LocalConfig};
use crate::schema::documents::{Body as _, LocalDownBody, LocalUpBody};
use crate::toolbox::Toolbox;

/// Runs it.
pub(super) async fn run(context: &Context, verb: &LocalVerb) -> Result<()> {
    let settings = context.settings()?;
    let Some(config) = settings.stage.local else {
        return Err(Error::usage(
            "local.not_local",
            format!("stage {} is not a local one", settings.stage.name),
        )
        .hint("name a stage that has `local = true` in deployctl.toml"));
    };
    let config = LocalConfig { port: config.port, region: settings.stage.region.clone() };
    match verb {
        LocalVerb::Up => {
            let stage =
                local::up(&settings.root, &config, &Toolbox::from_env()?, &context.events, &context.cancel)
                    .await?;
            context.report.show(
                &LocalUpBody { endpoint: stage.endpoint.clone() }.document(),
                &format!("the local stage answers at {}\n", stage.endpoint),
            );
        }
        LocalVerb::Down => {
            let stopped = local::down(&settings.root, &context.events).await?;
            let text = if stopped { "stopped; it has forgotten everything" } else { "was not running" };
            context.report.show(&LocalDownBody { stopped }.document(), &format!("the local stage {text}\n"));
        }
        LocalVerb::Env => {
            let stage = local::find(&settings.root, &config, &context.events).await?.ok_or_else(|| {
                Error::usage("local.down", "the local stage is not running")
                    .hint("start it with `deployctl local up`")
            })?;
            context.report.raw(&stage.shell());
        }
    }
    Ok(())
}
