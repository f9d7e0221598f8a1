//! Checks the stage's account: identity, buckets, functions, API, and the difference of the clocks.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::unread::unread;
use super::{buckets, limits, open, permissions};
use crate::artifact::Glibc;
use crate::aws::{Aws, retry};
use crate::documents::doctor::{Finding, Severity};
use crate::engine::failure::Meaning;
use crate::engine::ports::{StagePort as _, Store as _};
use crate::event::Events;
use crate::local::{self, LocalConfig};
use crate::project::contract::Contract;
use crate::project::session::{Access, Session};
use crate::project::settings::Settings;
use crate::project::states::ProvenBuckets;
use crate::release::calls::{Calls, UnversionedCall};
use crate::release::definition::Definition;
use crate::release::deployment_description::DeploymentDescription;
use crate::release::partition::domain;

/// For all checks together.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn check(settings: &Settings, events: &Events, cancel: &CancellationToken) -> Vec<Finding> {
    let session = match session(settings, events, cancel).await {
        Ok(session) => session,
        Err(finding) => return vec![finding],
    };
    let clock = clock(&session);
    let rest = async {
        let identity = match session.identify().await {
            Ok(identity) => identity,
            Err(error) => {
                let rest = "buckets, functions, the API, permissions and limits were not checked";
                return vec![
                    Finding::of("account", Severity::Problem, &error),
                    Finding::unchecked("account", rest),
                ];
            }
        };
        let mut findings =
            vec![Finding::ok("account", format!("{} in {}", identity.arn, settings.stage.region))];
        let applied = async { futures::join!(session.applied_contract(), session.artifact_bucket()) };
        let (state, (contract, bucket), limits) =
            futures::join!(buckets::states(&session), applied, limits::check(&session));
        findings.extend(state);
        let bucket = match bucket {
            Ok(Some(bucket)) => Some(bucket.name().to_owned()),
            Ok(None) => None,
            Err(error) => {
                findings.push(Finding::of("bucket-artifacts", Severity::Unchecked, &error));
                None
            }
        };
        if let Some(name) = &bucket {
            findings.extend(buckets::artifacts(&session, name).await);
        }
        let contract = match contract {
            Ok(contract) => contract,
            Err(error) if error.id.is_contract() => {
                findings.push(Finding::of("contract", Severity::Problem, &error));
                None
            }
            Err(error) => {
                findings.push(Finding::of("contract", Severity::Unchecked, &error));
                None
            }
        };
        if contract.is_none() {
            let message = "functions and API were not checked: nothing has been released yet, or the \
                           outputs cannot be read";
            findings.push(Finding::unchecked("stage", message));
        }
        let running = async {
            match &contract {
                Some(contract) => Box::pin(running(&session, contract)).await,
                None => Vec::new(),
            }
        };
        let permissions = permissions::check(&session, &identity, contract.as_ref(), bucket.as_deref());
        let (running, permissions) = futures::join!(running, Box::pin(permissions));
        findings.extend(running);
        findings.extend(permissions);
        findings.extend(limits);
        findings
    };
    let both = async { futures::join!(Box::pin(rest), clock) };
    match tokio::time::timeout(TIMEOUT, both).await {
        Ok((mut findings, clock)) => {
            findings.push(clock);
            findings
        }
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            vec![Finding::unchecked("account", format!("AWS did not answer within {seconds} s"))]
        }
    }
}

