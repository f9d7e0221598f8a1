//! The functions that are called in other ways than by the stage variable of a release. An alias is moved
//! right after the switch. A function that is called without a version gets its code when it is prepared;
//! after a rollback, or if the release fails, its earlier zip is sent again.
//!
//! Every call names the revision that was read before it. A call that is still on its way when another one
//! takes effect is therefore refused by Lambda.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use futures::try_join;
use tokio::time::{Instant, sleep};

use crate::engine::failure::{Failure, Meaning};
use crate::engine::held::HeldStage;
use crate::engine::interrupt::{interrupted, with_grace};
use crate::engine::observe::unreadable;
use crate::engine::ports::{StagePort, Store};
use crate::engine::prepare::not_switched;
use crate::error::{Error, ErrorId, Result};
use crate::release::canary::Canary;
use crate::release::model::{AliasName, FunctionKey, FunctionName, FunctionVersion, Qualifier};
use crate::release::record::{ArtifactRecord, FunctionRecord, Record, Release};
use crate::release::state::{AliasState, AliasTarget, Code};

/// How long a call is retried.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// An alias, the two versions that it may point to, and what it is to point to.
struct Move<'a> {
    name: &'a FunctionName,
    alias: &'a AliasName,
    versions: [Qualifier; 2],
    to: AliasTarget,
    /// Whether it is moved even if it is there already, so that an earlier call can no longer take effect.
    fence: bool,
}

/// The code that a function's `$LATEST` is to have.
pub(super) struct Latest {
    name: FunctionName,
    /// The code that it may have now. Other code was sent without deployctl.
    from: Option<String>,
    to: ArtifactRecord,
}

/// Where an alias points; `None` if it does not exist.
///
/// # Errors
/// `aws.read`.
pub(super) async fn alias(
    port: &impl StagePort,
    name: &FunctionName,
    alias: &AliasName,
) -> Result<Option<AliasState>> {
    let state = port.alias(name, alias).await;
    state.map_err(|failure| unreadable(&format!("alias {alias} of function {name}"), failure))
}

/// Where the aliases of a release point now. One that does not exist is left out, with a warning to `missing`.
///
/// # Errors
/// `release.refused` for an alias with weights, `aws.read`.
pub(super) async fn aliases(
    port: &impl StagePort,
    release: &Release,
    missing: impl Fn(&str),
) -> Result<BTreeMap<FunctionKey, Qualifier>> {
    let reads = release.functions.iter().filter_map(|(key, FunctionRecord { name, alias, .. })| {
        let of = alias.as_ref()?;
        Some(async move { Ok::<_, Error>((key, name, of, self::alias(port, name, of).await?)) })
    });
    let mut found = BTreeMap::new();
    for (key, name, alias, state) in try_join_all(reads).await? {
        match state {
            None => missing(&format!("alias {alias} of {name} does not exist, and is not moved")),
            Some(AliasState { target: AliasTarget { second: Some(_), .. }, .. }) => {
                let message = format!(
                    "refused to move alias {alias} of {name}: it sends a part of its requests to a second version"
                );
                return Err(Error::preflight(ErrorId::ReleaseRefused, message)
                    .hint("the old release serves; remove the weights of the alias first"));
            }
            Some(AliasState { target, .. }) => drop(found.insert(key.clone(), target.version)),
        }
    }
    Ok(found)
}

/// The zips of the functions of `release` that are called without a version, as the live release has them.
pub(super) fn earlier_zips(
    release: &Release,
    live: Option<&Release>,
) -> BTreeMap<FunctionKey, ArtifactRecord> {
    let called = release.functions.iter().filter(|(_, function)| function.latest);
    let earlier = called.filter_map(|(key, function)| {
        let live = live?;
        let before = live.functions.get(key).filter(|before| before.name == function.name)?;
        Some((key.clone(), live.artifacts.get(&before.artifact)?.clone()))
    });
    earlier.collect()
}

/// What puts back the code of a record's functions that are called without a version.
pub(super) fn to_earlier_code(record: &Record) -> Vec<Latest> {
    let back = record.before.latest.iter().filter_map(|(key, zip)| {
        let function = record.release.functions.get(key)?;
        Some(Latest::back(&function.name, function.code_sha256.clone(), zip))
    });
    back.collect()
}

