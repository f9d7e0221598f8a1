//! The release of deployctl itself: the scripts of `publish.yml`, the list of components, and the compiler.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::github::{read, workflows};
use super::repository;
use crate::support::digest::sha256_hex as sha256;

/// The variable with the lines of a job for SHA256SUMS, the job, its target, and the name of its wheel.
const PROGRAMS: [(&str, &str, &str, &str); 4] = [
    (
        "LINUX_X86_64",
        "linux-x86_64",
        "x86_64-unknown-linux-musl",
        "manylinux2014_x86_64.musllinux_1_2_x86_64",
    ),
    (
        "LINUX_AARCH64",
        "linux-aarch64",
        "aarch64-unknown-linux-musl",
        "manylinux2014_aarch64.musllinux_1_2_aarch64",
    ),
    ("MACOS_AARCH64", "macos-aarch64", "aarch64-apple-darwin", "macosx_11_0_arm64"),
    ("MACOS_X86_64", "macos-x86_64", "x86_64-apple-darwin", "macosx_10_12_x86_64"),
];

fn publish() -> Value {
    read(&repository(".github/workflows/publish.yml"))
}

fn build() -> Value {
    read(&repository(".github/workflows/build.yml"))
}

fn step<'a>(workflow: &'a Value, job: &str, name: &str) -> &'a Value {
    let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{job} has no step {name}"))
}

/// Runs the script of a step in `dir`, which has the `.ci` of the repository.
fn run(dir: &Path, step: &Value, env: &[(&str, String)]) -> Output {
    std::os::unix::fs::symlink(repository(".ci"), dir.join(".ci")).ok();
    Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", step["run"].as_str().unwrap()])
        .current_dir(dir)
        .env("RUNNER_TEMP", dir)
        .env("GITHUB_OUTPUT", dir.join("outputs"))
        .env("GITHUB_ENV", dir.join("env"))
        .env("GITHUB_REF_NAME", "deployctl-v1.2.3")
        .env("GITHUB_SERVER_URL", "https://git.example")
        .env("GITHUB_REPOSITORY", "example/deployctl")
        .envs(env.iter().cloned())
        .output()
        .unwrap()
}

fn archive_of(target: &str) -> String {
    format!("deployctl-1.2.3-{target}.tar.gz")
}

fn wheel_of(tag: &str) -> String {
    format!("deployctl-1.2.3-py3-none-{tag}.whl")
}

/// The files of a release, whose bytes are their names, in the order of SHA256SUMS.
fn files() -> Vec<(String, String)> {
    let programs = PROGRAMS.iter().flat_map(|(_, _, target, tag)| [archive_of(target), wheel_of(tag)]);
    programs
        .chain(["deployctl.cdx.json".into(), "deployctl.rb".into()])
        .map(|file| (file.clone(), file))
        .collect()
}

fn line(file: &str) -> String {
    format!("{}  {file}", sha256(file.as_bytes()))
}

/// What the jobs have output.
fn hashes() -> Vec<(&'static str, String)> {
    let programs = PROGRAMS.iter().map(|(variable, _, target, tag)| {
        (*variable, format!("{}\n{}", line(&archive_of(target)), line(&wheel_of(tag))))
    });
    let others = [("SBOM", sha256(b"deployctl.cdx.json")), ("FORMULA", sha256(b"deployctl.rb"))];
    programs.chain(others).collect()
}

/// Runs a step that compares what the other jobs have made, in a folder whose `dist` has `files`.
fn compare(dir: &Path, step: &Value, files: &[(String, String)], hashes: &[(&str, String)]) -> Output {
    for folder in ["dist", "wheels"] {
        std::fs::remove_dir_all(dir.join(folder)).ok();
    }
    std::fs::create_dir(dir.join("dist")).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join("dist").join(name), bytes).unwrap();
    }
    run(dir, step, hashes)
}

