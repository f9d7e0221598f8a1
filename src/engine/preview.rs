//! Previews: further stages of the stage's REST API, with code that is not released.
//!
//! A preview never changes what its stage serves. It publishes versions from the functions' shared `$LATEST`, so
//! it holds the lease of the stage meanwhile. What it sent is noted in the lease, as for a release that failed; a
//! preview has no record in the ledger, because the ledger says what the stage has served.

use std::collections::{BTreeMap, BTreeSet};

use futures::{TryFutureExt as _, try_join};
use jiff::Timestamp;

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::{HeldStage, StageContext};
use crate::engine::interrupt::{unless_interrupted, with_grace};
use crate::engine::observe::{empty, observe_and_plan, require_atomic, require_versioned, unreadable};
use crate::engine::operations::{Origin, new_release, record};
use crate::engine::ports::{StagePort, Store};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::platform::unique_id;
use crate::release::calls::Calls;
use crate::release::check::Checks;
use crate::release::definition::Definition;
use crate::release::model::{DeploymentId, FunctionKey, Pointer, PreviewName, StageName};
use crate::release::once::Repeat;
use crate::release::plan::{Desired, Observed, Plan, Step};
use crate::release::preview::{Preview, PreviewDescription, is_of_preview, stage_name};
use crate::release::record::{Action, ArtifactRecord, FunctionRecord, Git, Record};
use crate::release::state::{Code, StageState, StageUse};

/// API Gateway's code for one stage too many.
const LIMIT_EXCEEDED: &str = "LimitExceededException";

/// The stages that API Gateway allows for an API unless AWS has raised the quota.
const STAGES: usize = 10;

const UNCHANGED: &str = "the stage and what it serves are unchanged";

/// The stages of an API that are previews.
pub(crate) trait PreviewPort: StagePort {
    /// Creates a stage of the API. The call fails if the stage exists.
    fn create_stage(
        &self,
        name: &str,
        pointer: &Pointer,
        description: &PreviewDescription,
    ) -> impl Future<Output = std::result::Result<(), Failure>> + Send;
    /// Moves a stage to another pointer and gives it another description, in one call.
    fn update_preview(
        &self,
        name: &str,
        pointers: (&Pointer, &Pointer),
        description: &PreviewDescription,
    ) -> impl Future<Output = std::result::Result<(), Failure>> + Send;
    /// Deletes a stage. One that does not exist is no failure.
    fn delete_stage(&self, name: &str) -> impl Future<Output = std::result::Result<(), Failure>> + Send;
}

/// The preview that is to be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a PreviewName,
    pub(crate) expires: Timestamp,
    pub(crate) git: Option<Git>,
    /// The most previews of the stage at a time.
    pub(crate) max: usize,
    /// The id of the REST API.
    pub(crate) api: &'a str,
}

/// A preview that is up.
#[derive(Debug)]
pub(crate) struct Up {
    /// Whether its stage was created; otherwise it was changed.
    pub(crate) created: bool,
    /// The functions that got a new version.
    pub(crate) published: BTreeSet<FunctionKey>,
    /// What it serves, in the form of a record. The ledger does not have it.
    pub(crate) record: Record,
    /// The record of what its stage serves.
    pub(crate) live: Record,
    /// The definitions of the API that both have deployed; `None` if one is no longer stored.
    pub(crate) definitions: [Option<Definition>; 2],
}

/// The previews of `parent`.
///
/// # Errors
/// `aws.read`.
pub(crate) async fn previews(port: &impl StagePort, parent: &StageName) -> Result<Vec<Preview>> {
    let stages = port.stages().await.map_err(|failure| unreadable("the API's stages", failure))?;
    Ok(stages.iter().filter_map(Preview::of).filter(|preview| preview.parent == *parent).collect())
}

