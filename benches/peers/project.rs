//! A project that all tools release: deployctl on one local stage, and the others on a second one, so that deployctl finds
//! its stage as it left it. Each is behind a proxy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::memory::{self, Peak};
use crate::peer::{Installed, Peer, last_line};
use crate::support::example_project::ExampleProject;
use crate::support::minimal_project::{self, MinimalProject};
use crate::support::program::{CommandOutput, Program};
use crate::support::provider_mirror::provider_mirror;
use crate::support::proxy::Proxy;
use crate::support::signed::Signed;
use crate::support::stage_file::StageFile;
use crate::support::{fixtures, sdk};
use crate::table::Run;

const ACCOUNT: &str = "000000000000";

/// Nothing that is compared takes longer.
const TIMEOUT: Duration = Duration::from_mins(15);

const BINARY: &str = "dist/users/bootstrap";

/// A string of the example's functions.
const STRING: (&str, &str) = ("lambdas/users/src/failure.rs", "there is no such user");

/// What the local stage ends with.
enum Source {
    Example(ExampleProject),
    Generated(MinimalProject),
}

/// How slow AWS is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    pub(crate) latency: Duration,
    /// The most requests to Lambda's control plane in a second; 0 for no limit.
    pub(crate) rate: usize,
}

/// What the scripts of a project must be told.
struct Shape {
    name: &'static str,
    layers: Vec<String>,
    /// The artifact bucket, without the account that ends its name.
    bucket: &'static str,
    variables: Vec<(&'static str, String)>,
    probe: &'static str,
}

/// The local stage of the scripts.
struct ScriptStage {
    proxy: Proxy,
    signed: Signed,
    _server: MinimalProject,
}

pub(crate) struct Project {
    source: Source,
    program: Program,
    stage_file: StageFile,
    proxy: Proxy,
    scripts: ScriptStage,
    /// The program of the functions, to which each version is appended.
    bootstrap: Vec<u8>,
    versions: usize,
    /// What the scripts find in their environment.
    env: Vec<(&'static str, OsString)>,
}

impl Drop for Project {
    fn drop(&mut self) {
        self.stage_file.restore();
    }
}

impl Project {
    /// A copy of this repository, with six functions in two layers, after its first release.
    pub(crate) async fn example() -> Self {
        let example = ExampleProject::new();
        let program = example.program.clone();
        let released = release_first(&program).await;
        let bootstrap = std::fs::read(example.built("users")).unwrap();
        let shape = Shape {
            name: "users",
            layers: vec!["base".to_owned(), "app".to_owned()],
            bucket: "users-local-artifacts",
            variables: vec![
                ("TF_VAR_artifact_bucket_force_destroy", "true".to_owned()),
                ("TF_VAR_authorization", "none".to_owned()),
                ("TF_VAR_redis_transit_encryption", "off".to_owned()),
            ],
            probe: "/demo/users",
        };
        Self::new(Source::Example(example), program, bootstrap, &shape, &released).await
    }

    /// A project with so many functions in the last of so many layers, after its first release.
    pub(crate) async fn generated(functions: usize, layers: usize) -> Self {
        let mut project = MinimalProject::new();
        if let Some(mirror) = provider_mirror().await {
            project.program = project.program.clone().with("DEPLOYCTL_PROVIDER_MIRROR", mirror);
        }
        let names = (1..layers).map(|number| format!("layer-{number}"));
        let layers: Vec<String> = names.chain(["app".to_owned()]).collect();
        write_generated(&project, functions, &layers);
        let bootstrap = minimal_project::executable(std::env::consts::ARCH);
        project.write(BINARY, &bootstrap);
        let program = project.program.clone();
        program.run(&["local", "up"]).await.exit(0);
        let endpoint = StageFile::of(project.path()).endpoint();
        create_bucket(&endpoint, &format!("generated-artifacts-{ACCOUNT}")).await;
        let released = release_first(&program).await;
        let shape = Shape {
            name: "generated",
            layers,
            bucket: "generated-artifacts",
            variables: vec![
                ("TF_VAR_functions", functions.to_string()),
                ("TF_VAR_artifact_bucket", format!("generated-artifacts-{ACCOUNT}")),
            ],
            probe: "/health",
        };
        Self::new(Source::Generated(project), program, bootstrap, &shape, &released).await
    }

