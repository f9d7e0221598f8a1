//! The first five minutes: `init` in projects as they are found, `init --example`, and `doctor`.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use deployctl::terraform::{Driver, Layer, Terraform};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::copy_folder;
use crate::support::http;
use crate::support::program::Program;
use crate::support::provider_mirror::provider_mirror;
use crate::support::sdk;
use crate::support::stage_file::StageFile;

/// A copy of one of the projects in `tests/fixtures/init`. Its local stage, if it has one, ends with it.
struct Found {
    dir: tempfile::TempDir,
    program: Program,
}

impl Found {
    fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/init").join(name);
        copy_folder(&fixture, dir.path());
        let program = Program::new(dir.path());
        Self { dir, program }
    }

    fn in_git(name: &str) -> Self {
        let found = Self::new(name);
        sh(found.path(), "git init -q");
        found
    }

    /// The project has no lock file, so where the registry cannot be reached its user names the mirror.
    async fn with_providers(mut self) -> Self {
        if let Some(mirror) = provider_mirror().await {
            self.program = self.program.clone().with("DEPLOYCTL_PROVIDER_MIRROR", mirror);
        }
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path().join(file)).unwrap()
    }

    /// Replaces a text that a file has exactly once.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}:\n{text}");
        std::fs::write(self.path().join(file), text.replace(from, to)).unwrap();
    }

    /// `deployctl init | git apply`, and what `init` says for programs.
    async fn set_up(&self) -> Value {
        let document = self.program.run(&["init", "--output", "json"]).await.exit(0).json();
        assert_eq!((document["outcome"].as_str(), document["error"].is_null()), (Some("written"), true));
        let human = self.program.run(&["init"]).await.exit(0).says(&["was kept", "git apply"]);
        assert_eq!(human.stdout, document["patch"].as_str().unwrap(), "the patch is the result");
        apply(self.path(), &["git", "apply", "--check"], &human.stdout);
        apply(self.path(), &["git", "apply"], &human.stdout);
        document
    }

    /// The layers of `deployctl.toml`, which deployctl itself must be able to read.
    async fn layers(&self) -> Vec<String> {
        let settings: toml::Table = self.read("deployctl.toml").parse().unwrap();
        let layers = settings["layers"].as_table().unwrap().keys().cloned().collect();
        // Folders for environments have none for a local stage; `init` has read its own file in any case.
        if settings["stages"].as_table().unwrap().contains_key("local") {
            let env = self.program.run(&["local", "env", "--stage", "local"]).await;
            env.exit(2).says(&["error [local.down]"]);
        }
        layers
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if self.path().join(".deployctl/local").exists() {
            self.program.command(&["local", "down", "--stage", "local"]).into_std().status().ok();
        }
    }
}

fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn apply(dir: &Path, command: &[&str], patch: &str) {
    let mut child =
        Command::new(command[0]).args(&command[1..]).current_dir(dir).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?} of\n{patch}");
}

fn advice(document: &Value) -> String {
    let all = document["by_hand"].as_array().unwrap();
    all.iter().map(|advice| format!("{}\n{}\n", advice["what"], advice["write"])).collect()
}

