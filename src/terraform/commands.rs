//! Every Terraform command as data: its purpose and its arguments.
//!
//! Nothing is run here. An option that the installed version does not support is refused with the versions
//! that support it. Otherwise a release would end with Terraform's usage text.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::version::{Feature, Terraform};

/// Options of several commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared {
    /// How long to wait for a state lock held by another process, in whole seconds. `None`: no wait.
    pub lock_timeout: Option<Duration>,
    /// How many resources are processed at once. `None`: Terraform's default, 10.
    pub parallelism: Option<u16>,
}

/// The options of `terraform init`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Init {
    /// Backend settings that are not in the configuration: `name=value`, or a file. Values must not be secrets.
    pub backend: Vec<String>,
    /// What to do with the state if the backend settings have changed.
    pub backend_change: BackendChange,
    /// Fail instead of changing `.terraform.lock.hcl`.
    pub lock_file_readonly: bool,
    /// Install the newest allowed versions of providers and modules.
    pub upgrade: bool,
}

/// What to do with the state if the backend settings have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendChange {
    /// Fail with [`Reason::BackendChanged`](super::Reason::BackendChanged).
    #[default]
    Refuse,
    /// Use the state at the new location.
    Reconfigure,
    /// Copy the state to the new location.
    MigrateState,
}

/// The options of `terraform plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// The planning mode.
    pub mode: PlanMode,
    /// Do not lock the state: for a plan that is shown and never applied.
    pub skip_lock: bool,
    /// Plan from the recorded state, without reading the resources.
    pub skip_refresh: bool,
    /// Addresses of resources to plan, together with their dependencies. Empty: all.
    pub targets: Vec<String>,
    /// Addresses of resources to leave out. OpenTofu only.
    pub excludes: Vec<String>,
    /// The addresses of resources to replace.
    pub replace: Vec<String>,
    /// Files with values of variables, absolute or relative to the layer.
    pub var_files: Vec<PathBuf>,
    /// The file for generated configuration of resources in `import` blocks.
    pub generate_config: Option<PathBuf>,
}

/// The planning mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlanMode {
    /// Create, change and delete resources as the configuration says.
    #[default]
    Normal,
    /// Plan to destroy every resource.
    Destroy,
    /// Only update the state with changes made outside Terraform.
    RefreshOnly,
}

/// A Terraform command with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Terraform's own")]
pub enum Subcommand {
    Version,
    Init(Init),
    Get {
        update: bool,
    },
    Validate,
    Fmt {
        check: bool,
        recursive: bool,
    },
    Plan {
        options: PlanOptions,
        out: PathBuf,
    },
    Apply {
        plan: PathBuf,
    },
    Show {
        plan: Option<PathBuf>,
    },
    Output {
        name: Option<String>,
    },
    Import {
        address: String,
        id: String,
    },
    Taint {
        address: String,
    },
    Untaint {
        address: String,
    },
    StateList {
        addresses: Vec<String>,
    },
    StateShow {
        address: String,
    },
    StateMv {
        from: String,
        to: String,
    },
    StateRm {
        addresses: Vec<String>,
    },
    StatePull,
    StatePush {
        file: PathBuf,
    },
    ForceUnlock {
        id: String,
    },
    WorkspaceList,
    WorkspaceNew {
        name: String,
    },
    WorkspaceSelect {
        name: String,
    },
    WorkspaceDelete {
        name: String,
    },
    WorkspaceShow,
    ProvidersSchema,
    ProvidersLock {
        platforms: Vec<String>,
    },
    Graph {
        plan: Option<PathBuf>,
    },
    Test {
        filters: Vec<String>,
    },
    /// Any other command, as its arguments.
    Raw(Vec<OsString>),
}

/// `init -json`. Older versions print text only.
pub const INIT_JSON: Feature =
    Feature { name: "init -json", terraform: Some((1, 9)), opentofu: Some((1, 7)) };
const TEST: Feature = Feature { name: "test", terraform: Some((1, 6)), opentofu: Some((1, 6)) };
const EXCLUDE: Feature = Feature { name: "plan -exclude", terraform: None, opentofu: Some((1, 9)) };

