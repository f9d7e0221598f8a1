//! What people and CI systems see of a release, and what happens when they stop looking: the real program, a local
//! stage, a terminal, a browser.

mod browser;
mod terminal;

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::program::{CommandOutput, Program};
use crate::support::snapshot;
use serde_json::Value;
use terminal::Terminal;

/// An apply that takes a while, and names that try to be more than names.
const SLOW: &str = "resource \"terraform_data\" \"a_resource_with_quite_a_long_name\" {\n  for_each = toset([\"one\", \"two\"])\n  \
                    triggers_replace = timestamp()\n  provisioner \"local-exec\" {\n    \
                    command = \"sleep 2; echo '::error::injected'; echo '##[error]injected'\"\n  }\n}\n\n";

/// A stage with two functions.
async fn stage() -> FakeReleasedStage {
    let fake = FakeReleasedStage::new().await;
    fake.create_functions(2).await;
    fake
}

/// A stage that serves `version`, and whose next apply replaces two resources and takes a while.
async fn slow_stage_with(version: &str) -> FakeReleasedStage {
    let fake = stage().await;
    fake.declare_functions(2, &SLOW.replace("sleep 2; ", ""));
    release(&fake, version).await;
    fake.declare_functions(2, SLOW);
    fake
}

/// A stage with two functions that serves `version`.
async fn stage_with(version: &str) -> FakeReleasedStage {
    let fake = stage().await;
    release(&fake, version).await;
    fake
}

async fn release(fake: &FakeReleasedStage, version: &str) {
    fake.project.build(version);
    fake.project.run(&["release", "--version", version]).await.exit(0);
}

/// deployctl as GitHub's runner starts it, in a step of its own.
fn github(fake: &FakeReleasedStage, step: &str) -> Program {
    let file = |name: &str| fake.project.path().join(format!("{step}.{name}"));
    let workspace = fake.project.path().canonicalize().unwrap();
    fake.project
        .program
        .clone()
        .with("CI", "true")
        .with("GITHUB_ACTIONS", "true")
        .with("GITHUB_WORKSPACE", workspace)
        .with("GITHUB_STEP_SUMMARY", file("summary"))
        .with("GITHUB_OUTPUT", file("output"))
        .with("GITHUB_SERVER_URL", "https://github.example")
        .with("GITHUB_REPOSITORY", "o/r")
        .with("GITHUB_RUN_ID", "42")
        .with("DEPLOYCTL_PROBE_AUTHORIZATION", "Bearer s3cret")
}

fn read(fake: &FakeReleasedStage, name: &str) -> String {
    std::fs::read_to_string(fake.project.path().join(name)).unwrap()
}

