//! Terraform's `-json` stream: one message per line.
//!
//! An unknown message is kept as [`Message::Other`]; for a line that is not a message, [`Message::parse`]
//! returns `None`. Values of outputs are not kept.

mod bounds;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::bounds::Diagnostics;

/// A message of the stream. As JSON, it is an object with a `type` and the fields below, in a form that does
/// not depend on the version of Terraform.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The first message of a stream.
    Version {
        /// The version of Terraform or OpenTofu.
        version: String,
        /// The version of the stream's format, such as `1.2`.
        ui: String,
    },
    /// A planned change of a resource.
    PlannedChange(Change),
    /// A change made outside Terraform.
    ResourceDrift(Change),
    /// The counts of planned or completed changes.
    ChangeSummary(Summary),
    /// The names of the outputs, without values.
    Outputs {
        /// The change of each output, by name.
        outputs: BTreeMap<String, OutputChange>,
    },
    /// The progress of one resource.
    Progress(Progress),
    /// An error or a warning.
    Diagnostic(Diagnostic),
    /// A line of text, such as those of `init`.
    Log {
        /// `info`, `warn` or `error`.
        level: String,
        /// The sentence, for people.
        text: String,
    },
    /// The result of a run block, a file, or all files of `terraform test`.
    Test(TestResult),
    /// Any other message, as JSON.
    Other {
        /// The `type` of the message; empty if it has none.
        kind: String,
        /// The message; null if it is larger than 64 KiB.
        json: Value,
    },
}

/// A change of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Change {
    /// The resource's address, such as `aws_s3_bucket.state`.
    pub address: String,
    /// Its type, such as `aws_lambda_function`.
    pub resource_type: String,
    /// `create`, `update`, `delete`, `replace`, `read`, `move`, `import`, `forget` or `noop`.
    pub action: String,
    /// Terraform's reason, such as `cannot_update`.
    pub reason: Option<String>,
}

/// The counts of a plan, an apply or a destroy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The number of created resources.
    pub add: u64,
    /// The number of resources that are changed in place.
    pub change: u64,
    /// The number of imported resources.
    pub import: u64,
    /// The number of destroyed resources.
    pub remove: u64,
    /// `plan`, `apply` or `destroy`.
    pub operation: String,
}

/// A change of an output, without its value, which may be a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputChange {
    /// Whether Terraform marks the value as sensitive.
    pub sensitive: bool,
    /// `create`, `update`, `delete`, `noop`; empty after an apply.
    pub action: String,
}

/// The operation on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Create, update or destroy.
    Apply,
    /// Read a data source, or refresh a resource.
    Refresh,
    /// Run a provisioner.
    Provision,
    /// Open, renew or close an ephemeral resource.
    Ephemeral,
}

/// The phase of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The operation has started.
    Start,
    /// The operation is still running.
    Progress,
    /// The operation has succeeded.
    Complete,
    /// The operation has failed.
    Errored,
}

/// The progress of an operation on a resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The kind of operation.
    pub operation: Operation,
    /// The phase.
    pub phase: Phase,
    /// The resource's address, such as `aws_s3_bucket.state`.
    pub address: String,
    /// `create`, `update`, `delete`, …; `None` for a refresh or a provisioner.
    pub action: Option<String>,
    /// The id of the resource, if it is known.
    pub id: Option<String>,
    /// The duration since the start, in seconds.
    pub seconds: Option<f64>,
    /// Output of a provisioner.
    pub output: Option<String>,
}

/// An error or a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Diagnostic {
    /// Its severity: `error` or `warning`.
    pub severity: String,
    /// The problem in a few words.
    pub summary: String,
    /// The details, for people; may be empty.
    pub detail: String,
    /// The address of the resource.
    pub address: Option<String>,
    /// The position in the configuration.
    pub range: Option<Range>,
    /// The lines of the configuration.
    pub snippet: Option<Snippet>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, detail, address, range, .. } = self;
        f.write_str(summary)?;
        if let Some(Range { filename, start, .. }) = range {
            write!(f, " ({filename}:{})", start.line)?;
        }
        if let Some(address) = address {
            write!(f, " in {address}")?;
        }
        if !detail.is_empty() {
            write!(f, ": {}", detail.trim())?;
        }
        Ok(())
    }
}

