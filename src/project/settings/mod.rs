//! From arguments, environment and `deployctl.toml` to [`Settings`]: resolved, typed and checked, all
//! problems reported at once.
//!
//! Precedence: argument > environment (`DEPLOYCTL_*`) > file > default. clap resolves the first two; what
//! arrives here as an override has already won over the file.

mod checks;
mod file;
mod problem;
mod trust;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::artifact::{Glibc, Origin, Recipe};
use crate::error::{Error, ErrorId, Place, Result};
use crate::platform::variables::CALL_TIMEOUT;
use crate::release::artifacts::ArtifactSettings;
use crate::release::check::{Checks, Probe};
use crate::release::model::{AccountId, StageName};
use crate::terraform::guard::GuardSettings;
use crate::terraform::{Layer, Shared};
use file::ArtifactFile;
pub(crate) use file::File;
use problem::{Problem, ProblemKind};
pub(crate) use validate::nearest;
use validate::{Places, without_removable};

/// The file's name, looked for in the current folder and those above it.
pub(crate) const FILE: &str = "deployctl.toml";

/// Everything a command needs to know about project and stage.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The project's name: part of the names of buckets and functions.
    pub(crate) project: String,
    /// The folder that holds `deployctl.toml`; all paths in it are relative to this one.
    pub(crate) root: PathBuf,
    /// The stage that this command is about.
    pub(crate) stage: Stage,
    /// The Terraform layers, in the order of their names.
    pub(crate) layers: Vec<Layer>,
    /// Which layer's outputs tell the artifact bucket, and under which name.
    pub(crate) bucket: OutputName,
    /// Which layer's output is the contract between Terraform and deployctl.
    pub(crate) contract: OutputName,
    /// What is built and uploaded.
    pub(crate) artifacts: Vec<ArtifactSettings>,
    /// How a release is recognised from outside.
    pub(crate) probe: Probe,
    /// What a new release must show.
    pub(crate) checks: Checks,
    /// How long Terraform waits for a state that is locked, and how much it does at once.
    pub(crate) terraform: Shared,
    /// What Terraform may not do without being asked.
    pub(crate) guard: GuardSettings,
    /// How long a stage that another command holds is waited for.
    pub(crate) wait: Option<Duration>,
}

/// A target of releases.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) name: StageName,
    /// The account it lives in; every command refuses another one.
    pub(crate) account: AccountId,
    pub(crate) region: String,
    /// The profile of the AWS configuration with the stage's credentials, where it is not the caller's own.
    pub(crate) profile: Option<String>,
    /// The local AWS emulator and its port, if one is set; `None` for an AWS account.
    pub(crate) local: Option<LocalSettings>,
    /// The bucket of the Terraform state.
    pub(crate) state_bucket: String,
    /// Terraform variables of this stage.
    pub(crate) variables: BTreeMap<String, Value>,
    /// Keep ahead of the account's API rates. Off for the local AWS emulator, which has none.
    pub(crate) pacing: bool,
    /// How long an attempt of a call to AWS may take, but for uploads and invocations.
    pub(crate) call_timeout: Duration,
}

impl Stage {
    /// The S3 prefix below which this stage's Terraform states lie.
    pub(crate) fn state_prefix(&self, project: &str) -> String {
        format!("{project}/{}", self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalSettings {
    /// The port to listen on; a free one by default.
    pub(crate) port: Option<u16>,
}

/// An output of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputName {
    pub(crate) layer: String,
    pub(crate) output: String,
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) config: Option<PathBuf>,
    pub(crate) stage: Option<String>,
    /// `--allow-destroy`, any number of times.
    pub(crate) allow_destroy: Vec<String>,
    /// `--artifacts`: the folder of finished zips, which are taken whatever the file says.
    pub(crate) artifacts: Option<PathBuf>,
    /// `--wait`: how long a stage that another command holds is waited for.
    pub(crate) wait: Option<Duration>,
}

impl Settings {
    /// Finds, reads and checks `deployctl.toml` for the stage that `overrides` or the file name.
    ///
    /// # Errors
    /// `config.missing`, `config.syntax` (with line and column), `config.invalid` (all problems at once) and
    /// `config.unknown_stage`; all exit code 2.
    pub(crate) fn load(overrides: &Overrides) -> Result<Self> {
        let path = match &overrides.config {
            Some(path) => path.clone(),
            None => {
                let found = find_upwards()?;
                trust::must_be_ours(&found, nix::unistd::geteuid().as_raw())?;
                found
            }
        };
        let text = std::fs::read_to_string(&path).map_err(|source| {
            Error::usage(ErrorId::ConfigMissing, format!("failed to read {}", path.display()))
                .because(source)
                .hint("name the file with --config, or run deployctl inside a project that has one")
        })?;
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let root = root.canonicalize().map_err(|source| {
            Error::usage(ErrorId::ConfigMissing, format!("failed to open {}", root.display())).because(source)
        })?;
        Self::parse(&text, &path, root, overrides)
    }

