//! The workflows' own steps, run in order against a local stage.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::comment::FakeApi;
use super::github::{GitHub, read};
use super::repository;
use super::two_stage_project::TwoStageProject;

/// What a person could type to become somebody else.
const ATTACKS: [&str; 8] = [
    r#"1.0.0"; touch pwned; ""#,
    "$(touch pwned)",
    "`touch pwned`",
    "1.0.0'; touch pwned; '",
    "1.0.0\ntouch pwned",
    "--help",
    "-h; touch pwned",
    "${IFS}&&touch${IFS}pwned",
];

#[tokio::test]
async fn a_pull_request_and_two_releases() {
    let site = TwoStageProject::new().await;
    let api = FakeApi::start().await;
    let github = machine(&site, &api);

    // The pull request of the first version: a plan as a comment. Of a fork nothing runs at all.
    let run = github.run("plan", &json!({}));
    run.ended(&[("tool", "success"), ("zips", "success"), ("plan", "success"), ("comment", "success")]);
    let comments = api.comments();
    assert_eq!(comments.len(), 1, "{comments:?}");
    assert!(comments[0].starts_with("<!-- sticky: plan for local -->\n"), "{comments:?}");
    assert!(comments[0].contains("small-local-artifacts-000000000000"), "{comments:?}");
    let mut fork = GitHub { contexts: github.contexts.clone(), ..machine(&site, &api) };
    fork.contexts["github"]["event"]["pull_request"]["head"]["repo"]["full_name"] = "somebody/else".into();
    let skipped = [("tool", "skipped"), ("zips", "skipped"), ("plan", "skipped"), ("comment", "skipped")];
    fork.run("plan", &json!({})).ended(&skipped);

    // A release by hand, one by tag, a redeployment, a rollback to before, a rollback to a version.
    let run = github.run("release", &json!({ "version": "1.0.0", "stage": "local" }));
    run.ended(&[("tool", "success"), ("zips", "success"), ("plan", "skipped"), ("release", "success")]);
    live(&site, "1.0.0").await;
    change(&site, "1.1.0");
    let tag = json!({ "version": "", "stage": "" });
    // A stage whose releases are approved: what the reviewers see is what is released.
    let mut approved = GitHub { contexts: github.contexts.clone(), ..machine(&site, &api) };
    approved.contexts["vars"]["DEPLOYCTL_APPROVED_STAGE"] = "local".into();
    let run = approved.run("release", &tag);
    run.ended(&[("plan", "success"), ("release", "success")]);
    let digest = run.jobs["plan"]["outputs"]["digest"].as_str().unwrap();
    assert!(digest.len() == 64 && run.summary.contains(digest), "{}", run.summary);
    live(&site, "1.1.0").await;
    let redeploy = |if_stale: bool| json!({ "stage": "local", "if-stale": if_stale });
    github.run("redeploy", &redeploy(true)).ended(&[("redeploy", "success")]);
    github.run("redeploy", &redeploy(false)).ended(&[("redeploy", "success")]);
    let rollback = |to: &str| json!({ "stage": "local", "to": to });
    github.run("rollback", &rollback("1.0.0")).ended(&[("rollback", "success")]);
    live(&site, "1.0.0").await;
    github.run("rollback", &rollback("")).ended(&[("rollback", "success")]);
    live(&site, "1.1.0").await;

    // The comment is the same one, and a plan that fails says so there.
    std::fs::write(github.sources.join("terraform/app/main.tf"), "this is no Terraform").unwrap();
    let run = github.run("plan", &json!({}));
    run.ended(&[("plan", "failure"), ("comment", "success")]);
    let comments = api.comments();
    assert!(comments.len() == 1 && comments[0].contains("**plan for local failed**"), "{comments:?}");

    // A program that another job has put in the place of deployctl is not run.
    let planted = GitHub { contexts: github.contexts.clone(), ..machine(&site, &api) };
    let run = replaced(&planted);
    run.ended(&[("rollback", "failure")]);
    live(&site, "1.1.0").await;

    attacks(&site, &github).await;
}

