//! The only module that prints: progress to stderr, the result to stdout. In a CI job it also writes
//! annotations, a summary and outputs. [`harmless`] filters all of it.

mod ci;
pub(crate) mod conformance;
pub(crate) mod diagnosis;
mod github;
mod gitlab;
mod harmless;
pub(crate) mod history;
mod human;
mod live;
mod log;
pub(crate) mod options;
pub(crate) mod plan;
mod progress;
mod redraw;
mod stdout;
mod summary;
mod theme;
mod timeline;
mod timings;
mod usage;
mod watch_view;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use self::ci::Ci;
use self::options::{LogFormat, Output, ProgressMode};
use self::progress::{Form, Progress};
use self::stdout::{unwritten, write_json, write_out};
use crate::documents::LogLine;
use crate::error::{EXIT_CHANGES, Error, ErrorId, Result};
use crate::event::Events;
use crate::platform::{atomic_file, variables};

pub(crate) use self::options::Options;
pub(crate) use self::usage::usage;
pub(crate) use self::watch_view::WatchView;
pub(crate) use crate::documents::result::Document;

/// Prints the progress and the result of a command. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    output: Output,
    ci: Option<Ci>,
    form: Form,
    progress: Arc<Mutex<Progress>>,
    /// The first failure to write the result.
    unwritten: Arc<Mutex<Option<Error>>>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let ci = Ci::of(var);
        let mode = match options {
            Options { quiet: true, .. } => ProgressMode::Quiet,
            Options { log_format: LogFormat::Json, .. } => ProgressMode::Json,
            Options { progress, .. } => *progress,
        };
        let form = Form::of(mode, ci);
        let progress = Arc::new(Mutex::new(Progress::new(form, ci)));
        // A CI job with debug logging enabled.
        let debugged = [("RUNNER_DEBUG", "1"), ("CI_DEBUG_TRACE", "true")];
        if options.verbose
            || debugged.iter().any(|(name, on)| ci.is_some() && var(name).as_deref() == Some(*on))
        {
            log::start(&progress, form == Form::Json || options.log_format == LogFormat::Json);
        }
        let report = Self { output: options.output, ci, form, progress, unwritten: Arc::default() };
        if let Some(secret) = var(variables::PROBE_AUTHORIZATION) {
            report.mask(&secret);
        }
        report
    }

    /// Events that this report prints.
    pub(crate) fn events(&self) -> Events {
        if self.form.is_live() {
            // A thread, because the time must be redrawn also while no event arrives. It ends with the
            // report.
            let progress = Arc::downgrade(&self.progress);
            drop(std::thread::spawn(move || {
                while let Some(progress) = progress.upgrade() {
                    locked(&progress).tick();
                    drop(progress);
                    std::thread::sleep(Duration::from_millis(100));
                }
            }));
        }
        let progress = Arc::clone(&self.progress);
        Events::new(move |event| locked(&progress).show(event))
    }

    /// Writes the result of a command that has a document, and returns the exit code.
    pub(crate) fn finish(&self, document: &Document, error: Option<&Error>) -> u8 {
        let took = {
            let mut progress = locked(&self.progress);
            progress.finish();
            progress.timeline.time(Instant::now())
        };
        self.write_ci_files(document, error);
        // The duration is of no interest where nothing was changed.
        let took = (document.outcome != crate::documents::result::Outcome::Unchanged).then_some(took);
        match self.output {
            Output::Json => _ = self.is_written(write_json(document)),
            Output::Human if error.is_none() => self.write_out(&human::result(document, took)),
            Output::Human => {}
        }
        error.map_or(0, |error| self.fail(error))
    }

    /// Writes any other document: as JSON, or as `text`.
    pub(crate) fn show(&self, value: &impl serde::Serialize, text: &str) {
        locked(&self.progress).finish();
        match self.output {
            Output::Json => _ = self.is_written(write_json(value)),
            Output::Human => self.write_out(text),
        }
    }

    /// Writes one value for a script: only on a terminal, `text` is changed.
    ///
    /// # Errors
    /// `output.command` when GitHub's runner would execute a line of `text`.
    pub(crate) fn value(&self, value: &impl serde::Serialize, text: &str) -> Result<()> {
        locked(&self.progress).finish();
        self.is_written(match self.output {
            Output::Json => write_json(value),
            Output::Human if std::io::stdout().is_terminal() => write_out(&harmless::terminal(text)),
            Output::Human if self.on_github() && harmless::has_command(text) => {
                let message = "refused: GitHub would execute a line of the value as a command of the workflow";
                return Err(Error::usage(ErrorId::OutputCommand, message).hint(
                    "nothing was printed; with `--output json` the value is encoded, so that no line of it is \
                     a command",
                ));
            }
            Output::Human => write_out(text),
        });
        Ok(())
    }

    /// Writes a line of a function's log; false when stdout is closed. `place` chooses the colour of the
    /// function's name, which is as wide as `width`.
    pub(crate) fn log_line(&self, line: &LogLine, place: usize, width: usize) -> bool {
        let text = match self.output {
            Output::Json => format!("{}\n", serde_json::json!(line)),
            Output::Human => human::log_line(line, place, width),
        };
        self.write_part(&text)
    }

    /// Writes one of several results, in one line; false when stdout is closed.
    pub(crate) fn line(&self, value: &impl serde::Serialize, text: &str) -> bool {
        match self.output {
            Output::Json => self.write_part(&format!("{}\n", serde_json::json!(value))),
            Output::Human => self.write_part(text),
        }
    }

    /// Shows a status of `status --watch`: redrawn in place on a terminal, otherwise on a new line. False
    /// when stdout is closed.
    pub(crate) fn watch(&self, view: &mut WatchView, document: &Document) -> bool {
        let text = match self.output {
            Output::Json => format!("{}\n", serde_json::json!(document)),
            Output::Human if self.redraws() => {
                return self.is_written(view.draw(&harmless::terminal(&human::watch_view(document))));
            }
            Output::Human => human::one_line(document),
        };
        self.write_part(&text)
    }

    /// Whether `status --watch` redraws in place, also without a change.
    pub(crate) fn redraws(&self) -> bool {
        self.output == Output::Human && std::io::stdout().is_terminal()
    }

    /// Writes unchanged text, independent of `--output`, for another program: shell exports, for example.
    pub(crate) fn raw(&self, text: &str) {
        self.is_written(write_out(text));
    }

    /// Masks this value in the log of a CI job. Must be called before the value is printed.
    pub(crate) fn mask(&self, secret: &str) {
        locked(&self.progress).mask(&github::mask(secret));
    }

    /// Prints an error and returns its exit code.
    pub(crate) fn fail(&self, error: &Error) -> u8 {
        let Error { id, message, hint, .. } = error;
        let causes = error.causes();
        let line = json!({ "event": "error", "id": id.as_str(), "message": message, "causes": causes, "hint": hint });
        let mut progress = locked(&self.progress);
        progress.fail(&human::error(error), &line);
        let parts = [message.as_str(), hint.as_deref().unwrap_or_default()];
        let text = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\n");
        for place in &error.places {
            progress.command(&github::at(place, id.as_str()));
        }
        progress.command(&github::command("error", &[("title", &format!("deployctl {id}"))], &text));
        error.kind.exit_code()
    }

    /// Asks on the terminal and returns the answer; `None` when stdin is not a terminal.
    pub(crate) async fn ask(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut stderr = anstream::stderr();
        stderr.write_all(harmless::terminal(question).as_bytes()).and_then(|()| stderr.flush()).ok()?;
        // The runtime's thread must stay free for Ctrl-C.
        let read = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).map(|_| answer)
        });
        let answer = read.await.ok()?.ok()?;
        Some(answer.trim().to_owned())
    }

    /// Writes the timeline of a command as an HTML page.
    pub(crate) fn timings(&self, file: &Path, headline: &str, code: u8) {
        let mut progress = locked(&self.progress);
        progress.finish();
        let now = progress.timeline.time(Instant::now());
        let at = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %:z").to_string();
        let outcome = if code == 0 { "done".to_owned() } else { format!("failed with exit code {code}") };
        let title = timings::Title { headline, outcome: &outcome, at: &at };
        let shown = file.display();
        let text = match timings::write(file, &title, &progress.timeline, now) {
            Ok(()) => format!("timeline: {shown}"),
            Err(error) => format!("failed to write the timeline to {shown}: {error}"),
        };
        progress.show(&crate::event::Event::Note(text));
    }

    /// Writes the summary and the outputs of a CI job, for a command whose result is Markdown.
    pub(crate) fn write_summary(&self, markdown: &str, outputs: &[(&str, &str)]) {
        self.append_ci_files(|used| summary::page(markdown, used), outputs);
    }

    /// Writes the summary and the outputs of a CI job.
    fn write_ci_files(&self, document: &Document, error: Option<&Error>) {
        let outcome = json!(document.outcome);
        let deployment = document.api.as_ref().map(|api| api.deployment_id.as_str());
        let outputs = [
            ("outcome", outcome.as_str().unwrap_or_default()),
            ("version", document.version.as_deref().unwrap_or_default()),
            ("url", document.url.as_deref().unwrap_or_default()),
            ("deployment_id", deployment.unwrap_or_default()),
        ];
        let summary = |used| {
            let progress = locked(&self.progress);
            let now = progress.timeline.time(Instant::now());
            summary::markdown(document, error, &progress.timeline, now, used)
        };
        self.append_ci_files(summary, &outputs);
    }

    /// Appends to the files that GitHub reads. A write that fails is only a warning, because the command has
    /// ended.
    fn append_ci_files(&self, summary: impl FnOnce(u64) -> String, outputs: &[(&str, &str)]) {
        if !self.on_github() {
            return;
        }
        let file = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut failed = Vec::new();
        if let Some(path) = file("GITHUB_STEP_SUMMARY") {
            let used = path.metadata().map_or(0, |file| file.len());
            failed.extend(atomic_file::append(&path, &summary(used)).err().map(|error| (path, error)));
        }
        if let Some(path) = file("GITHUB_OUTPUT") {
            let text = github::outputs(outputs, &crate::platform::unique_id());
            failed.extend(atomic_file::append(&path, &text).err().map(|error| (path, error)));
        }
        for (path, error) in failed {
            let text = format!("failed to write {}: {error}", path.display());
            locked(&self.progress).show(&crate::event::Event::Warning(text));
        }
    }

    pub(crate) fn on_github(&self) -> bool {
        self.ci == Some(Ci::GitHub)
    }

    /// Writes a part of a result that continues; false when stdout is closed.
    fn write_part(&self, text: &str) -> bool {
        let text = match self.output {
            Output::Json => harmless::json(text).into_owned(),
            Output::Human => self.harmless(text),
        };
        self.is_written(write_out(&text))
    }

    fn write_out(&self, text: &str) {
        self.is_written(write_out(&self.harmless(text)));
    }

    fn harmless(&self, text: &str) -> String {
        if self.on_github() { harmless::github(text) } else { harmless::terminal(text) }
    }

    /// Whether a part of the result was written. A failure is reported when the command ends.
    fn is_written(&self, result: std::io::Result<()>) -> bool {
        let written = result.is_ok();
        if let Some(error) = unwritten(result) {
            self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        written
    }

    /// The exit code of a command that ends with `code`: another one if it succeeded, and its result could not
    /// be written.
    pub(crate) fn exit_code(&self, code: u8) -> u8 {
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        match unwritten {
            Some(error) if [0, EXIT_CHANGES].contains(&code) => self.fail(&error),
            _ => code,
        }
    }
}

fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