impl Subcommand {
    /// The purpose of the command; it completes "failed to …".
    pub const fn purpose(&self) -> &'static str {
        match self {
            Self::Version => "read the version of Terraform",
            Self::Init(_) => "initialise Terraform",
            Self::Get { .. } => "fetch Terraform modules",
            Self::Validate => "validate the Terraform configuration",
            Self::Fmt { .. } => "format the Terraform configuration",
            Self::Plan { .. } => "create a Terraform plan",
            Self::Apply { .. } => "apply a Terraform plan",
            Self::Show { .. } => "read a Terraform plan or state",
            Self::Output { .. } => "read Terraform outputs",
            Self::Import { .. } => "import a resource into Terraform",
            Self::Taint { .. } | Self::Untaint { .. } => "mark a resource in the Terraform state",
            Self::StateList { .. } | Self::StateShow { .. } | Self::StatePull => "read the Terraform state",
            Self::StateMv { .. } | Self::StateRm { .. } | Self::StatePush { .. } => {
                "change the Terraform state"
            }
            Self::ForceUnlock { .. } => "unlock the Terraform state",
            Self::WorkspaceList | Self::WorkspaceShow => "read Terraform workspaces",
            Self::WorkspaceNew { .. } | Self::WorkspaceSelect { .. } | Self::WorkspaceDelete { .. } => {
                "change Terraform workspaces"
            }
            Self::ProvidersSchema => "read the schemas of Terraform providers",
            Self::ProvidersLock { .. } => "lock Terraform providers",
            Self::Graph { .. } => "draw the Terraform graph",
            Self::Test { .. } => "run Terraform tests",
            Self::Raw(_) => "run a Terraform command",
        }
    }

    /// Whether the command uses the selected workspace instead of `given`,
    /// [`Driver::workspace`](super::Driver::workspace). A raw command uses a workspace that is not the default one.
    pub fn chooses_workspace(&self, given: &str) -> bool {
        match self {
            Self::WorkspaceList
            | Self::WorkspaceShow
            | Self::WorkspaceNew { .. }
            | Self::WorkspaceSelect { .. }
            | Self::WorkspaceDelete { .. } => true,
            Self::Raw(args) => given == "default" || args.first().is_some_and(|arg| arg == "workspace"),
            _ => false,
        }
    }

    /// Whether the command may run while `errored.tfstate` is in the layer's folder. Any other command would
    /// use the old state, and an apply would raise its serial, so that the push would be refused.
    pub(super) fn runs_beside_unsaved_state(&self) -> bool {
        match self {
            Self::Init(_) | Self::StatePull | Self::StatePush { .. } | Self::ForceUnlock { .. } => true,
            Self::Raw(args) => match args.first().and_then(|arg| arg.to_str()) {
                Some("force-unlock" | "init") => true,
                Some("state") => args.get(1).is_some_and(|arg| arg == "push" || arg == "pull"),
                _ => false,
            },
            _ => false,
        }
    }

    /// The arguments for this version of Terraform.
    ///
    /// # Errors
    /// [`Reason::OptionTooNew`](super::Reason::OptionTooNew) for an option that this version does not
    /// support.
    pub fn args(&self, terraform: &Terraform, shared: &Shared) -> Result<Vec<OsString>, Failure> {
        let args = Args::default();
        let args = match self {
            Self::Version => args.add("version"),
            Self::Init(init) => {
                let format = if terraform.has(INIT_JSON) { "-json" } else { "-no-color" };
                init.args(args.add("init").add("-input=false").add(format), shared)
            }
            Self::Get { update } => args.add("get").add("-no-color").flag(*update, "-update"),
            Self::Validate => args.add("validate").add("-json"),
            Self::Fmt { check, recursive } => {
                args.add("fmt").add("-no-color").flag(*check, "-check").flag(*recursive, "-recursive")
            }
            Self::Plan { options, out } => {
                if !options.excludes.is_empty() {
                    terraform.require(EXCLUDE)?;
                }
                let args = args.add("plan").add("-json").add("-input=false").add("-detailed-exitcode");
                let args = if options.skip_lock { args.add("-lock=false") } else { args.locked(shared) };
                options.args(args.parallel(shared)).option("-out", out)
            }
            Self::Apply { plan } => {
                args.add("apply").add("-json").add("-input=false").locked(shared).parallel(shared).add(plan)
            }
            Self::Show { plan } => args.add("show").add("-json").each(plan),
            Self::Output { name } => args.add("output").add("-json").each(name),
            Self::Import { address, id } => {
                args.add("import").add("-input=false").add("-no-color").locked(shared).add(address).add(id)
            }
            Self::Taint { address } => args.add("taint").locked(shared).add(address),
            Self::Untaint { address } => args.add("untaint").locked(shared).add(address),
            Self::StateList { addresses } => args.add("state").add("list").each(addresses),
            Self::StateShow { address } => args.add("state").add("show").add("-no-color").add(address),
            Self::StateMv { from, to } => args.add("state").add("mv").locked(shared).add(from).add(to),
            Self::StateRm { addresses } => args.add("state").add("rm").locked(shared).each(addresses),
            Self::StatePull => args.add("state").add("pull"),
            Self::StatePush { file } => args.add("state").add("push").locked(shared).add(file),
            // There is no terminal for the confirmation.
            Self::ForceUnlock { id } => args.add("force-unlock").add("-force").add(id),
            Self::WorkspaceList => args.add("workspace").add("list"),
            Self::WorkspaceNew { name } => args.add("workspace").add("new").locked(shared).add(name),
            Self::WorkspaceSelect { name } => args.add("workspace").add("select").add(name),
            Self::WorkspaceDelete { name } => args.add("workspace").add("delete").locked(shared).add(name),
            Self::WorkspaceShow => args.add("workspace").add("show"),
            Self::ProvidersSchema => args.add("providers").add("schema").add("-json"),
            Self::ProvidersLock { platforms } => {
                args.add("providers").add("lock").options("-platform", platforms)
            }
            Self::Graph { plan } => args.add("graph").options("-plan", plan),
            Self::Test { filters } => {
                terraform.require(TEST)?;
                args.add("test").add("-json").options("-filter", filters)
            }
            Self::Raw(raw) => args.each(raw),
        };
        Ok(args.0)
    }
}

