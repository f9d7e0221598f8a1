//! `deployctl release`: releases a version from the project's source.

use std::path::PathBuf;

use futures::{FutureExt as _, join};

use super::canary;
use super::confirm;
use super::context::{CanaryArgs, Context, LeaseArgs};
use super::version::RequiredVersion;
use crate::artifact::build;
use crate::artifact::digest::{NotSha256, Sha256};
use crate::artifact::python_tools::PythonTools;
use crate::delivery::approval::Consent;
use crate::delivery::code_only::{CodeOnly, ReleasedStage, release_code};
use crate::delivery::pipeline::{Delivered, ReleaseOptions, known_bucket, run_release};
use crate::delivery::source::Source;
use crate::documents::result::{Document, InfrastructureState, Outcome};
use crate::error::{Error, ErrorId, Result};
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::Overrides;
use crate::release::once::Repeat;
use crate::release::record::Record;

/// Build, apply Terraform, upload, publish, deploy the API, and switch the stage to the new release
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl release 1.4.2 --stage dev\n  deployctl release --version auto --stage dev"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) version: RequiredVersion,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
    /// Release the zips that `deployctl build` wrote to this folder; nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,
    /// Deploy also if exactly this release is live: version, bytes, configuration and API
    #[arg(long)]
    pub(super) force: bool,
    /// Publish the code that the functions run now, and build and upload nothing: the first release of a stage
    /// whose live deployment calls functions without a version
    #[arg(long, conflicts_with_all = ["artifacts", "approved_plan", "not_atomic"])]
    pub(super) running_code: bool,
    /// Send new code also to functions that the live deployment calls without a version: callers get it before
    /// the switch
    #[arg(long)]
    pub(super) not_atomic: bool,
    /// Do exactly what the plan with this digest does, or change nothing. The digest is the consent to what the
    /// plan destroys or replaces; protected resources also need --allow-destroy
    #[arg(long, env = variables::APPROVED_PLAN, value_name = "DIGEST")]
    pub(super) approved_plan: Option<String>,
    /// Release only code, without Terraform. Refused if a layer's files, variables, lock file or state differ from
    /// its last apply
    #[arg(long, conflicts_with_all = ["allow_destroy", "approved_plan", "running_code"])]
    pub(super) code_only: bool,
    /// With --code-only: release also if the infrastructure may differ
    #[arg(long, requires = "code_only")]
    pub(super) ignore_infrastructure: bool,
    /// What to do about functions of `[[prepare]]`: `again` and `skip` are for a run whose end is not known
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, hide_default_value = true)]
    pub(super) prepare: Repeat,
    #[command(flatten)]
    pub(super) canary: CanaryArgs,
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
        overrides.canary = self.canary.replacement();
    }
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    Ok(release(context, args).await?.0)
}

/// Releases, and also returns the record of the release.
pub(super) async fn release(context: &Context, args: &Args) -> Result<(Document, Record)> {
    // Invalid input is refused before anything is changed.
    let version = args.version.resolve(context).await?;
    let approved = args.approved_plan.as_deref().map_or(Ok(None), approved)?;
    let options = ReleaseOptions { force: args.force, not_atomic: args.not_atomic, repeat: args.prepare };
    if args.code_only {
        let (session, stage) = context.session_and(ReleasedStage::read).await?;
        let code_only = CodeOnly { ignore_infrastructure: args.ignore_infrastructure, options };
        let delivered = Box::pin(release_code(&session, stage, &version, code_only)).await?;
        let record = delivered.released.record.clone();
        let mut document = document("release", &session, delivered, args.canary.detach).await?;
        document.infrastructure = Some(InfrastructureState::NotPlanned);
        return Ok((document, record));
    }
    // The first release on a machine also installs the local stage, which takes as long.
    let install = async { if args.running_code { Ok(()) } else { install_build_tools(context).await } };
    // Not `try_join!`: a local stage that starts would be left half started.
    let (connected, installed) = join!(context.session_and(known_bucket), install);
    let (session, known) = connected?;
    installed?;
    let ask = |listed| confirm::destructions(context, &session.settings.stage.name, listed).boxed_local();
    let consent = Consent { approved, ask: &ask };
    let source = if args.running_code { Source::Running } else { Source::Build };
    let delivered = Box::pin(run_release(&session, known, &version, &source, &consent, options)).await?;
    let record = delivered.released.record.clone();
    let mut document = document("release", &session, delivered, args.canary.detach).await?;
    document.infrastructure = Some(InfrastructureState::Planned);
    Ok((document, record))
}

async fn install_build_tools(context: &Context) -> Result<()> {
    if context.settings()?.compiles() {
        PythonTools::from_env()?.venv(build::TOOLS, &context.events, &context.cancel).await?;
    }
    Ok(())
}

/// An empty value is no digest: a workflow cannot leave a variable out.
fn approved(text: &str) -> Result<Option<Sha256>> {
    if text.is_empty() {
        return Ok(None);
    }
    let digest = text.parse().map_err(|problem: NotSha256| {
        let message = "refused: the value of --approved-plan is not the digest of a plan";
        Error::usage(ErrorId::ApprovedPlanInvalid, message)
            .because(problem)
            .hint("nothing was changed; `deployctl plan` prints the digest")
    })?;
    Ok(Some(digest))
}

pub(super) async fn document(
    command: &'static str,
    session: &Session,
    Delivered { released, contract }: Delivered,
    detach: bool,
) -> Result<Document> {
    let outcome = if released.unchanged { Outcome::Unchanged } else { Outcome::Released };
    let moved = (released.record, released.canary);
    let mut document = canary::complete((command, outcome), session, &contract, moved, detach).await?;
    if let Some(api) = &mut document.api {
        api.changes = released.api_changes;
    }
    Ok(document)
}
