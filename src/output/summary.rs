//! The Markdown summary of a GitHub job: what changed, its URL, and the duration of each step.
//!
//! GitHub drops the whole summary of a job step if it is larger than 1 MiB. So rows are left out before that,
//! and a line shows how many.

use std::fmt::Write as _;
use std::time::Duration;

use super::harmless::{markdown as inline, markdown_code, markdown_link, mermaid};
use super::theme::duration;
use super::timeline::{State, Timeline};
use crate::artifact::Sha256;
use crate::documents::result::{Document, Freshness, InfrastructureState, Outcome};
use crate::error::Error;
use crate::terraform::messages::Change;

/// The largest summary of a job step that GitHub shows.
const LIMIT: usize = 1024 * 1024;

/// Room for the end of a cut summary.
const RESERVE: usize = 1024;

const GANTT: &str = "\n<details><summary>Steps</summary>\n\n```mermaid\ngantt\n    dateFormat HH:mm:ss.SSS\n    \
                     axisFormat %M:%S\n";

/// The summary, in a file that already holds `used` bytes.
pub(super) fn markdown(
    document: &Document,
    error: Option<&Error>,
    timeline: &Timeline,
    now: Duration,
    used: u64,
) -> String {
    let used = usize::try_from(used).unwrap_or(usize::MAX);
    let mut page = Page { text: String::new(), room: LIMIT.saturating_sub(used).saturating_sub(RESERVE) };
    // The lists of unlimited length come last.
    page.part("", &head(document, error, now), "");
    page.part("", &failure(error), "");
    page.part("\n| function | version before | version now |\n|---|---|---|\n", &functions(document), "");
    page.part("\n| artifact | sha256 |\n|---|---|\n", &artifacts(document), "");
    page.part("\n**Infrastructure**\n\n", &infrastructure(document, timeline), "");
    page.part(GANTT, &gantt(timeline, now), "```\n\n</details>\n");
    page.part("\n**API**\n\n", &api(document, timeline), "");
    let warnings = timeline.warnings.list.iter().map(|text| format!("- ⚠️ {}\n", inline(text)));
    let omitted = Some(timeline.warnings.omitted).filter(|omitted| *omitted > 0);
    let warnings = warnings.chain(omitted.map(|omitted| format!("- ⚠️ and {omitted} more warnings\n")));
    page.part("\n**Warnings**\n\n", &warnings.collect::<Vec<_>>(), "");
    page.part("\n<details><summary>Resources</summary>\n\n", &resources(timeline), "\n</details>\n");
    page.text
}

/// Markdown of a command, cut to fit into a file that already holds `used` bytes.
pub(super) fn page(markdown: &str, used: u64) -> String {
    let used = usize::try_from(used).unwrap_or(usize::MAX);
    let Some(mut room) = LIMIT.saturating_sub(used).checked_sub(RESERVE) else { return String::new() };
    let lines: Vec<&str> = markdown.split_inclusive('\n').collect();
    let mut page = String::new();
    for (place, line) in lines.iter().enumerate() {
        if line.len() > room {
            // Open blocks are closed, so that the line below is shown.
            let open = |start: &str, end: &str| page.matches(start).count() > page.matches(end).count();
            let fence = page.lines().filter(|line| line.starts_with("```")).count() % 2 == 1;
            let ends = [(fence, "```\n"), (open("<details>", "</details>"), "\n</details>\n")];
            let ends: String = ends.iter().filter(|(is_open, _)| *is_open).map(|(_, end)| *end).collect();
            let left = lines.len() - place;
            let _ = writeln!(page, "{ends}\n_{left} more lines are left out: GitHub shows at most 1 MiB._");
            break;
        }
        room -= line.len();
        page.push_str(line);
    }
    page
}

/// A text of limited size.
struct Page {
    text: String,
    room: usize,
}

impl Page {
    /// Adds a part with as many rows as fit; a part without rows is left out.
    fn part(&mut self, open: &str, rows: &[String], close: &str) {
        if rows.is_empty() || self.room < open.len() + close.len() + RESERVE {
            return;
        }
        self.room -= open.len() + close.len() + RESERVE;
        self.text.push_str(open);
        let mut shown = 0;
        for row in rows.iter().take_while(|row| {
            let fits = row.len() <= self.room;
            self.room = self.room.saturating_sub(if fits { row.len() } else { usize::MAX });
            fits
        }) {
            self.text.push_str(row);
            shown += 1;
        }
        self.text.push_str(close);
        if shown < rows.len() {
            let left = rows.len() - shown;
            let _ = writeln!(self.text, "\n_{left} more lines are left out: GitHub shows at most 1 MiB._");
        }
    }
}

