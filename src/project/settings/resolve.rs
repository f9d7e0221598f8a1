//! Resolves the tables of the file for one stage, and finds the problems of all stages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::contract::ContractTable;
use super::delivery::CanaryOverride;
use super::file::{ArtifactFile, BackendSetting, File, LayerFile, ProbeFile, ProbeSetting, StageFile};
use super::notify::{NotifyFile, NotifySettings};
use super::prepare::PrepareFile;
use super::problem::{Problem, ProblemKind};
use super::validate::{among, nearest};
use super::{
    ArtifactBucket, DEFAULT_WORKSPACE, FILE, LocalSettings, OutputName, Overrides, Settings, Stage,
    StateBackend, required_version,
};
use crate::artifact::{Glibc, Image, Origin, Recipe, Sha256, build};
use crate::error::{Error, ErrorId, Result};
use crate::platform::variables::CALL_TIMEOUT;
use crate::release::artifacts::ArtifactSettings;
use crate::release::canary::Delivery;
use crate::release::check::{Checks, Probe};
use crate::release::model::{AccountId, Malformed, StageName};
use crate::release::once::Preparation;
use crate::terraform::guard::GuardSettings;
use crate::terraform::{Layer, Shared};

impl File {
    /// The JSON Schema of the file.
    pub(super) fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().for_deserialize();
        settings.into_generator().into_root_schema_for::<Self>().to_value()
    }

    /// The table of a stage, and its key.
    fn stage_file(&self, name: &str) -> Option<(&str, &StageFile)> {
        table_of(&self.stages, name)
    }

    fn unknown_stage(&self, name: &StageName) -> Error {
        let known: Vec<_> = self.stages.keys().map(String::as_str).collect();
        let suggestion = nearest(name.as_str(), known.iter().copied())
            .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
        let message = format!("there is no stage {name:?}{suggestion}", name = name.as_str());
        Error::usage(ErrorId::ConfigUnknownStage, message).hint(format!("{FILE} has: {}", known.join(", ")))
    }

    pub(super) fn stage(&self, overrides: &Overrides, problems: &mut Vec<Problem>) -> Result<Stage> {
        let name = match &overrides.stage {
            Some(name) => name.clone(),
            None => self.default_stage.clone().unwrap_or_else(|| "local".to_owned()),
        };
        let name: StageName = name.parse().map_err(|problem| {
            Error::usage(ErrorId::ConfigUnknownStage, "refused: this is not a valid stage name")
                .because(problem)
        })?;
        let table = self.stage_file(name.as_str()).ok_or_else(|| self.unknown_stage(&name))?;
        self.stage_of(name, table, problems)
    }

    /// The stage called `name`, which has this table.
    fn stage_of(
        &self,
        name: StageName,
        (key, stage): (&str, &StageFile),
        problems: &mut Vec<Problem>,
    ) -> Result<Stage> {
        let mut problem = |kind| problems.push(Problem::new(&["stages", key], kind));
        let local = stage.local.then_some(LocalSettings { port: stage.port });
        if local.is_some() && stage.account.is_some() {
            problem(ProblemKind::LocalAccount);
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
        // `resolve` reports an invalid account.
        let account: AccountId = account
            .parse()
            .or_else(|_| crate::local::ACCOUNT.parse())
            .map_err(|_| Error::bug("the account of the local stage is invalid"))?;
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
            .as_ref()
            .map(|bucket| of(&name, bucket))
            .unwrap_or_else(|| format!("{}-{name}-tfstate-{account}", self.project));
        let backend = match self.backend {
            BackendSetting::Deployctl => StateBackend::Deployctl,
            BackendSetting::Own => StateBackend::Own {
                config: stage.backend_config.iter().map(|line| of(&name, line)).collect(),
            },
        };
        // `resolve` reports these, too.
        let owner = |named: &Option<String>| {
            named.as_ref().and_then(|named| named.parse().ok()).unwrap_or_else(|| account.clone())
        };
        Ok(Stage {
            state_bucket_account: owner(&stage.state_bucket_account),
            artifact_bucket_account: owner(&stage.artifact_bucket_account),
            account,
            region,
            profile: stage.profile.clone().filter(|_| local.is_none()),
            cargo_profile: match (&stage.profile, local) {
                (_, None) => build::PROFILE.to_owned(),
                (Some(profile), Some(_)) => profile.clone(),
                (None, Some(_)) => build::QUICK_PROFILE.to_owned(),
            },
            local,
            backend,
            workspace: stage
                .workspace
                .as_ref()
                .map_or_else(|| DEFAULT_WORKSPACE.to_owned(), |workspace| of(&name, workspace)),
            state_bucket,
            previews: stage.previews.as_ref().map(|previews| previews.resolve(key, problems)),
            variables: stage
                .variables
                .iter()
                .map(|(key, value)| (key.clone(), for_stage(&name, value)))
                .collect(),
            pacing: stage.pacing.unwrap_or(local.is_none()),
            call_timeout: call_timeout(std::env::var_os(CALL_TIMEOUT))?,
            name,
        })
    }

    /// Adds the problems of the stages that this command does not use.
    pub(super) fn other_stages(&self, stage: Option<&Stage>, problems: &mut Vec<Problem>) {
        let used = stage.and_then(|stage| self.stage_file(stage.name.as_str())).map(|(key, _)| key);
        for (key, file) in self.stages.iter().filter(|(key, _)| used != Some(key.as_str())) {
            // A template is checked as one of its stages.
            let name = key.replace(TEMPLATE, "x").parse();
            let name = name.map_err(|problem: Malformed| problem.to_string());
            let checked = name.and_then(|name| {
                let checked = self.stage_of(name, (key, file), problems);
                checked.map(drop).map_err(|error| error.causes().first().cloned().unwrap_or(error.message))
            });
            if let Err(reason) = checked {
                problems.push(Problem::new(&["stages", key], ProblemKind::Stage(reason)));
            }
            if let Some(delivery) = &file.delivery {
                drop(delivery.resolve(CanaryOverride::Settings, &["stages", key, "delivery"], problems));
            }
            if let Some(notify) = file.notify.clone() {
                drop(notify.resolve(&["stages", key, "notify"], problems));
            }
        }
        if let Some(name) = self.default_stage.as_ref().filter(|name| self.stage_file(name).is_none()) {
            let suggestion = among(name, self.stages.keys().map(String::as_str));
            problems
                .push(Problem::new(&["default_stage"], ProblemKind::UnknownStage(name.clone(), suggestion)));
        }
    }

    /// Adds the dependencies on layers that do not exist.
    fn unknown_dependencies(&self, problems: &mut Vec<Problem>) {
        for (name, layer) in &self.layers {
            for needed in layer.depends_on.iter().filter(|needed| !self.layers.contains_key(*needed)) {
                let suggestion = among(needed, self.layers.keys().map(String::as_str));
                let kind = ProblemKind::UnknownDependency(needed.clone(), suggestion);
                problems.push(Problem::new(&["layers", name, "depends_on"], kind));
            }
        }
    }

    fn malformed_accounts(&self) -> impl Iterator<Item = Problem> {
        self.stages.iter().flat_map(|(name, stage)| {
            let accounts = [
                ("account", &stage.account),
                ("state_bucket_account", &stage.state_bucket_account),
                ("artifact_bucket_account", &stage.artifact_bucket_account),
            ];
            accounts.into_iter().filter_map(|(key, account)| {
                let rule = account.as_ref()?.parse::<AccountId>().err()?;
                Some(Problem::new(&["stages", name, key], ProblemKind::Account(rule.to_string())))
            })
        })
    }

    fn malformed_regions(&self) -> impl Iterator<Item = Problem> {
        self.stages.iter().filter_map(|(name, stage)| {
            let region = stage.region.as_ref().filter(|region| !is_region(region))?;
            Some(Problem::new(&["stages", name, "region"], ProblemKind::Region(region.clone())))
        })
    }

    /// The settings of stages that do not go with where the states are.
    fn misplaced_states(&self) -> impl Iterator<Item = Problem> {
        let is_own = self.backend == BackendSetting::Own;
        self.stages.iter().flat_map(move |(name, stage)| {
            let is_empty = stage.workspace.as_deref() == Some("");
            let found = [
                ("backend_config", !is_own && !stage.backend_config.is_empty(), ProblemKind::NeedsOwnBackend),
                ("workspace", !is_own && stage.workspace.is_some(), ProblemKind::NeedsOwnBackend),
                ("workspace", is_own && is_empty, ProblemKind::Empty),
                (
                    "state_bucket",
                    is_own && stage.state_bucket.is_some(),
                    ProblemKind::StateBucketOfOwnBackend,
                ),
            ];
            let found = found.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
            found.map(|(key, _, kind)| Problem::new(&["stages", name, key], kind))
        })
    }

    /// The artifact bucket that the file names.
    fn named_bucket(&self, stage: &StageName) -> Option<String> {
        let of_stage = self.stage_file(stage.as_str()).and_then(|(_, stage)| stage.artifact_bucket.as_ref());
        of_stage.or(self.artifact_bucket.as_ref()).map(|name| of(stage, name))
    }

    /// How a new release gets the requests of a stage.
    fn delivery(&self, stage: &StageName, overrides: &Overrides, problems: &mut Vec<Problem>) -> Delivery {
        let of_project = self.delivery.resolve(overrides.canary, &["delivery"], problems);
        let own =
            self.stage_file(stage.as_str()).and_then(|(key, stage)| Some((key, stage.delivery.as_ref()?)));
        match own {
            Some((key, own)) => own.resolve(overrides.canary, &["stages", key, "delivery"], problems),
            None => of_project,
        }
    }

    /// What the stage's own table says of `notify`, and the key of that table.
    fn own_notify(&self, stage: &StageName) -> Option<(String, NotifyFile)> {
        let (key, own) = self.stage_file(stage.as_str())?;
        Some((key.to_owned(), own.notify.clone()?))
    }

    pub(super) fn resolve(
        self,
        root: PathBuf,
        stage: Stage,
        overrides: &Overrides,
        problems: &mut Vec<Problem>,
    ) -> Settings {
        problems.extend(self.malformed_accounts());
        problems.extend(self.misplaced_states());
        let named_bucket = self.named_bucket(&stage.name);
        let delivery = self.delivery(&stage.name, overrides, problems);
        problems.extend(self.malformed_regions());
        if !is_project(&self.project) {
            problems.push(Problem::new(&["project"], ProblemKind::ProjectName));
        }
        if let Some(Err(error)) = self.required_version.as_deref().map(required_version::parse) {
            problems
                .push(Problem::new(&["required_version"], ProblemKind::RequiredVersion(error.to_string())));
        }
        self.unknown_dependencies(problems);
        let is_sent = self.stage_file(stage.name.as_str()).and_then(|(_, own)| own.probe);
        let own_notify = self.own_notify(&stage.name);
        let layers = self.layers.into_iter();
        let layers: Vec<Layer> =
            layers.map(|(name, layer)| layer.resolve(name, &root, &stage.name)).collect();
        let terraform = self.terraform;
        let bucket_layer = Some(&terraform.bucket_layer).filter(|_| named_bucket.is_none());
        for needed in bucket_layer.into_iter().chain([&terraform.contract_layer]) {
            if !layers.iter().any(|layer| layer.name == *needed) {
                problems.push(Problem::new(&["layers"], ProblemKind::UnknownLayer(needed.clone())));
            }
        }
        let contract_table = self.contract.map(|table| table.for_stage(&stage.name));
        let names = self.artifacts.keys().cloned().collect();
        problems.extend(contract_table.iter().flat_map(|table| table.problems(&names)));
        let finished = overrides.artifacts.as_deref();
        let artifacts = self.artifacts.into_iter();
        let artifacts =
            artifacts.map(|(name, artifact)| artifact.resolve(name, finished, problems)).collect();
        if terraform.parallelism == Some(0) {
            problems.push(Problem::new(&["terraform", "parallelism"], ProblemKind::Parallelism));
        }
        let mut checks = Checks { default_check: self.default_check, ..Checks::default() };
        for (check, number) in self.checks.into_iter().zip(1..) {
            let place = format!("checks[{number}]");
            let named = contract_table.as_ref().zip(check.invoked());
            problems.extend(named.and_then(|(table, function)| table.unknown_function(&place, function)));
            check.resolve(&place, &root, &mut checks, problems);
        }
        let preparations = preparations(self.prepare, contract_table.as_ref(), problems);
        let notify = notify(self.notify, own_notify, &stage, problems);
        let probe = self.probe.resolve(is_sent, problems);
        Settings {
            project: self.project,
            stage,
            layers,
            bucket: match named_bucket {
                Some(name) => ArtifactBucket::Named(name),
                None => ArtifactBucket::Output(OutputName {
                    layer: terraform.bucket_layer,
                    output: terraform.bucket_output,
                }),
            },
            contract: OutputName { layer: terraform.contract_layer, output: terraform.contract_output },
            contract_table,
            artifacts,
            probe,
            checks,
            delivery,
            preparations,
            notify,
            terraform: Shared {
                lock_timeout: Some(Duration::from_secs(terraform.lock_timeout_seconds)),
                parallelism: terraform.parallelism,
            },
            guard: GuardSettings {
                allow_actions: terraform.allow_actions,
                ..GuardSettings::new(
                    terraform.protected,
                    terraform.max_destroys,
                    overrides.allow_destroy.clone(),
                )
            },
            allow_existing: terraform.allow_existing,
            wait: overrides.wait,
            root,
        }
    }
}

