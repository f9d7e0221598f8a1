//! The sessions of the book, run in a shell: they print what the pages show.
//!
//! `console run` after the fence of a block marks a session, and `file=PATH` a file of its project. Pages follow each other
//! as in `docs/SUMMARY.md`, in one project; stages that name an account are local stages here.

use std::path::Path;
use std::time::Instant;

use crate::support::markdown::{self, Block, Page, commands};
use crate::support::program::Program;
use crate::support::progress;
use crate::support::provider_mirror::provider_mirror;
use crate::support::session::{Session, is_as_shown, is_like};

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
    /// Runs the sessions of a page in one shell. How many commands that were.
    async fn run(&self, page: &Page) -> usize {
        let mut session = Session::new();
        for (place, block) in page.blocks.iter().enumerate() {
            if let Some(file) = block.file() {
                session.hidden(&self.provide(place, file, block));
            }
            if block.is_run() {
                assert_eq!(block.language(), "console", "{}: {}", page.name.display(), block.text);
                session.block(&block.text);
            }
        }
        session.run(&page.name.display().to_string(), self.dir.path(), &self.program).await
    }

    /// Lays a file ready, and says how the script takes it when its turn comes.
    fn provide(&self, place: usize, file: &str, block: &Block) -> String {
        let ready = self.dir.path().join(format!(".book-{place}"));
        let text = if file == "deployctl.toml" { on_this_machine(&block.text) } else { block.text.clone() };
        std::fs::write(&ready, text).unwrap();
        let folder = Path::new(file).parent().unwrap().display();
        format!("mkdir -p './{folder}' && mv '{}' '{file}'\n", ready.display())
    }
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
