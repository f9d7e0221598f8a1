# Permissions of the functions' role that depend on variables of this layer, and the role of API Gateway.

data "aws_iam_policy_document" "redis_secret" {
  count = var.redis_auth_secret_arn == null ? 0 : 1

  statement {
    sid       = "ReadRedisToken"
    actions   = [local.redis_secret_is_parameter ? "ssm:GetParameter" : "secretsmanager:GetSecretValue"]
    resources = [var.redis_auth_secret_arn]
  }

  # A secret that is encrypted with an AWS managed key needs no permission for the key.
  dynamic "statement" {
    for_each = var.redis_auth_kms_key_arn[*]

    content {
      sid       = "DecryptRedisToken"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["${local.redis_secret_is_parameter ? "ssm" : "secretsmanager"}.${var.region}.${local.dns_suffix}"]
      }
    }
  }
}

resource "aws_iam_role_policy" "redis_secret" {
  count = length(data.aws_iam_policy_document.redis_secret)

  name   = "redis-secret"
  role   = local.base.lambda_role_name
  policy = data.aws_iam_policy_document.redis_secret[0].json
}

data "aws_iam_policy_document" "tracing" {
  count = var.tracing ? 1 : 0

  statement {
    sid     = "WriteTraces"
    actions = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]

    # AWS defines no resource-level permissions for these actions.
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "tracing" {
  count = length(data.aws_iam_policy_document.tracing)

  name   = "tracing"
  role   = local.base.lambda_role_name
  policy = data.aws_iam_policy_document.tracing[0].json
}

# The role with which API Gateway invokes the functions and the authorizer. Without a role, each release would have to add
# a resource-based permission for every published version before the switch.

data "aws_iam_policy_document" "assume_api_gateway" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "invoke_functions" {
  statement {
    sid     = "InvokeAnyVersion"
    actions = ["lambda:InvokeFunction"]

    # Any version, but not the unqualified function, which is $LATEST.
    resources = [for arn in local.function_arns : "${arn}:*"]
  }
}

resource "aws_iam_role" "api_gateway_invoke" {
  name                 = "${local.name}-api-gateway-invoke"
  description          = "API Gateway invokes the functions of ${local.name} with it"
  assume_role_policy   = data.aws_iam_policy_document.assume_api_gateway.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "api_gateway_invoke" {
  name   = "invoke-functions"
  role   = aws_iam_role.api_gateway_invoke.id
  policy = data.aws_iam_policy_document.invoke_functions.json
}