impl LayerFile {
    fn resolve(self, name: String, root: &Path, stage: &StageName) -> Layer {
        Layer {
            dir: root.join(match &self.path {
                Some(path) => PathBuf::from(of(stage, path)),
                None => Path::new("terraform").join(&name),
            }),
            var_files: self.var_files.iter().map(|file| root.join(of(stage, file))).collect(),
            name,
            depends_on: self.depends_on,
        }
    }
}

impl ProbeSetting {
    /// The probe of a stage that says itself whether it is sent.
    fn resolve(self, is_sent: Option<bool>, problems: &mut Vec<Problem>) -> Option<Probe> {
        let (probe, by_default) = match self {
            Self::Probe(probe) => (probe, true),
            Self::IsSent(is_sent) => (ProbeFile::default(), is_sent),
        };
        if !probe.path.starts_with('/') {
            problems.push(Problem::new(&["probe", "path"], ProblemKind::ProbePath));
        }
        let ProbeFile { path, release_header, timeout_seconds } = probe;
        is_sent.unwrap_or(by_default).then_some(Probe { path, release_header, timeout_seconds })
    }
}

impl ArtifactFile {
    fn resolve(self, name: String, finished: Option<&Path>, problems: &mut Vec<Problem>) -> ArtifactSettings {
        let Self { package, workspace, path, image, architecture, key } = self;
        let mut problem = |field: Option<&str>, kind| {
            let path: Vec<&str> = ["artifacts", name.as_str()].into_iter().chain(field).collect();
            problems.push(Problem::new(&path, kind));
        };
        if [package.is_some(), path.is_some(), image.is_some()].into_iter().filter(|given| *given).count() > 1
        {
            problem(None, ProblemKind::PackageAndPath);
        }
        if let Some(uri) = image {
            if key.is_some() || workspace.is_some() {
                problem(None, ProblemKind::KeyOfImage);
            }
            let image = Image::parse(&uri).unwrap_or_else(|| {
                problem(Some("image"), ProblemKind::ImageWithoutDigest(uri.clone()));
                Image { uri: uri.clone(), digest: Sha256::of(b"") }
            });
            let origin = Origin::Image(image);
            let recipe = Recipe { name, origin, architecture, glibc: Glibc::AL2023 };
            return ArtifactSettings { recipe, key: uri };
        }
        match &key {
            None => problem(None, ProblemKind::KeyMissing),
            Some(key) if !key.contains("{version}") => problem(Some("key"), ProblemKind::KeyWithoutVersion),
            Some(key) if key.starts_with("deployctl/") => problem(Some("key"), ProblemKind::KeyInLedger),
            Some(_) => {}
        }
        if path.is_some() && workspace.is_some() {
            problem(None, ProblemKind::WorkspaceOfPath);
        }
        let origin = match (path, finished) {
            (_, Some(folder)) => Origin::Path(folder.join(format!("{name}.zip"))),
            (Some(path), None) => Origin::Path(path),
            (None, None) => Origin::Package {
                package: package.unwrap_or_else(|| name.clone()),
                workspace: workspace.unwrap_or_default(),
            },
        };
        let key = key.unwrap_or_default();
        ArtifactSettings { recipe: Recipe { name, origin, architecture, glibc: Glibc::AL2023 }, key }
    }
}