/// A fixture, its layers, its functions' keys, what the patch writes to which file, and what is left to do by hand.
type Expected = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const PROJECTS: &[Expected] = &[
    (
        "flat",
        &["base", "app"],
        &["hello"],
        &[
            ("main.tf", "uri                     = replace(aws_lambda_function.hello.invoke_arn, "),
            ("main.tf", ":$${stageVariables.hello}/invocations\")"),
            ("main.tf", "    ignore_changes = [deployment_id, variables, canary_settings]"),
            ("main.tf", "    ignore_changes = [triggers]"),
            ("deployctl.tf", "    variables = { greeting = \"hello\" }"),
            ("Cargo.toml", "[profile.lambda]"),
            (".gitignore", "/.deployctl"),
        ],
        &[],
    ),
    (
        "modules",
        &["api"],
        &["function_${replace(key, \"/[^0-9A-Za-z_]/\", \"_\")}", "authorizer"],
        &[
            ("terraform/api/main.tf", "$${stageVariables.authorizer}"),
            (
                "terraform/api/main.tf",
                "artifact_key    = \"authorizer/authorizer-${var.release_version}.zip\"",
            ),
            ("terraform/modules/function/main.tf", "ignore_changes = [tags, s3_bucket, s3_key, "),
            ("terraform/modules/function/deployctl.tf", "output \"deployctl_function_name\""),
            ("terraform/api/deployctl.tf", "resource \"aws_api_gateway_stage\" \"deployctl\""),
            ("terraform/api/deployctl.tf", "  from = aws_api_gateway_deployment.this"),
            ("terraform/api/deployctl.tf", "  to       = aws_api_gateway_stage.deployctl"),
            ("deployctl.toml", "backend = \"own\""),
            ("deployctl.toml", "adopt_stage = true"),
        ],
        &["Cargo.lock is missing", "aws s3 mb s3://", "variable \\\"environment\\\""],
    ),
    (
        "layers",
        &["base", "app"],
        &["shop_${key}", "report_${key}"],
        &[
            ("terraform/app/api.tf", "replace(aws_lambda_function.shop[each.key].invoke_arn, "),
            ("terraform/app/api.tf", ":$${stageVariables.shop_${each.key}}/invocations"),
            ("terraform/app/api.tf", "$${stageVariables.report_0}"),
            ("terraform/app/api.tf", "tags, deployment_id, variables, canary_settings, # set by the billing"),
            ("terraform/app/deployctl.tf", "alias = aws_lambda_alias.live[key].name"),
            ("deployctl.toml", "bucket_output = \"code_bucket\""),
            ("deployctl.toml", "architecture = \"arm64\""),
        ],
        &["the source does not show what it runs", "does not show the account of every stage"],
    ),
    (
        "openapi",
        &["base", "app"],
        &["pets"],
        &[
            ("deployctl.tf", "functions       = local.deployctl_functions"),
            ("deployctl.toml", "dist/pets.zip"),
            ("openapi.yaml", "credentials: \"${deployctl_role}\""),
            ("openapi.yaml", ":$${stageVariables.pets}/invocations"),
            ("main.tf", "deployctl_role = aws_iam_role.deployctl_invoke.arn }"),
        ],
        &[],
    ),
    (
        "no-api",
        &["base", "app"],
        &["worker"],
        &[("main.tf", "s3_key        = \"worker/worker-${var.release_version}.zip\"")],
        &["has no aws_api_gateway_rest_api", "output \\\"deployctl\\\""],
    ),
];

#[tokio::test]
async fn projects_are_set_up_by_a_patch_that_applies_and_is_complete() {
    for &(name, layers, functions, changed, by_hand) in PROJECTS {
        let found = Found::in_git(name);
        let document = found.set_up().await;
        let names = |list: &str, field: &str| -> Vec<String> {
            let list = document["found"][list].as_array().unwrap();
            list.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("layers", "name"), layers, "{name}");
        assert_eq!(names("functions", "key"), functions, "{name}");
        for (file, text) in changed {
            assert!(
                found.read(file).contains(text),
                "{name}: {text:?} is not in {file}:\n{}",
                found.read(file)
            );
        }
        let advice = advice(&document);
        for text in by_hand {
            assert!(advice.contains(text), "{name}: {text:?} is not in\n{advice}");
        }
        assert_eq!(by_hand.is_empty(), advice.is_empty(), "{name}: {advice}");
        // What it has written, it reads; and once it has been applied, there is nothing left to change.
        assert_eq!(found.layers().await.len(), layers.len(), "{name}");
        let again = found.program.run(&["init"]).await.exit(0).says(&["files need no change"]);
        assert_eq!(again.stdout, "", "{name}");
    }
}

