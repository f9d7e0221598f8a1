//! The sessions of the book, run in a shell: they print what the pages show.
//!
//! `console run` after the fence of a block marks a session, and `file=PATH` a file of its project. Pages follow each other
//! as in `docs/SUMMARY.md`, in one project; stages that name an account are local stages here.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::markdown::{self, Block, Page, commands};
use crate::support::program::Program;
use crate::support::progress;
use crate::support::provider_mirror::provider_mirror;

/// More than the whole book takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The project that the pages make, use and leave to the next page.
struct Project {
    dir: tempfile::TempDir,
    program: Program,
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.dir.path().join(".deployctl").exists() {
            self.program.command(&["local", "down", "--stage", "dev"]).into_std().status().ok();
        }
    }
}

#[tokio::test]
async fn the_sessions_in_the_docs_are_real() {
    let dir = tempfile::tempdir().unwrap();
    // What the project is built from is compiled once per checkout, in the versions of this workspace.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let program = Program::new(dir.path())
        .with("CARGO_TARGET_DIR", target)
        // On a terminal progress comes and goes; pages show what stays.
        .with("DEPLOYCTL_PROGRESS", "quiet");
    let program = match provider_mirror().await {
        Some(mirror) => program.with("DEPLOYCTL_PROVIDER_MIRROR", mirror),
        None => program,
    };
    let project = Project { dir, program };
    std::fs::copy(markdown::root().join("Cargo.lock"), project.dir.path().join("Cargo.lock")).unwrap();
    let mut run = 0;
    for chapter in markdown::chapters() {
        let page = Page::read(&chapter);
        let start = Instant::now();
        let number = project.run(&page).await;
        run += number;
        if number > 0 {
            let seconds = start.elapsed().as_secs_f64();
            progress::print("docs", &format!("{seconds:>5.0} s  {number} commands of {}", chapter.display()));
        }
    }
    assert!(run > 20, "only {run} commands were run");
}

impl Project {
    /// Runs the sessions of a page in one shell, so that variables live as long as the page. How many commands that were.
    async fn run(&self, page: &Page) -> usize {
        let (mut script, mut expected) = (String::from("exec 2>&1\n"), Vec::new());
        for (place, block) in page.blocks.iter().enumerate() {
            if let Some(file) = block.file() {
                script.push_str(&self.provide(place, file, block));
            }
            if block.is_run() {
                assert_eq!(block.language(), "console", "{}: {}", page.name.display(), block.text);
                for shown in commands(&block.text) {
                    script.push_str(&step(expected.len(), &shown.0));
                    expected.push(shown);
                }
            }
        }
        if expected.is_empty() {
            return 0;
        }
        let output = self.shell(&script).await;
        let name = page.name.display();
        let mut steps = output.split(MARK).skip(1);
        for (number, (command, shown)) in expected.iter().enumerate() {
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
        expected.len()
    }

    /// Lays a file ready, and says how the script takes it when its turn comes.
    fn provide(&self, place: usize, file: &str, block: &Block) -> String {
        let ready = self.dir.path().join(format!(".book-{place}"));
        let text = if file == "deployctl.toml" { on_this_machine(&block.text) } else { block.text.clone() };
        std::fs::write(&ready, text).unwrap();
        let folder = Path::new(file).parent().unwrap().display();
        format!("mkdir -p './{folder}' && mv '{}' '{file}'\n", ready.display())
    }

    async fn shell(&self, script: &str) -> String {
        let mut command = tokio::process::Command::new("bash");
        let environment = self.program.command(&[]).into_std();
        command.current_dir(self.dir.path()).env_clear();
        command
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let program = Path::new(env!("CARGO_BIN_EXE_deployctl")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap());
        let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("the session hangs");
        String::from_utf8(ended.unwrap().stdout).unwrap()
    }
}

const MARK: char = '\u{1e}';
const CODE: char = '\u{1f}';

/// One command, with marks before it and after it. What follows a command that failed is not run.
fn step(number: usize, command: &str) -> String {
    format!(
        "printf '{MARK}%s\\n' {number}\n{command}\ncode=$?; printf '{CODE}%s\\n' \"$code\"; [ \"$code\" = 0 ] || exit\n"
    )
}

/// The book's stages have accounts; nobody's account is at hand here.
fn on_this_machine(settings: &str) -> String {
    let account = |line: &&str| line.starts_with("region = ") || line.starts_with("profile = ");
    let lines = settings.lines().filter(|line| !account(line));
    lines
        .map(
            |line| if line.starts_with("account = ") { "local = true\n".into() } else { format!("{line}\n") },
        )
        .collect()
}

/// Whether what was printed is what is shown: `…` stands for any text in a line, and alone for any lines.
fn is_as_shown(shown: &[&str], printed: &[&str]) -> bool {
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

fn is_like(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(printed) = printed.strip_prefix(start) else { return false };
    (0..=printed.len()).any(|skipped| printed.is_char_boundary(skipped) && is_like(rest, &printed[skipped..]))
}

#[test]
fn sessions_are_compared() {
    assert_eq!(commands("$ a\nb\n\n$ c \\\n> d\n"), [("a".into(), vec!["b"]), ("c \\\nd".into(), vec![])]);
    assert!(is_as_shown(&["a", "…", "b … c"], &["a", "x", "y", "b 1 2 c"]));
    assert!(is_as_shown(&["…"], &[]));
    assert!(!is_as_shown(&["a"], &["a", "b"]));
    assert!(!is_as_shown(&["a", "b"], &["a"]));
    assert!(!is_like("a … c", "a b"));
    assert_eq!(
        on_this_machine("[s]\naccount = \"1\"\nregion = \"x\"\nk = 1\n"),
        "[s]\nlocal = true\nk = 1\n"
    );
}