#[test]
fn only_the_files_whose_jobs_have_output_their_hash_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let workflow = publish();
    let step = step(&workflow, "publish", "checksums");
    let (files, hashes) = (files(), hashes());
    let accepted = compare(dir.path(), step, &files, &hashes);
    assert!(accepted.status.success(), "{accepted:?}");
    let sums = std::fs::read_to_string(dir.path().join("dist/SHA256SUMS")).unwrap();
    let expected: String = files.iter().map(|(file, _)| line(file) + "\n").collect();
    assert_eq!(sums, expected);

    let refused = |files: &[(String, String)], hashes: &[(&str, String)], why: &str| {
        let output = compare(dir.path(), step, files, hashes);
        assert!(!output.status.success(), "{why}: {output:?}");
        assert!(!dir.path().join("dist/SHA256SUMS").exists(), "{why}");
    };
    for index in 0..files.len() {
        let mut replaced = files.clone();
        replaced[index].1 = "other bytes".into();
        refused(&replaced, &hashes, "a file was replaced");
    }
    for index in 0..hashes.len() {
        let mut missing = hashes.clone();
        missing[index].1.clear();
        refused(&files, &missing, "a job has output no hash");
    }
    refused(&files[1..], &hashes, "a file is missing");
    let more = |name: &str| [&files[..], &[(name.to_owned(), name.to_owned())]].concat();
    refused(&more("more"), &hashes, "there is another file");
    let mut longer = hashes.clone();
    longer[0].1.push_str(&format!("\n{}", line("deployctl-more")));
    refused(&more("deployctl-more"), &longer, "a job has output another file");
    // The first job has replaced the archive of another, and output the hash of what it has put there.
    let (mut taken, mut theirs) = (files.clone(), hashes);
    taken[2].1 = "other bytes".into();
    theirs[0].1 =
        theirs[0].1.replace(&line(&files[0].0), &format!("{}  {}", sha256(b"other bytes"), files[2].0));
    taken.remove(0);
    refused(&taken, &theirs, "a job has output the file of another");
}

#[test]
fn only_the_wheels_whose_jobs_have_output_their_hash_are_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    let workflow = publish();
    let step = step(&workflow, "pypi", "wheels");
    let (files, hashes) = (files(), hashes());
    let accepted = compare(dir.path(), step, &files, &hashes);
    assert!(accepted.status.success(), "{accepted:?}");
    let uploaded = || {
        let folder = std::fs::read_dir(dir.path().join("wheels")).into_iter().flatten();
        let mut names: Vec<String> =
            folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut expected = PROGRAMS.map(|(_, _, _, tag)| wheel_of(tag));
    expected.sort();
    assert_eq!(uploaded(), expected);
    for (index, (variable, ..)) in PROGRAMS.iter().enumerate() {
        let mut replaced = files.clone();
        replaced[2 * index + 1].1 = "other bytes".into();
        let mut missing = hashes.clone();
        missing.iter_mut().filter(|(name, _)| name == variable).for_each(|(_, lines)| lines.clear());
        for (files, hashes) in [(&replaced, &hashes), (&files, &missing)] {
            let output = compare(dir.path(), step, files, hashes);
            assert!(!output.status.success(), "{variable}: {output:?}");
            assert_eq!(uploaded(), [""; 0], "{variable}");
        }
    }
}

/// The lines that the steps compare are those that the jobs write after they have made the files.
#[test]
fn the_hashes_are_outputs_of_the_jobs() {
    let workflow = publish();
    for (job, name) in [("publish", "checksums"), ("pypi", "wheels"), ("formula", "Homebrew")] {
        let env = &step(&workflow, job, name)["env"];
        for (variable, builder, target, _) in PROGRAMS {
            assert_eq!(env[variable], format!("${{{{ needs.{builder}.outputs.files }}}}"), "{job}");
            let builder = &workflow["jobs"][builder];
            assert_eq!(builder["uses"], "./.github/workflows/build.yml");
            assert_eq!(builder["with"]["target"], target);
        }
    }
    let env = &step(&workflow, "publish", "checksums")["env"];
    for (variable, job, id) in [("SBOM", "sbom", "sbom"), ("FORMULA", "formula", "formula")] {
        assert_eq!(env[variable], format!("${{{{ needs.{job}.outputs.sha256 }}}}"));
        let written = &workflow["jobs"][job]["outputs"]["sha256"];
        assert_eq!(*written, format!("${{{{ steps.{id}.outputs.sha256 }}}}"));
    }
    let build = build();
    assert_eq!(build["on"]["workflow_call"]["outputs"]["files"]["value"], "${{ jobs.build.outputs.files }}");
    assert_eq!(build["jobs"]["build"]["outputs"]["files"], "${{ steps.files.outputs.files }}");

    let mut archives = Vec::new();
    for (_, _, target, tag) in PROGRAMS {
        let dir = tempfile::tempdir().unwrap();
        let release = dir.path().join("target").join(target).join("release");
        std::fs::create_dir_all(&release).unwrap();
        std::fs::write(release.join("deployctl"), "program").unwrap();
        std::fs::create_dir(dir.path().join("wheel")).unwrap();
        std::fs::write(dir.path().join("wheel").join(wheel_of(tag)), "wheel").unwrap();
        let env = [("VERSION", "1.2.3".to_owned()), ("TARGET", target.to_owned())];
        let archive = run(dir.path(), step(&build, "build", "archive"), &env);
        assert!(archive.status.success(), "{archive:?}");
        let outputs = std::fs::read_to_string(dir.path().join("outputs")).unwrap();
        let bytes = std::fs::read(dir.path().join("files").join(archive_of(target))).unwrap();
        let lines = [
            format!("{}  {}", sha256(&bytes), archive_of(target)),
            format!("{}  {}", sha256(b"wheel"), wheel_of(tag)),
        ];
        assert_eq!(outputs, format!("files<<END\n{}\nEND\n", lines.join("\n")));
        archives.push(bytes);
    }
    assert!(archives.iter().all(|archive| *archive == archives[0]), "the same program, and another archive");
    let listed = tempfile::tempdir().unwrap();
    std::fs::write(listed.path().join("archive"), &archives[0]).unwrap();
    let list = Command::new("tar").args(["-tzf", "archive"]).current_dir(listed.path()).output().unwrap();
    assert_eq!(String::from_utf8(list.stdout).unwrap(), "deployctl\nLICENSE\nREADME.md\n");
}

