//! The release of deployctl itself: the scripts of `publish.yml`, the list of components, and the compiler.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::github::{read, workflows};
use super::repository;
use crate::support::digest::sha256_hex as sha256;

const FILES: [(&str, &str); 3] = [
    ("X86_64", "deployctl-1.2.3-x86_64-unknown-linux-musl.tar.gz"),
    ("AARCH64", "deployctl-1.2.3-aarch64-unknown-linux-musl.tar.gz"),
    ("SBOM", "deployctl.cdx.json"),
];

fn publish() -> Value {
    read(&repository(".github/workflows/publish.yml"))
}

fn step<'a>(workflow: &'a Value, job: &str, name: &str) -> &'a Value {
    let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{job} has no step {name}"))
}

/// Runs the step that compares what the other jobs have made, in a folder whose `dist` has `files`.
fn checksums(dir: &Path, files: &[(&str, &str)], hashes: &[(&str, String)]) -> Output {
    let dist = dir.join("dist");
    std::fs::remove_dir_all(&dist).ok();
    std::fs::create_dir(&dist).unwrap();
    for (name, bytes) in files {
        std::fs::write(dist.join(name), bytes).unwrap();
    }
    let workflow = publish();
    let script = step(&workflow, "publish", "checksums")["run"].as_str().unwrap();
    Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(dir)
        .env("RUNNER_TEMP", dir)
        .env("GITHUB_REF_NAME", "deployctl-v1.2.3")
        .envs(hashes.iter().cloned())
        .output()
        .unwrap()
}

#[test]
fn only_the_files_whose_jobs_have_output_their_hash_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let files = FILES.map(|(_, file)| (file, file));
    let hashes = FILES.map(|(name, file)| (name, sha256(file.as_bytes())));
    let accepted = checksums(dir.path(), &files, &hashes);
    assert!(accepted.status.success(), "{accepted:?}");
    let sums = std::fs::read_to_string(dir.path().join("dist/SHA256SUMS")).unwrap();
    let expected: String =
        FILES.iter().map(|(_, file)| format!("{}  {file}\n", sha256(file.as_bytes()))).collect();
    assert_eq!(sums, expected);

    let refused = |files: &[(&str, &str)], hashes: &[(&str, String)], why: &str| {
        let output = checksums(dir.path(), files, hashes);
        assert!(!output.status.success(), "{why}: {output:?}");
        assert!(!dir.path().join("dist/SHA256SUMS").exists(), "{why}");
    };
    for index in 0..FILES.len() {
        let mut replaced = files;
        replaced[index].1 = "other bytes";
        refused(&replaced, &hashes, "a file was replaced");
        let mut missing = hashes.clone();
        missing[index].1.clear();
        refused(&files, &missing, "a job has output no hash");
    }
    refused(&files[1..], &hashes, "a file is missing");
    refused(&[&files[..], &[("more", "")]].concat(), &hashes, "there is another file");
}

/// The outputs that the step compares are those that the jobs write after they have made the files.
#[test]
fn the_hashes_are_outputs_of_the_jobs() {
    let workflow = publish();
    let env = &step(&workflow, "publish", "checksums")["env"];
    for (variable, job, output, from) in [
        ("X86_64", "build", "sha256_x86_64", "archive"),
        ("AARCH64", "build", "sha256_aarch64", "archive"),
        ("SBOM", "sbom", "sha256", "sbom"),
    ] {
        assert_eq!(env[variable], format!("${{{{ needs.{job}.outputs.{output} }}}}"));
        let written = &workflow["jobs"][job]["outputs"][output];
        assert_eq!(*written, format!("${{{{ steps.{from}.outputs.{output} }}}}"));
    }

    let dir = tempfile::tempdir().unwrap();
    for name in ["LICENSE", "README.md"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    for (target, (_, file)) in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"].iter().zip(FILES) {
        let release = dir.path().join("target").join(target).join("release");
        std::fs::create_dir_all(&release).unwrap();
        std::fs::write(release.join("deployctl"), target).unwrap();
        let archive = Command::new("bash")
            .args([
                "-e",
                "-o",
                "pipefail",
                "-c",
                step(&workflow, "build", "archive")["run"].as_str().unwrap(),
            ])
            .current_dir(dir.path())
            .env("GITHUB_OUTPUT", dir.path().join("outputs"))
            .envs([("VERSION", "1.2.3"), ("TARGET", target)])
            .output()
            .unwrap();
        assert!(archive.status.success(), "{archive:?}");
        let outputs = std::fs::read_to_string(dir.path().join("outputs")).unwrap();
        let hash = sha256(&std::fs::read(dir.path().join(file)).unwrap());
        let name = target.split('-').next().unwrap();
        assert!(outputs.contains(&format!("sha256_{name}={hash}\n")), "{outputs}");
    }
}

/// The list of components is made without compiling: `cargo metadata` runs no build script.
#[test]
fn the_components_are_listed_and_nothing_is_compiled() {
    let workflow = publish();
    for step in workflow["jobs"]["sbom"]["steps"].as_array().unwrap() {
        assert!(!step["run"].as_str().unwrap_or_default().contains("cargo"), "{step}");
    }
    super::supply::fetch();
    let dir = tempfile::tempdir().unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let calls = dir.path().join("calls");
    let script =
        format!("#!/bin/sh\necho \"$1\" >> '{}'\nexec '{cargo}' \"$@\" --offline\n", calls.display());
    std::fs::write(dir.path().join("cargo"), script).unwrap();
    std::fs::set_permissions(dir.path().join("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let list = Command::new(repository(".ci/sbom")).env("PATH", path).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    assert_eq!(std::fs::read_to_string(calls).unwrap(), "metadata\n");

    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(list["metadata"]["component"]["name"], "deployctl");
    let components = list["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    for name in ["tokio", "aws-sdk-s3", "rustls", "cc"] {
        let component = named(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
    assert!(named("insta").is_none() && named("users").is_none(), "only tests use it");
    let listed = components.len() + 1;
    assert_eq!(list["dependencies"].as_array().unwrap().len(), listed);
}

/// One version of the compiler, whose name does not move, for developers, CI and what is published.
#[test]
fn the_compiler_is_pinned_and_used_everywhere() {
    let file: toml::Table =
        std::fs::read_to_string(repository("rust-toolchain.toml")).unwrap().parse().unwrap();
    let pinned = file["toolchain"]["channel"].as_str().unwrap();
    let pinned: semver::Version = pinned.parse().expect("a whole version");
    let manifest: toml::Table = std::fs::read_to_string(repository("Cargo.toml")).unwrap().parse().unwrap();
    let oldest = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(pinned >= oldest.parse().unwrap(), "{pinned} is older than {oldest}");
    let mut installs = 0;
    for path in workflows() {
        for (name, job) in read(&path)["jobs"].as_object().unwrap() {
            let scripts =
                job["steps"].as_array().into_iter().flatten().filter_map(|step| step["run"].as_str());
            for line in scripts.flat_map(str::lines).filter(|line| line.contains("rustup ")) {
                installs += 1;
                let place = format!("{}: {name}: {line}", path.display());
                assert!(line.trim_start().starts_with("rustup toolchain install"), "{place}");
                for other in ["stable", "beta", "nightly", "rustup default", "rustup override"] {
                    assert!(!line.contains(other), "{place}");
                }
            }
        }
    }
    assert!(installs >= 6, "{installs}");
}
