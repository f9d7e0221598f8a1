# Without AWS: the provider is mocked.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws-cn" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws-cn:iam::111111111111:role/logs" }
  }
}

variables {
  project = "shop"
  region  = "cn-north-1"
}

run "the_role_is_that_of_the_partition_and_the_region" {
  assert {
    condition     = aws_iam_role.api_gateway_logs.name == "shop-api-gateway-logs-cn-north-1"
    error_message = "two regions of an account need two roles: ${aws_iam_role.api_gateway_logs.name}"
  }

  assert {
    condition     = startswith(aws_iam_role_policy_attachment.api_gateway_logs.policy_arn, "arn:aws-cn:iam::aws:policy/service-role/")
    error_message = "the managed policy of this partition: ${aws_iam_role_policy_attachment.api_gateway_logs.policy_arn}"
  }

  assert {
    condition     = aws_api_gateway_account.this.cloudwatch_role_arn == "arn:aws-cn:iam::111111111111:role/logs"
    error_message = "API Gateway uses the role"
  }
}

run "a_region_with_a_path_is_refused" {
  command = plan

  variables {
    region = "eu-west-1/x"
  }

  expect_failures = [var.region]
}