fn head(document: &Document, error: Option<&Error>, now: Duration) -> Vec<String> {
    let stage = inline(document.stage.as_deref().unwrap_or("unknown"));
    let version = inline(document.version.as_deref().unwrap_or("none"));
    let command = document.command;
    let (mark, what) = match document.outcome {
        _ if error.is_some_and(|error| error.kind == crate::error::Kind::Interrupted) => {
            ("🛑", format!("{command} interrupted"))
        }
        Outcome::Released => ("✅", format!("released {version}")),
        Outcome::Unchanged => ("✅", format!("{version} is live, nothing to do")),
        Outcome::Redeployed => ("✅", format!("redeployed the API of {version}")),
        Outcome::Canary => ("🐤", format!("canary of {version} in progress")),
        Outcome::RolledBack => ("↩️", inline(&format!("rolled back {}", super::human::moved(document)))),
        Outcome::SwitchedBack => ("❌", format!("{command} failed and was switched back")),
        Outcome::Stuck => ("🆘", format!("{command} is stuck: a person must act")),
        Outcome::Failed => ("❌", format!("{command} failed")),
    };
    let mut lines = vec![format!("### {mark} {stage}: {what}\n\n")];
    if let Some(url) = &document.url {
        lines.push(format!("{}\n\n", markdown_link(url)));
    }
    let before = document.previous.as_deref().filter(|before| *before != version);
    let before = before.map(|before| format!("before: {} · ", inline(before))).unwrap_or_default();
    lines.push(format!("{before}{}\n", duration(now)));
    lines
}

fn failure(error: Option<&Error>) -> Vec<String> {
    let Some(error) = error else { return Vec::new() };
    let mut lines = vec![format!("\n**{}** `{}`\n\n", inline(&error.message), error.id)];
    for cause in error.causes() {
        lines.push(format!("- {}\n", inline(&cause)));
    }
    if let Some(hint) = &error.hint {
        lines.push(format!("\n**next**: {}\n", inline(hint)));
    }
    lines
}

fn functions(document: &Document) -> Vec<String> {
    let row = |(key, function): (&String, &crate::documents::result::Function)| {
        let before = document.before.get(key).map_or("", String::as_str);
        let (open, close) = if before == function.version { ("", "") } else { ("**", "**") };
        format!("| {} | {} | {open}{}{close} |\n", inline(key), inline(before), inline(&function.version))
    };
    document.functions.iter().map(row).collect()
}

/// What the approver of a promotion compares.
fn artifacts(document: &Document) -> Vec<String> {
    let row = |(name, sha256): (&String, &Sha256)| format!("| {} | `{sha256}` |\n", inline(name));
    document.artifacts.iter().map(row).collect()
}

fn api(document: &Document, timeline: &Timeline) -> Vec<String> {
    let Some(api) = &document.api else { return Vec::new() };
    let state = match api.state {
        Freshness::Fresh => "fresh",
        Freshness::Stale => "stale: the API has changed since",
        Freshness::Unknown if api.reasons.is_empty() => "unknown: deployctl did not make this deployment",
        Freshness::Unknown => "unknown",
    };
    let mut lines = vec![format!("deployment {}, {state}\n\n", markdown_code(&api.deployment_id))];
    let changes = if api.changes.is_empty() { &timeline.api_changes } else { &api.changes };
    lines.extend(changes.iter().chain(&api.reasons).map(|change| format!("- {}\n", inline(change))));
    let unversioned = document.unversioned.iter().flatten();
    lines.extend(unversioned.map(|call| format!("- ⚠️ {}\n", inline(&call.to_string()))));
    lines
}

fn infrastructure(document: &Document, timeline: &Timeline) -> Vec<String> {
    let mut lines = Vec::new();
    if document.infrastructure == Some(InfrastructureState::NotPlanned) {
        lines.push("- not planned (`--code-only`)\n".to_owned());
    }
    for (layer, done) in &timeline.applied {
        lines.push(format!(
            "- {}: {} created, {} changed, {} destroyed\n",
            inline(layer),
            done.add,
            done.change,
            done.remove
        ));
    }
    let only_planned = timeline.changes.iter().filter(|(layer, _)| !timeline.applied.contains_key(*layer));
    lines.extend(only_planned.map(|(layer, changes)| {
        format!("- {}: {} changes planned, not or not wholly applied\n", inline(layer), changes.count)
    }));
    lines
}

fn resources(timeline: &Timeline) -> Vec<String> {
    let mut lines = Vec::new();
    for (layer, changes) in &timeline.changes {
        let line = |change: &Change| inline(&format!("{layer} {}: {}", change.action, change.address));
        lines.extend(changes.list.iter().map(|change| format!("- {}\n", line(change))));
        let omitted = changes.count - changes.list.len();
        if omitted > 0 {
            lines.push(format!("- {} and {omitted} more\n", inline(layer)));
        }
    }
    lines
}

