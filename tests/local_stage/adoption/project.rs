//! A copy of a project of the corpus: deployed with Terraform alone, then adopted.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use aws_sdk_apigateway as gateway;
use serde_json::Value;

use super::corpus::{Case, Root};
use super::local_account::LocalAccount;
use crate::support::copy_folder;
use crate::support::fixtures;
use crate::support::program::{CommandOutput, Program};
use crate::support::provider_mirror::provider_mirror;
use crate::support::session::Session;

/// The project.
pub(super) struct Project<'a> {
    dir: tempfile::TempDir,
    case: &'a Case,
    account: &'a LocalAccount,
    program: Program,
    /// Terraform's own settings, where the registry cannot be reached.
    cli_config: Option<PathBuf>,
}

impl<'a> Project<'a> {
    /// A copy in a git repository, with the first edition of its code.
    pub(super) async fn new(case: &'a Case, account: &'a LocalAccount) -> Self {
        let dir = tempfile::Builder::new().prefix(case.name).tempdir().unwrap();
        copy_folder(&corpus(case.name), dir.path());
        let mut project = Self { program: Program::new(dir.path()), dir, case, account, cli_config: None };
        if let Some(mirror) = provider_mirror().await {
            let path = project.path().join(".terraformrc");
            let mirror = mirror.display().to_string();
            let text = format!(
                "provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n"
            );
            std::fs::write(&path, text).unwrap();
            project.program = project.program.with("DEPLOYCTL_PROVIDER_MIRROR", mirror);
            project.cli_config = Some(path);
        }
        project
            .write(".gitignore", ".terraform/\n.terraformrc\n*.tfstate*\n/dist/\n/build/\n*.zip\ntarget/\n");
        project.package("one").await;
        project.run("git", ".", &["init", "-q"]).await;
        project.commit("before").await;
        project
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path().join(file)).unwrap()
    }

    async fn commit(&self, message: &str) {
        self.run("git", ".", &["add", "-A"]).await;
        let name = ["-c", "user.name=team", "-c", "user.email=team@example.com"];
        self.run("git", ".", &[&name[..], &["commit", "-qm", message]].concat()).await;
    }

    /// Makes the zips from the code with `edition`, as the team does.
    pub(super) async fn package(&self, edition: &str) {
        for source in self.case.sources {
            self.set_edition(source, edition);
        }
        if !self.case.sources.is_empty() {
            self.run("sh", ".", &["build.sh"]).await;
        }
    }

    /// Sets the constant `EDITION` of a source.
    fn set_edition(&self, source: &str, edition: &str) {
        let text = self.read(source);
        let is_edition = |line: &&str| line.contains("EDITION") && line.contains(" = \"");
        let line = text.lines().find(is_edition).unwrap_or_else(|| panic!("no edition in {source}"));
        let (start, _) = line.split_once('"').unwrap();
        let (_, end) = line.rsplit_once('"').unwrap();
        self.write(source, text.replacen(line, &format!("{start}\"{edition}\"{end}"), 1));
    }

    /// `terraform init` and `terraform apply`, without deployctl.
    pub(super) async fn deploy_with_terraform(&self) {
        for Root { path, init, workspace, apply } in self.case.roots {
            let init = [&["init", "-input=false", "-no-color"][..], init].concat();
            self.run("terraform", path, &init).await;
            if let Some(workspace) = workspace {
                self.run("terraform", path, &["workspace", "new", workspace]).await;
            }
            let apply = [&["apply", "-input=false", "-no-color", "-auto-approve"][..], apply].concat();
            self.run("terraform", path, &apply).await;
        }
    }

    /// The URL of the API stage, which deployctl does not know yet.
    pub(super) async fn url(&self) -> String {
        let gateway = gateway::Client::new(&self.account.config());
        let apis = gateway.get_rest_apis().limit(500).send().await.unwrap();
        let named: Vec<_> = apis.items().iter().filter(|api| api.name() == Some(self.case.api)).collect();
        assert_eq!(named.len(), 1, "APIs named {}", self.case.api);
        let (endpoint, stage) = (self.account.file.endpoint(), self.case.api_stage);
        format!("{endpoint}/_aws/execute-api/{}/{stage}", named[0].id().unwrap())
    }

    /// `deployctl init`, its patch, and what it says is to be done by hand. Another `init` then has nothing to change. How
    /// many kinds of steps were left.
    pub(super) async fn init(&self) -> usize {
        let document = self.program.run(&["init", "--output", "json"]).await.exit(0).json();
        self.apply(document["patch"].as_str().unwrap());
        let mut kinds = BTreeSet::new();
        for advice in document["by_hand"].as_array().unwrap() {
            kinds.insert(self.by_hand(&advice["what"].to_string(), advice["write"].as_str()).await);
        }
        self.finish_init().await;
        kinds.len()
    }

    /// The same by a session of the documents.
    pub(super) async fn type_init(&self, session: &str) -> usize {
        self.type_session(session).await;
        let settings: toml::Table = self.read("deployctl.toml").parse().unwrap();
        let bucket = settings["artifact_bucket"].as_str().unwrap();
        let s3 = aws_sdk_s3::Client::new(&self.account.config());
        for stage in settings["stages"].as_table().unwrap().keys() {
            fixtures::create_bucket(&s3, &bucket.replace("{stage}", stage)).await;
        }
        self.finish_init().await;
        // The bucket and the accounts.
        2
    }

    /// Types a session of the documents.
    pub(super) async fn type_session(&self, session: &str) {
        let mut typed = Session::new();
        typed.block(session);
        typed.run(self.case.name, self.path(), &self.program).await;
    }

    async fn finish_init(&self) {
        self.commit("deployctl").await;
        self.write("deployctl.toml", on_local_stage(&self.read("deployctl.toml")));
        self.account.lend_to(self.path());
        let again = self.program.run(&["init"]).await.exit(0);
        assert_eq!(again.stdout, "", "{}: a second patch", self.case.name);
    }

    /// Does what a piece of advice says. Which kind of step it is.
    async fn by_hand(&self, what: &str, write: Option<&str>) -> &'static str {
        let buckets =
            write.unwrap_or_default().split_whitespace().filter_map(|word| word.strip_prefix("s3://"));
        let buckets: Vec<_> = buckets.collect();
        if !buckets.is_empty() {
            let s3 = aws_sdk_s3::Client::new(&self.account.config());
            for bucket in buckets {
                fixtures::create_bucket(&s3, bucket).await;
            }
            return "create the artifact bucket";
        }
        if what.contains("does not show the account") {
            return "name the account";
        }
        let step = self.case.by_hand.iter().find(|step| what.contains(step.says));
        let Some(step) = step else { panic!("{}: {what}: {write:?}", self.case.name) };
        for (file, from, to) in step.edits {
            let text = self.read(file);
            assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}:\n{text}");
            self.write(file, text.replace(from, to));
        }
        step.says
    }

    fn apply(&self, patch: &str) {
        let mut child = std::process::Command::new("git")
            .args(["apply"])
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{}: the patch does not apply:\n{patch}", self.case.name);
    }

    pub(super) async fn plans_without_destroying(&self) {
        self.plan(self.case.stage).await;
    }

    pub(super) async fn other_stages_plan_without_destroying(&self) {
        for stage in self.case.other_stages {
            self.plan(stage).await;
        }
    }

    async fn plan(&self, stage: &str) {
        let args = ["plan", "--version", "1.0.0", "--stage", stage, "--output", "json"];
        let document = self.program.run(&args).await.exit(0).json();
        let layers = document["layers"].as_array().unwrap().iter();
        let changes =
            layers.flat_map(|layer| layer["plan"]["changes"].as_array().cloned().unwrap_or_default());
        // A role makes another integration of it, and the stage serves its snapshot meanwhile.
        let is_part = |change: &Value| change["resource_type"] == "aws_api_gateway_integration";
        let destroys = |change: &Value| {
            change["action"] == "delete" || (change["action"] == "replace" && !is_part(change))
        };
        let destroyed: Vec<_> = changes.filter(destroys).collect();
        assert!(destroyed.is_empty(), "{} {stage}: {destroyed:#?}", self.case.name);
    }

    pub(super) async fn release(&self, args: &[&str]) {
        let stage = ["--stage", self.case.stage, "--output", "json"];
        let document = self.program.run(&[&["release"], args, &stage].concat()).await.exit(0).json();
        assert_eq!(document["outcome"], "released", "{document:#}");
    }

    pub(super) async fn roll_back(&self, version: &str) {
        let args = ["rollback", "--to", version, "--stage", self.case.stage, "--output", "json"];
        self.program.run(&args).await.exit(0).json();
    }

    /// Runs another program than deployctl in the account.
    async fn run(&self, program: &str, folder: &str, args: &[&str]) {
        let mut command = tokio::process::Command::new(program);
        let environment = self.program.command(&[]);
        let kept = environment.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(kept).envs(self.account.environment());
        match &self.cli_config {
            Some(file) => command.env("TF_CLI_CONFIG_FILE", file),
            None => command.env_remove("TF_CLI_CONFIG_FILE"),
        };
        command.args(args).current_dir(self.path().join(folder)).stdin(Stdio::null()).kill_on_drop(true);
        CommandOutput::of(command.output().await.unwrap()).exit(0);
    }
}

/// The accounts of the stages are this machine's.
fn on_local_stage(settings: &str) -> String {
    let mut changed = String::new();
    for line in settings.lines() {
        match line.split(" = ").next().unwrap_or_default().trim() {
            "account" => changed.push_str("local = true"),
            "profile" | "region" => {}
            _ => changed.push_str(line),
        }
        changed.push('\n');
    }
    changed
}

/// The folder of a project.
pub(super) fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corpus").join(name)
}
