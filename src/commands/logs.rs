//! `deployctl logs`: the logs of all functions in one stream, in order of time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use futures::future::try_join_all;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::completion;
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

/// Show the logs of all functions, merged in the order of time
///
/// Reads CloudWatch Logs. With --follow it continues until Ctrl-C, and then exits with 0.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl logs --since 1h --filter error\n  deployctl logs -n 50\n  deployctl logs --follow --function users_get\n  deployctl logs --release 1.4.2 --output json | jq -r .message"
)]
pub(crate) struct Args {
    /// Continue with new lines, until Ctrl-C
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only this function, by key or full name (may be given several times)
    #[arg(long, value_name = "KEY", add = completion::functions())]
    pub(super) function: Vec<String>,
    /// Show lines since then: a duration such as 10m, 2h or 1d, or a time such as 2026-11-25T16:00:00Z
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(super) since: String,
    /// Only lines of the function versions of this release in the ledger
    #[arg(long, value_name = "V", add = completion::versions())]
    pub(super) release: Option<String>,
    /// Only the last N lines; with --follow, of those before it starts
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) lines: Option<usize>,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
    /// Also the lines that Lambda itself writes: INIT_START, START, END and REPORT. Those of a failure are always
    /// shown
    #[arg(long)]
    pub(super) platform: bool,
}

impl Args {
    fn selects(&self, line: &Line) -> bool {
        let is_wanted = self.filter.as_ref().is_none_or(|text| line.message.contains(text.as_str()));
        is_wanted && (self.platform || !line.is_of_lambda())
    }
}

const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Milliseconds that are read again each time: a line may become readable some time after it was written.
const OVERLAP_MS: i64 = 15_000;

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let since = since(&args.since, Timestamp::now())?;
    let asked = args.release.as_deref().map(version).transpose()?;
    let session = context.unidentified_read_session().await?;
    let read = async {
        let contract = session.contract().await?;
        let mut functions = selected(&contract, &args.function)?;
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
        show(context, &session, &groups, since.as_millisecond(), args).await
    };
    let result = tokio::select! {
        result = read => result,
        // --follow ends normally with Ctrl-C.
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

/// Shows new lines of all functions of `contract`, without an end.
pub(super) async fn follow(context: &Context, session: &Session, contract: &Contract) -> Result<()> {
    let groups = groups(session, selected(contract, &[])?, None).await?;
    let args = Args {
        follow: true,
        function: Vec::new(),
        since: String::new(),
        release: None,
        lines: None,
        filter: None,
        platform: false,
    };
    show(context, session, &groups, Timestamp::now().as_millisecond(), &args).await
}

/// The log groups to read, and the lines to show.
struct Groups {
    /// Several functions can share a log group.
    groups: BTreeMap<String, Vec<(FunctionKey, FunctionName)>>,
    /// The position of a key selects its colour.
    keys: Vec<FunctionKey>,
    /// Shows only these versions; `None`: all versions.
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
    /// The function that wrote the line; `None` if the line is not shown.
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

/// Shows the lines since `from`, and with `follow` new lines.
async fn show(context: &Context, session: &Session, groups: &Groups, from: i64, args: &Args) -> Result<()> {
    let follow = args.follow;
    let mut last = args.lines.map(|lines| (lines, VecDeque::new()));
    let mut shown = ShownLines::default();
    let mut from = from;
    loop {
        let begun = Timestamp::now().as_millisecond();
        let mut readings: Vec<(&str, Reading<'_>)> = groups
            .groups
            .keys()
            .map(|group| (group.as_str(), Reading::new(&session.aws, group, from, None)))
            .collect();
        let mut counts = LineCounts::default();
        loop {
            try_join_all(readings.iter_mut().map(|(_, reading)| reading.fill())).await.map_err(unreadable)?;
            let next = readings.iter_mut().filter(|(_, reading)| reading.at().is_some());
            let Some((group, reading)) = next.min_by_key(|(_, reading)| reading.at()) else { break };
            let Some(line) = reading.take() else { break };
            if follow && !shown.is_new(&mut counts, group, &line) {
                continue;
            }
            let Some(owner) = groups.owner(group, &line).filter(|_| args.selects(&line)) else { continue };
            if let Some((lines, kept)) = &mut last {
                kept.push_back((owner, line));
                if kept.len() > *lines {
                    kept.pop_front();
                }
                continue;
            }
            if !print_line(context, session, groups, owner, line) {
                // stdout is closed, for example by `| head`.
                return Ok(());
            }
        }
        for (owner, line) in last.take().map(|(_, kept)| kept).unwrap_or_default() {
            if !print_line(context, session, groups, owner, line) {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        // The next poll reads again from here; older lines are not read again.
        from = from.max(begun - OVERLAP_MS);
        shown.forget_before(from);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Prints one line; false when stdout is closed.
fn print_line(
    context: &Context,
    session: &Session,
    groups: &Groups,
    owner: &FunctionKey,
    line: Line,
) -> bool {
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

/// The lines that were shown, so that an overlapping read shows only new lines.
#[derive(Debug, Default)]
struct ShownLines {
    lines: HashMap<LineKey, i64>,
}

/// Log group and stream; the event id, or time and message; and the number of equal lines before it.
type LineKey = (String, String, u32);

/// Counts equal lines within one poll.
#[derive(Debug, Default)]
struct LineCounts {
    equal: HashMap<(String, String), u32>,
}

impl ShownLines {
    fn is_new(&mut self, counts: &mut LineCounts, group: &str, line: &Line) -> bool {
        let stream = format!("{group} {}", line.stream);
        let event = line.id.clone().unwrap_or_else(|| format!("{} {}", line.at, line.message));
        let count = counts.equal.entry((stream.clone(), event.clone())).or_default();
        *count += 1;
        self.lines.insert((stream, event, *count), line.at).is_none()
    }

    fn forget_before(&mut self, at: i64) {
        self.lines.retain(|_, shown_at| *shown_at >= at);
    }
}

/// The functions of `--function`, or all.
fn selected(contract: &Contract, wanted: &[String]) -> Result<Vec<(FunctionKey, FunctionName)>> {
    let all = contract.functions.iter().map(|(key, target)| (key, &target.name));
    if wanted.is_empty() {
        return Ok(all.map(|(key, name)| (key.clone(), name.clone())).collect());
    }
    wanted.iter().map(|wanted| named(wanted, all.clone())).collect()
}

/// The value of `--since`: a duration before `now`, or a time.
fn since(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let duration =
        text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    duration
        .ok()
        .filter(|duration| *duration >= SignedDuration::ZERO)
        .and_then(|duration| now.checked_sub(duration).ok())
        .ok_or_else(|| {
            Error::usage(ErrorId::LogsSince, format!("{text:?} is neither a duration nor a time"))
                .hint("write it like 10m, 2h30m, 1d, or 2026-11-25T16:00:00Z")
        })
}

fn unreadable(failure: Failure) -> Error {
    let hint = failure.hint(
        "what is live is unchanged",
        "the caller needs logs:FilterLogEvents and lambda:GetFunctionConfiguration",
    );
    Error::preflight(ErrorId::LogsUnreadable, "failed to read the logs").because(failure).hint(hint)
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
        let mut shown = ShownLines::default();
        let mut read = |lines: &[Line]| {
            let mut counts = LineCounts::default();
            lines.iter().filter(|line| shown.is_new(&mut counts, "g", line)).count()
        };
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(2, "b")]), 3);
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(2, "b"), line(2, "late")]), 1);
        assert_eq!(read(&[line(1, "a"), line(1, "a"), line(1, "a")]), 1);
    }
}