impl Latest {
    /// Puts back the code of an earlier zip where `sent` was sent.
    pub(super) fn back(name: &FunctionName, sent: String, zip: &ArtifactRecord) -> Self {
        Self { name: name.clone(), from: Some(sent), to: zip.clone() }
    }
}

impl<S: Store + Clone> HeldStage<'_, S> {
    /// Points the aliases of a release to its versions, and sends the code of functions that are called
    /// without a version if they have another one. `aliases` is what they pointed to before.
    ///
    /// # Errors
    /// `release.not_switched`, `interrupted`.
    pub(super) async fn move_more(
        &self,
        port: &impl StagePort,
        release: &Release,
        aliases: &BTreeMap<FunctionKey, Qualifier>,
    ) -> Result<()> {
        if !release.has_more_to_move() {
            return Ok(());
        }
        let work = async {
            let moves =
                moves(release, aliases, Goal::New).map_err(|failure| failed(failure, "move an alias"))?;
            let latest = self.latest_of(release);
            let moved = join_all(moves.iter().map(|one| self.move_alias(port, one)));
            let sent = join_all(latest.iter().map(|one| self.send_latest(port, one)));
            let (moved, sent) = futures::join!(moved, sent);
            moved
                .into_iter()
                .collect::<Result<(), _>>()
                .map_err(|failure| failed(failure, "move an alias"))?;
            let what = "send the code of a function that is called without a version";
            sent.into_iter().collect::<Result<(), _>>().map_err(|failure| failed(failure, what))
        };
        let work =
            async { with_grace(&self.context.cancel, work).await.unwrap_or_else(|| Err(interrupted())) };
        self.context.events.step("move other callers", work).await
    }

    /// Does the same for a release that a command left unfinished, or that is live already. A failure is a
    /// warning: the release is live.
    pub(super) async fn repair(
        &self,
        port: &impl StagePort,
        release: &Release,
        before: Option<&BTreeMap<FunctionKey, Qualifier>>,
    ) {
        if !release.has_more_to_move() {
            return;
        }
        let warn = |text: &str| self.context.events.warn(text);
        let work = async {
            match before {
                Some(before) => self.move_more(port, release, before).await,
                None => self.move_more(port, release, &aliases(port, release, warn).await?).await,
            }
        };
        if let Err(error) = work.await {
            let cause =
                error.causes().into_iter().next().map(|cause| format!(": {cause}")).unwrap_or_default();
            warn(&format!(
                "release {} is live, but not for all callers: {error}{cause}; `deployctl status` shows them",
                release.version
            ));
        }
    }

    /// Moves the aliases of a record back, and sends the earlier zips again. Ctrl-C does not stop it.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub(super) async fn put_back(&self, port: &impl StagePort, record: &Record) -> Result<(), Failure> {
        let moves = moves(&record.release, &record.before.aliases, Goal::Old)?;
        let moved = join_all(moves.iter().map(|one| self.move_alias_back(port, one)));
        let earlier = to_earlier_code(record);
        let (moved, sent) = futures::join!(moved, self.put_code_back(port, &earlier));
        moved.into_iter().collect::<Result<(), _>>()?;
        sent
    }

    /// Sends earlier zips again.
    ///
    /// # Errors
    /// The first failure, after everything was tried.
    pub(super) async fn put_code_back(&self, port: &impl StagePort, back: &[Latest]) -> Result<(), Failure> {
        let sent = join_all(back.iter().map(|one| self.send_latest(port, one))).await;
        sent.into_iter().collect()
    }

    /// Gives the new versions the canary's share of the requests to their aliases.
    ///
    /// # Errors
    /// `release.not_switched`, `interrupted`.
    pub(super) async fn share_aliases(&self, port: &impl StagePort, canary: &Canary) -> Result<()> {
        let mut aliases = canary.record.before.aliases.clone();
        aliases.retain(|key, _| canary.weighted.contains(key));
        if aliases.is_empty() {
            return Ok(());
        }
        let what = "give an alias its share of the requests";
        let moves = moves(&canary.record.release, &aliases, Goal::Share(canary.percent()));
        let moves = moves.map_err(|failure| failed(failure, what))?;
        let work = async {
            let moved = join_all(moves.iter().map(|one| self.move_alias(port, one))).await;
            moved.into_iter().collect::<Result<(), _>>().map_err(|failure| failed(failure, what))
        };
        let work =
            async { with_grace(&self.context.cancel, work).await.unwrap_or_else(|| Err(interrupted())) };
        self.context.events.step("move a share of other callers", work).await
    }

    /// The functions whose alias can point to both versions. The others are moved with the switch, and named.
    ///
    /// # Errors
    /// `aws.read`.
    pub(super) async fn weighted(
        &self,
        port: &impl StagePort,
        record: &Record,
    ) -> Result<BTreeSet<FunctionKey>> {
        let reads = record.before.aliases.iter().map(|(key, old)| async move {
            Ok::<_, Error>((key, reason_for_no_weight(port, record, (key, old)).await?))
        });
        let mut weighted = BTreeSet::new();
        for (key, reason) in try_join_all(reads).await? {
            match reason {
                None => drop(weighted.insert(key.clone())),
                Some(reason) => self.context.events.note(format!(
                    "the alias of {key} is moved with the last step, and not before: {reason}"
                )),
            }
        }
        Ok(weighted)
    }

    fn latest_of(&self, release: &Release) -> Vec<Latest> {
        let called = release.functions.values().filter(|function| function.latest);
        let zips = called.filter_map(|function| {
            let Some(zip) = release.artifacts.get(&function.artifact) else {
                self.context.events.warn(format!(
                    "release {} has no zip for {}, which is called without a version: its code was not changed",
                    release.version, function.name
                ));
                return None;
            };
            Some(Latest { name: function.name.clone(), from: None, to: zip.clone() })
        });
        zips.collect()
    }

    async fn move_alias(&self, port: &impl StagePort, one: &Move<'_>) -> Result<(), Failure> {
        let subject = || format!("{}:{}", one.name, one.alias);
        self.retried(async || {
            let Some(AliasState { target, revision }) = port.alias(one.name, one.alias).await? else {
                return Err(Failure::rejected("UpdateAlias", subject(), "the alias was deleted"));
            };
            if target == one.to && !one.fence {
                return Ok(());
            }
            let second = target.second.as_ref().map(|(version, _)| version);
            let found = [Some(&target.version), second];
            if let Some(other) = found.into_iter().flatten().find(|version| !one.versions.contains(version)) {
                let message = format!("it was moved to {other} without deployctl");
                return Err(Failure::rejected("UpdateAlias", subject(), message));
            }
            self.still_held("UpdateAlias", &subject()).await?;
            port.move_alias(one.name, one.alias, &one.to, &revision).await
        })
        .await
    }

    /// Moves an alias back, unless it was moved elsewhere or deleted meanwhile.
    async fn move_alias_back(&self, port: &impl StagePort, one: &Move<'_>) -> Result<(), Failure> {
        match self.move_alias(port, one).await {
            Err(failure) if failure.code.is_none() && failure.meaning == Meaning::Rejected => {
                self.context.events.warn(format!("{failure}; it was not moved back to {}", one.to.version));
                Ok(())
            }
            result => result,
        }
    }

    async fn send_latest(&self, port: &impl StagePort, one: &Latest) -> Result<(), Failure> {
        let Latest { name, from, to } = one;
        self.retried(async || {
            let state = port.function(name).await?;
            let code = Code::of(to, state.architecture);
            let expected = code.code_sha256();
            if state.code_sha256 == expected && state.failed.is_none() {
                return Ok(());
            }
            if from.as_ref().is_some_and(|from| *from != state.code_sha256) && state.failed.is_none() {
                self.context.events.warn(format!(
                    "the code of {name} was changed meanwhile without deployctl; it was not changed back"
                ));
                return Ok(());
            }
            self.still_held("UpdateFunctionCode", name.as_str()).await?;
            self.lease.record_sent_code(name, &expected).await;
            port.set_latest(name, &code, &state.revision).await?;
            // Until the update has ended, callers get the previous code.
            let state = port.function(name).await?;
            match state.failed {
                None if state.code_sha256 == expected => Ok(()),
                reason => {
                    let reason = reason.unwrap_or_else(|| "it has other code than was sent".to_owned());
                    Err(Failure::rejected("UpdateFunctionCode", name.as_str(), reason))
                }
            }
        })
        .await
    }

    /// Repeats work that reads the current revision before it changes something.
    async fn retried(&self, work: impl AsyncFn() -> Result<(), Failure>) -> Result<(), Failure> {
        let deadline = Instant::now() + TIMEOUT;
        let mut pause = self.context.polling.interval / 10;
        loop {
            let Err(failure) = work().await else { return Ok(()) };
            let again = failure.is_transient() || failure.meaning == Meaning::Precondition;
            if !again || Instant::now() + pause >= deadline {
                return Err(failure);
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_DELAY);
        }
    }

    pub(super) async fn still_held(&self, operation: &'static str, subject: &str) -> Result<(), Failure> {
        self.lease.must_be_current().await.map_err(|unconfirmed| {
            let reason = unconfirmed.into_error("").to_string();
            Failure { meaning: Meaning::Denied, ..Failure::rejected(operation, subject, reason) }
        })
    }
}

