//! GitHub, as far as a workflow can tell: jobs in the order of their needs, each in a checkout of its own, steps in bash,
//! outputs, artifacts, and the actions that ours use. What an action would get from outside (Terraform, credentials) is
//! there already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::expression::{Scope, shown};
use super::repository;

/// The files of the workflows.
pub(crate) fn workflows() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(repository(".github/workflows")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// A file of YAML.
pub(crate) fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A machine that runs workflows of one repository.
#[derive(Debug)]
pub(crate) struct GitHub {
    /// Where jobs run. `.deployctl` in it stays from job to job: it holds the stand-in for AWS.
    pub(crate) workspace: PathBuf,
    /// What a checkout brings.
    pub(crate) sources: PathBuf,
    /// The contexts that do not change: `github`, `vars`, `inputs`.
    pub(crate) contexts: Map<String, Value>,
    /// The environment that every step begins with.
    pub(crate) env: BTreeMap<String, OsString>,
    /// Where `runner.temp` and the artifacts are.
    pub(crate) temp: PathBuf,
}

/// What became of a step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Its job.
    pub(crate) job: String,
    /// Its name, or the action.
    pub(crate) name: String,
    /// How its script ended; 0 for an action.
    pub(crate) code: Option<i32>,
    /// What it wrote, both streams.
    pub(crate) text: String,
    /// The script as bash got it.
    pub(crate) script: String,
}

/// What became of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// All steps that ran, in order.
    pub(crate) steps: Vec<Step>,
    /// Result and outputs of each job.
    pub(crate) jobs: BTreeMap<String, Value>,
    /// `$GITHUB_STEP_SUMMARY`, of all steps.
    pub(crate) summary: String,
}

impl Run {
    /// The step of this name.
    #[track_caller]
    pub(crate) fn step(&self, job: &str, name: &str) -> &Step {
        let found = self.steps.iter().find(|step| step.job == job && step.name == name);
        found.unwrap_or_else(|| panic!("no step {name:?} of {job:?} ran: {:#?}", self.steps))
    }

    /// Fails the test unless each job ended so.
    #[track_caller]
    pub(crate) fn ended(&self, results: &[(&str, &str)]) {
        for (job, result) in results {
            let ended = self.jobs.get(*job).map(|job| job["result"].clone());
            assert_eq!(ended, Some(json!(result)), "{job}: {:#?}", self.steps);
        }
    }
}

/// One job under way.
struct Job {
    name: String,
    scope: Scope,
    env: BTreeMap<String, OsString>,
    shell: Option<String>,
    may_be_somebody: bool,
    outputs: Map<String, Value>,
}

impl GitHub {
    /// Runs a workflow of the repository.
    pub(crate) fn run(&self, workflow: &str, inputs: &Value) -> Run {
        self.run_document(&read(&repository(&format!(".github/workflows/{workflow}.yml"))), inputs)
    }

    /// Runs a workflow that is not, or not so, in the repository.
    pub(crate) fn run_document(&self, workflow: &Value, inputs: &Value) -> Run {
        std::fs::remove_dir_all(&self.temp).ok();
        let mut run = Run::default();
        self.workflow(workflow, inputs, "", &mut run);
        run
    }

    fn workflow(&self, workflow: &Value, inputs: &Value, prefix: &str, run: &mut Run) -> Map<String, Value> {
        let mut contexts = self.contexts.clone();
        contexts.insert("inputs".into(), inputs.clone());
        let jobs = workflow["jobs"].as_object().unwrap();
        let mut needs = Map::new();
        // One at a time, each after those that it needs.
        while needs.len() < jobs.len() {
            let ready = |job: &Value| needed(job).iter().all(|name| needs.contains_key(name));
            let next = jobs.iter().find(|(name, job)| !needs.contains_key(*name) && ready(job));
            let (name, job) = next.expect("a job whose needs are met");
            let mine: Map<String, Value> =
                needed(job).into_iter().map(|name| (name.clone(), needs[&name].clone())).collect();
            let success = mine.values().all(|job| job["result"] == "success");
            let mut contexts = contexts.clone();
            contexts.insert("needs".into(), Value::Object(mine));
            let scope = Scope { contexts: Value::Object(contexts), success };
            let ended = if scope.allows(&job["if"]) {
                self.job(&format!("{prefix}{name}"), workflow, job, scope, run)
            } else {
                json!({ "result": "skipped", "outputs": {} })
            };
            run.jobs.insert(format!("{prefix}{name}"), ended.clone());
            needs.insert(name.clone(), ended);
        }
        needs
    }

