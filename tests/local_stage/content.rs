//! What a local stage holds, and how long: over `local down`, a kill and a reboot, until `local reset`. And its Redis,
//! which runs only while something needs it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::lifecycle::{LocalStage, Project};
use super::semantics;
use crate::support::http;
use crate::support::sigv4;
use crate::support::stage_file::{RedisFile, StageFile};

/// Where the last snapshot is.
const SNAPSHOT: &str = ".deployctl/local/data/snapshot";

#[tokio::test]
async fn it_is_kept_over_down_and_a_kill_until_it_is_reset() {
    let project = Project::new();
    let (first, snapshot) = project.up_saying(&[]).await;
    assert_eq!(snapshot, None);
    semantics::a_lambda_at_work(&first.endpoint).await.unwrap();
    assert!(project.down().await);

    let (second, snapshot) = project.up_saying(&["the local stage starts with what it held at "]).await;
    assert!(snapshot.is_some());
    assert_eq!((second.port, &second.secret), (first.port, &first.secret), "for shells that have both");
    semantics::the_lambda_still_works(&second.endpoint).await.unwrap();

    // What was stored before the kill is there, and the unfinished file of a snapshot is not used.
    crash(&project);
    std::fs::write(project.path().join(format!("{SNAPSHOT}.new")), "half of a").unwrap();
    let doctor = project.program.run(&["doctor", "--output", "json"]).await.exit(10).json().to_string();
    assert!(doctor.contains("the local stage has ended without `deployctl local down`"), "{doctor}");
    let says = ["has ended without `deployctl local down`: it starts from its snapshot of "];
    let (third, snapshot) = project.up_saying(&says).await;
    assert!(snapshot.is_some());
    semantics::the_lambda_still_works(&third.endpoint).await.unwrap();

    let reset = project.local("reset").await.exit(0).json();
    assert_eq!((&reset["stopped"], &reset["deleted"]), (&true.into(), &true.into()));
    assert_eq!(project.processes(), Vec::<i32>::new());
    let again = project.local("reset").await.exit(0).json();
    assert_eq!((&again["stopped"], &again["deleted"]), (&false.into(), &false.into()));
    let (fourth, snapshot) = project.up_saying(&[]).await;
    assert_eq!((snapshot, fourth.secret == first.secret), (None, false));
    // Empty: the function can be created anew.
    semantics::a_lambda_at_work(&fourth.endpoint).await.unwrap();
    project.down().await;
}

#[tokio::test]
async fn without_a_usable_snapshot_it_starts_empty_and_says_so() {
    let project = Project::new();
    project.up().await;
    crash(&project);
    let (stage, snapshot) = project.up_saying(&["and has no snapshot: it starts empty"]).await;
    assert_eq!(snapshot, None);
    semantics::a_lambda_at_work(&stage.endpoint).await.unwrap();
    // Without `down`: the stage stores what it holds by itself.
    wait_for(&project.path().join(SNAPSHOT)).await;
    crash(&project);
    let (stage, _) = project.up_saying(&["it starts from its snapshot of "]).await;
    semantics::the_lambda_still_works(&stage.endpoint).await.unwrap();
    project.down().await;

    let file = project.path().join(SNAPSHOT);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let (stage, snapshot) =
        project.up_saying(&["starts empty", "it is damaged, or another user", "snapshot.unreadable"]).await;
    assert_eq!(snapshot, None);
    semantics::a_lambda_at_work(&stage.endpoint).await.unwrap();
    project.down().await;
    assert_eq!(std::fs::read(file.with_extension("unreadable")).unwrap(), bytes);

    // A whole snapshot of another user is not read either.
    let mut bytes = std::fs::read(&file).unwrap();
    let signature = bytes.windows(8).position(|part| part == b"\"hmac\": ").unwrap() + 9;
    bytes[signature..signature + 64].fill(b'0');
    std::fs::write(&file, &bytes).unwrap();
    let (_, snapshot) = project.up_saying(&["starts empty", "another user or machine"]).await;
    assert_eq!(snapshot, None);
    project.down().await;
}

async fn wait_for(file: &Path) {
    for _ in 0..200 {
        if file.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} is not written", file.display());
}

/// Kills all processes of the stage at once, as a restart of the machine does.
fn crash(project: &Project) {
    let mut processes = project.processes();
    // The server first: it would store its content if its supervisor alone were killed.
    processes.sort_unstable_by(|a, b| b.cmp(a));
    processes.into_iter().for_each(kill_9);
}

fn kill_9(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    nix::sys::wait::waitpid(pid, None).ok();
}

/// The Redis of the project's stage.
fn redis_of(project: &Project) -> Option<RedisFile> {
    StageFile::of(project.path()).redis()
}

/// What Redis answers to `lines`, each in its turn.
fn redis_says(port: u16, lines: &[&str]) -> Vec<String> {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answers = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
    let mut ask = |line: &&str| {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        answers.next().unwrap().unwrap()
    };
    lines.iter().map(&mut ask).collect()
}

