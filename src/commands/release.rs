//! `deployctl release`: releases a version from the project's source.

use std::path::PathBuf;

use super::context::{Context, LeaseArgs, version};
use crate::delivery::pipeline::{Delivered, run_release};
use crate::delivery::source::Source;
use crate::documents::result::{Document, Outcome};
use crate::error::Result;
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::Overrides;

/// Build, apply Terraform, upload, publish, deploy the API, and switch the stage to the new release
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl release --version 1.4.2 --stage dev")]
pub(crate) struct Args {
    /// The version: 1 to 64 letters, digits, '.', '-' and '_'
    #[arg(long, env = variables::VERSION, value_name = "V")]
    pub(super) version: String,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
    /// Release the zips that `deployctl build` wrote to this folder; nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,
    /// Deploy also if exactly this release is live: version, bytes, configuration and API
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

impl Args {
    /// Applies the arguments that override deployctl.toml.
    pub(super) fn overrides(&self, overrides: &mut Overrides) {
        overrides.allow_destroy.clone_from(&self.allow_destroy);
        // Relative to the current folder, while paths in the settings are relative to the project.
        overrides.artifacts = self.artifacts.as_ref().and_then(|folder| std::path::absolute(folder).ok());
        overrides.wait = self.lease.wait;
    }
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    // Invalid input is refused before anything is changed.
    let version = version(&args.version)?;
    let session = context.session().await?;
    let delivered = run_release(&session, &version, &Source::Build, args.force).await?;
    Ok(document("release", &session, delivered))
}

pub(super) fn document(command: &'static str, session: &Session, delivered: Delivered) -> Document {
    let Delivered { released, url } = delivered;
    let stage = session.settings.stage.name.as_str();
    let outcome = if released.unchanged { Outcome::Unchanged } else { Outcome::Released };
    let mut document = Document::moved(command, outcome, stage, &url, &released.record);
    if let Some(api) = &mut document.api {
        api.changes = released.api_changes;
    }
    document
}