    async fn new(
        source: Source,
        program: Program,
        bootstrap: Vec<u8>,
        shape: &Shape,
        released: &Value,
    ) -> Self {
        let stage_file = StageFile::of(source.folder());
        let proxy = Proxy::start(stage_file.port()).await;
        stage_file.point_at(proxy.port);
        let server = MinimalProject::new();
        server.run(&["local", "up"]).await.exit(0);
        let own = StageFile::of(server.path());
        let endpoint = own.endpoint();
        create_bucket(&endpoint, "peers-states").await;
        create_bucket(&endpoint, "peers-stacks").await;
        if let Source::Generated(_) = source {
            create_bucket(&endpoint, &format!("{}-{ACCOUNT}", shape.bucket)).await;
        }
        let scripts = ScriptStage {
            proxy: Proxy::start(own.port()).await,
            signed: Signed::new(&endpoint),
            _server: server,
        };
        let through_proxy = format!("http://127.0.0.1:{}", scripts.proxy.port);
        let url = released["url"].as_str().unwrap().replace(&stage_file.endpoint(), &through_proxy);
        let probe = url.replace(released["api"]["id"].as_str().unwrap(), "API") + shape.probe;
        let mut env = environment(shape, released, &through_proxy);
        env.push(("PROBE", probe.into()));
        env.push(("AWS_SECRET_ACCESS_KEY", own.secret().into()));
        if let Some(mirror) = provider_mirror().await {
            env.push(("TF_CLI_CONFIG_FILE", mirror_configuration(source.folder(), &mirror).into()));
        }
        Self { source, program, stage_file, proxy, scripts, bootstrap, versions: 1, env }
    }

    /// Makes the example's zips of a program that is built already, from now on.
    pub(crate) fn without_build(&self) {
        let Source::Example(example) = &self.source else { return };
        example.edit("deployctl.toml", "package = \"users\"", &format!("path = \"{BINARY}\""));
        let authorizer = "[artifacts.authorizer]\npackage = \"authorizer\"\nkey = \"authorizer/authorizer-lambda-{version}.zip\"\n";
        example.edit("deployctl.toml", authorizer, "");
    }

    /// Lets deployctl keep to the rates of an account, as it does on every stage that is not local.
    pub(crate) fn pace(&self) {
        let path = self.source.folder().join("deployctl.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replacen("local = true\n", "local = true\npacing = true\n", 1)).unwrap();
    }

    /// Changes one string in the source of the example's functions.
    pub(crate) fn change_string(&self) {
        let path = self.source.folder().join(STRING.0);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(STRING.1), "{path:?}");
        let changed = text.replacen(STRING.1, &format!("{} {}", STRING.1, self.versions), 1);
        std::fs::write(path, changed).unwrap();
    }

    /// Builds another program than ever before, and returns its version.
    pub(crate) fn build(&mut self) -> String {
        self.versions += 1;
        let version = format!("1.0.{}", self.versions);
        let path = self.source.folder().join(BINARY);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, [&self.bootstrap[..], version.as_bytes()].concat()).unwrap();
        version
    }

    /// Runs a tool, and measures it. The error is the reason why it failed, in one line.
    pub(crate) async fn run(
        &self,
        (peer, installed): (Peer, &Installed),
        (action, version): (&str, &str),
        network: Network,
    ) -> Result<Run, String> {
        let mut command = match peer {
            Peer::Deployctl => self.program.command(&deployctl(action, version)),
            _ => self.script(installed, &[action, version]),
        };
        self.pending(if peer.has_stack() { 0.0 } else { 1.0 }).await;
        let proxy = if peer == Peer::Deployctl { &self.proxy } else { &self.scripts.proxy };
        proxy.delay(network.latency);
        proxy.limit(network.rate);
        let start = Instant::now();
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut peak = Peak::default();
        let pid = child.id().unwrap();
        let output = tokio::select! {
            output = tokio::time::timeout(TIMEOUT, child.wait_with_output()) => output,
            () = memory::watch(pid, &mut peak) => unreachable!("it watches for ever"),
        };
        let time = start.elapsed();
        let counts = proxy.disarm();
        let output = output.map_err(|_| format!("it took longer than {TIMEOUT:?}"))?.unwrap();
        if !output.status.success() {
            let all = [output.stdout, output.stderr].concat();
            let log =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers/{action} {}.log", peer.name()));
            std::fs::write(log, &all).unwrap();
            return Err(last_line(&all));
        }
        Ok(Run {
            time,
            requests: counts.requests,
            lambda: counts.lambda,
            refused: counts.refused,
            rounds_to_switch: counts.rounds_to_switch,
            own: peak.own,
            tree: peak.tree,
        })
    }

    /// How long a version is pending. The emulator's `CloudFormation` does not wait for it, so that its stacks could not be
    /// updated.
    async fn pending(&self, seconds: f64) {
        self.scripts.signed.set_times(&[("pending_seconds", seconds)]).await;
    }

