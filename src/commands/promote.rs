//! `deployctl promote`: releases on one stage the zips of another stage's release, without a build.

use futures::FutureExt as _;

use super::confirm;
use super::context::{Context, LeaseArgs, version};
use super::release::document;
use crate::delivery::approval::Consent;
use crate::delivery::pipeline::run_release;
use crate::delivery::promotion::Promotion;
use crate::delivery::source::Source;
use crate::documents::result::Document;
use crate::error::{Error, ErrorId, Result};
use crate::platform::variables;
use crate::project::session::{Access, Session};
use crate::project::settings::Overrides;

/// Release on another stage the same zips, compared by hash, without a build
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl promote --version 1.4.2 --from dev --to prd")]
pub(crate) struct Args {
    /// The version; it must have been live on the source stage
    #[arg(long, env = variables::VERSION, value_name = "V")]
    pub(super) version: String,
    /// The source stage
    #[arg(long, value_name = "STAGE")]
    pub(super) from: String,
    /// The target stage
    #[arg(long, value_name = "STAGE", conflicts_with = "stage")]
    pub(super) to: String,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
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
        overrides.stage = Some(self.to.clone());
        overrides.wait = self.lease.wait;
    }
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let from = args.from.as_str();
    let version = version(&args.version)?;
    let source = context.settings_of(from)?;
    let target = context.settings()?;
    if source.stage.name == target.stage.name {
        return Err(Error::usage(
            ErrorId::PromoteSameStage,
            format!("refused to promote stage {from} to itself"),
        )
        .hint("nothing was changed; `deployctl rollback --to <V>` brings an earlier release back"));
    }
    let session = context.session_of(target).await?;
    // The source stage is only read, so the caller may belong to another account.
    let source =
        Session::connect(source, Access::Change, context.events.clone(), context.cancel.clone()).await?;
    let find = Promotion::find(&source, &session, &version);
    let source = Source::Promote(Box::new(context.until_interrupted(find).await?));
    let ask = |listed| confirm::destructions(context, &session.settings.stage.name, listed).boxed_local();
    let consent = Consent { approved: None, ask: &ask };
    let delivered = run_release(&session, &version, &source, &consent, args.force).await?;
    Ok(document("promote", &session, delivered))
}