#[tokio::test]
async fn a_release_on_github() {
    let fake = &stage().await;
    fake.declare_functions(2, SLOW);
    fake.project.build("1");
    let timeline = fake.project.path().join("timeline.html");
    let timings = format!("--timings={}", timeline.display());
    let ended = github(fake, "first").run(&["release", "--version", "1.0.0", &timings]).await.exit(0);

    // Steps overlap; their groups do not. Nothing that a program wrote is obeyed.
    let mut open = false;
    for line in ended.stderr.lines() {
        match line.trim_start() {
            line if line.starts_with("::group::") => assert!(!std::mem::replace(&mut open, true), "{line}"),
            line if line.starts_with("::endgroup::") => assert!(std::mem::take(&mut open), "{line}"),
            line if line.starts_with("::add-mask::Bearer s3cret") => {}
            line => assert!(!line.starts_with("::") && !line.contains("##["), "{line}"),
        }
    }
    assert!(!open);
    for step in ["terraform init app", "terraform apply app"] {
        assert!(ended.stderr.contains(&format!("::group::✓ {step}")), "{step}: {}", ended.stderr);
    }
    // What has a place in a step is in its group.
    let mut depth = 0_u8;
    for line in ended.stderr.lines() {
        depth = depth + u8::from(line.starts_with("::group::")) - u8::from(line.starts_with("::endgroup::"));
        assert!(depth == 1 || !line.contains("terraform: ") && !line.contains("    app: "), "{line}");
    }
    assert!(ended.stdout.starts_with("local: released 1.0.0 in "), "{}", ended.stdout);

    let summary = read(fake, "first.summary");
    for line in [
        "### ✅ local: released 1.0.0",
        "| f0 |  | **1** |",
        "- app: 2 created, 0 changed, 0 destroyed",
        "- app create: terraform\\_data.a\\_resource\\_with\\_quite\\_a\\_long\\_name\\[\"one\"\\]",
    ] {
        assert!(summary.contains(&format!("{line}\n")), "{line:?} is not in\n{summary}");
    }
    assert!(summary.contains("```mermaid\ngantt\n") && summary.contains("    switch 0."), "{summary}");
    let output = read(fake, "first.output");
    let value = |name: &str| {
        let mut lines =
            output.lines().skip_while(|line| !line.starts_with(&format!("{name}<<ghadelimiter_")));
        lines.nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((value("outcome").as_str(), value("version").as_str()), ("released", "1.0.0"));
    assert!(value("url").starts_with("http://127.0.0.1:") && !value("deployment_id").is_empty(), "{output}");
    let (tables, _) = summary.split_once("```mermaid").unwrap();
    snapshot::settings().bind(|| insta::assert_snapshot!("summary_on_github", tables));
    browser::looks_good(&timeline);

    // What an API's definition, an account or a person may have put into JSON is not obeyed either.
    let history = github(fake, "history").run(&["history", "--output", "json"]).await.exit(0).json();
    assert_eq!(history["records"][0]["who"]["run_url"], "https://github.example/o/r/actions/runs/42");
    let typed =
        github(fake, "typed").run(&["release", "--version", "1", "1", "\n::error::typed"]).await.exit(2);
    assert!(!typed.stderr.lines().any(|line| line.trim_start().starts_with("::")), "{}", typed.stderr);
}

/// A plan is on the page of the run, and a later step can ask what it found.
#[tokio::test]
async fn a_plan_on_github() {
    let fake = &slow_stage_with("1.0.0").await;
    let plan = github(fake, "plan").run(&["plan", "--markdown"]).await.exit(0);
    let summary = read(fake, "plan.summary");
    assert_eq!(summary, plan.stdout);
    snapshot::settings().bind(|| insta::assert_snapshot!("plan_in_markdown", summary));
    let title = "### deployctl: plan for local, the next release\n\n#### Terraform `base`: no changes\n\n#### Terraform `app`: 2 to add, 0 to change, 2 to destroy\n";
    assert!(summary.starts_with(title), "{summary}");
    let outputs = read(fake, "plan.output");
    for (name, value) in [("changes", "true"), ("version", "unreleased")] {
        let mut lines = outputs.lines().skip_while(|line| !line.starts_with(&format!("{name}<<")));
        assert_eq!(lines.nth(1), Some(value), "{outputs}");
    }
}

/// What is wrong with the settings is marked at its line.
#[tokio::test]
async fn wrong_settings_on_github() {
    let fake = &FakeReleasedStage::new().await;
    let settings = read(fake, "deployctl.toml");
    fake.project.write("wrong.toml", format!("projet = \"x\"\n{settings}"));
    let unknown = github(fake, "wrong").run(&["status", "--config", "wrong.toml"]).await.exit(2);
    let marked = "::error title=deployctl config.invalid,file=wrong.toml,line=1::projet: unknown key; did you mean \"project\"?\n";
    assert!(unknown.stderr.contains(marked), "{}", unknown.stderr);
    fake.project.write("wrong.toml", "project = \"x\"\n[stages\n");
    let syntax = github(fake, "wrong").run(&["status", "--config", "wrong.toml"]).await.exit(2);
    assert!(
        syntax.stderr.contains("::error title=deployctl config.syntax,file=wrong.toml,line=2::"),
        "{}",
        syntax.stderr
    );
}

/// GitLab folds what stands between a section's marks, which come in pairs and never overlap.
#[tokio::test]
async fn a_release_on_gitlab() {
    let fake = &stage().await;
    fake.project.build("gitlab");
    let program = fake.project.program.clone().with("CI", "true").with("GITLAB_CI", "true");
    let program = program.with("CI_JOB_URL", "https://gitlab.example/o/r/-/jobs/7");
    let ended = program.run(&["release", "--version", "1.2.1"]).await.exit(0);
    let mut sections = Vec::new();
    let mut open: Option<(String, u64)> = None;
    for mark in ended.stderr.split("\x1b[0Ksection_").skip(1) {
        let (mark, rest) = mark.split_once("\r\x1b[0K").expect(mark);
        let mut parts = mark.split(':');
        let (kind, time, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let time: u64 = time.parse().unwrap();
        if kind == "start" {
            let name = name.strip_suffix("[collapsed=true]").expect("a step that went well is folded");
            assert_eq!(open.replace((name.to_owned(), time)), None, "{name} begins inside of another");
            sections.push((name.to_owned(), rest.to_owned()));
        } else {
            let (begun, start) = open.take().expect(mark);
            assert_eq!((kind, name), ("end", begun.as_str()));
            assert!(start <= time, "{mark}");
        }
    }
    assert_eq!(open, None, "{}", ended.stderr);
    let names: std::collections::BTreeSet<&str> = sections.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), sections.len(), "{sections:?}");
    let prepare = sections.iter().find(|(_, text)| text.starts_with("✓ publish versions "));
    assert!(prepare.is_some_and(|(_, text)| text.contains("\n    f0: version ")), "{sections:?}");
    assert!(!ended.stderr.contains("::group::") && ended.stdout.starts_with("local: released 1.2.1 in "));
    let history = fake.project.program.run(&["history", "--output", "json"]).await.exit(0).json();
    assert_eq!(history["records"][0]["who"]["run_url"], "https://gitlab.example/o/r/-/jobs/7");
}

