//! Programs that end, are interrupted, print much or leave children behind.

use super::*;

fn shell(script: &str) -> Command {
    Command::new("sh", "run a test script").args(["-c", script])
}

#[tokio::test]
async fn both_pipes_stream_and_a_megabyte_on_one_line_does_not_block() {
    let script = "head -c 1048576 /dev/zero | tr '\\0' x; echo; echo err >&2; echo out";
    let mut lines = Vec::new();
    let exit = shell(script)
        .run(&CancellationToken::new(), |stream, line| lines.push((stream, line.len())))
        .await
        .unwrap();
    assert!(exit.status.success());
    assert!(lines.contains(&(Stream::Stdout, 1_048_576)));
    assert!(lines.contains(&(Stream::Stderr, 3)));
    assert_eq!(exit.stderr_tail, ["err"]);
}

async fn an_interrupt_is_received() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let mut lines = Vec::new();
    let result = shell("trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.05; done")
        .run(&cancel, |_, line| {
            lines.push(line.to_owned());
            stop.cancel();
        })
        .await;
    assert!(matches!(result.unwrap_err().failure, Failure::Interrupted { killed: false }));
    assert_eq!(lines, ["ready", "bye"]);
}

#[tokio::test]
async fn an_interrupt_reaches_the_program_once_as_sigint() {
    an_interrupt_is_received().await;
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_is_not_waited_for() {
    let start = Instant::now();
    let mut lines = Vec::new();
    let command = shell("sleep 20 & echo $!");
    let exit = command.run(&CancellationToken::new(), |_, line| lines.push(line.to_owned())).await.unwrap();
    assert!(exit.status.success());
    assert!(start.elapsed() < Duration::from_secs(5));
    kill(Pid::from_raw(lines[0].parse().unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn children_of_an_interrupted_program_end_with_it() {
    let cancel = CancellationToken::new();
    let mut lines = Vec::new();
    let script = "trap 'exit 0' INT; sleep 20 >/dev/null 2>&1 & echo $!; while :; do sleep 0.05; done";
    let result = shell(script)
        .run(&cancel, |_, line| {
            lines.push(line.to_owned());
            cancel.cancel();
        })
        .await;
    assert!(result.is_err());
    wait_for_end(lines[0].parse().unwrap()).await;
}

#[tokio::test]
async fn a_program_whose_run_is_dropped_is_interrupted_and_can_still_write() {
    let dir = tempfile::tempdir().unwrap();
    let (said, program) = tokio::sync::oneshot::channel::<i32>();
    let mut said = Some(said);
    let script =
        "trap 'echo bye; echo bye >&2; touch done; exit 0' INT; echo $$; while :; do sleep 0.05; done";
    let command = shell(script).dir(dir.path());
    let cancel = CancellationToken::new();
    let run = command.run(&cancel, |_, line| {
        if let Some(said) = said.take() {
            said.send(line.parse().unwrap()).unwrap();
        }
    });
    let pid = tokio::select! {
        _ = run => panic!("it ended by itself"),
        pid = program => pid.unwrap(),
    };
    // The run was dropped: for the guard, the same as the end of deployctl.
    wait_for_end(pid).await;
    assert!(dir.path().join("done").exists());
}

async fn wait_for_end(pid: i32) {
    for _ in 0..100 {
        if kill(Pid::from_raw(pid), None).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("process {pid} still runs");
}

#[tokio::test]
async fn a_missing_program_is_named_with_its_purpose() {
    let error = Command::new("no-such-program", "measure the wind")
        .output(&CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "failed to measure the wind: the program was not found");
}

#[tokio::test]
async fn the_error_of_a_program_contains_its_last_lines() {
    let error = shell("echo broken >&2; exit 3").output(&CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(error.to_string().contains("broken"), "{error}");
}

#[test]
fn a_command_line_can_be_pasted() {
    let command = Command::new("terraform", "plan").args(["-var", "a b", "it's", ""]);
    assert_eq!(command.to_string(), r#"terraform -var 'a b' "it's" ''"#);
}

#[expect(unsafe_code, reason = "no handler is set")]
fn ignore_interrupts() {
    // SAFETY: to ignore a signal runs no code.
    unsafe { nix::sys::signal::signal(Signal::SIGINT, nix::sys::signal::SigHandler::SigIgn) }.unwrap();
}

#[tokio::test]
async fn a_program_receives_an_interrupt_although_deployctl_was_started_with_it_ignored() {
    // As in a background job of a shell. A shell cannot trap what was ignored when it was started.
    ignore_interrupts();
    an_interrupt_is_received().await;
}