    fn job(&self, name: &str, workflow: &Value, job: &Value, scope: Scope, run: &mut Run) -> Value {
        if let Some(called) = job["uses"].as_str() {
            let path = repository(called.strip_prefix("./").expect("a workflow of ours"));
            let inputs = filled(&scope, &job["with"]);
            let jobs = self.workflow(&read(&path), &Value::Object(inputs), &format!("{name}/"), run);
            let success = jobs.values().all(|job| job["result"] == "success");
            let scope = Scope { contexts: json!({ "jobs": jobs }), success };
            let declared = read(&path)["on"]["workflow_call"]["outputs"].clone();
            let declared = declared.as_object().cloned().unwrap_or_default();
            let outputs: Map<String, Value> = declared
                .into_iter()
                .map(|(key, output)| (key, scope.fill(output["value"].as_str().unwrap()).into()))
                .collect();
            return json!({ "result": if success { "success" } else { "failure" }, "outputs": outputs });
        }
        // Nothing of an earlier job is on the machine.
        let temp = self.temp.join("runner");
        std::fs::remove_dir_all(&temp).ok();
        std::fs::create_dir_all(&temp).unwrap();
        self.clear();
        let mut state = Job {
            name: name.to_owned(),
            env: self.env.clone(),
            shell: workflow["defaults"]["run"]["shell"].as_str().map(str::to_owned),
            may_be_somebody: job["permissions"]["id-token"] == "write",
            outputs: Map::new(),
            scope,
        };
        state.scope.success = true;
        state.scope.contexts["runner"] = json!({ "temp": temp });
        state.scope.contexts["steps"] = json!({});
        state.env.insert("RUNNER_TEMP".into(), temp.into());
        for place in [&workflow["env"], &job["env"]] {
            state.env.extend(
                filled(&state.scope, place).into_iter().map(|(key, value)| (key, shown(&value).into())),
            );
        }
        self.steps(&job["steps"], &mut state, run);
        let scope = &state.scope;
        let outputs = filled(scope, &job["outputs"]);
        json!({ "result": if scope.success { "success" } else { "failure" }, "outputs": outputs })
    }

    fn steps(&self, steps: &Value, job: &mut Job, run: &mut Run) {
        for step in steps.as_array().unwrap() {
            if !job.scope.allows(&step["if"]) {
                continue;
            }
            job.outputs = Map::new();
            let success = match step["uses"].as_str() {
                Some(action) => self.action(action, &filled(&job.scope, &step["with"]), job, run),
                None => self.script(step, job, run),
            };
            if let Some(id) = step["id"].as_str() {
                job.scope.contexts["steps"][id] = json!({ "outputs": job.outputs });
            }
            job.scope.success &= success;
        }
    }

