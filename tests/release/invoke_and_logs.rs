//! What is done between releases: logs, invocations, a look that goes on; and what needs no stage at all.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::minimal_project::MinimalProject;
use crate::support::program::{CommandOutput, follows_its_schema};
use crate::support::seeded_stage::SeededStage;

/// A project with a stage that serves release 1.0.0.
async fn served() -> (MinimalProject, SeededStage) {
    let project = MinimalProject::new();
    let stage = SeededStage::on(&project).await;
    (project, stage)
}

#[tokio::test]
async fn functions_are_invoked() {
    let (project, _stage) = served().await;
    let greet = ["invoke", "greet", "--payload", r#"{"name":"Ada"}"#, "--output", "json"];
    let answer = project.run(&greet).await.exit(0).json();
    assert_eq!(answer["result"], json!({ "said": "hello" }));
    assert_eq!((&answer["version"], &answer["release"]), (&json!("1"), &json!("1.0.0")));
    assert_eq!((&answer["function_error"], &answer["log_tail"]), (&Value::Null, &Value::Null));

    // For people, by its whole name, with a payload from a file, and what it logged.
    let file = project.write("event.json", r#"{"name":"Grace"}"#);
    let payload = format!("@{}", file.display());
    let human = project.run(&["invoke", "small-greet", "--payload", &payload, "--log-tail"]).await.exit(0);
    assert_eq!(human.stdout, "{\n  \"said\": \"hello\"\n}\n");
    human.says(&["greet: hello Grace"]);

    // A function that fails is an answer: printed, and told apart by the exit code.
    let failed = project.run(&["invoke", "fail", "--output", "json"]).await.exit(3).json();
    assert_eq!(failed["function_error"], "Unhandled");
    assert_eq!(failed["result"]["errorMessage"], "on purpose");
    project.run(&["invoke", "fail"]).await.exit(3).says(&["the function answered with an error: Unhandled"]);

    let old =
        project.run(&["invoke", "greet", "--release", "1.0.0", "--output", "json"]).await.exit(0).json();
    assert_eq!((&old["version"], &old["release"]), (&json!("1"), &json!("1.0.0")));
    for (args, id) in [
        (&["invoke", "greet", "--release", "0.9.0"][..], "release.unknown"),
        (&["invoke", "great"], "function.unknown"),
        (&["invoke", "greet", "--payload", "{"], "payload.invalid"),
        (&["logs", "--function", "great"], "function.unknown"),
        (&["logs", "--since", "soon"], "logs.since"),
        (&["logs", "--release", "0.9.0"], "release.unknown"),
    ] {
        let refused = project.run(&[args, &["--output", "json"]].concat()).await.exit(2).json();
        assert_eq!(refused["error"]["id"], id, "{args:?}");
    }
}

#[tokio::test]
async fn logs_are_read_and_followed() {
    let (project, made) = served().await;
    project.run(&["invoke", "greet", "--payload", r#"{"name":"Ada"}"#]).await.exit(0);
    project.run(&["invoke", "fail"]).await.exit(3);
    let all = lines(&project.run(&["logs", "--output", "json"]).await.exit(0));
    let times: Vec<&str> = all.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let said = |lines: &[Value], function: &str, text: &str| {
        lines
            .iter()
            .any(|line| line["function"] == function && line["message"].as_str().unwrap().contains(text))
    };
    assert!(said(&all, "greet", "hello Ada") && said(&all, "fail", "on purpose"), "{all:#?}");
    assert!(all.iter().all(|line| line["version"] == "1"), "{all:#?}");
    let one = lines(&project.run(&["logs", "--function", "fail", "--output", "json"]).await.exit(0));
    assert!(!one.is_empty() && one.iter().all(|line| line["function"] == "fail"), "{one:#?}");
    let future = project.run(&["logs", "--since", "2099-01-01T00:00:00Z"]).await.exit(0);
    assert_eq!(future.stdout, "");

    // A follower hears what another release says, and ends well. Meanwhile each line is told once.
    let mut follower = Follower::start(&project, &["logs", "--follow", "--output", "json"]);
    follower.until(|line| line["message"].as_str().unwrap().contains("hello Ada")).await;
    made.release_another("good day").await;
    project.run(&["invoke", "greet", "--payload", r#"{"name":"Alan"}"#]).await.exit(0);
    let new = follower.until(|line| line["message"].as_str().unwrap().contains("good day Alan")).await;
    assert_eq!(new["version"], "2");
    let heard = follower.interrupt(0).await;
    let alan = heard.iter().filter(|line| line["message"].as_str().unwrap().contains("Alan")).count();
    assert!(alan <= 1, "{heard:#?}");

    // By the ledger, release 1.0.0 is version 1.
    let old = lines(&project.run(&["logs", "--release", "1.0.0", "--output", "json"]).await.exit(0));
    assert!(said(&old, "greet", "hello Ada") && !said(&old, "greet", "good day"), "{old:#?}");
    let human = project.run(&["logs"]).await.exit(0).stdout;
    assert!(human.lines().any(|line| line.ends_with("greet [2] good day Alan")), "{human}");

    // Lambda's own lines are shown on request only; lines are chosen by text and counted from the end.
    assert!(!human.contains(" REPORT RequestId: "), "{human}");
    let platform = project.run(&["logs", "--platform"]).await.exit(0).stdout;
    assert!(
        platform.contains(" REPORT RequestId: ") && platform.contains(" START RequestId: "),
        "{platform}"
    );
    let chosen = project.run(&["logs", "--filter", "good day"]).await.exit(0).stdout;
    assert!(!chosen.is_empty() && chosen.lines().all(|line| line.contains("good day")), "{chosen}");
    let last = project.run(&["logs", "-n", "1", "--function", "greet"]).await.exit(0).stdout;
    let all = project.run(&["logs", "--function", "greet"]).await.exit(0).stdout;
    assert_eq!(Some(last.trim_end()), all.lines().last(), "{all}");
    let url = project.run(&["url"]).await.exit(0).stdout;
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/local\n"), "{url}");
    let local = project.run(&["local", "status"]).await.exit(0).stdout;
    assert!(local.starts_with("the local stage answers at http://127.0.0.1:"), "{local}");

    // A result on a full disk is lost, and that is told.
    for args in
        [&["logs"][..], &["invoke", "greet"], &["status", "--output", "json"], &["history"], &["output"]]
    {
        project.program.run_on_full_disk(args).await.exit(74).says(&["error [result.unwritten]"]);
    }

    // A release that was switched back is in the ledger as well, and its functions can be examined.
    made.record(2, "2.0.0", "switched_back", "2").await;
    let undone = lines(&project.run(&["logs", "--release", "2.0.0", "--output", "json"]).await.exit(0));
    assert!(said(&undone, "greet", "good day Alan") && !said(&undone, "greet", "hello Ada"), "{undone:#?}");
    let invoke = ["invoke", "greet", "--release", "2.0.0", "--output", "json"];
    let invoked = project.run(&invoke).await.exit(0).json();
    assert_eq!((&invoked["version"], &invoked["release"]), (&json!("2"), &json!("2.0.0")));
    let diff = project.run(&["diff", "1.0.0", "2.0.0", "--output", "json"]).await.exit(0).json();
    assert_eq!((&diff["from"]["outcome"], &diff["to"]["outcome"]), (&json!("live"), &json!("switched_back")));
    let diff = project.run(&["diff", "1.0.0", "2.0.0"]).await.exit(0).stdout;
    assert!(diff.contains("+ 2.0.0 (record 2, 2026-11-25T12:00:00Z, switched back)\n"), "{diff}");

    // What a program says before it dies at its start is in the log, as on AWS.
    made.break_the_start().await;
    project.run(&["invoke", "fail"]).await.exit(3);
    let fail = lines(&project.run(&["logs", "--function", "fail", "--output", "json"]).await.exit(0));
    assert!(said(&fail, "fail", "panicked at src/main.rs:3:5: no settings"), "{fail:#?}");
}

#[tokio::test]
async fn a_status_is_watched() {
    let (project, made) = served().await;
    made.serve("2.0.0").await;
    let mut watcher =
        Follower::start(&project, &["status", "--watch", "--interval", "1", "--output", "json"]);
    let first = watcher.until(|look| look["command"] == "status").await;
    assert_eq!((&first["version"], &first["steps"]), (&json!("2.0.0"), &json!([])));
    // Nothing has changed, so nothing is told, until something does.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    made.serve("3.0.0").await;
    let second = watcher.until(|_| true).await;
    assert_eq!(second["version"], "3.0.0");
    assert_eq!(watcher.interrupt(0).await, Vec::<Value>::new());
    // One line for each look, for people who are no terminal.
    let mut child = project.program.command(&["status", "--watch"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = out.next_line().await.unwrap().unwrap();
    assert!(line.contains("local: serves 3.0.0, deployment "), "{line}");
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));

    // On a terminal, which util-linux's `script` is, in the same place: up over the lines of the look before.
    let watch = format!("{} status --watch --interval 1", env!("CARGO_BIN_EXE_deployctl"));
    let terminal = format!("stty rows 24 cols 80; timeout -s INT --preserve-status 8 {watch}");
    let own = project.program.command(&[]);
    let env = own.as_std().get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut script = tokio::process::Command::new("script");
    script.args(["-qec", &terminal, "/dev/null"]).env_clear().envs(env).env("TERM", "xterm");
    let drawn = script.current_dir(project.path()).stdin(std::process::Stdio::null()).output().await.unwrap();
    let text = String::from_utf8(drawn.stdout).unwrap();
    assert_eq!(drawn.status.code(), Some(0), "{text}");
    let looks: Vec<&str> = text.split("\x1b[?7l\r").skip(1).collect();
    assert!(looks.len() >= 2, "{text:?}");
    let lines = looks[0].matches("\x1b[K\r\n").count();
    assert!(looks[0].starts_with("local: serves 3.0.0") && lines >= 3, "{text:?}");
    assert!(looks[1].starts_with(&format!("\x1b[{lines}Alocal: serves 3.0.0")), "{text:?}");
}

/// stdout, which must be one JSON document on each line.
fn lines(ended: &CommandOutput) -> Vec<Value> {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.inspect(follows_its_schema).collect()
}

/// A command that goes on until it is interrupted.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(project: &MinimalProject, args: &[&str]) -> Self {
        let mut child = project.program.command(args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until a document is what is waited for.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it ended");
                let document: Value = serde_json::from_str(&line).unwrap();
                follows_its_schema(&document);
                if wanted(&document) {
                    return document;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it was not said")
    }

    /// Interrupts it, which must end it with `code`; what it had still to say.
    async fn interrupt(mut self, code: i32) -> Vec<Value> {
        kill(Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
        let mut rest = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        assert_eq!(self.child.wait().await.unwrap().code(), Some(code));
        rest
    }
}

#[tokio::test]
async fn commands_that_need_no_stage() {
    let project = MinimalProject::new();
    project.settings("[stages.dev]", "[stages.production]");
    project.run(&["status", "-s", "prodution"]).await.exit(2).says(&["did you mean \"production\"?"]);
    // Not even a project.
    std::fs::remove_file(project.path().join("deployctl.toml")).unwrap();
    let one = project.run(&["explain", "lease.held", "--output", "json"]).await.exit(0).json();
    assert_eq!((&one["errors"][0]["exit_codes"], &one["exit_codes"]), (&json!([75]), &json!([])));
    let all = project.run(&["explain", "--output", "json"]).await.exit(0).json();
    assert!(
        all["errors"].as_array().unwrap().len() > 100 && all["exit_codes"].as_array().unwrap().len() == 11
    );
    let unknown = project.run(&["explain", "lease.hold", "--output", "json"]).await.exit(2).json();
    assert_eq!(unknown["error"]["id"], "explain.unknown");

    let names = project.run(&["schema", "--output", "json"]).await.exit(0).json();
    for schema in names["schemas"].as_array().unwrap() {
        let printed = project.run(&["schema", schema["name"].as_str().unwrap()]).await.exit(0);
        jsonschema::validator_for(&serde_json::from_str(&printed.stdout).unwrap()).unwrap();
    }
    project.run(&["schema", "hitsory"]).await.exit(2).says(&["did you mean \"history\"?"]);

    for (shell, text) in [
        ("bash", "-F _clap_complete_deployctl deployctl"),
        ("zsh", "#compdef deployctl"),
        ("fish", "complete --keep-order --exclusive --command deployctl"),
    ] {
        let printed = project.run(&["completions", shell]).await.exit(0).stdout;
        assert!(printed.contains(text), "{shell}: {printed}");
    }
    // What the project has, and what commands have seen in it, is completed.
    project.write("deployctl.toml", "[stages.production]\n[layers.app]\n[layers.base]\n");
    let seen = r#"{"versions":["1.4.2","1.4.1","1.3.0"],"functions":["users_get"]}"#;
    project.write(".deployctl/completion/production.json", seen);
    let bash = project.write("deployctl.bash", project.run(&["completions", "bash"]).await.exit(0).stdout);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_deployctl")).parent().unwrap();
    let script = "source \"$0\"; PATH=$1:$PATH; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                  _clap_complete_deployctl deployctl \"${COMP_WORDS[COMP_CWORD]}\" x 2>/dev/null; echo \"${COMPREPLY[*]}\"";
    for (words, completed) in [
        (&["roll"][..], "rollback"),
        (&["status", "--stage", ""], "production"),
        (&["rollback", "1.4"], "1.4.2 1.4.1"),
        (&["invoke", "u"], "users_get"),
        (&["terraform", "b"], "base"),
    ] {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script]).arg(&bash).arg(program).arg("deployctl").args(words);
        let printed = command.current_dir(project.path()).output().unwrap();
        assert_eq!(String::from_utf8(printed.stdout).unwrap().trim_end(), completed, "{words:?}");
    }

    let dir = project.path().join("man");
    let args = ["man", "--dir", dir.to_str().unwrap(), "--output", "json"];
    let pages = project.run(&args).await.exit(0).json();
    let pages = pages["pages"].as_array().unwrap();
    assert!(pages.contains(&json!("deployctl.1")) && pages.contains(&json!("deployctl-local-up.1")));
    for page in pages {
        let text = std::fs::read_to_string(dir.join(page.as_str().unwrap())).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    the_version_of_the_source(&project).await;
    project.write("file", "");
    project.run(&["man", "--dir", "file/man"]).await.exit(10).says(&["error [man.not_written]"]);
}

/// `auto` is refused where there is no commit that has the source; and versions are given once.
async fn the_version_of_the_source(project: &MinimalProject) {
    let project = project.path().join("source");
    std::fs::create_dir(&project).unwrap();
    let program = crate::support::program::Program::new(&project);
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(args).current_dir(&project);
        assert!(git.output().unwrap().status.success(), "{args:?}");
    };
    let settings =
        "project = \"p\"\n[stages.local]\nlocal = true\n[layers.base]\n[layers.app]\n[artifacts]\n";
    std::fs::write(project.join("deployctl.toml"), settings).unwrap();
    std::fs::write(project.join(".gitignore"), ".deployctl\n").unwrap();
    git(&["init", "--quiet"]);
    let none = program.run(&["release", "auto"]).await.exit(2);
    none.says(&["error [version.auto]", "failed to read the commit of the source"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    std::fs::write(project.join("new.txt"), "").unwrap();
    let dirty = program.run(&["release", "--version", "auto"]).await.exit(2);
    dirty.says(&[
        "error [version.auto]",
        "refused: the source differs from its commit, for example in new.txt",
    ]);
    for (args, problem) in [
        (&["release", "1", "--version", "2"][..], "two versions are given: \"1\" and \"2\""),
        (&["deploy"], "<VERSION|--version <V>>"),
        (&["rollback", "1", "--to", "2"], "cannot be used with"),
        (&["redeploy", "--rest-api-id", "a"], "--stage-name <NAME>"),
        (&["terraform", "app", "plan", "--stage", "local"], "--stage is no option of Terraform"),
    ] {
        program.run(args).await.exit(2).says(&[problem]);
    }
}
