# Security groups. The rules are separate resources, because the two groups refer to each other and inline rules would form
# a dependency cycle.

locals {
  # The default port of Redis. The app layer does not set the port either, and explains why.
  redis_port = 6379
}

resource "aws_security_group" "lambda" {
  # checkov:skip=CKV2_AWS_5: it is attached to the functions, in the app layer
  name        = "${local.name}-lambda"
  description = "Lambda functions of ${local.name}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${local.name}-lambda" }

  # For the order of destroy: Lambda needs the policy of its role to delete the network interfaces that use this group, so the
  # group must be deleted before the policy.
  depends_on = [aws_iam_role_policy.lambda]
}

resource "aws_security_group" "redis" {
  # checkov:skip=CKV2_AWS_5: it is attached to Redis, in the app layer
  name        = "${local.name}-redis"
  description = "Redis of ${local.name}"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${local.name}-redis" }
}

# Nothing connects to a Lambda function through its network interface, so its group has no ingress rules. DNS needs no rule:
# security groups do not apply to the resolver of the VPC.

resource "aws_vpc_security_group_egress_rule" "lambda_to_redis" {
  security_group_id            = aws_security_group.lambda.id
  description                  = "Redis"
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  referenced_security_group_id = aws_security_group.redis.id
}

# Any address, because AWS APIs have no fixed ones. With endpoints, only the endpoints and S3.
resource "aws_vpc_security_group_egress_rule" "lambda_to_https" {
  count = min(local.nat_gateways, 1)

  security_group_id = aws_security_group.lambda.id
  description       = "AWS APIs"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "lambda_to_endpoints" {
  count = local.s3_endpoints

  security_group_id            = aws_security_group.lambda.id
  description                  = "Endpoints of AWS services"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints[0].id
}

resource "aws_vpc_security_group_egress_rule" "lambda_to_s3" {
  count = local.s3_endpoints

  security_group_id = aws_security_group.lambda.id
  description       = "S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3[0].prefix_list_id
}

# Redis opens no connections, so its group has no egress rules.
resource "aws_vpc_security_group_ingress_rule" "redis_from_lambda" {
  security_group_id            = aws_security_group.redis.id
  description                  = "Lambda functions"
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  referenced_security_group_id = aws_security_group.lambda.id
}