fn is_project(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=20).contains(&name.len()) && name.chars().all(is_allowed)
}

/// The functions that run once. Adds those that are not in the contract to the problems.
fn preparations(
    files: Vec<PrepareFile>,
    table: Option<&ContractTable>,
    problems: &mut Vec<Problem>,
) -> Vec<Preparation> {
    let unknown = files
        .iter()
        .zip(1..)
        .filter_map(|(file, number)| table?.unknown_function(&format!("prepare[{number}]"), file.function()));
    problems.extend(unknown);
    files.into_iter().map(PrepareFile::resolve).collect()
}

/// Where the records of the stage are sent. A local stage sends them only if it says so itself.
fn notify(
    file: Option<NotifyFile>,
    of_stage: Option<(String, NotifyFile)>,
    stage: &Stage,
    problems: &mut Vec<Problem>,
) -> Option<NotifySettings> {
    let of_project = file.and_then(|file| file.resolve(&["notify"], problems));
    match of_stage {
        Some((key, own)) => own.resolve(&["stages", &key, "notify"], problems),
        None => of_project.filter(|_| stage.local.is_none()),
    }
}

/// Whether `name` has the form of a region's name, such as `us-gov-west-1`. It becomes a part of host names,
/// to which credentials are sent.
fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = matches!(number.len(), 1 | 2) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (2..=4).contains(&words.len()) && words.iter().all(is_word) && name.len() <= 32
}