    fn parse(text: &str, path: &Path, root: PathBuf, overrides: &Overrides) -> Result<Self> {
        let places = Places::of(text).map_err(|source| not_toml(path, text, &source))?;
        let mut found = places.problems(&File::schema());
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
            problems.retain(|problem: &Problem| !found.iter().any(|reason| reason.explains(problem)));
            for problem in &mut problems {
                problem.line = places.line_of(&problem.path);
            }
            found.extend(problems);
            if let (Some(settings), []) = (settings, found.as_slice()) {
                return Ok(settings);
            }
        }
        Err(invalid(path, found))
    }

    /// The layer called `name`.
    ///
    /// # Errors
    /// `layers.unknown` with those that there are.
    pub(crate) fn layer(&self, name: &str) -> Result<&Layer> {
        self.layers.iter().find(|layer| layer.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
            Error::usage(ErrorId::LayersUnknown, format!("there is no layer {name:?}"))
                .hint(format!("{FILE} has: {}", known.join(", ")))
        })
    }

    /// The folder for everything deployctl keeps beside the project; never committed.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.root.join(".deployctl")
    }
}

fn not_toml(path: &Path, text: &str, source: &toml::de::Error) -> Error {
    let start = source.span().map(|span| span.start);
    let line = start.map(|start| text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1);
    let places = line.and_then(|line| place(path, line, source.message()));
    let mut error = Error::usage(ErrorId::ConfigSyntax, format!("{} is not valid", path.display()))
        .because(SyntaxError(source.to_string().trim_end().to_owned()))
        .hint("the line and column are above; `deployctl schema config` describes every key");
    error.places.extend(places);
    error
}

fn place(path: &Path, line: usize, text: &str) -> Option<Place> {
    Some(Place { file: std::path::absolute(path).ok()?, line, text: text.to_owned() })
}

/// All problems at once, in the order of the file.
fn invalid(path: &Path, mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(|problem| problem.line);
    let number = problems.len();
    let mut message =
        format!("{} has {number} {}:", path.display(), if number == 1 { "problem" } else { "problems" });
    let mut places = Vec::new();
    for problem in problems {
        let text = problem.to_string();
        places.extend(problem.line.and_then(|line| place(path, line, &text)));
        message.push_str("\n  - ");
        if let Some(line) = problem.line {
            message.push_str(&format!("line {line}: "));
        }
        message.push_str(&text);
    }
    let mut error = Error::usage(ErrorId::ConfigInvalid, message)
        .hint("nothing was changed; `deployctl schema config` describes every key");
    error.places = places;
    error
}

/// The text of a TOML error: it shows the line, the column and a pointer, and must stay in one piece.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SyntaxError(String);

fn find_upwards() -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|source| {
        Error::usage(ErrorId::ConfigMissing, "failed to find the current folder").because(source)
    })?;
    here.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file()).ok_or_else(|| {
        Error::usage(ErrorId::ConfigMissing, format!("there is no {FILE} in {} or above it", here.display()))
            .hint("run deployctl inside a project, or name the file with --config")
    })
}

