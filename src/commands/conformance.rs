//! `deployctl conformance`: checks what deployctl assumes about AWS, in a sandbox of its own.

use std::fmt::Write as _;

use super::confirm;
use super::context::Context;
use crate::aws::conformance::{self, Check, MAX_REQUESTS, Plan, Sandbox, Stop};
use crate::documents::Body as _;
use crate::documents::conformance::{Checked, Conformance, ConformanceBody, Leftover, Verdict};
use crate::engine::failure::Failure;
use crate::error::{EXIT_DIFFERS, Error, ErrorId, Kind, Result};
use crate::output::conformance::text;
use crate::project::contract::Contract;
use crate::project::session::Session;

/// Check in a sandbox of its own whether AWS behaves as deployctl assumes
///
/// Creates an API, a function and objects in the stage's account and region, and deletes them at the end, also when it
/// is interrupted. The stage itself is not touched. Exit code 3 if AWS behaves differently.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl conformance --stage dev\n  deployctl conformance --stage dev --yes --output json"
)]
pub(crate) struct Args {
    /// The role of the sandbox's function; by default that of a function of the stage
    #[arg(long, value_name = "ARN")]
    pub(super) role: Option<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(super) yes: bool,
}

/// Returns the exit code.
pub(super) async fn run(context: &Context, args: &Args) -> Result<u8> {
    let session = context.session().await?;
    let plan = plan(context, &session, args.role.clone()).await?;
    let bucket = plan.bucket.clone();
    let mut sandbox = Sandbox::new(session.aws.clone(), plan, context.cancel.clone())
        .map_err(|failure| Error::bug(failure.to_string()))?;
    let old = context.until_interrupted(async { Ok(conformance::leftovers(&session.aws).await) }).await?;
    let old = old.map_err(not_created)?;
    let stage = &session.settings.stage;
    session.events.note(announcement(&session, &sandbox, bucket.as_deref(), &old));
    if !args.yes {
        let question =
            format!("create this in account {}? Type the stage's name ({}): ", stage.account, stage.name);
        let hint = "the lines above show what would be created; to do so, run the command again with `--yes`";
        confirm::by_name(context, &question, &stage.name, ErrorId::ConformanceUnconfirmed, hint).await?;
    }
    let mut left = Vec::new();
    for name in &old {
        let deletion =
            async { Ok::<_, Error>(conformance::delete(&session.aws, name, bucket.as_deref()).await) };
        left.extend(session.events.step(&format!("delete {name}"), deletion).await?);
    }
    let checks = check(&session, &mut sandbox).await;
    let deletion = async {
        let left = sandbox.delete().await;
        if left.is_empty() { Ok(left) } else { Err(left) }
    };
    left.extend(session.events.step("delete sandbox", deletion).await.unwrap_or_else(|left| left));
    let checks = match checks {
        Ok(checks) => checks,
        Err(stop) => return Err(ended_early(stop, &left)),
    };
    let differs = checks.iter().any(|checked| checked.verdict == Verdict::Differs);
    let incomplete = (!left.is_empty()).then(|| leftover_error(&left));
    let body = ConformanceBody {
        outcome: if differs { Conformance::Differs } else { Conformance::Conforms },
        stage: stage.name.to_string(),
        account: stage.account.to_string(),
        region: stage.region.clone(),
        sandbox: sandbox.name.clone(),
        checks,
        left,
    };
    let text = text(&body);
    context.report.show(&body.document(), &text);
    Ok(match incomplete {
        Some(error) => context.report.fail(&error),
        None if differs => EXIT_DIFFERS,
        None => 0,
    })
}

async fn check(session: &Session, sandbox: &mut Sandbox) -> Result<Vec<Checked>, Stop> {
    let url = |api: &str, stage: &str| session.execute_url(api, stage);
    session.events.step("create sandbox", sandbox.create(url)).await?;
    conformance::run(sandbox, &session.events).await
}

/// What the sandbox uses of the stage: the artifact bucket, and the role of the first function.
async fn plan(context: &Context, session: &Session, role: Option<String>) -> Result<Plan> {
    let contract = session.applied_contract().await?;
    let bucket = contract.as_ref().map(|contract| contract.artifact_bucket.clone());
    let role = match (role, &contract) {
        (Some(role), _) => role,
        (None, Some(contract)) => context.until_interrupted(role_of(session, contract)).await?,
        (None, None) => {
            return Err(Error::usage(
                ErrorId::ConformanceRole,
                format!("stage {} has no function yet whose role could be used", session.settings.stage.name),
            )
            .hint("nothing was changed; use `--role ARN`"));
        }
    };
    Ok(Plan { role, bucket })
}