/// Opened, pushed to, closed, and each of it run again later; of a fork nothing runs at all.
#[tokio::test]
async fn a_pull_request_has_a_preview_while_it_is_open() {
    let site = TwoStageProject::new().await;
    let api = FakeApi::start().await;
    let release = async |stage: &str| {
        site.project.run(&["release", "--version", "1.0.0", "--stage", stage]).await.exit(0);
    };
    release("local").await;
    let mut github = machine(&site, &api);
    change(&site, "of the pull request");
    github.contexts["vars"]["DEPLOYCTL_PREVIEW_STAGE"] = "local".into();
    github.contexts["github"]["event_name"] = "pull_request".into();
    let previews = async || {
        let list = site.project.run(&["preview", "list", "--output", "json"]).await.exit(0).json();
        list["previews"].as_array().unwrap().iter().map(|preview| preview["name"].clone()).collect::<Vec<_>>()
    };
    let run = |github: &mut GitHub, action: &str, state: &str| {
        let gh = site.project.path().join(".deployctl/github/bin/gh");
        executable(
            &gh,
            &format!("#!/bin/sh\n[ \"$1 $2\" = 'api repos/example/shop/pulls/12' ] && echo {state}\n"),
        );
        github.contexts["github"]["event"]["action"] = action.into();
        github.run("preview", &json!({}))
    };
    let made = [("preview", "success"), ("comment", "success"), ("close", "skipped")];
    let closed = [("preview", "skipped"), ("comment", "skipped"), ("close", "success")];
    let nothing = [("preview", "skipped"), ("comment", "skipped"), ("close", "skipped")];

    run(&mut github, "opened", "open").ended(&made);
    assert_eq!(previews().await, ["pr-12"]);
    let first = api.comments();
    assert!(first[0].starts_with("<!-- sticky: preview of local -->\n"), "{first:?}");
    change(&site, "of the second push");
    run(&mut github, "synchronize", "open").ended(&made);
    let comments = api.comments();
    assert!(comments.len() == 1 && comments != first, "{comments:?}");
    live(&site, "1.0.0").await;
    // A run of then, while it is open again: it stays.
    run(&mut github, "closed", "open").ended(&nothing);
    assert_eq!(previews().await, ["pr-12"]);
    run(&mut github, "closed", "closed").ended(&closed);
    run(&mut github, "closed", "closed").ended(&closed);
    assert!(previews().await.is_empty());
    // A run of then, after it was closed: nothing comes back.
    run(&mut github, "synchronize", "closed").ended(&nothing);
    assert!(previews().await.is_empty());

    let mut fork = GitHub { contexts: github.contexts.clone(), ..machine(&site, &api) };
    fork.contexts["github"]["event"]["pull_request"]["head"]["repo"]["full_name"] = "somebody/else".into();
    run(&mut fork, "opened", "open").ended(&[("state", "skipped"), ("tool", "skipped"), ("zips", "skipped")]);
    let mut nightly = GitHub { contexts: github.contexts.clone(), ..machine(&site, &api) };
    nightly.contexts["github"]["event_name"] = "schedule".into();
    nightly.contexts["github"]["event"] = json!({});
    let run = nightly.run("preview", &json!({}));
    run.ended(&closed);
    assert!(run.step("close", "close").text.contains("no preview to close"), "{:?}", run.steps);

    // A stage of a template is a stage as any other.
    site.project.run(&["validate", "--stage", "next"]).await.exit(0);
    release("next").await;
    let status = site.project.run(&["status", "--stage", "next", "--output", "json"]).await.exit(0).json();
    assert_eq!((&status["stage"], &status["version"]), (&json!("next"), &json!("1.0.0")));
}