/// A session that does not start the local stage.
async fn session(
    settings: &Settings,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Session, Finding> {
    const CHECK: &str = "local-stage";
    let local = match &settings.stage.local {
        None => None,
        Some(config) => {
            let config = LocalConfig { port: config.port, region: settings.stage.region.clone() };
            match local::find(&settings.root, &config, events).await {
                Ok(Some(stage)) => Some(stage),
                Ok(None) => return Err(not_running(settings)),
                Err(error) => return Err(Finding::of(CHECK, Severity::Problem, &error.into())),
            }
        }
    };
    let target = crate::project::session::target(&settings.stage, local.as_ref());
    let target = target.map_err(|error| Finding::of("credentials", Severity::Problem, &error))?;
    let aws = Aws::connect_with(target, retry::brief()).await;
    aws.require_profile().map_err(|error| Finding::of("credentials", Severity::Problem, &error))?;
    Ok(Session {
        settings: settings.clone(),
        local,
        aws,
        identity: None,
        access: Access::Read,
        proven_buckets: ProvenBuckets::default(),
        terraform_reads: tokio::sync::Mutex::default(),
        state_serials: std::sync::Mutex::default(),
        appended: crate::engine::appended::Appended::default(),
        events: events.clone(),
        cancel: cancel.clone(),
    })
}

fn not_running(settings: &Settings) -> Finding {
    const CHECK: &str = "local-stage";
    if local::has_died(&settings.root) {
        return Finding::problem(
            CHECK,
            "the local stage has ended without `deployctl local down`",
            "`deployctl local up` starts it from its last snapshot; the logs are in `.deployctl/local`",
        );
    }
    Finding::unchecked(CHECK, "the local stage is not running, so its content was not checked")
        .remedy("deployctl local up")
}

/// Checks functions, API and stage.
async fn running(session: &Session, contract: &Contract) -> Vec<Finding> {
    let functions = futures::future::join_all(contract.functions.values().map(|target| {
        let name = target.name.to_string();
        async move { (session.aws.function_facts(&name).await, name) }
    }));
    let (functions, api, stage, redis) =
        futures::join!(functions, api(session, contract), pointer(session, contract), open::redis(session));
    let mut findings = Vec::new();
    for (facts, name) in functions {
        match facts {
            Ok(facts) => findings.extend(function(&name, &facts)),
            Err(failure) if failure.meaning == Meaning::NotFound => findings.push(Finding::problem(
                "functions",
                format!("function {name} of the Terraform output does not exist"),
                "apply the layer that creates it",
            )),
            Err(failure) => findings.push(unread("functions", &failure)),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "functions",
            format!("{} functions, ready for an update", contract.functions.len()),
        ));
    }
    match api {
        Ok((definition, calls)) => {
            findings.extend(unversioned(&calls));
            findings.push(open::routes(&definition, session.local.is_some()));
        }
        Err(finding) => findings.push(finding),
    }
    findings.extend(stage);
    findings.extend(redis);
    findings
}

fn function(name: &str, facts: &crate::aws::inspect::FunctionFacts) -> Vec<Finding> {
    const CHECK: &str = "functions";
    let mut findings = Vec::new();
    let glibc = match facts.runtime.as_str() {
        "provided.al2023" => Some(Glibc::AL2023),
        "provided.al2" => Some(Glibc { major: 2, minor: 26 }),
        _ => None,
    };
    match glibc {
        Some(glibc) if glibc >= Glibc::AL2023 => {}
        Some(glibc) => findings.push(Finding::problem(
            CHECK,
            format!(
                "{name} runs on {}, whose glibc is {glibc}; artifacts are built for {}",
                facts.runtime,
                Glibc::AL2023
            ),
            "runtime = \"provided.al2023\"",
        )),
        None => findings.push(Finding::problem(
            CHECK,
            format!(
                "{name} has the runtime {:?}; artifacts are executables for provided.al2023",
                facts.runtime
            ),
            "runtime = \"provided.al2023\"",
        )),
    }
    if let Some(trouble) = &facts.trouble {
        findings.push(Finding::warning(
            CHECK,
            format!("the last update of {name} failed: {trouble}"),
            "release again: the update is repeated",
        ));
    }
    findings
}

/// The API as it is defined now, and its calls.
async fn api(session: &Session, contract: &Contract) -> Result<(Definition, Calls), Finding> {
    const CHECK: &str = "ownership-api";
    let aws_stage =
        session.aws_stage(contract).map_err(|error| Finding::of(CHECK, Severity::Unchecked, &error))?;
    let definition = aws_stage.definition().await.map_err(|failure| unread(CHECK, &failure))?;
    let calls = Calls::of(&definition, &aws_stage.location(), &contract.functions);
    Ok((definition, calls))
}

/// Calls of functions of the contract that a switch does not move.
fn unversioned(calls: &Calls) -> Vec<Finding> {
    const CHECK: &str = "ownership-api";
    if calls.unversioned.is_empty() {
        let versioned = calls.versioned.len();
        let message = format!("{versioned} calls of functions, each with its function's stage variable");
        return vec![Finding::ok(CHECK, message)];
    }
    let finding = |call: &UnversionedCall| {
        Finding::problem(
            CHECK,
            format!("{call}: a release does not move this call, and is refused"),
            format!("{}; `deployctl init` prints the patch", call.write),
        )
    };
    calls.unversioned.iter().map(finding).collect()
}

