//! `deployctl fleet run`: releases one member of a run, once.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    ChangedArgs, FleetArgs, NOT_ATOMIC, RunArgs, coordination_of, member_context, refused, serving,
    serving_of,
};
use crate::aws::s3::Bucket;
use crate::commands::context::{CanaryArgs, Context, LeaseArgs};
use crate::commands::release;
use crate::commands::version::{AUTO, RequiredVersion, resolve};
use crate::delivery::pipeline::known_bucket;
use crate::documents::Body as _;
use crate::documents::fleet::{FleetRunBody, MemberState};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::fleet::file::Fleet;
use crate::fleet::plan::plan;
use crate::fleet::run::{Coordination, MemberResult, Run, StoredResult};
use crate::fleet::token;
use crate::platform::variables;
use crate::project::session::Session;
use crate::project::settings::Overrides;
use crate::release::once::Repeat;
use crate::release::record::Record;

/// Release one member of a run, as `deployctl release` does, and store its result; a member that this run has
/// released is not released again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl fleet run users --run 20251128.1 --changed-since \"$BEFORE\"")]
pub(crate) struct Args {
    /// The member of fleet.toml
    member: String,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    changed: ChangedArgs,
    /// The version; by default `auto`: the git tag of the commit, or its date and hash
    #[arg(long, env = variables::VERSION, value_name = "V", default_value = AUTO)]
    version: String,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    allow_destroy: Vec<String>,
    /// Release the zips that `deployctl build` wrote to this folder; nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Release only code, without Terraform
    #[arg(long, conflicts_with = "allow_destroy")]
    code_only: bool,
    #[command(flatten)]
    lease: LeaseArgs,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let fleet = args.fleet.load()?;
    let member = fleet.member(&args.member)?;
    let mut overrides = Overrides::default();
    let mut release = args.release();
    release.overrides(&mut overrides);
    let inner = member_context(context, &fleet, member, overrides);
    let version = resolve(&inner, &args.version).await?;
    let (session, (bucket, contract)) = inner.session_and(known_bucket).await?;
    let job = Job { context, args, fleet: &fleet, coordination: coordination_of(&session, &fleet) };

    let run = context.until_interrupted(job.join_run()).await?;
    let former = context.until_interrupted(job.coordination.result(&run.run, &args.member)).await?;
    if let Some(done) = former.as_ref().map(|former| &former.result) {
        if done.version != version {
            return Err(job.other_version(done));
        }
        match done.state {
            MemberState::Succeeded => return job.show(&run, done, true),
            MemberState::RolledBack => return Err(job.rolled_back()),
            _ => {}
        }
    }
    context.until_interrupted(job.needs_have_succeeded(&run)).await?;
    // What served before the first job of this member, not before this one.
    let before = match (&former, &bucket, &contract) {
        (Some(former), ..) => former.result.before.clone(),
        (None, Some(bucket), Some(contract)) => {
            context.until_interrupted(serving(&session, bucket, contract)).await?
        }
        _ => None,
    };
    let begun = MemberResult::begun(&run.run, &args.member, version.clone(), before);
    let begun = context.until_interrupted(job.coordination.write(begun, former.as_ref())).await?;
    job.take_token(&session).await?;
    release.version = RequiredVersion::exactly(version.as_str());
    let released = Box::pin(release::release(&inner, &release)).await;
    let result = MemberResult { at: Timestamp::now(), ..begun.result.clone() };
    let stored = match released {
        Ok((document, record)) => job.store_success(result, &begun, (&record, document.url)).await,
        Err(error) => {
            job.store_failure(result, &begun, &error).await;
            Err(error)
        }
    };
    inner.notify().await;
    job.show(&run, &stored?.result, false)
}

impl Args {
    /// The arguments of `deployctl release`.
    fn release(&self) -> release::Args {
        release::Args {
            version: RequiredVersion::exactly(&self.version),
            allow_destroy: self.allow_destroy.clone(),
            artifacts: self.artifacts.clone(),
            force: false,
            running_code: false,
            not_atomic: false,
            approved_plan: None,
            code_only: self.code_only,
            ignore_infrastructure: false,
            prepare: Repeat::default(),
            canary: CanaryArgs::default(),
            lease: self.lease,
        }
    }
}