#[tokio::test]
async fn patched_layers_are_valid() {
    for (name, layer) in [("modules", "terraform/api"), ("layers", "terraform/app"), ("openapi", ".")] {
        let found = Found::in_git(name);
        found.set_up().await;
        let dir = found.path().join(layer);
        // No state is to be reached for this.
        std::fs::write(dir.join("override.tf"), "terraform {\n  backend \"local\" {}\n}\n").unwrap();
        let work = found.path().join("work");
        let terraform = Terraform::locate(Path::new("terraform"), &work, &CancellationToken::new()).await;
        let mut driver = Driver::new(terraform.expect("these tests need terraform on PATH"), "test", &work);
        driver.provider_mirror = provider_mirror().await;
        let layer = Layer { name: "layer".into(), dir, depends_on: Vec::new(), var_files: Vec::new() };
        driver.init_if_needed(&layer).await.unwrap();
        let diagnostics = driver.validate(&layer).await.unwrap();
        let errors: Vec<_> = diagnostics.iter().filter(|found| found.severity == "error").collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[tokio::test]
async fn the_patch_fits_below_a_repository_and_without_one() {
    // `git apply` takes paths from the repository's folder, and silently leaves out what does not lie below this one.
    let found = Found::new("no-api");
    let inner = found.path().join("services/worker");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/init/no-api"), &inner);
    sh(found.path(), "git init -q");
    let patch = Program::new(&inner).run(&["init"]).await.exit(0).stdout;
    apply(&inner, &["git", "apply"], &patch);
    assert!(inner.join("terraform/base/main.tf").exists() && inner.join("deployctl.tf").exists());

    let plain = Found::new("flat");
    let ended = plain.program.run(&["init", "--patch", "changes.patch"]).await.exit(0);
    assert_eq!(ended.stdout, "");
    apply(plain.path(), &["patch", "-s", "-p1"], &plain.read("changes.patch"));
    assert!(plain.read("main.tf").contains("stageVariables.hello"));
    // What somebody has written stays, unless it is to go.
    std::fs::write(plain.path().join("deployctl.toml"), "mine").unwrap();
    plain.program.run(&["init"]).await.exit(0);
    assert_eq!(plain.read("deployctl.toml"), "mine");
    plain.program.run(&["init", "--force"]).await.exit(0);
    plain.layers().await;
}

#[tokio::test]
async fn a_folder_without_terraform_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new(dir.path());
    program.run(&["init"]).await.exit(2).says(&["error [init.no_terraform]", "--example"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
}

#[tokio::test]
async fn the_example_is_this_project_and_builds_on_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new(dir.path());
    let document = program.run(&["init", "--example", "users", "--output", "json"]).await.exit(0).json();
    let folder = dir.path().join("users");
    let files: Vec<&str> =
        document["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    for file in files.iter().filter(|file| !["Cargo.toml", "Cargo.lock", ".gitignore"].contains(file)) {
        assert!(
            std::fs::read(folder.join(file)).unwrap() == std::fs::read(root.join(file)).unwrap(),
            "{file}"
        );
    }
    let tracked = sh(root, "git ls-files lambdas terraform deployctl.toml");
    for file in tracked.lines().filter(|file| !file.starts_with("terraform/github/")) {
        assert!(
            files.contains(&file),
            "{file} is not in the example: touch build.rs, and see that it is not filtered"
        );
    }

    // The workspace says of the Lambdas what this one does.
    let table = |path: PathBuf| std::fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let (ours, example) = (table(root.join("Cargo.toml")), table(folder.join("Cargo.toml")));
    assert_eq!(example["profile"]["lambda"], ours["profile"]["lambda"]);
    assert_eq!(example["workspace"]["package"], ours["workspace"]["package"]);
    assert_eq!(example["workspace"]["lints"], ours["workspace"]["lints"]);
    // And builds them from the same versions.
    let locked = |table: &toml::Table| -> Vec<String> {
        let packages = table["package"].as_array().unwrap().iter();
        packages.map(|p| format!("{} {} {:?}", p["name"], p["version"], p.get("checksum"))).collect()
    };
    let known = locked(&table(root.join("Cargo.lock")));
    for package in locked(&table(folder.join("Cargo.lock"))) {
        assert!(
            known.contains(&package),
            "{package}: `.ci/example-lock` makes the example's Cargo.lock anew"
        );
    }
    let metadata = sh(
        &folder,
        "cargo metadata --locked --format-version 1 2>error.log || { cat error.log >&2; exit 1; }",
    );
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["workspace_members"].as_array().unwrap().len(), 4, "`.ci/example-lock`");
    // deployctl reads its own settings: what stops this command is that no local stage runs.
    let env = Program::new(&folder).run(&["local", "env", "--stage", "local"]).await;
    env.exit(2).says(&["error [local.down]"]);

    let again = program.run(&["init", "--example", "users"]).await.exit(2);
    again.says(&["error [init.not_empty]", "nothing was written"]);
}

#[tokio::test]
async fn without_credentials_the_rest_is_checked_all_the_same() {
    let found = Found::in_git("no-api");
    found.set_up().await;
    found.edit("deployctl.toml", "# [stages.dev]\n# account", "[stages.dev]\naccount");
    found.edit("deployctl.toml", "# region = \"us-east-1\"", "region = \"us-east-1\"");
    let document = found.program.run(&["doctor", "--stage", "dev", "--output", "json"]).await.exit(10).json();
    assert_eq!(severity(&document, "account", "AWS does not accept the credentials"), "problem");
    assert_eq!(severity(&document, "tools-terraform", "Terraform"), "ok");
    assert_eq!(severity(&document, "artifacts", "worker.zip does not exist"), "problem");
    assert_eq!(severity(&document, "contract-source", "has no output \"deployctl\""), "problem");
}

/// The severity of the finding of a check that says `text`.
#[track_caller]
fn severity<'a>(document: &'a Value, check: &str, text: &str) -> &'a str {
    let findings = document["findings"].as_array().unwrap();
    let says =
        |finding: &&Value| finding["check"] == check && finding["message"].as_str().unwrap().contains(text);
    match findings.iter().find(says) {
        Some(finding) => {
            assert!(finding["severity"] == "ok" || finding["remedy"].is_string(), "no remedy: {finding}");
            finding["severity"].as_str().unwrap()
        }
        None => panic!("{check} does not say {text:?}: {document:#}"),
    }
}