/// Also for a fork, whose Cargo.toml names the repository that it comes from.
#[test]
fn a_release_is_made_of_its_own_version_and_repository() {
    let build = build();
    let step = step(&build, "build", "the tag is the version, and the package names this repository");
    for (version, repository, accepted) in [
        ("1.2.3", "\"https://git.example/example/deployctl\"", true),
        ("1.2.4", "\"https://git.example/example/deployctl\"", false),
        ("1.2.3", "\"https://git.example/another/deployctl\"", false),
        ("1.2.3", "null", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let packages = format!(
            r#"{{"packages": [{{"name": "users"}}, {{"name": "deployctl", "version": "{version}", "repository": {repository}}}]}}"#
        );
        std::fs::write(dir.path().join("cargo"), format!("#!/bin/sh\necho '{packages}'\n")).unwrap();
        std::fs::set_permissions(dir.path().join("cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let output = run(dir.path(), step, &[("PATH", path)]);
        assert_eq!(output.status.success(), accepted, "{version} {repository}: {output:?}");
        let env = std::fs::read_to_string(dir.path().join("env")).unwrap_or_default();
        assert_eq!(env, if accepted { "VERSION=1.2.3\n" } else { "" });
    }
}

/// Where cargo-binstall and Homebrew look for an archive is where the release has it.
#[test]
fn every_installer_finds_the_archives() {
    let workflow = publish();
    let formula = step(&workflow, "formula", "Homebrew");
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), formula, &hashes());
    assert!(made.status.success(), "{made:?}");
    let text = std::fs::read_to_string(dir.path().join("deployctl.rb")).unwrap();
    let outputs = std::fs::read_to_string(dir.path().join("outputs")).unwrap();
    assert_eq!(outputs, format!("sha256={}\n", sha256(text.as_bytes())));
    assert!(!text.contains('@') && text.contains("version \"1.2.3\""), "{text}");

    let manifest: toml::Table = std::fs::read_to_string(repository("Cargo.toml")).unwrap().parse().unwrap();
    let binstall = &manifest["package"]["metadata"]["binstall"];
    assert_eq!(binstall["pkg-fmt"].as_str(), Some("tgz"));
    assert_eq!(binstall["bin-dir"].as_str(), Some("{ bin }{ binary-ext }"), "at the top of the archive");
    for (_, _, target, _) in PROGRAMS {
        let archive = archive_of(target);
        let url =
            format!("https://git.example/example/deployctl/releases/download/deployctl-v1.2.3/{archive}");
        let pair = format!("url \"{url}\"\n      sha256 \"{}\"", sha256(archive.as_bytes()));
        assert!(text.contains(&pair), "{pair}: {text}");
        let template = binstall["pkg-url"].as_str().unwrap();
        let found = template
            .replace("{ repo }", "https://git.example/example/deployctl")
            .replace("{ version }", "1.2.3")
            .replace("{ target }", target);
        assert_eq!(found, url);
    }

    let mut missing = hashes();
    missing[2].1.clear();
    let refused = run(dir.path(), formula, &missing);
    assert!(!refused.status.success(), "{refused:?}");
}

/// The programs that deployctl builds Lambdas with, and that it is built with, are of one version.
#[test]
fn one_zig_builds_everything() {
    let pins = |path: &str| -> Vec<String> {
        let text = std::fs::read_to_string(repository(path)).unwrap();
        text.lines().filter(|line| line.contains("==") && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let tools = pins(".ci/packages/wheel/requirements.txt");
    let own = pins("src/artifact/requirements.txt");
    assert!(own.len() >= 2 && own.iter().all(|pin| tools.contains(pin)), "{own:?}, {tools:?}");
    let project: toml::Table =
        std::fs::read_to_string(repository(".ci/packages/wheel/pyproject.toml")).unwrap().parse().unwrap();
    let maturin = project["build-system"]["requires"][0].as_str().unwrap();
    assert!(tools.iter().any(|pin| pin.trim_end_matches([' ', '\\']) == maturin), "{maturin}, {tools:?}");
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
