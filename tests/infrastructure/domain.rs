//! The `dns` layer on a local stage: deployctl applies it beside an `app` layer that has no more than an API.

use std::path::Path;

use super::{files, folder};
use crate::support::minimal_project::{MinimalProject, SETTINGS};
use crate::support::{http, sdk, sigv4};

/// An app layer with what the domain needs of it.
const APP: &str = r#"
variable "region" {
  type = string
}

variable "stage" {
  type = string
}

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  backend "s3" {}
}

provider "aws" {
  region = var.region
}

resource "aws_api_gateway_rest_api" "this" {
  name = "small"
}

resource "aws_api_gateway_resource" "hello" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = "hello"
}

resource "aws_api_gateway_method" "hello" {
  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = aws_api_gateway_resource.hello.id
  http_method   = "GET"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "hello" {
  rest_api_id       = aws_api_gateway_rest_api.this.id
  resource_id       = aws_api_gateway_resource.hello.id
  http_method       = aws_api_gateway_method.hello.http_method
  type              = "MOCK"
  request_templates = { "application/json" = jsonencode({ statusCode = 200 }) }
}

resource "aws_api_gateway_method_response" "hello" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = aws_api_gateway_resource.hello.id
  http_method = aws_api_gateway_method.hello.http_method
  status_code = "200"
}

resource "aws_api_gateway_integration_response" "hello" {
  rest_api_id        = aws_api_gateway_rest_api.this.id
  resource_id        = aws_api_gateway_resource.hello.id
  http_method        = aws_api_gateway_integration.hello.http_method
  status_code        = aws_api_gateway_method_response.hello.status_code
  response_templates = { "application/json" = "by the domain" }
}

resource "aws_api_gateway_deployment" "this" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  depends_on  = [aws_api_gateway_integration_response.hello]
}

resource "aws_api_gateway_stage" "this" {
  rest_api_id   = aws_api_gateway_rest_api.this.id
  deployment_id = aws_api_gateway_deployment.this.id
  stage_name    = var.stage
}

output "deployctl" {
  value = {
    artifact_bucket = "small-artifacts"
    rest_api_id     = aws_api_gateway_rest_api.this.id
    stage_name      = aws_api_gateway_stage.this.stage_name
    invoke_url      = aws_api_gateway_stage.this.invoke_url
    functions       = { hello = { name = "small-hello", artifact = "hello" } }
  }
}
"#;

#[tokio::test]
async fn a_domain_leads_to_the_stage() {
    let project = MinimalProject::new();
    project.write("terraform/app/main.tf", APP);
    copy(&folder("dns"), &project.path().join("terraform/dns"));
    let lock = folder("app").join(".terraform.lock.hcl");
    std::fs::copy(lock, project.path().join("terraform/app/.terraform.lock.hcl")).unwrap();

    let up = project.run(&["local", "up", "--output", "json"]).await.exit(0).json();
    let endpoint = up["endpoint"].as_str().expect("an endpoint").to_owned();
    project.run(&["bootstrap"]).await.exit(0);
    // As the README says: a layer more, and variables. The zone is given, because the provider waits half a minute
    // for each change in Route 53, whoever plays it.
    let zone = made_zone(&endpoint).await;
    let local = format!(
        "local = true\n\n[stages.local.variables]\ndomain_name = \"dev.example.com\"\nzone_id = \"{zone}\"\n"
    );
    let layers = "[layers.app]\ndepends_on = [\"base\"]\n\n[layers.dns]\ndepends_on = [\"app\"]\n";
    let settings = SETTINGS.replacen("local = true\n", &local, 1);
    project.write("deployctl.toml", settings.replacen("[layers.app]\ndepends_on = [\"base\"]\n", layers, 1));
    for layer in ["app", "dns"] {
        let apply = ["terraform", layer, "--", "apply", "-auto-approve", "-input=false", "-no-color"];
        project.run(&apply).await.exit(0);
    }
    let plan = ["terraform", "dns", "--", "plan", "-detailed-exitcode", "-input=false", "-no-color"];
    project.run(&plan).await.exit(0);
    let url = project.run(&["output", "--layer", "dns", "url"]).await.exit(0).stdout;
    assert_eq!(url.trim(), "https://dev.example.com/users");

    let ask = async |host: &str, path: &str| {
        let http = http::client();
        let answer = http.get(format!("{endpoint}{path}")).header("Host", host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ask("dev.example.com", "/users/hello").await, (200, "by the domain".to_owned()));
    assert_ne!(ask("dev.example.com", "/other/hello").await.1, "by the domain");
    assert_ne!(ask("prd.example.com", "/users/hello").await.1, "by the domain");
}

/// The id of a new zone.
async fn made_zone(endpoint: &str) -> String {
    const BODY: &str = r#"<CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">
        <Name>example.com</Name><CallerReference>once</CallerReference></CreateHostedZoneRequest>"#;
    let host = endpoint.trim_start_matches("http://");
    let key = ("000000000000", &*sdk::secret(endpoint));
    let what = ("POST", host, "/2013-04-01/hostedzone", "");
    let headers = sigv4::headers(key, "route53", &sigv4::time(0), what, BODY.as_bytes());
    let http = http::client();
    let mut request = http.post(format!("{endpoint}/2013-04-01/hostedzone")).body(BODY);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap().text().await.unwrap();
    let (_, rest) = answer.split_once("<Id>/hostedzone/").unwrap_or_else(|| panic!("no zone: {answer}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for ending in [".tf", ".terraform.lock.hcl"] {
        for file in files(from, ending) {
            std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
}