    fn script(&self, installed: &Installed, args: &[&str]) -> tokio::process::Command {
        let (program, rest) = installed.program.split_first().unwrap();
        let mut command = tokio::process::Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([installed.tools.clone()].into_iter().chain(std::env::split_paths(&path)));
        command.args(rest).args(args).current_dir(self.source.folder());
        command.env_remove("AWS_CA_BUNDLE").envs(self.env.iter().cloned());
        command.env("PATH", path.unwrap());
        command.env("TF_VAR_release_version", args[1]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

impl Source {
    fn folder(&self) -> &Path {
        match self {
            Self::Example(example) => &example.dir,
            Self::Generated(project) => project.path(),
        }
    }
}

fn deployctl<'a>(action: &str, version: &'a str) -> Vec<&'a str> {
    match action {
        "code-only" => vec!["release", "--version", version, "--code-only"],
        "rollback" => vec!["rollback"],
        _ => vec!["release", "--version", version],
    }
}

async fn release_first(program: &Program) -> Value {
    let args = ["release", "--version", "1.0.1", "--output", "json"];
    CommandOutput::of(program.command(&args).output().await.unwrap()).exit(0).json()
}

async fn create_bucket(endpoint: &str, name: &str) {
    let config = aws_sdk_s3::config::Builder::from(&sdk::config(endpoint, ACCOUNT)).force_path_style(true);
    fixtures::create_bucket(&aws_sdk_s3::Client::from_conf(config.build()), name).await;
}

/// Writes a project whose last layer has the contract; each layer reads the one before it.
fn write_generated(project: &MinimalProject, functions: usize, layers: &[String]) {
    std::fs::remove_dir_all(project.path().join("terraform")).unwrap();
    let mut settings = format!(
        "project = \"generated\"\ndefault_stage = \"local\"\nartifact_bucket = \"generated-artifacts-{ACCOUNT}\"\n\n\
         [stages.local]\nlocal = true\n\n[stages.local.variables]\nfunctions = {functions}\n\
         artifact_bucket = \"generated-artifacts-{ACCOUNT}\"\n\n[artifacts.users]\npath = \"{BINARY}\"\n\
         key = \"users/users-lambda-{{version}}.zip\"\n\n[probe]\npath = \"/health\"\n"
    );
    let mut previous: Option<&str> = None;
    for layer in layers {
        let depends_on =
            previous.map(|previous| format!("depends_on = [\"{previous}\"]\n")).unwrap_or_default();
        settings.push_str(&format!("\n[layers.{layer}]\n{depends_on}"));
        let main =
            if layer == "app" { include_str!("layers/app.tf") } else { include_str!("layers/layer.tf") };
        project.write(&format!("terraform/{layer}/common.tf"), include_str!("layers/common.tf"));
        project.write(&format!("terraform/{layer}/main.tf"), main.replace("LAYER", layer));
        if let Some(previous) = previous {
            let text = include_str!("layers/previous.tf").replace("PREVIOUS", previous);
            project.write(&format!("terraform/{layer}/previous.tf"), text);
        }
        previous = Some(layer);
    }
    project.write("deployctl.toml", settings);
}

/// What the scripts find in their environment, beside what differs from run to run.
fn environment(shape: &Shape, released: &Value, endpoint: &str) -> Vec<(&'static str, OsString)> {
    let functions = released["functions"].as_object().unwrap();
    let functions =
        functions.iter().map(|(key, function)| format!("{key}={}", function["name"].as_str().unwrap()));
    let mut env: Vec<(&'static str, OsString)> = vec![
        ("AWS_ENDPOINT_URL", endpoint.into()),
        ("AWS_ACCESS_KEY_ID", ACCOUNT.into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_DEFAULT_REGION", "us-east-1".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("NO_PROXY", "127.0.0.1,localhost".into()),
        ("no_proxy", "127.0.0.1,localhost".into()),
        ("LAYERS", shape.layers.join(" ").into()),
        ("ARTIFACT_BUCKET", format!("{}-{ACCOUNT}", shape.bucket).into()),
        ("ARTIFACT_KEY", "users/users-lambda-VERSION.zip".into()),
        ("BINARY", BINARY.into()),
        ("STATE_BUCKET", "peers-states".into()),
        ("STATE_PREFIX", "peers".into()),
        ("STACK_BUCKET", "peers-stacks".into()),
        ("FUNCTIONS", functions.collect::<Vec<_>>().join(" ").into()),
        ("TF_VAR_project", shape.name.into()),
        ("TF_VAR_stage", "local".into()),
        ("TF_VAR_region", "us-east-1".into()),
        ("TF_VAR_state_bucket", "peers-states".into()),
        ("TF_VAR_state_prefix", "peers".into()),
    ];
    env.extend(shape.variables.iter().map(|(name, value)| (*name, value.into())));
    env
}

fn mirror_configuration(folder: &Path, mirror: &Path) -> PathBuf {
    let path = folder.join("dist/peers.tfrc");
    let text = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        mirror.display()
    );
    std::fs::create_dir_all(folder.join("dist")).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}
