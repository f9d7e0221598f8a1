//! Resolves arguments, environment and `deployctl.toml` to typed [`Settings`]. All problems are reported at
//! once.
//!
//! Precedence: argument > environment (`DEPLOYCTL_*`) > file > default. clap resolves the first two to
//! [`Overrides`].

mod checks;
mod contract;
mod delivery;
mod file;
mod notify;
mod prepare;
mod previews;
mod problem;
mod required_version;
mod resolve;
mod trust;
mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::artifact::Origin;
use crate::error::{Error, ErrorId, Place, Result};
use crate::release::artifacts::ArtifactSettings;
use crate::release::canary::Delivery;
use crate::release::check::{Checks, Probe};
use crate::release::model::{AccountId, StageName};
use crate::release::once::Preparation;
use crate::terraform::guard::GuardSettings;
use crate::terraform::{Layer, Shared};
pub(crate) use contract::{ContractTable, Unresolved};
pub(crate) use delivery::CanaryOverride;
pub(crate) use file::File;
pub(crate) use notify::NotifySettings;
pub(crate) use previews::{PreviewSettings, lifetime};
use problem::Problem;
pub(crate) use resolve::table_of;
pub(crate) use validate::nearest;
use validate::{Places, without_removable};

/// The file's name, looked for in the current folder and those above it.
pub(crate) const FILE: &str = "deployctl.toml";

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Part of the names of buckets and functions.
    pub(crate) project: String,
    /// The folder of `deployctl.toml`. Paths in the file are relative to it.
    pub(crate) root: PathBuf,
    pub(crate) stage: Stage,
    /// The Terraform layers, sorted by name.
    pub(crate) layers: Vec<Layer>,
    pub(crate) bucket: ArtifactBucket,
    /// The output with the contract between Terraform and deployctl.
    pub(crate) contract: OutputName,
    /// The `[contract]` table, which replaces that output.
    pub(crate) contract_table: Option<ContractTable>,
    pub(crate) artifacts: Vec<ArtifactSettings>,
    /// `None` if the stage's API cannot be reached from where releases run.
    pub(crate) probe: Option<Probe>,
    pub(crate) checks: Checks,
    pub(crate) delivery: Delivery,
    /// What a release invokes once for its version and code.
    pub(crate) preparations: Vec<Preparation>,
    /// Where the records of the ledger are sent.
    pub(crate) notify: Option<NotifySettings>,
    /// Lock timeout and parallelism.
    pub(crate) terraform: Shared,
    pub(crate) guard: GuardSettings,
    /// Names of resources that a layer with an empty state may create although they exist.
    pub(crate) allow_existing: Vec<String>,
    /// How long to wait for the lease of another command.
    pub(crate) wait: Option<Duration>,
}

/// A target of releases.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) name: StageName,
    /// Every command refuses another account.
    pub(crate) account: AccountId,
    pub(crate) region: String,
    /// The AWS profile with the stage's credentials. `None`: the caller's own.
    pub(crate) profile: Option<String>,
    /// The cargo profile of the stage's Rust functions. A stage in AWS always has the one of releases.
    pub(crate) cargo_profile: String,
    /// The local AWS emulator and its port, if one is set; `None` for an AWS account.
    pub(crate) local: Option<LocalSettings>,
    pub(crate) backend: StateBackend,
    /// The workspace of every Terraform command.
    pub(crate) workspace: String,
    /// The bucket of the Terraform state; not used with [`StateBackend::Own`].
    pub(crate) state_bucket: String,
    /// The account that must own it.
    pub(crate) state_bucket_account: AccountId,
    /// The account that must own the artifact bucket.
    pub(crate) artifact_bucket_account: AccountId,
    /// What previews of this stage may be; `None` if there may be none.
    pub(crate) previews: Option<PreviewSettings>,
    /// Terraform variables of this stage.
    pub(crate) variables: BTreeMap<String, Value>,
    /// Keep ahead of the account's API rates. Off for the local AWS emulator, which has none.
    pub(crate) pacing: bool,
    /// How long an attempt of a call to AWS may take, but for uploads and invocations.
    pub(crate) call_timeout: Duration,
}