/// Inputs are data, whatever they hold: a usage error, and nothing of them is run.
async fn attacks(site: &TwoStageProject, github: &GitHub) {
    for attack in ATTACKS {
        let run = github.run("release", &json!({ "version": attack, "stage": "local" }));
        run.ended(&[("release", "failure")]);
        let step = run.step("release", "release");
        assert_eq!(step.code, Some(2), "{attack:?}: {:?}", run.steps);
        assert!(step.text.contains("version.invalid"), "{attack:?}: {}", step.text);
        assert!(!step.script.contains(attack), "{attack:?} is part of the script");
        nothing_ran(github, attack);
    }
    for attack in [ATTACKS[0], ATTACKS[1], ATTACKS[5]] {
        let run = github.run("rollback", &json!({ "stage": "local", "to": attack }));
        assert_eq!(run.step("rollback", "rollback").code, Some(2), "{attack:?}: {:?}", run.steps);
        let run = github.run("rollback", &json!({ "stage": attack, "to": "" }));
        assert_eq!(run.step("rollback", "rollback").code, Some(2), "{attack:?}: {:?}", run.steps);
        nothing_ran(github, attack);
    }
    live(site, "1.1.0").await;
}

fn nothing_ran(github: &GitHub, attack: &str) {
    let mut find = Command::new("find");
    let found = find.args([".", "-name", "pwned*"]).current_dir(&github.workspace).output().unwrap();
    assert!(found.stdout.is_empty(), "{attack:?} was run");
    assert!(!github.temp.join("runner/pwned").exists(), "{attack:?} was run");
}

/// A run in which the artifact `deployctl` is another program than the job has told of.
fn replaced(github: &GitHub) -> super::github::Run {
    let mut workflow = read(&repository(".github/workflows/rollback.yml"));
    let steps = workflow["jobs"]["rollback"]["steps"].as_array_mut().unwrap();
    let evil = json!({
        "name": "another job", "run": "printf '#!/bin/sh\\ntouch pwned\\n' > \"$RUNNER_TEMP/deployctl/deployctl\""
    });
    steps.insert(2, evil);
    let run = github.run_document(&workflow, &json!({ "stage": "local", "to": "" }));
    nothing_ran(github, "the planted program");
    run
}

/// GitHub cancels with SIGINT to the one process that it has started: that must be deployctl.
#[tokio::test]
async fn a_cancelled_step_is_deployctl_itself() {
    for (workflow, job, verb) in [
        ("release", "release", "release"),
        ("redeploy", "redeploy", "redeploy"),
        ("rollback", "rollback", "rollback"),
        ("canary", "canary", "canary"),
        ("plan", "plan", "plan"),
        ("fleet-wave", "release", "fleet run"),
        ("preview", "preview", "preview up"),
    ] {
        let document = read(&repository(&format!(".github/workflows/{workflow}.yml")));
        let steps = document["jobs"][job]["steps"].as_array().unwrap();
        let step = steps
            .iter()
            .find(|step| step["run"].as_str().is_some_and(|run| run.contains(&format!("deployctl {verb}"))));
        let dir = tempfile::tempdir().unwrap();
        // Says who it is, and waits for the signal.
        let stand_in = "#!/bin/sh\ntrap 'exit 130' INT\necho \"$$\" > pid\nwhile :; do sleep 0.05; done\n";
        executable(&dir.path().join("deployctl"), stand_in);
        std::fs::write(dir.path().join("script.sh"), step.unwrap()["run"].as_str().unwrap()).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-e", "script.sh"]).current_dir(dir.path()).stdout(Stdio::null());
        bash.env("PATH", path)
            .env("RUNNER_TEMP", dir.path())
            .env("VERSION", "v1")
            .env("TO", "")
            .envs(["MEMBER", "RUN", "CHANGED_SINCE", "NUMBER"].map(|name| (name, "x")))
            .env("IF_STALE", "false");
        let mut child = bash.spawn().unwrap();
        let pid = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(pid) =
                std::fs::read_to_string(dir.path().join("pid")).ok().filter(|pid| pid.ends_with('\n'))
            {
                break pid;
            }
        };
        assert_eq!(
            pid.trim(),
            child.id().to_string(),
            "{workflow}: a shell stands between GitHub and deployctl"
        );
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{workflow}");
    }
}

