//! Runs deployctl in a controlled environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

/// What of the environment reaches deployctl: where tools and their caches are, and how the network is reached. No
/// credentials, no `DEPLOYCTL_STAGE`, no settings of Terraform but where its providers come from.
const KEPT: [&str; 21] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "XDG_CACHE_HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "DEPLOYCTL_CACHE_DIR",
    "DEPLOYCTL_PROVIDER_MIRROR",
    "TF_CLI_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PYENV_ROOT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
];

/// deployctl in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    dir: PathBuf,
    env: Vec<(String, OsString)>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// Fails the test unless the document matches its schema of `deployctl schema`, without further fields. A document without
/// a command is the value of an output, which may be anything.
#[track_caller]
pub(crate) fn follows_its_schema(document: &Value) {
    let Some(command) = document.get("command") else {
        assert!(document.get("schema").is_none(), "a document without a command: {document:#}");
        return;
    };
    let (name, mut schema) =
        schema_of(document).unwrap_or_else(|| panic!("there is no schema for {command}: {document:#}"));
    closed(&mut schema);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(document)
        .map(|problem| format!("{}: {problem}", problem.instance_path()))
        .collect();
    assert!(problems.is_empty(), "not as {name}: {problems:#?}\n{document:#}");
}

/// The name and the schema of a document. `docs/schemas/` holds what `deployctl schema` prints; a unit test compares them.
fn schema_of(document: &Value) -> Option<(String, Value)> {
    let read = |name: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let command = &document["command"];
    let of_command = |schema: &Value| {
        let names = &schema["properties"]["command"]["enum"];
        !command.is_null() && names.as_array().is_some_and(|names| names.contains(command))
    };
    let found = names.map(|name| (read(&name), name)).find(|(schema, _)| of_command(schema));
    match found {
        // The result document has its own place for what went wrong.
        Some((schema, name)) if name == "result.json" => Some((name, schema)),
        _ if document["outcome"] == "failed" => Some(("failure.json".to_owned(), read("failure.json"))),
        found => found.map(|(schema, name)| (name, schema)),
    }
}

/// Forbids fields that the schema does not name: readers accept more, but deployctl must not print more.
fn closed(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            object.values_mut().for_each(closed);
        }
        Value::Array(items) => items.iter_mut().for_each(closed),
        _ => {}
    }
}

impl Program {
    /// deployctl in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
        let program = Self { dir: dir.to_owned(), env: kept.collect() };
        // The home folder is real, for the sake of caches; what it says about AWS must not count.
        program
            .with("AWS_CONFIG_FILE", "/nonexistent")
            .with("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("NO_COLOR", "1")
    }

    /// The same with a variable set.
    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The command, ready to be started. It is killed when its handle is dropped.
    pub(crate) fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_deployctl"));
        command.args(args).current_dir(&self.dir).env_clear().envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The command with another umask.
    pub(crate) fn command_with_umask(&self, umask: &str, args: &[&str]) -> tokio::process::Command {
        let program = self.command(args).into_std();
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-c", "umask \"$0\"; exec \"$@\"", umask])
            .arg(program.get_program())
            .args(program.get_args());
        command.current_dir(&self.dir).env_clear().envs(self.env.iter().cloned()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> CommandOutput {
        CommandOutput::of(self.command(args).output().await.unwrap())
    }
}

impl Program {
    /// Runs a command whose stdout is on a full disk.
    pub(crate) async fn run_on_full_disk(&self, args: &[&str]) -> CommandOutput {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = self.command(args).stdout(full).spawn().unwrap();
        CommandOutput::of(child.wait_with_output().await.unwrap())
    }
}

impl Program {
    /// Runs a command that cannot write more than `blocks` of 512 bytes to a file, as on a disk that is full. The pipes of
    /// its output have no limit.
    pub(crate) async fn run_with_files_of(&self, blocks: u32, args: &[&str]) -> CommandOutput {
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &limit, env!("CARGO_BIN_EXE_deployctl")]).args(args);
        command.current_dir(&self.dir).env_clear().envs(self.env.iter().cloned()).stdin(Stdio::null());
        CommandOutput::of(command.output().await.unwrap())
    }
}

impl CommandOutput {
    /// The output of a process that has ended.
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub(crate) fn exit(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "the exit code\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// stdout, which must be one JSON document and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let document = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON document ({error}):\n{}", self.stdout));
        follows_its_schema(&document);
        document
    }

    /// Fails the test unless stderr has all these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        }
        self
    }
}
