//! `deployctl logs`: the logs of all functions in one stream, in order of time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::try_join_all;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::context::{Context, version};
use super::invoke::{named, released};
use crate::aws::logs::{Line, Reading};
use crate::documents::LogLine;
use crate::documents::result::SCHEMA;
use crate::engine::failure::Failure;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::release::model::{FunctionKey, FunctionName, FunctionVersion};

/// The logs of all functions in one stream, in the order of their time
///
/// Read from CloudWatch Logs. With --follow it goes on until Ctrl-C, which ends it with exit code 0.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl logs --since 1h\n  deployctl logs --follow --function users_get\n  deployctl logs --release 1.4.2 --output json | jq -r .message"
)]
pub(crate) struct Args {
    /// Go on with what is logged from now on, until Ctrl-C
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only this function: its key, or its full name (may be given several times)
    #[arg(long, value_name = "KEY")]
    pub(super) function: Vec<String>,
    /// From when on: a length of time such as 10m, 2h or 1d, or a point in time such as 2026-11-25T16:00:00Z
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(super) since: String,
    /// Only what the function versions of this release logged, by the ledger
    #[arg(long, value_name = "V")]
    pub(super) release: Option<String>,
}

/// How often CloudWatch is asked for what is new.
const EVERY: Duration = Duration::from_secs(2);

/// A line may become readable some time after it was written, so the last stretch is read again each time.
const OVERLAP: i64 = 15_000;

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let since = since(&args.since, Timestamp::now())?;
    let asked = args.release.as_deref().map(version).transpose()?;
    let session = context.unidentified_read_session().await?;
    let read = async {
        let contract = session.contract().await?;
        let mut functions = chosen(&contract, &args.function)?;
        let mut versions = None;
        if let Some(asked) = &asked {
            let release = released(&session, &contract, asked).await?;
            functions.retain(|(key, _)| release.functions.contains_key(key));
            let version = |(key, _): &(FunctionKey, FunctionName)| {
                Some((key.clone(), release.functions.get(key)?.version.clone()))
            };
            versions = Some(functions.iter().filter_map(version).collect());
        }
        let groups = groups(&session, functions, versions).await?;
        show(context, &session, &groups, since.as_millisecond(), args.follow).await
    };
    let result = tokio::select! {
        result = read => result,
        // Nothing else ends --follow.
        () = session.cancel.cancelled() => match args.follow {
            true => Ok(()),
            false => Err(Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted")),
        },
    };
    if result.as_ref().is_err_and(|error| error.id != ErrorId::AwsUnreachable) {
        session.identify().await?;
    }
    result
}

/// Where functions log to, and whose lines are shown.
struct Groups {
    /// The functions of each log group.
    groups: BTreeMap<String, Vec<(FunctionKey, FunctionName)>>,
    /// The keys in their order, which gives each its colour.
    keys: Vec<FunctionKey>,
    /// The one version of each that is shown, if not all are.
    versions: Option<BTreeMap<FunctionKey, FunctionVersion>>,
}

async fn groups(
    session: &Session,
    functions: Vec<(FunctionKey, FunctionName)>,
    versions: Option<BTreeMap<FunctionKey, FunctionVersion>>,
) -> Result<Groups> {
    let names = functions.iter().map(|(_, name)| session.aws.log_group(name));
    let found = try_join_all(names).await.map_err(unreadable)?;
    let keys = functions.iter().map(|(key, _)| key.clone()).collect();
    let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (group, function) in found.into_iter().zip(functions) {
        groups.entry(group).or_default().push(function);
    }
    Ok(Groups { groups, keys, versions })
}

impl Groups {
    /// Whose line this is; `None` for one that is not to be shown.
    fn owner(&self, group: &str, line: &Line) -> Option<&FunctionKey> {
        let functions = self.groups.get(group)?;
        let key = match (line.function(), functions.as_slice()) {
            (None, [(key, _)]) => key,
            (name, _) => {
                functions.iter().find(|(_, known)| Some(known.as_str()) == name).map(|(key, _)| key)?
            }
        };
        let wanted = self.versions.as_ref().map(|versions| versions.get(key));
        let shown =
            wanted.is_none_or(|wanted| wanted.is_some_and(|wanted| line.version() == Some(wanted.as_str())));
        shown.then_some(key)
    }
}

