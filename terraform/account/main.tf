# The CloudWatch role of API Gateway: one setting for all APIs of an account in a region. Without it, API Gateway refuses a
# stage that writes logs. It belongs to no stage: a stage that is destroyed would take the logs of the others with it.

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
  name               = "${var.project}-api-gateway-logs-${var.region}"
  description        = "API Gateway writes access and execution logs with it"
  assume_role_policy = data.aws_iam_policy_document.assume_api_gateway.json
}

# The AWS managed policy for this purpose. API Gateway checks these permissions when the role is set.
resource "aws_iam_role_policy_attachment" "api_gateway_logs" {
  role       = aws_iam_role.api_gateway_logs.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

resource "aws_api_gateway_account" "this" {
  cloudwatch_role_arn = aws_iam_role.api_gateway_logs.arn

  depends_on = [aws_iam_role_policy_attachment.api_gateway_logs]
}
