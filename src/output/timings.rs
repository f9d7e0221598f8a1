//! `--timings`: the steps of a command as an HTML page without scripts, fonts or network requests.
//!
//! The page is a table, so that a screen reader can read it. The bars have their own column, so that no text
//! overlaps them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::harmless::html;
use super::theme::duration;
use super::timeline::{Span, State, Timeline, Work};
use crate::platform::atomic_file;
use crate::platform::private;

const STYLE: &str = include_str!("timings.css");

#[derive(Debug)]
pub(super) struct Title<'a> {
    /// Command, version and stage, as far as they are known.
    pub(crate) headline: &'a str,
    pub(crate) outcome: &'a str,
    pub(crate) at: &'a str,
}

pub(super) fn write(
    path: &Path,
    title: &Title<'_>,
    timeline: &Timeline,
    now: Duration,
) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        private::create_dir_all(folder)?;
    }
    atomic_file::write(path, page(title, timeline, now).as_bytes())
}

/// The timeline must be closed.
pub(super) fn page(title: &Title<'_>, timeline: &Timeline, now: Duration) -> String {
    let whole = now.max(Duration::from_millis(1));
    let mut rows = String::new();
    let orphans = timeline.works.iter().filter(|work| work.step.is_none());
    for (place, step) in timeline.steps.iter().enumerate() {
        rows.push_str(&row("step", &step.name, step.span, whole));
        for work in timeline.works_of(place) {
            rows.push_str(&work_row(work, whole));
        }
    }
    for work in orphans {
        rows.push_str(&work_row(work, whole));
    }
    let headline = html(title.headline);
    let axis: String = (0..=4_u32)
        .map(|quarter| {
            format!("<span style=\"left:{}%\">{}</span>", quarter * 25, duration(whole * quarter / 4))
        })
        .collect();
    let Title { outcome, at, .. } = title;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{headline}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{headline}</h1>\n\
         <p>{outcome}, {at}, deployctl {version}</p>\n{totals}\
         <table>\n<caption hidden>The steps of the command, with their starts and durations</caption>\n\
         <colgroup><col class=\"name\"><col><col class=\"number start\"><col class=\"number\"></colgroup>\n\
         <thead><tr><th scope=\"col\">step</th><th scope=\"col\" class=\"axis\" aria-label=\"timeline\">{axis}</th>\
         <th scope=\"col\" class=\"number start\">start</th><th scope=\"col\" class=\"number\">time</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</main>\n</body>\n</html>\n",
        outcome = html(outcome),
        at = html(at),
        version = env!("CARGO_PKG_VERSION"),
        totals = totals(timeline, now),
    )
}

fn totals(timeline: &Timeline, now: Duration) -> String {
    // A data source that is read during an apply is no change.
    let changes = timeline.works.iter().filter(|work| work.layer.is_some() && work.doing != "read").count();
    let functions: BTreeSet<&str> =
        timeline.works.iter().filter(|work| work.layer.is_none()).map(|work| work.name.as_str()).collect();
    let sum: Duration = timeline.steps.iter().map(|step| step.span.time(now)).sum();
    let slowest = timeline.steps.iter().max_by_key(|step| step.span.time(now));
    let mut text = String::from("<dl>\n");
    let mut add = |name: &str, value: &str| {
        let _ = writeln!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    add("total", &duration(now));
    add("sum of steps", &duration(sum));
    if let Some(step) = slowest {
        add("longest step", &format!("{}, {}", html(&step.name), duration(step.span.time(now))));
    }
    if changes > 0 {
        add("resources changed", &changes.to_string());
    }
    if !functions.is_empty() {
        add("functions published", &functions.len().to_string());
    }
    text.push_str("</dl>\n");
    text
}

fn work_row(work: &Work, whole: Duration) -> String {
    row("work", &format!("{} {}", work.doing, work.name), work.span, whole)
}

fn row(kind: &str, name: &str, span: Span, whole: Duration) -> String {
    let (class, state) = match span.state {
        State::Done => ("done", ""),
        State::Failed => ("failed", " <span class=\"state\">failed</span>"),
        State::Stopped | State::Running => ("stopped", " <span class=\"state\">stopped</span>"),
    };
    let time = span.time(whole);
    let percent = |time: Duration| time.as_secs_f64() / whole.as_secs_f64() * 100.0;
    format!(
        "<tr class=\"{kind} {class}\"><th scope=\"row\">{}{state}</th><td class=\"track\">\
         <span class=\"bar\" style=\"left:{:.3}%;width:{:.3}%\"></span></td>\
         <td class=\"number start\">{}</td><td class=\"number\">{}</td></tr>\n",
        html(name),
        percent(span.start),
        percent(time),
        duration(span.start),
        duration(time)
    )
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::release;
    use super::*;

    #[test]
    fn each_step_resource_and_function_has_a_bar_and_nothing_is_loaded() {
        let (mut timeline, now) = release();
        timeline.close(now);
        let title = Title { headline: "release <1> on \"dev\"", outcome: "released", at: "today" };
        let page = page(&title, &timeline, timeline.time(now));
        assert_eq!(page.matches("class=\"bar\"").count(), 3 + 2 + 2);
        assert!(page.contains("<h1>release &lt;1&gt; on &quot;dev&quot;</h1>"));
        assert!(page.contains("left:12.500%;width:62.500%"), "the apply: from 2 s to 12 s of 16 s");
        for foreign in ["http://", "https://", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
