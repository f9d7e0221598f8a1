//! Runs Terraform in a layer: `init` if it is needed, `plan` to a file, `apply` of that file, `output`.
//!
//! A driver is a value: program, stage, environment, backend and variables are fixed when it is created, so
//! that several layers can be processed at once. The observer receives every line of output; errors are
//! typed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::commands::{Init, PlanOptions, Shared, Subcommand};
use super::environment::{self, Environment, Parts};
use super::failure::{Failure, Reason};
use super::layers::Layer;
use super::messages::{Diagnostic, Diagnostics, Message, TestResult};
use super::mirror::Mirrors;
use super::observer::{Activity, Observer};
use super::outputs::Outputs;
use super::plan::Plan;
use super::signals::{self, Signals, UNSAVED_STATE};
use super::version::Terraform;
use super::{init, lock_file, validation, variables};
use crate::platform::process::{Command, Stream};
use crate::platform::{atomic_file, private};

/// Everything that is needed to run Terraform for a stage.
#[derive(Clone)]
pub struct Driver {
    /// The program that is run.
    pub terraform: Terraform,
    /// The stage's name, used in messages.
    pub stage: String,
    /// The folder of the layers' `TF_DATA_DIR`s, each named after its layer. Every stage needs its own
    /// folder.
    pub data_root: PathBuf,
    /// Changes to the inherited environment, such as credentials and endpoints.
    pub env: Environment,
    /// Where the states are stored.
    pub backend: Backend,
    /// Values of Terraform variables, by name. A layer ignores variables that it does not declare. They replace the
    /// values of tfvars files.
    pub variables: BTreeMap<String, Value>,
    /// A folder to install providers from. `None`: where Terraform is configured to, usually the registry.
    pub provider_mirror: Option<PathBuf>,
    /// The folder in which a mirror is searched if the registry is unreachable. Only a mirror whose packages
    /// have the hashes of the layer's lock file is used.
    pub mirror_search_root: PathBuf,
    /// The workspace of every command. `None`: the selected workspace ([`Subcommand::WorkspaceSelect`]).
    pub workspace: Option<String>,
    /// Lock timeout and parallelism.
    pub shared: Shared,
    /// The file for Terraform's own log (`TF_LOG_PATH`). `None`: no log.
    pub log_file: Option<PathBuf>,
    /// Receives what Terraform reports.
    pub observer: Observer,
    /// Cancelling it interrupts the running program.
    pub cancel: CancellationToken,
}

/// Shows only the names of variables: their values may be secrets.
impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("terraform", &self.terraform)
            .field("stage", &self.stage)
            .field("data_root", &self.data_root)
            .field("env", &self.env.keys())
            .field("variables", &self.variables.keys())
            .finish_non_exhaustive()
    }
}

/// The result of a plan.
#[derive(Debug)]
pub enum PlanOutcome {
    /// The resources match the configuration.
    NoChanges {
        /// What Terraform warned of, failed `check` blocks included.
        warnings: Vec<Diagnostic>,
    },
    /// There are changes to apply.
    Changes(PlannedLayer),
}

/// A plan that can be applied. Dropping it deletes the plan file.
#[derive(Debug)]
pub struct PlannedLayer {
    /// The planned changes.
    pub plan: Plan,
    /// What Terraform warned of, failed `check` blocks included.
    pub warnings: Vec<Diagnostic>,
    file: PlanFile,
}

/// A plan file. It contains secrets: its mode is 0600, its folder's 0700, and both are deleted when it is
/// dropped.
#[derive(Debug)]
struct PlanFile {
    folder: tempfile::TempDir,
    /// Locks the folder until this process ends, however it ends: only an unlocked plan is left behind.
    _lock: File,
}

impl PlanFile {
    fn create(data_dir: &Path) -> Result<Self, Failure> {
        let create = || {
            let (folder, lock) = locked_folder(data_dir)?;
            let file = Self { folder, _lock: lock };
            // Terraform keeps the mode of an existing file.
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.write(true).create_new(true).open(file.path())?;
            Ok(file)
        };
        create().map_err(|e| Failure::io("create a plan file", e))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("plan")
    }

