//! Artifacts, for real: packages are compiled, linked for Lambda's glibc, checked and zipped.

use std::path::Path;

use serde_json::Value;

use crate::support::digest::sha256_hex;
use crate::support::program::{CommandOutput, Program};

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

/// The source of the artifact in `deployctl.toml`.
const PACKAGE: &str = "package = \"hello\"";

/// Builds the artifact of the project in `dir` with the settings `source`.
async fn build(dir: &Path, source: &str) -> CommandOutput {
    let settings = format!(
        "project = \"hello\"\n\n[stages.local]\nlocal = true\n\n[layers.app]\npath = \"app\"\n\n\
         [artifacts.hello]\n{source}\nkey = \"hello/{{version}}.zip\"\n\n\
         [terraform]\nbucket_layer = \"app\"\ncontract_layer = \"app\"\n"
    );
    std::fs::write(dir.join("deployctl.toml"), settings).unwrap();
    Program::new(dir).run(&["build", "--into", "zips", "--output", "json"]).await
}

/// Builds the artifact and returns what is said of it, and its bytes.
async fn built(dir: &Path, source: &str) -> (Value, Vec<u8>) {
    let artifact = build(dir, source).await.exit(0).json()["artifacts"]["hello"].clone();
    let bytes = std::fs::read(dir.join("zips/hello.zip")).unwrap();
    assert_eq!(artifact["sha256"], sha256_hex(&bytes));
    assert_eq!(artifact["size"], bytes.len());
    (artifact, bytes)
}

fn unzip(zip: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut bytes = Vec::new();
    zip.by_name("bootstrap").unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_same_source_gives_the_same_zip_anywhere_without_a_trace_of_the_machine() {
    let (one, two) = (project(MAIN), project(MAIN));
    let (first, zip) = built(one.path(), PACKAGE).await;
    let (second, other) = built(two.path(), PACKAGE).await;
    assert_eq!((&first["sha256"], &zip), (&second["sha256"], &other));
    assert_eq!(built(one.path(), PACKAGE).await.0, first, "made again, it is the same");
    let sha256 = first["sha256"].as_str().unwrap();
    let kept = std::fs::read_dir(one.path().join(".deployctl/artifacts")).unwrap();
    let kept: Vec<String> = kept.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let digits = kept[0].strip_prefix("hello-").and_then(|name| name.strip_suffix(".zip")).unwrap();
    assert!(kept.len() == 1 && digits.len() >= 12 && sha256.starts_with(digits), "{kept:?}, {sha256}");

    let binary = unzip(&zip);
    assert!(binary.starts_with(b"\x7fELF") && contains(&binary, "GLIBC_2."), "linked with glibc");
    let home = std::env::var("HOME").unwrap();
    for trace in [one.path().to_str().unwrap(), &format!("{home}/")] {
        assert!(!contains(&binary, trace), "the binary holds {trace}");
    }

    // What is ready-made goes through the same checks and, as a zip, through unchanged.
    std::fs::write(one.path().join("ready"), &binary).unwrap();
    assert_eq!(built(one.path(), "path = \"ready\"").await.1, zip);
    std::fs::write(one.path().join("ready.zip"), &zip).unwrap();
    assert_eq!(built(one.path(), "path = \"ready.zip\"").await.1, zip);
    let wrong = build(one.path(), "path = \"ready.zip\"\narchitecture = \"arm64\"").await;
    wrong.exit(10).says(&["error [artifact.arch]"]);

    // The workspace can be in a folder, and a zip for a managed runtime needs no `bootstrap`.
    let folder = two.path().join("lambda");
    std::fs::create_dir(&folder).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "src"] {
        std::fs::rename(two.path().join(name), folder.join(name)).unwrap();
    }
    assert_eq!(built(two.path(), &format!("{PACKAGE}\nworkspace = \"lambda\"")).await.1, zip);
    let mut python = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    python.start_file("auth.py", ::zip::write::SimpleFileOptions::default()).unwrap();
    let python = python.finish().unwrap().into_inner();
    std::fs::write(one.path().join("auth.zip"), &python).unwrap();
    assert_eq!(built(one.path(), "path = \"auth.zip\"").await.1, python);
}

#[tokio::test]
async fn code_that_does_not_compile_shows_the_compilers_errors() {
    let dir = project("fn main() { let _: u8 = \"text\"; }\n");
    let failed = build(dir.path(), PACKAGE).await.exit(10);
    assert!(!failed.stderr.contains("\"reason\""), "JSON for programs was passed on: {}", failed.stderr);
    failed.says(&["error [artifact.build]", "expected `u8`, found `&str`"]);
}

#[tokio::test]
async fn a_package_without_a_binary_of_its_name_is_refused() {
    let dir = project(MAIN);
    std::fs::rename(dir.path().join("src/main.rs"), dir.path().join("src/lib.rs")).unwrap();
    build(dir.path(), PACKAGE).await.exit(10).says(&["error [artifact.build]"]);
}

#[tokio::test]
async fn arm_is_built_or_refused_with_the_remedy() {
    let dir = project(MAIN);
    let arm = build(dir.path(), ARM).await;
    if arm.code == Some(0) {
        is_for_arm(dir.path());
    } else {
        let remedy = "install it: rustup target add aarch64-unknown-linux-gnu";
        arm.exit(10).says(&["error [artifact.target]", remedy]);
    }
}

#[tokio::test]
#[ignore = "needs `rustup target add aarch64-unknown-linux-gnu`; CI runs it"]
async fn arm_is_built() {
    let dir = project(MAIN);
    let (artifact, _) = built(dir.path(), ARM).await;
    assert!(artifact["size"].as_u64() > Some(1000), "{artifact}");
    is_for_arm(dir.path());
}

const ARM: &str = "package = \"hello\"\narchitecture = \"arm64\"";

/// Bytes 18 and 19 of an ELF file name the machine; 183 is `AArch64`.
fn is_for_arm(dir: &Path) {
    let binary = unzip(&std::fs::read(dir.join("zips/hello.zip")).unwrap());
    assert_eq!(binary[18..20], [183, 0]);
}

#[tokio::test]
async fn a_missing_or_invalid_program_is_an_error_with_its_path() {
    let dir = project(MAIN);
    build(dir.path(), "path = \"dist/bootstrap\"").await.exit(10).says(&["dist/bootstrap"]);
    build(dir.path(), "path = \"src/main.rs\"").await.exit(10).says(&["error [artifact.not_elf]"]);
    assert!(!dir.path().join(".deployctl/artifacts").exists(), "a refused artifact was stored");
}