/// Shows the lines from `from` on, and with `follow` those that are added.
async fn show(context: &Context, session: &Session, groups: &Groups, from: i64, follow: bool) -> Result<()> {
    let mut seen = ProbeResult::default();
    let mut from = from;
    loop {
        let begun = Timestamp::now().as_millisecond();
        let mut readings: Vec<(&str, Reading<'_>)> = groups
            .groups
            .keys()
            .map(|group| (group.as_str(), Reading::new(&session.aws, group, from, None)))
            .collect();
        let mut round = Round::default();
        loop {
            try_join_all(readings.iter_mut().map(|(_, reading)| reading.fill())).await.map_err(unreadable)?;
            let next = readings.iter_mut().filter(|(_, reading)| reading.at().is_some());
            let Some((group, reading)) = next.min_by_key(|(_, reading)| reading.at()) else { break };
            let Some(line) = reading.take() else { break };
            if follow && !seen.is_new(&mut round, group, &line) {
                continue;
            }
            let Some(owner) = groups.owner(group, &line) else { continue };
            if !tell(context, session, groups, owner, line) {
                // stdout is closed, by `| head` for example.
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        // What comes late is looked for in the last stretch; older lines need not be remembered.
        from = from.max(begun - OVERLAP);
        seen.forget_before(from);
        tokio::time::sleep(EVERY).await;
    }
}

/// Prints one line; false when stdout is closed.
fn tell(context: &Context, session: &Session, groups: &Groups, owner: &FunctionKey, line: Line) -> bool {
    let place = groups.keys.iter().position(|key| key == owner).unwrap_or_default();
    let width = groups.keys.iter().map(|key| key.as_str().len()).max().unwrap_or_default();
    let document = LogLine {
        schema: SCHEMA,
        command: "logs",
        stage: session.settings.stage.name.to_string(),
        at: line.time(),
        function: owner.to_string(),
        version: line.version().map(str::to_owned),
        message: line.message.trim_end_matches(['\n', '\r']).to_owned(),
        stream: line.stream,
    };
    context.report.log_line(&document, place, width)
}

/// The lines that were shown, so that reading a stretch again shows only what is new.
#[derive(Debug, Default)]
struct ProbeResult {
    lines: HashMap<Mark, i64>,
}

/// What tells a line from others: CloudWatch's name for it, or all that is known of it and how many were like it.
type Mark = (String, String, u32);

/// Lines that are alike in every respect, counted in one round of reading.
#[derive(Debug, Default)]
struct Round {
    alike: HashMap<(String, String), u32>,
}

impl ProbeResult {
    fn is_new(&mut self, round: &mut Round, group: &str, line: &Line) -> bool {
        let place = format!("{group} {}", line.stream);
        let what = line.id.clone().unwrap_or_else(|| format!("{} {}", line.at, line.message));
        let count = round.alike.entry((place.clone(), what.clone())).or_default();
        *count += 1;
        self.lines.insert((place, what, *count), line.at).is_none()
    }

    fn forget_before(&mut self, at: i64) {
        self.lines.retain(|_, seen| *seen >= at);
    }
}

/// The functions that were named, or all.
fn chosen(contract: &Contract, wanted: &[String]) -> Result<Vec<(FunctionKey, FunctionName)>> {
    let all = contract.functions.iter().map(|(key, target)| (key, &target.name));
    if wanted.is_empty() {
        return Ok(all.map(|(key, name)| (key.clone(), name.clone())).collect());
    }
    wanted.iter().map(|wanted| named(wanted, all.clone())).collect()
}

/// When to begin: a length of time before `now`, or a point in time.
fn since(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let length = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    length
        .ok()
        .filter(|length| *length >= SignedDuration::ZERO)
        .and_then(|length| now.checked_sub(length).ok())
        .ok_or_else(|| {
            Error::usage(
                ErrorId::LogsSince,
                format!("{text:?} is neither a length of time nor a point in time"),
            )
            .hint("write it like 10m, 2h30m, 1d, or 2026-11-25T16:00:00Z")
        })
}

fn unreadable(failure: Failure) -> Error {
    Error::preflight(ErrorId::LogsUnreadable, "failed to read the logs").because(failure).hint(
        "what is live is unchanged; the caller needs logs:FilterLogEvents and lambda:GetFunctionConfiguration",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_length_or_a_point() {
        let now: Timestamp = "2026-11-25T16:00:00Z".parse().unwrap();
        for (text, at) in [
            ("10m", "2026-11-25T15:50:00Z"),
            ("2h30m", "2026-11-25T13:30:00Z"),
            ("1d", "2026-11-24T16:00:00Z"),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(since(text, now).unwrap(), at.parse().unwrap(), "{text}");
        }
        for bad in ["", "ten", "10", "-5m", "5x"] {
            assert_eq!(since(bad, now).unwrap_err().id, ErrorId::LogsSince, "{bad}");
        }
    }

    #[test]
    fn a_line_is_shown_once_however_often_it_is_read_and_two_alike_are_two() {
        let line = |at, message: &str| Line {
            id: None,
            at,
            stream: "2026/11/25/[1]a".to_owned(),
            message: message.to_owned(),
        };
        let mut seen = ProbeResult::default();
        let mut read = |lines: &[Line]| {
            let mut round = Round::default();
            lines.iter().filter(|line| seen.is_new(&mut round, "g", line)).count()
        };
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(2, "b")]), 3);
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(2, "b"), line(2, "late")]), 1);
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(1, "a")]), 1);
    }
}
