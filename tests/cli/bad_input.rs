//! What is wrong is told, by name and with its exit code, before anything is changed.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use aws_sdk_s3 as s3;

use crate::support::minimal_project::{MinimalProject, SETTINGS, executable};
use crate::support::program::{CommandOutput, Program};
use crate::support::{fixtures, sdk};

/// Runs a release that must fail with `code` and `id`, both for people and for programs, and say `texts`.
async fn refused(
    project: &MinimalProject,
    program: &Program,
    args: &[&str],
    code: i32,
    id: &str,
    texts: &[&str],
) {
    let human = program.run(args).await.exit(code).says(&[&format!("error [{id}]: ")]).says(texts);
    assert_eq!(human.stdout, "", "stdout is for results");
    let json = program.run(&[args, &["--output", "json"]].concat()).await.exit(code).json();
    assert_eq!(json["error"]["id"], id);
    assert_eq!(json["outcome"], "failed");
    assert!(json["error"]["message"].is_string() && json["error"]["causes"].is_array(), "{json:#}");
    let told = json["error"].to_string();
    for path in [project.path().join(".deployctl/artifacts"), project.path().join("terraform.tfstate")] {
        assert!(!path.exists() || code == 20, "{} was made; {told}", path.display());
    }
}

/// A release of a good version to the default stage.
const RELEASE: [&str; 3] = ["release", "--version", "1.0.0"];