/// What `status` says is live.
async fn live(site: &TwoStageProject, version: &str) {
    let status = site.project.run(&["status", "--output", "json"]).await.exit(0).json();
    assert_eq!((&status["version"], &status["drift"]), (&json!(version), &json!([])), "{status:#}");
}

/// The next version's bytes, in the repository.
fn change(site: &TwoStageProject, version: &str) {
    site.project.build(version);
    let sources = site.project.path().join(".deployctl/github/sources");
    std::fs::copy(site.project.path().join("dist/bootstrap"), sources.join("dist/bootstrap")).unwrap();
}

/// A repository with the project and our workflows, and a machine for it.
fn machine(site: &TwoStageProject, api: &FakeApi) -> GitHub {
    let root = site.project.path().join(".deployctl/github");
    let sources = root.join("sources");
    if !sources.exists() {
        for name in ["deployctl.toml", "terraform/base/main.tf", "terraform/app/main.tf", "dist/bootstrap"] {
            std::fs::create_dir_all(sources.join(name).parent().unwrap()).unwrap();
            std::fs::copy(site.project.path().join(name), sources.join(name)).unwrap();
        }
        let action = sources.join(".github/actions/comment");
        std::fs::create_dir_all(&action).unwrap();
        for name in ["action.yml", "comment.py"] {
            std::fs::copy(repository(".github/actions/comment").join(name), action.join(name)).unwrap();
        }
        // What these would do here has been done: the program under test is built, by this Rust.
        std::fs::create_dir_all(root.join("bin")).unwrap();
        executable(&root.join("bin/rustup"), "#!/bin/sh\nexit 0\n");
        let built = env!("CARGO_BIN_EXE_deployctl");
        executable(
            &root.join("bin/cargo"),
            &format!(
                "#!/bin/sh\n[ \"$*\" = 'build --release --locked --bin deployctl' ] || exit 9\nmkdir -p target/release\ncp '{built}' target/release/deployctl\n"
            ),
        );
    }
    let contexts = json!({
        "github": {
            "event_name": "workflow_dispatch", "sha": "1".repeat(40), "ref_name": "v1.1.0", "run_id": "7", "token": "the-token",
            "repository": "example/shop",
            "event": { "pull_request": { "number": 12, "base": { "sha": "2".repeat(40) }, "head": { "repo": { "full_name": "example/shop" } } } },
        },
        "vars": {
            "DEPLOYCTL_PLAN_STAGE": "local", "DEPLOYCTL_TAG_STAGE": "local",
            "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/small-local-deploy", "AWS_REGION": "us-east-1",
        },
    });
    let Value::Object(contexts) = contexts else { unreachable!() };
    GitHub {
        workspace: site.project.path().to_owned(),
        sources,
        contexts,
        env: environment(site, api),
        temp: root.join("temp"),
    }
}

fn environment(site: &TwoStageProject, api: &FakeApi) -> BTreeMap<String, std::ffi::OsString> {
    let command = site.project.program.command(&[]).into_std();
    let known =
        command.get_envs().filter_map(|(key, value)| Some((key.to_str()?.to_owned(), value?.to_owned())));
    let mut env: BTreeMap<_, _> = known.collect();
    let bin = site.project.path().join(".deployctl/github/bin");
    let mut path = bin.into_os_string();
    path.push(":");
    path.push(&env["PATH"]);
    env.insert("PATH".into(), path);
    for (name, value) in [
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "example/shop"),
        ("GITHUB_SERVER_URL", "https://github.example"),
        ("GITHUB_API_URL", &api.url),
        ("GITHUB_RUN_ID", "7"),
        ("GITHUB_RUN_ATTEMPT", "1"),
    ] {
        env.insert(name.into(), value.into());
    }
    env
}

fn executable(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