async fn role_of(session: &Session, contract: &Contract) -> Result<String> {
    let function = contract.functions.values().next().map(|target| target.name.clone());
    let function = function.ok_or_else(|| Error::bug("a contract without functions"))?;
    session.aws.function_role(&function).await.map_err(|failure| {
        Error::preflight(ErrorId::ConformanceRole, format!("failed to read the role of function {function}"))
            .because(failure)
            .hint("nothing was changed; use `--role ARN`")
    })
}

/// What will be created, and what it costs.
fn announcement(session: &Session, sandbox: &Sandbox, bucket: Option<&str>, old: &[String]) -> String {
    let stage = &session.settings.stage;
    let mut text = format!(
        "{} checks in account {}, region {}. For them are created, and deleted at the end:\n  REST API and Lambda \
         function {}",
        Check::ALL.len(),
        stage.account,
        stage.region,
        sandbox.name,
    );
    if let Some(bucket) = bucket {
        let _ = write!(text, "\n  objects s3://{bucket}/{}", sandbox.prefix());
    }
    text.push_str(&cost(session.local.is_some()));
    for name in old {
        let _ = write!(text, "\nto be deleted, left by an earlier run: {name}");
    }
    text
}

fn cost(local: bool) -> String {
    if local {
        return "\nat no cost, on the local stage".to_owned();
    }
    format!(
        "\nabout 120 calls to AWS and at most {MAX_REQUESTS} requests to the API and its function, for less than 5 US \
         cents; it takes 1 to 5 minutes"
    )
}

fn not_created(failure: Failure) -> Error {
    Error::preflight(ErrorId::ConformanceSandbox, "failed to create the sandbox")
        .because(failure)
        .hint("the stage is unchanged; docs/how-to/check-aws.md lists the permissions that the command needs")
}

/// The error of a run without a result.
fn ended_early(stop: Stop, left: &[Leftover]) -> Error {
    match stop {
        Stop::Failed(failure) if left.is_empty() => not_created(failure),
        Stop::Failed(failure) => leftover_error(left).because(failure),
        Stop::Interrupted if left.is_empty() => {
            Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted; the sandbox is deleted")
        }
        Stop::Interrupted => leftover_error(left).because("the command was interrupted"),
    }
}

fn leftover_error(left: &[Leftover]) -> Error {
    let what: Vec<String> = left.iter().map(|leftover| format!("\n  - {}", leftover.what)).collect();
    let commands: Vec<String> = left.iter().map(|leftover| format!("\n  {}", leftover.command)).collect();
    Error::new(
        Kind::OldReleaseServes,
        ErrorId::ConformanceLeft,
        format!("failed to delete the sandbox; left are:{}", what.concat()),
    )
    .hint(format!("the stage is unchanged; delete it with:{}", commands.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_in_an_account_is_said_beforehand() {
        // Requests of a REST API and of Lambda cost less than 6 US dollars a million in every region.
        const { assert!(MAX_REQUESTS * 6 < 5 * 10_000) }
        assert!(cost(false).contains("less than 5 US cents"));
        assert!(!cost(true).contains("cents"));
    }

    fn leftover(what: &str) -> Leftover {
        Leftover { what: what.to_owned(), command: format!("aws delete {what}") }
    }

    #[test]
    fn what_is_left_comes_with_the_commands_that_delete_it() {
        let left = [leftover("function f"), leftover("API f")];
        let error = ended_early(Stop::Interrupted, &left);
        assert_eq!((error.id, error.kind), (ErrorId::ConformanceLeft, Kind::OldReleaseServes));
        assert_eq!(error.causes(), ["the command was interrupted"]);
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("\n  aws delete function f\n  aws delete API f"), "{hint}");
        assert_eq!(ended_early(Stop::Interrupted, &[]).id, ErrorId::Interrupted);
    }

    #[test]
    fn a_failure_is_not_hidden_by_what_is_left() {
        let failure = || Stop::Failed(Failure::rejected("CreateFunction", "f", "no role"));
        let causes = ended_early(failure(), &[leftover("API f")]).causes();
        assert_eq!(causes, ["CreateFunction of f failed: no role"]);
        assert_eq!(ended_early(failure(), &[]).id, ErrorId::ConformanceSandbox);
    }
}