#[tokio::test]
async fn versions_that_cannot_be_part_of_a_key() {
    let project = MinimalProject::new();
    let long = "9".repeat(65);
    for version in ["a/b", "..", "1..2", "1 2", " 1", "1+2", "", "ü", "1\n", &long] {
        let release = ["release", "--version", version];
        let rule = "use 1 to 64 letters, digits, '.', '-' and '_'";
        refused(
            &project,
            &project.program,
            &release,
            2,
            "version.invalid",
            &["refused: this is not a valid version", rule],
        )
        .await;
    }
    let rollback = ["rollback", "--to", "../1"];
    refused(&project, &project.program, &rollback, 2, "version.invalid", &[r#""../1""#]).await;
    assert!(!project.path().join(".deployctl").exists(), "nothing was begun");
}

#[tokio::test]
async fn commands_that_only_read_start_no_local_stage() {
    let project = MinimalProject::new();
    for command in [&["status"][..], &["history"], &["logs"], &["diff", "1", "2"], &["status", "--watch"]] {
        let read = project.program.run(command).await.exit(2);
        read.says(&[
            "error [local.down]: the local stage is not running",
            "`deployctl local up --stage local`",
        ]);
    }
    let doctor = project.program.run(&["doctor", "--output", "json"]).await;
    assert!(doctor.stdout.contains("deployctl local up"), "{}", doctor.stdout);
    assert!(!project.path().join(".deployctl/local").exists(), "a local stage was created");
}

/// Whoever has another deployctl than the team is told so, and not about keys that it does not know.
#[tokio::test]
async fn a_project_for_another_deployctl() {
    let project = MinimalProject::new();
    let requiring = |version: &str| {
        let rest = SETTINGS.replace("[probe]", "");
        project.write(
            "deployctl.toml",
            format!("required_version = {version:?}\n{rest}\n[newer]\nsteps = []\n"),
        );
    };
    for version in [">= 99", "< 0.1", "=0.0.1"] {
        requiring(version);
        for args in [&RELEASE[..], &["status"], &["rollback"], &["local", "up"]] {
            let text = format!(
                "requires deployctl {}, and this is",
                version.replace(">= 99", ">=99").replace("< 0.1", "<0.1")
            );
            let texts = [text.as_str(), "nothing was changed; install a deployctl that matches"];
            refused(&project, &project.program, args, 2, "config.required_version", &texts).await;
        }
    }
    // One that matches, or none at all, leaves the other problems.
    requiring(concat!("~", env!("CARGO_PKG_VERSION")));
    refused(&project, &project.program, &RELEASE, 2, "config.invalid", &["newer: unknown key"]).await;
    requiring("soon");
    let texts = ["line 1: required_version: ", "write it like \">= 0.2, < 0.4\"", "newer: unknown key"];
    refused(&project, &project.program, &RELEASE, 2, "config.invalid", &texts).await;
    assert!(!project.path().join(".deployctl").exists(), "nothing was begun");
    // What needs no project is there all the same.
    project.program.run(&["explain", "config.required_version"]).await.exit(0);
}

#[tokio::test]
async fn a_result_that_cannot_be_written() {
    let project = MinimalProject::new();
    for args in [
        &["explain"][..],
        &["explain", "lease.held", "--output", "json"],
        &["schema", "config"],
        &["schema", "--output", "json"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
    ] {
        let unwritten = project.program.run_on_full_disk(args).await.exit(74);
        unwritten.says(&["failed to write the result to stdout", "No space left on device"]);
        // Nobody reads it to the end, which is no failure.
        let mut child = project.program.command(args).spawn().unwrap();
        drop(child.stdout.take());
        let closed = CommandOutput::of(child.wait_with_output().await.unwrap());
        assert!(!closed.stderr.contains("result.unwritten"), "{args:?}: {}", closed.stderr);
        assert_eq!(closed.code, project.run(args).await.code, "{args:?}");
    }
    // A failure stays what it is.
    let failed = project.program.run_on_full_disk(&["status", "--output", "json"]).await;
    failed.exit(2).says(&["error [local.down]"]);
}

#[tokio::test]
async fn stages_that_are_not_there() {
    let project = MinimalProject::new();
    for stage in ["prd", "Prd", "../dev", ""] {
        let release = ["release", "--version", "1.0.0", "--stage", stage];
        refused(&project, &project.program, &release, 2, "config.unknown_stage", &[stage]).await;
    }
    let status = project.run(&["status", "--stage", "prd"]).await.exit(2);
    status.says(&["there is no stage \"prd\"", "deployctl.toml has: dev, local"]);
    let env = project.program.clone().with("DEPLOYCTL_STAGE", "prd");
    env.run(&RELEASE).await.exit(2).says(&["there is no stage \"prd\""]);
    let local = project.run(&["local", "up", "--stage", "dev", "--output", "json"]).await.exit(2);
    assert_eq!(local.json()["error"]["id"], "local.not_local");
}

#[tokio::test]
async fn settings_that_are_missing_or_broken() {
    let project = MinimalProject::new();
    let refuse = |id: &'static str, texts: &'static [&'static str]| {
        let project = &project;
        async move { refused(project, &project.program, &RELEASE, 2, id, texts).await }
    };
    std::fs::remove_file(project.path().join("deployctl.toml")).unwrap();
    refuse("config.missing", &["there is no deployctl.toml in ", "or above it"]).await;
    let named = ["release", "--version", "1.0.0", "--config", "other.toml"];
    refused(&project, &project.program, &named, 2, "config.missing", &["failed to read other.toml"]).await;

    project.settings("region = \"us-east-1\"", "region = us-east-1");
    refuse("config.syntax", &["line 9, column 10", "region = us-east-1"]).await;
    project.settings("local = true", "local = true\nlocall = 1");
    refuse("config.invalid", &["line 6: stages.local.locall: unknown key; did you mean \"local\"?"]).await;
    project.settings("path = \"dist", "paht = \"dist");
    refuse("config.invalid", &["line 17: artifacts.hello.paht: unknown key; did you mean \"path\"?"]).await;
    project.settings("local = true", "local = \"yes\"");
    refuse("config.invalid", &["line 5: stages.local.local: expected true or false, found a string"]).await;
    project.settings("\"111111111111\"", "\"1111\"");
    refuse("config.invalid", &["line 8: stages.dev.account: ", "an AWS account id has 12 digits"]).await;
    project.write("deployctl.toml", [0x70, 0xff, 0x0a]);
    refuse("config.missing", &["valid UTF-8"]).await;

    // All at once.
    let broken = SETTINGS.replace("{version}", "same").replace("\"small\"", "\"Small Project\"");
    project.write("deployctl.toml", broken.replace("[layers.base]\n\n", ""));
    refuse(
        "config.invalid",
        &[
            "has 4 problems",
            "line 1: project: ",
            "there is no layer \"base\"",
            "line 16: artifacts.hello.key: must contain",
        ],
    )
    .await;
    let broken = SETTINGS
        .replace("default_stage", "defualt_stage")
        .replace("region = ", "regoin = ")
        .replace("[layers.base]", "timeout_seconds = 1\n\n[layers.base]")
        .replace("{version}", "same");
    project.write("deployctl.toml", broken + "\n[prob]\n\n[terraform]\nparallelism = 0\n");
    let texts = [
        "has 6 problems",
        "\n  - line 2: defualt_stage: unknown key; did you mean \"default_stage\"?",
        "\n  - line 9: stages.dev.regoin: unknown key; did you mean \"region\"?",
        "\n  - line 11: stages.dev.timeout_seconds: unknown key; it belongs to [probe]",
        "\n  - line 20: artifacts.hello.key: must contain",
        "\n  - line 22: prob: unknown key; did you mean \"probe\"?",
        "\n  - line 25: terraform.parallelism: expected an integer from 1 to 65535, found 0",
    ];
    refused(&project, &project.program, &RELEASE, 2, "config.invalid", &texts).await;
    assert!(!project.path().join(".deployctl").exists(), "nothing was begun");
}

/// A time that no clock can hold would be noticed after the switch, if it were not here.
#[tokio::test]
async fn numbers_that_are_out_of_range() {
    let project = MinimalProject::new();
    let numbers = "\n[probe]\ntimeout_seconds = 9223372036854775807\n\n[terraform]\n\
                   lock_timeout_seconds = 18446744073709551615\nparallelism = 65536\nmax_destroys = -1\n";
    project.write("deployctl.toml", SETTINGS.replace("local = true", "local = true\nport = 0") + numbers);
    let texts = [
        "has 5 problems",
        "line 6: stages.local.port: expected an integer from 1 to 65535, found 0",
        "line 22: probe.timeout_seconds: expected an integer from 1 to 3600, found 9223372036854775807",
        "terraform.lock_timeout_seconds: expected an integer from 0 to 86400, found 18446744073709551615",
        "terraform.parallelism: expected an integer from 1 to 65535, found 65536",
        "terraform.max_destroys: expected an integer from 0 to 1000000, found -1",
    ];
    refused(&project, &project.program, &RELEASE, 2, "config.invalid", &texts).await;
    for number in ["0", "3601", "-1"] {
        project.write("deployctl.toml", format!("{SETTINGS}\n[probe]\ntimeout_seconds = {number}\n"));
        let text = format!("probe.timeout_seconds: expected an integer from 1 to 3600, found {number}");
        refused(&project, &project.program, &RELEASE, 2, "config.invalid", &[&text]).await;
    }
    project.write("deployctl.toml", SETTINGS);
    for seconds in ["0", "601", "x", "9223372036854775807"] {
        let program = project.program.clone().with("DEPLOYCTL_CALL_TIMEOUT", seconds);
        let text = format!("DEPLOYCTL_CALL_TIMEOUT: expected seconds from 1 to 600, found {seconds:?}");
        refused(&project, &program, &RELEASE, 2, "config.invalid", &[&text]).await;
    }
}

#[tokio::test]
async fn credentials_that_are_missing_or_of_another_account() {
    let project = MinimalProject::new();
    let dev = ["release", "--version", "1.0.0", "--stage", "dev"];
    let start = Instant::now();
    refused(
        &project,
        &project.program,
        &dev,
        10,
        "aws.credentials",
        &["or none are configured", "AWS_PROFILE"],
    )
    .await;
    // Nobody is to wait for a network that holds no credentials.
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());

    let endpoint = local(&project).await;
    // The local stage needs nothing of what a company's shell says about AWS.
    let mut company = project.program.clone().with("AWS_PROFILE", "absent").with("AWS_CA_BUNDLE", "/absent");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        company = company.with(name, "http://127.0.0.1:9");
    }
    let company = company.with("AWS_USE_FIPS_ENDPOINT", "true").with("AWS_USE_DUALSTACK_ENDPOINT", "true");
    refused(&project, &company, &["status", "--stage", "local"], 10, "stage.empty", &[]).await;
    let foreign = project.program.clone().with("AWS_ENDPOINT_URL", &endpoint);
    let foreign = foreign
        .with("AWS_ACCESS_KEY_ID", "222222222222")
        .with("AWS_SECRET_ACCESS_KEY", sdk::secret(&endpoint));
    let accounts = ["the credentials are for account 222222222222, but stage dev is in 111111111111"];
    for command in [&dev[..], &["status", "--stage", "dev"], &["rollback", "--stage", "dev"]] {
        refused(&project, &foreign, command, 10, "aws.wrong_account", &accounts).await;
    }
    for command in ["history", "bootstrap", "unlock"] {
        let ended = foreign.run(&[command, "--stage", "dev", "--output", "json"]).await.exit(10);
        assert_eq!(ended.json()["error"]["id"], "aws.wrong_account", "{command}");
    }
    for account in ["111111111111", "222222222222"] {
        let buckets = store(&endpoint, account).list_buckets().send().await.unwrap();
        assert!(buckets.buckets().is_empty(), "written to {account}");
    }
}

#[tokio::test]
async fn a_terraform_that_cannot_be_used() {
    let project = MinimalProject::new();
    let with = |program: &std::path::Path| project.program.clone().with("DEPLOYCTL_TERRAFORM", program);
    let missing = with(std::path::Path::new("/nonexistent/terraform"));
    let texts = ["/nonexistent/terraform was not found", "DEPLOYCTL_TERRAFORM"];
    refused(&project, &missing, &RELEASE, 10, "terraform.not_found", &texts).await;
    let named = |name: &str| {
        let program = project.write("tools/terraform", format!("#!/bin/sh\necho '{name}'\n"));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        with(&program)
    };
    let old = named("Terraform v1.4.0");
    let texts = ["version 1.4.0 is too old", "install version 1.5.0 or later"];
    refused(&project, &old, &RELEASE, 10, "terraform.too_old", &texts).await;
    let other = named("Packer v1.12.0");
    refused(&project, &other, &RELEASE, 10, "terraform.not_terraform", &["neither Terraform nor OpenTofu"])
        .await;
}

#[tokio::test]
async fn artifacts_that_lambda_could_not_run() {
    let project = MinimalProject::new();
    let endpoint = local(&project).await;
    let bucket = store(&endpoint, "000000000000");
    fixtures::create_bucket(&bucket, "small-artifacts").await;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    project.settings("key = ", &format!("architecture = {architecture:?}\nkey = "));
    let refuse = async |id: &str, texts: &[&str]| {
        refused(&project, &project.program, &RELEASE, 10, id, texts).await;
    };

    std::fs::remove_file(project.path().join("dist/bootstrap")).unwrap();
    refuse("artifact.io", &["dist/bootstrap", "No such file"]).await;
    project.write("dist/bootstrap", "MZ");
    refuse("artifact.not_elf", &["not a 64-bit Linux executable", "a Windows program"]).await;
    let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
    project.write("dist/bootstrap", executable(other));
    refuse("artifact.arch", &["hello: its bootstrap is for ", "but the function runs on "]).await;
    project.write("dist/bootstrap", of_a_newer_glibc());
    refuse("artifact.glibc", &["needs glibc 2.99, but the runtime has 2.34"]).await;
    let large = std::fs::File::create(project.path().join("dist/bootstrap")).unwrap();
    large.set_len(262_144_001).unwrap();
    refuse("artifact.too_large", &["262144001 bytes", "at most 262144000"]).await;

    // Before anything is changed: no state of Terraform, no zip.
    let objects = bucket.list_objects_v2().bucket("small-artifacts").send().await.unwrap();
    assert_eq!(objects.key_count(), Some(0));
    let states = bucket.list_objects_v2().bucket("small-local-tfstate-000000000000").send().await.unwrap();
    let keys: Vec<&str> = states.contents().iter().filter_map(|object| object.key()).collect();
    assert!(!keys.iter().any(|key| key.ends_with(".tfstate")), "{keys:?}");
}

#[tokio::test]
async fn outputs_that_are_missing_or_of_the_wrong_type() {
    let project = MinimalProject::new();
    let endpoint = local(&project).await;
    fixtures::create_bucket(&store(&endpoint, "000000000000"), "small-artifacts").await;
    let output = |name: &str, value: &str| format!("output \"{name}\" {{\n  value = {value}\n}}\n");
    // Each of these is found, and none stands in the way of the next, which corrects it.
    for (layer, outputs, id, texts) in [
        (
            "base",
            output("vpc_id", "\"vpc-1\""),
            "contract.missing",
            &["layer \"base\" has no output \"artifact_bucket\"; it has: vpc_id"][..],
        ),
        (
            "base",
            output("artifact_bucket", "7"),
            "contract.invalid",
            &["output \"artifact_bucket\" of layer \"base\": expected a string, found a number"],
        ),
        (
            "base",
            output("artifact_bucket", "\"small-artifacts\""),
            "contract.missing",
            &["layer \"app\" has no output \"deployctl\"; it has: no outputs"],
        ),
        (
            "app",
            output("url", "\"x\""),
            "contract.missing",
            &["layer \"app\" has no output \"deployctl\"; it has: url"],
        ),
        (
            "app",
            output("deployctl", "\"text\""),
            "contract.invalid",
            &["rest_api_id: expected a string, found nothing", "functions: expected an object"],
        ),
        (
            "app",
            output(
                "deployctl",
                "{ rest_api_id = 7, stage_name = \"local\", functions = { \"a-b\" = true } }",
            ),
            "contract.invalid",
            &["rest_api_id: expected a string, found a number", "functions.a-b: function key"],
        ),
    ] {
        project.layer(layer, &outputs);
        let human = project.run(&RELEASE).await.exit(20).says(&[&format!("error [{id}]: ")]).says(texts);
        assert_eq!(human.stdout, "");
        let json = project.run(&[&RELEASE[..], &["--output", "json"]].concat()).await.exit(20).json();
        assert_eq!(json["error"]["id"], id);
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf_8() {
    let project = MinimalProject::new();
    let folder = project.path().join(std::ffi::OsStr::from_bytes(b"pro\xffject"));
    std::fs::create_dir(&folder).unwrap();
    for name in ["deployctl.toml", "terraform", "dist"] {
        std::fs::rename(project.path().join(name), folder.join(name)).unwrap();
    }
    let program = Program::new(&folder);
    // The local stage, Terraform with the state in its bucket, and a finished artifact.
    let plan = program.run(&["plan", "--version", "1.0.0", "--output", "json"]).await.exit(0).json();
    assert_eq!(plan["layers"][0]["state"], "changes", "{plan:#}");
    let apply = ["terraform", "base", "--", "apply", "-auto-approve"];
    program.run(&apply).await.exit(0);
    let output = program.run(&["output", "artifact_bucket", "--output", "json"]).await.exit(0);
    assert_eq!(output.json(), "small-artifacts");
    // The configuration by its path, from elsewhere.
    let elsewhere = project.program.clone().with("DEPLOYCTL_CONFIG", folder.join("deployctl.toml"));
    elsewhere.run(&["status"]).await.exit(10).says(&["error [stage.empty]"]);
    // cargo does not work in such a folder, and says so less clearly.
    std::fs::write(folder.join("deployctl.toml"), SETTINGS.replace("path = \"dist/bootstrap\"", "")).unwrap();
    program.run(&["plan"]).await.exit(10).says(&["error [artifact.path]", "cargo needs a path in UTF-8"]);
    program.run(&["local", "down"]).await.exit(0);
}

#[tokio::test]
async fn a_bucket_that_keeps_no_versions() {
    let project = MinimalProject::new();
    let endpoint = local(&project).await;
    let bucket = store(&endpoint, "000000000000");
    bucket.create_bucket().bucket("small-artifacts").send().await.unwrap();
    let texts = ["small-artifacts is not versioned", "aws_s3_bucket_versioning", "nothing was uploaded"];
    let first = project.run(&RELEASE).await.exit(10).says(&["error [bucket.unversioned]: "]).says(&texts);
    assert_eq!(first.stdout, "");
    // By now the layer has been applied, and the bucket is known from the start.
    let again = project.run(&[&RELEASE[..], &["--output", "json"]].concat()).await.exit(10).json();
    assert_eq!(again["error"]["id"], "bucket.unversioned");
    let objects = bucket.list_objects_v2().bucket("small-artifacts").send().await.unwrap();
    let keys: Vec<&str> = objects.contents().iter().filter_map(|object| object.key()).collect();
    assert!(!keys.iter().any(|key| key.ends_with(".zip") || key.contains("/ledger/")), "{keys:?}");
}

/// Starts the local stage; its endpoint.
async fn local(project: &MinimalProject) -> String {
    let up = project.run(&["local", "up", "--stage", "local", "--output", "json"]).await.exit(0).json();
    up["endpoint"].as_str().unwrap().to_owned()
}

fn store(endpoint: &str, account: &str) -> s3::Client {
    s3::Client::new(&sdk::config(endpoint, account))
}

/// This very test, made to ask for a glibc that does not exist yet.
fn of_a_newer_glibc() -> Vec<u8> {
    let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let name = b"\0GLIBC_2.";
    let found: Vec<usize> =
        (0..bytes.len() - 12).filter(|at| bytes[*at..].starts_with(name) && bytes[at + 11] == 0).collect();
    assert!(!found.is_empty(), "a test that does not use glibc");
    for at in found {
        bytes[at + 9..at + 11].copy_from_slice(b"99");
    }
    bytes
}