/// Checks the deployment that the stage serves.
async fn pointer(session: &Session, contract: &Contract) -> Vec<Finding> {
    const CHECK: &str = "stage";
    let aws_stage = match session.aws_stage(contract) {
        Ok(aws_stage) => aws_stage,
        Err(error) => return vec![Finding::of(CHECK, Severity::Unchecked, &error)],
    };
    let stage = match aws_stage.stage().await {
        Ok(stage) => stage,
        Err(failure) => return vec![unread(CHECK, &failure)],
    };
    if let Some(canary) = &stage.canary {
        return vec![Finding::problem(
            CHECK,
            format!(
                "a canary is in progress (deployment {}), and releases are refused",
                canary.deployment_id
            ),
            "`deployctl status` says whose it is; `deployctl canary promote` or `deployctl canary abort` ends one of deployctl",
        )];
    }
    let Some(version) = stage.pointer.release() else {
        return vec![Finding::ok(CHECK, "nothing has been released to it yet")];
    };
    let deployment = &stage.pointer.deployment_id;
    match aws_stage.deployment(deployment).await {
        Ok(Some(found)) if found.description.parse::<DeploymentDescription>().is_ok() => {
            vec![Finding::ok(CHECK, format!("serves {version}, with a deployment of deployctl"))]
        }
        Ok(_) => vec![Finding::warning(
            CHECK,
            format!(
                "serves {version}, but deployment {deployment} was not created by deployctl: the stage was \
                 changed outside deployctl"
            ),
            "deployctl redeploy",
        )],
        Err(failure) => vec![unread(CHECK, &failure)],
    }
}

/// AWS refuses requests with a time that differs by more than five minutes, and the lease depends on the
/// clock.
async fn clock(session: &Session) -> Finding {
    const CHECK: &str = "clock";
    let region = &session.settings.stage.region;
    let url = match &session.local {
        Some(local) => format!("{}/_ministack/health", local.endpoint),
        None => std::env::var("AWS_ENDPOINT_URL")
            .unwrap_or_else(|_| format!("https://sts.{region}.{}/", domain(region))),
    };
    let caller = session.aws.trust().caller();
    let client = caller.and_then(|caller| caller.timeout(Duration::from_secs(10)).build());
    let answer = match client {
        Ok(client) => client.get(&url).send().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let date = answer.and_then(|answer| {
        let date = answer.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.ok_or_else(|| format!("{url} sends no date"))?;
        jiff::fmt::rfc2822::parse(date).map_err(|error| error.to_string())
    });
    match date {
        Ok(aws_time) => skew(Timestamp::now().as_second() - aws_time.timestamp().as_second()),
        Err(why) => Finding::unchecked(CHECK, format!("the clocks were not compared: {why}")),
    }
}

fn skew(seconds: i64) -> Finding {
    const CHECK: &str = "clock";
    let remedy = "set the clock, for instance by NTP";
    match seconds.abs() {
        0..=30 => Finding::ok(CHECK, format!("differs from AWS's by {seconds} s")),
        31..=240 => {
            Finding::warning(CHECK, format!("this machine's clock differs from AWS's by {seconds} s"), remedy)
        }
        _ => Finding::problem(
            CHECK,
            format!(
                "this machine's clock differs from AWS's by {seconds} s; AWS refuses requests from 300 s on"
            ),
            remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_seconds() {
        let severities = [0, -30, 31, -200, 299, 3600].map(|seconds| skew(seconds).severity);
        use Severity::{Ok, Problem, Warning};
        assert_eq!(severities, [Ok, Ok, Warning, Warning, Problem, Problem]);
    }

    #[test]
    fn a_function_must_run_executables_of_al2023() {
        let facts = |runtime: &str, trouble: Option<&str>| crate::aws::inspect::FunctionFacts {
            runtime: runtime.to_owned(),
            architecture: "x86_64".to_owned(),
            trouble: trouble.map(str::to_owned),
        };
        assert!(function("f", &facts("provided.al2023", None)).is_empty());
        assert_eq!(function("f", &facts("provided.al2", None))[0].severity, Severity::Problem);
        assert_eq!(function("f", &facts("python3.12", None))[0].severity, Severity::Problem);
        assert_eq!(function("f", &facts("provided.al2023", Some("x")))[0].severity, Severity::Warning);
    }
}