/// Why an alias cannot point to its old and its new version.
async fn reason_for_no_weight(
    port: &impl StagePort,
    record: &Record,
    (key, old): (&FunctionKey, &Qualifier),
) -> Result<Option<String>> {
    let Some(FunctionRecord { name, version: new, alias: Some(alias), .. }) =
        record.release.functions.get(key)
    else {
        return Ok(Some("it is not in the release".to_owned()));
    };
    let Ok(old) = old.as_str().parse::<FunctionVersion>() else {
        return Ok(Some("it points to $LATEST".to_owned()));
    };
    if old == *new {
        return Ok(Some("its version stays the same".to_owned()));
    }
    let read = async |version| {
        let state = port.version(name, version).await;
        let state = state.map_err(|failure| unreadable(&format!("function {name}"), failure))?;
        Ok::<_, Error>(state.map(|state| state.shared))
    };
    let provisioned = async { Ok(port.provisioned(name, alias.as_str()).await) };
    let (before, after, provisioned) = try_join!(read(&old), read(new), provisioned)?;
    Ok(match provisioned {
        _ if before != after => Some("the role or the dead-letter target of the function changed".to_owned()),
        Ok(None) => None,
        Ok(Some(_)) => Some("it has provisioned concurrency".to_owned()),
        Err(failure) => Some(format!("it is not known whether it has provisioned concurrency: {failure}")),
    })
}

