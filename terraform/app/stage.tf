# The stage and its first deployment. Terraform creates both and then lets go of what a release is:
# which deployment the stage serves, and its variables.

# A deployment is a snapshot of the API. This one is only there because a stage cannot be created without
# one; it stays, unused, for as long as the API. It has no triggers, on purpose: deployctl makes the
# deployments. One that Terraform replaced whenever the API changes would move the stage by itself,
# before the functions of the release are there, and would delete the one before it, which is the way
# back.
resource "aws_api_gateway_deployment" "bootstrap" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  description = "bootstrap by Terraform; deployctl makes the deployments of releases"

  # API Gateway takes no snapshot of a method without an integration. What else belongs to the API is not
  # named: everything that this depends on inherits create_before_destroy, and a response that is replaced so
  # is made and then deleted, because it has no id but its status.
  depends_on = [
    aws_api_gateway_integration.this,
    aws_api_gateway_integration.preflight,
  ]

  lifecycle {
    # A deployment a stage points to cannot be deleted, so a replacement has to come first.
    create_before_destroy = true
  }
}

# Without variables the stage serves nothing yet: the integrations name versions by stage variables,
# which the first switch sets. Until then API Gateway answers 500.
resource "aws_api_gateway_stage" "this" {
  # checkov:skip=CKV_AWS_73: tracing is a variable, because it is paid for by the request
  # checkov:skip=CKV_AWS_120: an answer out of a cache could be another user's, or an old release's
  # checkov:skip=CKV2_AWS_29: a firewall is the account's choice, and its rules its own; throttling is here
  # checkov:skip=CKV2_AWS_51: the certificate is for back ends that are reached over HTTP; Lambda is not

  rest_api_id   = aws_api_gateway_rest_api.this.id
  stage_name    = var.stage
  deployment_id = aws_api_gateway_deployment.bootstrap.id

  xray_tracing_enabled = var.tracing

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn

    # deploymentId tells which release served a request. (Without this block MiniStack would also show a
    # change in every plan.)
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
    # Without these the next apply would silently move the stage back to the bootstrap deployment.
    ignore_changes = [
      deployment_id,   # deployctl owns it: the release that is live
      variables,       # deployctl owns it: the version of every function in that release
      canary_settings, # deployctl owns it: a release that gets a share of the requests
    ]
  }

  # A stage that logs needs its log groups; and the integrations' role its permissions, before the first
  # request comes.
  depends_on = [
    aws_cloudwatch_log_group.execution,
    aws_iam_role_policy.api_gateway_invoke,
  ]
}

resource "aws_api_gateway_method_settings" "all" {
  # checkov:skip=CKV_AWS_225: an answer out of a cache could be another user's, or an old release's

  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "*/*"

  settings {
    metrics_enabled = true
    logging_level   = var.api_log_level

    # Would write whole requests and responses, with what they say about users, to the log.
    data_trace_enabled = false

    # Always explicit: left out, AWS applies the account's limits, but MiniStack refuses every request
    # with 429.
    throttling_rate_limit  = var.throttling.rate_limit
    throttling_burst_limit = var.throttling.burst_limit
  }
}

resource "aws_cloudwatch_log_group" "access" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with a key of its own
  # checkov:skip=CKV_AWS_338: how long is a variable

  name              = "/aws/apigateway/${local.name}/access"
  retention_in_days = var.log_retention_days
}

# API Gateway chooses this name and would make the group itself, to be kept for ever.
resource "aws_cloudwatch_log_group" "execution" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with a key of its own
  # checkov:skip=CKV_AWS_338: how long is a variable

  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.this.id}/${var.stage}"
  retention_in_days = var.log_retention_days
}
