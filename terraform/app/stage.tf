# The stage and its first deployment. Terraform creates both. After that, deployctl changes the stage's deployment and
# its variables.

# A deployment is a snapshot of the API. This one exists because a stage cannot be created without a deployment. It is
# unused after the first release. It has no triggers: deployctl creates the deployments of releases. If Terraform replaced
# the deployment after each change of the API, it would switch the stage before the functions of the release exist, and
# delete the previous deployment, which a rollback needs.
resource "aws_api_gateway_deployment" "bootstrap" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  description = "bootstrap by Terraform; deployctl makes the deployments of releases"

  # API Gateway rejects a deployment of a method without an integration. Other parts of the API are not listed: a
  # dependency inherits create_before_destroy, and a response would be created and then deleted when it is replaced,
  # because its status is its only id.
  depends_on = [
    aws_api_gateway_integration.this,
    aws_api_gateway_integration.preflight,
  ]

  lifecycle {
    # A deployment that a stage uses cannot be deleted, so a replacement must be created first.
    create_before_destroy = true
  }
}

# A new stage has no variables. The integrations refer to function versions by stage variables, so API Gateway answers 500
# until the first release sets them.
resource "aws_api_gateway_stage" "this" {
  # checkov:skip=CKV_AWS_73: tracing is a variable, because each traced request costs money
  # checkov:skip=CKV_AWS_120: a cached response could belong to another user or to an old release
  # checkov:skip=CKV2_AWS_29: WAF rules are chosen per account; the stage has throttling
  # checkov:skip=CKV2_AWS_51: a client certificate is for HTTP back ends, not for Lambda

  rest_api_id   = aws_api_gateway_rest_api.this.id
  stage_name    = var.stage
  deployment_id = aws_api_gateway_deployment.bootstrap.id

  xray_tracing_enabled = var.tracing

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn

    # deploymentId identifies the release that served a request. Without this block, MiniStack shows a change in every
    # plan.
    format = jsonencode({
      requestId          = "$context.requestId"
      requestTime        = "$context.requestTime"
      deploymentId       = "$context.deploymentId"
      sourceIp           = "$context.identity.sourceIp"
      httpMethod         = "$context.httpMethod"
      resourcePath       = "$context.resourcePath"
      path               = "$context.path"
      protocol           = "$context.protocol"
      status             = "$context.status"
      responseLength     = "$context.responseLength"
      responseLatency    = "$context.responseLatency"
      integrationStatus  = "$context.integration.status"
      integrationLatency = "$context.integrationLatency"
      integrationError   = "$context.integration.error"
      authorizerError    = "$context.authorizer.error"
      errorMessage       = "$context.error.message"
    })
  }

  lifecycle {
    # Without these, the next apply would switch the stage back to the bootstrap deployment.
    ignore_changes = [
      deployment_id,   # deployctl owns it: the deployment of the live release
      variables,       # deployctl owns it: the function versions of the live release
      canary_settings, # deployctl owns it: a release that gets a part of the requests
    ]
  }

  # The log groups must exist before API Gateway writes to them, and the permissions of the role before the first
  # request.
  depends_on = [
    aws_cloudwatch_log_group.execution,
    aws_iam_role_policy.api_gateway_invoke,
  ]
}

resource "aws_api_gateway_method_settings" "all" {
  # checkov:skip=CKV_AWS_225: a cached response could belong to another user or to an old release

  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "*/*"

  settings {
    metrics_enabled = true
    logging_level   = var.api_log_level

    # Off: it would log complete requests and responses, which contain user data.
    data_trace_enabled = false

    # Always set: without a limit, AWS applies that of the account, but MiniStack answers every request with 429.
    throttling_rate_limit  = var.throttling.rate_limit
    throttling_burst_limit = var.throttling.burst_limit
  }
}

# A limit for each method by itself: whoever calls one of them too often, with credentials or without, gets 429 there, and
# the others still answer. API Gateway counts a request before it asks the authorizer.
resource "aws_api_gateway_method_settings" "method" {
  # checkov:skip=CKV_AWS_225: a cached response could belong to another user or to an old release

  for_each = aws_api_gateway_method.this

  rest_api_id = each.value.rest_api_id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "${trimprefix(local.resources[local.routes[each.key].resource].path, "/")}/${each.value.http_method}"

  # A method takes nothing from the settings for all methods.
  settings {
    metrics_enabled        = true
    logging_level          = var.api_log_level
    data_trace_enabled     = false
    throttling_rate_limit  = var.throttling.rate_limit
    throttling_burst_limit = var.throttling.burst_limit
  }
}

resource "aws_cloudwatch_log_group" "access" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with its default key
  # checkov:skip=CKV_AWS_338: the retention is a variable

  name              = "/aws/apigateway/${local.name}/access"
  retention_in_days = var.log_retention_days
}

# API Gateway requires this name. Without this resource it would create the log group itself, without a retention.
resource "aws_cloudwatch_log_group" "execution" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with its default key
  # checkov:skip=CKV_AWS_338: the retention is a variable

  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.this.id}/${var.stage}"
  retention_in_days = var.log_retention_days
}
