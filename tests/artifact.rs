//! Artifacts, for real: packages are compiled, linked for Lambda's glibc, checked and zipped.

#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use deployctl::artifact::{self, Architecture, Artifact, Glibc, Origin, Recipe};
use deployctl::error::Error;
use deployctl::event::{Event, Events};
use deployctl::toolbox::Toolbox;
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = r#"[package]
name = "hello"
version = "0.1.0"
edition = "2024"

[workspace]

[profile.lambda]
inherits = "release"
strip = true
"#;

/// Panics carry the path of their source, the home of what differs between machines.
const MAIN: &str = r#"fn main() {
    let text = std::env::args().nth(9).expect("no ninth argument");
    println!("{text} {}", file!());
}
"#;

fn project(main: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("Cargo.toml"), MANIFEST).unwrap();
    std::fs::write(dir.path().join("src/main.rs"), main).unwrap();
    let lock = "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n";
    std::fs::write(dir.path().join("Cargo.lock"), lock).unwrap();
    dir
}

fn recipe(origin: Origin) -> Recipe {
    Recipe { name: "hello".to_owned(), origin, architecture: Architecture::X86_64, glibc: Glibc::AL2023 }
}

fn package() -> Recipe {
    recipe(Origin::Package("hello".to_owned()))
}

async fn make(dir: &Path, recipe: Recipe, events: &Events) -> Result<Artifact, Error> {
    let tools = Toolbox::from_env().unwrap();
    let made = artifact::make(dir, &[recipe], &tools, events, &CancellationToken::new()).await?;
    Ok(made.into_iter().next().unwrap())
}

async fn make_silently(dir: &Path, recipe: Recipe) -> Result<Artifact, Error> {
    make(dir, recipe, &Events::silent()).await
}

fn unzip(artifact: &Artifact) -> Vec<u8> {
    use std::io::Read as _;
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&artifact.path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    zip.by_name("bootstrap").unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn the_same_source_gives_the_same_zip_anywhere_without_a_trace_of_the_machine() {
    let (one, two) = (project(MAIN), project(MAIN));
    let first = make_silently(one.path(), package()).await.unwrap();
    let second = make_silently(two.path(), package()).await.unwrap();
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(make_silently(one.path(), package()).await.unwrap(), first, "made again, it is the same");

    let bytes = std::fs::read(&first.path).unwrap();
    assert_eq!(artifact::Sha256::of(&bytes), first.sha256);
    assert_eq!(bytes.len() as u64, first.size);
    let name = format!(".deployctl/artifacts/hello-{}.zip", first.sha256.short());
    assert_eq!(first.path, one.path().join(name));

    let binary = unzip(&first);
    let facts = artifact::elf::check("hello", &binary, Architecture::X86_64, Glibc::AL2023).unwrap();
    assert!(facts.glibc.is_some());
    let home = std::env::var("HOME").unwrap();
    for trace in [one.path().to_str().unwrap(), &format!("{home}/")] {
        let found = binary.windows(trace.len()).any(|window| window == trace.as_bytes());
        assert!(!found, "the binary holds {trace}");
    }

    // What is ready-made goes through the same checks and, as a zip, through unchanged.
    let path = one.path().join("ready");
    std::fs::write(&path, &binary).unwrap();
    let from_file = make_silently(one.path(), recipe(Origin::Path(path))).await.unwrap();
    assert_eq!(from_file.sha256, first.sha256);
    let from_zip = make_silently(one.path(), recipe(Origin::Path(first.path.clone()))).await.unwrap();
    assert_eq!(from_zip, first);
    let wrong = Recipe { architecture: Architecture::Arm64, ..recipe(Origin::Path(first.path.clone())) };
    let error = make_silently(one.path(), wrong).await.unwrap_err();
    assert_eq!((error.id, error.kind.exit_code()), ("artifact.arch", 10));
}

#[tokio::test]
async fn code_that_does_not_compile_shows_the_compilers_words() {
    let dir = project("fn main() { let _: u8 = \"text\"; }\n");
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&lines);
    let events = Events::new(move |event| {
        if let Event::ProgramLine { program: "cargo", line } = event {
            sink.lock().unwrap().push((*line).to_owned());
        }
    });
    let error = make(dir.path(), package(), &events).await.unwrap_err();
    assert_eq!((error.id, error.kind.exit_code()), ("artifact.build", 10));
    let lines = lines.lock().unwrap().join("\n");
    assert!(lines.contains("expected `u8`, found `&str`"), "{lines}");
    assert!(!lines.contains("\"reason\""), "JSON for programs was passed on: {lines}");
}

#[tokio::test]
async fn a_package_without_a_binary_of_its_name_is_refused() {
    let dir = project(MAIN);
    std::fs::rename(dir.path().join("src/main.rs"), dir.path().join("src/lib.rs")).unwrap();
    let error = make_silently(dir.path(), package()).await.unwrap_err();
    assert_eq!(error.id, "artifact.build");
}

#[tokio::test]
async fn arm_is_built_or_refused_with_the_remedy() {
    let dir = project(MAIN);
    let arm = Recipe { architecture: Architecture::Arm64, ..package() };
    match make_silently(dir.path(), arm).await {
        Ok(artifact) => {
            artifact::elf::check("hello", &unzip(&artifact), Architecture::Arm64, Glibc::AL2023).unwrap();
        }
        Err(error) => {
            assert_eq!((error.id, error.kind.exit_code()), ("artifact.target", 10));
            assert_eq!(error.hint.unwrap(), "install it: rustup target add aarch64-unknown-linux-gnu");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_a_program_is_named() {
    let dir = project(MAIN);
    let missing = recipe(Origin::Path(PathBuf::from("dist/bootstrap")));
    let error = make_silently(dir.path(), missing).await.unwrap_err();
    assert!(error.message.contains("dist/bootstrap"), "{error}");
    let script = recipe(Origin::Path(PathBuf::from("src/main.rs")));
    let error = make_silently(dir.path(), script).await.unwrap_err();
    assert_eq!(error.id, "artifact.not_elf");
    assert!(!dir.path().join(".deployctl/artifacts").exists(), "a refused artifact was stored");
}
