//! `init` in small projects, written into a temporary folder.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio_util::sync::CancellationToken;

use super::{propose, rewrite::Proposal};
use crate::error::ErrorId;
use crate::terraform::source;

/// A project in a git repository.
struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("shop").tempdir().unwrap();
        let init = Command::new("git").args(["init", "-q"]).current_dir(dir.path()).status().unwrap();
        assert!(init.success());
        let project = Self(dir);
        files.iter().for_each(|(path, text)| project.write(path, text));
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path().join(path)).unwrap_or_else(|_| panic!("{path} is missing"))
    }

    async fn propose(&self) -> Proposal {
        propose(self.0.path(), &CancellationToken::new()).await.unwrap()
    }

    /// Applies what `init` proposes. Everything can be parsed afterwards, and a second run changes nothing.
    async fn adopt(&self) -> Proposal {
        let proposal = self.propose().await;
        self.write("deployctl.toml", &proposal.settings);
        proposal.settings.parse::<toml::Table>().unwrap();
        let mut git = Command::new("git")
            .args(["apply", "-"])
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut git.stdin.take().unwrap(), proposal.patch.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success(), "{}", proposal.patch);
        for module in source::find(self.0.path()) {
            assert!(module.unreadable.is_empty(), "{:?}", module.unreadable);
        }
        assert_eq!(self.propose().await.patch, "", "a second run");
        proposal
    }
}