/// A PATH without `redis-server`, on which `apt-get` writes down that it was called.
fn path_without_redis(folder: &Path, calls: &Path) -> OsString {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let apt = bin.join("apt-get");
    std::fs::write(&apt, format!("#!/bin/sh\necho called >> {}\n", calls.display())).unwrap();
    std::fs::set_permissions(&apt, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folders = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let (with, without): (Vec<_>, Vec<_>) =
        folders.into_iter().partition(|folder| folder.join("redis-server").exists());
    for entry in with.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let link = bin.join(entry.file_name());
        // The first folder wins, as on PATH.
        if !entry.file_name().to_string_lossy().starts_with("redis") && link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
    std::env::join_paths(std::iter::once(bin).chain(without)).unwrap()
}

/// Nothing is installed on the system, also not for root; and nothing at all before something needs a Redis.
#[tokio::test]
async fn without_redis_the_stage_uses_valkey_from_the_cache() {
    let (mut project, tools) = (Project::new(), tempfile::tempdir().unwrap());
    let calls = tools.path().join("calls");
    let path = path_without_redis(tools.path(), &calls);
    project.program = project.program.clone().with("PATH", path);
    let doctor = project.program.run(&["doctor", "--output", "json"]).await.json();
    let finding =
        doctor["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "tools-redis");
    assert_eq!(finding.unwrap()["severity"], "ok", "{doctor:#}");

    let stage = project.up().await;
    let redis = the_token_of_terraform_is_required(&project, &stage).await;
    let program = std::fs::read_link(format!("/proc/{}/exe", redis.pid)).unwrap();
    assert!(program.ends_with("valkey-server"), "{}", program.display());
    assert!(project.down().await);
    assert!(!calls.exists(), "apt-get was called");
}

#[tokio::test]
async fn redis_runs_while_something_needs_it_and_keeps_its_data_as_long() {
    let project = Project::new();
    let stage = project.up().await;
    let redis = the_token_of_terraform_is_required(&project, &stage).await;
    assert_eq!(redis_says(redis.port, &[AUTH, "SET user 1"]), ["+OK", "+OK"]);
    project.down().await;

    project.up().await;
    let again = redis_of(&project).unwrap();
    assert_eq!(again.port, redis.port);
    assert!(redis_says(again.port, &["PING"])[0].starts_with("-NOAUTH"));
    assert_eq!(redis_says(again.port, &[AUTH, "EXISTS user"]), ["+OK", ":1"]);
    // A Redis that dies alone is started again.
    kill_9(again.pid);
    let third = another_redis(&project, again).await;
    assert_eq!(redis_says(third.port, &[AUTH, "EXISTS user"]), ["+OK", ":1"]);
    project.down().await;

    // Its port is another program's now.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", third.port)).unwrap();
    let stage = project.up().await;
    let moved = redis_of(&project).unwrap();
    assert_ne!(moved.port, third.port);
    assert_eq!(redis_says(moved.port, &[AUTH, "EXISTS user"]), ["+OK", ":1"]);
    let group = elasticache(&stage, "DescribeReplicationGroups", "ReplicationGroupId=g").await;
    assert!(group.contains(&format!("<Port>{}</Port>", moved.port)), "{group}");

    elasticache(&stage, "DeleteReplicationGroup", "ReplicationGroupId=g").await;
    assert_eq!(redis_of(&project), None);
    // As on AWS, a new group is empty.
    elasticache(&stage, "CreateReplicationGroup", "ReplicationGroupId=g&ReplicationGroupDescription=g").await;
    assert_eq!(redis_says(redis_of(&project).unwrap().port, &["EXISTS user"]), [":0"]);
    project.down().await;
    assert_eq!(project.processes(), Vec::<i32>::new());
}

/// The Redis that takes the place of `before`.
async fn another_redis(project: &Project, before: RedisFile) -> RedisFile {
    for _ in 0..100 {
        if let Some(redis) = redis_of(project).filter(|redis| redis.pid != before.pid) {
            return redis;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("Redis was not started again");
}

/// What ElastiCache answers to a call.
async fn elasticache(stage: &LocalStage, action: &str, parameters: &str) -> String {
    let body = format!("Action={action}&Version=2015-02-02&{parameters}");
    let host = format!("127.0.0.1:{}", stage.port);
    let account = ("000000000000", stage.secret.as_str());
    let what = ("POST", host.as_str(), "/", "");
    let mut request = http::client().post(&stage.endpoint);
    for (name, value) in sigv4::headers(account, "elasticache", &sigv4::time(0), what, body.as_bytes()) {
        request = request.header(name, value);
    }
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// How to log in after [`the_token_of_terraform_is_required`].
const AUTH: &str = "AUTH 0123456789abcdef-second";

async fn the_token_of_terraform_is_required(project: &Project, stage: &LocalStage) -> RedisFile {
    assert_eq!(redis_of(project), None, "a Redis that nothing needs");
    let first = "0123456789abcdef-first";
    let settings =
        "ReplicationGroupId=g&ReplicationGroupDescription=g&TransitEncryptionEnabled=true&AuthToken=";
    elasticache(stage, "CreateReplicationGroup", &format!("{settings}{first}")).await;
    let redis = redis_of(project).unwrap();
    let auth = format!("AUTH {first}");
    assert!(redis_says(redis.port, &["PING"])[0].starts_with("-NOAUTH"));
    assert_eq!(redis_says(redis.port, &[&auth, "PING"]), ["+OK", "+PONG"]);
    let set = "ReplicationGroupId=g&AuthToken=0123456789abcdef-second&AuthTokenUpdateStrategy=SET&ApplyImmediately=true";
    elasticache(stage, "ModifyReplicationGroup", set).await;
    assert!(redis_says(redis.port, &[&auth])[0].starts_with("-WRONGPASS"));
    assert_eq!(redis_says(redis.port, &[AUTH, "PING"]), ["+OK", "+PONG"]);
    redis
}
