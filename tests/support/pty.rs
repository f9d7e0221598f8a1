//! deployctl on a pseudo-terminal, where keys are typed.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::program::{CommandOutput, Program};

/// Runs deployctl in `dir`, on a terminal of its own, and types `keys` once `question` is shown. Everything that is shown
/// is in `stdout`.
pub(crate) async fn type_keys(
    program: &Program,
    dir: &Path,
    args: &str,
    question: &str,
    keys: &str,
) -> CommandOutput {
    let command = format!("'{}' {args}", env!("CARGO_BIN_EXE_deployctl"));
    let environment = program.command(&[]).into_std();
    let mut script = tokio::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(dir)
        .env_clear()
        .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut screen = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(question) {
        let read = screen.read_buf(&mut shown).await.unwrap();
        assert!(read > 0, "{question:?} was not asked: {}", String::from_utf8_lossy(&shown));
    }
    script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).await.unwrap();
    // Until it has ended: a terminal that hangs up is another thing.
    screen.read_to_end(&mut shown).await.unwrap();
    let mut output = script.wait_with_output().await.unwrap();
    output.stdout = shown;
    CommandOutput::of(output)
}