/// The document of a `doctor` that ends with `code`.
async fn doctor(program: &Program, args: &[&str], code: i32) -> Value {
    program.run(&[&["doctor", "--output", "json"], args].concat()).await.exit(code).json()
}

/// From a project without deployctl to one that answers.
#[tokio::test]
async fn from_init_to_a_release_and_a_diagnosis() {
    let found = Found::in_git("flat").with_providers().await;
    found.set_up().await;
    let before = doctor(&found.program, &[], 0).await;
    assert_eq!(severity(&before, "local-stage", "is not running"), "unchecked");
    let released =
        found.program.run(&["release", "--version", "1.0.0", "--output", "json"]).await.exit(0).json();
    let url = released["url"].as_str().unwrap();
    let answer = http::client().get(format!("{url}/hello")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "hello"));

    let healthy = doctor(&found.program, &[], 0).await;
    let findings = healthy["findings"].as_array().unwrap();
    let ill: Vec<&Value> = findings.iter().filter(|finding| finding["severity"] != "ok").collect();
    assert!(ill.is_empty(), "{ill:#?}");
    let checks: std::collections::BTreeSet<&str> =
        findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    for check in [
        "account",
        "artifacts",
        "bucket-artifacts",
        "bucket-state",
        "clock",
        "functions",
        "limits-api_gateway",
        "limits-lambda",
        "open-routes",
        "ownership-api",
        "ownership-source",
        "permissions",
        "project-profile",
        "stage",
        "tools-cargo",
        "tools-python",
        "tools-redis",
        "tools-terraform",
        "tools-toolbox",
    ] {
        assert!(checks.contains(check), "{check} is not among {checks:?}");
    }

    // A release with Terraform's AWS provider takes long, so these checks share it.
    let (endpoint, rest) = url.split_once("/_aws/execute-api/").unwrap();
    let (api, _) = rest.split_once('/').unwrap();
    let config = sdk::config(endpoint, "000000000000");
    let buckets = aws_sdk_s3::Client::new(&config).list_buckets().send().await.unwrap();
    let mut names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
    let bucket = names.find(|name| name.contains("-artifacts-")).unwrap();
    attempts_change_nothing(&found, bucket).await;
    a_bucket_without_its_protection(&found, &config, bucket).await;
    terraform_and_an_api_that_are_wrong(&found, &config, api).await;
}