impl Stage {
    /// The S3 prefix of this stage's Terraform states.
    pub(crate) fn state_prefix(&self, project: &str) -> String {
        format!("{project}/{}", self.name)
    }
}

/// Where the Terraform states of a stage are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateBackend {
    /// In S3, under deployctl's keys.
    Deployctl,
    /// Where the layers' `backend` blocks say, with these settings for `terraform init`: `name=value`, or a file.
    Own { config: Vec<String> },
}

/// What names the artifact bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArtifactBucket {
    /// deployctl.toml.
    Named(String),
    /// An output of the layer that makes it.
    Output(OutputName),
}

/// The workspace of Terraform if no other one is selected.
pub(crate) const DEFAULT_WORKSPACE: &str = "default";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalSettings {
    /// `None`: a free port.
    pub(crate) port: Option<u16>,
}

/// An output of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputName {
    pub(crate) layer: String,
    pub(crate) output: String,
}

/// The settings from the command line and the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) config: Option<PathBuf>,
    pub(crate) stage: Option<String>,
    /// `--allow-destroy`, any number of times.
    pub(crate) allow_destroy: Vec<String>,
    /// `--artifacts`: the folder of finished zips, which replace the artifacts in the file.
    pub(crate) artifacts: Option<PathBuf>,
    /// `--wait`: how long to wait for the lease of another command.
    pub(crate) wait: Option<Duration>,
    /// `--canary`, `--bake` and `--no-canary`.
    pub(crate) canary: CanaryOverride,
}

impl Settings {
    /// Finds, reads and checks `deployctl.toml` for the stage that `overrides` or the file name.
    ///
    /// # Errors
    /// `config.missing`, `config.syntax` (with line and column), `config.required_version`, `config.invalid`
    /// (all problems at once) and `config.unknown_stage`; all exit code 2.
    pub(crate) fn load(overrides: &Overrides) -> Result<Self> {
        let path = match &overrides.config {
            Some(path) => path.clone(),
            None => find_trusted(FILE)?,
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
        required_version::check(places.string("required_version"), path, env!("CARGO_PKG_VERSION"))?;
        let mut all_problems = places.problems(&File::schema());
        let file: Option<File> = if all_problems.is_empty() {
            // Parsed from the text, serde's errors have a position.
            Some(toml::from_str(text).map_err(|source| not_toml(path, text, &source))?)
        } else {
            // Further problems are reported if the rest of the file is usable.
            without_removable(text, &all_problems).and_then(|table| table.try_into().ok())
        };
        if let Some(file) = file {
            let mut problems = Vec::new();
            let stage = file.stage(overrides, &mut problems);
            // A misspelt key is reported instead of the invalid stage that it causes.
            let stage = if all_problems.is_empty() { Some(stage?) } else { stage.ok() };
            file.other_stages(stage.as_ref(), &mut problems);
            let settings = stage.map(|stage| file.resolve(root, stage, overrides, &mut problems));
            problems.retain(|problem: &Problem| !all_problems.iter().any(|cause| cause.explains(problem)));
            for problem in &mut problems {
                problem.line = places.line_of(&problem.path);
            }
            all_problems.extend(problems);
            if let (Some(settings), []) = (settings, all_problems.as_slice()) {
                return Ok(settings);
            }
        }
        Err(invalid(path, all_problems))
    }

    /// The layer called `name`.
    ///
    /// # Errors
    /// `layers.unknown`, with the names of all layers.
    pub(crate) fn layer(&self, name: &str) -> Result<&Layer> {
        self.layers.iter().find(|layer| layer.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
            Error::usage(ErrorId::LayersUnknown, format!("there is no layer {name:?}"))
                .hint(format!("{FILE} has: {}", known.join(", ")))
        })
    }

    /// The layer whose outputs make the contract; `None` for a table that needs no output.
    pub(crate) fn contract_layer(&self) -> Option<&str> {
        let needs_outputs = self.contract_table.as_ref().is_none_or(ContractTable::needs_outputs);
        needs_outputs.then_some(self.contract.layer.as_str())
    }