    /// Whether the file, a zip archive, ends with the end record of its directory.
    fn is_complete(&self) -> bool {
        const DIRECTORY_END: &[u8; 4] = b"PK\x05\x06";
        const LENGTH: usize = 22;
        /// A plan that OpenTofu has encrypted is JSON.
        #[derive(serde::Deserialize)]
        struct Encrypted {
            #[serde(rename = "encrypted_data")]
            _data: serde::de::IgnoredAny,
        }
        let bytes = std::fs::read(self.path()).unwrap_or_default();
        let end = bytes.len().checked_sub(LENGTH).map(|start| &bytes[start..]);
        end.is_some_and(|end| end.starts_with(DIRECTORY_END))
            || serde_json::from_slice::<Encrypted>(&bytes).is_ok()
    }
}

/// Creates a folder for a plan, and locks it.
fn locked_folder(data_dir: &Path) -> std::io::Result<(tempfile::TempDir, File)> {
    loop {
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(PLAN).permissions(private).tempdir_in(data_dir)?;
        let lock = match File::open(folder.path()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            lock => lock?,
        };
        // Some network file systems cannot lock a folder; `is_abandoned` then uses its age.
        drop(lock.lock());
        // Another command may have deleted the folder before it was locked.
        if folder.path().exists() {
            return Ok((folder, lock));
        }
    }
}