async fn a_bucket_without_its_protection(found: &Found, config: &aws_types::SdkConfig, bucket: &str) {
    let s3 = aws_sdk_s3::Client::new(config);
    let versioning = async |status: &str| {
        let status = aws_sdk_s3::types::BucketVersioningStatus::from(status);
        let setting = aws_sdk_s3::types::VersioningConfiguration::builder().status(status).build();
        s3.put_bucket_versioning().bucket(bucket).versioning_configuration(setting).send().await.unwrap();
    };
    versioning("Suspended").await;
    s3.delete_public_access_block().bucket(bucket).send().await.unwrap();
    let ill = doctor(&found.program, &[], 10).await;
    assert_eq!(severity(&ill, "bucket-artifacts", "is not versioned"), "warning");
    assert_eq!(severity(&ill, "bucket-artifacts", "does not block public access"), "problem");
    versioning("Enabled").await;
}

/// Terraform's source, Terraform itself, and an integration that names no version.
async fn terraform_and_an_api_that_are_wrong(found: &Found, config: &aws_types::SdkConfig, api: &str) {
    found.edit("main.tf", "    ignore_changes = [deployment_id, variables, canary_settings]\n", "");
    let script = found.path().join("old-terraform");
    std::fs::write(&script, "#!/bin/sh\necho 'Terraform v1.9.0'\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = aws_sdk_apigateway::Client::new(config);
    let resources = gateway.get_resources().rest_api_id(api).send().await.unwrap();
    let resource = resources.items().iter().find(|item| item.path() == Some("/hello")).unwrap();
    gateway
        .put_integration()
        .rest_api_id(api)
        .resource_id(resource.id().unwrap())
        .http_method("GET")
        .r#type("AWS_PROXY".into())
        .integration_http_method("POST")
        .uri("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:hello/invocations")
        .send()
        .await
        .unwrap();
    let ill = doctor(&found.program.clone().with("DEPLOYCTL_TERRAFORM", &script), &[], 10).await;
    assert_eq!(severity(&ill, "ownership-source", "does not ignore deployment_id, variables"), "problem");
    assert_eq!(severity(&ill, "tools-terraform", "1.9.0"), "problem");
    assert_eq!(severity(&ill, "ownership-api", "GET /hello calls"), "problem");
}

#[tokio::test]
async fn doctor_finds_credentials_of_another_account() {
    let found = Found::in_git("flat");
    found.set_up().await;
    let up = found.program.run(&["local", "up", "--output", "json"]).await.exit(0).json();
    let endpoint = up["endpoint"].as_str().unwrap();
    found.edit("deployctl.toml", "# [stages.dev]\n# account", "[stages.dev]\naccount");
    found.edit("deployctl.toml", "# region = \"us-east-1\"", "region = \"us-east-1\"");
    let secret = sdk::secret(endpoint);
    let foreign = found.program.clone().with("AWS_ENDPOINT_URL", endpoint);
    let foreign = foreign.with("AWS_ACCESS_KEY_ID", "222222222222").with("AWS_SECRET_ACCESS_KEY", secret);
    let ill = doctor(&foreign, &["--stage", "dev"], 10).await;
    assert_eq!(severity(&ill, "account", "are for account 222222222222"), "problem");
}

/// The attempts with which `doctor` finds out what is allowed change nothing.
async fn attempts_change_nothing(found: &Found, bucket: &str) {
    let endpoint = StageFile::of(found.path()).endpoint();
    let config = sdk::config(&endpoint, "000000000000");
    let (lambda, s3) = (aws_sdk_lambda::Client::new(&config), aws_sdk_s3::Client::new(&config));
    let code =
        async || lambda.get_function_configuration().function_name("hello").send().await.unwrap().code_sha256;
    let keys = async || {
        let listed = s3.list_objects_v2().bucket(bucket).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = (code().await, keys().await);
    found.program.run(&["doctor", "--output", "json"]).await;
    assert_eq!((code().await, keys().await), before);
}
