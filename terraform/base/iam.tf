# Two roles: the one the functions run with, and the one API Gateway writes its logs with. The role API
# Gateway *invokes* the functions with is in the app layer, where the functions are.

locals {
  # The names the app layer gives its functions. Patterns, so that a new method on a user or on all users
  # needs no change here.
  function_patterns = ["${local.name}-users-*", "${local.name}-user-*", "${local.name}-authorizer"]

  # The calls with which the Lambda service attaches functions to the VPC.
  network_interface_actions = [
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ]

  # These exist for all resources only: AWS defines no resource-level permission for them.
  network_describe_actions = [
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
  ]
}

data "aws_iam_policy_document" "assume_lambda" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "lambda" {
  # No logs:CreateLogGroup: Terraform creates the groups, with a retention. A function that could create
  # its own would leave one that is kept, and paid for, for ever.
  statement {
    sid     = "WriteOwnLogs"
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]

    resources = [
      for pattern in local.function_patterns :
      "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:/aws/lambda/${pattern}:*"
    ]
  }

  # The interfaces do not exist yet when this is written, so their ids cannot be named. Lambda checks
  # the permission to delete them when a function is created, and wants it for any id.
  statement {
    sid       = "AttachToVpc"
    actions   = local.network_interface_actions
    resources = ["arn:${local.partition}:ec2:${var.region}:${local.account_id}:*/*"]
  }

  statement {
    sid       = "SeeVpc"
    actions   = local.network_describe_actions
    resources = ["*"]
  }

  # The above is for the Lambda service, which uses this role to attach the functions. The code inside a
  # function has the same role and no business with the network: calls that come from it are denied.
  statement {
    sid       = "NotFromFunctionCode"
    effect    = "Deny"
    actions   = concat(local.network_interface_actions, local.network_describe_actions)
    resources = ["*"]

    condition {
      test     = "ArnLike"
      variable = "lambda:SourceFunctionArn"
      values = [
        for pattern in local.function_patterns :
        "arn:${local.partition}:lambda:${var.region}:${local.account_id}:function:${pattern}"
      ]
    }
  }
}

resource "aws_iam_role" "lambda" {
  name               = "${local.name}-lambda"
  description        = "Lambda functions of ${local.name}"
  assume_role_policy = data.aws_iam_policy_document.assume_lambda.json
}

resource "aws_iam_role_policy" "lambda" {
  name   = "lambda"
  role   = aws_iam_role.lambda.id
  policy = data.aws_iam_policy_document.lambda.json
}

data "aws_iam_policy_document" "assume_api_gateway" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  name               = "${local.name}-api-gateway-logs"
  description        = "API Gateway writes access and execution logs with it"
  assume_role_policy = data.aws_iam_policy_document.assume_api_gateway.json
}

# AWS's own policy for this purpose: API Gateway tests the role for just these permissions when it is set.
resource "aws_iam_role_policy_attachment" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  role       = aws_iam_role.api_gateway_logs[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

# A setting of the account in this region, not of one API; without it a stage with logs is refused.
# Destroying it only forgets it, as in all 5.x providers: other APIs of the account may rely on it.
resource "aws_api_gateway_account" "this" {
  count = var.manage_api_gateway_account ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.api_gateway_logs[0].arn

  depends_on = [aws_iam_role_policy_attachment.api_gateway_logs]
}