#[tokio::test]
async fn a_failure_on_github() {
    let fake = &stage().await;
    fake.declare_functions(
        2,
        "locals {\n  this_way = false\n}\n\nresource \"terraform_data\" \"checked\" {\n  lifecycle {\n    precondition {\n      condition     = local.this_way\n      \
         error_message = \"Not this way\\n::set-output name=outcome::released\"\n    }\n  }\n}\n\n",
    );
    let ended = github(fake, "second").run(&["release", "--version", "1.1.0"]).await.exit(20);
    let annotation = ended.stderr.lines().find(|line| line.starts_with("::error title=app%3A ")).unwrap();
    assert!(annotation.contains(",file=terraform/app/main.tf,line="), "{annotation}");
    assert!(annotation.contains("Not this way%0A::set-output"), "{annotation}");
    assert!(ended.stderr.contains("::error title=deployctl terraform."), "{}", ended.stderr);
    let only_ours = ["::error ", "::group::", "::endgroup::", "::add-mask::"];
    for line in ended.stderr.lines().map(str::trim_start).filter(|line| line.starts_with("::")) {
        assert!(only_ours.iter().any(|start| line.starts_with(start)), "{line}");
    }
    let summary = read(fake, "second.summary");
    assert!(summary.starts_with("### ❌ local: release failed\n") && summary.contains("gantt"), "{summary}");
    assert!(read(fake, "second.output").starts_with("outcome<<ghadelimiter_"));
    assert!(read(fake, "second.output").contains("\nfailed\n"));
}

#[tokio::test]
async fn a_release_in_a_narrow_terminal() {
    let fake = &slow_stage_with("1.1.0").await;
    fake.project.build("2");
    let program = fake.project.program.clone();
    let mut terminal = Terminal::start(&program, &["release", "--version", "1.2.0"], (40, 16));
    let code = terminal.end().await;
    let seen = terminal.seen();
    let last = seen.screens.last().unwrap();
    assert_eq!(code, Some(0), "{last}");

    let screens = seen.screens.join("\n----\n");
    // While it goes on: what is under way, since when, how far.
    assert!(screens.contains("… terraform apply app 1 s 2/4"), "{screens}");
    assert!(screens.contains("      create terraform_data.a_reso… 1 s"), "{screens}");
    // In the end: nothing of that is left.
    assert!(!last.contains('…'), "{last}");
    assert!(last.contains("local: released 1.2.0"), "{last}");
    assert!(last.contains("✓ record release"), "{last}");
    // It was never blank once there was something, so nothing flickered; and it rested most of the time.
    let first = seen.screens.iter().position(|screen| !screen.trim().is_empty()).unwrap();
    assert!(seen.screens[first..].iter().all(|screen| !screen.trim().is_empty()), "{screens}");
    let raw = String::from_utf8_lossy(&seen.raw);
    assert!(!raw.contains("\x1b[3"), "NO_COLOR is set");
    assert!(seen.writes < 400, "{} writes", seen.writes);

    let coloured = program.with("NO_COLOR", "");
    let mut terminal = Terminal::start(&coloured, &["status"], (20, 5));
    assert_eq!(terminal.end().await, Some(0));
    assert!(String::from_utf8_lossy(&terminal.seen().raw).contains("\x1b[3"), "colours on a terminal");
}