fn call_timeout(text: Option<OsString>) -> Result<Duration> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(crate::aws::timeouts::CALL) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    match seconds.filter(|seconds| (1..=600).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(Error::usage(
            ErrorId::ConfigInvalid,
            format!("{CALL_TIMEOUT}: expected seconds from 1 to 600, found {text:?}"),
        )
        .hint("nothing was changed; 30 is the default")),
    }
}

impl File {
    /// The JSON Schema of the file.
    fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().for_deserialize();
        settings.into_generator().into_root_schema_for::<Self>().to_value()
    }

    fn stage(&self, overrides: &Overrides, problems: &mut Vec<Problem>) -> Result<Stage> {
        let name = match &overrides.stage {
            Some(name) => name.clone(),
            None => self.default_stage.clone().unwrap_or_else(|| "local".to_owned()),
        };
        let name: StageName = name.parse().map_err(|problem| {
            Error::usage(ErrorId::ConfigUnknownStage, "refused: this is not a valid name of a stage")
                .because(problem)
        })?;
        let Some(stage) = self.stages.get(name.as_str()) else {
            let known: Vec<_> = self.stages.keys().map(String::as_str).collect();
            let suggestion = nearest(name.as_str(), known.iter().copied())
                .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
            return Err(Error::usage(
                ErrorId::ConfigUnknownStage,
                format!("there is no stage {name:?}{suggestion}", name = name.as_str()),
            )
            .hint(format!("{FILE} has: {}", known.join(", "))));
        };
        let mut problem = |kind| problems.push(Problem::new(&["stages", name.as_str()], kind));
        let local = stage.local.then_some(LocalSettings { port: stage.port });
        if local.is_some() && stage.account.is_some() {
            problem(ProblemKind::LocalAccount);
        }
        if local.is_some() && stage.profile.is_some() {
            problem(ProblemKind::LocalProfile);
        }
        if local.is_none() && stage.port.is_some() {
            problem(ProblemKind::PortOfAwsStage);
        }
        let account = match &stage.account {
            Some(account) => account.as_str(),
            None if local.is_some() => crate::local::ACCOUNT,
            None => {
                problem(ProblemKind::AccountMissing);
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
                problem(ProblemKind::RegionMissing);
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
        problems: &mut Vec<Problem>,
    ) -> Settings {
        for (name, stage) in &self.stages {
            let malformed = stage.account.as_ref().and_then(|account| account.parse::<AccountId>().err());
            let path = ["stages", name.as_str(), "account"];
            problems
                .extend(malformed.map(|rule| Problem::new(&path, ProblemKind::Account(rule.to_string()))));
        }
        let name_rule = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.project.is_empty() || self.project.len() > 20 || !self.project.chars().all(name_rule) {
            problems.push(Problem::new(&["project"], ProblemKind::ProjectName));
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
                problems.push(Problem::new(&["layers"], ProblemKind::UnknownLayer(needed.clone())));
            }
        }
        let finished = overrides.artifacts.as_deref();
        let artifacts = self.artifacts.into_iter();
        let artifacts =
            artifacts.map(|(name, artifact)| artifact.resolve(name, finished, problems)).collect();
        if terraform.parallelism == Some(0) {
            problems.push(Problem::new(&["terraform", "parallelism"], ProblemKind::Parallelism));
        }
        let mut checks = Checks::default();
        for (check, number) in self.checks.into_iter().zip(1..) {
            check.resolve(&format!("checks[{number}]"), &root, &mut checks, problems);
        }
        if !self.probe.path.starts_with('/') {
            problems.push(Problem::new(&["probe", "path"], ProblemKind::ProbePath));
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
    fn resolve(self, name: String, finished: Option<&Path>, problems: &mut Vec<Problem>) -> ArtifactSettings {
        let Self { package, path, architecture, key } = self;
        if !key.contains("{version}") {
            problems.push(Problem::new(&["artifacts", &name, "key"], ProblemKind::KeyWithoutVersion));
        }
        if key.starts_with("deployctl/") {
            problems.push(Problem::new(&["artifacts", &name, "key"], ProblemKind::KeyInLedger));
        }
        let origin = match (package, path) {
            (Some(_), Some(_)) => {
                problems.push(Problem::new(&["artifacts", &name], ProblemKind::PackageAndPath));
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
