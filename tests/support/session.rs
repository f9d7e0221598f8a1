//! Sessions of the documents, typed into a shell: they print what the pages show.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::markdown::{Shown, commands};
use super::program::Program;

/// More than the longest page takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

const MARK: char = '\u{1e}';
const CODE: char = '\u{1f}';

/// What is typed into one shell, so that variables live as long as it does.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    script: String,
    expected: Vec<Shown<'a>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new() -> Self {
        Self { script: String::from("exec 2>&1\n"), expected: Vec::new() }
    }

    /// The commands of a block.
    pub(crate) fn block(&mut self, text: &'a str) {
        for shown in commands(text) {
            self.script.push_str(&step(self.expected.len(), &shown.0));
            self.expected.push(shown);
        }
    }

    /// A line that the page does not show.
    pub(crate) fn hidden(&mut self, line: &str) {
        self.script.push_str(line);
    }

    /// Runs it in the folder of `program`, which is what `deployctl` runs. Fails the test unless each command succeeds and
    /// prints what the page `name` shows. How many commands that were.
    pub(crate) async fn run(self, name: &str, dir: &Path, program: &Program) -> usize {
        if self.expected.is_empty() {
            return 0;
        }
        let output = shell(&self.script, dir, program).await;
        let mut steps = output.split(MARK).skip(1);
        for (number, (command, shown)) in self.expected.iter().enumerate() {
            let step = steps.next().unwrap_or_default();
            let (head, output) = step.split_once('\n').unwrap_or_default();
            assert_eq!(head, number.to_string(), "{name}: not run: {command}\n{output}");
            let (output, code) = output.split_once(CODE).unwrap_or((output, "none"));
            assert_eq!(code.trim(), "0", "{name}: the exit code of: {command}\n{output}");
            let printed: Vec<&str> = output.lines().collect();
            assert!(
                is_as_shown(shown, &printed),
                "{name}: $ {command}\n--- shown\n{}\n--- printed\n{output}",
                shown.join("\n")
            );
        }
        self.expected.len()
    }
}

async fn shell(script: &str, dir: &Path, program: &Program) -> String {
    let mut command = tokio::process::Command::new("bash");
    let environment = program.command(&[]).into_std();
    command.current_dir(dir).env_clear();
    command
        .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let folder = Path::new(env!("CARGO_BIN_EXE_deployctl")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(path).unwrap());
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("the session hangs");
    String::from_utf8(ended.unwrap().stdout).unwrap()
}

/// One command, with marks before it and after it. What follows a command that failed is not run.
fn step(number: usize, command: &str) -> String {
    format!(
        "printf '{MARK}%s\\n' {number}\n{command}\ncode=$?; printf '{CODE}%s\\n' \"$code\"; [ \"$code\" = 0 ] || exit\n"
    )
}

/// Whether what was printed is what is shown: `…` stands for any text in a line, and alone for any lines.
pub(crate) fn is_as_shown(shown: &[&str], printed: &[&str]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        (["…", rest @ ..], _) => (0..=printed.len()).any(|skipped| is_as_shown(rest, &printed[skipped..])),
        ([], [last]) => last.trim().is_empty(),
        ([line, shown @ ..], [next, printed @ ..]) => {
            is_like(line.trim_end(), next.trim_end()) && is_as_shown(shown, printed)
        }
        _ => false,
    }
}

pub(crate) fn is_like(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(printed) = printed.strip_prefix(start) else { return false };
    (0..=printed.len()).any(|skipped| printed.is_char_boundary(skipped) && is_like(rest, &printed[skipped..]))
}
