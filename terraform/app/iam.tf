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