/// Deletes the stages of previews, and the deployments that they served. The versions of the functions stay until
/// a prune.
///
/// # Errors
/// `preview.incomplete`; running it again deletes the rest.
pub(crate) async fn close(
    context: &StageContext,
    port: &impl PreviewPort,
    previews: &[Preview],
) -> Result<()> {
    // API Gateway refuses to change an API twice at the same time.
    for preview in previews {
        let name = &preview.name;
        let failed = |failure| incomplete(&format!("failed to close preview {name}"), failure);
        let work = async {
            delete(port, &stage_name(name)).await.map_err(failed)?;
            discard(port, &preview.pointer.deployment_id).await.map_err(failed)
        };
        unless_interrupted(&context.cancel, work).await?;
    }
    Ok(())
}

/// Deletes a stage. After a lost answer, the stages are read.
async fn delete(port: &impl PreviewPort, stage: &str) -> std::result::Result<(), Failure> {
    match port.delete_stage(stage).await {
        Err(failure) if failure.may_have_happened() => {
            let stages = port.stages().await?;
            if stages.iter().any(|other| other.name == stage) { Err(failure) } else { Ok(()) }
        }
        answer => answer,
    }
}

/// Deletes a deployment that was created for a preview.
async fn discard(port: &impl StagePort, id: &DeploymentId) -> std::result::Result<(), Failure> {
    match port.deployment(id).await? {
        Some(deployment) if is_of_preview(&deployment.description) => port.delete_deployment(id).await,
        _ => Ok(()),
    }
}

/// What a preview needs: what is live, and the functions whose versions it shares.
struct Parts {
    live: Record,
    observed: Observed,
    head: crate::engine::ledger::Head,
    /// Only the functions that need another version.
    plan: Plan,
    /// The versions of the others.
    kept: BTreeMap<FunctionKey, FunctionRecord>,
    /// The preview's stage, if it exists.
    existing: Option<StageUse>,
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Publishes the functions whose code differs from the live one, deploys the API, and creates or changes the
    /// preview's stage. `stored` stores the zips of `desired`, beside reading the stage.
    ///
    /// # Errors
    /// `preview.refused`, `preview.limit`, `preview.foreign`, `stage.empty` and those of a release's plan before
    /// anything is published; `release.not_switched` and `preview.incomplete` after it.
    pub(crate) async fn preview_up<W: PreviewPort>(
        &self,
        port: &W,
        mut desired: Desired,
        wanted: Wanted<'_>,
        stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
    ) -> Result<Up> {
        let StageContext { events, cancel, .. } = self.context;
        let read = Box::pin(self.read_for_preview(port, &mut desired, &wanted, stored));
        let read = unless_interrupted(cancel, read);
        let Parts { live, observed, head, plan, kept, existing } =
            events.step("read current state", read).await?;
        let calls = |definition: &Definition| Calls::of(definition, &observed.location, &desired.functions);
        let work = async {
            let publish = self.publish_all(port, &plan, &observed, false);
            let deploy = self.snapshot(port, &plan.version, observed.definition.clone(), calls);
            try_join!(publish, deploy)
        };
        let work = unless_interrupted(cancel, Box::pin(work));
        let (new, snapshot) = events.step("publish versions", work).await?;
        let published = new.keys().cloned().collect();
        let functions = kept.into_iter().chain(new).collect();
        let origin = Origin {
            git: wanted.git.clone(),
            promoted_from: None,
            api: (wanted.api, &stage_name(wanted.name)),
            force: false,
            not_atomic: false,
            repeat: Repeat::default(),
            infrastructure: None,
        };
        let release = new_release(desired, origin, functions, &snapshot);
        let record = record(self.context, Action::Release, release, &head, &observed.stage)?;
        let created = existing.is_none();
        let move_stage = self.move_preview(port, &wanted, existing, &record.pointer);
        events.step("move preview", Box::pin(move_stage)).await?;
        let before = self.ledger.definition(&live.release.api.fingerprint).await.ok().flatten();
        Ok(Up { created, published, record, live, definitions: [before, Some(snapshot.definition)] })
    }

