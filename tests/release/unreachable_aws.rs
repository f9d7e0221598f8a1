//! An AWS that does not answer: every command ends, says why, and can be interrupted.

mod proxies;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::http;
use crate::support::minimal_project::MinimalProject;
use crate::support::program::{CommandOutput, Program};

/// The commands of each kind: those that ask who they are first, and those that only look.
const COMMANDS: [&[&str]; 8] = [
    &["release", "--version", "1.0.0"],
    &["rollback"],
    &["status"],
    &["history"],
    &["plan"],
    &["logs"],
    &["output"],
    &["doctor"],
];

/// deployctl with credentials, whose AWS is at `port` of this machine.
fn against(project: &MinimalProject, port: u16) -> Program {
    project
        .program
        .clone()
        .with("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .with("AWS_ACCESS_KEY_ID", "111111111111")
        .with("AWS_SECRET_ACCESS_KEY", "x")
        .with("DEPLOYCTL_STAGE", "dev")
}

/// A server that takes connections and requests, and never answers; with `identity`, it tells who is asking, but
/// nothing else.
async fn silent(identity: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                let mut bytes = Vec::new();
                while client.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let asks = String::from_utf8_lossy(&bytes).contains("GetCallerIdentity");
                    if identity && asks {
                        let answer = http::xml("200 OK", http::IDENTITY);
                        client.write_all(answer.as_bytes()).await.unwrap();
                        bytes.clear();
                    }
                }
            }));
        }
    }));
    port
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named_at_once() {
    let project = MinimalProject::new();
    // Nobody listens there: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let program = against(&project, port);
    let runs = COMMANDS[..7].iter().map(async |command| {
        let start = Instant::now();
        let ended = program.run(&[command, &["--output", "json"][..]].concat()).await.exit(10);
        assert!(start.elapsed() < Duration::from_secs(15), "{command:?} took {:?}", start.elapsed());
        let said = ended.json();
        assert_eq!(said["error"]["id"], "aws.unreachable", "{command:?}: {said:#}");
        let message = said["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("cannot reach 127.0.0.1:{port}: ")), "{message}");
        assert!(message.contains("refused"), "{message}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn every_command_ends_in_time_without_an_answer() {
    let project = MinimalProject::new();
    let program = against(&project, silent(false).await).with("DEPLOYCTL_CALL_TIMEOUT", "2");
    let runs = COMMANDS[..7].iter().map(async |command| {
        let start = Instant::now();
        let ended = program.run(&[command, &["--output", "json"][..]].concat()).await.exit(10);
        assert!(start.elapsed() < Duration::from_secs(20), "{command:?} took {:?}", start.elapsed());
        assert_eq!(ended.json()["error"]["id"], "aws.unreachable", "{command:?}");
        ended.says(&["no answer from 127.0.0.1:"]);
    });
    futures::future::join_all(runs).await;
    // Known to AWS, but then it says nothing.
    let program = against(&project, silent(true).await).with("DEPLOYCTL_CALL_TIMEOUT", "2");
    let start = Instant::now();
    program.run(&["history"]).await.exit(10).says(&["state.unreadable", "no answer from 127.0.0.1:"]);
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_wait_for_an_answer_can_be_interrupted() {
    let project = MinimalProject::new();
    for (signal, identity) in [(Signal::SIGINT, false), (Signal::SIGTERM, true)] {
        let program = against(&project, silent(identity).await);
        let runs = COMMANDS.iter().map(async |command| {
            let child = program.command(command).spawn().unwrap();
            let pid = Pid::from_raw(child.id().unwrap().cast_signed());
            tokio::time::sleep(Duration::from_secs(3)).await;
            let start = Instant::now();
            kill(pid, signal).expect("it waits for an answer");
            let ended = CommandOutput::of(child.wait_with_output().await.unwrap());
            assert!(start.elapsed() < Duration::from_secs(4), "{command:?} took {:?}", start.elapsed());
            ended.exit(130).says(&["error [interrupted]"]);
        });
        futures::future::join_all(runs).await;
    }
}

#[tokio::test]
async fn under_nohup_the_end_of_a_terminal_interrupts_nothing() {
    let project = MinimalProject::new();
    let program = against(&project, silent(false).await);
    let own = program.command(&["status"]);
    let mut nohup = tokio::process::Command::new("sh");
    // What nohup does, without its files.
    nohup.args(["-c", r#"trap '' HUP; exec "$0" status"#]).arg(own.as_std().get_program());
    nohup.current_dir(own.as_std().get_current_dir().unwrap()).env_clear();
    nohup.envs(own.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    nohup.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = nohup.spawn().unwrap();
    let pid = Pid::from_raw(child.id().unwrap().cast_signed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    kill(pid, Signal::SIGHUP).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(child.try_wait().unwrap(), None, "it has ended");
    kill(pid, Signal::SIGINT).unwrap();
    CommandOutput::of(child.wait_with_output().await.unwrap()).exit(130);
}
