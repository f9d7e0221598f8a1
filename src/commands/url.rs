//! `deployctl url`: the URL of the stage.

use super::context::Context;
use crate::documents::{Body as _, UrlBody};
use crate::error::Result;

/// Print the URL of the stage
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  curl \"$(deployctl url --stage dev)/demo/users\"")]
pub(crate) struct Args {}

pub(super) async fn run(context: &Context) -> Result<()> {
    let session = context.unidentified_read_session().await?;
    let url = session.url(&session.contract().await?);
    let text = format!("{url}\n");
    let stage = session.settings.stage.name.to_string();
    context.report.value(&UrlBody { stage, url }.document(), &text)
}