    async fn read_for_preview<W: PreviewPort>(
        &self,
        port: &W,
        desired: &mut Desired,
        wanted: &Wanted<'_>,
        stored: impl Future<Output = Result<BTreeMap<String, ArtifactRecord>>>,
    ) -> Result<Parts> {
        let stage = &self.context.stage;
        require_versions(desired)?;
        let head = self.head(port).await?;
        let resolve = async |head, now: &StageState| self.resolve_head(head, now).await;
        let head = async { Ok(head) };
        let checks = Checks::default();
        let observe = observe_and_plan(port, desired, &checks, head, resolve, stored);
        let stages = port.stages().map_err(|failure| unreadable("the API's stages", failure));
        let ((head, observed, mut plan), stages) = try_join!(observe, stages)?;
        let live = head.current.clone().ok_or_else(|| empty(stage))?;
        require_versioned(&plan.calls, Kind::Preflight, UNCHANGED)?;
        require_atomic(&plan, stage)?;
        let existing = existing(&stages, stage, wanted)?;
        let mut kept = BTreeMap::new();
        for (key, step) in &plan.functions {
            if let Some(function) = self.usable(port, desired, (key, step), (&live, &existing)).await? {
                kept.insert(key.clone(), function);
            }
        }
        plan.functions.retain(|key, _| !kept.contains_key(key));
        Ok(Parts { live, observed, head, plan, kept, existing })
    }

    /// The version of a function that has the desired code already: the live one, or that of the preview.
    async fn usable(
        &self,
        port: &impl StagePort,
        desired: &Desired,
        (key, step): (&FunctionKey, &Step),
        (live, existing): (&Record, &Option<StageUse>),
    ) -> Result<Option<FunctionRecord>> {
        let Some(artifact) = desired.artifacts.get(&step.target.artifact) else { return Ok(None) };
        let code_sha256 = Code::of(artifact, None).code_sha256();
        let live = live.release.functions.get(key).filter(|live| live.name == step.target.name);
        let Some(live) = live else { return Ok(None) };
        if live.code_sha256 == code_sha256 {
            return Ok(Some(live.clone()));
        }
        let variables = existing.iter().flat_map(|stage| &stage.variables);
        let version = variables.into_iter().find(|(name, _)| name == key.as_str());
        let Some(version) = version.and_then(|(_, version)| version.parse().ok()) else { return Ok(None) };
        let name = &step.target.name;
        let read = port.version(name, &version).await;
        let read = read.map_err(|failure| unreadable(&format!("function {name}"), failure))?;
        // The configuration of the live version: a preview shows other code, and nothing else.
        let read =
            read.filter(|read| (&read.code_sha256, read.config_sha256) == (&code_sha256, live.config_sha256));
        Ok(read.map(|read| FunctionRecord { version, code_sha256: read.code_sha256, ..live.clone() }))
    }

    /// Creates the preview's stage, or moves it, and deletes the deployment that it served before.
    async fn move_preview<W: PreviewPort>(
        &self,
        port: &W,
        wanted: &Wanted<'_>,
        existing: Option<StageUse>,
        pointer: &Pointer,
    ) -> Result<()> {
        let stage = stage_name(wanted.name);
        let description = PreviewDescription {
            parent: self.context.stage.clone(),
            expires: wanted.expires,
            commit: wanted.git.as_ref().map(|git| git.commit.clone()),
            nonce: unique_id(),
        };
        self.lease.must_be_current().await.map_err(|unconfirmed| unconfirmed.into_error(UNCHANGED))?;
        let before = existing.as_ref().and_then(Preview::of).map(|preview| preview.pointer);
        let call = async {
            match &before {
                Some(before) => port.update_preview(&stage, (before, pointer), &description).await,
                None => port.create_stage(&stage, pointer, &description).await,
            }
        };
        // The call may take effect once it is sent, so its answer is awaited even after Ctrl-C.
        let answer =
            with_grace(&self.context.cancel, call).await.ok_or_else(crate::engine::interrupt::interrupted)?;
        if let Err(failure) = answer {
            self.explain(port, &stage, &description, failure).await?;
        }
        let Some(before) = before else { return Ok(()) };
        if let Err(failure) = discard(port, &before.deployment_id).await {
            self.context.events.warn(format!(
                "the deployment that the preview served before was not deleted ({failure}); `deployctl prune` \
                 deletes it"
            ));
        }
        Ok(())
    }