/// `text` with the stage's name in place of `{stage}`.
fn of(stage: &StageName, text: &str) -> String {
    text.replace("{stage}", stage.as_str())
}

/// The same in every text of a value.
fn for_stage(stage: &StageName, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(of(stage, text)),
        Value::Array(items) => items.iter().map(|item| for_stage(stage, item)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), for_stage(stage, value))).collect()
        }
        other => other.clone(),
    }
}

/// What the name of a stage ends with that is a template.
const TEMPLATE: char = '*';

/// The table of a stage among those of all stages, and its key: its own, or the longest template that fits its name.
pub(crate) fn table_of<'a, T>(tables: &'a BTreeMap<String, T>, name: &str) -> Option<(&'a str, &'a T)> {
    let fits = |key: &&String| key.strip_suffix(TEMPLATE).is_some_and(|start| name.starts_with(start));
    let template = || tables.keys().filter(fits).max_by_key(|key| key.len());
    let found = |key: &str| tables.get_key_value(key);
    found(name).or_else(|| found(template()?)).map(|(key, table)| (key.as_str(), table))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_name_that_is_safe_in_a_host_name() {
        for region in [
            "us-east-1",
            "cn-northwest-1",
            "us-gov-west-1",
            "us-isob-east-1",
            "eusc-de-east-1",
            "ap-southeast-12",
        ] {
            assert!(is_region(region), "{region}");
        }
        for text in [
            "",
            "us",
            "us-east",
            "us-east-1.evil.example/",
            "evil.example#-1",
            "us-east-1\n",
            "US-EAST-1",
            "us--1",
        ] {
            assert!(!is_region(text), "{text:?}");
        }
    }
}