/// The most lines of source that are shown.
const MAX_SNIPPET: usize = 10;

impl Diagnostic {
    /// Summary, place, details and source.
    pub(crate) fn whole(&self, dir: Option<&Path>) -> String {
        let rest = self.rest(dir);
        let between = match rest.chars().next() {
            None | Some('\n') => "",
            Some('(') => " ",
            Some(_) if self.address.is_some() && rest.starts_with("in ") => " ",
            Some(_) => ": ",
        };
        format!("{}{between}{rest}", self.summary)
    }

    /// The same on one line, without the source.
    pub(crate) fn line(&self, dir: &Path) -> String {
        self.without_source(dir).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Summary, place and details.
    pub(crate) fn without_source(&self, dir: &Path) -> String {
        Self { snippet: None, ..self.clone() }.whole(Some(dir))
    }

    /// What is shown after the summary: the place, with a path that can be opened from the current folder, the
    /// details and the lines of the source. `dir` is the layer's folder.
    pub(crate) fn rest(&self, dir: Option<&Path>) -> String {
        let mut text = String::new();
        if let Some(Range { filename, start, .. }) = &self.range {
            let file = dir.map_or_else(|| filename.into(), |dir| from_here(&dir.join(filename)));
            text.push_str(&format!("({}:{})", file.display(), start.line));
        }
        if let Some(address) = &self.address {
            text.push_str(&format!(" in {address}"));
        }
        if !self.detail.is_empty() {
            text.push_str(&format!(": {}", self.detail.trim()));
        }
        if let Some(snippet) = &self.snippet {
            text.push_str(&snippet.shown());
        }
        text.trim_start_matches([':', ' ']).to_owned()
    }
}

/// A path relative to the current folder, if it is in it.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let inside = here.and_then(|here| path.strip_prefix(here).map(Path::to_owned).ok());
    inside.unwrap_or_else(|| path.to_owned())
}

impl Snippet {
    /// Each line below the last, with its number.
    fn shown(&self) -> String {
        let lines = self.code.lines().take(MAX_SNIPPET).zip(self.start_line.max(1)..);
        lines.map(|(line, number)| format!("\n{number:>4} | {line}")).collect()
    }
}

/// A range of text in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Range {
    /// The file, relative to the layer's folder.
    pub filename: String,
    /// The position of its first character.
    pub start: Position,
    /// The position after its last character.
    pub end: Position,
}

/// A line and a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The line, counted from 1.
    pub line: u64,
    /// The column, counted from 1.
    pub column: u64,
}

/// The lines of the configuration that cause a diagnostic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snippet {
    /// The enclosing block, such as `resource "aws_s3_bucket" "artifacts"`.
    pub context: Option<String>,
    /// The source lines, joined by newlines.
    pub code: String,
    /// The number of the first line, from 1.
    pub start_line: u64,
    /// The values of the expressions in the lines. Terraform hides sensitive values.
    #[serde(deserialize_with = "null_is_empty")]
    pub values: Vec<SnippetValue>,
}

/// The value of an expression at the time of the diagnostic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnippetValue {
    /// The expression, such as `var.name`.
    pub traversal: String,
    /// Its value as a phrase, such as `is "x"`.
    pub statement: String,
}

/// A result of `terraform test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The test file; `None` for the summary of all files.
    pub path: Option<String>,
    /// The run block; `None` for a whole file or the summary.
    pub run: Option<String>,
    /// `pass`, `fail`, `error` or `skip`.
    pub status: String,
}

impl Message {
    /// Parses one line; `None` if it is not a JSON object.
    pub fn parse(line: &str) -> Option<Self> {
        if !line.starts_with('{') {
            return None;
        }
        // A known type with unexpected fields becomes `Other`, like an unknown type.
        serde_json::from_str::<Wire<'_>>(line).ok().and_then(Wire::into_message).or_else(|| other(line))
    }

    /// The diagnostic, if this is an error.
    pub fn error(&self) -> Option<&Diagnostic> {
        self.diagnostic("error")
    }