impl Init {
    fn args(&self, args: Args, shared: &Shared) -> Args {
        let Self { backend, backend_change, lock_file_readonly, upgrade } = self;
        let args = match backend_change {
            BackendChange::Refuse => args,
            BackendChange::Reconfigure => args.add("-reconfigure"),
            BackendChange::MigrateState => args.add("-migrate-state").add("-force-copy"),
        };
        args.locked(shared)
            .flag(*lock_file_readonly, "-lockfile=readonly")
            .flag(*upgrade, "-upgrade")
            .options("-backend-config", backend)
    }
}

impl PlanOptions {
    fn args(&self, args: Args) -> Args {
        let Self { mode, skip_lock: _, skip_refresh, targets, excludes, replace, var_files, generate_config } =
            self;
        let args = match mode {
            PlanMode::Normal => args,
            PlanMode::Destroy => args.add("-destroy"),
            PlanMode::RefreshOnly => args.add("-refresh-only"),
        };
        args.flag(*skip_refresh, "-refresh=false")
            .options("-target", targets)
            .options("-exclude", excludes)
            .options("-replace", replace)
            .options("-var-file", var_files)
            .options("-generate-config-out", generate_config)
    }
}

/// Arguments under construction.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn add(mut self, arg: impl Into<OsString>) -> Self {
        self.0.push(arg.into());
        self
    }

    fn each<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.0.extend(args.into_iter().map(Into::into));
        self
    }

    fn flag(self, on: bool, flag: &str) -> Self {
        if on { self.add(flag) } else { self }
    }

    fn option(self, name: &str, value: impl Into<OsString>) -> Self {
        let mut arg = OsString::from(name);
        arg.push("=");
        arg.push(value.into());
        self.add(arg)
    }

    fn options<T: Into<OsString>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().fold(self, |args, value| args.option(name, value))
    }

    fn locked(self, shared: &Shared) -> Self {
        self.options("-lock-timeout", shared.lock_timeout.map(|time| format!("{}s", time.as_secs())))
    }

    fn parallel(self, shared: &Shared) -> Self {
        self.options("-parallelism", shared.parallelism.map(|number| number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::version::{Flavour, Version};

    fn line(flavour: Flavour, minor: u64, command: &Subcommand) -> Result<String, Failure> {
        let terraform =
            Terraform { program: "terraform".into(), flavour, version: Version::new(1, minor, 0) };
        let shared = Shared { lock_timeout: Some(Duration::from_secs(90)), parallelism: Some(4) };
        let args = command.args(&terraform, &shared)?;
        Ok(args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    fn terraform(command: Subcommand) -> String {
        line(Flavour::Terraform, 11, &command).unwrap()
    }

    #[test]
    fn the_commands_of_a_release() {
        let init = Init {
            backend: vec!["bucket=state".into(), "key=dev/app".into()],
            lock_file_readonly: true,
            ..Init::default()
        };
        assert_eq!(
            terraform(Subcommand::Init(init)),
            "init -input=false -json -lock-timeout=90s -lockfile=readonly \
             -backend-config=bucket=state -backend-config=key=dev/app"
        );
        assert_eq!(
            terraform(Subcommand::Plan { options: PlanOptions::default(), out: "/p".into() }),
            "plan -json -input=false -detailed-exitcode -lock-timeout=90s -parallelism=4 -out=/p"
        );
        let shown = PlanOptions { skip_lock: true, ..PlanOptions::default() };
        assert_eq!(
            terraform(Subcommand::Plan { options: shown, out: "/p".into() }),
            "plan -json -input=false -detailed-exitcode -lock=false -parallelism=4 -out=/p"
        );
        assert_eq!(
            terraform(Subcommand::Apply { plan: "/p".into() }),
            "apply -json -input=false -lock-timeout=90s -parallelism=4 /p"
        );
        assert_eq!(terraform(Subcommand::Show { plan: Some("/p".into()) }), "show -json /p");
        assert_eq!(terraform(Subcommand::Output { name: None }), "output -json");
    }

    #[test]
    fn options_of_a_plan() {
        let options = PlanOptions {
            mode: PlanMode::Destroy,
            skip_refresh: true,
            targets: vec!["a.b".into(), "module.c".into()],
            replace: vec!["d.e".into()],
            var_files: vec!["f.tfvars".into()],
            generate_config: Some("g.tf".into()),
            ..PlanOptions::default()
        };
        assert_eq!(
            terraform(Subcommand::Plan { options, out: "p".into() }),
            "plan -json -input=false -detailed-exitcode -lock-timeout=90s -parallelism=4 -destroy -refresh=false \
             -target=a.b -target=module.c -replace=d.e -var-file=f.tfvars -generate-config-out=g.tf -out=p"
        );
    }

    #[test]
    fn every_other_command() {
        let text = |text: &str| text.to_owned();
        let commands = [
            (Subcommand::Version, "version"),
            (Subcommand::Get { update: true }, "get -no-color -update"),
            (Subcommand::Validate, "validate -json"),
            (Subcommand::Fmt { check: true, recursive: true }, "fmt -no-color -check -recursive"),
            (Subcommand::Show { plan: None }, "show -json"),
            (Subcommand::Output { name: Some(text("url")) }, "output -json url"),
            (
                Subcommand::Import { address: text("a.b"), id: text("i") },
                "import -input=false -no-color -lock-timeout=90s a.b i",
            ),
            (Subcommand::Taint { address: text("a.b") }, "taint -lock-timeout=90s a.b"),
            (Subcommand::Untaint { address: text("a.b") }, "untaint -lock-timeout=90s a.b"),
            (Subcommand::StateList { addresses: vec![text("a.b")] }, "state list a.b"),
            (Subcommand::StateShow { address: text("a.b") }, "state show -no-color a.b"),
            (
                Subcommand::StateMv { from: text("a.b"), to: text("a.c") },
                "state mv -lock-timeout=90s a.b a.c",
            ),
            (Subcommand::StateRm { addresses: vec![text("a.b")] }, "state rm -lock-timeout=90s a.b"),
            (Subcommand::StatePull, "state pull"),
            (Subcommand::StatePush { file: "s".into() }, "state push -lock-timeout=90s s"),
            (Subcommand::ForceUnlock { id: text("i") }, "force-unlock -force i"),
            (Subcommand::WorkspaceList, "workspace list"),
            (Subcommand::WorkspaceNew { name: text("w") }, "workspace new -lock-timeout=90s w"),
            (Subcommand::WorkspaceSelect { name: text("w") }, "workspace select w"),
            (Subcommand::WorkspaceDelete { name: text("w") }, "workspace delete -lock-timeout=90s w"),
            (Subcommand::WorkspaceShow, "workspace show"),
            (Subcommand::ProvidersSchema, "providers schema -json"),
            (
                Subcommand::ProvidersLock { platforms: vec![text("linux_arm64")] },
                "providers lock -platform=linux_arm64",
            ),
            (Subcommand::Graph { plan: Some("p".into()) }, "graph -plan=p"),
            (Subcommand::Test { filters: vec![text("t")] }, "test -json -filter=t"),
            (Subcommand::Raw(vec!["console".into()]), "console"),
        ];
        for (command, expected) in commands {
            assert_eq!(terraform(command), expected);
        }
    }

    #[test]
    fn unsupported_options_are_refused() {
        let init = Subcommand::Init(Init::default());
        assert_eq!(
            line(Flavour::Terraform, 8, &init).unwrap(),
            "init -input=false -no-color -lock-timeout=90s"
        );
        assert_eq!(line(Flavour::OpenTofu, 7, &init).unwrap(), "init -input=false -json -lock-timeout=90s");
        assert!(line(Flavour::Terraform, 5, &Subcommand::Test { filters: Vec::new() }).is_err());
        let exclude = PlanOptions { excludes: vec!["a.b".into()], ..PlanOptions::default() };
        let exclude = Subcommand::Plan { options: exclude, out: "p".into() };
        assert!(line(Flavour::Terraform, 14, &exclude).is_err());
        assert!(line(Flavour::OpenTofu, 9, &exclude).unwrap().contains("-exclude=a.b"));
    }
}