impl Driver {
    /// A driver with defaults: the inherited environment, the backend settings of the layers, no variables,
    /// no observer. Set its fields to change them.
    pub fn new(terraform: Terraform, stage: impl Into<String>, data_root: impl Into<PathBuf>) -> Self {
        Self {
            terraform,
            stage: stage.into(),
            data_root: data_root.into(),
            env: Environment::new(),
            backend: Backend::default(),
            variables: BTreeMap::new(),
            provider_mirror: None,
            mirror_search_root: PathBuf::from("/"),
            workspace: None,
            shared: Shared::default(),
            log_file: None,
            observer: Observer::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// Runs `init` if one of its inputs has changed since the last successful `init`. Returns whether it ran.
    pub async fn init_if_needed(&self, layer: &Layer) -> Result<bool, Failure> {
        let needed = self.needs_init(layer)?;
        if needed {
            self.init(layer).await?;
        }
        Ok(needed)
    }

    /// Whether an input of `init` has changed since the last successful `init`.
    pub fn needs_init(&self, layer: &Layer) -> Result<bool, Failure> {
        init::is_needed(self, layer).map_err(|failure| failure.at(&layer.name, &self.stage))
    }

    /// Runs `terraform init` in a layer.
    pub async fn init(&self, layer: &Layer) -> Result<(), Failure> {
        self.with_layer_context(layer, init::run(self, layer)).await
    }

    /// Plans a layer.
    ///
    /// # Errors
    /// [`Reason::NotInitialised`] before `init`, and any other [`Reason`] that Terraform reports.
    pub async fn plan(&self, layer: &Layer, options: PlanOptions) -> Result<PlanOutcome, Failure> {
        self.with_layer_context(layer, self.plan_to_file(layer, options)).await
    }

    async fn plan_to_file(&self, layer: &Layer, options: PlanOptions) -> Result<PlanOutcome, Failure> {
        let file = PlanFile::create(&self.prepared_data_dir(layer)?)?;
        let var_files = [self.var_files(layer, file.folder.path())?, options.var_files].concat();
        let options = PlanOptions { var_files, ..options };
        let plan = Subcommand::Plan { options, out: file.path() };
        let mut signals = Signals::default();
        let is_success = |code| code == 0 || code == 2;
        let mut warnings = Diagnostics::default();
        let mut read = |message: &Message| {
            message.warning().into_iter().for_each(|warning| warnings.add(warning));
            signals.add(message);
        };
        let code = self.stream_to(layer, &plan, is_success, &mut read).await;
        let code = code.inspect_err(|failure| {
            if matches!(*failure.reason, Reason::NotInitialised) {
                // The data folder was deleted or damaged.
                init::forget(&self.data_dir(layer));
            }
        })?;
        if code == 0 {
            signals.confirm_no_changes(&self.terraform.program)?;
            return Ok(PlanOutcome::NoChanges { warnings: warnings.into_vec() });
        }
        // On a full disk, Terraform reports success all the same.
        if !file.is_complete() {
            return Err(Failure::new(Reason::PlanNotWritten));
        }
        let json = self.read_document(layer, &Subcommand::Show { plan: Some(file.path()) }).await?;
        let plan = Plan::parse(json.as_bytes())?;
        Ok(PlanOutcome::Changes(PlannedLayer { plan, warnings: warnings.into_vec(), file }))
    }

    /// Applies a plan: these changes and no others.
    ///
    /// # Errors
    /// [`Reason::StalePlan`] if the state changed after the plan, and any other [`Reason`] that Terraform
    /// reports.
    pub async fn apply(&self, layer: &Layer, planned: PlannedLayer) -> Result<(), Failure> {
        let apply = async {
            let apply = Subcommand::Apply { plan: planned.file.path() };
            let mut signals = Signals::default();
            self.stream_to(layer, &apply, |code| code == 0, &mut |message| signals.add(message))
                .await
                .map_err(|failure| signals::of_apply(layer, failure))?;
            signals.confirm_success(&self.terraform.program)
        };
        self.with_layer_context(layer, apply).await
    }

    /// Checks after a destroy that the state contains no resources.
    ///
    /// # Errors
    /// [`Reason::NotDestroyed`] with the number of resources in the state.
    pub async fn confirm_destroyed(&self, layer: &Layer) -> Result<(), Failure> {
        let read = async {
            let state = self.read_document(layer, &Subcommand::StatePull).await?;
            match signals::count_resources(&state)? {
                0 => Ok(()),
                count => Err(Failure::new(Reason::NotDestroyed(count))),
            }
        };
        self.with_layer_context(layer, read).await
    }

    /// Checks that the layer's folder contains no state that an earlier run could not save.
    ///
    /// # Errors
    /// [`Reason::StateNotSaved`] with the file.
    pub fn require_saved_state(&self, layer: &Layer) -> Result<(), Failure> {
        let file = layer.dir.join(UNSAVED_STATE);
        if !file.exists() {
            return Ok(());
        }
        Err(Failure::new(Reason::StateNotSaved(file)).at(&layer.name, &self.stage))
    }

    /// The layer's outputs. The layer must be initialised.
    pub async fn outputs(&self, layer: &Layer) -> Result<Outputs, Failure> {
        let read = async {
            let json = self.read_document(layer, &Subcommand::Output { name: None }).await?;
            Outputs::from_output(json.as_bytes())
        };
        self.with_layer_context(layer, read).await
    }

    /// The errors and warnings in a layer's configuration. An invalid configuration is a result, not a
    /// failure. The layer must be initialised.
    pub async fn validate(&self, layer: &Layer) -> Result<Vec<Diagnostic>, Failure> {
        let validate = async {
            let command = self.command(layer, &Subcommand::Validate)?;
            let mut json = String::new();
            let exit = command
                .run(&self.cancel, |stream, line| match stream {
                    // A document that is cut is not valid.
                    Stream::Stdout if json.len() < command.max_line => json.push_str(line),
                    Stream::Stdout => {}
                    Stream::Stderr => self.program_line(line),
                })
                .await?;
            match exit.status.code() {
                Some(0 | 1) if !json.is_empty() => validation::diagnostics(json.as_bytes()),
                _ => Err(Failure::from_run(Vec::new(), command.success(exit).err())),
            }
        };
        self.with_layer_context(layer, validate).await
    }

    /// Checks that a layer's configuration is valid. The layer must be initialised.
    ///
    /// # Errors
    /// [`Reason::Failed`] with the errors in the configuration.
    pub async fn require_valid(&self, layer: &Layer) -> Result<(), Failure> {
        let mut diagnostics = self.validate(layer).await?;
        diagnostics.retain(|diagnostic| diagnostic.severity == "error");
        if diagnostics.is_empty() {
            return Ok(());
        }
        Err(Failure::from_run(diagnostics, None).at(&layer.name, &self.stage))
    }

    /// Runs a layer's tests (`*.tftest.hcl`): all, or those in the files `filters`. Returns a result for each
    /// run block, for each file, and for the whole run. A failed test is a result, not a failure; the
    /// observer receives its diagnostics.
    pub async fn test(&self, layer: &Layer, filters: Vec<String>) -> Result<Vec<TestResult>, Failure> {
        let mut results = Vec::new();
        let mut on_message = |message: &Message| {
            if let Message::Test(result) = message {
                results.push(result.clone());
            }
        };
        let test = Subcommand::Test { filters };
        let code = self
            .with_layer_context(layer, self.stream_to(layer, &test, |code| code <= 1, &mut on_message))
            .await?;
        // Without a result, no test has run.
        if code == 1 && results.is_empty() {
            return Err(Failure::from_run(Vec::new(), None).at(&layer.name, &self.stage));
        }
        Ok(results)
    }

    /// Runs any command and returns its standard output as text.
    pub async fn run(&self, layer: &Layer, subcommand: &Subcommand) -> Result<String, Failure> {
        self.with_layer_context(layer, self.read(layer, subcommand)).await
    }

    /// Runs a command on the terminal of this process and returns its exit status. Terraform may ask
    /// questions.
    pub async fn run_attached(
        &self,
        layer: &Layer,
        subcommand: &Subcommand,
    ) -> Result<std::process::ExitStatus, Failure> {
        // Deleted when the command has ended.
        let values;
        let subcommand = match subcommand {
            Subcommand::Raw(args) if variables::takes_values(args) => {
                let folder = locked_folder(&self.prepared_data_dir(layer)?);
                values = folder.map_err(|e| Failure::io("create a folder for the values of variables", e))?;
                &Subcommand::Raw(variables::with_files(args, &self.var_files(layer, values.0.path())?))
            }
            other => other,
        };
        let mut command = self.command(layer, subcommand)?;
        command.env.insert("TF_INPUT".into(), None);
        Ok(command.run_attached(&self.cancel).await?)
    }

    /// The files with the values of `layer`, in Terraform's order: the layer's own, and one in `folder` with the
    /// driver's values.
    fn var_files(&self, layer: &Layer, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let mut files = layer.var_files.clone();
        if let Some(values) = variables::file(layer, &self.variables) {
            let file = folder.join("deployctl.tfvars.json");
            atomic_file::write_private(&file, &values)
                .map_err(|e| Failure::io("write the values of variables", e))?;
            files.push(file);
        }
        Ok(files)
    }

    fn command(&self, layer: &Layer, subcommand: &Subcommand) -> Result<Command, Failure> {
        if !subcommand.runs_beside_unsaved_state() {
            self.require_saved_state(layer)?;
        }
        let data_dir = self.data_dir(layer);
        let cli_config = self.mirrors(layer).configuration();
        let parts = Parts {
            given: &self.env,
            variables: &self.variables,
            workspace: self.workspace.as_deref().filter(|given| !subcommand.chooses_workspace(given)),
            data_dir: &data_dir,
            cli_config: cli_config.as_deref(),
            log_file: self.log_file.as_deref(),
        };
        if let Some(log) = &self.log_file {
            // Terraform would create it with the umask, and it contains secrets.
            let log = layer.dir.join(log);
            private::append(&log)
                .map_err(|e| Failure::io(format!("create {} as a private file", log.display()), e))?;
        }
        let inherited: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let mut command = Command::new(&self.terraform.program, subcommand.purpose())
            .args(subcommand.args(&self.terraform, &self.shared)?)
            .dir(&layer.dir);
        command.env = environment::changes(&parts, &inherited);
        Ok(command)
    }

    /// The layer's `TF_DATA_DIR`, absolute because Terraform runs in the layer's folder.
    pub fn data_dir(&self, layer: &Layer) -> PathBuf {
        let root = std::path::absolute(&self.data_root).unwrap_or_else(|_| self.data_root.clone());
        root.join(&layer.name)
    }

    /// Where a layer's providers are installed from if not from the registry.
    pub(super) fn mirrors<'a>(&'a self, layer: &'a Layer) -> Mirrors<'a> {
        Mirrors {
            data_root: &self.data_root,
            layer_dir: &layer.dir,
            given: self.provider_mirror.as_deref(),
            search_root: &self.mirror_search_root,
            flavour: self.terraform.flavour,
            observer: &self.observer,
            cancel: &self.cancel,
        }
    }

    /// Creates the data folder with mode 0700 and deletes plan files of killed runs.
    pub(super) fn prepared_data_dir(&self, layer: &Layer) -> Result<PathBuf, Failure> {
        let dir = self.data_dir(layer);
        let prepare = || {
            private::create_dir_all(&dir)?;
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
            remove_abandoned_plans(&dir)
        };
        prepare().map_err(|e| Failure::io(format!("prepare {}", dir.display()), e))?;
        Ok(dir)
    }

    pub(super) fn init_command(&self, layer: &Layer) -> Result<Subcommand, Failure> {
        self.backend.check()?;
        Ok(Subcommand::Init(Init {
            backend: self.backend.for_layer(&layer.name),
            // Every machine and every run installs the same versions.
            lock_file_readonly: layer.dir.join(lock_file::FILE).exists(),
            ..Init::default()
        }))
    }

    /// Runs a command that prints JSON lines and passes them to the observer. `is_success` selects the exit
    /// codes of success.
    pub(super) async fn stream(
        &self,
        layer: &Layer,
        subcommand: &Subcommand,
        is_success: impl Fn(i32) -> bool,
    ) -> Result<i32, Failure> {
        self.stream_to(layer, subcommand, is_success, &mut |_| {}).await
    }

    /// As [`Driver::stream`]; also passes every message to `on_message`.
    async fn stream_to(
        &self,
        layer: &Layer,
        subcommand: &Subcommand,
        is_success: impl Fn(i32) -> bool,
        on_message: &mut impl FnMut(&Message),
    ) -> Result<i32, Failure> {
        let command = self.command(layer, subcommand)?;
        let mut errors = Diagnostics::default();
        let mut unknown_format = None;
        let exit = command
            .run(&self.cancel, |stream, line| {
                let message = if stream == Stream::Stdout { Message::parse_bounded(line) } else { None };
                let Some(message) = message else {
                    return self.program_line(line);
                };
                if let Message::Version { ui, .. } = &message
                    && !ui.starts_with("1.")
                {
                    unknown_format = Some(ui.clone());
                }
                on_message(&message);
                // A failed init may be retried. If it is not, the failure contains its errors.
                let is_deferred = matches!(subcommand, Subcommand::Init(_)) && message.error().is_some();
                if !is_deferred {
                    self.observer.notify(&Activity::Message {
                        layer: &layer.name,
                        dir: &layer.dir,
                        message: &message,
                    });
                }
                message.error().into_iter().for_each(|error| errors.add(error));
            })
            .await?;
        if let Some(ui) = unknown_format {
            let problem = format!("format {ui} is not supported, only 1.x");
            return Err(Failure::new(Reason::Format { what: "Terraform's messages", problem }));
        }
        match exit.status.code() {
            Some(code) if is_success(code) => Ok(code),
            _ => Err(Failure::from_run(errors.into_vec(), command.success(exit).err())),
        }
    }

    /// Runs a command and returns its standard output.
    async fn read(&self, layer: &Layer, subcommand: &Subcommand) -> Result<String, Failure> {
        let mut command = self.command(layer, subcommand)?;
        command.max_line = MAX_JSON_BYTES;
        Ok(command.output(&self.cancel).await?)
    }

    /// As [`Driver::read`], without the lines that a wrapper prints around the JSON document. The observer
    /// receives them.
    async fn read_document(&self, layer: &Layer, subcommand: &Subcommand) -> Result<String, Failure> {
        const MAX_CHARS: usize = 200;
        let mut text = self.read(layer, subcommand).await?;
        let (before, document, after) = signals::split_document(&text);
        let lines = before.lines().chain(after.lines()).filter(|line| !line.trim().is_empty());
        for line in lines.take(MAX_FOREIGN_LINES) {
            let line: String = line.chars().take(MAX_CHARS).collect();
            let program = self.terraform.program.display();
            self.observer.note(format!("{program} prints a line that is not Terraform's: {line}"));
        }
        let (start, end) = (before.len(), before.len() + document.len());
        text.truncate(end);
        text.drain(..start);
        Ok(text)
    }

    fn program_line(&self, line: &str) {
        if !line.trim().is_empty() {
            self.observer.notify(&Activity::Line(&line[..line.floor_char_boundary(MAX_LINE)]));
        }
    }

    /// The AWS profile with which Terraform runs.
    fn profile(&self) -> Option<String> {
        let set = match self.env.get("AWS_PROFILE") {
            Some(set) => set.clone(),
            None => std::env::var_os("AWS_PROFILE"),
        };
        set.and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty())
    }

    async fn with_layer_context<T>(
        &self,
        layer: &Layer,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        work.await.map_err(|failure| {
            let failure = self.backend.explain(failure, layer);
            let mut failure = failure.at(&layer.name, &self.stage).in_dir(&layer.dir);
            failure.profile = self.profile().map(String::into_boxed_str);
            failure
        })
    }
}

/// Further lines that a wrapper prints around a document are not reported.
const MAX_FOREIGN_LINES: usize = 20;

/// The limit for a line that is not a message, in bytes.
const MAX_LINE: usize = 16 * 1024;

/// The limit for the size of a plan, a state or outputs.
const MAX_JSON_BYTES: usize = 64 * 1024 * 1024;

/// The start of the names of plan folders.
const PLAN: &str = "plan-";

/// Where a folder cannot be locked, a plan folder of this age was left behind by a killed run.
const ABANDONED_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Deletes the plans of commands that were killed, of all stages and layers. `root` has the stages' data folders.
pub(crate) fn remove_all_abandoned_plans(root: &Path) {
    let folders =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for layer in folders(root).flat_map(|stage| folders(&stage)) {
        // A folder that cannot be read or changed is reported by the command that uses it.
        drop(remove_abandoned_plans(&layer));
    }
}

fn remove_abandoned_plans(data_dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(data_dir)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PLAN) {
            continue;
        }
        // Another command may delete it at the same time.
        let Ok(folder) = File::open(entry.path()) else { continue };
        let is_abandoned = match folder.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => {
                let modified = folder.metadata().and_then(|file| file.modified()).ok();
                modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > ABANDONED_AGE)
            }
        };
        if is_abandoned {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_file_is_complete_if_its_end_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = PlanFile::create(dir.path()).unwrap();
        let is_complete = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            file.is_complete()
        };
        let zip = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
        assert!(is_complete(&zip));
        assert!(!is_complete(&zip[..20]) && !is_complete(b""));
        // As OpenTofu writes it with encryption.
        let encrypted = br#"{"meta":{"key_provider.pbkdf2.a":"c2FsdA=="},"encrypted_data":"aGk=","encryption_version":"v0"}"#;
        assert!(is_complete(encrypted));
        assert!(!is_complete(&encrypted[..60]) && !is_complete(b"{}"));
    }
}
