# What this layer's choices let the functions' role do beyond base's rights, and the role of API Gateway.

data "aws_iam_policy_document" "redis_secret" {
  count = var.redis_auth_secret_arn == null ? 0 : 1

  statement {
    sid       = "ReadRedisToken"
    actions   = [local.redis_secret_is_parameter ? "ssm:GetParameter" : "secretsmanager:GetSecretValue"]
    resources = [var.redis_auth_secret_arn]
  }

  # With AWS's own keys the right to read is enough.
  dynamic "statement" {
    for_each = var.redis_auth_kms_key_arn[*]

    content {
      sid       = "DecryptRedisToken"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["${local.redis_secret_is_parameter ? "ssm" : "secretsmanager"}.${var.region}.amazonaws.com"]
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

    # X-Ray has no resources to name: AWS defines no resource-level permission for these.
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "tracing" {
  count = length(data.aws_iam_policy_document.tracing)

  name   = "tracing"
  role   = local.base.lambda_role_name
  policy = data.aws_iam_policy_document.tracing[0].json
}

# The role API Gateway invokes the functions with, be it as integration or as authorizer. With a role, no
# function needs a permission for every version that is published; with permissions, each release would
# have to add some before its switch.

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

    # Any version, and only versions: the unqualified function, which is $LATEST, is not among these.
    resources = [for arn in local.function_arns : "${arn}:*"]
  }
}

resource "aws_iam_role" "api_gateway_invoke" {
  name               = "${local.name}-api-gateway-invoke"
  description        = "API Gateway invokes the functions of ${local.name} with it"
  assume_role_policy = data.aws_iam_policy_document.assume_api_gateway.json
}

resource "aws_iam_role_policy" "api_gateway_invoke" {
  name   = "invoke-functions"
  role   = aws_iam_role.api_gateway_invoke.id
  policy = data.aws_iam_policy_document.invoke_functions.json
}