#[tokio::test]
async fn progress_for_machines_and_for_nobody() {
    let fake = &stage_with("1.0.0").await;
    let program = &fake.project.program;
    let lines = |ended: &CommandOutput| -> Vec<Value> {
        ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let told = program.run(&["status", "--verbose", "--log-format", "json"]).await.exit(0);
    let requests: Vec<Value> = lines(&told).into_iter().filter(|line| line["message"] == "request").collect();
    let stage = requests.iter().find(|request| request["operation"] == "GetStage").expect("GetStage");
    assert_eq!(
        (&stage["status"], &stage["attempt"], &stage["level"]),
        (&200.into(), &1.into(), &"DEBUG".into())
    );
    assert!(
        stage["id"].as_str().is_some_and(|id| !id.is_empty()) && stage["milliseconds"].is_u64(),
        "{stage}"
    );
    assert!(!told.stderr.to_lowercase().contains("authorization") && !told.stderr.contains("AWS4-HMAC"));

    let failed = program
        .run(&["rollback", "--to", "9", "--progress", "json"])
        .await
        .exit(2)
        .says(&["unknown_version"]);
    assert_eq!(lines(&failed).last().unwrap()["id"], "rollback.unknown_version");

    let loud = program.run(&["status", "-v"]).await.exit(0);
    assert!(loud.stderr.contains("operation=\"GetStage\" status=200 id="), "{}", loud.stderr);
    let quiet = program.clone().with("DEPLOYCTL_PROGRESS", "plain").run(&["status", "-q"]).await.exit(0);
    assert_eq!(quiet.stderr, "");
}

/// Both pipes are closed as soon as something comes out of one of them.
#[tokio::test]
async fn a_release_whose_pipes_are_closed() {
    use tokio::io::AsyncReadExt as _;
    let fake = &stage().await;
    fake.project.build("3");
    let mut child = fake
        .project
        .program
        .command(&["release", "--version", "1.3.0", "--progress", "plain"])
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_u8().await.unwrap();
    drop((stderr, child.stdout.take()));
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(newest(fake).await, ("1.3.0".to_owned(), "live".to_owned()));
}

#[tokio::test]
async fn a_terminal_that_goes_away_before_the_switch() {
    let fake = &stage_with("1.3.0").await;
    fake.declare_functions(2, SLOW);
    let program = &fake.project.program;
    let mut terminal = Terminal::start(program, &["release", "--version", "1.4.0"], (80, 24));
    terminal.until("terraform apply app 1 s").await;
    terminal.hang_up();
    assert_eq!(terminal.end().await, Some(130));
    assert_eq!(newest(fake).await, ("1.3.0".to_owned(), "live".to_owned()));
}

#[tokio::test]
async fn a_terminal_that_goes_away_after_the_switch() {
    let fake = &stage_with("1.3.0").await;
    // Nobody answers with this header, so the release waits to be seen.
    let settings = read(fake, "deployctl.toml");
    fake.project
        .write("deployctl.toml", settings.replace("[probe]\n", "[probe]\nrelease_header = \"x-nobody\"\n"));
    fake.project.build("5");
    let program = &fake.project.program;
    let mut terminal = Terminal::start(program, &["release", "--version", "1.5.0"], (80, 24));
    terminal.until("… verify 1 s").await;
    terminal.hang_up();
    assert_eq!(terminal.end().await, Some(130));
    fake.project.write("deployctl.toml", settings);
    // It was undone, and the ledger says so.
    assert_eq!(newest(fake).await, ("1.5.0".to_owned(), "switched_back".to_owned()));
    let status = program.run(&["status", "--output", "json"]).await.exit(0).json();
    assert_eq!((&status["version"], &status["held"]), (&"1.3.0".into(), &Value::Null), "{status}");
}

/// The newest record of the ledger: version and outcome.
async fn newest(fake: &FakeReleasedStage) -> (String, String) {
    let history = fake.project.program.run(&["history", "--output", "json"]).await.exit(0).json();
    let record = &history["records"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&record["release"]["version"]), text(&record["outcome"]))
}