    /// The layer that creates the artifact bucket.
    pub(crate) fn bucket_layer(&self) -> Option<&str> {
        match &self.bucket {
            ArtifactBucket::Output(output) => Some(&output.layer),
            ArtifactBucket::Named(_) => None,
        }
    }

    /// Whether deployctl compiles functions of the project.
    pub(crate) fn compiles(&self) -> bool {
        self.artifacts.iter().any(|artifact| matches!(artifact.recipe.origin, Origin::Package { .. }))
    }

    /// The folder of deployctl's own files; not committed.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.root.join(".deployctl")
    }
}

fn not_toml(path: &Path, text: &str, source: &toml::de::Error) -> Error {
    let start = source.span().map(|span| span.start);
    let line = start.map(|start| text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1);
    let places = line.and_then(|line| place(path, line, source.message()));
    let mut error = Error::usage(ErrorId::ConfigSyntax, format!("failed to parse {}", path.display()))
        .because(SyntaxError(source.to_string().trim_end().to_owned()))
        .hint("nothing was changed; `deployctl schema config` describes every key");
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

/// The text of a TOML error, with several lines that mark line and column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SyntaxError(String);

/// The file that a command would use, for completions. One of another user is not read.
pub(crate) fn file_for_completion() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(crate::platform::variables::CONFIG) {
        return Some(path.into());
    }
    find_trusted(FILE).ok()
}

/// The nearest file called `name`, in the current folder or above it, unless another user could have written it.
///
/// # Errors
/// `config.missing`, `config.untrusted`.
pub(crate) fn find_trusted(name: &str) -> Result<PathBuf> {
    let found = find_upwards(name)?;
    trust::check_owner(&found, nix::unistd::geteuid().as_raw())?;
    Ok(found)
}

