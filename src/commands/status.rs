//! `deployctl status`: what runs, whether it is stale, what was changed outside deployctl, who holds the
//! stage.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{join, try_join};

use super::context::Context;
use crate::aws::api_gateway::AwsStage;
use crate::aws::s3::Bucket;
use crate::delivery::dev;
use crate::documents::result::{Api, CanaryStatus, Freshness, Since};
use crate::engine::canary::read;
use crate::engine::lease::{Lease, LeaseDocument, describe};
use crate::engine::ledger::{Head, Ledger};
use crate::engine::observe as stage;
use crate::engine::ports::{StagePort as _, Store};
use crate::engine::preview::previews;
use crate::error::{Error, ErrorId, Result};
use crate::event::Events;
use crate::output::{Document, WatchView};
use crate::project::session::Session;
use crate::release::calls::Calls;
use crate::release::canary::Canary;
use crate::release::drift;
use crate::release::model::{DEV, DeploymentId, FunctionName, StageName};
use crate::release::state::{Codes, StageState};

/// Show what runs, whether it is stale, and which command holds the stage
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl status --stage prd\n  deployctl status --watch --interval 2\n  deployctl status --exit-code --output json"
)]
pub(crate) struct Args {
    /// Exit with 3 if the stage is stale or was changed outside deployctl
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Repeat until Ctrl-C: redraw in place on a terminal, otherwise print only changes
    #[arg(long, short, conflicts_with = "exit_code")]
    pub(super) watch: bool,
    /// Seconds between two reads
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) interval: u64,
}

pub(super) async fn run(context: &Context) -> Result<Document> {
    let session = context.unidentified_read_session().await?;
    let result = observe(&session).await;
    // A read needs no identity; after a failure, the wrong credentials may be the cause.
    if result.as_ref().is_err_and(|error| error.id != ErrorId::AwsUnreachable) {
        session.identify().await?;
    }
    result
}

/// Repeats until Ctrl-C. Only a failure of the first read ends the command; later ones are shown, because a
/// stage is often watched during an incident.
pub(super) async fn watch(context: &Context, args: &Args) -> Result<()> {
    let every = Duration::from_secs(args.interval);
    let mut session = context.unidentified_read_session().await?;
    session.identify().await?;
    // The same steps every few seconds would only be noise.
    session.events = Events::silent();
    let mut view = WatchView::default();
    let mut shown = None;
    loop {
        let result = tokio::select! {
            result = observe(&session) => result,
            () = session.cancel.cancelled() => return Ok(()),
        };
        let document = match result {
            Ok(document) => document,
            Err(error) if shown.is_none() => return Err(error),
            Err(error) => {
                let mut document = Document::new("status", session.settings.stage.name.as_str());
                document.fail(&error);
                document
            }
        };
        let current = serde_json::to_value(&document).ok();
        if (context.report.redraws() || current != shown) && !context.report.watch(&mut view, &document) {
            return Ok(());
        }
        shown = current;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = session.cancel.cancelled() => return Ok(()),
        }
    }
}

async fn observe(session: &Session) -> Result<Document> {
    let contract = session.contract().await?;
    let bucket = session.aws.bucket(&contract.artifact_bucket);
    let aws_stage = session.aws_stage(&contract)?;
    let name = &session.settings.stage.name;
    let ledger = Ledger::new(bucket.clone(), name.clone());
    let work = async {
        let head = lease_and_head(&bucket, &ledger, name);
        let names: Vec<_> = contract.functions.values().map(|target| target.name.clone()).collect();
        let codes = async {
            aws_stage
                .codes(&names)
                .await
                .map_err(|failure| stage::unreadable("the code of the functions", failure))
        };
        let aliases = stage::aliases(&aws_stage, &contract.functions);
        let (stage, live, (lease, damaged, head), codes, aliases) =
            try_join!(stage::stage(&aws_stage), stage::definition(&aws_stage), head, codes, aliases)?;
        let freshness = stage::freshness(&aws_stage, &ledger, &stage, head.current.as_ref(), &live).await?;
        // A switch that was interrupted after it took effect moved the stage, and the ledger does not have it yet.
        let interrupted = lease.intent.clone().filter(|intent| intent.release.is_served_by(&stage.pointer));
        let current = interrupted.or_else(|| head.current.clone());
        // What dev serves is no release, and not changed outside deployctl.
        let mut drift = match served_by_dev(session, &stage) {
            true => Vec::new(),
            false => drift::of_stage(&stage, current.as_ref(), lease.canary.as_ref()),
        };
        drift.extend(drift::of_reach(
            &contract.functions,
            current.as_ref(),
            &aliases,
            &codes,
            lease.canary.as_ref(),
        ));
        drift.extend(code_drift(&ledger, &head, &lease, &codes).await?);
        let calls = Calls::of(&live, &aws_stage.location(), &contract.functions);
        if damaged {
            drift.push(format!("the lease is damaged; `deployctl unlock --stage {name}` replaces it"));
        }
        Ok::<_, Error>((stage, freshness, lease, current, drift, calls))
    };
    let (stage, freshness, lease, current, mut drift, calls) =
        session.events.step("read current state", work).await?;
    let mut document = Document::new("status", name.as_str());
    document.url = Some(session.url(&contract));
    if let Some(record) = &current {
        document.describe(record);
        document.previous = record.before.pointer.release().map(|version| version.to_string());
        document.since = record.release.is_served_by(&stage.pointer).then(|| Since::of(record));
    }
    document.dev_since = served_by_dev(session, &stage).then(|| dev::since(session)).flatten();
    document.version = stage.pointer.release().map(|version| version.to_string());
    document.api = Some(api(&contract.rest_api_id, &stage.pointer.deployment_id, freshness));
    if let Some(intent) = &lease.intent {
        drift.push(format!(
            "the switch to {} is under way, or was interrupted; the next command that changes the stage \
             recovers it",
            intent.release.version
        ));
    }
    document.drift = Some(drift);
    document.unversioned = Some(calls.unversioned);
    let canary = async {
        match &lease.canary {
            Some(canary) => Some(canary_status(session, &aws_stage, canary, &stage).await),
            None => None,
        }
    };
    let (canary, previews) = join!(canary, preview_names(session, &aws_stage));
    (document.canary, document.previews) = (canary, previews?);
    document.held = lease.holder.as_ref().map(describe);
    Ok(document)
}