/// The steps as bars of a Gantt chart. Its times of day count from the start of the command.
fn gantt(timeline: &Timeline, now: Duration) -> Vec<String> {
    let bars = timeline.steps.iter().map(|step| {
        let tag = match step.span.state {
            State::Done => "done, ",
            State::Failed => "crit, ",
            State::Stopped | State::Running => "active, ",
        };
        let time = duration(step.span.time(now));
        // Mermaid does not draw a bar without length.
        let end = (step.span.start + step.span.time(now)).max(step.span.start + Duration::from_millis(1));
        format!(
            "    {} {time} :{tag}{}, {}\n",
            mermaid(&step.name),
            time_of_day(step.span.start),
            time_of_day(end)
        )
    });
    bars.collect()
}

fn time_of_day(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::release;
    use super::*;
    use crate::documents::result::Function;

    fn document() -> Document {
        let mut document = Document::new("release", "dev");
        document.outcome = Outcome::Released;
        document.version = Some("1.4.2".to_owned());
        document.previous = Some("1.4.1".to_owned());
        document.url = Some("https://x.example/v1".to_owned());
        for (key, version) in [("users_get", "7"), ("users_post", "3")] {
            let function = Function {
                name: key.to_owned(),
                version: version.to_owned(),
                code_sha256: String::new(),
                alias: None,
                latest: false,
            };
            document.functions.insert(key.to_owned(), function);
            document.before.insert(key.to_owned(), "3".to_owned());
        }
        document.artifacts.insert("users".to_owned(), Sha256::of(b"zip"));
        document
    }

    #[test]
    fn the_summary_shows_what_changed_and_when() {
        let (mut timeline, now) = release();
        timeline.close(now);
        timeline.api_changes = vec!["GET /<b>: added".to_owned()];
        let text = markdown(&document(), None, &timeline, timeline.time(now), 0);
        for line in [
            "### ✅ dev: released 1.4.2",
            "<https://x.example/v1>",
            "before: 1.4.1 · 16.0 s",
            "| users\\_get | 3 | **7** |",
            "| users\\_post | 3 | 3 |",
            "| users | `4a70fe9aa6436e02c2dea340fbd1e352e4ef2d8ce6ca52ad25d4b95471fc8bf2` |",
            "- app: 2 created, 0 changed, 0 destroyed",
            "    terraform apply app 10.0 s :done, 00:00:02.000, 00:00:12.000",
            "    build 16.0 s :active, 00:00:00.000, 00:00:16.000",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_failure_contains_the_hint_and_no_markup() {
        let (mut timeline, now) = release();
        timeline.close(now);
        let mut document = Document::new("release", "dev");
        let error = Error::preflight(crate::error::ErrorId::AwsRead, "no `bucket` <img src=x>")
            .hint("look at [it](http://x)");
        document.fail(&error);
        let text = markdown(&document, Some(&error), &timeline, timeline.time(now), 0);
        assert!(text.starts_with("### ❌ dev: release failed\n"), "{text}");
        assert!(text.contains("**no \\`bucket\\` &lt;img src=x&gt;** `aws.read`"), "{text}");
        assert!(text.contains("**next**: look at \\[it\\](http://x)"), "{text}");
    }

    #[test]
    fn markdown_is_cut_between_lines_and_open_tags_are_closed() {
        let rows: String =
            (0..100_000).map(|n| format!("+ create aws_thing.with_a_long_name[{n}]\n")).collect();
        let text =
            format!("### Plan\n\n<details><summary>Changes</summary>\n\n```diff\n{rows}```\n\n</details>\n");
        for used in [0_u64, 500_000, 1_047_000, 1_047_552, 1_048_576, 5_000_000] {
            let page = page(&text, used);
            let limit = usize::try_from(1_048_576_u64.saturating_sub(used)).unwrap();
            assert!(page.len() <= limit, "{used}: {}", page.len());
            if used <= 500_000 {
                assert!(
                    page.contains("\n```\n\n</details>\n\n_") && page.ends_with("at most 1 MiB._\n"),
                    "{used}"
                );
            }
        }
        assert_eq!(page("### Plan\n", 10), "### Plan\n");
    }

    #[test]
    fn a_summary_is_never_longer_than_github_accepts() {
        let (mut timeline, now) = release();
        timeline.close(now);
        timeline.api_changes = (0..100_000).map(|n| format!("GET /a/long/path/number/{n}: added")).collect();
        let mut document = document();
        let mut api = crate::documents::result::Api {
            id: "a".to_owned(),
            deployment_id: "d".to_owned(),
            fingerprint: None,
            state: Freshness::Fresh,
            changes: Vec::new(),
            reasons: Vec::new(),
        };
        api.changes.clear();
        document.api = Some(api);
        for used in [0_u64, 500_000, 1_040_000, 1_048_576, 5_000_000] {
            let text = markdown(&document, None, &timeline, timeline.time(now), used);
            let limit = usize::try_from(1_048_576_u64.saturating_sub(used)).unwrap();
            assert!(text.len() <= limit, "{used}: {}", text.len());
            if used < 1_000_000 {
                assert!(text.contains("more lines are left out: GitHub shows at most 1 MiB"), "{used}");
                assert!(text.contains("### ✅ dev: released 1.4.2") && text.contains("gantt"), "{used}");
            }
        }
    }
}