    /// The diagnostic, if this is a warning.
    pub fn warning(&self) -> Option<&Diagnostic> {
        self.diagnostic("warning")
    }

    fn diagnostic(&self, severity: &str) -> Option<&Diagnostic> {
        match self {
            Self::Diagnostic(diagnostic) if diagnostic.severity == severity => Some(diagnostic),
            _ => None,
        }
    }
}

fn other(line: &str) -> Option<Message> {
    let json: Value = serde_json::from_str(line).ok()?;
    let kind = json.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Message::Other { kind, json })
}

/// The fields of all message types. Other fields are skipped without being copied.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "@level", borrow, default)]
    level: Cow<'a, str>,
    #[serde(rename = "@message", borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    ui: Cow<'a, str>,
    terraform: Option<String>,
    tofu: Option<String>,
    change: Option<WireChange>,
    hook: Option<WireHook>,
    changes: Option<Summary>,
    outputs: Option<BTreeMap<String, OutputChange>>,
    diagnostic: Option<Diagnostic>,
    #[serde(rename = "@testfile")]
    test_path: Option<String>,
    #[serde(rename = "@testrun")]
    test_run_name: Option<String>,
    test_run: Option<WireTest>,
    test_file: Option<WireTest>,
    test_summary: Option<WireTest>,
}

#[derive(Deserialize)]
struct WireResource {
    addr: String,
    #[serde(default)]
    resource_type: String,
}

#[derive(Deserialize)]
struct WireChange {
    resource: WireResource,
    action: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct WireAddress {
    addr: String,
}

#[derive(Deserialize)]
struct WireHook {
    resource: WireAddress,
    action: Option<String>,
    id_value: Option<String>,
    elapsed_seconds: Option<f64>,
    output: Option<String>,
}

#[derive(Deserialize)]
struct WireTest {
    status: String,
}

impl Wire<'_> {
    fn into_message(self) -> Option<Message> {
        if let Some((operation, phase)) = progress_kind(&self.kind) {
            let hook = self.hook?;
            return Some(Message::Progress(Progress {
                operation,
                phase,
                address: hook.resource.addr,
                action: hook.action,
                id: hook.id_value,
                seconds: hook.elapsed_seconds,
                output: hook.output,
            }));
        }
        Some(match &*self.kind {
            "version" => {
                Message::Version { version: self.terraform.or(self.tofu)?, ui: self.ui.into_owned() }
            }
            "planned_change" => Message::PlannedChange(self.change?.into()),
            "resource_drift" => Message::ResourceDrift(self.change?.into()),
            "change_summary" => Message::ChangeSummary(self.changes?),
            "outputs" => Message::Outputs { outputs: self.outputs? },
            "diagnostic" => Message::Diagnostic(self.diagnostic?),
            "log" | "init_output" => {
                Message::Log { level: self.level.into_owned(), text: self.message.into_owned() }
            }
            "test_run" | "test_file" | "test_summary" => Message::Test(TestResult {
                path: self.test_path,
                run: self.test_run_name,
                status: self.test_run.or(self.test_file).or(self.test_summary)?.status,
            }),
            _ => return None,
        })
    }
}

impl From<WireChange> for Change {
    fn from(change: WireChange) -> Self {
        let WireChange { resource: WireResource { addr, resource_type }, action, reason } = change;
        Self { address: addr, resource_type, action, reason }
    }
}

/// Go writes an empty list as `null` if it was never allocated.
pub(super) fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn progress_kind(kind: &str) -> Option<(Operation, Phase)> {
    let (operation, phase) = kind.rsplit_once('_')?;
    let operation = match operation {
        "apply" => Operation::Apply,
        "refresh" => Operation::Refresh,
        "provision" => Operation::Provision,
        "ephemeral_op" => Operation::Ephemeral,
        _ => return None,
    };
    let phase = match phase {
        "start" => Phase::Start,
        "progress" => Phase::Progress,
        "complete" => Phase::Complete,
        "errored" => Phase::Errored,
        _ => return None,
    };
    Some((operation, phase))
}

#[cfg(test)]
mod tests;