    fn action(&self, action: &str, with: &Map<String, Value>, job: &mut Job, run: &mut Run) -> bool {
        let text = |key: &str| with.get(key).map(shown).unwrap_or_default();
        let store = self.temp.join("artifacts");
        let name = action.split('@').next().unwrap();
        run.steps.push(Step {
            job: job.name.clone(),
            name: name.to_owned(),
            code: Some(0),
            text: String::new(),
            script: String::new(),
        });
        match name {
            "actions/checkout" => {
                self.clear();
                copy(&self.sources, &self.workspace);
                true
            }
            "hashicorp/setup-terraform" => true,
            "aws-actions/configure-aws-credentials" => {
                assert!(job.may_be_somebody, "{} cannot be given a role", job.name);
                assert!(!text("role-to-assume").is_empty() && !text("aws-region").is_empty(), "{with:?}");
                true
            }
            "actions/upload-artifact" => {
                let (from, to) = (self.workspace.join(text("path")), store.join(text("name")));
                assert!(!to.exists(), "{} is there already", to.display());
                if !from.exists() {
                    return false;
                }
                let to = if from.is_file() { to.join(from.file_name().unwrap()) } else { to };
                copy(&from, &to);
                true
            }
            "actions/download-artifact" => {
                let from = store.join(text("name"));
                let there = from.exists();
                if there {
                    copy(&from, &self.workspace.join(text("path")));
                }
                there
            }
            local if local.starts_with("./") => {
                let folder = self.workspace.join(local);
                let action = read(&folder.join("action.yml"));
                let mut inputs = Map::new();
                for (name, input) in action["inputs"].as_object().unwrap() {
                    let value = with.get(name).cloned();
                    let default = || job.scope.fill(input["default"].as_str().unwrap_or_default()).into();
                    inputs.insert(name.clone(), value.unwrap_or_else(default));
                }
                let outer = std::mem::replace(&mut job.scope.contexts["inputs"], Value::Object(inputs));
                job.env.insert("GITHUB_ACTION_PATH".into(), folder.into());
                self.steps(&action["runs"]["steps"], job, run);
                job.scope.contexts["inputs"] = outer;
                job.scope.success
            }
            other => panic!("no workflow here uses {other}"),
        }
    }

    /// One script, as GitHub runs it.
    fn script(&self, step: &Value, job: &mut Job, run: &mut Run) -> bool {
        let script = step["run"].as_str().unwrap().to_owned();
        let file = |name: &str| {
            let path = self.temp.join("runner").join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let body = file("script.sh");
        std::fs::write(&body, &script).unwrap();
        // What GitHub's documentation says of a script with and without `shell: bash`.
        let shell = step["shell"].as_str().map(str::to_owned).or_else(|| job.shell.clone());
        let options: &[&str] = match shell.as_deref() {
            None => &["-e"],
            Some("bash") => &["--noprofile", "--norc", "-eo", "pipefail"],
            Some(other) => panic!("the shell {other}"),
        };
        let files = ["GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"]
            .map(|name| (name, file(name)));
        let mut command = Command::new("bash");
        command.args(options).arg(&body).current_dir(&self.workspace).env_clear().envs(&job.env);
        command.envs(files.iter().map(|(name, path)| (name, path)));
        command.envs(filled(&job.scope, &step["env"]).into_iter().map(|(key, value)| (key, shown(&value))));
        let output = command.output().unwrap();
        let [outputs, env, path, summary] = files.map(|(_, file)| std::fs::read_to_string(file).unwrap());
        run.summary.push_str(&summary);
        job.outputs = pairs(&outputs).map(|(key, value)| (key, value.into())).collect();
        job.env.extend(pairs(&env).map(|(key, value)| (key, value.into())));
        for folder in path.lines() {
            let mut path = OsString::from(format!("{folder}:"));
            path.push(&job.env["PATH"]);
            job.env.insert("PATH".into(), path);
        }
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let name = step["name"].as_str().expect("a script has a name").to_owned();
        run.steps.push(Step { job: job.name.clone(), name, code: output.status.code(), text, script });
        output.status.success()
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(&self.workspace).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name != ".deployctl") {
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                    .unwrap();
            }
        }
    }
}

/// The jobs that a job needs.
fn needed(job: &Value) -> Vec<String> {
    match &job["needs"] {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one.clone()],
        list => list.as_array().unwrap().iter().map(shown).collect(),
    }
}

/// A table of texts, each filled.
fn filled(scope: &Scope, table: &Value) -> Map<String, Value> {
    let table = table.as_object().into_iter().flatten();
    table
        .map(|(key, value)| {
            (key.clone(), value.as_str().map_or_else(|| value.clone(), |text| scope.fill(text).into()))
        })
        .collect()
}

/// The lines of a file of GitHub's: `key=value`, or `key<<END` and lines to the end.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let line = lines.find(|line| !line.is_empty())?;
        if let Some((key, end)) = line.split_once("<<") {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            return Some((key.to_owned(), value.join("\n")));
        }
        let (key, value) = line.split_once('=').expect("key=value");
        Some((key.to_owned(), value.to_owned()))
    })
}

/// Copies a file or a folder; artifacts lose who may execute them, as GitHub's do.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
    if to.components().any(|part| part.as_os_str() == "artifacts") {
        std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}