fn find_upwards(name: &str) -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|source| {
        Error::usage(ErrorId::ConfigMissing, "failed to find the current folder").because(source)
    })?;
    here.ancestors().map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::usage(ErrorId::ConfigMissing, format!("there is no {name} in {} or above it", here.display()))
            .hint("run deployctl inside a project, or name the file with --config")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Image, Sha256};

    const PROJECT: &str = "project = \"p\"\n\n[stages.local]\nlocal = true\n\n[stages.private]\nlocal = true\n\
                           probe = false\n\n[layers.base]\n\n[layers.app]\n\n[artifacts]\n";

    fn settings(first: &str, stage: &str) -> Result<Settings> {
        let overrides = Overrides { stage: Some(stage.to_owned()), ..Overrides::default() };
        Settings::parse(&format!("{first}{PROJECT}"), Path::new(FILE), PathBuf::from("/p"), &overrides)
    }

    #[test]
    fn the_probe_is_turned_off_for_the_project_or_for_a_stage() {
        let probed = |first: &str, stage: &str| settings(first, stage).unwrap().probe.is_some();
        assert!(probed("", "local") && !probed("", "private"));
        assert!(!probed("probe = false\n", "local"));
        assert!(probed("probe = { path = \"/x\", timeout_seconds = 5 }\n", "local"));
        let text = "probe = { path = \"x\", timeout_seconds = 0, hedaer = 1 }\n";
        let problems = settings(text, "local").unwrap_err().message;
        for problem in ["an integer from 1 to 3600", "hedaer"] {
            assert!(problems.contains(problem), "{problems}");
        }
        let problems = settings("probe = 7\n", "local").unwrap_err().message;
        assert!(problems.contains("line 1: probe: expected a table, found 7"), "{problems}");
    }

    #[test]
    fn unknown_layers_and_stages_are_problems_like_all_others() {
        let text = "default_stage = \"lcoal\"\n".to_owned() + PROJECT;
        let text = text.replace("[layers.app]\n", "[layers.app]\ndepends_on = [\"bsae\"]\n\n[stages.prd]\n");
        let overrides = Overrides { stage: Some("local".to_owned()), ..Overrides::default() };
        let error = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides).unwrap_err();
        for problem in [
            "line 1: default_stage: there is no stage \"lcoal\"; did you mean \"local\"?",
            "layers.app.depends_on: there is no layer \"bsae\"; did you mean \"base\"?",
            "stages.prd: account: is missing",
            "stages.prd: region: is missing",
        ] {
            assert!(error.message.contains(problem), "{problem} is not in {}", error.message);
        }
        assert_eq!(error.places.len(), 4, "{}", error.message);
    }

    #[test]
    fn a_template_is_the_table_of_every_stage_that_it_fits() {
        let text = PROJECT.replace(
            "[layers.base]",
            "[stages.\"pr-*\"]\nlocal = true\nstate_bucket = \"states\"\nartifact_bucket = \"zips-{stage}\"\n\
             variables = { name = \"p-{stage}\", tags = [\"{stage}\"] }\n\n[stages.\"pr-1*\"]\nlocal = true\n\n\
             [stages.pr-12]\nlocal = true\nprobe = false\n\n[layers.base]",
        );
        let load = |stage: &str| {
            let overrides = Overrides { stage: Some(stage.to_owned()), ..Overrides::default() };
            Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides)
        };
        let settings = load("pr-7").unwrap();
        let stage = settings.stage;
        assert_eq!((stage.name.as_str(), stage.state_bucket.as_str()), ("pr-7", "states"));
        assert_eq!(stage.state_prefix("p"), "p/pr-7");
        assert_eq!(settings.bucket, ArtifactBucket::Named("zips-pr-7".to_owned()));
        assert_eq!(stage.variables["name"], "p-pr-7");
        assert_eq!(stage.variables["tags"], serde_json::json!(["pr-7"]));
        // The longest template, and a table of its own, come first.
        assert!(load("pr-11").unwrap().stage.variables.is_empty());
        assert!(load("pr-12").unwrap().probe.is_none());
        assert_eq!(load("dev").unwrap_err().id, ErrorId::ConfigUnknownStage);
    }

    #[test]
    fn the_tables_of_every_stage_and_template_are_checked_under_their_own_names() {
        let wrong = "delivery = { steps = [{ percent = 50, minutes = 5 }, { percent = 10, minutes = 5 }] }\n\
                     notify = { url = \"ftp://a\", secret_env = \"SECRET\" }\npreviews = { expires = \"soon\" }\n";
        let table = |name: &str| format!("[stages.\"{name}\"]\nlocal = true\n{wrong}\n");
        // `pr-x*` fits `pr-x`, too.
        let tables =
            [table("pr-*"), "[stages.\"pr-x*\"]\nlocal = true\n".to_owned(), table("other")].concat();
        let text = PROJECT.replace("[layers.base]", &format!("{tables}[layers.base]"));
        for stage in ["local", "pr-7"] {
            let overrides = Overrides { stage: Some(stage.to_owned()), ..Overrides::default() };
            let error = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides).unwrap_err();
            for key in ["delivery.steps", "notify.url", "previews.expires"] {
                for table in ["pr-*", "other"] {
                    let place = format!("stages.{table}.{key}: ");
                    assert_eq!(
                        error.message.matches(&place).count(),
                        1,
                        "{stage}, {place}: {}",
                        error.message
                    );
                }
            }
        }
    }

    #[test]
    fn a_stage_has_previews_only_with_a_table_for_them() {
        let previews = |table: &str| {
            let text = PROJECT.replace("[layers.base]", &format!("{table}\n[layers.base]"));
            let overrides = Overrides { stage: Some("local".to_owned()), ..Overrides::default() };
            let settings = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides);
            settings.map(|settings| settings.stage.previews)
        };
        assert_eq!(previews("").unwrap(), None);
        let week = PreviewSettings { lifetime: Duration::from_secs(604_800), max: 8 };
        assert_eq!(previews("[stages.local.previews]\n").unwrap(), Some(week));
        let error = previews("[stages.local.previews]\nexpires = \"soon\"\n").unwrap_err();
        assert!(error.message.contains("a lifetime is a number"), "{}", error.message);
    }

    #[test]
    fn the_profile_of_a_local_stage_is_cargos_and_in_aws_it_is_that_of_the_credentials() {
        let profiles = |stage: &str| {
            let text = format!(
                "project = \"p\"\n\n[stages.s]\n{stage}\n[layers.base]\n[layers.app]\n\n[artifacts]\n"
            );
            let overrides = Overrides { stage: Some("s".to_owned()), ..Overrides::default() };
            let settings = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides).unwrap();
            (settings.stage.profile, settings.stage.cargo_profile)
        };
        assert_eq!(profiles("local = true\n"), (None, "lambda-dev".to_owned()));
        assert_eq!(profiles("local = true\nprofile = \"lambda\"\n"), (None, "lambda".to_owned()));
        let aws = "account = \"111111111111\"\nregion = \"eu-west-1\"\nprofile = \"ops\"\n";
        assert_eq!(profiles(aws), (Some("ops".to_owned()), "lambda".to_owned()));
    }

    #[test]
    fn an_unsafe_region_is_a_problem() {
        let text = PROJECT.replacen("local = true", "local = true\nregion = \"x.evil.example/#\"", 1);
        let overrides = Overrides { stage: Some("private".to_owned()), ..Overrides::default() };
        let error = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides).unwrap_err();
        assert!(error.message.contains("line 5: stages.local.region: "), "{}", error.message);
    }

    fn of_project(text: &str, root: &Path) -> Result<Settings> {
        Settings::parse(text, Path::new(FILE), root.to_owned(), &Overrides::default())
    }

    const ADOPTED: &str = "project = \"p\"\nbackend = \"own\"\nartifact_bucket = \"acme-{stage}\"\n\n\
                           [stages.local]\nlocal = true\nworkspace = \"dev\"\n\
                           backend_config = [\"dev.hcl\", \"key=a/{layer}\"]\n\n[layers.app]\n\
                           path = \"envs/{stage}\"\nvar_files = [\"{stage}.tfvars\"]\n\n[artifacts]\n";

    #[test]
    fn one_root_module_and_its_own_backend_are_enough() {
        let settings = of_project(ADOPTED, Path::new("/p")).unwrap();
        assert_eq!(settings.bucket, ArtifactBucket::Named("acme-local".to_owned()));
        let layer = &settings.layers[0];
        assert_eq!(
            (&layer.dir, &layer.var_files),
            (&"/p/envs/local".into(), &vec!["/p/local.tfvars".into()])
        );
        assert_eq!(settings.stage.workspace, "dev");
        let config = vec!["dev.hcl".to_owned(), "key=a/{layer}".to_owned()];
        assert_eq!(settings.stage.backend, StateBackend::Own { config });
        let variables = settings.variables(None);
        assert!(variables.contains_key("stage") && !variables.contains_key("state_bucket"));
        let of_stage = ADOPTED.replace("workspace", "artifact_bucket = \"other\"\nworkspace");
        let settings = of_project(&of_stage, Path::new("/p")).unwrap();
        assert_eq!(settings.bucket, ArtifactBucket::Named("other".to_owned()));
    }

    #[test]
    fn settings_of_a_backend_go_with_it() {
        let problems = |text: &str| of_project(text, Path::new("/p")).unwrap_err().message;
        let own = problems(&ADOPTED.replace("workspace = \"dev\"", "workspace = \"\"\nstate_bucket = \"b\""));
        for problem in ["stages.local.workspace: must not be empty", "stages.local.state_bucket: is not used"]
        {
            assert!(own.contains(problem), "{own}");
        }
        let other = problems(&ADOPTED.replace("backend = \"own\"\n", ""));
        for key in ["workspace", "backend_config"] {
            assert!(
                other.contains(&format!("stages.local.{key}: is only used with backend = \"own\"")),
                "{other}"
            );
        }
    }

    #[test]
    fn a_file_that_contradicts_the_stage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir_all(dir.path().join("envs/local")).unwrap();
        write(
            "envs/local/main.tf",
            "variable \"stage\" {}\nvariable \"size\" {}\nvariable \"token\" {}\nvariable \"release_version\" {}\n",
        );
        let text = ADOPTED.replace(
            "[layers.app]",
            "[stages.local.variables]\nsize = 5\ntoken = \"hunter2\"\n\n[layers.app]",
        );
        let found = || {
            let settings = of_project(&text, dir.path()).unwrap();
            settings.contradictions(&settings.layers[0])
        };
        write("envs/local/terraform.tfvars", "stage = \"dev\"\nproject = \"not declared\"\n");
        write("local.tfvars", "stage = \"local\"\nsize = \"5\"\n");
        assert_eq!(found(), [""; 0], "the last file agrees");
        write("local.tfvars", "# names\nstage = \"prd\"\ntoken = \"hunter3\"\nrelease_version = \"1\"\n");
        assert_eq!(
            found(),
            [
                "local.tfvars:4 sets release_version, which deployctl sets to the version",
                "local.tfvars:2 sets stage = \"prd\", and stage local of deployctl.toml sets it to \"local\"",
                "local.tfvars:3 sets token, and [stages.local.variables] in deployctl.toml sets it to another value",
            ]
        );
        let replaced = text.replace("size = 5", "size = 5\nstage = \"prd\"");
        let settings = of_project(&replaced, dir.path()).unwrap();
        assert_eq!(settings.contradictions(&settings.layers[0]).len(), 2, "the stage sets the same");
    }

    #[test]
    fn an_artifact_is_built_or_finished_or_an_image() {
        let parse = |artifact: &str| {
            let text = format!("{PROJECT}\n[artifacts.web]\n{artifact}\n");
            let overrides = Overrides { stage: Some("local".to_owned()), ..Overrides::default() };
            Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides)
        };
        let origin = |artifact: &str| parse(artifact).unwrap().artifacts.remove(0).recipe.origin;
        let key = "key = \"web-{version}.zip\"";
        assert_eq!(
            origin(&format!("{key}\nworkspace = \"lambda\"")),
            Origin::Package { package: "web".into(), workspace: "lambda".into() }
        );
        let digest = Sha256::of(b"image");
        let uri = format!("111111111111.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:{}", digest.hex());
        assert_eq!(origin(&format!("image = {uri:?}")), Origin::Image(Image { uri: uri.clone(), digest }));
        for (artifact, problem) in [
            ("package = \"web\"".to_owned(), "key is missing"),
            (format!("{key}\nimage = {uri:?}"), "a container image has no key"),
            ("image = \"web:latest\"".to_owned(), "\"web:latest\" does not name an image by its digest"),
            (format!("{key}\npath = \"a.zip\"\nimage = {uri:?}"), "give one of package, path and image"),
            (format!("{key}\npath = \"a.zip\"\nworkspace = \"x\""), "only a package has a workspace"),
        ] {
            let message = parse(&artifact).unwrap_err().message;
            assert!(message.contains(problem), "{artifact}: {message}");
        }
    }

    #[test]
    fn the_default_check_is_on_unless_the_file_turns_it_off() {
        assert!(settings("", "local").unwrap().checks.default_check);
        assert!(!settings("default_check = false\n", "local").unwrap().checks.default_check);
    }

    #[test]
    fn a_local_stage_notifies_only_if_it_says_so_itself() {
        let notify = "notify = { url = \"https://hooks.example.com/a\", secret_env = \"SECRET\" }\n";
        let dev = "[stages.dev]\naccount = \"111111111111\"\nregion = \"eu-west-1\"\n";
        let text =
            format!("{notify}{}", PROJECT.replacen("[stages.local]", &format!("{dev}[stages.local]"), 1));
        let url = |stage: &str| {
            let overrides = Overrides { stage: Some(stage.to_owned()), ..Overrides::default() };
            let settings = Settings::parse(&text, Path::new(FILE), PathBuf::from("/p"), &overrides);
            settings.unwrap().notify.map(|notify| notify.url.to_string())
        };
        assert_eq!((url("local"), url("dev")), (None, Some("https://hooks.example.com/a".to_owned())));
    }
}