/// What aliases are to point to.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// The new version.
    New,
    /// What they pointed to before.
    Old,
    /// The same, and the new version gets this share of the requests, in percent.
    Share(u8),
}

/// The moves of the aliases of a release. `aliases` is what they pointed to before.
fn moves<'a>(
    release: &'a Release,
    aliases: &BTreeMap<FunctionKey, Qualifier>,
    goal: Goal,
) -> Result<Vec<Move<'a>>, Failure> {
    let moves = aliases.iter().filter_map(|(key, old)| {
        let FunctionRecord { name, alias, version, .. } = release.functions.get(key)?;
        let alias = alias.as_ref()?;
        let new: Qualifier = match version.as_str().parse() {
            Ok(version) => version,
            Err(error) => {
                return Some(Err(Failure::rejected("UpdateAlias", name.as_str(), format!("{error}"))));
            }
        };
        let to = match goal {
            Goal::New => AliasTarget::only(new.clone()),
            Goal::Old => AliasTarget::only(old.clone()),
            Goal::Share(percent) => {
                AliasTarget { version: old.clone(), second: Some((new.clone(), percent)) }
            }
        };
        let fence = matches!(goal, Goal::Old);
        Some(Ok(Move { name, alias, versions: [old.clone(), new], to, fence }))
    });
    moves.collect()
}

fn failed(failure: Failure, what: &str) -> Error {
    not_switched(&format!("failed to {what}"), failure)
}
