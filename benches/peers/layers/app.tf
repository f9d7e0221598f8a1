# The layer with the contract: an API with a route for each of the functions, and one that answers by itself.

data "aws_caller_identity" "current" {}

locals {
  names = { for number in range(var.functions) : "f${number}" => "generated-f${number}" }
}

resource "aws_iam_role" "this" {
  name = "generated"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = ["lambda.amazonaws.com", "apigateway.amazonaws.com"] }
    }]
  })
}

resource "aws_lambda_function" "this" {
  for_each = local.names

  function_name = each.value
  role          = aws_iam_role.this.arn
  runtime       = "provided.al2023"
  handler       = each.key
  s3_bucket     = var.artifact_bucket
  s3_key        = "users/users-lambda-${var.release_version}.zip"
  publish       = true

  lifecycle {
    ignore_changes = [s3_bucket, s3_key, s3_object_version, source_code_hash, architectures]
  }
}

resource "aws_api_gateway_rest_api" "this" {
  name = "generated"
}

resource "aws_api_gateway_resource" "this" {
  for_each = local.names

  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = each.key
}

resource "aws_api_gateway_method" "this" {
  for_each = local.names

  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = aws_api_gateway_resource.this[each.key].id
  http_method   = "POST"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "this" {
  for_each = local.names

  rest_api_id             = aws_api_gateway_rest_api.this.id
  resource_id             = aws_api_gateway_resource.this[each.key].id
  http_method             = aws_api_gateway_method.this[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  credentials             = aws_iam_role.this.arn
  uri = join("", [
    "arn:aws:apigateway:${var.region}:lambda:path/2015-03-31/functions/arn:aws:lambda:${var.region}:",
    "${data.aws_caller_identity.current.account_id}:function:${each.value}:$${stageVariables.${each.key}}/invocations",
  ])
}

resource "aws_api_gateway_resource" "health" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = "health"
}

resource "aws_api_gateway_method" "health" {
  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = aws_api_gateway_resource.health.id
  http_method   = "GET"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "health" {
  rest_api_id       = aws_api_gateway_rest_api.this.id
  resource_id       = aws_api_gateway_resource.health.id
  http_method       = aws_api_gateway_method.health.http_method
  type              = "MOCK"
  request_templates = { "application/json" = jsonencode({ statusCode = 200 }) }

  # It has no effect. Without it, MiniStack shows a change in every plan, as it does for a stage without an access log.
  integration_http_method = "POST"
}

resource "aws_api_gateway_method_response" "health" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = aws_api_gateway_resource.health.id
  http_method = aws_api_gateway_method.health.http_method
  status_code = "200"
}

resource "aws_api_gateway_integration_response" "health" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = aws_api_gateway_resource.health.id
  http_method = aws_api_gateway_integration.health.http_method
  status_code = aws_api_gateway_method_response.health.status_code
}

resource "aws_api_gateway_deployment" "bootstrap" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  depends_on  = [aws_api_gateway_integration.this, aws_api_gateway_integration_response.health]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "this" {
  rest_api_id   = aws_api_gateway_rest_api.this.id
  stage_name    = "local"
  deployment_id = aws_api_gateway_deployment.bootstrap.id

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    format          = "$context.requestId"
  }

  lifecycle {
    ignore_changes = [deployment_id, variables, canary_settings]
  }
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/generated/access"
  retention_in_days = 14
}

output "deployctl" {
  value = {
    artifact_bucket = var.artifact_bucket
    rest_api_id     = aws_api_gateway_rest_api.this.id
    stage_name      = aws_api_gateway_stage.this.stage_name
    invoke_url      = aws_api_gateway_stage.this.invoke_url
    functions       = { for key, name in local.names : key => { name = name, artifact = "users" } }
  }
}
