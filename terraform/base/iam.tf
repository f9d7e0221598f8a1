# Two roles: the execution role of the functions, and the role with which API Gateway writes its logs. The role with which
# API Gateway invokes the functions is in the app layer.

locals {
  # Patterns for the names of the functions in the app layer. A new method of one of the two resources matches them, too.
  function_patterns = ["${local.name}-users-*", "${local.name}-user-*", "${local.name}-authorizer"]

  # The calls with which the Lambda service attaches functions to the VPC.
  network_interface_actions = [
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ]

  # AWS defines no resource-level permissions for these actions.
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
  # No logs:CreateLogGroup: Terraform creates the log groups with a retention. A log group that a function creates has
  # none.
  statement {
    sid     = "WriteOwnLogs"
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]

    resources = [
      for pattern in local.function_patterns :
      "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:/aws/lambda/${pattern}:*"
    ]
  }

  # The network interfaces do not exist yet, so their ids are unknown. When a function is created, Lambda checks the
  # permission to delete interfaces, and requires it for any id.
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

  # The Lambda service needs the permissions above to attach the functions to the VPC. The code of the functions has the
  # same role and does not need them, so its calls are denied.
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
  name                 = "${local.name}-lambda"
  description          = "Lambda functions of ${local.name}"
  assume_role_policy   = data.aws_iam_policy_document.assume_lambda.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "lambda" {
  name   = "lambda"
  role   = aws_iam_role.lambda.id
  policy = data.aws_iam_policy_document.lambda.json
}

# Earlier versions of this layer set API Gateway's CloudWatch role. It is a setting of the account, which terraform/account
# makes; a stage that has it forgets it, and deletes nothing.

removed {
  from = aws_api_gateway_account.this

  lifecycle {
    destroy = false
  }
}

removed {
  from = aws_iam_role_policy_attachment.api_gateway_logs

  lifecycle {
    destroy = false
  }
}

removed {
  from = aws_iam_role.api_gateway_logs

  lifecycle {
    destroy = false
  }
}