    /// Whether a failed call that creates or changes the preview's stage has taken effect all the same.
    async fn explain(
        &self,
        port: &impl StagePort,
        stage: &str,
        description: &PreviewDescription,
        failure: Failure,
    ) -> Result<()> {
        let failed = |failure: Failure| incomplete("failed to move the preview", failure);
        let Ok(stages) = port.stages().await else { return Err(failed(failure)) };
        let found = stages.iter().find(|other| other.name == stage);
        if found.is_some_and(|found| found.description == description.to_string()) {
            return Ok(());
        }
        // The same code, with fewer stages, says that the account makes too many calls.
        if failure.code.as_deref() == Some(LIMIT_EXCEEDED) && stages.len() >= STAGES {
            return Err(too_many(Kind::OldReleaseServes, &stages).because(failure));
        }
        match (found, failure.meaning) {
            (Some(_), Meaning::Precondition | Meaning::Busy) => {
                Err(foreign(Kind::OldReleaseServes, stage).because(failure))
            }
            _ => Err(failed(failure)),
        }
    }
}

/// Refuses functions whose new code would get requests as soon as it is sent.
fn require_versions(desired: &Desired) -> Result<()> {
    let called = desired.functions.iter().filter(|(_, target)| target.latest);
    let called: Vec<String> = called.map(|(key, target)| format!("{key} ({})", target.name)).collect();
    if called.is_empty() {
        return Ok(());
    }
    let message = format!(
        "refused to make a preview: callers without a version would get its code: {}",
        called.join(", ")
    );
    Err(Error::preflight(ErrorId::PreviewRefused, message).hint(format!(
        "{UNCHANGED}; a pull request needs a stage of its own here; `deployctl explain preview.refused`"
    )))
}

/// The stage of the preview, if it exists. There must be room for a new one.
fn existing(stages: &[StageUse], parent: &StageName, wanted: &Wanted<'_>) -> Result<Option<StageUse>> {
    let name = stage_name(wanted.name);
    let is_own = |stage: &&StageUse| Preview::of(stage).is_some_and(|preview| preview.parent == *parent);
    if let Some(stage) = stages.iter().find(|stage| stage.name == name) {
        let own = Some(stage).filter(is_own).ok_or_else(|| foreign(Kind::Preflight, &name))?;
        return Ok(Some(own.clone()));
    }
    if stages.iter().filter(is_own).count() >= wanted.max {
        return Err(too_many(Kind::Preflight, stages));
    }
    Ok(None)
}

fn foreign(kind: Kind, stage: &str) -> Error {
    let message = format!("refused: the API has a stage {stage} that is no preview of this stage");
    Error::new(kind, ErrorId::PreviewForeign, message)
        .hint(format!("{UNCHANGED}; choose another --name, or delete that stage"))
}

/// The error at the limit, with the previews that could be closed, those that expire first in front.
fn too_many(kind: Kind, stages: &[StageUse]) -> Error {
    let mut previews: Vec<Preview> = stages.iter().filter_map(Preview::of).collect();
    previews.sort_by_key(|preview| preview.expires);
    let named = previews.iter().map(|preview| {
        let Preview { name, parent, expires, .. } = preview;
        format!("{name} (of {parent}, expires {expires:.0})")
    });
    let named: Vec<String> = named.collect();
    let (stages, named) = (stages.len(), named.join(", "));
    let message = format!("there are too many previews; the API has {stages} stages");
    let closed = if named.is_empty() {
        "none of them is a preview".to_owned()
    } else {
        format!("could be closed: {named}")
    };
    Error::new(kind, ErrorId::PreviewLimit, message)
        .hint(format!("{UNCHANGED}; {closed}; `deployctl preview down --name <name>` closes one"))
}

fn incomplete(message: &str, failure: Failure) -> Error {
    let hint = failure.hint(UNCHANGED, "run the command again: it uses what was prepared");
    Error::new(Kind::OldReleaseServes, ErrorId::PreviewIncomplete, message).because(failure).hint(hint)
}