fn advice(proposal: &Proposal) -> String {
    proposal
        .by_hand
        .iter()
        .map(|advice| format!("{}\n{}\n", advice.what, advice.write.as_deref().unwrap_or_default()))
        .collect()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

const PROVIDER: &str = "provider \"aws\" {\n  region = \"eu-west-1\"\n}\n";

/// A function.
fn function(name: &str, more: &str) -> String {
    format!(
        "resource \"aws_lambda_function\" \"{name}\" {{\n  function_name = \"{name}\"\n  role = \"r\"\n  handler = \"h\"\n{more}}}\n"
    )
}

/// An API with one route, which calls `uri`.
fn api(uri: &str) -> String {
    format!(
        r#"
resource "aws_api_gateway_rest_api" "api" {{
  name = "api"
}}
resource "aws_api_gateway_resource" "r" {{
  rest_api_id = aws_api_gateway_rest_api.api.id
  parent_id   = aws_api_gateway_rest_api.api.root_resource_id
  path_part   = "orders"
}}
resource "aws_api_gateway_method" "m" {{
  rest_api_id   = aws_api_gateway_rest_api.api.id
  resource_id   = aws_api_gateway_resource.r.id
  http_method   = "GET"
  authorization = "NONE"
}}
resource "aws_api_gateway_integration" "i" {{
  rest_api_id = aws_api_gateway_rest_api.api.id
  resource_id = aws_api_gateway_resource.r.id
  type        = "AWS_PROXY"
  uri         = {uri}
}}
resource "aws_api_gateway_deployment" "d" {{
  rest_api_id = aws_api_gateway_rest_api.api.id
}}
"#
    )
}

const STAGE: &str = r#"
resource "aws_api_gateway_stage" "s" {
  rest_api_id   = aws_api_gateway_rest_api.api.id
  deployment_id = aws_api_gateway_deployment.d.id
  stage_name    = "live"
}
"#;

#[tokio::test]
async fn modules_are_followed_to_the_end() {
    let route = r#"
variable "name" {}
module "fn" {
  source = "../fn"
  name   = var.name
}
resource "aws_api_gateway_integration" "this" {
  type = "AWS_PROXY"
  uri  = module.fn.invoke_arn
}
"#;
    let function = "variable \"name\" {}\nresource \"aws_lambda_function\" \"this\" {\n  function_name = var.name\n  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n}\noutput \"invoke_arn\" {\n  value = aws_lambda_function.this.invoke_arn\n}\n";
    let infra = format!(
        "{PROVIDER}module \"api\" {{\n  source = \"../modules/api\"\n}}\nmodule \"route\" {{\n  for_each = toset([\"a\", \"b-c\"])\n  source = \"../modules/route\"\n  name = each.key\n}}\n"
    );
    let api = format!("{}{STAGE}", api("\"arn:aws:apigateway:r:sqs:path/q\"").replace("AWS_PROXY", "AWS"));
    let project = Project::new(&[
        ("infra/main.tf", &infra),
        ("modules/api/main.tf", &api),
        ("modules/route/main.tf", route),
        ("modules/fn/main.tf", function),
        ("loose/main.tf", "resource \"aws_sns_topic\" \"t\" {}\n"),
        ("other/main.tf", "module \"route\" {\n  source = \"../modules/route\"\n  name = \"x\"\n}\n"),
    ]);
    let proposal = project.adopt().await;
    let found = &proposal.found;
    assert_eq!(found.functions[0].address, "module.route.module.fn.aws_lambda_function.this");
    assert_eq!(found.rest_api.as_deref(), Some("module.api.aws_api_gateway_rest_api.api"));
    assert_eq!(found.stage.as_deref(), Some("module.api.aws_api_gateway_stage.s"));
    let integration = found
        .integrations
        .iter()
        .find(|call| call.address == "module.route.aws_api_gateway_integration.this");
    assert_eq!(integration.unwrap().calls, found.functions[0].address);
    has(
        &project.read("modules/route/main.tf"),
        &[
            "var.deployctl == null ? module.fn.invoke_arn : replace(module.fn.invoke_arn, \"/invocations\", \
             \":$${stageVariables.${var.deployctl.key}}/invocations\")",
            "credentials = try(var.deployctl.role, null)",
        ],
    );
    has(
        &project.read("infra/main.tf"),
        &["deployctl = { key = \"${replace(each.key, ", "role = aws_iam_role.deployctl_invoke.arn }"],
    );
    has(
        &project.read("infra/deployctl.tf"),
        &["for key, function in module.route :", "name = function.deployctl_function_name, artifact = "],
    );
    assert_eq!(found.not_understood.len(), 1, "{:?}", found.not_understood);
    has(&found.not_understood[0], &["loose: it has resources"]);
    // No caller has to pass what it does not pass today.
    let variables = source::Module::read(&project.0.path().join("modules/route"));
    for (_, block) in variables.blocks("variable").filter(|(_, block)| block.labels[0].as_str() != "name") {
        assert!(block.body.has_attribute("default"), "{:?}", block.labels);
    }
    has(&proposal.settings, &["path = \"/orders\""]);
}

#[tokio::test]
async fn a_module_beside_the_function_gets_the_version_from_its_caller() {
    let infra = format!(
        "{PROVIDER}module \"hello\" {{\n  source = \"./fn\"\n}}\nmodule \"api\" {{\n  source = \"./api\"\n  uri = module.hello.invoke_arn\n}}\n"
    );
    let module = format!(
        "{}output \"invoke_arn\" {{\n  value = aws_lambda_function.f.invoke_arn\n}}\n",
        function("f", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n")
    );
    let api = format!("variable \"uri\" {{}}\n{}{STAGE}", api("var.uri"));
    let project = Project::new(&[("main.tf", &infra), ("fn/main.tf", &module), ("api/main.tf", &api)]);
    let proposal = project.adopt().await;
    assert_eq!(proposal.found.integrations[0].calls, "module.hello.aws_lambda_function.f");
    let key = &proposal.found.functions[0].key;
    has(
        &project.read("main.tf"),
        &[&format!(
            "uri = replace(module.hello.invoke_arn, \"/invocations\", \":$${{stageVariables.{key}}}/invocations\")"
        )],
    );
    has(
        &project.read("api/main.tf"),
        &["uri         = var.uri\n", "credentials = try(var.deployctl.role, null)"],
    );
    has(&project.read("deployctl.tf"), &["rest_api_id     = module.api.deployctl_stage.rest_api_id"]);
}

#[tokio::test]
async fn a_stage_that_its_deployment_has_created_is_kept() {
    let source = format!(
        "{PROVIDER}{}{}output \"url\" {{\n  value = aws_api_gateway_deployment.d.invoke_url\n}}\noutput \"id\" {{\n  value = aws_api_gateway_deployment.d.id\n}}\n",
        function("f", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n"),
        api("aws_lambda_function.f.invoke_arn").replace(
            "\"d\" {\n",
            "\"d\" {\n  stage_name        = \"test\"\n  stage_description = \"the stage\"\n  depends_on        = [aws_api_gateway_integration.i]\n"
        )
    );
    let project = Project::new(&[("infra/main.tf", &source), ("infra/terraform.tfstate", "{}")]);
    let proposal = project.adopt().await;
    let (main, added) = (project.read("infra/main.tf"), project.read("infra/deployctl.tf"));
    assert!(!main.contains("aws_api_gateway_deployment\" \"d\""), "{main}");
    has(
        &main,
        &[
            "value = aws_api_gateway_stage.deployctl.invoke_url",
            "value = aws_api_gateway_deployment.deployctl.id",
        ],
    );
    has(
        &added,
        &[
            "removed {\n  from = aws_api_gateway_deployment.d\n\n  lifecycle {\n    destroy = false\n",
            "resource \"aws_api_gateway_deployment\" \"deployctl\" {",
            "depends_on  = [aws_api_gateway_integration.i]",
            "stage_name    = \"test\"",
            "description   = \"the stage\"",
            "to       = aws_api_gateway_stage.deployctl",
            "id       = \"${aws_api_gateway_rest_api.api.id}/test\"",
        ],
    );
    has(&proposal.settings, &["backend = \"own\"", "adopt_stage = true", "artifact_bucket = "]);
}

#[tokio::test]
async fn folders_of_environments_are_one_layer() {
    let module = format!(
        "variable \"env\" {{}}\n{}{}{STAGE}",
        function("f", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n"),
        api("aws_lambda_function.f.invoke_arn")
    );
    let env = |name: &str| {
        format!(
            "terraform {{\n  backend \"s3\" {{\n    bucket = \"b\"\n    key = \"{name}\"\n    profile = \"acme\"\n  }}\n}}\n{PROVIDER}module \"app\" {{\n  source = \"../../modules/app\"\n  env = \"{name}\"\n}}\n"
        )
    };
    let project = Project::new(&[
        ("modules/app/main.tf", &module),
        ("envs/dev/main.tf", &env("dev")),
        ("envs/test/main.tf", &env("test")),
        (
            "envs/prod/main.tf",
            &format!("{}module \"alarms\" {{\n  source = \"../../modules/alarms\"\n}}\n", env("prod")),
        ),
        ("modules/alarms/main.tf", "resource \"aws_sns_topic\" \"t\" {}\n"),
    ]);
    let proposal = project.adopt().await;
    assert_eq!(proposal.found.layers.len(), 1);
    assert_eq!(proposal.found.stages, ["dev", "prod", "test"]);
    has(
        &proposal.settings,
        &["path = \"envs/{stage}\"", "[stages.test]", "backend = \"own\"", "default_stage = \"dev\""],
    );
    for stage in ["dev", "prod", "test"] {
        has(&project.read(&format!("envs/{stage}/deployctl.tf")), &["output \"deployctl\""]);
        has(&project.read(&format!("envs/{stage}/main.tf")), &["role = aws_iam_role.deployctl_invoke.arn"]);
    }
    has(&advice(&proposal), &["its backend sets profile = \"acme\""]);
}

#[tokio::test]
async fn backends_variables_and_workspaces_become_stages() {
    let source = format!(
        "terraform {{\n  backend \"s3\" {{}}\n}}\n{PROVIDER}{}{}{STAGE}",
        function("f", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n"),
        api("aws_lambda_function.f.invoke_arn")
    );
    let project = Project::new(&[
        ("infra/main.tf", &source),
        ("infra/dev.s3.tfbackend", "bucket = \"b\"\n"),
        ("backend/prod.hcl", "bucket = \"b\"\n"),
    ]);
    let settings = project.adopt().await.settings;
    has(
        &settings,
        &[
            "backend = \"own\"",
            "[stages.dev]",
            "\"infra/dev.s3.tfbackend\"",
            "[stages.prod]",
            "\"backend/prod.hcl\"",
        ],
    );

    let project = Project::new(&[
        ("infra/main.tf", &source),
        (
            "infra/.terraform/terraform.tfstate",
            "{\"backend\":{\"type\":\"s3\",\"config\":{\"bucket\":\"b\",\"key\":\"k\",\"secret_key\":\"x\",\"profile\":null}}}",
        ),
    ]);
    let settings = project.adopt().await.settings;
    has(&settings, &["backend_config = [\"bucket=b\", \"key=k\"]"]);

    let project = Project::new(&[
        ("infra/main.tf", &source.replace("\"live\"", "terraform.workspace")),
        ("infra/vars/dev.tfvars", "x = 1\n"),
        ("infra/vars/prod.tfvars", "x = 1\n"),
    ]);
    let settings = project.adopt().await.settings;
    has(&settings, &["workspace = \"prod\"", "var_files = [\"infra/vars/{stage}.tfvars\"]"]);
}

#[tokio::test]
async fn each_function_keeps_its_own_code() {
    let source = format!(
        "{PROVIDER}{}{}{}{}data \"archive_file\" \"node\" {{\n  type = \"zip\"\n  source_dir = \"${{path.module}}/../src/node\"\n  output_path = \"${{path.module}}/../dist/node.zip\"\n}}\n{}{STAGE}",
        function(
            "orders",
            "  runtime = \"provided.al2023\"\n  filename = \"../target/lambda/orders/bootstrap.zip\"\n"
        ),
        function(
            "auth",
            "  runtime = \"python3.12\"\n  filename = \"${path.module}/../authorizer/auth.zip\"\n"
        ),
        function("node", "  runtime = \"nodejs22.x\"\n  filename = data.archive_file.node.output_path\n"),
        function(
            "web",
            "  package_type = \"Image\"\n  image_uri = \"1.dkr.ecr.r.amazonaws.com/web@sha256:00\"\n"
        ),
        api("aws_lambda_function.orders.invoke_arn")
    );
    let manifest = |name: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nlambda_http = \"1\"\n"
        )
    };
    let project = Project::new(&[
        ("infra/main.tf", &source),
        ("lambda/Cargo.toml", "[workspace]\nmembers = [\"orders\"]\nresolver = \"3\"\n"),
        ("lambda/orders/Cargo.toml", &manifest("orders")),
        ("lambda/orders/src/main.rs", "fn main() {}\n"),
    ]);
    let proposal = project.adopt().await;
    let settings: toml::Table = proposal.settings.parse().unwrap();
    let artifact = |name: &str, key: &str| settings["artifacts"][name][key].as_str().unwrap().to_owned();
    assert_eq!(artifact("orders", "package"), "orders");
    assert_eq!(artifact("auth", "path"), "authorizer/auth.zip");
    assert_eq!(artifact("node", "path"), "dist/node.zip");
    assert_eq!(artifact("web", "image"), "1.dkr.ecr.r.amazonaws.com/web@sha256:00");
    has(
        &advice(&proposal),
        &["(cd src/node && rm -f \"$OLDPWD/dist/node.zip\" && zip -q -X -r \"$OLDPWD/dist/node.zip\" .)"],
    );
    let source = project.read("infra/main.tf");
    has(&source, &["ignore_changes = [image_uri]", "auth/auth-${var.release_version}.zip"]);
}

#[tokio::test]
async fn openapi_documents_are_changed() {
    let source = |body: &str| {
        format!(
            "{PROVIDER}{}resource \"aws_api_gateway_rest_api\" \"api\" {{\n  name = \"api\"\n  body = {body}\n}}\nresource \"aws_api_gateway_deployment\" \"d\" {{\n  rest_api_id = aws_api_gateway_rest_api.api.id\n}}\n{STAGE}",
            function("pets", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n")
        )
    };
    let yaml = |uri: &str| {
        format!(
            "paths:\n  /pets:\n    get:\n      x-amazon-apigateway-integration:\n        type: aws_proxy\n        uri: {uri}\n  /ping:\n    get:\n      x-amazon-apigateway-integration:\n        type: mock\n        uri: x\n"
        )
    };
    for (body, document, expected) in [
        (
            "templatefile(\"${path.module}/api.yaml\", { pets = aws_lambda_function.pets.invoke_arn })",
            yaml("${pets}"),
            "        credentials: \"${deployctl_role}\"\n        uri: ${replace(pets, \"/invocations\", \":$${stageVariables.pets}/invocations\")}\n",
        ),
        (
            "templatefile(\"${path.module}/api.yaml\", {\n    region = \"r\"\n    pets   = aws_lambda_function.pets.arn\n  })",
            yaml("arn:aws:apigateway:${region}:lambda:path/2015-03-31/functions/${pets}/invocations"),
            "uri: arn:aws:apigateway:${region}:lambda:path/2015-03-31/functions/${pets}:$${stageVariables.pets}/invocations\n",
        ),
        (
            "file(\"${path.module}/api.yaml\")",
            yaml(
                "\"arn:aws:apigateway:r:lambda:path/2015-03-31/functions/arn:aws:lambda:r:1:function:pets/invocations\"",
            ),
            "        credentials: \"DEPLOYCTL_ROLE\"\n        uri: \"arn:aws:apigateway:r:lambda:path/2015-03-31/functions/arn:aws:lambda:r:1:function:pets:${stageVariables.pets}/invocations\"\n",
        ),
    ] {
        let project = Project::new(&[("main.tf", &source(body)), ("api.yaml", &document)]);
        let proposal = project.adopt().await;
        has(&project.read("api.yaml"), &[expected]);
        has(&project.read("main.tf"), &["aws_iam_role.deployctl_invoke.arn"]);
        assert_eq!(advice(&proposal), "", "{body}");
        has(&proposal.settings, &["path = \"/pets\""]);
        assert!(proposal.found.integrations.iter().any(|call| call.calls == "aws_lambda_function.pets"));
    }
    let inline = "jsonencode({\n    paths = { \"/pets\" = { get = { x-amazon-apigateway-integration = {\n      uri = aws_lambda_function.pets.invoke_arn\n    } } } }\n  })";
    let project = Project::new(&[("main.tf", &source(inline))]);
    project.adopt().await;
    has(
        &project.read("main.tf"),
        &[
            "credentials = aws_iam_role.deployctl_invoke.arn\nuri = replace(aws_lambda_function.pets.invoke_arn",
        ],
    );
}

#[tokio::test]
async fn what_cannot_be_changed_is_named() {
    let json = serde_json::json!({ "resource": { "aws_lambda_function": { "f": {
        "function_name": "f", "runtime": "provided.al2023", "filename": "f.zip" } } } });
    let source = format!(
        "{PROVIDER}{}{STAGE}module \"far\" {{\n  source = \"terraform-aws-modules/lambda/aws\"\n}}\n",
        api("aws_lambda_function.f.invoke_arn")
    );
    let project = Project::new(&[
        ("main.tf", &source),
        ("f.tf.json", &json.to_string()),
        ("override.tf", "resource \"aws_api_gateway_stage\" \"s\" {\n  description = \"x\"\n}\n"),
    ]);
    let proposal = project.propose().await;
    let text = advice(&proposal);
    has(
        &text,
        &[
            "f.tf.json is JSON",
            "module.far: the module terraform-aws-modules/lambda/aws is not here",
            "aws_api_gateway_stage.s: override.tf overrides it",
        ],
    );
    assert_eq!(proposal.found.not_understood.len(), 2, "{:?}", proposal.found.not_understood);
    assert!(!proposal.patch.contains("f.tf.json"));

    // Once `terraform init` has downloaded it, it is read.
    project.write(
        ".terraform/modules/modules.json",
        "{\"Modules\":[{\"Key\":\"far\",\"Source\":\"x\",\"Dir\":\".terraform/modules/far\"}]}",
    );
    project.write(".terraform/modules/far/main.tf", &function("this", ""));
    has(&advice(&project.propose().await), &["module.far.aws_lambda_function.this is not released"]);
}

#[tokio::test]
async fn an_http_api_is_refused() {
    let source = format!("{PROVIDER}resource \"aws_apigatewayv2_api\" \"web\" {{\n  name = \"web\"\n}}\n");
    let project = Project::new(&[("main.tf", &source)]);
    let error = propose(project.0.path(), &CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.id, error.kind.exit_code()), (ErrorId::InitHttpApi, 2));
    assert!(!Path::new(&project.0.path().join("deployctl.toml")).exists());
}

#[tokio::test]
async fn aliases_and_streams_get_the_version_of_the_release() {
    let source = format!(
        "{PROVIDER}{}resource \"aws_lambda_alias\" \"live\" {{\n  name = \"live\"\n  function_name = aws_lambda_function.f.function_name\n  function_version = aws_lambda_function.f.version\n}}\nresource \"aws_lambda_provisioned_concurrency_config\" \"live\" {{\n  function_name = aws_lambda_function.f.function_name\n  qualifier = aws_lambda_alias.live.name\n  provisioned_concurrent_executions = 1\n}}\n{}{STAGE}",
        function("f", "  runtime = \"provided.al2023\"\n  filename = \"f.zip\"\n"),
        api("aws_lambda_alias.live.invoke_arn")
    );
    let project = Project::new(&[("main.tf", &source)]);
    let proposal = project.adopt().await;
    let main = project.read("main.tf");
    has(
        &main,
        &[
            "replace(aws_lambda_function.f.invoke_arn, \"/invocations\"",
            "ignore_changes = [function_version, routing_config]",
        ],
    );
    has(&project.read("deployctl.tf"), &["alias = aws_lambda_alias.live.name"]);
    has(
        &advice(&proposal),
        &["aws_lambda_provisioned_concurrency_config.live: the API calls the version of the release"],
    );

    let source = source
        .replace("aws_lambda_alias.live.invoke_arn", "aws_lambda_function.f.response_streaming_invoke_arn");
    let project = Project::new(&[("main.tf", &source)]);
    project.adopt().await;
    has(
        &project.read("main.tf"),
        &["\"/response-streaming-invocations\", \":$${stageVariables.f}/response-streaming-invocations\""],
    );
}