/// A job of one member.
struct Job<'a> {
    context: &'a Context,
    args: &'a Args,
    fleet: &'a Fleet,
    coordination: Coordination<Bucket>,
}

impl Job<'_> {
    /// The run, which the first job stores.
    async fn join_run(&self) -> Result<Run> {
        let Args { run, changed, member, .. } = self.args;
        let run = match self.coordination.find_run(&run.run).await? {
            Some(run) => run,
            None => {
                let waves = plan(self.fleet, changed.read(self.context, self.fleet).await?.as_ref());
                let planned = Run::new(run.run.clone(), changed.reference().map(str::to_owned), waves);
                planned.member(member)?;
                self.coordination.begin(planned).await?
            }
        };
        run.member(member)?;
        Ok(run)
    }

    async fn needs_have_succeeded(&self, run: &Run) -> Result<()> {
        let needs = &run.member(&self.args.member)?.needs;
        let results = self.coordination.results(&run.run, needs.iter().map(String::as_str)).await?;
        let open = needs.iter().zip(results).filter(|(_, result)| {
            result.as_ref().is_none_or(|stored| stored.result.state != MemberState::Succeeded)
        });
        let open: Vec<&str> = open.map(|(needed, _)| needed.as_str()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let message = format!("refused: in run {}, {} has not succeeded", run.run, open.join(", "));
        Err(refused(message, "nothing was changed; run this job again after the jobs of those members"))
    }

    /// Waits for the account's token, if the stage keeps below the account's rates.
    async fn take_token(&self, session: &Session) -> Result<()> {
        let stage = &session.settings.stage;
        if !stage.pacing {
            return Ok(());
        }
        let pause = async |time: Duration| {
            tokio::time::sleep(time).await;
            Ok(())
        };
        let take = token::take(&self.coordination.store, &stage.account, pause);
        let take = self.context.until_interrupted(take);
        self.context.events.step("wait for the account's token", take).await
    }

    async fn store_success(
        &self,
        result: MemberResult,
        begun: &StoredResult,
        (record, url): (&Record, Option<String>),
    ) -> Result<StoredResult> {
        let released = Some(serving_of(record));
        let succeeded = MemberResult { state: MemberState::Succeeded, released, url, ..result };
        self.coordination.write(succeeded, Some(begun)).await.map_err(|error| {
            error.hint(format!(
                "release {} of {} is live, but the run does not know it; `deployctl fleet status` shows what it knows, \
                 and this job, run again, stores the result",
                record.release.version, self.args.member
            ))
        })
    }

    /// Stores a failure for `fleet status`. The release itself has said what is live.
    async fn store_failure(&self, result: MemberResult, begun: &StoredResult, error: &Error) {
        let error = Some(error.id.to_string());
        let failed = MemberResult { state: MemberState::Failed, error, ..result };
        if let Err(error) = self.coordination.write(failed, Some(begun)).await {
            self.context.events.warn(format!("the result was not stored: {error}"));
        }
    }

    fn show(&self, run: &Run, result: &MemberResult, already: bool) -> Result<()> {
        let member = run.describe(run.member(&result.member)?, Some(result));
        let done = if already { "was released before" } else { "is live" };
        let url = result.url.as_deref().unwrap_or_default();
        let text = format!("{} {} {done}  {url}\n{NOT_ATOMIC}\n", result.member, result.version);
        self.context.report.write_summary(&text, &[("url", url), ("version", result.version.as_str())]);
        let body = FleetRunBody { run: run.run.to_string(), already, member, atomic: false };
        self.context.report.show(&body.document(), &text);
        Ok(())
    }

    fn other_version(&self, done: &MemberResult) -> Error {
        let message =
            format!("refused: run {} releases version {} of {}", done.run, done.version, done.member);
        Error::usage(ErrorId::FleetVersion, message)
            .hint("nothing was changed; name that version, or use another id for the run")
    }

    fn rolled_back(&self) -> Error {
        let Args { member, run, .. } = self.args;
        let message = format!("refused: run {} of {member} was rolled back", run.run);
        Error::new(Kind::Usage, ErrorId::FleetRolledBack, message)
            .hint("nothing was changed; to release it again, use another id for the run")
    }
}
