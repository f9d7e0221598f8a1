# Rules for every stage, planned and applied with a mock provider.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c", "eu-west-1d"] }
  }

  # A mock provider does not render policies, so the tests read the statements of the data sources.
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::users-dev-artifacts-111111111111" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/users-dev" }
  }
}

variables {
  project = "users"
  stage   = "dev"
  region  = "eu-west-1"
}

run "the_bucket_is_private" {
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.artifacts.block_public_acls,
      aws_s3_bucket_public_access_block.artifacts.block_public_policy,
      aws_s3_bucket_public_access_block.artifacts.ignore_public_acls,
      aws_s3_bucket_public_access_block.artifacts.restrict_public_buckets,
    ])
    error_message = "the bucket could be made public"
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.artifacts.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "ACLs could make objects public"
  }

  assert {
    condition     = aws_s3_bucket_versioning.artifacts.versioning_configuration[0].status == "Enabled"
    error_message = "an overwritten artifact would be lost"
  }

  assert {
    condition = (
      length(data.aws_iam_policy_document.artifacts.statement) == 1 &&
      alltrue([for statement in data.aws_iam_policy_document.artifacts.statement : alltrue([
        statement.effect == "Deny",
        toset(statement.actions) == toset(["s3:*"]),
        toset(statement.resources) == toset([aws_s3_bucket.artifacts.arn, "${aws_s3_bucket.artifacts.arn}/*"]),
        one(statement.principals).type == "*",
        one(statement.condition).variable == "aws:SecureTransport",
        one(statement.condition).values == tolist(["false"]),
      ])])
    )
    error_message = "the bucket policy must deny access without TLS, and allow nothing"
  }

  assert {
    condition     = !aws_s3_bucket.artifacts.force_destroy
    error_message = "by default, a bucket with releases must not be deleted"
  }
}

run "another_account_may_read_what_is_promoted_to_it" {
  variables {
    artifact_bucket_readers = ["222222222222"]
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.artifacts.statement : alltrue([
        statement.sid == "Promote",
        toset(statement.actions) == toset(["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"]),
        one(statement.principals).identifiers == toset(["arn:aws:iam::222222222222:root"]),
      ]) if statement.effect != "Deny"
    ])
    error_message = "the other account must be able to read, and nothing else must be allowed"
  }
}

run "no_policy_says_everything" {
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.lambda.statement :
      alltrue([for action in statement.actions : !strcontains(action, "*")])
    ])
    error_message = "an action contains a wildcard"
  }

  # AWS has no resource-level permissions for the two Describe actions; the Deny statement applies to all resources.
  assert {
    condition = toset(flatten([
      for statement in data.aws_iam_policy_document.lambda.statement :
      statement.actions if contains(statement.resources, "*") && statement.effect != "Deny"
    ])) == toset(["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"])
    error_message = "an action with resource-level permissions is allowed for all resources"
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.lambda.statement : [
        for resource in statement.resources :
        can(regex("^arn:aws:logs:eu-west-1:111111111111:log-group:/aws/lambda/users-dev-[^:]+:[*]$", resource))
      ] if statement.sid == "WriteOwnLogs"
    ]))
    error_message = "the functions could write to other log groups"
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.lambda.statement :
      one(statement.condition).variable if statement.effect == "Deny"
    ]) == "lambda:SourceFunctionArn"
    error_message = "the code of a function could change network interfaces"
  }
}

run "redis_is_reached_by_the_functions_only" {
  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.redis_from_lambda.referenced_security_group_id == aws_security_group.lambda.id &&
      aws_vpc_security_group_ingress_rule.redis_from_lambda.cidr_ipv4 == null &&
      aws_vpc_security_group_ingress_rule.redis_from_lambda.from_port == output.redis_port
    )
    error_message = "something else could reach Redis"
  }

  assert {
    condition     = length(coalesce(aws_default_security_group.this.ingress, [])) + length(coalesce(aws_default_security_group.this.egress, [])) == 0
    error_message = "the default security group of the VPC allows traffic"
  }
}

run "one_nat_gateway" {
  assert {
    condition = (
      length(aws_nat_gateway.this) == 1 && length(output.nat_public_ips) == 1 &&
      length(aws_route_table.private) == 1 && length(distinct(values(aws_route_table_association.private)[*].route_table_id)) == 1
    )
    error_message = "there must be one NAT gateway for all private subnets"
  }

  assert {
    condition     = length(aws_vpc_endpoint.s3) + length(aws_vpc_endpoint.interface) == 0
    error_message = "there must be no endpoints unless they are enabled"
  }

  assert {
    condition     = length(output.private_subnet_ids) == 3 && length(output.public_subnet_ids) == 3
    error_message = "there must be three zones"
  }
}

run "a_nat_gateway_in_each_zone" {
  variables {
    egress = "nat_per_zone"
  }

  assert {
    condition = (
      length(aws_nat_gateway.this) == 3 && length(output.nat_public_ips) == 3 &&
      length(distinct(aws_nat_gateway.this[*].subnet_id)) == 3
    )
    error_message = "there must be three NAT gateways in three subnets"
  }

  assert {
    condition = (
      length(distinct(values(aws_route_table_association.private)[*].route_table_id)) == 3 &&
      length(distinct(aws_route.private_nat[*].nat_gateway_id)) == 3
    )
    error_message = "each zone must use its own NAT gateway"
  }

  assert {
    condition     = output.nat_public_ips[0] == run.one_nat_gateway.nat_public_ips[0]
    error_message = "the first NAT gateway must keep its address when others are added"
  }
}

run "endpoints_instead_of_the_internet" {
  variables {
    egress            = "endpoints"
    endpoint_services = ["ssm", "xray"]
  }

  assert {
    condition = (
      length(aws_nat_gateway.this) + length(aws_eip.nat) + length(aws_internet_gateway.this) +
      length(aws_subnet.public) + length(aws_route.private_nat) == 0 && length(output.nat_public_ips) == 0
    )
    error_message = "there is a route to the internet"
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.lambda_to_https) == 0
    error_message = "the functions may connect to any address"
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["ssm", "xray"]) && length(aws_vpc_endpoint.s3) == 1
    error_message = "there must be endpoints for S3 and the given services"
  }

  assert {
    condition = alltrue([
      for service, endpoint in aws_vpc_endpoint.interface :
      endpoint.service_name == "com.amazonaws.eu-west-1.${service}" && endpoint.private_dns_enabled && length(endpoint.subnet_ids) == 3
    ])
    error_message = "an endpoint has no private DNS name"
  }

  assert {
    condition = alltrue(flatten([
      for service, document in data.aws_iam_policy_document.endpoint : [
        for statement in document.statement :
        one(statement.condition).variable == "aws:PrincipalAccount" && toset(statement.actions) == toset(["${service}:*"])
      ]
    ]))
    error_message = "an endpoint allows other accounts or other services"
  }
}
