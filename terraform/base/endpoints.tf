# VPC endpoints for AWS APIs, without a route to the internet (egress = "endpoints"): a gateway endpoint for S3, which is
# free, and an interface endpoint in each private subnet for each of endpoint_services, which is billed by the hour. The
# logs of the functions need no endpoint: the Lambda service delivers them.

locals {
  endpoint_services = var.egress == "endpoints" ? toset(var.endpoint_services) : toset([])
  s3_endpoints      = var.egress == "endpoints" ? 1 : 0
}

# The permissions of the functions are in their role. This policy denies credentials of other accounts, which could be used
# to copy data to another account through the endpoint.
data "aws_iam_policy_document" "endpoint" {
  for_each = var.egress == "endpoints" ? setunion(["s3"], var.endpoint_services) : toset([])

  statement {
    sid = "OwnAccountOnly"

    # The policy of an endpoint can only restrict the caller's permissions.
    actions   = ["${split(".", each.key)[0]}:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_vpc_endpoint" "s3" {
  count = local.s3_endpoints

  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = aws_route_table.private[*].id
  policy            = data.aws_iam_policy_document.endpoint["s3"].json

  tags = { Name = "${local.name}-s3" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.endpoint_services

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = [for zone in local.zones : aws_subnet.private[zone].id]
  security_group_ids  = [aws_security_group.endpoints[0].id]
  private_dns_enabled = true
  policy              = data.aws_iam_policy_document.endpoint[each.key].json

  tags = { Name = "${local.name}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  # checkov:skip=CKV2_AWS_5: it is attached, to the endpoints above
  count = local.s3_endpoints

  name        = "${local.name}-endpoints"
  description = "Endpoints of AWS services in ${local.name}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${local.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_lambda" {
  count = local.s3_endpoints

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "Lambda functions"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.lambda.id
}
