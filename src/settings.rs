//! From arguments, environment and `deployctl.toml` to [`Settings`]: resolved, typed and checked, all
//! problems reported at once.
//!
//! Precedence: argument > environment (`DEPLOYCTL_*`) > file > default. clap resolves the first two; what
//! arrives here as an override has already won over the file.

mod checks;
mod file;
mod trust;
mod walk;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::artifact::{Glibc, Origin, Recipe};
use crate::error::{Error, Place, Result};
use crate::release::check::Checks;
use crate::release::model::{AccountId, StageName, Version};
use crate::terraform::guard::GuardSettings;
use crate::terraform::{Layer, Shared};
use file::ArtifactFile;
pub use file::File;
pub use walk::nearest;
use walk::{Places, without_removable};

/// The file's name, looked for in the current folder and those above it.
pub const FILE: &str = "deployctl.toml";

/// Everything a command needs to know about project and stage.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's name: part of the names of buckets and functions.
    pub project: String,
    /// The folder that holds `deployctl.toml`; all paths in it are relative to this one.
    pub root: PathBuf,
    /// The stage that this command is about.
    pub stage: Stage,
    /// The Terraform layers, in the order of their names.
    pub layers: Vec<Layer>,
    /// Which layer's outputs tell the artifact bucket, and under which name.
    pub bucket: OutputName,
    /// Which layer's output is the contract between Terraform and deployctl.
    pub contract: OutputName,
    /// What is built and uploaded.
    pub artifacts: Vec<ArtifactSettings>,
    /// How a release is recognised from outside.
    pub probe: Probe,
    /// What a new release must show.
    pub checks: Checks,
    /// How long Terraform waits for a state that is locked, and how much it does at once.
    pub terraform: Shared,
    /// What Terraform may not do without being asked.
    pub guard: GuardSettings,
    /// How long a stage that another command holds is waited for.
    pub wait: Option<Duration>,
}

/// A target of releases.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// The account it lives in; every command refuses another one.
    pub account: AccountId,
    /// Its region.
    pub region: String,
    /// The profile of the AWS configuration with the stage's credentials, where it is not the caller's own.
    pub profile: Option<String>,
    /// The embedded AWS, and its port if one is wanted; `None` for a real account.
    pub local: Option<LocalSettings>,
    /// The bucket of the Terraform state.
    pub state_bucket: String,
    /// Terraform variables of this stage.
    pub variables: BTreeMap<String, Value>,
    /// Keep ahead of the account's API rates. Off for the embedded AWS, which has none.
    pub pacing: bool,
    /// How long an attempt of a call to AWS may take, but for uploads and invocations.
    pub call_timeout: Duration,
}

impl Stage {
    /// The S3 prefix below which this stage's Terraform states lie.
    pub fn state_prefix(&self, project: &str) -> String {
        format!("{project}/{}", self.name)
    }
}

/// The embedded AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalSettings {
    /// The port to listen on; a free one by default.
    pub port: Option<u16>,
}

/// An output of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputName {
    /// The layer.
    pub layer: String,
    /// The output.
    pub output: String,
}

/// An artifact to build and upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSettings {
    /// How it is made.
    pub recipe: Recipe,
    /// Its S3 key; `{version}` stands for the release's version.
    pub key: String,
}

impl ArtifactSettings {
    /// Where the zip of `version` lies.
    pub fn key(&self, version: &Version) -> String {
        self.key.replace("{version}", version.as_str())
    }

    /// The version whose zip would lie under `key`.
    pub fn version_of(&self, key: &str) -> Option<Version> {
        let (prefix, _) = self.key.split_once("{version}")?;
        let rest = key.strip_prefix(prefix)?;
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        let versions = ends.filter_map(|end| rest.get(..end)?.parse().ok());
        versions.into_iter().find(|version| self.key(version) == key)
    }
}

