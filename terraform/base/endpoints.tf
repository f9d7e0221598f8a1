# The way to AWS's APIs without the internet (egress = "endpoints"): for S3 by the route tables, which costs
# nothing; for the services in endpoint_services by an interface in each private subnet, which costs by the
# hour. Function logs need none: the Lambda service delivers them past the VPC.

locals {
  endpoint_services = var.egress == "endpoints" ? toset(var.endpoint_services) : toset([])
  s3_endpoints      = var.egress == "endpoints" ? 1 : 0
}

# The functions have rights of their own; this is against credentials of another account, which could
# carry data out through an endpoint that lets everybody in.
data "aws_iam_policy_document" "endpoint" {
  for_each = var.egress == "endpoints" ? setunion(["s3"], var.endpoint_services) : toset([])

  statement {
    sid = "OwnAccountOnly"

    # An endpoint's policy only narrows what the caller's own policies give.
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