/// The lease, whether it is damaged, and the newest records.
async fn lease_and_head(
    bucket: &Bucket,
    ledger: &Ledger<Bucket>,
    stage: &StageName,
) -> Result<(LeaseDocument, bool, Head)> {
    // What is live is of interest above all when something is damaged.
    let (lease, damaged) = match Lease::peek(bucket, stage).await {
        Ok(snapshot) => (snapshot.document.unwrap_or_default(), false),
        Err(error) if error.id == ErrorId::LeaseDamaged => (LeaseDocument::default(), true),
        Err(error) => return Err(error),
    };
    let head = match lease.head() {
        Some(head) => head.clone(),
        None => ledger.head().await?,
    };
    Ok((lease, damaged, head))
}

/// The names of the stage's previews; `None` if it allows none.
async fn preview_names(session: &Session, aws_stage: &AwsStage) -> Result<Option<Vec<String>>> {
    let stage = &session.settings.stage;
    if stage.previews.is_none() {
        return Ok(None);
    }
    let previews = previews(aws_stage, &stage.name).await?;
    Ok(Some(previews.iter().map(|preview| preview.name.to_string()).collect()))
}

/// The canary of the lease, with its share of the stage's requests and the numbers of both releases.
async fn canary_status(
    session: &Session,
    aws_stage: &AwsStage,
    canary: &Canary,
    stage: &StageState,
) -> CanaryStatus {
    let on_stage = stage.canary.as_ref().filter(|_| canary.is_on(stage));
    let mut status = CanaryStatus::of(canary, on_stage.map_or(0.0, |canary| canary.percent.as_f64()));
    let (reading, failure) = read(aws_stage, &session.settings.delivery.monitor, canary).await;
    if let Some(failure) = failure {
        session.events.warn(format!("the numbers of the releases were not read: {failure}"));
    }
    status.reading = Some(reading);
    status
}

fn served_by_dev(session: &Session, stage: &StageState) -> bool {
    let release = stage.pointer.release();
    session.local.is_some() && release.is_some_and(|release| release.as_str() == DEV)
}

/// The API of a stage, compared with what the stage serves.
pub(super) fn api(id: &str, deployment_id: &DeploymentId, freshness: stage::Freshness) -> Api {
    let (state, fingerprint, changes, reasons) = match freshness {
        stage::Freshness::Fresh(fingerprint) => (Freshness::Fresh, Some(fingerprint), vec![], vec![]),
        stage::Freshness::Stale(fingerprint, changes) => {
            (Freshness::Stale, Some(fingerprint), changes, vec![])
        }
        stage::Freshness::Unknown(reasons) => (Freshness::Unknown, None, vec![], reasons),
    };
    Api {
        id: id.to_owned(),
        deployment_id: deployment_id.to_string(),
        fingerprint: fingerprint.map(|fingerprint| fingerprint.to_string()),
        state,
        changes,
        reasons,
    }
}

/// How the code differs from the live record. Reads older records only for code that the lease and the newest
/// records do not explain.
async fn code_drift<S: Store>(
    ledger: &Ledger<S>,
    head: &Head,
    lease: &LeaseDocument,
    codes: &BTreeMap<FunctionName, Codes>,
) -> Result<Vec<String>> {
    let Some(current) = &head.current else { return Ok(Vec::new()) };
    let mut drift = drift::of_versions(current, codes);
    let mut latest = drift::of_latest(current, codes);
    latest.retain(|name, code| lease.sent.get(name) != Some(code));
    if let Some(previous) = &head.previous {
        drift::explain(&mut latest, previous);
    }
    for number in (1..=head.last).rev() {
        if latest.is_empty() {
            break;
        }
        drift::explain(&mut latest, &ledger.record(number).await?);
    }
    drift.extend(latest.iter().map(|(name, code)| drift::unexplained(name, code)));
    Ok(drift)
}

/// Whether `--exit-code` exits with 3.
pub(super) fn needs_attention(document: &Document) -> bool {
    let stale = document.api.as_ref().is_some_and(|api| api.state != Freshness::Fresh);
    stale || document.canary.is_some() || document.drift.as_ref().is_some_and(|drift| !drift.is_empty())
}