/// How a release is recognised from outside, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The path to GET, below the stage's URL.
    pub path: String,
    /// The response header that names the release which answered. Without one, any answer below 500 counts.
    pub release_header: Option<String>,
    /// How long the new release may take to answer, in seconds.
    pub timeout_seconds: u64,
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--stage`
    pub stage: Option<String>,
    /// `--allow-destroy`, any number of times.
    pub allow_destroy: Vec<String>,
    /// `--artifacts`: the folder of finished zips, which are taken whatever the file says.
    pub artifacts: Option<PathBuf>,
    /// `--wait`: how long a stage that another command holds is waited for.
    pub wait: Option<Duration>,
}

impl Settings {
    /// Finds, reads and checks `deployctl.toml` for the stage that `overrides` or the file name.
    ///
    /// # Errors
    /// `config.missing`, `config.syntax` (with line and column), `config.invalid` (all problems at once) and
    /// `config.unknown_stage`; all exit code 2.
    pub fn load(overrides: &Overrides) -> Result<Self> {
        let path = match &overrides.config {
            Some(path) => path.clone(),
            None => {
                let found = find_upwards()?;
                trust::must_be_ours(&found, nix::unistd::geteuid().as_raw())?;
                found
            }
        };
        let text = std::fs::read_to_string(&path).map_err(|source| {
            Error::usage("config.missing", format!("cannot read {}", path.display()))
                .because(source)
                .hint("name the file with --config, or run deployctl inside a project that has one")
        })?;
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let root = root.canonicalize().map_err(|source| {
            Error::usage("config.missing", format!("cannot open {}", root.display())).because(source)
        })?;
        Self::parse(&text, &path, root, overrides)
    }

    fn parse(text: &str, path: &Path, root: PathBuf, overrides: &Overrides) -> Result<Self> {
        let places = Places::of(text).map_err(|source| not_toml(path, text, &source))?;
        let schema = crate::schema::find(crate::schema::CONFIG).map(crate::schema::Entry::schema);
        let found = places.problems(&schema.unwrap_or_default());
        let mut lines: Vec<(Option<usize>, String)> =
            found.iter().map(|problem| (problem.line, problem.text.clone())).collect();
        let file: Option<File> = if found.is_empty() {
            // From the text itself, serde's errors have a place.
            Some(toml::from_str(text).map_err(|source| not_toml(path, text, &source))?)
        } else {
            // What else is wrong can be told where the rest makes sense by itself.
            without_removable(text, &found).and_then(|table| table.try_into().ok())
        };
        if let Some(file) = file {
            let mut problems = Vec::new();
            let stage = file.stage(overrides, &mut problems);
            // A key that is misspelt explains more than the stage that it made unusable.
            let stage = if found.is_empty() { Some(stage?) } else { stage.ok() };
            let settings = stage.map(|stage| file.resolve(root, stage, overrides, &mut problems));
            problems.retain(|text| !found.iter().any(|problem| problem.explains(text)));
            lines.extend(problems.into_iter().map(|text| (places.line_of(&text), text)));
            if let (Some(settings), []) = (settings, lines.as_slice()) {
                return Ok(settings);
            }
        }
        Err(invalid(path, lines))
    }

    /// The layer called `name`.
    ///
    /// # Errors
    /// `layers.unknown` with those that there are.
    pub fn layer(&self, name: &str) -> Result<&Layer> {
        self.layers.iter().find(|layer| layer.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
            Error::usage("layers.unknown", format!("there is no layer {name:?}"))
                .hint(format!("{FILE} has: {}", known.join(", ")))
        })
    }

    /// The folder for everything deployctl keeps beside the project; never committed.
    pub fn work_dir(&self) -> PathBuf {
        self.root.join(".deployctl")
    }
}

fn not_toml(path: &Path, text: &str, source: &toml::de::Error) -> Error {
    let start = source.span().map(|span| span.start);
    let line = start.map(|start| text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1);
    let places = line.and_then(|line| place(path, line, source.message()));
    let mut error = Error::usage("config.syntax", format!("{} is not valid", path.display()))
        .because(SyntaxError(source.to_string().trim_end().to_owned()))
        .hint("the line and column are above; `deployctl schema config` describes every key");
    error.places.extend(places);
    error
}

fn place(path: &Path, line: usize, text: &str) -> Option<Place> {
    Some(Place { file: std::path::absolute(path).ok()?, line, text: text.to_owned() })
}

/// All problems at once, in the order of the file.
fn invalid(path: &Path, mut lines: Vec<(Option<usize>, String)>) -> Error {
    lines.sort_by_key(|(line, _)| *line);
    let number = lines.len();
    let mut message =
        format!("{} has {number} {}:", path.display(), if number == 1 { "problem" } else { "problems" });
    let mut places = Vec::new();
    for (line, text) in lines {
        places.extend(line.and_then(|line| place(path, line, &text)));
        message.push_str("\n  - ");
        if let Some(line) = line {
            message.push_str(&format!("line {line}: "));
        }
        message.push_str(&text);
    }
    let mut error = Error::usage("config.invalid", message)
        .hint("nothing was changed; `deployctl schema config` describes every key");
    error.places = places;
    error
}

/// The text of a TOML error: it shows the line, the column and a pointer, and must stay in one piece.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SyntaxError(String);

fn find_upwards() -> Result<PathBuf> {
    let here = std::env::current_dir()
        .map_err(|source| Error::usage("config.missing", "cannot tell the current folder").because(source))?;
    here.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file()).ok_or_else(|| {
        Error::usage("config.missing", format!("there is no {FILE} in {} or above it", here.display()))
            .hint("run deployctl inside a project, or name the file with --config")
    })
}

/// The variable with the seconds that an attempt of a call to AWS may take.
const CALL_TIMEOUT: &str = "DEPLOYCTL_CALL_TIMEOUT";

fn call_timeout(text: Option<OsString>) -> Result<Duration> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(crate::aws::timeouts::CALL) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    match seconds.filter(|seconds| (1..=600).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(Error::usage(
            "config.invalid",
            format!("{CALL_TIMEOUT}: expected seconds from 1 to 600, found {text:?}"),
        )
        .hint("nothing was changed; 30 is the default")),
    }
}

impl File {
    fn stage(&self, overrides: &Overrides, problems: &mut Vec<String>) -> Result<Stage> {
        let name = match &overrides.stage {
            Some(name) => name.clone(),
            None => self.default_stage.clone().unwrap_or_else(|| "local".to_owned()),
        };
        let name: StageName = name.parse().map_err(|problem| {
            Error::usage("config.unknown_stage", "the stage cannot have this name").because(problem)
        })?;
        let Some(stage) = self.stages.get(name.as_str()) else {
            let known: Vec<_> = self.stages.keys().map(String::as_str).collect();
            let meant = nearest(name.as_str(), known.iter().copied())
                .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
            return Err(Error::usage(
                "config.unknown_stage",
                format!("there is no stage {name:?}{meant}", name = name.as_str()),
            )
            .hint(format!("{FILE} has: {}", known.join(", "))));
        };
        let mut problem = |text: String| problems.push(format!("stages.{name}: {text}"));
        let local = stage.local.then_some(LocalSettings { port: stage.port });
        if local.is_some() && stage.account.is_some() {
            problem("a local stage has no account".into());
        }
        if local.is_some() && stage.profile.is_some() {
            problem("a local stage needs no profile".into());
        }
        if local.is_none() && stage.port.is_some() {
            problem("only a local stage has a port".into());
        }
        let account = match &stage.account {
            Some(account) => account.as_str(),
            None if local.is_some() => crate::local::ACCOUNT,
            None => {
                problem("account: name it, since deployctl refuses to write to one that is not named".into());
                crate::local::ACCOUNT
            }
        };
        // A malformed one is a problem that `resolve` names, and ends the command.
        let account: AccountId = account
            .parse()
            .or_else(|_| crate::local::ACCOUNT.parse())
            .map_err(|_| Error::bug("the local stage's account is not an account"))?;
        let region = match (&stage.region, local) {
            (Some(region), _) => region.clone(),
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                problem("region: is missing".into());
                String::new()
            }
        };
        let state_bucket = stage
            .state_bucket
            .clone()
            .unwrap_or_else(|| format!("{}-{name}-tfstate-{account}", self.project));
        Ok(Stage {
            account,
            region,
            profile: stage.profile.clone(),
            local,
            state_bucket,
            variables: stage.variables.clone(),
            pacing: stage.pacing.unwrap_or(local.is_none()),
            call_timeout: call_timeout(std::env::var_os(CALL_TIMEOUT))?,
            name,
        })
    }

    fn resolve(
        self,
        root: PathBuf,
        stage: Stage,
        overrides: &Overrides,
        problems: &mut Vec<String>,
    ) -> Settings {
        for (name, stage) in &self.stages {
            let malformed = |rule| problems.push(format!("stages.{name}.account: {rule}"));
            stage.account.as_ref().and_then(|account| account.parse::<AccountId>().err()).map(malformed);
        }
        let name_rule = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.project.is_empty() || self.project.len() > 20 || !self.project.chars().all(name_rule) {
            problems.push("project: use 1 to 20 lower-case letters, digits and '-'".into());
        }
        let layers: Vec<Layer> = self
            .layers
            .into_iter()
            .map(|(name, layer)| Layer {
                dir: root.join(layer.path.unwrap_or_else(|| Path::new("terraform").join(&name))),
                name,
                depends_on: layer.depends_on,
            })
            .collect();
        let terraform = self.terraform;
        for needed in [&terraform.bucket_layer, &terraform.contract_layer] {
            if !layers.iter().any(|layer| layer.name == *needed) {
                problems.push(format!("layers: there is no layer {needed:?}, which [terraform] names"));
            }
        }
        let finished = overrides.artifacts.as_deref();
        let artifacts = self.artifacts.into_iter();
        let artifacts =
            artifacts.map(|(name, artifact)| artifact.resolve(name, finished, problems)).collect();
        if terraform.parallelism == Some(0) {
            problems.push("terraform.parallelism: at least 1".into());
        }
        let mut checks = Checks::default();
        for (check, number) in self.checks.into_iter().zip(1..) {
            check.resolve(&format!("checks[{number}]"), &root, &mut checks, problems);
        }
        if !self.probe.path.starts_with('/') {
            problems.push("probe.path: must begin with '/'".into());
        }
        Settings {
            project: self.project,
            stage,
            layers,
            bucket: OutputName { layer: terraform.bucket_layer, output: terraform.bucket_output },
            contract: OutputName { layer: terraform.contract_layer, output: terraform.contract_output },
            artifacts,
            probe: Probe {
                path: self.probe.path,
                release_header: self.probe.release_header,
                timeout_seconds: self.probe.timeout_seconds,
            },
            checks,
            terraform: Shared {
                lock_timeout: Some(Duration::from_secs(terraform.lock_timeout_seconds)),
                parallelism: terraform.parallelism,
            },
            guard: GuardSettings::new(
                terraform.protected,
                terraform.max_destroys,
                overrides.allow_destroy.clone(),
            ),
            wait: overrides.wait,
            root,
        }
    }
}

impl ArtifactFile {
    fn resolve(self, name: String, finished: Option<&Path>, problems: &mut Vec<String>) -> ArtifactSettings {
        let Self { package, path, architecture, key } = self;
        if !key.contains("{version}") {
            problems.push(format!(
                "artifacts.{name}.key: must contain {{version}}, or one release would overwrite another"
            ));
        }
        if key.starts_with("deployctl/") {
            problems.push(format!("artifacts.{name}.key: deployctl/ is where the ledger lies"));
        }
        let origin = match (package, path) {
            (Some(_), Some(_)) => {
                problems.push(format!("artifacts.{name}: give either package or path"));
                Origin::Package(name.clone())
            }
            (None, Some(path)) => Origin::Path(path),
            (package, None) => Origin::Package(package.unwrap_or_else(|| name.clone())),
        };
        let origin = match finished {
            Some(folder) => Origin::Path(folder.join(format!("{name}.zip"))),
            None => origin,
        };
        ArtifactSettings { recipe: Recipe { name, origin, architecture, glibc: Glibc::AL2023 }, key }
    }
}
